"""What a scan looks like, in sixteen numbers, to tell whether weights have learned from its like.

How much of it is lung and where, how dense the lungs are, how long the scan is and how noisy: a
belly, half a chest, a kernel or a dose that nobody learned from moves some of them far. The
classifier's own features do not serve: it sees residuals, and what the denoiser leaves of a belly
is as little as what it leaves of healthy lungs.
"""

from __future__ import annotations

import numpy as np

from covidctnet.volume import Volume

__all__ = ["FEATURES", "describe_appearance"]

# Slices looked at, evenly spaced; a third of them in each third of the scan.
SLICES = 12
PERCENTILES = (2, 10, 25, 50, 75, 90, 98)
# Muscle, blood and the organs, with room for noise: where noise is looked for.
SOFT_HU = (-60.0, 160.0)
FEATURES: tuple[str, ...] = (
    *(f"lungs in the {third} third" for third in ("lower", "middle", "upper")),
    *(f"lung density, percentile {percentile}" for percentile in PERCENTILES),
    "noise",
    "lung texture",
    "length of the scan",
    "length of the lungs",
    "share of the scan with lungs",
    "lung volume",
)


def describe_appearance(
    unit: Volume, lungs: np.ndarray, *, window_hu: tuple[float, float]
) -> np.ndarray:
    """Describe a preprocessed scan by what does not depend on its voxel grid.

    Args:
        unit: In ``unit``, canonical orientation.
        lungs: Mask of its shape; it may be empty.
        window_hu: What 0 and 1 were.

    Returns:
        float64 of shape (16,), in the order of `FEATURES`: square roots of shares of area; HU, the
        low end of the window where there are no lungs; logarithms of HU of noise, of millimetres
        and of millilitres; a share.
    """
    unit.expect("unit", by="describe_appearance")
    low, high = window_hu
    chosen = np.round(np.linspace(0, len(unit.array) - 1, SLICES)).astype(int)
    hu = np.asarray(unit.array[chosen], dtype=np.float32) * (high - low) + low
    inside = np.asarray(lungs[chosen], dtype=bool)
    density = hu[inside] if inside.any() else np.array([low])
    # How far a voxel lies from the line between its neighbours to the right and to the left.
    middle, beside = hu[:, :, 1:-1], (hu[:, :, :-2], hu[:, :, 2:])
    bend = np.abs(middle - (beside[0] + beside[1]) / 2)
    soft = np.logical_and.reduce([(SOFT_HU[0] < x) & (x < SOFT_HU[1]) for x in (middle, *beside)])
    with_lungs = np.flatnonzero(inside.any(axis=(1, 2)))
    reach = np.ptp(chosen[with_lungs]) + 1 if len(with_lungs) else 1
    return np.array(
        [
            *(np.sqrt(third.mean()) for third in np.array_split(inside, 3)),
            *np.percentile(density, PERCENTILES),
            _log_of_median(bend[soft]),
            _log_of_median(bend[inside[:, :, 1:-1]]),
            np.log(len(unit.array) * unit.spacing[0]),
            np.log(reach * unit.spacing[0]),
            reach / len(unit.array),
            np.log1p(inside.mean() * unit.array.size * unit.voxel_ml),
        ],
        dtype=np.float64,
    )


def _log_of_median(values: np.ndarray) -> float:
    return float(np.log1p(np.median(values))) if values.size else 0.0
