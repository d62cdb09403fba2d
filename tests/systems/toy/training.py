"""How the toy learns: slices of a work folder."""

import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.work import WorkFolder, describe_data, is_synthetic
from tests.systems.toy import features


class ToyTask(pl.LightningModule):
    """A line through two numbers.

    Args:
        learning_rate: Of Adam.
        seed: Not used.
    """

    def __init__(self, learning_rate: float = 0.05, seed: int = 0) -> None:
        super().__init__()
        self.network = torch.nn.Linear(2, 2)
        self.learning_rate = learning_rate

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.learning_rate)


class ToyData(pl.LightningDataModule):
    """Slices of the patients of a work folder.

    Args:
        work: Filled by preprocess.
        seed: Of the order.
    """

    def __init__(self, work: str, seed: int = 0) -> None:
        super().__init__()
        self.work = WorkFolder(work)

    def _loader(self, split):
        studies = self.work.studies(split)
        inputs = [features(study.volume().array) for study in studies]
        ill = [
            torch.full((len(x),), int(s.label.rank > 0))
            for x, s in zip(inputs, studies, strict=True)
        ]
        return DataLoader(TensorDataset(torch.cat(inputs), torch.cat(ill)), batch_size=16)

    def train_dataloader(self):
        return self._loader("train")

    def val_dataloader(self):
        return self._loader("val")


def export(task, data, attribution):
    studies = [s for split in ("train", "val") for s in data.work.studies(split)]
    card = {
        "system": "toy",
        "architecture": {"net": {"inputs": 2}},
        "synthetic_only": all(map(is_synthetic, studies)),
    }
    return Trained({"net": task.network}, card, describe_data(data.work, studies, attribution))


RECIPE = Recipe(ToyTask, ToyData, export)
