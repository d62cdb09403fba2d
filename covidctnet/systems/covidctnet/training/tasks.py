"""What the two networks learn, as Lightning modules."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet.denoise import compile_in_place
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.networks.bcdunet import STRIDE
from covidctnet.systems.covidctnet.training.losses import DenoiserLoss, slice_loss
from covidctnet.systems.covidctnet.training.noise import NoiseSettings, corrupt
from covidctnet.training.augment import (
    VariationSettings,
    cut_patches,
    vary_residuals,
    vary_slices,
)
from covidctnet.training.look import Look, look_at_answers, look_at_pictures
from covidctnet.training.seeded import Schedule, SeededTask

__all__ = ["BCDUNetTask", "ClassifierTask", "DenoiserTask"]

# A voxel counts as painted when it was changed by this much of the window (42 HU).
PAINTED = 0.03
# A network whose output is one constant after so many steps stays there. Lungs that spread by
# less than this share of the window (0.14 HU) are a constant.
DEAD_AFTER_STEPS = 200
DEAD_SPREAD = 1e-4


class BCDUNetTask(SeededTask):
    """A task whose network is a BCDU-Net; see `BCDUNet` for what is built."""

    def build(
        self,
        base: int,
        depth: Literal[1, 3],
        bidirectional: bool,
        gates: Literal["sigmoid", "hard_sigmoid"],
        shrink: Literal[1, 2] = 1,
    ) -> None:
        """Make the network, and what a card says of it.

        Where the network of the card works on means over blocks, that of the task has the same
        layers and learns on such means: noise need not be drawn for pixels that nothing looks at.
        """
        self.architecture: dict[str, Any] = {
            "base": base,
            "depth": depth,
            "bidirectional": bidirectional,
            "gates": gates,
        }
        network = BCDUNet(**self.architecture)
        if shrink != 1:
            # Cards of whole slices stay what they were before there were blocks.
            self.architecture["shrink"] = shrink
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Run the network on a batch (batch, 1, row, column), in the layout it is fastest in."""
        out: torch.Tensor = self.network(slices.contiguous(memory_format=torch.channels_last))
        return out.float()


