"""What the network learns, as a Lightning module."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.systems.xray_vgg16.networks import NetworkName, RadiographNet
from covidctnet.training.look import Look, look_at_answers
from covidctnet.training.pictures import PictureVariation, vary_pictures
from covidctnet.training.seeded import SeededTask

__all__ = ["MAX_VOTES", "RadiographTask"]

Batch = tuple[torch.Tensor, torch.Tensor]
Body = Literal["auto", "frozen", "trained"]
FitMode = Literal["one", "votes"]
# As the last published version: mirrored, turned by 10 degrees, enlarged by a tenth, and up to .3
# brighter or darker.
PUBLISHED_VARIATION = PictureVariation(
    warp=0.0, turn=10.0, zoom=1.1, light=0.3, chance_shape=1.0, chance_light=1.0
)
# Checkpoints that vote, the last ones. The published notebook keeps all.
MAX_VOTES = 5


class RadiographTask(SeededTask):
    """A network learns the class of radiographs.

    Args:
        network: ``vgg16_block2`` or ``vgg16_block3`` (cut, published), ``resnet50`` (cut),
            ``inception_v3``, ``inception_resnet_v2`` or ``efficientnet_lite0``.
        size: Rows and columns of a radiograph; the same as of the data.
        pretrained: Weights that the body starts from: ``imagenet``, the path of a file, or empty
            for none.
        body: ``frozen`` or ``trained``; ``auto`` freezes cut bodies, as published, and trains whole
            ones.
        fit: ``one`` network, or ``votes``: every epoch with a better training accuracy gives a
            network, and the last five of these vote (the second published way).
        learning_rate: Of Adam.
        balanced: Let all classes weigh alike, however many radiographs they have.
        augment: Vary the radiographs.
        variation: How far.
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        network: NetworkName = "vgg16_block2",
        size: int = 324,
        pretrained: str = "imagenet",
        body: Body = "auto",
        fit: FitMode = "one",
        learning_rate: float = 3e-4,
        balanced: bool = True,
        augment: bool = True,
        variation: PictureVariation = PUBLISHED_VARIATION,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, "constant")
        if body not in ("auto", "frozen", "trained") or fit not in ("one", "votes"):
            raise UsageError(
                "expected auto, frozen or trained as body and one or votes as fit, got "
                f"{body!r:.80} and {fit!r:.80}"
            )
        # The start of the heads is drawn from the seed, whatever was drawn before.
        torch.manual_seed(seed)
        self.architecture: dict[str, Any] = {"network": network, "size": size}
        self.network = RadiographNet(network, size)
        self.network.start(pretrained)
        self.network.to(memory_format=torch.channels_last)
        self.is_frozen = self.network.is_cut if body == "auto" else body == "frozen"
        if self.is_frozen:
            self.network.bodies.requires_grad_(False)
        self.fit_mode = fit
        self.balanced, self.augment, self.variation = balanced, augment, variation
        self.kept: list[dict[str, torch.Tensor]] = []
        self._best = -1.0
        self._right, self._seen = 0, 0
        self._weights: tuple[float, ...] | None = None

    def train(self, mode: bool = True) -> RadiographTask:
        """Training mode; a frozen body keeps its batch norms as they are."""
        super().train(mode)
        if self.is_frozen:
            self.network.bodies.eval()
        return self

    def on_train_start(self) -> None:
        """Look up how much each class weighs."""
        if self.balanced:
            self._weights = self.trainer.datamodule.weights_of_classes()  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Start the count of the epoch."""
        self._right, self._seen = 0, 0

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Cross-entropy of varied radiographs."""
        pictures, labels = batch
        inputs = pictures.float() / 255
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            inputs, _ = vary_pictures(inputs, generator=generator, settings=self.variation)
        logits = self.network(inputs)[:, 0]
        weights = None
        if self._weights is not None:
            weights = logits.new_tensor(self._weights)[labels]
        loss = F.binary_cross_entropy_with_logits(logits, labels.float(), weights)
        self._right += int(((logits.detach() > 0) == (labels > 0)).sum())
        self._seen += len(labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the accuracy on the varied radiographs; keep the network if it is the best yet."""
        accuracy = self._right / max(self._seen, 1)
        self.log("train_accuracy", accuracy)
        if self.fit_mode == "votes" and accuracy > self._best:
            self._best = accuracy
            self.kept = [*self.kept, self._learned()][-MAX_VOTES:]

    def _learned(self) -> dict[str, torch.Tensor]:
        """A copy of what training changes."""
        state = self.network.state_dict()
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in state.items()
            if not (self.is_frozen and name.startswith("bodies."))
        }

    def voting(self) -> RadiographNet:
        """One network of all that were kept; the one that was chosen where none was.

        Its body is that of the network, which a frozen one shares with all heads.
        """
        if not self.kept:
            return self.network
        made = RadiographNet(**self.voting_architecture)
        state = {}
        for place, kept in enumerate(self.kept):
            for name, tensor in kept.items():
                part, _, rest = name.split(".", 2)
                state[f"{part}.{place}.{rest}"] = tensor
        if self.is_frozen:
            own = self.network.state_dict()
            state |= {name: tensor for name, tensor in own.items() if name.startswith("bodies.")}
        made.load_state_dict(state)
        return made

    @property
    def voting_architecture(self) -> dict[str, Any]:
        """Of `voting`."""
        if not self.kept:
            return self.architecture
        votes = len(self.kept)
        return {**self.architecture, "votes": votes, "bodies": 1 if self.is_frozen else votes}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the networks that vote with those that go on."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["kept"], checkpoint["best_train_accuracy"] = self.kept, self._best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The same, back."""
        super().on_load_checkpoint(checkpoint)
        self.kept = list(checkpoint.get("kept", []))
        self._best = float(checkpoint.get("best_train_accuracy", -1.0))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Cross-entropy and accuracy on radiographs of the validation patients."""
        pictures, labels = batch
        logits = self.network(pictures.float() / 255)[:, 0]
        right = ((logits > 0) == (labels > 0)).float().mean()
        loss = F.binary_cross_entropy_with_logits(logits, labels.float())
        self.add_scores({"val_loss": loss, "val_accuracy": right}, len(labels))

    def look(self, batch: Batch, count: int) -> Look:
        """Classes of the first validation radiographs."""
        pictures, labels = batch
        positive = self.network(pictures.float() / 255)[:, :1].float().sigmoid()
        titles = self.trainer.datamodule.classes.titles  # type: ignore[attr-defined]
        return look_at_answers(titles, torch.cat([1 - positive, positive], 1), labels, count)
