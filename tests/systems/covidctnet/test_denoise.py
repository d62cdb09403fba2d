import numpy as np
import pytest
import torch
from skimage.transform import resize

from covidctnet.devices import pick_device, pick_precision
from covidctnet.errors import StudyError, UsageError
from covidctnet.systems.covidctnet.denoise import (
    CONTEXT,
    ct_volume,
    denoise,
    denoise_slices,
    lung_box,
    place,
    residual_volume,
)
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.residual import DepthPlan, ResidualSettings
from tests.volumes import a_volume

FIVE = ResidualSettings(depth=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BCDUNet(base=2, depth=1).eval()


@pytest.fixture(scope="module")
def unit():
    rng = np.random.default_rng(0)
    volume = a_volume(shape=(23, 16, 24), spacing=(1.0, 1.5, 1.5))
    array = rng.random((23, 16, 24), dtype=np.float32)
    return volume.then("windowed", array, units="unit", window_hu=(-1000.0, 400.0))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_size_of_a_batch_changes_no_slice(network, unit, batch):
    slices = np.asarray(unit.array)
    with torch.inference_mode():
        alone = [network(torch.from_numpy(s.copy())[None, None])[0, 0].numpy() for s in slices]
    assert np.allclose(denoise_slices(network, slices, batch=batch), alone, atol=1e-6)


class Narrow(torch.nn.Module):
    """A device's worth of memory: so many slices and no more."""

    def __init__(self, room):
        super().__init__()
        self.room, self.asked = room, []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, slices):
        self.asked.append(len(slices))
        if len(slices) > self.room:
            raise torch.OutOfMemoryError("no room")
        return slices / 2


def test_slices_go_in_batches_of_one_size(unit):
    network = Narrow(64)
    denoise_slices(network, np.asarray(unit.array), batch=20)
    assert network.asked == [12, 11]


def test_a_device_with_little_memory_gets_fewer_slices_at_once(unit):
    network = Narrow(5)
    found = denoise_slices(network, np.asarray(unit.array), batch=64)
    assert np.allclose(found, unit.array / 2)
    assert network.asked[:3] == [23, 8, 4]
    with pytest.raises(torch.OutOfMemoryError):
        denoise_slices(Narrow(0), np.asarray(unit.array))


@pytest.mark.parametrize("depth", [5, 23, 40])
def test_denoising_only_the_slices_wanted_gives_what_denoising_all_gives(network, unit, depth):
    made = residual_volume(unit, network, ResidualSettings(depth=depth))
    everything = np.asarray(unit.array) - denoise(unit, network).array
    plan = DepthPlan.linear(23, depth)
    matrix = plan.apply(np.eye(23, dtype=np.float32)[plan.needed][..., None])[..., 0]
    assert np.allclose(made.volume.array, np.tensordot(matrix, everything, 1), atol=1e-5)
    assert np.allclose(made.given, np.tensordot(matrix, unit.array, 1), atol=1e-5)
    assert np.allclose(made.given - made.denoised, made.volume.array, atol=1e-5)
    assert made.volume.units == "residual"
    assert made.volume.scale_hu == (0.0, 1400.0)


@pytest.mark.parametrize("depth", [5, 40])
@pytest.mark.parametrize("signed", [True, False])
def test_the_antialiased_residual_is_scikit_images(network, unit, depth, signed):
    made = residual_volume(unit, network, ResidualSettings("antialiased", signed, depth=depth))
    everything = np.asarray(unit.array) - denoise(unit, network).array
    if not signed:
        everything = np.abs(everything)
    theirs = resize(everything, (depth, 16, 24), anti_aliasing=True)
    assert np.allclose(made.volume.array, theirs, atol=1e-5)
    given = resize(np.array(unit.array), (depth, 16, 24), anti_aliasing=True)
    assert np.allclose(made.given, given, atol=1e-5)


def test_opposite_signs_do_not_cancel_where_the_sign_is_dropped(unit):
    class Alternate(torch.nn.Module):
        """Takes half away and adds half by turns."""

        def __init__(self):
            super().__init__()
            self.sign = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, slices):
            self.sign.data.neg_()
            return slices + self.sign

    kept, lost = (
        residual_volume(unit, Alternate(), ResidualSettings(signed=signed, depth=5), batch=1)
        for signed in (True, False)
    )
    assert np.abs(kept.volume.array).min() < 0.4
    assert np.allclose(lost.volume.array, 0.5, atol=1e-6)
    assert np.allclose(lost.given - lost.denoised, kept.volume.array, atol=1e-6)


def test_the_steps_say_what_became_of_the_sign_and_the_depth(network, unit):
    said = [
        residual_volume(unit, network, settings).volume.steps[-1]
        for settings in (FIVE, ResidualSettings("antialiased", signed=False, depth=5))
    ]
    assert said == [
        "residual (input minus denoised) brought from 23 to 5 slices, linear",
        "residual (input minus denoised, absolute value) brought from 23 to 5 slices, antialiased",
    ]


@pytest.mark.parametrize("way", ["linear", "antialiased", "nearest"])
def test_the_depth_keeps_the_patients_extent(network, unit, way):
    residual = residual_volume(unit, network, ResidualSettings(way, depth=5)).volume
    ends = [[-0.5, 0, 0, 1], [22.5, 0, 0, 1]], [[-0.5, 0, 0, 1], [4.5, 0, 0, 1]]
    before, after = (
        [(affine @ end)[:3] for end in points]
        for affine, points in zip((unit.affine, residual.affine), ends, strict=True)
    )
    assert np.allclose(before, after)


