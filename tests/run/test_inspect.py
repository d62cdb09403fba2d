"""What `inspect` does with studies that could harm it, or the terminal of the person who asks."""

import os
from functools import partial

import numpy as np
import pytest
from pydicom import dcmread

from covidctnet.cli import main
from covidctnet.io import find_studies
from covidctnet.io.dicom import stored
from covidctnet.run import inspect
from covidctnet.run.headers import InspectingChild
from tests.catalogue.cases import every_case
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom, write_png


def with_copies(folder):
    """A series, each slice twice: only pixels tell that they are copies."""
    series.write(folder)
    series.write(
        folder,
        name="copy{:04d}.dcm",
        change=lambda ds, i: setattr(ds, "SOPInstanceUID", series.uid(f"copy/{i}")),
    )


@pytest.mark.parametrize("quick", [True, False])
def test_no_pixel_is_decoded_in_the_process_of_the_caller(tmp_path, monkeypatch, quick):
    with_copies(tmp_path)

    def decode(*args, **options):
        raise AssertionError("decoded here")

    monkeypatch.setattr(stored._Content, "stored", decode)
    (study,) = inspect.inspect_paths(tmp_path, voxels=not quick)["studies"]
    # Without a chest in it the whole look ends with NOT_CHEST, and not before.
    assert study["code"] == (None if quick else "NOT_CHEST")
    assert any("12 copies" in note for note in study["notes"])
    assert sum(entry["files"] for entry in study["series"]) == 24


def test_a_decoder_that_breaks_down_fails_its_study_and_no_other(tmp_path, monkeypatch):
    for name in ("a-good", "b-abort", "c-good"):
        series.write(tmp_path / name, study=name, patient=name)
    child = partial(InspectingChild, task="tests.poison:look_or_break")
    monkeypatch.setattr(inspect, "InspectingChild", child)
    told = inspect.inspect_paths(tmp_path, voxels=False)["studies"]
    assert [study["outcome"] for study in told] == ["readable", "failed", "readable"]
    assert told[1]["code"] == "CRASHED"
    assert [entry["files"] for entry in told[1]["series"]] == [12]


