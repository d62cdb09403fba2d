"""The slices and drawn masks that the network learns from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import CohortError, UsageError
from covidctnet.slicewise.aggregate import RunRule
from covidctnet.slicewise.sampling import lung_range
from covidctnet.slicewise.table import Images, read_images
from covidctnet.systems.deeptek_unet.classes import CLASSES
from covidctnet.systems.deeptek_unet.masks import (
    Outline,
    draw_outlines,
    mask_of_picture,
    read_via,
)
from covidctnet.systems.deeptek_unet.rule import SliceRule
from covidctnet.systems.deeptek_unet.settings import MaskSettings, square
from covidctnet.systems.deeptek_unet.transfer import divide_stages, read_plan
from covidctnet.training.images import Division, StoredImage, divide_images, store_images
from covidctnet.training.order import Drawn, EpochOrder, in_turn, ordered_loader
from covidctnet.training.scans import store_scans
from covidctnet.training.work import WorkFolder

__all__ = ["MaskData", "MaskSlices"]

Pair = tuple[torch.Tensor, torch.Tensor]


class MaskData(pl.LightningDataModule):
    """Slices with drawn masks, of pictures or of scans; those of a patient are all on one side.

    A batch is the slices, uint8 (batch, 1, size, size), and numbers of kinds of lesion from 1, 0
    for none, int64 (batch, size, size).

    Args:
        work: Receives the slices as arrays, checkpoints and weights.
        images: Folder with ``images.csv``; empty where scans or a plan are given.
        scans: Labelled archive whose ``cohort.csv`` names a mask of the lesions of every scan;
            empty where pictures or a plan are given.
        every: Of a scan, each so many-th slice with lung.
        outlines: JSON or CSV of the VGG Image Annotator with the lesions of all pictures; empty
            where the table names masks.
        plan: YAML of the stages of transfer; empty for one data set.
        stage: Of the plan.
        patients_unknown: Allow pictures without a patient; then no figure is by patient.
        kinds: Of lesions that the masks tell apart.
        size: Rows and columns that the network sees.
        level: Middle of the window for pictures in HU.
        width: Of that window.
        division: Of the pictures where the table names no split.
        rule: When a slice is positive; its area is fitted on validation slices.
        run: When a scan is positive.
        batch_size: Slices a step.
        workers: Loader processes.
        seed: Of the order.
    """

    def __init__(
        self,
        work: str,
        images: str = "",
        scans: str = "",
        every: int = 1,
        outlines: str = "",
        plan: str = "",
        stage: str = "",
        patients_unknown: bool = False,
        kinds: int = 1,
        size: int = 512,
        level: float = -600.0,
        width: float = 1500.0,
        division: Division = Division(),  # noqa: B008  (frozen)
        rule: SliceRule = SliceRule(),  # noqa: B008  (frozen)
        run: RunRule = RunRule(slices=15),  # noqa: B008  (frozen)
        batch_size: int = 4,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if bool(images) + bool(scans) + bool(plan) != 1:
            raise UsageError(
                "expected either --data.images, --data.scans or --data.plan. Give one of them."
            )
        if bool(plan) != bool(stage):
            raise UsageError("expected --data.stage with --data.plan. Give both.")
        if min(batch_size, kinds, every) < 1 or workers < 0:
            raise UsageError(
                "expected a batch_size, kinds and every of 1 or more and workers of 0 or more, got "
                f"{batch_size}, {kinds}, {every} and {workers}"
            )
        if scans and (outlines or patients_unknown):
            raise UsageError(
                "expected masks and patients of scans in their cohort.csv, got --data.outlines or "
                "--data.patients_unknown, which are for pictures. Leave them out."
            )
        if outlines and kinds > 1:
            raise UsageError(
                "expected masks for several kinds of lesion, got outlines. Draw masks."
            )
        self.work = WorkFolder(work)
        self.outlines = outlines
        self.settings = MaskSettings(size, level, width, rule, run)
        self.images, self.scans, self.plan, self.stage = images, scans, plan, stage
        self.every = every
        self.patients_unknown, self.kinds, self.division = patients_unknown, kinds, division
        self.batch_size, self.seed = batch_size, seed
        # A preset made for a large machine must run on a small one.
        self.workers = min(workers, os.cpu_count() or 1)
        self.sides: dict[str, list[StoredImage]] = {}
        self.synthetic = False

    def prepare_data(self) -> None:
        """Nothing: the pictures are read once, in `setup`."""

    def setup(self, stage: str) -> None:
        """Read the slices and divide them by patient.

        Raises:
            CohortError: If the table contradicts itself, a scan has no mask, or no validation slice
                has a lesion.
        """
        if self.sides:
            return
        stored, table = self._scans() if self.scans else self._pictures()
        sides = divide_images(stored, table, self.division)
        if not any(one.labels().any() for one in sides["val"]):
            raise CohortError(
                "expected a validation slice with a lesion to choose the best epoch by, got none "
                f"among {len(sides['val'])}. Add masks, or divide the pictures otherwise."
            )
        self.sides = sides

    def taught(self) -> list[StoredImage]:
        """All pictures that teach the network or choose its epoch."""
        return [*self.sides["train"], *self.sides["val"]]

    def train_dataloader(self) -> DataLoader[Pair]:
        """All training slices, in an order that depends on seed and epoch."""
        slices = MaskSlices(self.sides["train"], self.settings.size)
        order = EpochOrder(len(slices), self.seed)
        return ordered_loader(slices, order, self.batch_size, workers=self.workers)

    def val_dataloader(self) -> DataLoader[Pair]:
        """Every slice of the validation patients."""
        slices = MaskSlices(self.sides["val"], self.settings.size)
        order = in_turn(len(slices))
        return ordered_loader(slices, order, self.batch_size, workers=self.workers)

    def _scans(self) -> tuple[tuple[StoredImage, ...], Images]:
        found = store_scans(
            read_cohort(Path(self.scans)),
            self.work.path / "slices",
            CLASSES,
            kinds=self.kinds,
            choose=partial(_each, every=self.every),
            window=self.settings.window,
        )
        self.synthetic = found.synthetic
        return found.stored, found.table

    def _pictures(self) -> tuple[tuple[StoredImage, ...], Images]:
        table = self._planned() if self.plan else self._read(Path(self.images))
        stored = store_images(
            table,
            self.work.path / "pictures" / (self.stage or "images"),
            window=self.settings.window,
            mask_of=None if self.outlines else partial(mask_of_picture, kinds=self.kinds),
            drawn=self._drawn() if self.outlines else None,
        )
        return stored, table

    def _drawn(self) -> dict[str, Callable[[tuple[int, int]], np.ndarray]]:
        found = read_via(Path(self.outlines))
        return {name: partial(_filled, outlines) for name, outlines in found.items()}

    def _read(self, folder: Path) -> Images:
        return read_images(folder, CLASSES, patients_unknown=self.patients_unknown)

    def _planned(self) -> Images:
        """The pictures of this stage, with the split that all stages of the plan share."""
        path = Path(self.plan)
        plan = read_plan(path)
        names = [one.name for one in plan.stages]
        if self.stage not in names:
            raise UsageError(f"expected a stage out of {', '.join(names)}, got {self.stage!r:.80}")
        tables = {one.name: self._read(path.parent / one.images) for one in plan.stages}
        sides = divide_stages(
            {
                name: [(image.patient or "", image.split or "") for image in table]
                for name, table in tables.items()
            },
            plan.shares,
        )
        table = tables[self.stage]
        placed = (replace(image, split=sides[str(image.patient)]) for image in table)
        return replace(table, images=tuple(placed))


class MaskSlices(Dataset[Pair]):
    """Stored pictures with their masks, as squares.

    Args:
        images: Stored.
        size: Rows and columns.
    """

    def __init__(self, images: Sequence[StoredImage], size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, drawn: Drawn) -> Pair:
        image = self.images[drawn[0]]
        picture = square(image.pixels(), self.size)
        labels = square(image.labels(), self.size, is_mask=True)
        return torch.from_numpy(picture)[None], torch.from_numpy(labels.astype(np.int64))


def _filled(outlines: Sequence[Outline], shape: tuple[int, int]) -> np.ndarray:
    return draw_outlines(outlines, shape).astype(np.uint8)


def _each(lung_areas: np.ndarray, every: int) -> Sequence[int]:
    """Each so many-th slice from the first with lung to the last."""
    first, last = lung_range(lung_areas)
    return range(first, last + 1, every)
