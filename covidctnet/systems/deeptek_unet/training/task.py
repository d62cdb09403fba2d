"""What the network learns, as a Lightning module."""

from __future__ import annotations

from typing import Any

import torch

from covidctnet.systems.deeptek_unet.networks import LesionUNet, Upsample
from covidctnet.systems.deeptek_unet.training.losses import MaskLoss, mask_loss
from covidctnet.systems.deeptek_unet.training.plateau import make_plateau
from covidctnet.training.look import Look, look_at_pictures
from covidctnet.training.pictures import PictureVariation, vary_pictures
from covidctnet.training.seeded import SeededTask

__all__ = ["MaskTask"]

Batch = tuple[torch.Tensor, torch.Tensor]
# Ours; the paper states none.
_FLIP_AND_TURN = PictureVariation(flip=0.5, warp=0, turn=10, zoom=1, light=0)


class MaskTask(SeededTask):
    """A network learns the lesions of single slices.

    Args:
        encoder: ``xception``, ``resnet50`` or ``efficientnet_lite0``.
        upsample: ``nearest``, or ``transposed`` for convolutions that learn it.
        kinds: Of lesions that are distinguished.
        pretrained: Weights that the encoder starts from: ``imagenet``, the path of a file, or
            empty for none.
        learning_rate: Of Adam at the start; a tenth after `patience` epochs without a better
            validation loss.
        patience: See above.
        loss: ``bce``, or ``bce_dice`` for a Dice loss besides.
        augment: Vary the slices; the paper states nothing of it.
        variation: How far.
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        encoder: str = "xception",
        upsample: Upsample = "nearest",
        kinds: int = 1,
        pretrained: str = "",
        learning_rate: float = 1e-4,
        patience: int = 4,
        loss: MaskLoss = "bce",
        augment: bool = False,
        variation: PictureVariation = _FLIP_AND_TURN,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, "constant")
        torch.manual_seed(seed)
        self.architecture = {"encoder": encoder, "upsample": upsample, "kinds": kinds}
        self.network = LesionUNet(encoder, upsample, kinds)
        self.network.start_from(pretrained)
        self.network.to(memory_format=torch.channels_last)
        self.kinds, self.patience = kinds, patience
        self.loss: MaskLoss = loss
        self.augment = augment
        self.variation = variation

    def configure_optimizers(self) -> Any:
        """Adam, and the fall of its learning rate."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        plateau = make_plateau(optimiser, patience=self.patience)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Loss over the pixels of varied slices."""
        pictures, labels = batch
        inputs, masks = pictures.float() / 255, self._kinds_of(labels)
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            inputs, moved = vary_pictures(
                inputs, masks, generator=generator, settings=self.variation
            )
            assert moved is not None
            masks = moved
        loss = mask_loss(self.network(inputs).float(), masks, self.loss)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss, and Dice of slices that have a lesion, a mean over images."""
        pictures, labels = batch
        masks = self._kinds_of(labels)
        scores = self.network(pictures.float() / 255).float()
        self.add_scores({"val_loss": mask_loss(scores, masks, self.loss)}, len(masks))
        found, drawn = (scores > 0).any(1).flatten(1), masks.bool().any(1).flatten(1)
        has = drawn.any(1)
        if has.any():
            common = (found & drawn)[has].sum(1)
            total = (found[has].sum(1) + drawn[has].sum(1)).float()
            self.add_scores({"val_dice": (2 * common / total).mean()}, int(has.sum()))

    def look(self, batch: Batch, count: int) -> Look:
        """Slices, drawn lesions, and what was found."""
        pictures, labels = batch
        seen = pictures.float() / 255
        found = self.network(seen).float().sigmoid().amax(1, keepdim=True)
        drawn = (labels > 0)[:, None].float()
        return look_at_pictures((seen[:, :1], drawn, found), "slice, drawn, found", count)

    def _kinds_of(self, labels: torch.Tensor) -> torch.Tensor:
        """A mask of 0 and 1 for each kind, (batch, kind, row, column), of numbers from 1."""
        numbers = torch.arange(1, self.kinds + 1, device=labels.device)
        return (labels[:, None] == numbers[None, :, None, None]).float()
