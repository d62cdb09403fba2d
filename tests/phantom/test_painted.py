import csv
import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from covidctnet import read_volume
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import UsageError
from covidctnet.phantom import PaintPlan, paint_cohort
from covidctnet.volume import PAINTED_NOTE
from tests.volumes import a_chest

PLAN = PaintPlan(copies=2)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three Controls as NIfTI, and a patient with pneumonia, who is not painted on."""
    root = tmp_path_factory.mktemp("archive")
    for number, name in enumerate(("Control/a", "Control/b", "Control/c", "CAP/d")):
        volume, _ = a_chest()
        array = volume.array.transpose(2, 1, 0) + np.int16(number)
        affine = np.diag([-3.0, -3.0, 3.0, 1.0])
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        image = nib.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
    return root


@pytest.fixture(scope="module")
def cohort(archive, tmp_path_factory):
    output = tmp_path_factory.mktemp("painted") / "cohort"
    assert paint_cohort(archive, output, PLAN) == 18
    return output


def rows(cohort):
    with (cohort / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_control_gives_as_many_patients_of_each_class(cohort):
    assert sorted(e.label for e in read_cohort(cohort)) == sorted(6 * list(CHEST_CT))


def test_the_copies_of_one_scan_stand_in_one_split(cohort):
    splits = {}
    for row in rows(cohort):
        splits.setdefault(row["patient"].split("-")[0], set()).add(row["split"])
    assert sorted(len(s) for s in splits.values()) == [1, 1, 1]
    assert sorted(s for (s,) in splits.values()) == ["train", "train", "val"]


def test_a_painted_scan_says_so_when_it_is_read(cohort):
    volume = read_volume(cohort / rows(cohort)[0]["study"])
    assert PAINTED_NOTE in volume.source.notes


def test_a_painted_scan_names_the_scan_that_it_was_by_content(archive, cohort):
    hosts = {read_volume(archive / "Control" / f"{n}.nii.gz").source.mark for n in "abc"}
    painted = {read_volume(cohort / row["study"]).source.host for row in rows(cohort)}
    assert painted == hosts and "" not in hosts


def test_painted_lungs_are_never_tested_on(archive, cohort, tmp_path, capsys):
    table = tmp_path / "archive" / "cohort.csv"
    table.parent.mkdir()
    lines = ["study,patient,label,split"]
    # The copies of one Control, which is in the archive too, and another Control.
    copies = [row for row in rows(cohort) if row["patient"].startswith("lungs000")]
    (host,) = {read_volume(cohort / row["study"]).source.host for row in copies}
    marks = {n: read_volume(archive / "Control" / f"{n}.nii.gz").source.mark for n in "abc"}
    (own,) = (name for name, mark in marks.items() if mark == host)
    (other, _) = (name for name in "abc" if name != own)
    for name, split in ((own, "test"), (other, "denoiser_train")):
        (table.parent / f"{name}.nii.gz").hardlink_to(archive / "Control" / f"{name}.nii.gz")
        lines.append(f"{name}.nii.gz,{name},Control,{split}")
    for number, row in enumerate(copies):
        (table.parent / f"copy{number}.nii.gz").hardlink_to(cohort / row["study"])
        lines.append(f"copy{number}.nii.gz,{row['patient']},{row['label']},{row['split']}")
    table.write_text("\n".join(lines) + "\n")
    arguments = ["preprocess", str(table.parent), "-o", str(tmp_path / "work")]
    arguments += ["--settings.spacing_mm=4", "--settings.size=40", "--workers=1"]
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    # Which of the two is named first depends on their ids, whose key is drawn.
    assert re.search(r"study \w+ in test\b", printed)
    assert "are the same lungs" in printed and "denoiser_train" in printed
    table.write_text(table.read_text().replace(",test", ",denoiser_val"))
    assert main(arguments) == 0


def test_the_truth_lies_beside_on_the_same_grid(archive, cohort):
    plain = read_volume(archive / "Control" / "a.nii.gz")
    for row in rows(cohort):
        if not row["patient"].startswith("lungs000"):
            continue
        scan = nib.load(cohort / row["study"])
        truth = nib.load(cohort / "truth" / f"{row['patient']}.lesions.nii.gz")
        assert np.allclose(scan.affine, truth.affine)
        codes = np.asarray(truth.dataobj)
        painted = read_volume(cohort / row["study"])
        assert np.allclose(painted.affine, plain.affine)
        changed = np.abs(painted.array - plain.array.astype(int)).transpose(2, 1, 0) > 150
        assert changed.any() or row["label"] == "Control"
        assert (codes[changed] > 0).mean() > 0.9 or not changed.any()


def test_names_in_the_archive_are_not_carried_over(cohort):
    assert all(row["patient"].startswith("lungs0") for row in rows(cohort))


def test_an_interrupted_run_goes_on_and_another_plan_is_refused(archive, cohort):
    lost = cohort / rows(cohort)[0]["study"]
    other = cohort / rows(cohort)[1]["study"]
    before, stamp = gzip.decompress(lost.read_bytes()), other.stat().st_mtime_ns
    lost.unlink()
    assert paint_cohort(archive, cohort, PLAN) == 18
    assert gzip.decompress(lost.read_bytes()) == before
    assert other.stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="another cohort of painted patients"):
        paint_cohort(archive, cohort, PaintPlan(copies=3))


def test_a_folder_of_other_files_is_refused(archive, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="new or empty folder"):
        paint_cohort(archive, tmp_path, PLAN)


def test_an_archive_with_too_few_controls_is_refused(archive, tmp_path):
    with pytest.raises(UsageError, match="more than 3 Control studies"):
        paint_cohort(archive, tmp_path / "new", PaintPlan(validation=3))


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"validation": -1}, {"seed": -1}])
def test_a_plan_that_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="copies must be 1 or more"):
        PaintPlan(**wrong)


def test_a_control_that_cannot_be_painted_is_left_out_by_name(archive, tmp_path, caplog):
    for name in ("a", "b"):
        target = tmp_path / "in" / "Control" / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((archive / "Control" / f"{name}.nii.gz").read_bytes())
    air = nib.Nifti1Image(np.full((40, 40, 40), -1000, np.int16), np.diag([-3.0, -3.0, 3.0, 1.0]))
    air.header.set_xyzt_units("mm")
    nib.save(air, tmp_path / "in" / "Control" / "c.nii.gz")
    assert paint_cohort(tmp_path / "in", tmp_path / "out", PaintPlan(copies=1)) == 6
    assert "is left out" in caplog.text


def test_the_command_paints_and_says_what(archive, tmp_path, capsys):
    assert main(["paint", str(archive), "-o", str(tmp_path / "out"), "--copies", "1"]) == 0
    assert "9 painted patients (real lungs, drawn lesions)" in capsys.readouterr().out
