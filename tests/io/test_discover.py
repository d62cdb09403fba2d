"""What is found under paths, and what is passed over."""

import os
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import StudyError, UsageError
from covidctnet.io import find_studies, read_study, read_volume
from covidctnet.io.discover import study_id
from covidctnet.phantom.patient import make_phantom
from covidctnet.phantom.series import write_truth
from covidctnet.volume import MASK_MARK
from tests.io import series


def test_studies_are_grouped_over_nested_folders(tmp_path):
    series.write(tmp_path / "a" / "b", study="one", name="x/{}.dcm")
    series.write(tmp_path / "a" / "c", study="two", name="{}")
    found = find_studies(tmp_path)
    assert {s.id for s in found} == {study_id(series.uid("one")), study_id(series.uid("two"))}
    assert [len(s.files) for s in found] == [12, 12]
    assert all(s.format == "dicom" and len(s.id) == 12 for s in found)


def test_one_study_spread_over_folders_is_one(tmp_path):
    paths = series.write(tmp_path)
    for k, path in enumerate(paths):
        (tmp_path / str(k)).mkdir()
        path.rename(tmp_path / str(k) / "slice")
    assert read_volume(tmp_path).shape == series.SHAPE


def test_the_same_study_by_two_paths_is_found_once(tmp_path):
    series.write(tmp_path / "a")
    found = find_studies([tmp_path, tmp_path / "a", tmp_path / "a" / ".." / "a"])
    assert [len(s.files) for s in found] == [12]
    assert list(find_studies(tmp_path)) == list(find_studies(str(tmp_path)))


def test_junk_is_skipped_by_content_and_counted(tmp_path):
    series.write(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(bytes(500))
    (tmp_path / "Thumbs.db").write_bytes(bytes(range(256)))
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
    (tmp_path / "report.dcm").write_bytes(b"%PDF-1.4" + bytes(300))
    (tmp_path / "random").write_bytes(bytes((i * 7919) % 251 for i in range(5000)))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "nothing").write_text("")
    found = find_studies(tmp_path)
    assert found.skipped == 7 and dict(found.reasons) == {"not a scan": 7}
    assert read_study(found[0]).shape == series.SHAPE


def test_a_directory_of_a_medium_is_skipped(tmp_path):
    series.write(tmp_path)
    ds = series.a_slice(series.a_scan()[0], 0)
    del ds.SOPClassUID
    ds.SOPClassUID = "1.2.840.10008.1.3.10"
    series.save(ds, tmp_path / "DICOMDIR")
    found = find_studies(tmp_path)
    assert found.reasons == {"directories of media": 1}
    assert len(found) == 1


def test_links_are_not_followed(tmp_path):
    series.write(tmp_path / "real")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "here" / "file").symlink_to(next((tmp_path / "real").iterdir()))
    found = find_studies(tmp_path / "here")
    assert len(found) == 0
    assert found.reasons == {"links": 2}
    # A link that the caller names is meant.
    (tmp_path / "named").symlink_to(tmp_path / "real")
    assert len(find_studies(tmp_path / "named")) == 1


def test_a_loop_of_links_ends(tmp_path):
    series.write(tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(find_studies(tmp_path)) == 1


def test_a_missing_path_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"'.*nowhere' does not exist"):
        find_studies(tmp_path / "nowhere")


def test_an_empty_folder_holds_nothing(tmp_path):
    assert list(find_studies(tmp_path)) == []
    with pytest.raises(StudyError, match=r"NOT_CT.*nothing readable"):
        read_volume(tmp_path)


def test_reading_a_folder_of_two_studies_tells_how_many(tmp_path):
    series.write(tmp_path / "a", study="one")
    series.write(tmp_path / "b", study="two")
    with pytest.raises(UsageError, match="expected one study, found 2"):
        read_volume(tmp_path)


