"""The figures of a paper on the page of an evaluation, with intervals from their counts."""

import pytest

from covidctnet.published import PublishedFigures
from covidctnet.registry import find_system
from covidctnet.report.published import COUNTED, published_rows


def test_shares_of_a_paper_have_wilsons_intervals():
    tests = find_system("deeptek_unet").published
    told = dict(published_rows(tests))
    scans = next(row for name, row in told.items() if ": scans " in name)
    value = scans["sensitivity"]
    assert (round(value.value, 3), round(value.low, 3), round(value.high, 3), value.n) == (
        0.964,
        0.823,
        0.994,
        28,
    )
    assert set(scans) == set(COUNTED)


def test_a_row_says_its_unit_and_which_counts_are_worked_out():
    one = PublishedFigures.of_matrix(
        "test", "A paper", "slice", sensitivity=(3, 4), specificity=(1, 2), figures={"auc": 0.9}
    )
    (name, _) = next(published_rows([one]))
    assert name == "A paper: test (by slice; printed: AUC 0.9)"
    other = PublishedFigures.of_matrix(
        "test", "A paper", "scan", sensitivity=(3, 4), specificity=(1, 2), reconstructed=True
    )
    assert "counts worked out from printed rates" in next(published_rows([other]))[0]


@pytest.mark.parametrize("name", ["resnet50_slices", "deeptek_unet"])
def test_every_system_of_slices_brings_what_its_paper_reports(name):
    assert find_system(name).published
