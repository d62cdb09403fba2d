"""`covidctnet quality`: a log and a table of findings, and grey copies under other names."""

import csv

import numpy as np
import pytest
from PIL import Image

from covidctnet.cli import main
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom, write_png


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    write_png(root / "ann" / "plain.png", radiograph())
    write_png(root / "ann" / "poor.jpg", radiograph(seed=1), quality=40)
    write_dicom(root / "bob.dcm", radiograph(seed=2).astype(np.uint16) * 16)
    (root / "notes.csv").write_text("file\n")
    return root


def rows_of(output):
    with (output / "quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_finding_is_a_row_and_a_picture_without_one_has_a_row_too(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["quality", str(folder), "-o", str(out)]) == 0
    found = {(row["file"], row["code"]): row for row in rows_of(out)}
    assert found["ann/plain.png", ""]["status"] == "read"
    assert found["ann/poor.jpg", "jpeg_quality"]["value"] == "40"
    assert ("bob.dcm", "") in found
    assert found["ann/plain.png", ""]["rows"] == "400"
    told = capsys.readouterr()
    assert "3 pictures: 2 without a finding, 1 with findings, 0 refused" in told.out
    assert "files passed over: 1 not a radiograph" in told.out
    assert not list(out.rglob("*.png"))


def test_the_log_and_the_terminal_name_no_file(folder, tmp_path, capsys):
    (folder / "ann" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["quality", str(folder), "-o", str(tmp_path / "out")]) == 3
    told = capsys.readouterr()
    log = (tmp_path / "out" / "quality.log").read_text()
    for text in (log, told.out, told.err):
        assert "ann" not in text and "bob" not in text and "plain" not in text
    assert "jpeg_quality 40: compressed with a loss" in log


def test_a_bad_file_is_one_line_and_the_others_are_checked(folder, tmp_path, capsys):
    (folder / "broken.png").write_bytes((folder / "ann" / "plain.png").read_bytes()[:-300])
    (folder / "words.jpg").write_text("no picture")
    Image.new("CMYK", (50, 50)).save(folder / "cmyk.jpg")
    frames = [Image.new("L", (40, 40), n) for n in (1, 2)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    series.write(folder / "ct")
    assert main(["quality", str(folder), "-o", str(tmp_path / "out")]) == 3
    refused = {r["file"]: r["code"] for r in rows_of(tmp_path / "out") if r["status"] == "refused"}
    assert refused.pop(next(name for name in refused if name.startswith("ct/"))) == "NOT_RADIOGRAPH"
    assert refused == {
        "broken.png": "CORRUPT_FILE",
        "words.jpg": "NOT_PICTURE",
        "cmyk.jpg": "COLOUR_MODEL",
        "moving.png": "SEVERAL_PICTURES",
    }
    lines = [line for line in capsys.readouterr().err.splitlines() if "refused" in line]
    assert len(lines) == 5 and all("expected " in line for line in lines)


def test_a_folder_without_a_readable_picture_exits_4(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert main(["quality", str(folder), "-o", str(tmp_path / "out")]) == 4
    (folder / "a.png").write_text("no picture")
    assert main(["quality", str(folder), "-o", str(tmp_path / "out")]) == 4


def test_grey_copies_have_names_of_their_own_and_the_same_pixels(folder, tmp_path, capsys):
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["quality", str(folder), "-o", str(out), "--convert"]) == 0
    names = sorted(path.relative_to(out / "grey").as_posix() for path in out.rglob("*.png"))
    assert names == ["ann/plain.png.grey.png", "ann/poor.jpg.grey.png", "bob.dcm.grey.png"]
    with Image.open(out / "grey" / "ann" / "poor.jpg.grey.png") as copy:
        assert (copy.format, copy.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(copy), np.asarray(Image.open(folder / "ann/poor.jpg")))
    assert {path: path.read_bytes() for path in before} == before
    # Again: nothing is replaced.
    (out / "grey" / "bob.dcm.grey.png").write_bytes(b"mine")
    assert main(["quality", str(folder), "-o", str(out), "--convert"]) == 0
    assert (out / "grey" / "bob.dcm.grey.png").read_bytes() == b"mine"
    assert "0 converted, 3 grey copies were there" in capsys.readouterr().out


def test_the_output_may_lie_in_the_folder_and_may_not_be_it(folder, capsys):
    assert main(["quality", str(folder), "-o", str(folder)]) == 2
    assert "expected another folder for the output" in capsys.readouterr().err
    for _ in range(2):
        assert main(["quality", str(folder), "-o", str(folder / "out"), "--convert"]) == 0
        assert {row["file"] for row in rows_of(folder / "out")} == {
            "ann/plain.png",
            "ann/poor.jpg",
            "bob.dcm",
        }
