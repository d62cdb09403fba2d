"""Answers: a label with its probabilities, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeVar

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.evidence import Evidence

E = TypeVar("E", bound=Evidence)
# The statuses of a `Prediction`.
ANSWERED = ("classified", "flagged", "abstained")

# Flags that tell of a scan and are no doubt about its answer; all others are reservations. Weights
# that do not know scans like it say so by `out_of_distribution`.
INFORMATION = frozenset({"contrast"})


@dataclass(frozen=True, repr=False)
class Prediction:
    """The answer for one study.

    Attributes:
        study: Short study id.
        probabilities: One probability a label, in the order of the classes; they sum to 1.
        flags: What the reader and the gates noticed: reservations such as ``thick_slices``, and
            information such as ``contrast``; see `reservations`.
        seconds: Wall-clock seconds by stage, in the order they ran.
        prediction_set: Labels that hold the true one with the coverage promised on the card, in
            the order of the classes; empty when the weights were not calibrated.
        ood_score: How unlike the training data the scan is, over the threshold that one in a
            hundred valid scans exceeds; None when the weights do not know.
        evidence: What the answer rests on, by type: see `find`. Voxels only when asked for.
        acquisition: See `covidctnet.volume.Source`.
        weights: Digest of the weights and of the settings that came with them.
        notes: What the reader and the stages did, one sentence each.
        classes: Of the answers.
    """

    study: str
    probabilities: Mapping[Label, float]
    flags: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    prediction_set: tuple[Label, ...] = ()
    ood_score: float | None = None
    evidence: tuple[Evidence, ...] = field(default=(), repr=False)
    acquisition: tuple[tuple[str, str | float], ...] = ()
    weights: str = ""
    notes: tuple[str, ...] = ()
    classes: Classes = field(default=CHEST_CT, repr=False)

    def __post_init__(self) -> None:
        if set(self.probabilities) != set(self.classes):
            raise ValueError(
                f"expected a probability for each of {', '.join(self.classes.titles)}, got "
                f"{[str(label) for label in self.probabilities]}"
            )
        values = {label: float(self.probabilities[label]) for label in self.classes}
        if not math.isclose(sum(values.values()), 1.0, abs_tol=1e-4) or min(values.values()) < 0:
            raise ValueError(f"probabilities must be non-negative and sum to 1, got {values}")
        object.__setattr__(self, "probabilities", MappingProxyType(values))
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))

    @property
    def label(self) -> Label:
        """The most probable label."""
        return max(self.classes, key=lambda label: self.probabilities[label])

    def find(self, kind: type[E]) -> E | None:
        """The first evidence of a type, or None."""
        return next((one for one in self.evidence if isinstance(one, kind)), None)

    @property
    def status(self) -> str:
        """``classified``; ``flagged`` with a reservation; ``abstained`` when two labels are left.

        An abstention says which labels are left (`prediction_set`); the label is the likeliest.
        """
        if len(self.prediction_set) > 1:
            return "abstained"
        return "flagged" if reservations(self.flags) else "classified"

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain values that `json.dumps` writes; voxels are left out.

        Returns:
            ``study``, ``label``, ``status``, ``probabilities``, ``prediction_set``, ``flags``,
            ``ood_score``, ``evidence``, ``acquisition``, ``seconds``, ``weights`` and ``notes``,
            always all of them and in this order. Labels are their keys (``covid19``); what is not
            known is None.
        """
        return {
            "study": self.study,
            "label": self.label.key,
            "status": self.status,
            "probabilities": {label.key: p for label, p in self.probabilities.items()},
            "prediction_set": [label.key for label in self.prediction_set],
            "flags": list(self.flags),
            "ood_score": _finite(self.ood_score),
            "evidence": [one.to_dict() for one in self.evidence],
            "acquisition": {
                name: value if isinstance(value, str) else _finite(value)
                for name, value in self.acquisition
            },
            "seconds": {stage: float(value) for stage, value in self.seconds.items()},
            "weights": self.weights,
            "notes": list(self.notes),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot be pickled; the constructor makes a new one.
        values = (getattr(self, f.name) for f in fields(self))
        return type(self), tuple(dict(v) if isinstance(v, Mapping) else v for v in values)

    def __repr__(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        ranking = ", ".join(f"{label} {p:.3f}" for label, p in ranked)
        flags = f" ({', '.join(self.flags)})" if self.flags else ""
        return f"<Prediction {ranking}; {self.status}{flags}, study {self.study}>"

    def _repr_html_(self) -> str:
        """The answer in a notebook: bars, and pictures where they were kept."""
        from covidctnet.report.notebook import prediction_html

        return prediction_html(self)


def reservations(flags: Iterable[str]) -> tuple[str, ...]:
    """The flags that are a doubt about an answer, without those that only tell of the scan."""
    return tuple(flag for flag in flags if flag not in INFORMATION)


@dataclass(frozen=True)
class Failure:
    """Why a study has no answer.

    Attributes:
        study: Short study id.
        code: The `StudyError` code, or ``INTERNAL`` for a failure of ours.
        message: One line: what was expected, what came, what to do.
        status: ``refused`` when the input is at fault, ``failed`` when we are.
    """

    study: str
    code: str
    message: str
    status: str = "refused"


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if value is not None and math.isfinite(value) else None
