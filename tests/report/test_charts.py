"""The charts draw what they are given: places are read back from the ticks of the axes."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.assess import Spread
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.report import charts

X = np.linspace(0, 1, 5)
Y = np.array([0.0, 0.5, 0.7, 0.9, 1.0])
CURVE = Curve(X, Y, Y * 0.8, np.minimum(1, Y * 1.1), positive=9, n=30)
BARE = Curve(X, Y, np.full(5, np.nan), np.full(5, np.nan), positive=1, n=3)
FIGURE = Estimate(0.75, 0.6, 0.9, 30)


def parts(svg):
    root = ET.fromstring(svg)
    by_kind = {"text": [], "path": [], "circle": []}
    for node in root.iter():
        by_kind.setdefault(node.tag.rpartition("}")[2], []).append(node)
    return by_kind


def words(svg):
    return ["".join(node.itertext()) for node in parts(svg)["text"]]


def points(path):
    return np.array(re.findall(r"([\d.]+) ([\d.]+)", path.get("d")), float)


def axes(svg):
    """The way from places in the drawing back to values, by the ticks' own numbers and places."""
    ticks = {"end": [], "middle": []}
    for node in parts(svg)["text"]:
        text = "".join(node.itertext())
        if re.fullmatch(r"\d+(\.\d+)?", text) and float(node.get("font-size", 12)) == 12:
            ticks[node.get("text-anchor", "start")].append(
                (float(node.get("x")), float(node.get("y")), float(text))
            )
    x = np.polyfit([t[0] for t in ticks["middle"]], [t[2] for t in ticks["middle"]], 1)
    y = np.polyfit([t[1] - 4 for t in ticks["end"]], [t[2] for t in ticks["end"]], 1)
    return lambda at: np.column_stack([np.polyval(x, at[:, 0]), np.polyval(y, at[:, 1])])


def drawn(svg, colour):
    """Points of the thick line of a colour, as values."""
    [line] = [
        path
        for path in parts(svg)["path"]
        if path.get("stroke") == colour and path.get("stroke-width") == "2.2"
    ]
    return axes(svg)(points(line))


@pytest.mark.parametrize("label", list(CHEST_CT))
def test_a_curve_lies_where_its_values_are(label):
    roc = charts.roc(CURVE, label=label, area=FIGURE)
    recall = charts.precision_recall(CURVE, label=label, precision=FIGURE)
    for svg in (roc, recall):
        picture = drawn(svg, charts.COLOURS[label])
        assert np.allclose(picture, np.column_stack([X, Y]), atol=0.002)
        assert any("n = 9 of 30" in text for text in words(svg))
        assert any("95 % interval 0.60 to 0.90" in text for text in words(svg))
    assert any(text.startswith("AUC 0.75") for text in words(roc))
    assert any(text.startswith("average precision 0.75") for text in words(recall))


def test_the_band_runs_up_and_down_around_the_curve():
    svg = charts.roc(CURVE, label=CHEST_CT.CAP, area=FIGURE)
    [band] = [
        path for path in parts(svg)["path"] if path.get("fill") == charts.COLOURS[CHEST_CT.CAP]
    ]
    ends = axes(svg)(points(band))
    assert np.allclose(ends[:5, 1], CURVE.high, atol=0.002)
    assert np.allclose(ends[5:, 1], CURVE.low[::-1], atol=0.002)


def test_no_word_lies_within_the_plot():
    svg = charts.precision_recall(CURVE, label=CHEST_CT.CAP, precision=FIGURE)
    left, top, bottom = 58, 52, 288
    inside = [
        node.text
        for node in parts(svg)["text"]
        if left < float(node.get("x")) < 346 and top < float(node.get("y")) < bottom
    ]
    assert inside == []


def test_too_few_patients_draw_no_band_and_say_so():
    svg = charts.roc(BARE, label=CHEST_CT.CAP, area=Estimate(0.7, np.nan, np.nan, 3))
    assert not [p for p in parts(svg)["path"] if p.get("fill") == charts.COLOURS[CHEST_CT.CAP]]
    assert any("interval not estimable" in text for text in words(svg))
    assert "too few patients for a band" in svg


def test_the_confusion_matrix_has_truth_down_and_answers_across():
    matrix = np.array([[7, 2, 1], [0, 0, 0], [3, 4, 5]])
    svg = charts.confusion(matrix, CHEST_CT)
    cells = [
        (float(n.get("y")), float(n.get("x")), int(n.text))
        for n in parts(svg)["text"]
        if n.get("font-size") == "22"
    ]
    assert [count for *_, count in sorted(cells)] == matrix.ravel().tolist()
    # Nobody of the second class: a count, no share of nothing.
    assert len([text for text in words(svg) if text.endswith(" %")]) == 6
    assert f"Truth and answer (n = {matrix.sum()})" in words(svg)


def test_calibration_puts_a_dot_where_it_was_said_and_right():
    bins = [(0.4, Estimate(0.3, 0.1, 0.6, 10)), (0.9, Estimate(0.95, 0.8, 0.99, 30))]
    svg = charts.reliability(bins, n=40)
    dots = parts(svg)["circle"]
    at = np.array([[float(dot.get("cx")), float(dot.get("cy"))] for dot in dots])
    assert np.allclose(axes(svg)(at), [[0.4, 0.3], [0.9, 0.95]], atol=0.002)
    assert float(dots[0].get("r")) < float(dots[1].get("r"))


def test_the_risk_fills_its_axis():
    y = np.array([0.0, 0.0, 0.1, 0.1, 0.12])
    svg = charts.risk_coverage(Curve(X, y, y * 0.5, y * 1.5, positive=5, n=40))
    assert np.allclose(drawn(svg, charts.COLOURS[CHEST_CT.CONTROL])[:, 1], y, atol=0.001)


def test_every_patient_is_a_dot_at_his_affected_lung():
    values = (0.0, 1.0, 1.0, 7.5)
    spreads = {
        CHEST_CT.CONTROL: Spread(()),
        CHEST_CT.COVID19: Spread(values),
        CHEST_CT.CAP: Spread((3.0,)),
    }
    svg = charts.affected_lung(spreads)
    dots = parts(svg)["circle"]
    assert len(dots) == 5
    assert len({(dot.get("cx"), dot.get("cy")) for dot in dots}) == 5
    y = [
        float(dot.get("cy")) for dot in dots if dot.get("fill") == charts.COLOURS[CHEST_CT.COVID19]
    ]
    assert y == sorted(y, reverse=True) and y[1] == y[2]
    ratio = (y[0] - y[3]) / (y[0] - y[1])
    assert ratio == pytest.approx(7.5, rel=0.02)
    assert "Control (n = 0)" in words(svg)
