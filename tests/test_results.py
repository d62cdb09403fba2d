import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import CohortError
from covidctnet.report.words import FLAG_WORDS
from covidctnet.results import INFORMATION, Failure, Prediction, reservations


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


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (("lossy",), "flagged"),
        (("contrast",), "classified"),
        (("contrast", "out_of_distribution"), "flagged"),
    ],
)
def test_a_reservation_changes_the_status_and_information_does_not(flags, status):
    p = Prediction("s", dict.fromkeys(CHEST_CT, 1 / 3), flags=flags)
    assert (p.flags, p.status) == (flags, status)


def test_all_that_only_informs_is_a_flag_with_words():
    assert set(FLAG_WORDS) >= INFORMATION
    assert reservations(FLAG_WORDS) == tuple(f for f in FLAG_WORDS if f not in INFORMATION)


@pytest.mark.parametrize("values", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_probabilities_must_be_probabilities(values):
    with pytest.raises(ValueError, match="sum to 1"):
        Prediction("s", dict(zip(CHEST_CT, values, strict=True)))


def test_a_failure_says_whose_fault_it_is():
    assert Failure("s", "SLICE_GAP", "3 gaps").status == "refused"
