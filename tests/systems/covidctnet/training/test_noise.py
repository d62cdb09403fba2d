from dataclasses import asdict, replace

import pytest
import torch
import yaml
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet.training.noise import (
    RIM,
    NoiseSettings,
    corrupt,
    nearness_to_border,
)
from covidctnet.weights.shipped import presets_root

PUBLISHED = NoiseSettings.published()
RECIPES = {
    "opacities": NoiseSettings(),
    "published": PUBLISHED,
    "opacities cut from volumes": NoiseSettings(dimensions=3),
    "positive field in the lungs": replace(
        PUBLISHED, region="lungs", sign="positive", min_scale=2.0, max_scale=5.0
    ),
    "opacities of either sign anywhere": NoiseSettings(region="slice", sign="signed"),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def slices():
    """Four hundred slices of a dark lung in a bright body, and the lungs."""
    clean = torch.full((400, 1, 24, 24), 0.7)
    lungs = torch.zeros_like(clean)
    lungs[:, :, 4:20, 6:18] = 1
    clean[lungs > 0] = 0.15
    return clean, lungs


def painted(noise):
    return noise.flatten(1).abs().amax(1) > 0


@pytest.fixture(scope="module")
def few(slices):
    """Forty of them, for what holds on every slice."""
    return tuple(part[:40] for part in slices)


@pytest.fixture(scope="module", params=RECIPES.values(), ids=RECIPES.keys())
def steps(slices, request):
    """Which slices two steps paint on, where half of them is asked for."""
    generator, settings = seeded(), replace(request.param, share=0.5)
    return [painted(corrupt(*slices, settings, generator=generator)[1]) for _ in range(2)]


def test_half_of_the_slices_are_noisy_where_half_is_asked_for(steps):
    # Four standard deviations of a binomial of 400.
    assert 0.4 <= steps[0].float().mean().item() <= 0.6


def test_which_slices_are_noisy_changes_from_step_to_step(steps):
    first, second = steps
    assert 0.35 < (first == second).float().mean().item() < 0.65


@every_recipe
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_none_or_all_slices_are_noisy_where_it_is_asked_for(slices, recipe, share):
    some = (part[:100] for part in slices)
    _, noise = corrupt(*some, replace(recipe, share=share), generator=seeded())
    found = painted(noise).float().mean().item()
    # A dark grain may undo a thin opacity.
    assert found >= 0.99 if share else found == 0


@every_recipe
def test_no_two_slices_and_no_two_steps_share_a_field(few, recipe):
    clean, lungs = (part[:12] for part in few)
    settings, generator = replace(recipe, share=1.0), seeded()
    fields = torch.cat([corrupt(clean, lungs, settings, generator=generator)[1] for _ in range(3)])
    # Whatever its strength: equal fields correlate by one.
    correlation = torch.corrcoef(fields[:, 0, 4:20, 6:18].flatten(1))
    off_diagonal = correlation[~torch.eye(36, dtype=torch.bool)]
    assert off_diagonal.abs().max() < 0.999
    assert fields.isfinite().all()


def test_haze_stays_in_the_lungs_and_only_makes_them_denser(slices):
    clean, lungs = slices
    settings = NoiseSettings(share=1.0, cores=0.0, lobes=0.0)
    noisy, noise = corrupt(clean, lungs, settings, generator=seeded())
    assert noise.min() >= 0
    assert (noise[lungs == 0] == 0).all()
    assert torch.equal(noisy, clean + noise)
    assert noise.amax() > 0.3


def test_dense_opacities_close_the_rim_of_air_that_the_mask_leaves_and_go_no_further(slices):
    clean, lungs = slices
    # Brighter than any consolidation, so that only what is painted can reach it.
    reached = torch.nn.functional.max_pool2d(lungs, 5, 1, 2)
    settings = NoiseSettings(share=1.0, lobes=1.0)
    _, noise = corrupt(torch.where(lungs > 0, clean, 0.2), lungs, settings, generator=seeded())
    assert noise.min() >= 0
    assert (noise[reached == 0] == 0).all()
    rim = (reached > 0) & (lungs == 0)
    assert (noise[rim] > 0.2).float().mean() > 0.1


@pytest.mark.parametrize("lobes", [0.0, 0.25, 1.0])
def test_lobes_are_filled_up_to_the_pleura_in_the_share_asked_for(slices, lobes):
    clean, lungs = slices
    settings = NoiseSettings(share=1.0, cores=0.0, lobes=lobes, max_density=0.3)
    noisy, _ = corrupt(clean, lungs, settings, generator=seeded())
    dense = (noisy > 0.55) & (lungs > 0)
    inner = -torch.nn.functional.max_pool2d(-lungs, 3, 1, 1)
    at_the_pleura = (dense & (inner == 0)).flatten(1).sum(1)
    share = (at_the_pleura > 5).float().mean().item()
    # A line may miss the lungs, and haze reaches such a density only by chance.
    assert 0.6 * lobes <= share <= lobes + 0.07


@pytest.mark.parametrize("density", [(0.25, 0.78), (1.0, 1.0)])
def test_opacities_never_leave_the_window(few, density):
    low, high = density
    settings = NoiseSettings(share=1.0, min_density=low, max_density=high)
    noisy, _ = corrupt(*few, settings, generator=seeded())
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_the_published_noise_is_signed_and_covers_the_whole_slice(few):
    clean, lungs = few
    settings = replace(PUBLISHED, share=1.0)
    _, noise = corrupt(clean, torch.zeros_like(lungs), settings, generator=seeded())
    assert noise.min() < -0.1 < 0.1 < noise.max()
    assert (noise[lungs == 0] != 0).float().mean() > 0.95


@every_recipe
def test_the_same_seed_paints_the_same_noise_and_another_another(few, recipe):
    first, again, other = (corrupt(*few, recipe, generator=seeded(s))[1] for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_clean_slices_are_not_written_to(few):
    clean, lungs = (part.clone() for part in few)
    corrupt(clean, lungs, NoiseSettings(share=1.0), generator=seeded())
    assert torch.equal(clean, few[0])
    assert torch.equal(lungs, few[1])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 1.5}, "share must lie in 0..1, got 1.5"),
        ({"cores": -0.1}, "cores must lie in 0..1, got -0.1"),
        ({"lobes": 2.0}, "lobes must lie in 0..1, got 2.0"),
        ({"min_scale": 0.5}, "min_scale"),
        ({"min_scale": 9.0, "max_scale": 8.0}, "max_scale"),
        ({"min_density": 0.9, "max_density": 0.8}, "densities"),
        ({"max_density": 1.1}, "densities"),
        ({"min_amplitude": 0.0}, "amplitudes"),
        ({"min_persistence": -1.0}, "persistence"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong, told):
    with pytest.raises(UsageError, match=told):
        NoiseSettings(**wrong)


