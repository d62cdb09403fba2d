"""Answers: a label with its probabilities, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from covidctnet.classes import CHEST_CT, Classes, Label

# The statuses of a `Prediction`.
ANSWERED = ("classified", "flagged", "abstained")

# Flags that tell of a scan and are no doubt about its answer; all others are reservations. Weights
# that do not know scans like it say so by `unlike_training`.
INFORMATION = frozenset({"contrast"})


@dataclass(frozen=True)
class Region:
    """A third of one lung, and how much of it the denoiser took away.

    Attributes:
        lung: ``right`` or ``left``, the patient's.
        third: ``upper``, ``middle`` or ``lower`` third of that lung's height.
        lung_ml: Its volume, rim left out.
        lesion_ml: Of it, voxels whose residual exceeds the threshold.
    """

    lung: str
    third: str
    lung_ml: float
    lesion_ml: float

    @property
    def share(self) -> float:
        """Lesion over lung; NaN where there is no lung."""
        return self.lesion_ml / self.lung_ml if self.lung_ml else math.nan


@dataclass(frozen=True)
class Burden:
    """How much of the lungs differs from what the denoiser expects of healthy ones.

    Attributes:
        threshold: Residual from which a voxel counts, in units of the HU window's width; fixed on
            Control patients when the weights were made.
        regions: Six: both lungs, three thirds each.
        top_slices_mm: Heights of the slices with the largest lesion area, largest first.
    """

    threshold: float
    regions: tuple[Region, ...]
    top_slices_mm: tuple[float, ...] = ()

    @property
    def lung_ml(self) -> float:
        """Volume of both lungs, rim left out."""
        return sum(region.lung_ml for region in self.regions)

    @property
    def lesion_ml(self) -> float:
        """Volume of all voxels that count."""
        return sum(region.lesion_ml for region in self.regions)

    @property
    def share(self) -> float:
        """Lesion over lung, both lungs together; NaN without lungs."""
        return self.lesion_ml / self.lung_ml if self.lung_ml else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `json.dumps` writes; a share without lungs is None."""
        return {
            "share": _finite(self.share),
            "lesion_ml": float(self.lesion_ml),
            "lung_ml": float(self.lung_ml),
            "threshold": float(self.threshold),
            "top_slices_mm": [float(height) for height in self.top_slices_mm],
            "regions": [
                {
                    "lung": region.lung,
                    "third": region.third,
                    "lung_ml": float(region.lung_ml),
                    "lesion_ml": float(region.lesion_ml),
                }
                for region in self.regions
            ],
        }


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
        distance: How unlike the training data the scan is, over the threshold that one in a
            hundred valid scans exceeds; None when the weights do not know.
        burden: How much of the lungs is unusual; None when the weights do not know.
        acquisition: See `covidctnet.volume.Source`.
        weights: Digest of the weights and of the settings that came with them.
        notes: What the reader and the stages did, one sentence each.
        images: Voxels kept for a picture, by name (``input``, ``denoised``, ``residual``), each
            (slice, row, column) or None; only when asked for.
        classes: That were told apart.
    """

    study: str
    probabilities: Mapping[Label, float]
    flags: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    prediction_set: tuple[Label, ...] = ()
    distance: float | None = None
    burden: Burden | None = None
    acquisition: tuple[tuple[str, str | float], ...] = ()
    weights: str = ""
    notes: tuple[str, ...] = ()
    images: Mapping[str, object] | None = field(default=None, repr=False, compare=False)
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

    @property
    def status(self) -> str:
        """``classified``; ``flagged`` with a reservation; ``abstained`` when two labels are left.

        An abstention says which labels are left (`prediction_set`); the label is the likeliest.
        """
        if len(self.prediction_set) > 1:
            return "abstained"
        return "flagged" if reservations(self.flags) else "classified"

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain values that `json.dumps` writes; pictures are left out.

        Returns:
            ``study``, ``label``, ``status``, ``probabilities``, ``prediction_set``, ``flags``,
            ``distance``, ``burden``, ``acquisition``, ``seconds``, ``weights`` and ``notes``,
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
            "distance": _finite(self.distance),
            "burden": None if self.burden is None else self.burden.to_dict(),
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
        message: One line: what was wanted, what came, what to do.
        status: ``refused`` when the input is at fault, ``failed`` when we are.
    """

    study: str
    code: str
    message: str
    status: str = "refused"


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if value is not None and math.isfinite(value) else None