def test_a_path_moves_no_cursor(tmp_path, capsys):
    folder = tmp_path / "red \x1b[31m\nline\u202e"
    try:
        series.write(folder)
    except OSError:
        pytest.skip("this system has no such names")
    assert main(["inspect", "--quick", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert r"red \x1b[31m\nline\u202e" in out
    assert not set("\x1b\u202e") & set(out)


def test_a_path_that_is_no_text_can_be_shown(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this system has no such names")
    series.write(tmp_path / "scan")
    (tmp_path / "scan").rename(folder / "scan")
    assert main(["inspect", "--quick", str(tmp_path)]) == 0
    assert r"\udcff\udcfe" in capsys.readouterr().out
    assert len(find_studies(tmp_path)) == 1


def test_a_file_that_holds_two_series_is_counted_once(tmp_path):
    case = next(c for c in every_case() if c.name == "dicom-enhanced-two-phases")
    case.build(tmp_path)
    told = inspect.inspect_paths(tmp_path, voxels=False)
    (study,) = told["studies"]
    assert [entry["images"] for entry in study["series"]] == [12, 12]
    assert [entry["files"] for entry in study["series"]] == [1, 0]
    assert "12 x CT in files counted above" in inspect.render(told)


def test_a_volume_that_is_refused_is_not_called_readable(tmp_path):
    series.write(tmp_path)
    said = inspect.render(inspect.inspect_paths(tmp_path))
    assert "refused: NOT_CHEST" in said and "volume: 12 x 20 x 16" in said
    assert "readable" not in said
    by_headers = inspect.render(inspect.inspect_paths(tmp_path, voxels=False))
    assert "readable by its headers, voxels not looked at: 12 x 20 x 16" in by_headers


def test_one_file_and_one_study_are_counted_in_the_singular(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    said = inspect.render(inspect.inspect_paths(tmp_path))
    assert "1 file found: 0 in 0 studies, 1 passed over" in said


def test_all_patients_of_a_mixed_study_are_shown_to_its_owner(tmp_path):
    def change(ds, index):
        ds.PatientID = ("one", "two", "three")[index % 3]

    series.write(tmp_path, change=change)
    (study,) = find_studies(tmp_path)
    shown = inspect.ids_of(study, every_file=True)
    assert sorted(line.split(",")[0] for line in shown) == [
        "patient one",
        "patient three",
        "patient two",
    ]
    assert len(inspect.ids_of(study)) == 1


def test_ids_that_differ_in_every_file_are_not_all_shown(tmp_path):
    series.write(tmp_path, change=lambda ds, index: setattr(ds, "PatientID", f"drawn-{index}"))
    (study,) = find_studies(tmp_path)
    shown = inspect.ids_of(study, every_file=True)
    assert len(shown) == inspect.MOST_IDS + 1 and shown[-1] == "and others"


def test_radiographs_are_told_with_the_systems_that_read_them(tmp_path, capsys):
    write_dicom(tmp_path / "visit" / "pa.dcm", radiograph().astype(np.uint16) * 16)
    told = inspect.inspect_paths(tmp_path)
    (study,) = told["studies"]
    assert (study["kind"], study["outcome"], study["files"]) == ("radiograph", "readable", 1)
    assert study["geometry"] == {"shape": [400, 400], "spacing_mm": [0.2, 0.2]}
    assert told["read_by"] == ["xray_vgg16"] and told["files"] == 1
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "readable: radiograph for xray_vgg16: 400 x 400 pixels of 0.2 x 0.2 mm" in said
    assert "1 file found: 1 in 1 study, 0 passed over" in said
    assert "Jane" not in said
    by_header = inspect.render(inspect.inspect_paths(tmp_path, voxels=False))
    assert "radiograph for xray_vgg16 by its header, pixels not looked at" in by_header


def test_a_lateral_radiograph_and_a_hand_are_refused_by_name(tmp_path):
    pixels = radiograph().astype(np.uint16) * 16
    write_dicom(tmp_path / "a.dcm", pixels, name="a", ViewPosition="LL")
    write_dicom(tmp_path / "b.dcm", pixels[::-1].T, name="b")
    told = {s["path"][-5]: s for s in inspect.inspect_paths(tmp_path)["studies"]}
    assert told["a"]["code"] == "LATERAL_VIEW" and told["b"]["code"] == "NOT_CHEST"
    assert all(one["outcome"] == "refused" for one in told.values())


def test_radiographs_beside_a_ct_are_counted_apart_and_each_file_once(tmp_path):
    series.write(tmp_path / "ct")
    deep = radiograph().astype(np.uint16) * 16
    for number in range(2):
        write_dicom(tmp_path / "cr" / f"{number}.dcm", deep + number, name="one visit")
        save_again = tmp_path / "cr" / f"{number}.dcm"
        ds = dcmread(save_again)
        ds.SOPInstanceUID = series.uid(f"one visit/{number}")
        series.save(ds, save_again)
    told = inspect.inspect_paths(tmp_path, voxels=False)
    assert sorted(s["kind"] for s in told["studies"]) == ["CT", "radiograph", "radiograph"]
    assert told["files"] == 14 and told["skipped"] == 0


def test_pictures_are_named_as_what_they_may_be_and_one_that_is_meant_is_looked_at(tmp_path):
    picture = write_png(tmp_path / "a.png", radiograph())
    write_png(tmp_path / "b.png", radiograph(seed=1))
    told = inspect.inspect_paths(tmp_path)
    assert told["studies"] == [] and told["pictures"] == 2 and told["skipped"] == 2
    said = inspect.render(told)
    assert "of these, 2 pictures (PNG, JPEG, TIFF): radiographs are answered by weights" in said
    assert "slices teach systems of slices" in said and "covidctnet quality" in said
    (study,) = inspect.inspect_paths(picture)["studies"]
    assert (study["kind"], study["outcome"]) == ("radiograph", "readable")
