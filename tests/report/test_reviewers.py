import numpy as np
import pytest

from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.output import as_plain
from covidctnet.report.reviewers import answers, leakage_of, render_reviewers
from covidctnet.report.run_facts import RunFacts
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
RUN = RunFacts("A run", "a@example.org", "2026-01-02")


def plain(cases=None, *, taught=None, elsewhere=False, thresholds=None, known=frozenset()):
    found = assess(
        cases or simulated(24),
        rng=np.random.default_rng(0),
        thresholds=thresholds,
        known_sites=known,
    )
    leakage = leakage_of(taught or {}, made_elsewhere=elsewhere)
    return {"weights": "mine", "weights_digest": "0" * 12, "leakage": leakage} | as_plain(found)


def words(value):
    return {one.question: one.words for one in answers(value)}


def test_five_questions_are_answered_each_with_a_link():
    found = answers(plain())
    assert [one.question for one in found] == [
        "Leakage?",
        "Calibration?",
        "External?",
        "How many refused?",
        "Who chose the threshold?",
    ]
    text = render_reviewers(plain(), RUN).decode()
    assert all(f'href="{one.link}"' in text for one in found)
    assert "A run · 2026-01-02" in text


def test_a_check_that_was_not_made_is_not_claimed():
    assert words(plain())["Leakage?"].startswith("Not checked")
    elsewhere = plain(elsewhere=True) | {"caveat": "has not been checked."}
    assert words(elsewhere)["Leakage?"] == "has not been checked."
    taught = {"a": "denoiser", "b": "classifier"}
    assert "names 2 scans" in words(plain(taught=taught))["Leakage?"]


def test_refused_studies_are_counted_by_class():
    assert (
        "2 of 26 studies have no answer (1 Control, 1 Covid-19)"
        in words(plain(simulated(24, failures=2)))["How many refused?"]
    )
    assert words(plain(simulated(24, failures=0)))["How many refused?"] == (
        "None: all 24 studies have an answer."
    )


def test_who_chose_the_threshold_is_told_only_where_somebody_did():
    assert words(plain())["Who chose the threshold?"].startswith("Nobody")
    chosen = words(plain(thresholds={"rule-in": 0.75}))["Who chose the threshold?"]
    assert "validation data" in chosen
    assert "rule-in 0.75" in chosen


def test_external_figures_are_those_of_unseen_sites():
    value = plain(simulated(60), known={"amber"})
    unseen = value["generalisation_gap"]["unseen"]["accuracy"]["value"]
    assert f"not seen: {unseen:.2f}" in words(value)["External?"]
    assert "shows nothing about other hospitals" in words(plain())["External?"]


def test_a_single_patient_makes_no_number_up():
    found = words(plain(simulated(1, failures=0)))
    assert "not estimable" in found["Calibration?"]
    assert "nan" not in " ".join(found.values()).lower()


def test_an_external_test_is_told_apart():
    value = plain(simulated(24)) | {"external": plain(simulated(12, seed=3))}
    (one,) = [a for a in answers(value) if a.question == "External?"]
    accuracy = value["external"]["overall"]["accuracy"]["value"]
    assert f"accuracy {accuracy:.2f}" in one.words
    assert one.words.startswith("12 studies")
    assert one.link == "index.html#external"


def test_an_external_test_of_answers_made_elsewhere_is_the_word_of_their_file():
    value = plain(simulated(24), elsewhere=True)
    value["external"] = plain(simulated(12, seed=3)) | {"is_checked": False}
    assert "has not been checked" in words(value)["External?"]
    assert "nothing was trained" not in words(value)["External?"]


def test_the_external_test_and_the_worst_case_are_told_beside_who_has_no_answer():
    value = plain(simulated(24, failures=2)) | {"external": plain(simulated(12, failures=3))}
    found = words(value)["How many refused?"]
    assert "counted in the worst case alone" in found
    assert "Of the external test, 3 of 15 have no answer" in found
    value = plain(simulated(24, failures=0)) | {"external": plain(simulated(12, failures=0))}
    found = words(value)["How many refused?"]
    assert found.endswith("studies have an answer. All 12 of the external test have one.")
