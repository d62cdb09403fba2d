"""Answers with evidence of every kind on grids of their own, seeded; no network is asked."""

from __future__ import annotations

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.contract import PredictorInfo
from covidctnet.evidence import Box, Heatmap, LesionVolume, Mask, Panels, Region, Regions
from covidctnet.results import Prediction
from covidctnet.volume import Volume

INFO = PredictorInfo("covidctnet", "seeded", "0123456789ab", CHEST_CT)
# Voxels of a mask; more are slow to compare by their places.
MOST = 100_000
WINDOW = (-1000.0, 400.0)


def a_grid(volume: Volume, rng: np.random.Generator) -> tuple[tuple[int, int, int], np.ndarray]:
    """A coarser grid within a volume, as cropping and resampling leave it."""
    affine = volume.affine.copy()
    start = rng.uniform(0.3, 1.6, 3)
    shape, factors = [], []
    for n, first in zip(volume.shape, start, strict=True):
        factor = rng.uniform(1.1, 1.9)
        shape.append(max(3, int((n - 1.3 - first) / factor)))
        factors.append(factor)
    affine[:3, 3] += affine[:3, :3] @ start
    affine[:3, :3] *= factors
    return (shape[0], shape[1], shape[2]), affine


def blobs(shape: tuple[int, int, int], rng: np.random.Generator, share: float) -> np.ndarray:
    """A mask without any symmetry, with slices that are empty."""
    mask = rng.random(shape) < min(share, MOST / np.prod(shape))
    mask[0] = mask[-1] = False
    return mask


def an_answer(volume: Volume, seed: int = 0, *, empty: bool = False) -> Prediction:
    """Lungs and lesions on a coarser grid, regions on that of the scan."""
    rng = np.random.default_rng(seed)
    shape, affine = a_grid(volume, rng)
    slices = tuple(range(shape[0]))
    chosen = (shape[0] // 3, shape[0] // 2)
    lungs = blobs(shape, rng, 0.6)
    found = blobs(shape, rng, 0.0 if empty else 0.2) & lungs
    residual = rng.uniform(-0.3, 0.3, shape).astype(np.float32)
    where = {"slices": slices, "affine": affine, "chosen": chosen}
    unit = rng.random(shape).astype(np.float32)
    middle = volume.shape[0] // 2
    regions = tuple(
        Region(lung, third, 300.0, 0.0 if empty else 12.5)
        for lung in ("right", "left")
        for third in ("upper", "middle", "lower")
    )
    return Prediction(
        volume.source.study,
        dict(zip(CHEST_CT, (0.1, 0.7, 0.2), strict=True)),
        flags=("thick_slices",),
        prediction_set=(CHEST_CT.COVID19, CHEST_CT.CAP),
        ood_score=0.4,
        weights=INFO.digest,
        evidence=(
            LesionVolume(0.1, regions),
            Panels(
                names=("input", "denoised", "residual"),
                units=("unit", "unit", "residual"),
                images=(unit, unit, residual),
                window_hu=WINDOW,
                lungs=lungs,
                outline=found,
                **where,
            ),
            Heatmap(label="covid19", values=unit, over=unit, **where),
            Mask(found=found, searched=lungs, score=residual, over=unit, **where),
            Regions(
                label="covid19",
                boxes=() if empty else (Box(middle, 2.2, 3.0, 6.7, 9.0, 0.93),),
                slices=(middle,),
                affine=volume.affine,
            ),
        ),
    )
