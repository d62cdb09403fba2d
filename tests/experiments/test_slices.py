"""The tables of copies, of sets and of the shortcut baseline."""

import re

import pytest
from PIL import Image

from pipelines.experiments.slices import run
from tests.io.series import an_affine, write
from tests.slicewise.pictures import a_slice, archive
from tests.small import SPACING
from tests.volumes import a_chest


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SEEDS", 2)
    labels = ("COVID", "NonCOVID")
    for name, first in (("one", 0), ("two", 100)):
        source = name if name == "one" else ""
        rows = [f"{first + n}.png,{labels[n % 2]},{source and f'{source}{n}'}" for n in range(20)]
        archive(tmp_path / name, rows, "file,label,source")
    other = tmp_path / "more"
    other.mkdir()
    Image.fromarray(a_slice(3)).save(other / "a.jpg", quality=70)
    Image.fromarray(a_slice(105)).save(other / "b.png")
    chest, _ = a_chest((25, 50, 60), 6.0)
    write(tmp_path / "scans", chest.array, affine=an_affine(SPACING))
    return tmp_path


def test_the_page_has_copies_sets_and_of_the_baseline(sets, tmp_path, capsys):
    page = tmp_path / "slices.md"
    arguments = [
        str(sets / "one"),
        "--across",
        str(sets / "two"),
        "--others",
        f"more={sets / 'more'}",
    ]
    arguments += ["--scans", str(sets / "scans"), "--output", str(page)]
    assert run.main(arguments) == 0
    out = capsys.readouterr().out
    assert page.read_text() == out
    # Every fifth of 20 pictures, and one slice of 25.
    assert re.search(r"\| a slice and its copy: JPEG of quality 90 \| 5 \|.*\| 100\.0% \|", out)
    assert "| neighbouring slices of 1 scans" in out
    assert "| one | more | 0 | 1 |" in out and "| two | more | 1 | 0 |" in out
    assert re.search(r"\| one, 5 folds by source \| 20 \| 20 \| 0\.\d+ \(.*n=20\) \|", out)
    assert "| two, fitted on all of one | 20 | unknown |" in out


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert run.main([str(tmp_path / "nowhere")]) == 2
    assert "'nowhere' is none" in capsys.readouterr().err
