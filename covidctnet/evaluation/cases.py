"""One labelled study and what came of it: what every figure of an evaluation is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from covidctnet.classes import Label
from covidctnet.evaluation.localise import Localisation
from covidctnet.results import Failure, Prediction

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A study with its truth and its answer.

    Attributes:
        truth: Its label.
        outcome: The answer, or why there is none.
        site: Where it was scanned, as the cohort file says; empty when it does not.
        traits: What the figures are told apart by, text or numbers by name: ``slice_mm``,
            ``noise_hu``, ``kernel``, ``kvp``, ``scanner``, ``exposure_mas``.
        localisation: Residual against the true lesions, where there is a mask of them.
        patient: Pseudonym; empty when it is not known, which counts as one of its own.
    """

    truth: Label
    outcome: Prediction | Failure
    site: str = ""
    traits: Mapping[str, str | float] = field(default_factory=dict)
    localisation: Localisation | None = None
    patient: str = ""

    @property
    def study(self) -> str:
        """Short study id."""
        return self.outcome.study
