"""Whether a system finds the lesions: voxel figures against masks of lesions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from covidctnet.evaluation.intervals import Estimate, auc, bootstrap, redraw
from covidctnet.evidence import Mask

__all__ = ["Localisation", "localise", "mean_figures"]

_FIGURES = ("dice", "voxel_auc", "sensitivity", "precision")


@dataclass(frozen=True)
class Localisation:
    """How well a system finds the lesions of one scan; NaN where that cannot be said.

    Attributes:
        dice: Twice the overlap of found and true lesions over the sum of both; NaN without lesions.
        voxel_auc: Probability that a voxel of lesion has a higher score than one without, where the
            system looks; NaN without voxels of both kinds there.
        lesion_ml: True lesions, wherever they lie.
        searched_ml: Of them, what lies where the system looks.
        found_ml: What the system found.
        sensitivity: Share of the true lesions that was found; NaN without lesions.
        precision: Share of what was found that is lesion; NaN when nothing was found.
    """

    dice: float
    voxel_auc: float
    lesion_ml: float
    searched_ml: float
    found_ml: float
    sensitivity: float
    precision: float

    def __str__(self) -> str:
        values = asdict(self)
        figures = ", ".join(
            f"{name.replace('_', ' ')} {_in_words(values[name])}" for name in _FIGURES
        )
        return (
            f"{figures}; lesions {self.lesion_ml:.1f} ml, {self.searched_ml:.1f} ml of them where "
            f"they are looked for; found {self.found_ml:.1f} ml"
        )


def localise(mask: Mask, lesions: np.ndarray) -> Localisation:
    """Compare what a system found with the true lesions.

    Args:
        mask: With a scale, of all slices.
        lesions: The truth, bool, the mask's shape; see `covidctnet.io.lesions`.

    Returns:
        Dice, sensitivity and precision count all lesions, also those where the system does not
        look; the AUC is over voxels that are looked at, NaN without a score.

    Raises:
        ValueError: If the shapes differ.
    """
    lesions, mask_voxels = np.asarray(lesions, dtype=bool), mask.found
    if lesions.shape != mask_voxels.shape:
        raise ValueError(f"lesions have shape {lesions.shape}, the mask {mask_voxels.shape}")
    searched = np.ones_like(mask_voxels) if mask.searched is None else mask.searched
    true, positive, both = (int(x.sum()) for x in (lesions, mask_voxels, lesions & mask_voxels))
    return Localisation(
        dice=_ratio(2 * both, true + positive) if true else math.nan,
        voxel_auc=math.nan if mask.score is None else auc(lesions[searched], mask.score[searched]),
        lesion_ml=true * mask.voxel_ml,
        searched_ml=int((lesions & searched).sum()) * mask.voxel_ml,
        found_ml=positive * mask.voxel_ml,
        sensitivity=_ratio(both, true),
        precision=_ratio(both, positive),
    )


def mean_figures(
    localised: Sequence[Localisation], rng: np.random.Generator
) -> Mapping[str, Estimate]:
    """Means over patients, with intervals over resampled patients.

    Args:
        localised: One a patient.
        rng: Of the bootstrap.

    Returns:
        ``dice``, ``voxel_auc``, ``sensitivity`` and ``precision``; n counts the patients for whom
        the figure can be said.
    """
    return {name: _mean([getattr(one, name) for one in localised], name, rng) for name in _FIGURES}


def _mean(values: Sequence[float], name: str, rng: np.random.Generator) -> Estimate:
    """The mean of the values that are numbers."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return Estimate(math.nan, math.nan, math.nan, 0)
    groups = np.zeros(len(known), dtype=int)
    return bootstrap(lambda index: {name: float(known[index].mean())}, redraw(groups, rng))[name]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _in_words(value: float) -> str:
    return "not estimable" if math.isnan(value) else f"{value:.3f}"
