"""A task that repeats exactly: every random draw is a function of seed, step and process."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch

from covidctnet.errors import UsageError
from covidctnet.training.look import Look

__all__ = ["Schedule", "SeededTask"]

# Share of the steps over which the learning rate rises from a tenth.
WARM_UP_SHARE = 0.03

Schedule = Literal["constant", "cosine"]


class SeededTask(pl.LightningModule):
    """A task whose every random draw is a function of seed, step and rank.

    Dropout, augmentation and noise therefore repeat exactly when a run is resumed, wherever it
    was interrupted, and differ between the processes of a distributed run.

    Attributes:
        sets_rates: Whether it sets learning rates itself before every step, which a search for one
            cannot work with.
        start: The card of the weights that it started from; what those have seen, it has seen.
    """

    sets_rates: ClassVar[bool] = False

    def __init__(self, seed: int, learning_rate: float, schedule: Schedule) -> None:
        super().__init__()
        self.seed = seed
        self.learning_rate = learning_rate
        self.schedule: Schedule = schedule
        self.start: Mapping[str, Any] = MappingProxyType({})
        # Sums of the validation figures by their names, and cases, of this process and epoch.
        self._scores: dict[tuple[str, ...], tuple[torch.Tensor, int]] = {}

    def look(self, batch: Any, count: int) -> Look | None:
        """What the network makes of a few validation examples; None where nothing is shown.

        Args:
            batch: Of the validation.
            count: Examples at most, the first ones.
        """
        return None

    def generator(self, stage: int, step: int) -> torch.Generator:
        """A fresh generator on this module's device for one step of a stage."""
        rank = self.trainer.global_rank if self._trainer is not None else 0
        mixed = hash((self.seed, stage, step, rank)) % 2**63
        return torch.Generator(device=self.device).manual_seed(mixed)

    def moment(self, batch_idx: int) -> int:
        """A number that no other training batch of the run has.

        `global_step` counts the optimizer's steps, which may take several batches each.
        """
        batches = self.trainer.accumulate_grad_batches if self._trainer is not None else 1
        return self.global_step * batches + batch_idx % batches

    def add_scores(self, scores: Mapping[str, torch.Tensor], count: int) -> None:
        """Take the validation figures of a batch into those of the epoch.

        Args:
            scores: Means over the batch, by name.
            count: Cases of the batch.
        """
        batch = torch.stack([value.detach().float() * count for value in scores.values()])
        before, cases = self._scores.get(tuple(scores), (torch.zeros_like(batch), 0))
        self._scores[tuple(scores)] = (before + batch, cases + count)

    def on_validation_epoch_end(self) -> None:
        """Log means over all cases of all processes.

        Lightning's own mean over processes counts shares of unequal size alike, in whole numbers.
        """
        shares = [{names: (sums.tolist(), cases) for names, (sums, cases) in self._scores.items()}]
        self._scores.clear()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            own = shares[0]
            shares = [own] * torch.distributed.get_world_size()
            # As objects: a process may lack figures that another has, as those of lesions.
            torch.distributed.all_gather_object(shares, own)
        for names in dict.fromkeys(names for share in shares for names in share):
            found = [share[names] for share in shares if names in share]
            cases = sum(count for _, count in found)
            totals = torch.tensor([sums for sums, _ in found]).sum(dim=0)
            # The same on all processes: their mean is the value, and Lightning asks for it.
            means = dict(zip(names, (totals / cases).to(self.device), strict=True))
            self.log_dict(means, prog_bar=True, sync_dist=True)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed what draws from the global generator, such as dropout."""
        torch.manual_seed(self.generator(0, self.moment(batch_idx)).initial_seed() % 2**63)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the figures of the weights with them, and what they started from."""
        # The card tells the figures of the weights it comes with, which are seldom the last ones.
        metrics = self.trainer.callback_metrics.items()
        checkpoint["metrics"] = {k: float(v) for k, v in metrics if k.startswith("val_")}
        # A resumed run is not told it again.
        checkpoint["start"] = dict(self.start)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what the weights started from.

        Raises:
            UsageError: If the run was told to start from other weights.
        """
        if "start" not in checkpoint:  # older than this entry
            return
        if self.start and dict(self.start) != checkpoint["start"]:
            raise UsageError(
                "the run to resume did not start from the weights that --init names. Leave --init "
                "out."
            )
        self.start = MappingProxyType(checkpoint["start"])

    def configure_optimizers(self) -> Any:
        """Adam, and the fall of its learning rate."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
        if self.schedule == "constant":
            return optimizer
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        warm_up = max(1, round(WARM_UP_SHARE * steps))

        def factor(step: int) -> float:
            rise = min(1.0, 0.1 + 0.9 * step / warm_up)
            fall = 0.5 * (1 + torch.cos(torch.tensor(min(step / steps, 1.0) * torch.pi)).item())
            return rise * fall

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
