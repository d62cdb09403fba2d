"""Evidence of every kind: what it refuses, what it tells, and how it is drawn."""

import copy
import json
import math
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from covidctnet.evidence import (
    Box,
    Evidence,
    Finding,
    Heatmap,
    LesionVolume,
    Mask,
    Panels,
    QualityFindings,
    Region,
    Regions,
    SliceScores,
    evidence_from,
)
from covidctnet.report.evidence import Drawn, draw, draw_picture

AFFINE = np.array([[0, 0, 2.0, -9.0], [0, 2.0, 0, -7.0], [5.0, 0, 0, -100.0], [0, 0, 0, 1]])
GREY = np.linspace(0, 1, 3 * 8 * 10, dtype=np.float32).reshape(3, 8, 10)
WHERE = {"slices": (4, 5, 9), "affine": AFFINE}
BOXES = (Box(5, 1, 2, 4, 7, 0.93), Box(9, 0, 0, 3, 3, 0.81))

ALL = [
    LesionVolume(0.08, (Region("right", "lower", 400.0, 20.0),), (-80.0,)),
    SliceScores((0.1, 0.9, 0.4), (-100.0, -95.0, -90.0), "covid19", 0.5),
    QualityFindings((Finding("jpeg_quality", 71.0, "Compressed with loss."), Finding("mode", "L"))),
    Regions(label="covid19", boxes=BOXES, over=GREY, **WHERE),
    Panels(
        names=("input", "residual"),
        units=("unit", "residual"),
        images=(GREY, GREY - 0.5),
        window_hu=(-1000.0, 400.0),
        outline=GREY > 0.5,
        **WHERE,
    ),
    Mask(found=GREY > 0.5, score=GREY, over=GREY, **WHERE),
    Heatmap(label="covid19", values=GREY, over=GREY, **WHERE),
]
SPATIAL = [one for one in ALL if one.VOXELS]
by_type = pytest.mark.parametrize("evidence", ALL, ids=lambda one: type(one).__name__)
of_voxels = pytest.mark.parametrize("evidence", SPATIAL, ids=lambda one: type(one).__name__)


@by_type
def test_evidence_survives_json_without_its_voxels(evidence):
    data = json.loads(json.dumps(evidence.to_dict(), allow_nan=False))
    assert data == evidence.to_dict()
    assert not set(evidence.VOXELS) & data.keys()
    restored = evidence_from(data)
    if isinstance(evidence, Regions):
        assert restored == replace(evidence, over=None)
    else:
        assert restored == (None if evidence.VOXELS else evidence)


@by_type
def test_a_copy_is_equal_and_as_read_only(evidence):
    for again in (copy.deepcopy(evidence), pickle.loads(pickle.dumps(evidence))):
        assert again == evidence
        for name in again.VOXELS:
            held = getattr(again, name)
            for array in held if isinstance(held, tuple) else (held,) * (held is not None):
                assert not array.flags.writeable


@by_type
def test_every_kind_is_drawn_as_rows_or_lines(evidence):
    drawn = draw(evidence)
    assert drawn.rows or drawn.lines
    assert len(drawn.rows) == {Panels: 2, Mask: 1, Heatmap: 1, Regions: 1}.get(type(evidence), 0)
    assert "<script" not in drawn.lines
    if drawn.rows:
        assert draw_picture([evidence]).heights_mm == (-80.0, -75.0, -55.0)


def test_the_lines_say_what_was_found():
    lesions, scores, quality, regions = (str(draw(one).lines) for one in ALL[:4])
    assert "Affected: 5.0 % of the lungs, 20 of 400 ml" in lesions
    assert "Score of 3 slices for covid19" in scores and "-100 mm" in scores
    assert "<code>jpeg_quality</code>: 71.0. Compressed with loss." in quality
    assert "93% at z = -75 mm" in regions and "81% at z = -55 mm" in regions


def test_words_from_outside_are_text():
    hostile = "<script>x</script>"
    evidence = [
        QualityFindings((Finding(hostile, hostile, hostile),)),
        SliceScores((0.1, 0.2), label=hostile),
        Regions(label=hostile, boxes=(), slices=()),
    ]
    for one in evidence:
        assert "<script" not in draw(one).lines


def test_evidence_without_a_scale_or_slices_below_is_drawn_too():
    for one in (
        Regions(label="ill", boxes=BOXES, slices=()),
        Heatmap(label="ill", values=GREY, slices=(0, 1, 2)),
        Mask(found=GREY > 0.5, slices=(0, 1, 2)),
        SliceScores((0.3,)),
    ):
        drawn = draw(one)
        assert drawn.rows or drawn.lines
    assert math.isnan(Mask(found=GREY > 0.5, slices=(0, 1, 2)).voxel_ml)


def test_evidence_that_has_nothing_to_show_is_not_shown():
    for one in (LesionVolume(0.1, ()), SliceScores(()), QualityFindings(())):
        assert draw(one) == Drawn()


def test_a_kind_from_elsewhere_is_told_and_drawn_once_it_is_registered():
    @dataclass(frozen=True)
    class HeartSize(Evidence):
        share: float

    assert HeartSize(0.4).to_dict() == {"type": "heart_size", "share": 0.4}
    assert draw(HeartSize(0.4)) == Drawn()
    draw.register(HeartSize, lambda evidence: Drawn((), f"heart {evidence.share}"))
    assert draw(HeartSize(0.4)).lines == "heart 0.4"
    assert evidence_from(HeartSize(0.4).to_dict()) is None


@of_voxels
def test_some_slices_keep_their_places(evidence):
    cut = evidence.at([2, 0])
    assert cut.slices == (9, 4)
    assert cut.heights_mm == (-55.0, -80.0)
    name = evidence.VOXELS[0] if evidence.VOXELS != ("over",) else "over"
    whole, part = getattr(evidence, name), getattr(cut, name)
    whole, part = (x[0] if isinstance(x, tuple) else x for x in (whole, part))
    assert np.array_equal(part, whole[[2, 0]])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Heatmap(label="x", values=GREY, slices=(0, 1)), "2 slices first, got"),
        (lambda: Heatmap(label="x", values=GREY, over=GREY[:, :4], slices=(0, 1, 2)), "one shape"),
        (lambda: Mask(found=GREY > 0, slices=(0, 1, 2), affine=np.eye(3)), "4 x 4 affine"),
        (lambda: replace(ALL[4], units=("unit",)), "expected units and an image for each of"),
        (lambda: SliceScores((0.1, 0.2), (1.0,)), "a height for each of 2 scores, got 1"),
        (lambda: SliceScores((math.nan,)), "finite scores"),
        (lambda: Box(0, 4, 0, 4, 3, 0.5), "a box with an area"),
        (lambda: Box(0, 0, 0, 4, 3, 1.5), "a score in 0..1"),
    ],
)
def test_what_contradicts_itself_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("told", [{}, {"type": "slice_scores"}, {"type": "regions", "boxes": 3}])
def test_what_is_no_evidence_is_refused(told):
    with pytest.raises((KeyError, TypeError, ValueError)):
        evidence_from(told)
