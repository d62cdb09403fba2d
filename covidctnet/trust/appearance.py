"""What a scan looks like, in fifteen numbers, to tell whether weights have learned from its like.

How large the lungs are and where in the scan, how dense they are, how long the scan is and how much
neighbouring voxels differ. The classifier's own features, the usual choice, see residuals; and what
the denoiser leaves of a belly is as little as what it leaves of healthy lungs.
"""

from __future__ import annotations

import numpy as np

from covidctnet.volume import Volume

__all__ = ["FEATURES", "GRAIN", "VERSION", "describe_appearance"]

# Of what the numbers mean: raise it when any of them is computed in another way.
VERSION = 1
# Slices looked at for density, noise and texture, evenly spaced.
SLICES = 12
PERCENTILES = (2, 10, 25, 50, 75, 90, 98)
# Muscle, blood and the organs: where noise is looked for.
SOFT_HU = (-60.0, 160.0)
FEATURES: tuple[str, ...] = (
    *(f"cross-section of the lungs, {third} third" for third in ("lower", "middle", "upper")),
    *(f"lung density, percentile {percentile}" for percentile in PERCENTILES),
    "noise",
    "lung texture",
    "length of the scan",
    "length of the lungs",
    "lung volume",
)
# Differences below these mean nothing, however alike the scans of a training were: mm, HU, and
# hundredths of what the logarithms are of.
GRAIN = np.array([1.0] * 3 + [1.0] * len(PERCENTILES) + [0.01] * 5)
GRAIN.flags.writeable = False


def describe_appearance(unit: Volume, lungs: np.ndarray) -> np.ndarray:
    """Describe a preprocessed scan.

    Noise and texture are those of the grid that the networks see: the median distance, in HU, of a
    voxel from the mean of its neighbours to the right and to the left, in soft tissue and in lungs.

    Args:
        unit: In ``unit``, canonical orientation.
        lungs: Mask of its shape; it may be empty.

    Returns:
        float64, shape (15,), in the order of `FEATURES`: square roots of mean areas, mm; HU, the
        low end of the window where there are no lungs; logarithms of 1 + HU, of 1 + mm and of
        1 + ml.
    """
    unit.expect("unit", by="describe_appearance")
    low, high = unit.scale_hu
    slice_mm, row_mm, column_mm = unit.spacing
    areas = np.asarray(lungs).sum(axis=(1, 2), dtype=np.int64) * row_mm * column_mm  # (slice,) mm2
    chosen = np.round(np.linspace(0, len(areas) - 1, SLICES)).astype(int)
    hu = np.asarray(unit.array[chosen], dtype=np.float32) * (high - low) + low
    inside = np.asarray(lungs[chosen], dtype=bool)
    density = hu[inside] if inside.any() else np.array([low])
    middle, right, left = hu[:, :, 1:-1], hu[:, :, :-2], hu[:, :, 2:]
    bend = np.abs(middle - (right + left) / 2)
    soft = np.logical_and.reduce(
        [(SOFT_HU[0] < part) & (part < SOFT_HU[1]) for part in (middle, right, left)]
    )
    lengths_mm = (len(areas) * slice_mm, np.count_nonzero(areas) * slice_mm)
    sizes = (*lengths_mm, areas.sum() * slice_mm / 1000)  # mm, mm, ml
    return np.array(
        [
            *(np.sqrt(third.mean()) for third in np.array_split(areas, 3)),
            *np.percentile(density, PERCENTILES),
            *np.log1p([_median(bend[soft]), _median(bend[inside[:, :, 1:-1]])]),
            *np.log1p(sizes),
        ],
        dtype=np.float64,
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else 0.0
