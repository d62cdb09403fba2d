"""Every hard input is read to its known voxels at their known places, or refused by name."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from covidctnet import read_volume
from covidctnet.errors import StudyError
from tests.catalogue.cases import FORMATS, GROUPS, SECRETS, Case, Truth, every_case

CASES = every_case()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"
LEAST = 120


def _names_under(folder: Path) -> Iterator[str]:
    """Names that no message may hold; short ones occur by chance."""
    yield str(folder)
    for path in folder.rglob("*"):
        if len(path.name) > 4:
            yield path.name


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_hard_input_is_read_exactly_or_refused_by_name(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    expected = case.build(folder)
    path = case.input_in(folder)
    if isinstance(expected, Truth):
        volume = read_volume(path, **case.options)
        assert volume.array.shape == expected.array.shape
        apart = np.abs(volume.array.astype(np.float64) - expected.array)
        assert apart.max() <= expected.tolerance_hu
        np.testing.assert_allclose(volume.affine, expected.affine, rtol=0, atol=1e-4)
        assert set(expected.flags) <= set(volume.source.flags)
        return
    with pytest.raises(StudyError) as caught:
        read_volume(path, **case.options)
    assert caught.value.code == expected.code, str(caught.value)
    # What was wanted and what came; then, in a sentence of its own, what to do.
    assert re.fullmatch(r".+[.)] [A-Z].+\.", caught.value.message), caught.value.message
    assert caught.value.study or caught.value.code == "NOT_CT"
    told = [name for name in (*SECRETS, *_names_under(folder)) if name in str(caught.value)]
    assert not told


def test_the_catalogue_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= LEAST and len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in names)
    assert {case.format for case in CASES} == set(FORMATS)


def test_every_group_of_inputs_has_cases() -> None:
    assert {case.group for case in CASES} == set(GROUPS)


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not here")
def test_the_page_shows_exactly_the_cases_of_the_catalogue() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)`", PAGE.read_text(), re.MULTILINE)
    assert rows == [case.name for case in CASES]
