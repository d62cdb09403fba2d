"""What the CovidCTNet paper reports, as counts, so that its intervals can be shown next to ours.

Source: Javaheri et al. 2020, arXiv:2005.03059: 24 hold-out cases and 20 independent ones, the
latter also read by four radiologists, whose percentages are means over readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from covidctnet.evaluation.intervals import Estimate, wilson

__all__ = ["FIGURES", "PUBLISHED", "READERS", "READERS_CASES", "Figures"]

FIGURES = ("accuracy", "covid_accuracy", "sensitivity", "specificity")
Figures = Mapping[str, Estimate]


def _set(**counts: tuple[int, int]) -> Figures:
    return MappingProxyType({name: wilson(*count) for name, count in counts.items()})


PUBLISHED: Mapping[str, Figures] = MappingProxyType(
    {
        "CovidCTNet paper, hold-out": _set(
            accuracy=(21, 24), covid_accuracy=(22, 24), sensitivity=(7, 8), specificity=(15, 16)
        ),
        "CovidCTNet paper, independent": _set(
            accuracy=(17, 20), covid_accuracy=(18, 20), sensitivity=(5, 6), specificity=(13, 14)
        ),
    }
)
# Means over four radiologists on the independent cases: no counts, so no intervals.
READERS_CASES = 20
READERS: Mapping[str, float] = MappingProxyType(
    {"accuracy": 0.71, "covid_accuracy": 0.81, "sensitivity": 0.79, "specificity": 0.8214}
)
