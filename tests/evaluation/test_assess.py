import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import CohortError
from covidctnet.evaluation.assess import Assessment, assess
from covidctnet.evaluation.output import as_plain, markdown
from covidctnet.evaluation.predictions import read_predictions
from covidctnet.evaluation.sheets import predictions_table, sheets
from covidctnet.evidence import LesionVolume
from covidctnet.files import table_text
from covidctnet.report.evaluation_page import render_evaluation
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import case, refused, simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)


def assessed(cases, **rest):
    return assess(cases, rng=np.random.default_rng(0), **rest)


def test_studies_without_an_answer_are_named_and_counted_in_no_figure():
    assessment = assessed(simulated(18, failures=2))
    assert assessment.n == 18
    assert [f.code for f in assessment.failures] == ["SLICE_GAP", "SLICE_GAP"]
    assert assessment.scores.overall["accuracy"].n == 18


def test_the_coverage_of_sets_is_the_share_that_holds_the_truth():
    cases = [
        case("a", CHEST_CT.CAP, [0, 0.4, 0.6], prediction_set=(CHEST_CT.COVID19, CHEST_CT.CAP)),
        case("b", CHEST_CT.CAP, [0.9, 0.1, 0], prediction_set=(CHEST_CT.CONTROL,)),
        case("c", CHEST_CT.CONTROL, [0.9, 0.1, 0], prediction_set=(CHEST_CT.CONTROL,)),
        case("d", CHEST_CT.CONTROL, [0.4, 0.3, 0.3], prediction_set=tuple(CHEST_CT)),
    ]
    sets = assessed(cases).sets
    assert (sets.coverage.value, sets.coverage.n) == (0.75, 4)
    assert sets.by_label[CHEST_CT.CAP].value == 0.5
    assert sets.by_label[CHEST_CT.COVID19].n == 0
    assert (sets.abstained.value, sets.size.value) == (0.5, 1.75)


def test_affected_lung_and_strangeness_are_told_by_true_class():
    cases = simulated(60, failures=0)
    assessment = assessed(cases)
    for label in CHEST_CT:
        own = [c.outcome for c in cases if c.truth is label]
        shares = [100 * p.find(LesionVolume).share for p in own]
        assert assessment.affected_lung[label].median == pytest.approx(np.median(shares))
        flagged = sum("out_of_distribution" in p.flags for p in own)
        assert assessment.out_of_distribution[label].value == pytest.approx(flagged / len(own))


def test_weights_that_know_neither_sets_nor_lesions_give_none():
    assessment = assessed(simulated(12, rich=False))
    assert assessment.sets is None
    assert assessment.affected_lung == assessment.out_of_distribution == {}
    assert assessment.strata == ()


def test_a_class_that_is_missing_leaves_its_figures_not_estimable():
    assessment = assessed(simulated(12, labels=(CHEST_CT.CONTROL, CHEST_CT.CAP)))
    assert CHEST_CT.COVID19 not in assessment.roc
    assert math.isnan(assessment.scores.by_label[CHEST_CT.COVID19]["auc"].value)
    assert math.isnan(assessment.scores.overall["macro_auc"].value)
    assert "not estimable" in markdown(assessment)


def test_one_patient_is_assessed_without_a_made_up_number():
    assessment = assessed(simulated(1, failures=0))
    assert assessment.roc == {}
    assert math.isnan(assessment.calibration_error.low)
    assert assessment.scores.overall["accuracy"].n == 1


def test_a_study_that_is_there_twice_is_refused():
    with pytest.raises(CohortError, match="twice"):
        assessed([*simulated(3, failures=0), *simulated(1, failures=0)])


def test_no_answer_at_all_is_refused_with_the_first_reason():
    with pytest.raises(CohortError, match=r"none of 1 studies got an answer .*3 gaps"):
        assessed([refused("a")])


def test_the_plain_form_is_json_without_nan():
    for cases in (simulated(20), simulated(1, failures=0)):
        text = json.dumps(as_plain(assessed(cases, known_sites={"amber"})), allow_nan=False)
        assert json.loads(text)["overall"]["accuracy"]["n"] >= 1


def test_the_answers_that_are_written_are_read_back(tmp_path):
    cases = simulated(9)
    file = tmp_path / "predictions.csv"
    file.write_text(table_text(predictions_table(cases)))
    back = read_predictions(file)
    answered = {c.study: c for c in cases[:9]}
    assert set(back.studies) == set(answered)
    assert back.unanswered == tuple(sorted(c.study for c in cases[9:]))
    for study, truth, probabilities in zip(
        back.studies, back.truth, back.probabilities, strict=True
    ):
        assert truth == answered[study].truth
        assert probabilities.tolist() == pytest.approx(
            list(answered[study].outcome.probabilities.values()), abs=1e-6
        )


def test_the_json_holds_all_that_an_assessment_has():
    plain = as_plain(assessed(simulated(24)))
    elsewhere = {
        "scores": ("overall", "covid19_against_rest", "by_label", "confusion"),
        "roc": ("curves",),
        "precision_recall": ("curves",),
        "reliability": ("curves",),
        "risk_coverage": ("curves",),
        "error_by_chance": ("calibration_error_by_chance",),
        "sets": ("prediction_sets",),
        "out_of_distribution": ("out_of_distribution",),
        "affected_lung": ("affected_lung_percent",),
        "use": ("calibration_by_label", "decision_curves", "operating_points"),
    }
    expected = {k for f in fields(Assessment) for k in elsewhere.get(f.name, (f.name,))}
    assert expected <= set(plain)
    assert set(plain["curves"]) == {"roc", "precision_recall", "reliability", "risk_coverage"}


def test_every_number_of_the_json_stands_in_a_spreadsheet():
    assessment = assessed(simulated(24), known_sites={"amber"})
    plain = as_plain(assessment)
    rows = {(row[0], row[1]): row[2:] for row in sheets(assessment)["figures.csv"][1:]}
    groups = {"all classes": plain["overall"], **plain["by_label"]}
    for group, figures in groups.items():
        for name, e in figures.items():
            cells = ["" if e[k] is None else f"{e[k]:.6g}" for k in ("value", "low", "high")]
            assert list(rows[group, name]) == [*cells, e["n"]]
    assert ("calibration", "by_chance_alone") in rows
    assert ("sets of labels", "coverage") in rows
    assert ("CovidCTNet paper, hold-out, on its cases", "accuracy") in rows
    assert sheets(assessment)["confusion.csv"][1][1:] == tuple(plain["confusion"]["rows"][0])


def test_several_studies_of_a_patient_are_told_wherever_intervals_are():
    cases = simulated(24, failures=0)
    assert "studies of" not in markdown(assessed(cases))
    doubled = [replace(c, patient=f"patient {n // 2}") for n, c in enumerate(cases)]
    assessment = assessed(doubled)
    assert "24 studies of 12 patients" in markdown(assessment)
    page = render_evaluation(assessment, provenance={}, caveat="").decode()
    assert "24 studies of 12 patients" in page


def test_the_tables_hold_the_curves():
    assessment = assessed(simulated(24))
    tables = sheets(assessment)
    assert set(tables) == {
        *("roc.csv", "precision-recall.csv", "reliability.csv"),
        *("risk-coverage.csv", "strata.csv", "figures.csv", "confusion.csv"),
        *("affected-lung.csv", "failures.csv", "calibration.csv", "calibration-curve.csv"),
        *("decision-curve.csv", "operating-points.csv"),
    }
    assert len(tables["roc.csv"]) == 1 + 3 * 101
    assert len(tables["strata.csv"]) == 1 + len(assessment.strata)
