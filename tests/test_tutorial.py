"""The blocks of the tutorial for Python run as they stand, with small weights."""

import re
from pathlib import Path

import pytest

from covidctnet.weights import bundle
from tests.small import calibrated_weights

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tutorial-python.md"

if not PAGE.is_file():
    pytest.skip("the pages are not here", allow_module_level=True)


def blocks():
    """Every Python block of the page, with the blank lines above it, so that lines are right."""
    text = PAGE.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield "\n" * (text[: match.start(1)].count("\n")) + match[1]


def test_every_block_of_the_tutorial_runs_after_those_before_it(tmp_path, monkeypatch, capsys):
    calibrated_weights(tmp_path / "shipped" / "compact")
    monkeypatch.setattr(bundle, "weights_root", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    names = {}
    pieces = list(blocks())
    assert len(pieces) > 8
    for block in pieces:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "NOT_HU" in printed
    assert printed.count("<Prediction ") == 4
    assert "not estimable" in printed
    page = (tmp_path / "evaluation" / "index.html").read_text()
    assert "Answers of" in page
    assert (tmp_path / "residual.nii.gz").is_file()


def test_a_phantom_of_the_tutorial_is_called_one_where_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = next(blocks()).replace("for label in CHEST_CT:", "for label in [CHEST_CT.CAP]:")
    names = {}
    exec(compile(first, str(PAGE), "exec"), names)
    assert "synthetic patient (phantom)" in names["volume"]._repr_html_()
