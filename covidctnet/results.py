"""Answers: a label with its probabilities, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from covidctnet.errors import CohortError


class Label(IntEnum):
    """The three classes, in the order of the network's outputs; the one place that knows it."""

    CONTROL = 0
    COVID19 = 1
    CAP = 2

    @property
    def title(self) -> str:
        """The name a person reads, and the name of the cohort's folder."""
        return _TITLES[self]

    @property
    def key(self) -> str:
        """The name in column headers: ``control``, ``covid19`` or ``cap``."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.title

    @classmethod
    def parse(cls, text: str) -> Label:
        """The label that `text` names, whatever its case and punctuation.

        Raises:
            CohortError: If no label goes by that name.
        """
        try:
            return _SPELLINGS["".join(c for c in text.casefold() if c.isalnum())]
        except KeyError:
            known = ", ".join(label.title for label in cls)
            raise CohortError(f"unknown label {text!r}; known labels are {known}") from None


_TITLES = {Label.CONTROL: "Control", Label.COVID19: "Covid-19", Label.CAP: "CAP"}
_SPELLINGS = {
    "control": Label.CONTROL,
    "controls": Label.CONTROL,
    "normal": Label.CONTROL,
    "covid19": Label.COVID19,
    "covid": Label.COVID19,
    "cap": Label.CAP,
}


@dataclass(frozen=True)
class Prediction:
    """The answer for one study.

    Attributes:
        study: Short study id.
        probabilities: One probability a label; they sum to 1.
        flags: Reservations of the reader and the gates, such as ``thick_slices``.
        seconds: Wall-clock seconds by stage, in the order they ran.
        weights: Digest of the weights and of the settings that came with them.
        notes: What the reader and the stages did, one sentence each.
        images: Voxels kept for a picture, by name (``input``, ``denoised``, ``residual``), each
            (slice, row, column) or None; only when asked for.
    """

    study: str
    probabilities: Mapping[Label, float]
    flags: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    weights: str = ""
    notes: tuple[str, ...] = ()
    images: Mapping[str, object] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = {label: float(self.probabilities[label]) for label in Label}
        if not math.isclose(sum(values.values()), 1.0, abs_tol=1e-4) or min(values.values()) < 0:
            raise ValueError(f"probabilities must be non-negative and sum to 1, got {values}")
        object.__setattr__(self, "probabilities", MappingProxyType(values))
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))

    @property
    def label(self) -> Label:
        """The most probable label."""
        return max(Label, key=lambda label: self.probabilities[label])

    @property
    def status(self) -> str:
        """``classified``, or ``flagged`` when there is a reservation."""
        return "flagged" if self.flags else "classified"


@dataclass(frozen=True)
class Failure:
    """Why a study has no answer.

    Attributes:
        study: Short study id.
        code: The `StudyError` code, or ``INTERNAL`` for a failure of ours.
        message: One line: what was wanted, what came, what to do.
        status: ``refused`` when the input is at fault, ``failed`` when we are.
    """

    study: str
    code: str
    message: str
    status: str = "refused"
