"""Who was evaluated, and what missing answers may hide."""

from dataclasses import replace

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.flow import FlowStep, flow_of, group_of
from covidctnet.evaluation.worst import worst_case
from covidctnet.report.flow_chart import flow_chart, flow_rows
from covidctnet.results import Failure, Prediction

CONTROL, COVID19, CAP = CHEST_CT


def case(study, truth, answer, **more):
    if answer is None:
        return Case(truth, Failure(study, "SLICE_GAP", ""), **more)
    values = {label: 0.8 if label is answer else 0.1 for label in CHEST_CT}
    return Case(truth, Prediction(study, values), **more)


CASES = [
    case("a", COVID19, COVID19),
    case("b", COVID19, None),
    case("c", CAP, CAP),
    case("d", CONTROL, CONTROL),
    case("e", CONTROL, COVID19),
    case("f", CONTROL, None, is_refused_before=True),
]


def test_in_the_worst_case_a_missing_answer_is_a_miss_or_a_false_alarm():
    found = worst_case(CASES, CHEST_CT, np.random.default_rng(0))
    values = {name: (round(e.value * e.n), e.n) for name, e in found.items()}
    assert values["accuracy"] == (3, 6)
    assert values["target sensitivity"] == (1, 2)
    assert values["target specificity"] == (2, 4)
    assert values["target accuracy"] == (3, 6)
    assert values["CAP sensitivity"] == (1, 1)
    assert values["Control sensitivity"] == (1, 3)
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_intervals_of_the_worst_case_draw_patients_where_they_have_several_studies():
    # Both studies of a patient are answered, or none is.
    cases = [
        case(f"{truth} {n} {k}", truth, truth if n % 2 else None, patient=f"{truth} {n}")
        for truth in CHEST_CT
        for n in range(8)
        for k in range(2)
    ]
    alone = [replace(one, patient="") for one in cases]
    rng = np.random.default_rng(0)
    together, apart = (worst_case(some, CHEST_CT, rng)["accuracy"] for some in (cases, alone))
    assert together.value == apart.value == 0.5
    assert together.n == apart.n == 48
    assert together.high - together.low > 1.2 * (apart.high - apart.low)


def test_the_flow_counts_every_study_at_every_step_and_tells_why_some_are_gone():
    before = FlowStep("Cohort", group_of([("p", CAP)] * 9), {"to train": 3})
    flow = flow_of(CASES, before=[before])
    assert [(s.name, s.group.studies, dict(s.left)) for s in flow.steps] == [
        ("Cohort", 9, {"to train": 3}),
        ("To be answered", 6, {"SLICE_GAP": 1}),
        ("Preprocessed", 5, {"SLICE_GAP": 1}),
        ("With an answer", 4, {}),
    ]
    assert flow.steps[0].group.patients == 1
    for step, after in zip(flow.steps, flow.steps[1:], strict=False):
        assert step.group.studies - sum(step.left.values()) == after.group.studies
    chart = flow_chart(flow)
    assert "Cohort: 9 studies" in chart and "of 1 patient<" in chart
    assert "1 SLICE_GAP" in chart and "2 Control, 1 Covid-19, 1 CAP" in chart
    rows = flow_rows(flow)
    assert ("Preprocessed", "left out: SLICE_GAP", 1, "", "", "", "") in [tuple(r) for r in rows]


@pytest.mark.parametrize("count", [1, 9])
def test_many_reasons_are_added_up_in_the_chart(count):
    cases = [Case(CAP, Failure(str(n), f"CODE_{n}", "")) for n in range(count)]
    chart = flow_chart(flow_of([*cases, case("x", CAP, CAP)]))
    assert f"{count} {'study' if count == 1 else 'studies'} left out" in chart
    assert ("for 3 other reasons" in chart) == (count == 9)