def test_the_preset_upstream_trains_with_the_published_recipe():
    preset = yaml.safe_load((presets_root() / "upstream" / "train-denoiser.yaml").read_text())
    assert NoiseSettings(**preset["model"]["noise"]) == PUBLISHED


def test_a_recipe_for_the_lungs_leaves_the_rest_of_the_slice_alone(few):
    clean, lungs = few
    settings = replace(PUBLISHED, region="lungs", share=1.0)
    _, noise = corrupt(clean, lungs, settings, generator=seeded())
    assert (noise[lungs == 0] == 0).all()
    assert (noise[lungs > 0] != 0).float().mean() > 0.95


def test_a_positive_recipe_makes_nothing_thinner_and_a_signed_one_does(few):
    for settings in RECIPES.values():
        _, noise = corrupt(*few, replace(settings, share=1.0), generator=seeded())
        assert (noise.min() < -0.05) == (settings.sign == "signed")


def test_the_amplitude_scales_a_field(few):
    weak, strong = (
        corrupt(
            *few,
            replace(PUBLISHED, share=1.0, min_amplitude=a, max_amplitude=a),
            generator=seeded(),
        )[1]
        for a in (0.25, 0.5)
    )
    assert torch.allclose(2 * weak, strong, atol=1e-6)


def test_opacities_come_in_all_sizes(slices):
    """The share of the lungs that an opacity covers spreads over a factor of ten and more."""
    clean, lungs = slices
    _, noise = corrupt(
        clean, lungs, NoiseSettings(share=1.0, cores=0.0, lobes=0.0), generator=seeded()
    )
    covered = ((noise > 0.03) & (lungs > 0)).flatten(1).sum(1) / lungs.flatten(1).sum(1)
    low, high = covered.quantile(torch.tensor([0.2, 0.9]))
    assert low < 0.1
    assert high > 0.3


def test_cores_are_as_dense_as_consolidation_and_in_the_share_asked_for(slices):
    clean, lungs = slices
    densest = []
    for cores in (0.0, 0.4, 1.0):
        # Haze alone stays thin here, so that dense voxels are cores.
        settings = NoiseSettings(
            share=1.0, cores=cores, lobes=0.0, max_density=0.3, min_scale=4, max_scale=8
        )
        noisy, _ = corrupt(clean, lungs, settings, generator=seeded())
        inside = (noisy * lungs).flatten(1)
        densest.append((inside > 0.6).any(dim=1).float().mean().item())
    assert densest[0] < 0.15 < densest[1] - densest[0] < densest[2] - densest[0]
    assert densest[2] > 0.8


def test_the_published_recipe_goes_by_its_name():
    named = NoiseSettings(kind="published", octaves=3)
    assert named == PUBLISHED
    # What a card keeps makes the same recipe again.
    assert NoiseSettings(**asdict(named)) == PUBLISHED


def test_an_opacity_does_not_pull_beyond_its_density():
    with pytest.raises(UsageError, match="share of the way"):
        NoiseSettings(max_amplitude=1.2)
    assert NoiseSettings(kind="field", max_amplitude=1.2).max_amplitude == 1.2


def test_how_near_the_border_lies_is_the_mean_over_a_square(slices):
    lungs = slices[1][:3]
    square = F.avg_pool2d(lungs, 2 * RIM + 1, 1, RIM)
    torch.testing.assert_close(nearness_to_border(lungs), 1 - square, atol=1e-6, rtol=0)
