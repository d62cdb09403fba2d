import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.use import assess_use
from covidctnet.report import use_charts
from tests.evaluation.few_draws import few_draws
from tests.report.test_charts import axes, parts, words

pytestmark = pytest.mark.usefixtures(few_draws.__name__)


def use(n=60, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), n)
    truth = np.array([rng.choice(3, p=p) for p in probabilities])
    return assess_use(truth, probabilities, CHEST_CT, rng=rng)


def test_a_dot_lies_where_its_group_was_told_and_observed():
    found = use().calibration[CHEST_CT.COVID19]
    svg = use_charts.calibration_by_class(found, label=CHEST_CT.COVID19)
    dots = parts(svg)["circle"]
    at = np.array([[float(dot.get("cx")), float(dot.get("cy"))] for dot in dots])
    expected = [[g.told, g.observed.value] for g in found.groups]
    assert np.allclose(axes(svg)(at), expected, atol=0.003)
    assert any(f"Brier {found.brier.value:.2f}" in text for text in words(svg))


def test_the_decision_curve_says_which_line_is_which_above_the_plot():
    svg = use_charts.decision(use().decisions[CHEST_CT.CAP], label=CHEST_CT.CAP)
    assert any("dashed: act on all; dotted: on none" in text for text in words(svg))
    dashes = {node.get("stroke-dasharray") for node in parts(svg)["path"]}
    assert {"6 4", "2 3"} <= dashes


def test_net_benefit_far_below_none_is_cut_at_the_axis():
    rng = np.random.default_rng(1)
    truth = np.array([0] * 57 + [1, 1, 2])
    probabilities = np.full((60, 3), [0.01, 0.98, 0.01])
    found = assess_use(truth, probabilities, CHEST_CT, rng=rng)
    curve = found.decisions[CHEST_CT.COVID19]
    assert curve.model.y.min() < -10
    svg = use_charts.decision(curve, label=CHEST_CT.COVID19)
    heights = [
        float(value)
        for node in parts(svg)["path"]
        for value in node.get("d").replace("M", "").replace("L", "").replace("z", "").split()[1::2]
    ]
    assert max(heights) <= 294
