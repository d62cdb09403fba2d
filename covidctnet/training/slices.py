"""Labelled pictures for a classifier: of a folder, or slices of the scans of a work folder."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidctnet.classes import Classes
from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import UsageError
from covidctnet.io.picture import Picture
from covidctnet.slicewise.table import read_images
from covidctnet.slicewise.window import Window, slice_8_bit
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

__all__ = ["LabelledPictureData", "LabelledSliceData", "Pair", "SliceCLI"]

Pair = tuple[torch.Tensor, torch.Tensor]


class _Windowed(Protocol):
    @property
    def window(self) -> Window:
        """The range of HU that is shown."""


class LabelledPictureData(pl.LightningDataModule):
    """What systems share that learn the class of single pictures; all of a patient on one side.

    A system says in `slices_of` how its pictures are made. A batch is what its items are, stacked:
    the pictures, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Receives the pictures as arrays.
        images: Folder of pictures with ``images.csv`` or a folder for each class and patient.
        patients_unknown: Allow pictures without a patient; then no figure is by patient.
        division: Of pictures, where their table names no split.
        batch_size: Pictures a step; those that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.

    Attributes:
        classes: Of the labels of pictures and scans.
        min_batch: The smallest `batch_size`.
        patient_in_name: See `covidctnet.slicewise.table.read_images`.
        noun: What the pictures are called in messages.
    """

    classes: Classes
    min_batch: ClassVar[int] = 1
    patient_in_name: ClassVar[bool] = False
    noun: ClassVar[str] = "slices"

    def __init__(
        self,
        work: str,
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
        self.images, self.patients_unknown, self.division = images, patients_unknown, division
        self.batch_size, self.seed = batch_size, seed
        # A preset made for a large machine must run on a small one.
        self.workers = min(workers, os.cpu_count() or 1)
        self.sides: dict[str, list[StoredImage]] = {}
        self.synthetic = False

    @abstractmethod
    def slices_of(self, split: str) -> Dataset[Pair]:
        """The pictures of a split, with their classes; its items are asked for with a seed."""

    @abstractmethod
    def grey(self, picture: Picture) -> np.ndarray:
        """The grey values of a picture, uint8 (row, column).

        Raises:
            StudyError: If it shows something else.
        """

    def setup(self, stage: str) -> None:
        """Read pictures and divide them; a work folder is divided by preprocess.

        Raises:
            CohortError: If the pictures contradict themselves.
        """
        if self.sides or not self.images:
            return
        table = read_images(
            Path(self.images),
            self.classes,
            patients_unknown=self.patients_unknown,
            patient_in_name=self.patient_in_name,
        )
        stored = store_images(table, self.work.path / "pictures", grey=self.grey)
        self.synthetic = all(one.is_synthetic for one in stored)
        self.sides = divide_images(stored, table, self.division)

    def taught(self) -> list[StoredImage]:
        """Pictures that teach the network or choose its epoch."""
        return [*self.sides["train"], *self.sides["val"]]

    def describe(self, attribution: str) -> tuple[Mapping[str, Any], bool]:
        """What the network has learned from, for its card, and whether all of it is synthetic.

        Args:
            attribution: Whom the licence of the data requires to be named.
        """
        self.setup("fit")
        taught = describe_images(self.taught(), attribution, synthetic=self.synthetic)
        return taught, self.synthetic

    def train_dataloader(self) -> DataLoader[Pair]:
        """Whole batches in an order that depends on seed and epoch.

        Raises:
            UsageError: If there are not enough slices for one.
        """
        slices = self.slices_of("train")
        count = len(slices)  # type: ignore[arg-type]
        if count < self.batch_size:
            raise UsageError(
                f"expected at least {self.batch_size} {self.noun} for a batch, got {count}. "
                "Choose a smaller --data.batch_size, or give more."
            )
        order = EpochOrder(count, self.seed)
        return ordered_loader(slices, order, self.batch_size, workers=self.workers, drop_last=True)

    def val_dataloader(self) -> DataLoader[Pair]:
        """Every slice of the validation patients."""
        slices = self.slices_of("val")
        order = in_turn(len(slices))  # type: ignore[arg-type]
        return ordered_loader(slices, order, self.batch_size, workers=self.workers)


class LabelledSliceData(LabelledPictureData):
    """Slices of pictures, or of the scans of a work folder.

    Args:
        work: Filled by preprocess; with `images`, it receives these as arrays.
        settings: Of the slices.
        images: See `LabelledPictureData`; empty for the scans of the work folder.
        patients_unknown: See `LabelledPictureData`.
        division: The same.
        batch_size: The same.
        workers: The same.
        seed: The same.
    """

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
        super().__init__(
            work,
            images=images,
            patients_unknown=patients_unknown,
            division=division,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
        )
        self.window = settings.window

    def grey(self, picture: Picture) -> np.ndarray:
        """See `LabelledPictureData.grey`; a slice in HU is seen through the window."""
        return slice_8_bit(picture, self.window)

    def scans_of(self, split: str) -> Sequence[StoredStudy]:
        """Scans of the work folder in a split."""
        return self.work.studies(split)

    def describe(self, attribution: str) -> tuple[Mapping[str, Any], bool]:
        """See `LabelledPictureData.describe`."""
        self.setup("fit")
        if self.sides:
            return super().describe(attribution)
        studies = [study for split in ("train", "val") for study in self.scans_of(split)]
        return describe_data(self.work, studies, attribution), all(map(is_synthetic, studies))


class SliceCLI(TrainCLI):
    """Of a stage that learns from slices: pictures need no work folder that was preprocessed."""

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        data = self.config.data
        return {} if data.images or data.get("scans") else super().needed()