class DenoiserTask(BCDUNetTask):
    """BCDU-Net learns to give back the healthy slice under the noise.

    Args:
        base: Width of the first level; 64 in the original.
        depth: Dense blocks at the bottom: 3 (D3) or 1 (D1).
        bidirectional: Let the ConvLSTMs read both ways.
        gates: Gate activation of the ConvLSTMs.
        shrink: 2 lets the network work on means over blocks of 2 x 2 pixels; see `BCDUNet`. Patch
            and noise are then measured in blocks.
        learning_rate: Of Adam, at its highest.
        schedule: ``cosine`` falls to zero over the run; ``constant`` stays.
        loss: ``l1``; ``l1_ssim`` adds what structure differs; ``bce`` is the published code's.
        lungs_weight: Weight of the mean loss within the lungs beside that over the slice.
        noise: The noise recipe.
        augment: Vary the slices.
        variation: How far.
        patch: Rows and columns of a patch around a point of the lungs that a step trains on, a
            multiple of 8; 0 takes whole slices. The network is convolutional: patches cost less
            and are lung for the most part.
        compiled: Let `torch.compile` write kernels for the network; worth its minute on a GPU.
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        base: int = 16,
        depth: Literal[1, 3] = 3,
        bidirectional: bool = True,
        gates: Literal["sigmoid", "hard_sigmoid"] = "sigmoid",
        shrink: Literal[1, 2] = 1,
        learning_rate: float = 1e-3,
        schedule: Schedule = "cosine",
        loss: DenoiserLoss = "l1",
        lungs_weight: float = 1.0,
        noise: NoiseSettings = NoiseSettings(),  # noqa: B008  (frozen)
        augment: bool = True,
        variation: VariationSettings = VariationSettings(),  # noqa: B008  (frozen)
        patch: int = 0,
        compiled: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, schedule)
        if patch < 0 or patch % STRIDE:
            raise UsageError(f"patch must be 0 or a multiple of {STRIDE}, got {patch}")
        self.shrink = shrink
        self.build(base, depth, bidirectional, gates, shrink)
        self.loss: DenoiserLoss = loss
        self.patch = patch
        self.lungs_weight = lungs_weight
        self.noise = noise
        self.augment = augment
        self.variation = variation
        self.compiled = compiled

    def on_fit_start(self) -> None:
        """Compile here, behind the loading of other weights, whose names stay as they are."""
        if self.compiled:
            compile_in_place(self.network, self.device)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Paint noise onto healthy slices and have it taken off."""
        loss = self.loss_of(batch, self.generator(1, self.moment(batch_idx)))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def loss_of(
        self, batch: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
    ) -> torch.Tensor:
        """The loss of a batch, with noise and variations drawn from `generator`."""
        clean, lungs = self._blocks(*batch)
        if self.augment:
            clean, lungs = vary_slices(clean, lungs, generator=generator, settings=self.variation)
        if self.patch:
            clean, lungs = cut_patches(clean, lungs, self.patch, generator=generator)
        noisy, _ = corrupt(clean, lungs, self.noise, generator=generator)
        return self._loss(self(noisy), clean, lungs)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Loss, and how well painted and healthy lung are distinguished."""
        clean, lungs = self._blocks(*batch)
        # The same noise in every epoch: the curve shows the network, not the dice.
        noisy, noise = corrupt(clean, lungs, self.noise, generator=self.generator(2, batch_idx))
        output = self(noisy)
        residual = noisy - output
        painted = (noise.abs() > PAINTED) & (lungs > 0.5)
        healthy = (noise.abs() <= PAINTED) & (lungs > 0.5)
        scores = {
            "val_loss": self._loss(output, clean, lungs),
            "val_residual_painted": _mean_where(residual, painted),
            "val_residual_healthy": _mean_where(residual.abs(), healthy),
            # A network that never leaves a constant shows it here.
            "val_output_spread": output.std(),
            "val_lungs_spread": _spread_where(output, lungs > 0.5),
        }
        self.add_scores(scores, len(clean))

    def look(self, batch: tuple[torch.Tensor, torch.Tensor], count: int) -> Look:
        """Noisy slices, what is left of them, and what was taken off."""
        clean, lungs = self._blocks(*batch)
        noisy, _ = corrupt(clean, lungs, self.noise, generator=self.generator(2, 0))
        output = self(noisy)
        panels = (noisy, output, (noisy - output).abs())
        return look_at_pictures(panels, "noisy, denoised, difference", count)

    def on_validation_end(self) -> None:
        """Notice a dead start.

        Raises:
            UsageError: If the output within the lungs is still one constant.
        """
        spread = float(self.trainer.callback_metrics.get("val_lungs_spread", 1.0))
        if self.global_step >= DEAD_AFTER_STEPS and spread < DEAD_SPREAD:
            raise UsageError(
                f"the denoiser's output within the lungs is one constant after {self.global_step} "
                f"steps (spread {spread:.1e}): training collapsed, more steps do not help. Train "
                "with another --seed_everything, a larger --model.base or a smaller "
                "--model.learning_rate."
            )

    def _blocks(
        self, clean: torch.Tensor, lungs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network looks at: means over blocks; lungs where at least half is lung."""
        if self.shrink == 1:
            return clean, lungs
        parts = F.avg_pool2d(lungs, self.shrink)
        return F.avg_pool2d(clean, self.shrink), (parts >= 0.5).to(lungs.dtype)

    def _loss(self, output: torch.Tensor, clean: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
        return slice_loss(output, clean, lungs, kind=self.loss, lungs_weight=self.lungs_weight)


class ClassifierTask(SeededTask):
    """The 3D CNN learns the class from the residual of the frozen denoiser.

    Args:
        base: Filters of the first two layers; 8 in the paper.
        depth: Slices of the residual.
        size: Rows and columns of it.
        learning_rate: Of Adam, at its highest.
        schedule: ``cosine`` falls to zero over the run; ``constant`` stays.
        augment: Vary the residuals (mirror, shift, scale).
        channels: Of the input; 2 where the CT stands beside the residual.
        shares: Score how much of the lungs exceeds each of a few values as well; see `CNN3D`.
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        base: int = 8,
        depth: int = 50,
        size: int = 240,
        learning_rate: float = 1e-4,
        schedule: Schedule = "cosine",
        augment: bool = True,
        channels: int = 1,
        shares: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, schedule)
        self.architecture: dict[str, Any] = {"base": base, "depth": depth, "size": size}
        if shares:
            self.architecture["shares"] = True
        if channels != 1:
            # Cards of one channel stay what they were before there were more.
            self.architecture["channels"] = channels
        self.network = CNN3D(**self.architecture, classes=len(CHEST_CT))
        # Nearly twice as fast on a CPU.
        layout = torch.channels_last_3d
        self.network = self.network.to(memory_format=layout)  # type: ignore[call-overload, unused-ignore]
        self.augment = augment
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Logits (batch, label) of residuals (batch, channel, slice, row, column)."""
        return self.network(residual)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Cross-entropy of the class."""
        residual, label = batch
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            residual = vary_residuals(residual, generator=generator)
        logits = self._classify(residual)
        loss = self.criterion(logits, label)
        self.log("train_loss", loss, prog_bar=True)
        accuracy = _accuracy(logits, label)
        self.log("train_accuracy", accuracy, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Cross-entropy and accuracy on the validation patients."""
        residual, label = batch
        logits = self._classify(residual)
        scores = {
            "val_loss": self.criterion(logits, label),
            "val_accuracy": _accuracy(logits, label),
        }
        self.add_scores(scores, len(label))

    def look(self, batch: tuple[torch.Tensor, torch.Tensor], count: int) -> Look:
        """Classes of the first validation patients."""
        residual, label = batch
        probabilities = self._classify(residual).softmax(1)
        return look_at_answers(CHEST_CT.titles, probabilities, label, count)

    def _classify(self, residual: torch.Tensor) -> torch.Tensor:
        return self.network(residual.contiguous(memory_format=torch.channels_last_3d)).float()


def _accuracy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(dim=1) == label).float().mean()


def _spread_where(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    # Slices above and below the lungs have none.
    return values[where].std() if where.sum() > 1 else values.std()


def _mean_where(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
