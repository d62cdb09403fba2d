import pytest
import torch

from covidctnet.errors import UsageError
from covidctnet.systems.resnet50_slices.training.schedule import FineTune, geometric

# 5480 slices in whole batches of 32, one frozen epoch and 17 others.
PAPER = FineTune(5480 // 32)
FROZEN = 171


def test_a_run_has_the_steps_of_eighteen_epochs():
    assert PAPER.steps == 18 * 171
    assert PAPER.at(FROZEN - 1).frozen and not PAPER.at(FROZEN).frozen


def test_the_frozen_phase_starts_at_a_twentyfifth_and_ends_near_its_highest():
    first = PAPER.at(0)
    assert first.rates == pytest.approx((2e-4 / 25, 2e-4 / 25, 2e-3 / 25))
    assert first.momentum == 0.95
    half = PAPER.at(round(0.5 * 0.99 * FROZEN))
    assert half.rates[2] == pytest.approx((2e-3 / 25 + 2e-3) / 2, rel=0.01)
    assert half.momentum == pytest.approx(0.90, abs=0.001)
    # Step 170 of 171 is behind 99 %: the fall has begun.
    near, last = PAPER.at(FROZEN - 2), PAPER.at(FROZEN - 1)
    assert near.rates == pytest.approx((2e-4, 2e-4, 2e-3), rel=1e-3)
    assert near.momentum == pytest.approx(0.85, abs=1e-4)
    assert last.rates[2] < near.rates[2]


def test_all_layers_rise_from_a_fifth_to_geometric_rates_in_30_per_cent_and_fall():
    first = PAPER.at(FROZEN)
    assert first.rates == pytest.approx((2e-6, 2e-5, 2e-4))
    assert first.momentum == 0.95
    steps = 17 * 171
    top = PAPER.at(FROZEN + round(0.3 * steps))
    assert top.rates == pytest.approx((1e-5, 1e-4, 1e-3), rel=1e-5)
    assert top.momentum == pytest.approx(0.85, abs=1e-6)
    middle = PAPER.at(FROZEN + round(0.65 * steps))
    assert middle.rates == pytest.approx((5e-6, 5e-5, 5e-4), rel=2e-3)
    assert middle.momentum == pytest.approx(0.90, abs=1e-4)
    last = PAPER.at(PAPER.steps - 1)
    assert last.rates == pytest.approx((1e-10, 1e-9, 1e-8), rel=0.1)
    assert last.momentum == pytest.approx(0.95, abs=1e-6)
    assert PAPER.at(PAPER.steps + 5) == last


def test_it_is_torchs_one_cycle_but_for_a_step():
    steps = 17 * 171
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], betas=(0.95, 0.99))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        1e-3,
        total_steps=steps,
        pct_start=0.3,
        anneal_strategy="cos",
        div_factor=5,
        final_div_factor=2e4,
        base_momentum=0.85,
        max_momentum=0.95,
    )
    ours = [PAPER.at(FROZEN + step) for step in range(steps)]
    for step in range(1, steps - 1):
        optimiser.step()
        scheduler.step()
        near = [o.rates[2] for o in ours[step - 1 : step + 2]]
        assert min(near) - 1e-9 <= optimiser.param_groups[0]["lr"] <= max(near) + 1e-9
        near = [o.momentum for o in ours[step - 1 : step + 2]]
        momentum = optimiser.param_groups[0]["betas"][0]
        assert min(near) - 1e-7 <= momentum <= max(near) + 1e-7


def test_rates_between_two_have_equal_ratios():
    assert geometric(1e-5, 1e-3, 3) == pytest.approx((1e-5, 1e-4, 1e-3))
    assert geometric(1.0, 2.0, 1) == (2.0,)


def test_a_run_without_a_whole_batch_is_refused():
    with pytest.raises(UsageError, match=r"choose a smaller --data\.batch_size"):
        FineTune(0)


def test_a_run_without_a_frozen_phase_starts_with_all_layers():
    assert not FineTune(5, epochs=2, frozen_epochs=0).at(0).frozen
