import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import CohortError
from covidctnet.results import Failure, Prediction


def test_class_order_is_control_covid_cap():
    assert [label.key for label in CHEST_CT] == ["control", "covid19", "cap"]
    assert [int(label) for label in CHEST_CT] == [0, 1, 2]


@pytest.mark.parametrize("text", ["Covid-19", "COVID-19", "covid19", "CoViD 19", "covid_19"])
def test_spelling_of_a_label_does_not_matter(text):
    assert CHEST_CT.parse(text) is CHEST_CT.COVID19


def test_every_title_parses_to_its_label():
    assert [CHEST_CT.parse(label.title) for label in CHEST_CT] == list(CHEST_CT)


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(
        CohortError, match="unknown label 'flu'; known labels are Control, Covid-19"
    ):
        CHEST_CT.parse("flu")


def test_the_most_probable_label_wins():
    p = Prediction("s", {CHEST_CT.CONTROL: 0.2, CHEST_CT.COVID19: 0.3, CHEST_CT.CAP: 0.5})
    assert p.label is CHEST_CT.CAP
    assert p.status == "classified"


def test_flags_change_the_status():
    p = Prediction("s", dict.fromkeys(CHEST_CT, 1 / 3), flags=("lossy",))
    assert p.status == "flagged"


@pytest.mark.parametrize("values", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_probabilities_must_be_probabilities(values):
    with pytest.raises(ValueError, match="sum to 1"):
        Prediction("s", dict(zip(CHEST_CT, values, strict=True)))


def test_a_failure_says_whose_fault_it_is():
    assert Failure("s", "SLICE_GAP", "3 gaps").status == "refused"
