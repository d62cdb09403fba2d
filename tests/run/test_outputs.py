"""`classify --dicom --nifti`: files of every answer, and nothing told where it does not belong."""

import json
import logging
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from covidctnet import find_studies
from covidctnet.cli import main
from covidctnet.errors import StorageError, UsageError
from covidctnet.evidence import Mask, Panels
from covidctnet.files import write_folder_whole
from covidctnet.io import read_study
from covidctnet.report import Results
from covidctnet.run import outputs as module
from covidctnet.run.classify import classify_into
from covidctnet.run.parts import Part, merge_parts
from tests.catalogue.steps import rotated
from tests.dicom_out.answers import INFO, WINDOW, an_answer
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom
from tests.test_privacy import DATE, MARKED, WORD, mark

BOTH = ("dicom", "nifti")


class Seer:
    """Answers at once, with seeded evidence."""

    info = INFO

    def __init__(self):
        self.asked = []

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        self.asked.append((volume.source.study, keep))
        return an_answer(volume)


def run(folder, path, outputs=BOTH, seer=None, **how):
    seer = seer or Seer()
    results = Results(folder)
    counts = classify_into(results, [path], seer, outputs=outputs, limits=None, **how)
    return counts, results, seer


@pytest.fixture
def scans(tmp_path):
    root = tmp_path / "scans"
    for name in ("one", "two"):
        (root / name).mkdir(parents=True)
        series.write(root / name, study=name, affine=rotated(4, 3, 2))
    return root


def test_every_answer_has_its_files_and_a_picture_as_without_them(scans, tmp_path):
    counts, results, seer = run(tmp_path / "out", scans)
    assert [keep for _, keep in seer.asked] == ["volumes"] * 2
    assert counts.exit_code == 0
    assert "DICOM results for 2; NIfTI results for 2" in str(counts)
    for record in results.records:
        names = {Path(name).name for name in record.output_files}
        assert names == {
            "seg.dcm",
            "sr.dcm",
            "picture.dcm",
            "lungs.nii.gz",
            "lesions.nii.gz",
            "regions.nii.gz",
            "residual.nii.gz",
        }
        assert all((tmp_path / "out" / name).is_file() for name in record.output_files)
        study = pydicom.dcmread(tmp_path / "out/dicom" / record.study / "sr.dcm")
        assert study.StudyInstanceUID in {series.uid("one"), series.uid("two")}
        # The record tells of a few slices, as without these files.
        assert "mask" not in [one["type"] for one in record.evidence]
        assert all(len(one.get("slices", ())) <= 2 for one in record.evidence)


def test_a_second_run_asks_nothing_and_lost_files_are_written_again(scans, tmp_path):
    out = tmp_path / "out"
    _, first, _ = run(out, scans, outputs=())
    assert not any(record.outputs for record in first.records)
    _, _, seer = run(out, scans, outputs=("dicom",))
    assert len(seer.asked) == 2
    written = {path: path.read_bytes() for path in out.glob("dicom/*/*")}
    assert len(written) == 6
    counts, _, seer = run(out, scans, outputs=("dicom",))
    assert not seer.asked
    assert "DICOM results for 2" in str(counts)
    next(iter(written)).unlink()
    _, _, seer = run(out, scans, outputs=("dicom",))
    assert len(seer.asked) == 1
    assert {path: path.read_bytes() for path in out.glob("dicom/*/*")} == written


def test_files_of_an_answer_that_was_replaced_are_gone(scans, tmp_path):
    out = tmp_path / "out"
    run(out, scans)
    file = next((scans / "one").iterdir())
    data = pydicom.dcmread(file)
    data.PixelData = (data.pixel_array + 1).astype("<u2").tobytes()
    data.save_as(file)
    run(out, scans, outputs=())
    assert len(list(out.glob("dicom/*"))) == len(list(out.glob("nifti/*"))) == 1


def test_one_bad_study_has_its_reason_and_the_others_their_files(scans, tmp_path, caplog):
    def change(ds, index):
        with pydicom.config.disable_value_validation():
            ds.StudyInstanceUID = "3F2504E0-4F89-11D3-9A0C-0305E82C3301"

    (scans / "bad").mkdir()
    with pydicom.config.disable_value_validation():
        series.write(scans / "bad", change=change)
    counts, results, _ = run(tmp_path / "out", scans)
    assert counts.answered == 3
    assert counts.exit_code == 3
    assert "DICOM results for 2 (none for 1 BAD_IDENTITY); NIfTI results for 3" in str(counts)
    (bad,) = (one for one in results.records if one.outputs["dicom"]["code"])
    assert bad.outputs["dicom"]["code"] == "BAD_IDENTITY"
    assert not (tmp_path / "out/dicom" / bad.study).exists()
    assert bad.outputs["nifti"]["files"]
    assert "3F2504E0" not in caplog.text + json.dumps(bad.to_json())
    assert f"study {bad.study} has no dicom results: BAD_IDENTITY" in caplog.text
    # It is not asked again: its files are as they were.
    assert not run(tmp_path / "out", scans)[2].asked


