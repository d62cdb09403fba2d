"""Patients whose files are broken, packed or stripped in one way stay as many as they are."""

import bz2

import pytest

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from tests.io import series

PAGE = b"<html>403 Forbidden</html>"
HEADER = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 16 20 12\nElementType = MET_SHORT\n"
    b"ElementSpacing = 0.7 0.8 2.5\nOffset = 5 5 5\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    b"ElementDataFile = scan.raw\n"
)


def refusals(folder):
    found = find_studies(folder)
    assert len({study.id for study in found}) == len(found)
    codes = []
    for study in found:
        with pytest.raises(StudyError) as caught:
            read_study(study)
        codes.append(caught.value.code)
    return codes


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("scan.nii.gz", PAGE, "CORRUPT_FILE"),
        ("scan.zip", PAGE, "BAD_ARCHIVE"),
        ("scan.mhd", HEADER, "CORRUPT_FILE"),
        ("IM1.dcm", b"", "CORRUPT_SLICE"),
        ("IM1.dcm", PAGE, "CORRUPT_SLICE"),
        ("scan.nii.bz2", bz2.compress(bytes(400)), "CORRUPT_FILE"),
        ("scan.nii.gz.gz", b"\x1f\x8b" + bytes(40), "CORRUPT_FILE"),
        ("scan.mgz", bytes(400), "NOT_CT"),
    ],
)
def test_patients_whose_files_broke_in_one_way_are_a_refused_study_each(
    tmp_path, name, content, code
):
    for patient in "abc":
        (tmp_path / patient).mkdir()
        (tmp_path / patient / name).write_bytes(content)
    assert refusals(tmp_path) == [code] * 3


def test_the_header_of_an_analyze_pair_is_refused_and_what_to_do_is_said(tmp_path):
    head = bytearray(348)
    head[:4], head[38:39] = (348).to_bytes(4, "little"), b"r"
    (tmp_path / "scan.hdr").write_bytes(bytes(head))
    (tmp_path / "scan.img").write_bytes(bytes(500))
    (study,) = find_studies(tmp_path)
    with pytest.raises(StudyError, match=r"NOT_CT: expected a volume as DICOM.*Convert it"):
        read_study(study)


def without_uids(ds, index):
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        delattr(ds, keyword)
    ds.SOPInstanceUID = "1.2.3"


def test_patients_without_uids_on_one_grid_have_an_id_each(tmp_path):
    scans = [series.a_body(seed=seed) for seed in (1, 2)]
    for patient, scan in zip("ab", scans, strict=True):
        series.write(tmp_path / patient, scan, change=without_uids)
    found = find_studies(tmp_path)
    assert len({study.id for study in found}) == 2
    assert sorted(int(read_study(study).array.sum()) for study in found) == sorted(
        int(scan.sum(dtype="int64")) for scan in scans
    )


def test_a_second_copy_of_a_whole_volume_is_counted_as_a_copy(tmp_path):
    import nibabel as nib
    import numpy as np

    image = nib.Nifti1Image(series.a_scan().T.astype(np.int16), np.diag([-0.7, -0.8, 2.5, 1]))
    nib.save(image, tmp_path / "one.nii")
    (tmp_path / "two.nii").write_bytes((tmp_path / "one.nii").read_bytes())
    found = find_studies(tmp_path)
    assert (len(found), dict(found.reasons)) == (1, {"copies": 1})


def test_the_voxels_of_a_linked_header_are_found_next_to_what_the_link_leads_to(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scan.mhd").write_bytes(HEADER)
    (tmp_path / "data" / "scan.raw").write_bytes(series.a_scan().tobytes())
    (tmp_path / "link.mhd").symlink_to(tmp_path / "data" / "scan.mhd")
    (study,) = find_studies(tmp_path / "link.mhd")
    assert read_study(study).shape == (12, 20, 16)


def test_an_archive_that_cannot_be_opened_is_named_to_the_scan_in_those_next_to_it(tmp_path):
    import zipfile

    paths = series.write(tmp_path / "scan")
    with zipfile.ZipFile(tmp_path / "part1.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
            path.unlink()
    (tmp_path / "part2.zip").write_bytes(PAGE)
    whole = next(study for study in find_studies(tmp_path) if study.format == "dicom")
    assert any("an archive that is not opened" in note for note in whole.notes)
