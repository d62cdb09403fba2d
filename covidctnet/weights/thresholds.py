"""Operating points that a card states, as thresholds of the probability that is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidctnet.slicewise.operating import OperatingPoints

__all__ = ["OPERATING_POINTS", "points_of", "thresholds_of"]

OPERATING_POINTS = "operating_points"
"""Entry of the cards whose probabilities are compared with the points as they are."""


def thresholds_of(card: Mapping[str, Any]) -> dict[str, float]:
    """Thresholds of the probability of the target class, by the name of the point.

    Args:
        card: From `covidctnet.weights.card.read_card`, or of answers made elsewhere: empty.

    Returns:
        Nothing where the card names none, as older cards do.

    Some systems move a patient's score so that one half stands for the balanced point, and answer
    with the moved score; their other points are moved in the same way here.
    """
    points = points_of(card)
    if points is None:
        return {}
    if card.get(OPERATING_POINTS):
        return dict(points.thresholds)
    return {name: points.decided(value) for name, value in points.thresholds.items()}


def points_of(card: Mapping[str, Any]) -> OperatingPoints | None:
    """The operating points that a card states, as they were chosen; None where it states none."""
    settings = card.get("settings")
    moved = settings.get("points") if isinstance(settings, Mapping) else None
    return OperatingPoints.from_card(card.get(OPERATING_POINTS) or moved or None)