def test_a_fault_of_a_library_costs_the_files_and_not_the_answer(
    scans, tmp_path, monkeypatch, caplog
):
    import covidctnet.dicom_out.study as study

    def fails(*_):
        raise ValueError("Doe^Jane")

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(study, "capture_of", fails)
    counts, results, _ = run(tmp_path / "out", scans)
    assert counts.answered == 2 and counts.exit_code == 3
    assert {one.outputs["dicom"]["code"] for one in results.records} == {"INTERNAL"}
    assert not list((tmp_path / "out").glob("dicom/*"))
    assert "Doe" not in caplog.text


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(scans, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageError, match="No space left"):
        run(tmp_path / "out", scans)
    assert not list((tmp_path / "out/dicom").iterdir())
    monkeypatch.undo()
    assert run(tmp_path / "out", scans)[0].exit_code == 0


def test_a_folder_is_there_with_all_of_its_files_or_as_it_was(tmp_path):
    folder = tmp_path / "folder"
    assert write_folder_whole(folder, [("a", b"1"), ("b", b"2")]) == ["a", "b"]

    def breaks():
        yield "a", b"3"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_folder_whole(folder, breaks())
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == [b"1", b"2"]
    assert list(tmp_path.iterdir()) == [folder]
    assert write_folder_whole(folder, ()) == []
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_folder_behind_the_next_one(scans, tmp_path):
    rest = tmp_path / "out/dicom/.abc.0123.unfinished"
    run(tmp_path / "out", scans)
    rest.mkdir()
    (rest / "seg.dcm").write_bytes(b"half")
    run(tmp_path / "out", scans)
    assert not rest.exists()


def test_parts_bring_their_files(scans, tmp_path):
    for number in (1, 2):
        part = Part(number, 2)
        run(part.folder(tmp_path / "out"), scans, part=part)
    merged = merge_parts(tmp_path / "out")
    assert len(merged.records) == 2
    files = [tmp_path / "out" / name for one in merged.records for name in one.output_files]
    assert len(files) == 14 and all(file.is_file() for file in files)


def test_a_part_that_has_lost_a_file_is_named(scans, tmp_path):
    part = Part(1, 1)
    run(part.folder(tmp_path / "out"), scans, part=part)
    next(tmp_path.rglob("seg.dcm")).unlink()
    with pytest.raises(UsageError, match=r"expected dicom/\w+/seg.dcm in its part"):
        merge_parts(tmp_path / "out")


def test_a_record_names_no_file_outside_of_the_results(scans, tmp_path):
    out = tmp_path / "out"
    run(out, scans)
    file = next(out.glob("studies/*.json"))
    record = json.loads(file.read_text())
    record["outputs"]["dicom"]["files"] = ["../../etc/passwd"]
    file.write_text(json.dumps(record))
    assert len(Results(out).records) == 1
    assert len(run(out, scans)[2].asked) == 1


