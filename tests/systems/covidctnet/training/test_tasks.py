import socket

import pytest
import torch
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.training.noise import NoiseSettings
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.training.seeded import SeededTask


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Trainer:
    """As much of a trainer as a task asks."""

    def __init__(self, global_step=0, global_rank=0, accumulate_grad_batches=1, steps=100):
        self.global_step = global_step
        self.global_rank = global_rank
        self.accumulate_grad_batches = accumulate_grad_batches
        self.estimated_stepping_batches = steps


def at(task, **where):
    """The task as a trainer has it."""
    task._trainer = Trainer(**where)
    return task


@pytest.fixture
def denoiser(monkeypatch):
    """A task that tells what its network is given."""

    class Watched(DenoiserTask):
        def forward(self, noisy):
            self.seen = noisy
            return super().forward(noisy)

        def log(self, *_, **__):
            pass

    torch.manual_seed(0)
    return Watched(base=2, depth=1, noise=NoiseSettings(share=1.0))


@pytest.fixture
def batch():
    clean = torch.rand(3, 1, 32, 32, generator=seeded()) * 0.3
    lungs = torch.zeros_like(clean)
    lungs[:, :, 8:24, 8:24] = 1
    return clean, lungs


def given(task, batch, index=0, **where):
    at(task, **where).training_step(batch, index)
    return task.seen


def test_every_step_paints_anew_and_a_repeated_step_the_same(denoiser, batch):
    first = given(denoiser, batch, global_step=7)
    assert torch.equal(first, given(denoiser, batch, global_step=7))
    assert not torch.equal(first, given(denoiser, batch, global_step=8))


def test_the_processes_of_a_run_paint_differently(denoiser, batch):
    first = given(denoiser, batch, global_rank=0)
    assert not torch.equal(first, given(denoiser, batch, global_rank=1))


def test_batches_that_share_an_optimizer_step_are_painted_differently(denoiser, batch):
    where = {"global_step": 5, "accumulate_grad_batches": 3}
    seen = [given(denoiser, batch, index, **where) for index in (15, 16, 17)]
    after = given(denoiser, batch, 18, global_step=6, accumulate_grad_batches=3)
    for index, one in enumerate(seen):
        assert all(not torch.equal(one, other) for other in [*seen[index + 1 :], after])


def test_another_seed_paints_another_noise(batch, denoiser):
    first = given(denoiser, batch)
    denoiser.seed = 1
    assert not torch.equal(first, given(denoiser, batch))


def test_what_the_network_is_given_lies_in_the_window(denoiser, batch):
    seen = torch.cat([given(denoiser, batch, global_step=step) for step in range(20)])
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_validation_sees_the_same_noise_in_every_epoch(denoiser, batch):
    seen = []
    denoiser.log_dict = lambda *_, **__: None
    for step, index in ((0, 0), (50, 0), (50, 1)):
        at(denoiser, global_step=step).validation_step(batch, index)
        seen.append(denoiser.seen)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_perfect_denoiser_has_no_loss_and_lungs_weigh_more(denoiser, batch):
    clean, lungs = batch
    assert denoiser._loss(clean, clean, lungs) == 0
    inside, outside = clean + 0.1 * lungs, clean + 0.1 * (1 - lungs)
    covered = lungs.mean().item()
    assert denoiser._loss(inside, clean, lungs).item() == pytest.approx(0.1 * (covered + 1))
    assert denoiser._loss(outside, clean, lungs).item() == pytest.approx(0.1 * (1 - covered))


def test_a_saturated_output_has_a_finite_cross_entropy(batch):
    clean, lungs = batch
    task = DenoiserTask(base=2, depth=1, loss="bce")
    assert task._loss(torch.zeros_like(clean), clean, lungs).isfinite()
    assert task._loss(torch.ones_like(clean), clean, torch.zeros_like(lungs)).isfinite()


def test_slices_without_lungs_can_be_learned_from(denoiser, batch):
    clean, lungs = batch
    loss = at(denoiser).training_step((clean, torch.zeros_like(lungs)), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in denoiser.parameters())


def rates(task, steps):
    """Learning rate at every step."""
    made = at(task, steps=steps).configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*out, optimizer.param_groups[0]["lr"]]


def test_the_learning_rate_rises_from_a_tenth_and_falls_to_nothing():
    seen = rates(ClassifierTask(base=1, depth=34, size=34, learning_rate=0.01), steps=200)
    top = seen.index(max(seen))
    assert seen[0] == pytest.approx(0.001)
    assert 1 <= top <= 10
    assert seen[top] == pytest.approx(0.01, rel=0.05)
    assert seen[top:] == sorted(seen[top:], reverse=True)
    assert seen[-1] < 1e-6


def test_a_constant_schedule_is_plain_adam():
    task = ClassifierTask(base=1, depth=34, size=34, learning_rate=0.01, schedule="constant")
    optimizer = task.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 0.01


class Logged(SeededTask):
    """A task that keeps what it logs."""

    def __init__(self):
        super().__init__(0, 1e-3, "constant")
        self.logged = {}

    def log_dict(self, values, **options):
        self.logged |= {name: float(value) for name, value in values.items()}


def test_validation_figures_weigh_every_case_alike_whatever_the_batches():
    task = Logged()
    for value, count in ((1.0, 1), (0.0, 3), (0.5, 2)):
        task.add_scores({"val_loss": torch.tensor(value)}, count)
    task.on_validation_epoch_end()
    assert task.logged == {"val_loss": pytest.approx(2 / 6)}
    task.add_scores({"val_loss": torch.tensor(3.0)}, 1)
    task.on_validation_epoch_end()
    assert task.logged == {"val_loss": 3.0}  # an epoch begins at nothing


def validate_a_share(rank, port, folder):
    """One of two processes, with a share of its own size: three cases or one."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    task = Logged()
    for _ in range(3 if rank == 0 else 1):
        task.add_scores({"val_loss": torch.tensor(float(rank))}, 1)
    if rank == 0:  # as a share without lesions has no figure of them
        task.add_scores({"val_dice": torch.tensor(0.5)}, 2)
    task.on_validation_epoch_end()
    (folder / f"{rank}.txt").write_text(f"{task.logged['val_loss']} {task.logged['val_dice']}")
    torch.distributed.destroy_process_group()


def test_validation_figures_weigh_every_case_alike_whatever_the_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(validate_a_share, (port, tmp_path), nprocs=2)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["0.25 0.5"] * 2


def test_the_card_says_that_a_denoiser_works_on_blocks_and_only_then():
    assert "shrink" not in DenoiserTask(base=2).architecture
    task = DenoiserTask(base=2, shrink=2)
    made = BCDUNet(**task.architecture)
    made.load_state_dict(task.network.state_dict())
    assert made.shrink == 2
    with pytest.raises(UsageError, match="patch must be 0 or a multiple of 8, got 20"):
        DenoiserTask(base=2, patch=20)


@torch.no_grad()
def test_a_denoiser_of_blocks_learns_on_means_what_its_card_does_on_pixels(batch):
    clean, lungs = batch
    task = DenoiserTask(base=2, shrink=2, noise=NoiseSettings(share=0.0), augment=False).eval()
    made = BCDUNet(**task.architecture).eval()
    made.load_state_dict(task.network.state_dict())
    loss = task.loss_of(batch, torch.Generator().manual_seed(0))
    means, parts = (F.avg_pool2d(each, 2) for each in (clean, lungs))
    each = (F.avg_pool2d(made(clean), 2) - means).abs()
    inside = (parts >= 0.5).float()
    expected = each.mean() + (each * inside).sum() / inside.sum().clamp_min(1)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
