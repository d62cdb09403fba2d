"""What tests of the phantoms share."""

import numpy as np

from covidctnet.phantom import Phantom
from covidctnet.phantom.thorax import Thorax


def thorax_of(seed: int) -> Thorax:
    return Thorax.draw(np.random.default_rng(seed))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def is_right(phantom: Phantom) -> np.ndarray:
    """Voxels on the patient's right, by the gap between the lungs; shape (1, 1, column)."""
    across = phantom.lungs.sum(axis=(0, 1))
    third = len(across) // 3
    gap = third + int(np.argmin(across[third : 2 * third]))
    return (np.arange(len(across)) < gap)[None, None, :]