def test_without_highdicom_the_command_says_what_to_install(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'covidctnet\[dicom\]'"):
        run(tmp_path / "out", scans)
    assert main(["classify", str(scans), "-o", str(tmp_path / "out"), "--dicom"]) == 2
    assert "covidctnet[dicom]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "out", scans, outputs=("nifti",))[0].exit_code == 0


def test_highdicom_is_loaded_when_it_is_needed_alone():
    import subprocess

    code = "import covidctnet.run.outputs, sys; sys.exit('highdicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- NIfTI ----


def _sources(folder):
    """One oblique, flipped scan as NIfTI with axes in an order of its own, MHA and DICOM."""
    array, affine = series.a_scan(), rotated(6, -4, 9)
    image = SimpleITK.GetImageFromArray(array)
    columns = affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(columns, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((columns / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    SimpleITK.WriteImage(image, folder / "scan.mha")
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [1, 2, 0, 3]]
    turned = nibabel.Nifti1Image(array.transpose(1, 2, 0), to_ras)
    # Rows before columns, and slices from head to feet.
    flipped = turned.slicer[:, :, ::-1]
    nibabel.save(flipped, folder / "other.nii.gz")
    (folder / "dicom").mkdir()
    series.write(folder / "dicom", affine=affine)


@pytest.mark.parametrize("name", ["scan.mha", "other.nii.gz", "dicom"])
def test_nifti_has_the_voxels_of_its_source_in_their_order_and_place(name, tmp_path):
    (tmp_path / "in").mkdir()
    _sources(tmp_path / "in")
    counts, results, _ = run(tmp_path / "out", tmp_path / "in" / name)
    assert counts.exit_code == 0
    without = "DICOM results for 0 (none for 1 whose source is no DICOM)"
    assert (without in str(counts)) == (name != "dicom")
    (record,) = results.records
    assert record.outputs["dicom"]["code"] == ("" if name == "dicom" else "NOT_DICOM")
    made = {
        Path(file).name.partition(".")[0]: nibabel.load(tmp_path / "out" / file)
        for file in record.output_files
        if file.endswith(".nii.gz")
    }
    (study,) = find_studies(tmp_path / "in" / name)
    answer = an_answer(read_study(study))
    shape, affine = (16, 20, 12), None
    if name == "other.nii.gz":
        source = nibabel.load(tmp_path / "in" / name)
        shape, affine = source.shape, source.affine
    panels, mask = answer.find(Panels), answer.find(Mask)
    for image in made.values():
        assert image.shape == shape
        if affine is not None:
            np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    # By place in the patient, whatever the order of the axes.
    for part, found in (("lungs", panels.lungs), ("lesions", mask.found)):
        got = np.asarray(made[part].dataobj)
        at = _on_grid(made[part], mask.affine)
        index = np.floor(at + 0.5).astype(int)
        inside = ((index >= 0) & (index < found.shape)).all(axis=-1)
        clipped = np.clip(index, 0, np.array(found.shape) - 1)
        right = found[tuple(np.moveaxis(clipped, -1, 0))] & inside
        tie = (np.abs(np.abs(at - np.rint(at)) - 0.5) < 1e-3).any(axis=-1)
        assert got.dtype == np.uint8 and right.sum() > 0 and (got[~tie] == right[~tie]).all()
    _check_residual(made["residual"], panels)


def _on_grid(image, affine):
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    ras = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    inverse = np.linalg.inv(affine)
    return (ras * [-1, -1, 1]) @ inverse[:3, :3].T + inverse[:3, 3]


def _check_residual(image, panels):
    from scipy.ndimage import map_coordinates

    got = np.asarray(image.dataobj)
    at = np.moveaxis(_on_grid(image, panels.affine), -1, 0)
    expected = map_coordinates(
        panels["residual"].astype(float) * (WINDOW[1] - WINDOW[0]), at, order=1, mode="nearest"
    )
    size = np.array(panels["residual"].shape)[:, None, None, None]
    inside = ((at > -0.499) & (at < size - 0.501)).all(axis=0)
    outside = ((at < -0.501) | (at > size - 0.499)).any(axis=0)
    assert got.dtype == np.int16
    assert np.abs(got[inside] - expected[inside]).max() <= 0.51
    assert inside.sum() > 500 and not got[outside].any()


# ---- radiographs ----


def test_a_radiograph_in_dicom_has_a_report_and_a_picture(tmp_path):
    from covidctnet.classes import Classes
    from covidctnet.contract import PredictorInfo
    from covidctnet.evidence import Heatmap
    from covidctnet.results import Prediction

    classes = Classes(("Normal", "Pneumonia"), normal="Normal")

    class Looker:
        info = PredictorInfo("xray_vgg16", "seeded", "0123456789ab", classes, modality="radiograph")

        def prepare(self, picture):
            return picture

        def __call__(self, picture, *, keep="numbers"):
            values = picture.pixels[None].astype(np.float32) / 255
            heat = Heatmap(label="pneumonia", values=values, over=values, slices=(0,), chosen=(0,))
            shares = dict(zip(classes, (0.25, 0.75), strict=True))
            return Prediction(
                picture.source.study, shares, classes=classes, evidence=(heat,), weights="x"
            )

    (tmp_path / "in").mkdir()
    write_dicom(tmp_path / "in/a.dcm", radiograph())
    counts, results, _ = run(tmp_path / "out", tmp_path / "in", seer=Looker())
    (record,) = results.records
    assert [Path(name).name for name in record.output_files] == ["sr.dcm", "picture.dcm"]
    assert counts.exit_code == 0
    report = pydicom.dcmread(tmp_path / "out" / record.output_files[0])
    source = pydicom.dcmread(tmp_path / "in/a.dcm")
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert source.SOPInstanceUID in str(report.CurrentRequestedProcedureEvidenceSequence)


# ---- marks ----


def test_sixty_marks_reach_dicom_results_where_they_belong_and_nothing_else(
    tmp_path, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    assert len(MARKED) >= 60
    root = tmp_path / "in"
    root.mkdir()
    series.write(root, change=mark)
    out = tmp_path / "out"
    counts, _, _ = run(out, root)
    assert counts.exit_code == 0
    allowed = {
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientBirthTime",
        "OtherPatientNames",
        "EthnicGroup",
        "PatientComments",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ReferringPhysicianName",
        "PhysiciansOfRecord",
        "NameOfPhysiciansReadingStudy",
        "AdmittingDiagnosesDescription",
        "Occupation",
        "AdditionalPatientHistory",
        "ContentDate",
        "ContentTime",
    }
    seen = set()
    for file in out.glob("dicom/*/*"):
        for element in pydicom.dcmread(file).iterall():
            if WORD in str(element.value) or str(element.value) in (DATE, "131719"):
                assert element.keyword in allowed, element.keyword
                seen.add(element.keyword)
    assert len(seen) >= 18
    told = " ".join([caplog.text, *capfd.readouterr(), str(counts)])
    for file in out.rglob("*"):
        if file.is_file() and file.suffix != ".dcm":
            told += f" {file.relative_to(out)} " + file.read_bytes().decode("latin-1")
            if file.name.endswith(".nii.gz"):
                told += bytes(nibabel.load(file).header.binaryblock).decode("latin-1")
    for secret in (WORD, WORD.upper(), DATE, "13:17:19", series.uid("study")):
        assert secret not in told
