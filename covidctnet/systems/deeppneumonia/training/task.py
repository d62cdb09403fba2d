"""What the network learns, as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.networks.pretrained import start_of
from covidctnet.systems.deeppneumonia.classes import TASKS, Task
from covidctnet.systems.deeppneumonia.networks import Details, DRENet, PlainNet
from covidctnet.systems.deeppneumonia.training.loss import drenet_loss
from covidctnet.training.look import Look, look_at_answers
from covidctnet.training.pictures import PictureVariation, vary_pictures
from covidctnet.training.seeded import SeededTask

__all__ = ["DetailTask"]

_NETWORKS: Mapping[str, type[DRENet | PlainNet]] = MappingProxyType(
    {"drenet": DRENet, "plain": PlainNet}
)
Batch = tuple[torch.Tensor, torch.Tensor]
# As published: mirrored, and up to an eighth brighter or darker.
PUBLISHED_VARIATION = PictureVariation(
    warp=0.0, turn=0.0, zoom=1.0, light=0.126, chance_shape=0.0, chance_light=1.0
)


class DetailTask(SeededTask):
    """DRE-Net, or a plain network on the same crops, learns the class of single slices.

    Args:
        task: What is distinguished; the same as of the data.
        network: ``drenet``, or ``plain`` for the backbone and one linear layer.
        backbone: ``resnet50``, ``densenet121`` or ``efficientnet_lite0``; of ``plain`` also
            ``vgg16``, ``inception_v3`` or ``inception_resnet_v2``, whose maps the boxes of
            ``drenet`` do not fit.
        size: Rows and columns at which a crop is looked at.
        pretrained: Weights that the body starts from: ``imagenet``, the path of a file, or empty
            for none.
        learning_rate: Of stochastic gradient descent.
        milestones: Epochs after which the learning rate falls to a tenth.
        augment: Vary the crops.
        variation: How far.
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        task: Task = "three",
        network: str = "drenet",
        backbone: str = "resnet50",
        size: int = 448,
        pretrained: str = "imagenet",
        learning_rate: float = 8e-4,
        milestones: tuple[int, ...] = (60, 100),
        augment: bool = True,
        variation: PictureVariation = PUBLISHED_VARIATION,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, "constant")
        if network not in _NETWORKS:
            raise UsageError(
                f"expected a network out of {', '.join(_NETWORKS)}, got {network!r:.80}"
            )
        # The start of the heads is drawn from the seed, whatever was drawn before.
        torch.manual_seed(seed)
        self.classes = TASKS[task]
        self.architecture: dict[str, Any] = {
            "network": network,
            "backbone": backbone,
            "classes": len(self.classes),
            "size": size,
        }
        self.network = _NETWORKS[network](backbone, len(self.classes), size)
        start_of(self.network.body, pretrained, backbone)
        self.network.to(memory_format=torch.channels_last)
        self.milestones = milestones
        self.augment = augment
        self.variation = variation

    def configure_optimizers(self) -> Any:
        """Stochastic gradient descent, as published."""
        optimiser = torch.optim.SGD(
            self.parameters(), lr=self.learning_rate, momentum=0.9, weight_decay=1e-4
        )
        falls = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(self.milestones), gamma=0.1)
        return {"optimizer": optimiser, "lr_scheduler": falls}

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Classes of crops and their details, and the ranking of these."""
        pictures, labels = batch
        inputs = pictures.float() / 255
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            inputs, _ = vary_pictures(inputs, generator=generator, settings=self.variation)
        loss = _loss(self.network(inputs), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Cross-entropy and accuracy of the answer on slices of the validation patients."""
        pictures, labels = batch
        logits = self.network(pictures.float() / 255).logits.float()
        right = (logits.argmax(dim=1) == labels).float().mean()
        scores = {"val_loss": F.cross_entropy(logits, labels), "val_accuracy": right}
        self.add_scores(scores, len(labels))

    def look(self, batch: Batch, count: int) -> Look:
        """Classes of the first validation slices."""
        pictures, labels = batch
        probabilities = self.network(pictures.float() / 255).logits.float().softmax(1)
        return look_at_answers(self.classes.titles, probabilities, labels, count)


def _loss(details: Details, labels: torch.Tensor) -> torch.Tensor:
    if details.parts.shape[1] == 0:
        return F.cross_entropy(details.logits.float(), labels)
    return drenet_loss(details, labels)["loss"]