def test_a_volume_in_hu_is_refused(network):
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        residual_volume(a_volume(), network, FIVE)


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
    residual_volume(unit, network, FIVE, batch=3)
    watch.remove()
    assert sum(seen) == len(DepthPlan.linear(23, 5).needed) <= 10
    assert max(seen) <= 3


@pytest.fixture
def inside(unit):
    """Two lungs in a part of the image."""
    lungs = np.zeros(unit.shape, dtype=bool)
    lungs[3:20, 2:6, 9:13] = True
    return lungs


def test_within_the_lungs_the_residual_is_that_of_the_box_and_0_elsewhere(network, unit, inside):
    settings = ResidualSettings(within="lungs", depth=23)
    made = residual_volume(unit, network, settings, lungs=inside)
    rows, columns = lung_box(inside)
    box = np.asarray(unit.array)[:, rows, columns]
    plain = np.zeros(unit.shape, dtype=np.float32)
    plain[:, rows, columns] = box - denoise_slices(network, box)
    assert np.allclose(made.volume.array, plain * inside, atol=1e-6)
    assert np.abs(made.volume.array[inside]).max() > 0
    assert np.array_equal(made.denoised[:, :, : columns.start], unit.array[:, :, : columns.start])
    assert "within the lungs" in made.volume.steps[-1]
    assert np.array_equal(made.lungs, inside)


def test_the_denoiser_sees_the_box_of_the_lungs_alone():
    lungs = np.zeros((4, 64, 96), dtype=bool)
    lungs[1, 20:30, 41:50] = True
    rows, columns = lung_box(lungs)
    assert (rows, columns) == (slice(0, 48), slice(32, 64))
    assert rows.start + CONTEXT <= 20 and rows.stop >= 30 + CONTEXT
    assert lung_box(np.zeros((2, 16, 24), dtype=bool)) == (slice(0, 16), slice(0, 24))


def test_the_ct_within_the_lungs_is_0_outside(unit, inside):
    settings = ResidualSettings(classifier_input="ct", within="lungs", depth=23)
    ct = ct_volume(unit, settings, lungs=inside)
    assert np.array_equal(ct.array, np.asarray(unit.array) * inside)


def test_a_residual_within_the_lungs_needs_the_lungs(network, unit):
    settings = ResidualSettings(within="lungs")
    with pytest.raises(ValueError, match="needs the lung mask, got none"):
        residual_volume(unit, network, settings)


def test_auto_finds_a_device():
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("way", ["linear", "antialiased", "nearest"])
@pytest.mark.parametrize("depth", [5, 40])
def test_the_ct_at_depth_is_what_the_denoiser_was_given(network, unit, depth, way):
    settings = ResidualSettings(way, depth=depth)
    made = residual_volume(unit, network, settings)
    ct = ct_volume(unit, settings)
    np.testing.assert_array_equal(ct.array, made.given)
    np.testing.assert_array_equal(ct.affine, made.volume.affine)
    assert ct.units == "unit"
    assert ct.steps[-1] == f"CT brought from 23 to {depth} slices, {way}"


def test_a_ct_in_hu_is_refused():
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        ct_volume(a_volume(), FIVE)


def test_residuals_of_eight_bits_are_nearly_those_of_all(network, unit):
    exact, rounded = (
        residual_volume(unit, place(network, torch.device("cpu"), precision), FIVE).volume
        for precision in ("32", "bf16")
    )
    assert rounded.array.dtype == np.float32
    assert 0 < np.abs(exact.array - rounded.array).max() < 0.02


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="precision must be auto, 32 or bf16, got 'fp8'"):
        pick_precision("fp8", torch.device("cpu"))


@pytest.mark.parametrize(
    ("told", "picked"),
    [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False}, "32"), ({}, "32")],
)
def test_auto_rounds_only_where_the_processor_knows_the_format(monkeypatch, told, picked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert pick_precision("auto", torch.device("cpu")) == picked
    assert pick_precision("auto", torch.device("mps")) == "32"


def test_an_older_torch_that_tells_nothing_is_not_guessed_at(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert pick_precision("auto", torch.device("cpu")) == "32"


def test_a_compiled_denoiser_gives_what_the_plain_one_gives(monkeypatch):
    # Traces as the real one does, but writes no kernels: no compiler is needed.
    monkeypatch.setattr("covidctnet.systems.covidctnet.denoise.COMPILER", "aot_eager")
    torch.manual_seed(0)
    trained = BCDUNet(base=2).eval()
    slices = np.random.default_rng(0).random((5, 24, 32), dtype=np.float32)
    plain = denoise_slices(place(trained, torch.device("cpu")), slices)
    torch._dynamo.reset()
    compiled = place(trained, torch.device("cpu"), compiled=True)
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    # The last batch is shorter.
    assert np.allclose(denoise_slices(compiled, slices, batch=3), plain, atol=1e-6)
    assert graphs["unique_graphs"] > before


def test_a_machine_that_cannot_compile_says_so_before_any_study(monkeypatch):
    def no_compiler(graph, example_inputs):
        raise RuntimeError("g++ not found in /opt/doe")

    monkeypatch.setattr("covidctnet.systems.covidctnet.denoise.COMPILER", no_compiler)
    torch._dynamo.reset()
    with pytest.raises(UsageError, match=r"leave --compiled out") as told:
        place(BCDUNet(base=2).eval(), torch.device("cpu"), compiled=True)
    assert "/opt" not in str(told.value)
