"""One study to DICOM results, and everything that is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom

from covidctnet.dicom_out.study import dicom_files
from covidctnet.errors import StudyError
from covidctnet.evidence import Mask, Panels, Regions
from covidctnet.io import Study, read_study
from covidctnet.io.dicom.result_headers import read_result_headers
from covidctnet.results import Prediction
from covidctnet.volume import Volume
from tests.dicom_out import checks
from tests.dicom_out.answers import INFO, an_answer

LUNGS, LESIONS, REGION = "Lungs", "What counts as lesion", "Region 1 for Covid-19"


@dataclass
class Judged:
    """What came of a study.

    Attributes:
        code: Of the refusal; empty where there are results.
        errors: Of dciodvfy, of the tables of the standard, and of places, in words.
        voxels: That were compared.
        wrong: Of them, that differ.
        ties: Voxels in the middle between two of a grid, which are not compared.
        objects: That were written.
    """

    code: str = ""
    errors: list[str] = field(default_factory=list)
    voxels: int = 0
    wrong: int = 0
    ties: int = 0
    objects: int = 0


def written(volume: Volume, study: Study, folder: Path, prediction: Prediction) -> list[Path]:
    """The DICOM results of an answer, in a folder."""
    origin = volume.source.origin
    assert origin is not None
    found = read_result_headers(study.files, origin.images)
    paths = []
    for name, content in dicom_files(prediction, origin, found, INFO):
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


def judge(study: Study, folder: Path, *, seed: int = 0, dcmqi: bool = False) -> Judged:
    """Write the results of a seeded answer to a study, and check all that can be checked."""
    out = Judged()
    volume = read_study(study)
    prediction = an_answer(volume, seed)
    try:
        paths = written(volume, study, folder, prediction)
    except StudyError as error:
        out.code = error.code
        return out
    out.objects = len(paths)
    for path in paths:
        out.errors += [f"{path.name}: {line}" for line in checks.dciodvfy_errors(path)]
        out.errors += [
            f"{path.name}: {line}" for line in checks.table_errors(pydicom.dcmread(path))
        ]
    _compare(out, study, volume, prediction, folder / "seg.dcm")
    if dcmqi:
        _compare_points(out, folder)
    return out


def _compare(out: Judged, study: Study, volume: Volume, prediction: Prediction, seg: Path) -> None:
    frames = checks.frames_read_back(seg)
    images = checks.source_images(study.files)
    origin = volume.source.origin
    assert origin is not None
    headers = read_result_headers(study.files, origin.images)["images"]
    keys = [(one["sop_uid"], one["frame"]) for one in headers]
    if unknown := {key[1:] for key in frames} - set(keys):
        out.errors.append(f"{len(unknown)} frames of no image of the volume")
    for key, (position, orientation) in checks.places_read_back(seg).items():
        image = images[key]
        across = image.across / np.linalg.norm(image.across)
        apart = np.abs(position - image.position).max()
        turned = np.abs(orientation[:3] - across).max()
        if apart > 1e-4 or turned > 1e-4:
            out.errors.append(f"a frame lies {apart:.2g} mm beside its image")
    panels, mask = prediction.find(Panels), prediction.find(Mask)
    regions = prediction.find(Regions)
    assert panels is not None and panels.lungs is not None
    assert mask is not None and regions is not None
    for key in keys:
        image = images[key]
        expected = {
            LUNGS: checks.on_image(image, panels.lungs, panels),
            LESIONS: checks.on_image(image, mask.found, mask),
            REGION: checks.in_box(image, regions.boxes[0], regions),
        }
        for label, right in expected.items():
            got = frames.get((label, *key), np.zeros(right.shape, dtype=bool))
            out.voxels += int((right >= 0).sum())
            out.ties += int((right < 0).sum())
            out.wrong += int(((right >= 0) & (got != (right == 1))).sum())


def _compare_points(out: Judged, folder: Path) -> None:
    """Every marked voxel where dcmqi finds it, against its place by the header of its frame."""
    seg = folder / "seg.dcm"
    ds = pydicom.dcmread(seg, stop_before_pixels=True)
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    places = checks.places_read_back(seg)
    ours: dict[str, list[np.ndarray]] = {}
    for (label, *key), plane in checks.frames_read_back(seg).items():
        position, _ = places[key[0], key[1]]
        row, column = np.nonzero(plane)
        points = position + np.outer(column * columns_mm, orientation[:3])
        ours.setdefault(label, []).append(points + np.outer(row * rows_mm, orientation[3:]))
    theirs = checks.dcmqi_points(seg, folder / "dcmqi")
    if set(ours) != set(theirs):
        out.errors.append(f"dcmqi finds the segments {sorted(theirs)}")
        return
    for label, parts in ours.items():
        mine, other = _sorted(np.concatenate(parts)), _sorted(theirs[label])
        if mine.shape != other.shape:
            out.errors.append(f"dcmqi finds {len(other)} voxels of {label}, not {len(mine)}")
        elif np.abs(mine - other).max() > 0.11:  # slices may lie 0.1 mm beside even steps
            out.errors.append(f"dcmqi finds {label} {np.abs(mine - other).max():.2g} mm beside")


def _sorted(points: np.ndarray) -> np.ndarray:
    # By a direction in which no two voxels share a place.
    order = np.argsort(points @ np.array([1.0, 97.31, 9743.7]), kind="stable")
    return points[order]