def test_folders_nested_too_deeply_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covidctnet.io.walk.MAX_DEPTH", 3)
    series.write(tmp_path / "a" / "b" / "c" / "d")
    with pytest.raises(UsageError, match="at most 3 deep, got more"):
        find_studies(tmp_path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covidctnet.io.walk.MAX_FILES", 5)
    series.write(tmp_path)
    with pytest.raises(UsageError, match="at most 5 files, got more"):
        find_studies(tmp_path)


def test_a_damaged_file_never_vanishes(tmp_path):
    series.write(tmp_path / "good", study="good")
    paths = series.write(tmp_path / "bad", study="bad")
    paths[3].write_bytes(b"")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "x.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    found = find_studies(tmp_path)
    assert len(found) == 3
    codes = {}
    for study in found:
        try:
            codes[study.id] = read_study(study).shape
        except StudyError as error:
            codes[study.id] = error.code
    assert codes.pop(study_id(series.uid("good"))) == series.SHAPE
    assert codes.pop(study_id(series.uid("bad"))) == "CORRUPT_SLICE"
    assert list(codes.values()) == ["CORRUPT_SLICE"]


def test_a_damaged_file_amid_several_studies_is_one_of_its_own(tmp_path):
    series.write(tmp_path, study="one", name="a{}.dcm")
    series.write(tmp_path, study="two", name="b{}.dcm")
    (tmp_path / "c.dcm").write_bytes(b"")
    found = find_studies(tmp_path)
    assert sorted(len(s.files) for s in found) == [1, 12, 12]
    for study in found:
        if len(study.files) == 12:
            assert read_study(study).shape == series.SHAPE
        else:
            with pytest.raises(StudyError, match="CORRUPT_SLICE"):
                read_study(study)


@pytest.mark.parametrize("name", ["IM{:04d}", "1.2.840.{:d}"])
@pytest.mark.parametrize("content", [b"", bytes(5000)])
def test_a_damaged_last_slice_without_a_suffix_never_vanishes(tmp_path, name, content):
    paths = series.write(tmp_path, name=name)
    (tmp_path / "README").write_text("A text is no slice.")
    paths[-1].write_bytes(content)
    found = find_studies(tmp_path)
    assert len(found) == 1 and found.skipped == 1
    with pytest.raises(StudyError, match="CORRUPT_SLICE"):
        read_study(found[0])


def test_an_mhd_is_a_study_too(tmp_path):
    (tmp_path / "scan.mhd").write_text("ObjectType = Image\nElementDataFile = scan.raw\n")
    assert [s.format for s in find_studies(tmp_path)] == ["itk"]


def test_a_file_cut_behind_its_uids_harms_only_its_own_study(tmp_path):
    series.write(tmp_path, study="good", name="g{}.dcm")
    paths = series.write(tmp_path, study="bad", name="b{}.dcm")
    content = paths[3].read_bytes()
    paths[3].write_bytes(content[: content.index(b"\x28\x00\x10\x00US") + 20])
    found = {s.id: s for s in find_studies(tmp_path)}
    assert read_study(found[study_id(series.uid("good"))]).shape == series.SHAPE
    with pytest.raises(StudyError, match="CORRUPT_SLICE"):
        read_study(found[study_id(series.uid("bad"))])


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    series.write(tmp_path)
    found = find_studies(tmp_path)
    found[0].files[2].unlink()
    with pytest.raises(StudyError, match="UNREADABLE"):
        read_study(found[0])


def test_a_folder_that_may_not_be_entered_is_refused_and_does_not_vanish(tmp_path, monkeypatch):
    series.write(tmp_path / "open")
    series.write(tmp_path / "shut", study="two")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_studies(tmp_path)
    assert [study.format for study in found] == ["dicom", "closed"]
    with pytest.raises(StudyError, match="that may be entered") as caught:
        read_study(found[1])
    assert caught.value.code == "UNREADABLE"


@pytest.mark.parametrize("name", ["{:04d}", "{:04d}.dcm"])
def test_a_slice_that_may_not_be_read_refuses_its_series(tmp_path, monkeypatch, name):
    files = series.write(tmp_path, name=name)
    (tmp_path / "notes.txt").write_text("nothing")
    real = Path.open

    def guarded(self, *args, **options):
        if self in (files[-1], tmp_path / "notes.txt"):
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    found = find_studies(tmp_path)
    assert found.reasons == {"not readable": 1}
    with pytest.raises(StudyError, match="Check its rights"):
        read_study(found[0])


def test_a_study_travels_to_another_process(tmp_path):
    series.write(tmp_path)
    study = find_studies(tmp_path)[0]
    assert pickle.loads(pickle.dumps(study)) == study


def test_a_folder_that_may_be_listed_and_not_entered_stops_no_other(tmp_path, monkeypatch):
    series.write(tmp_path / "good")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "0.dcm").write_bytes(b"x")
    real = Path.lstat

    def lstat(path):
        if path.parent.name == "listed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    found = find_studies(tmp_path)
    kinds = [study.format for study in found]
    assert "dicom" in kinds and len(found) == 2  # the closed folder is told, not lost
    closed = next(study for study in found if study.format != "dicom")
    with pytest.raises(StudyError) as caught:
        read_study(closed)
    assert caught.value.code == "UNREADABLE"


def test_a_path_that_cannot_be_reached_is_told_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be reached") as caught:
        find_studies(tmp_path / ("x" * 5000))
    assert len(str(caught.value)) < 400


def our_mask(path, *, description=None, voxels=np.uint8):
    image = nib.Nifti1Image(np.ones((12, 40, 40), voxels), np.eye(4))
    image.header["descrip"] = description or f"{MASK_MARK} of lungs"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def test_masks_that_we_wrote_are_passed_over_and_never_a_scan(tmp_path):
    series.write(tmp_path / "scan")
    for name in ("truth/lungs.nii.gz", "truth/lesions.nii"):
        our_mask(tmp_path / name)
    found = find_studies(tmp_path)
    assert [study.format for study in found] == ["dicom"]
    assert dict(found.reasons) == {"masks of lungs or lesions": 2}
    # What is no mask of ours stays a study: a scan, whatever its header says, and other masks.
    our_mask(tmp_path / "ct.nii.gz", voxels=np.int16)
    our_mask(tmp_path / "other.nii.gz", description="drawn by hand")
    assert [study.format for study in find_studies(tmp_path)] == ["nifti", "nifti", "dicom"]


def test_a_mask_that_somebody_names_is_refused_and_not_passed_over(tmp_path):
    (study,) = find_studies(our_mask(tmp_path / "lungs.nii.gz"))
    with pytest.raises(StudyError):
        read_study(study)


def test_masks_of_phantoms_are_known_as_ours(tmp_path):
    phantom = make_phantom(CHEST_CT.COVID19, 3, matrix=32, spacing_mm=20)
    write_truth(phantom, tmp_path)
    assert find_studies(tmp_path).reasons == {"masks of lungs or lesions": 2, "not a scan": 1}
    assert not find_studies(tmp_path)
