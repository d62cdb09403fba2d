"""Labelled slices for a classifier: of a folder of pictures, or of the scans of a work folder."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidctnet.classes import Classes
from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import UsageError
from covidctnet.slicewise.table import read_images
from covidctnet.slicewise.window import Window
from covidctnet.training.command import TrainCLI
from covidctnet.training.images import (
    Division,
    StoredImage,
    describe_images,
    divide_images,
    store_images,
)
from covidctnet.training.order import EpochOrder, in_turn, ordered_loader
from covidctnet.training.work import WorkFolder, describe_data, is_synthetic

__all__ = ["LabelledSliceData", "Pair", "SliceCLI"]

Pair = tuple[torch.Tensor, torch.Tensor]


class _Windowed(Protocol):
    @property
    def window(self) -> Window:
        """The range of HU that is shown."""


class LabelledSliceData(pl.LightningDataModule):
    """What systems share that learn the class of single slices; all of a patient on one side.

    A system says in `slices_of` how slices are made. A batch is what its items are, stacked: the
    pictures, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Filled by preprocess; with `images`, it receives these as arrays.
        settings: Of the slices.
        images: Folder of pictures with ``images.csv`` or a folder for each class and patient;
            empty for the scans of the work folder.
        patients_unknown: Allow pictures without a patient; then no figure is by patient.
        division: Of pictures, where their table names no split.
        batch_size: Slices a step; slices that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.

    Attributes:
        classes: Of the labels of pictures and scans.
        min_batch: The smallest `batch_size`.
    """

    classes: ClassVar[Classes]
    min_batch: ClassVar[int] = 1

    def __init__(
        self,
        work: str,
        settings: _Windowed,
        *,
        images: str,
        patients_unknown: bool,
        division: Division,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        if batch_size < self.min_batch or workers < 0:
            raise UsageError(
                f"expected a batch_size of {self.min_batch} or more and workers of 0 or more, got "
                f"{batch_size} and {workers}"
            )
        self.work = WorkFolder(work)
        self.window = settings.window
        self.images, self.patients_unknown, self.division = images, patients_unknown, division
        self.batch_size, self.seed = batch_size, seed
        # A preset made for a large machine must run on a small one.
        self.workers = min(workers, os.cpu_count() or 1)
        self.sides: dict[str, list[StoredImage]] = {}
        self.synthetic = False

    @abstractmethod
    def slices_of(self, split: str) -> Dataset[Pair]:
        """The slices of a split, with their classes; its items are asked for with a seed."""

    def setup(self, stage: str) -> None:
        """Read pictures and divide them; a work folder is divided by preprocess.

        Raises:
            CohortError: If the pictures contradict themselves.
        """
        if self.sides or not self.images:
            return
        unknown = self.patients_unknown
        table = read_images(Path(self.images), self.classes, patients_unknown=unknown)
        stored = store_images(table, self.work.path / "pictures", window=self.window)
        self.sides = divide_images(stored, table, self.division)

    def taught(self) -> list[StoredImage]:
        """Pictures that teach the network or choose its epoch."""
        return [*self.sides["train"], *self.sides["val"]]

    def scans_of(self, split: str) -> Sequence[StoredStudy]:
        """Scans of the work folder in a split."""
        return self.work.studies(split)

    def describe(self, attribution: str) -> tuple[Mapping[str, Any], bool]:
        """What the network has learned from, for its card, and whether all of it is synthetic.

        Args:
            attribution: Whom the licence of the data requires to be named.
        """
        self.setup("fit")
        if self.sides:
            taught = describe_images(self.taught(), attribution, synthetic=self.synthetic)
            return taught, self.synthetic
        studies = [study for split in ("train", "val") for study in self.scans_of(split)]
        return describe_data(self.work, studies, attribution), all(map(is_synthetic, studies))

    def train_dataloader(self) -> DataLoader[Pair]:
        """Whole batches in an order that depends on seed and epoch.

        Raises:
            UsageError: If there are not enough slices for one.
        """
        slices = self.slices_of("train")
        count = len(slices)  # type: ignore[arg-type]
        if count < self.batch_size:
            raise UsageError(
                f"expected at least {self.batch_size} slices for a batch, got {count}. "
                "Choose a smaller --data.batch_size or more --data.slices."
            )
        order = EpochOrder(count, self.seed)
        return ordered_loader(slices, order, self.batch_size, workers=self.workers, drop_last=True)

    def val_dataloader(self) -> DataLoader[Pair]:
        """Every slice of the validation patients."""
        slices = self.slices_of("val")
        order = in_turn(len(slices))  # type: ignore[arg-type]
        return ordered_loader(slices, order, self.batch_size, workers=self.workers)


class SliceCLI(TrainCLI):
    """Of a stage that learns from slices: pictures need no work folder that was preprocessed."""

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        data = self.config.data
        return {} if data.images or data.get("scans") else super().needed()
