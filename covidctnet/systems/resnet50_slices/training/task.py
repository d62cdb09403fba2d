"""What the network learns, as a Lightning module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from covidctnet.networks.pretrained import start_of
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from covidctnet.systems.resnet50_slices.training.optimiser import apply_step, make_optimiser
from covidctnet.systems.resnet50_slices.training.schedule import FineTune
from covidctnet.training.look import Look, look_at_answers
from covidctnet.training.pictures import PictureVariation, vary_pictures
from covidctnet.training.seeded import SeededTask

__all__ = ["SliceTask"]

Batch = tuple[torch.Tensor, torch.Tensor]


class SliceTask(SeededTask):
    """A network learns the class of single slices.

    Args:
        backbone: ``resnet50`` or ``efficientnet_lite0``.
        pretrained: Weights that the body starts from: ``imagenet``, the path of a file, or empty
            for none.
        learning_rate: Of the head while the body is frozen; half of it at most afterwards.
        frozen_epochs: In which only the head and the batch norms learn; all layers learn in the
            others of ``--trainer.max_epochs``.
        augment: Vary the slices.
        variation: How far.
        seed: Of everything random in a step.
    """

    sets_rates = True

    def __init__(
        self,
        backbone: str = "resnet50",
        pretrained: str = "imagenet",
        learning_rate: float = 2e-3,
        frozen_epochs: int = 1,
        augment: bool = True,
        variation: PictureVariation = PictureVariation(),  # noqa: B008  (frozen)
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, "constant")
        # Dropout and the head's start are drawn from the seed, whatever was drawn before.
        torch.manual_seed(seed)
        self.architecture = {"backbone": backbone}
        self.network = SliceClassifier(backbone)
        start_of(self.network.body, pretrained, backbone)
        self.network.to(memory_format=torch.channels_last)
        self.frozen_epochs = frozen_epochs
        self.augment = augment
        self.variation = variation
        self._plan: FineTune | None = None

    def on_train_start(self) -> None:
        """Lay out the learning rates over the run."""
        batches = int(self.trainer.num_training_batches)
        steps = math.ceil(batches / self.trainer.accumulate_grad_batches)
        epochs = int(self.trainer.max_epochs or 1)
        frozen = min(self.frozen_epochs, epochs - 1)
        self._plan = FineTune(steps, epochs - frozen, frozen, self.learning_rate)

    def configure_optimizers(self) -> Any:
        """AdamW, whose rates and momentum are set before every step."""
        return make_optimiser(self.network.groups())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set rates and momentum of this step."""
        super().on_train_batch_start(batch, batch_idx)
        assert self._plan is not None
        apply_step(self.trainer.optimizers[0], self._plan.at(self.global_step))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Cross-entropy of varied slices."""
        pictures, labels = batch
        inputs = pictures.float() / 255
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            inputs, _ = vary_pictures(inputs, generator=generator, settings=self.variation)
        loss = F.cross_entropy(self.network(inputs).float(), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Cross-entropy and accuracy on slices of the validation patients."""
        pictures, labels = batch
        logits = self.network(pictures.float() / 255).float()
        right = (logits.argmax(dim=1) == labels).float().mean()
        scores = {"val_loss": F.cross_entropy(logits, labels), "val_accuracy": right}
        self.add_scores(scores, len(labels))

    def look(self, batch: Batch, count: int) -> Look:
        """Classes of the first validation slices."""
        pictures, labels = batch
        probabilities = self.network(pictures.float() / 255).float().softmax(1)
        return look_at_answers(CLASSES.titles, probabilities, labels, count)
