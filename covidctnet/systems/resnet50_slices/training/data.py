"""The slices that the network learns from."""

from __future__ import annotations

import os

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.resize import CENTRE, Fit
from covidctnet.systems.resnet50_slices.settings import SliceSettings, lung_slices
from covidctnet.training.order import Drawn, EpochOrder, in_turn
from covidctnet.training.work import WorkFolder

__all__ = ["ScanSlices", "SliceData"]

Pair = tuple[torch.Tensor, torch.Tensor]


class SliceData(pl.LightningDataModule):
    """Slices of the scans of a work folder, those of a patient all on one side.

    A batch is the slices, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Filled by preprocess.
        size: Rows and columns that the network sees.
        fit: ``crop`` takes the largest square of a slice, ``pad`` keeps all of it.
        slices: Of a scan, evenly spaced over the lungs.
        low_hu: Shown black.
        high_hu: Shown white.
        batch_size: Slices a step; slices that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.
    """

    def __init__(
        self,
        work: str,
        size: int = 448,
        fit: Fit = "crop",
        slices: int = 16,
        low_hu: float = -1350.0,
        high_hu: float = 150.0,
        batch_size: int = 32,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 2 or workers < 0:
            raise UsageError(
                "expected a batch_size of 2 or more, as the head normalises over a batch, and "
                f"workers of 0 or more, got {batch_size} and {workers}"
            )
        self.work = WorkFolder(work)
        self.settings = SliceSettings(size, fit, low_hu, high_hu, slices)
        self.batch_size, self.seed = batch_size, seed
        # A preset made for a large machine must run on a small one.
        self.workers = min(workers, os.cpu_count() or 1)

    def studies(self) -> list[StoredStudy]:
        """All studies that teach the network or choose its epoch."""
        return [study for split in ("train", "val") for study in self.work.studies(split)]

    def train_dataloader(self) -> DataLoader[Pair]:
        """Whole batches in an order that depends on seed and epoch.

        Raises:
            UsageError: If there are not enough slices for one.
        """
        slices = ScanSlices(self.work.studies("train"), self.settings)
        if len(slices) < self.batch_size:
            raise UsageError(
                f"expected at least {self.batch_size} slices for a batch, got {len(slices)}. "
                "Choose a smaller --data.batch_size or more --data.slices."
            )
        order = EpochOrder(len(slices), self.seed)
        return self._loader(slices, order, drop_last=True)

    def val_dataloader(self) -> DataLoader[Pair]:
        """Every slice of the validation patients."""
        slices = ScanSlices(self.work.studies("val"), self.settings)
        return self._loader(slices, in_turn(len(slices)), drop_last=False)

    def _loader(
        self, slices: ScanSlices, order: EpochOrder | list[Drawn], *, drop_last: bool
    ) -> DataLoader[Pair]:
        return DataLoader(
            slices,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=drop_last,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class ScanSlices(Dataset[Pair]):
    """Slices of stored scans.

    Args:
        studies: Preprocessed, with their lungs and labels.
        settings: Of the slices.
    """

    def __init__(self, studies: list[StoredStudy], settings: SliceSettings) -> None:
        self.settings = settings
        self.slices: list[tuple[StoredStudy, int, int]] = []
        for study in studies:
            if study.lungs is None or study.label is None:
                raise UsageError(
                    f"study {study.id} is stored without lungs or label. Run preprocess again."
                )
            label = CLASSES.parse(study.label.title)
            places = lung_slices(study.lungs.sum(axis=(1, 2)), settings.slices)
            self.slices.extend((study, place, int(label)) for place in places)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, drawn: Drawn) -> Pair:
        item, seed = drawn
        study, place, label = self.slices[item]
        low, high = PreprocessSettings(**study.settings).window_hu
        hu = study.slice(place) * (high - low) + low
        where = CENTRE if seed < 0 else tuple(np.random.default_rng(seed).random(2))
        picture = self.settings.picture(hu, where)
        return torch.from_numpy(picture)[None], torch.tensor(label)
