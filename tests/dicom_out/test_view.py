"""Coarse copies of a scan that a page draws: where they lie, and how large they get."""

import base64
import gzip
import json
import re

import nibabel
import numpy as np
import pytest

from covidctnet.dicom_out import view
from covidctnet.dicom_out.place import SourceGrid
from covidctnet.dicom_out.view import coarse, view_files
from covidctnet.io import read_study
from covidctnet.io.discover import find_studies
from tests.catalogue.steps import rotated
from tests.dicom_out.answers import an_answer
from tests.io import series


def volumes_of(content, study):
    text = content.decode("ascii")
    found = re.fullmatch(r'covidctnetVolumes\("(.*?)", (\{.*\})\);\n', text)
    assert found[1] == study
    return {
        name: nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed)))
        for name, packed in json.loads(found[2]).items()
    }


def test_the_script_of_a_study_holds_the_scan_and_all_that_was_found(tmp_path):
    series.write(tmp_path / "scan", affine=rotated(4, 3, 2))
    (study,) = find_studies(tmp_path / "scan")
    scan = read_study(study)
    grid = SourceGrid(scan.source.origin)
    ((name, content),) = view_files(an_answer(scan), grid, scan.source.reader, scan, "s1")
    assert name == "volumes.js"
    volumes = volumes_of(content, "s1")
    assert set(volumes) == {"scan", "lungs", "lesions", "regions", "residual"}
    shown = volumes["scan"].get_fdata()
    assert np.abs(shown - np.clip(scan.array.T, -1400, 1400)).max() <= view.STEP_HU / 2
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine[:, [2, 1, 0, 3]]
    assert np.allclose(volumes["scan"].affine, to_ras, atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 7, 13), (16, 5, 9)])
def test_blocks_keep_their_place_and_no_axis_is_too_long(shape, monkeypatch):
    monkeypatch.setattr(view, "MAX_VOXELS", 8)
    rng = np.random.default_rng(0)
    affine = np.array(rotated(4, 3, 2), dtype=float)
    values = rng.integers(-1000, 400, shape).astype(np.int16)
    small, placed = coarse(values, affine)
    assert max(small.shape) <= 8
    steps = [-(-n // 8) for n in shape]
    block = values[tuple(slice(0, step) for step in steps)]
    assert abs(small[0, 0, 0] - block.mean()) <= view.STEP_HU / 2 + 0.01
    centre = (np.array(steps) - 1) / 2
    assert np.allclose(placed @ [0, 0, 0, 1], affine @ [*centre, 1])
    assert np.allclose(placed @ [1, 1, 1, 1], affine @ [*(centre + steps), 1])
    # What is left at the end of an axis is a mean of what is there.
    end = values[tuple(slice(step * ((n - 1) // step), None) for n, step in
                       zip(shape, steps, strict=True))]  # fmt: skip
    assert abs(small[-1, -1, -1] - end.mean()) <= view.STEP_HU / 2 + 0.01


def test_a_single_voxel_of_a_mask_is_not_lost(monkeypatch):
    monkeypatch.setattr(view, "MAX_VOXELS", 8)
    mask = np.zeros((30, 9, 16), dtype=np.uint8)
    mask[29, 8, 1] = mask[0, 0, 15] = 1
    small, _ = coarse(mask, np.eye(4))
    assert small.dtype == np.uint8 and small.sum() == 2
    assert small[7, 4, 0] == small[0, 0, 7] == 1
