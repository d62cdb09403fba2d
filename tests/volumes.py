"""Small volumes that tests share."""

import numpy as np

from covidctnet.volume import Source, Volume


def a_volume(
    shape: tuple[int, int, int] = (9, 20, 16),
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.7),
    *,
    seed: int = 0,
    array: np.ndarray | None = None,
) -> Volume:
    """Random HU with unequal axes, so that swapped ones show."""
    if array is None:
        array = np.random.default_rng(seed).integers(-1200, 1200, shape).astype(np.int16)
    slices, rows, columns = spacing
    affine = np.array(
        [[0, 0, columns, -50.0], [0, rows, 0, -60.0], [slices, 0, 0, 10.0], [0, 0, 0, 1.0]]
    )
    return Volume(array, affine, "HU", Source(study="0123456789ab"))


def a_chest(
    shape: tuple[int, int, int] = (50, 100, 120), spacing_mm: float = 3.0
) -> tuple[Volume, np.ndarray]:
    """An elliptic body with two elliptic lungs, and the true lung mask. A phantom's phantom."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = (x / 0.95) ** 2 + (y / 0.85) ** 2 < 1
    lungs = np.zeros(shape, dtype=bool)
    for side in (-0.45, 0.45):
        lungs |= ((x - side) / 0.36) ** 2 + (y / 0.6) ** 2 + (z / 0.85) ** 2 < 1
    array = np.where(lungs, -850, np.where(body, 40, -1000)).astype(np.int16)
    return a_volume(array=array, spacing=(spacing_mm, spacing_mm, spacing_mm)), lungs
