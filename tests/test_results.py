import pytest

from covidctnet.errors import CohortError
from covidctnet.results import Failure, Label, Prediction


def test_class_order_is_control_covid_cap():
    assert [label.value for label in (Label.CONTROL, Label.COVID19, Label.CAP)] == [0, 1, 2]


@pytest.mark.parametrize("text", ["Covid-19", "COVID-19", "covid19", "CoViD 19", "covid_19"])
def test_spelling_of_a_label_does_not_matter(text):
    assert Label.parse(text) is Label.COVID19


def test_every_title_parses_to_its_label():
    assert [Label.parse(label.title) for label in Label] == list(Label)


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(
        CohortError, match="unknown label 'flu'; known labels are Control, Covid-19"
    ):
        Label.parse("flu")


def test_the_most_probable_label_wins():
    p = Prediction("s", {Label.CONTROL: 0.2, Label.COVID19: 0.3, Label.CAP: 0.5})
    assert p.label is Label.CAP
    assert p.status == "classified"


def test_flags_change_the_status():
    p = Prediction("s", dict.fromkeys(Label, 1 / 3), flags=("lossy",))
    assert p.status == "flagged"


@pytest.mark.parametrize("values", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_probabilities_must_be_probabilities(values):
    with pytest.raises(ValueError, match="sum to 1"):
        Prediction("s", dict(zip(Label, values, strict=True)))


def test_a_failure_says_whose_fault_it_is():
    assert Failure("s", "SLICE_GAP", "3 gaps").status == "refused"
