import numpy as np
import pytest
import torch

from covidctnet.denoise import denoise, denoise_slices, pick_device, residual_volume
from covidctnet.errors import StudyError, UsageError
from covidctnet.models import BCDUNet
from covidctnet.residual import DepthPlan
from tests.volumes import a_volume


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BCDUNet(base=2, depth=1).eval()


@pytest.fixture(scope="module")
def unit():
    rng = np.random.default_rng(0)
    volume = a_volume(shape=(23, 16, 24), spacing=(1.0, 1.5, 1.5))
    return volume.then("windowed", rng.random((23, 16, 24), dtype=np.float32), units="unit")


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_size_of_a_batch_changes_no_slice(network, unit, batch):
    slices = np.asarray(unit.array)
    with torch.inference_mode():
        alone = [network(torch.from_numpy(s.copy())[None, None])[0, 0].numpy() for s in slices]
    assert np.allclose(denoise_slices(network, slices, batch=batch), alone, atol=1e-6)


@pytest.mark.parametrize("depth", [5, 23, 40])
def test_denoising_only_the_slices_wanted_gives_what_denoising_all_gives(network, unit, depth):
    residual, shown = residual_volume(unit, network, depth=depth)
    everything = np.asarray(unit.array) - denoise(unit, network).array
    plan = DepthPlan.linear(23, depth)
    matrix = plan.apply(np.eye(23, dtype=np.float32)[plan.needed][..., None])[..., 0]
    assert np.allclose(residual.array, np.tensordot(matrix, everything, 1), atol=1e-5)
    assert np.allclose(shown, np.tensordot(matrix, unit.array, 1), atol=1e-5)
    assert residual.units == "residual"


def test_the_depth_keeps_the_patients_extent(network, unit):
    residual, _ = residual_volume(unit, network, depth=5)
    ends = [[-0.5, 0, 0, 1], [22.5, 0, 0, 1]], [[-0.5, 0, 0, 1], [4.5, 0, 0, 1]]
    before, after = (
        [(affine @ end)[:3] for end in points]
        for affine, points in zip((unit.affine, residual.affine), ends, strict=True)
    )
    assert np.allclose(before, after)


def test_a_volume_in_hu_is_refused(network):
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        residual_volume(a_volume(), network, depth=5)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:3"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UsageError, match="auto"):
        pick_device(name)


def test_cuda_without_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=r"'cuda' is not on this machine \(0 CUDA devices"):
        pick_device("cuda")


def test_only_the_slices_wanted_are_denoised(network, unit):
    seen = []
    watch = network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    residual_volume(unit, network, depth=5, batch=3)
    watch.remove()
    assert sum(seen) == len(DepthPlan.linear(23, 5).needed) <= 10
    assert max(seen) <= 3


def test_auto_finds_a_device():
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
