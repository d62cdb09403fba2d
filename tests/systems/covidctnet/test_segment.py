"""Lungs by a network: what it adds, what it never takes away, and what the crop keeps by it."""

import numpy as np
import pytest
import torch

from covidctnet.chest.gate import prepare_chest
from covidctnet.chest.lungs import CoarseScan
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.segment import add_consolidation, complete_lungs, pad_slices
from covidctnet.volume import Source, Volume


class Dense(torch.nn.Module):
    """Calls everything between two values lung."""

    def __init__(self, low=0.5, high=2.0):
        super().__init__()
        self.low = torch.nn.Parameter(torch.tensor(low))
        self.high = high
        self.asked = []

    def forward(self, slices):
        self.asked.append(tuple(slices.shape))
        return ((slices > self.low) & (slices < self.high)).float()


@pytest.fixture
def chest():
    """A lung of 0.1 whose hind part is consolidated to 0.7, and a bone of 0.7 apart from it."""
    slices = np.zeros((3, 36, 44), dtype=np.float32)
    slices[:, 8:20, 8:24] = 0.1
    slices[:, 20:32, 8:24] = 0.7
    slices[:, 8:12, 36:40] = 0.7
    lungs = np.zeros(slices.shape, dtype=bool)
    lungs[:, 8:20, 8:24] = True
    return CoarseScan(
        Volume(slices, np.diag([3, 3, 3, 1.0]), "unit", Source("s"), (), LUNGS.window_hu), lungs
    )


def test_consolidation_comes_back_and_nothing_is_lost(chest):
    before = chest.lungs.copy()
    complete = add_consolidation(chest, Dense())
    assert complete.lungs[:, 8:32, 8:24].all()
    assert complete.unit is chest.unit
    assert np.array_equal(before, chest.lungs)


def test_what_is_not_connected_with_the_lungs_stays_out(chest):
    complete = add_consolidation(chest, Dense())
    assert not complete.lungs[:, :, 24:].any()


def test_a_network_that_finds_nothing_takes_nothing_away(chest):
    assert np.array_equal(add_consolidation(chest, Dense(5.0)).lungs, chest.lungs)


def test_the_network_sees_slices_in_multiples_of_8(chest):
    network = Dense()
    add_consolidation(chest, network)
    assert network.asked == [(3, 1, 40, 48)]
    padded = pad_slices(torch.ones(2, 1, 36, 44))
    assert padded.shape == (2, 1, 40, 48)
    assert padded.sum() == 2 * 36 * 44


LUNGS = PreprocessSettings(size=64, field="lungs", margin_mm=10.0)
TISSUE_HU, LUNG_HU, CONSOLIDATED_HU = 60, -850, 20


@pytest.fixture(scope="module")
def consolidated_bases():
    """Two lungs of 240 mm whose lowest 90 mm hold no air; the abdomen lies below."""
    z, y, x = np.ogrid[:110, :100, :120]
    array = np.full((110, 100, 120), -1000, dtype=np.int16)
    array[np.broadcast_to(((y - 50) / 45) ** 2 + ((x - 60) / 56) ** 2 < 1, array.shape)] = TISSUE_HU
    lungs = np.zeros(array.shape, dtype=bool)
    for middle in (32, 88):
        lungs |= ((y - 50) / 28) ** 2 + ((x - middle) / 18) ** 2 + ((z - 60) / 40) ** 2 < 1
    array[lungs] = LUNG_HU
    bases = lungs & (z < 50)
    array[bases] = CONSOLIDATED_HU
    volume = Volume(array, np.diag([3, 3, 3, 1.0]), "HU", Source("s"))
    return volume, lungs, bases


def kept(volume, mask, scan):
    """Share of a mask's voxels that lie within the crop and the lungs of a prepared scan."""
    places = np.argwhere(mask) * 3.0
    inside = np.round((places - scan.unit.affine[:3, 3]) / scan.unit.spacing).astype(int)
    is_in = ((inside >= 0) & (inside < scan.unit.shape)).all(axis=1)
    return scan.lungs[tuple(inside[is_in].T)].sum() / len(places)


def test_a_consolidated_base_lies_within_the_crop_and_the_lungs(consolidated_bases):
    volume, lungs, bases = consolidated_bases
    by_density = prepare_chest(volume, LUNGS)
    low, high = LUNGS.window_hu
    unit = (CONSOLIDATED_HU - low) / (high - low)
    network = Dense(unit - 0.01, unit + 0.01)
    complete = prepare_chest(volume, LUNGS, complete=lambda s: add_consolidation(s, network))
    assert kept(volume, bases, by_density) < 0.2
    assert kept(volume, bases, complete) > 0.9
    assert kept(volume, lungs, complete) > 0.9
    assert complete.unit.affine[0, 3] < by_density.unit.affine[0, 3] - 50
    assert complete.chest.lungs_ml > by_density.chest.lungs_ml


def test_lungs_of_a_stored_study_are_completed_within_its_crop(consolidated_bases, tmp_path):
    from dataclasses import asdict

    from covidctnet.cohort.store import Store
    from covidctnet.errors import UsageError

    volume, _, _ = consolidated_bases
    scan = prepare_chest(volume, LUNGS)
    store = Store(tmp_path)
    common = {"content_key": "k", "settings": asdict(LUNGS), "settings_digest": LUNGS.digest}
    store.put(scan.unit, lungs=scan.lungs, **common)
    with pytest.raises(UsageError, match="is not in the store"):
        complete_lungs(store.get("s"), Dense())
    store.coarse.put(scan.coarse.unit, lungs=scan.coarse.lungs, **common)
    low, high = LUNGS.window_hu
    unit = (CONSOLIDATED_HU - low) / (high - low)
    found = complete_lungs(store.get("s"), Dense(unit - 0.01, unit + 0.01))
    assert found.shape == scan.unit.shape
    assert (found | ~scan.lungs).all()
    # What lies in the margin below the lungs that density found.
    assert found.sum() > scan.lungs.sum()
