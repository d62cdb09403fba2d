"""Twenty lawful ways to write a scan, here on a phantom; `make rewritten` takes real ones."""

import numpy as np
import pytest

from pipelines.experiments.robustness.rewritten import (
    CHANGED,
    WAYS,
    Scan,
    check_rewritten,
    table,
    tampered,
)
from tests.io import series


def a_body():
    """A body that changes from slice to slice, with noise."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (14, 40, 36)), indexing="ij")
    hu = np.full(z.shape, -1000.0)
    hu[(y / 0.9) ** 2 + (x / (0.9 - 0.05 * z)) ** 2 < 1] = 40
    hu[((np.abs(x) - 0.45) / 0.3) ** 2 + (y / 0.6) ** 2 + (z / 1.4) ** 2 < 1] = -850
    hu += np.random.default_rng(3).normal(0, 15, z.shape)
    return Scan(np.clip(np.rint(hu), -1024, 3000).astype(np.int16), series.an_affine())


@pytest.mark.parametrize("name", WAYS)
def test_a_lawful_way_of_writing_changes_nothing(name):
    assert len(WAYS) == 20
    assert check_rewritten(a_body(), WAYS[name]) == "right"


@pytest.mark.parametrize("changed", CHANGED)
def test_a_rescaling_that_was_changed_is_noticed_however_many_slices_were(changed):
    assert {tampered(a_body(), seed, changed) for seed in range(8)} == {"NO_RESCALE"}


def test_the_table_counts_outcomes():
    noticed = {"one slice": ["NO_RESCALE", "right", "wrong"]}
    text = table({"one way": ["right", "NO_RESCALE", "wrong"]}, noticed)
    assert "| one way | 1 | 1 | 1 |" in text
    assert "| one slice | 1 | 3 | 1 |" in text
