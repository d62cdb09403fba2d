"""Operating points that a card states, as thresholds of the probability that is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidctnet.slicewise.operating import OperatingPoints

__all__ = ["OPERATING_POINTS", "thresholds_of"]

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
    if entry := card.get(OPERATING_POINTS):
        return dict(OperatingPoints.from_card(entry).thresholds)  # type: ignore[union-attr]
    settings = card.get("settings")
    entry = settings.get("points") if isinstance(settings, Mapping) else None
    if not entry:
        return {}
    points = OperatingPoints.from_card(entry)
    assert points is not None
    return {name: points.decided(value) for name, value in points.thresholds.items()}
