"""The crops that the network learns from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.slicewise.window import hu_to_8_bit
from covidctnet.systems.deeppneumonia.classes import CLASSES, TASKS, Task
from covidctnet.systems.deeppneumonia.crop import Fill, lungs_of_picture, what_is_cut_off
from covidctnet.systems.deeppneumonia.settings import Cover, CropSettings
from covidctnet.training.images import Division, StoredImage
from covidctnet.training.order import Drawn
from covidctnet.training.slices import LabelledSliceData, Pair

__all__ = ["CropData", "LabelledCrops"]

_LOG = logging.getLogger(__name__)


class CropData(LabelledSliceData):
    """Crops of the scans of a work folder, or of a folder of pictures; by patient on one side.

    A batch is the crops, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Filled by preprocess; with `images`, it receives these as arrays.
        task: What is distinguished: ``three`` classes, or Covid-19 and one other: ``bacterial`` or
            ``healthy``; patients of the class that is left out are left out.
        images: Folder of pictures with ``images.csv`` or a folder for each class and patient;
            empty for the scans of the work folder.
        patients_unknown: Allow pictures without a patient; then no figure is by patient.
        division: Of pictures, where their table names no split.
        size: See `CropSettings`.
        slices: The same.
        cover: The same.
        fill: The same.
        level: The same.
        width: The same.
        batch_size: Slices a step; slices that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.

    Attributes:
        task_classes: Classes of the task.
    """

    classes = CLASSES

    def __init__(
        self,
        work: str,
        task: Task = "three",
        images: str = "",
        patients_unknown: bool = False,
        division: Division = Division(),  # noqa: B008  (frozen)
        size: int = 600,
        slices: int = 15,
        cover: Cover = "lungs",
        fill: Fill = "paper",
        level: float = -600.0,
        width: float = 1500.0,
        batch_size: int = 4,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        if task not in TASKS:
            raise UsageError(f"expected a task out of {', '.join(TASKS)}, got {task!r:.80}")
        self.settings = CropSettings(size, slices, cover, fill, level, width)
        super().__init__(
            work,
            self.settings,
            images=images,
            patients_unknown=patients_unknown,
            division=division,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
        )
        self.task_classes = TASKS[task]

    def setup(self, stage: str) -> None:
        """Read pictures and divide them; those of a class outside the task are left out.

        Raises:
            CohortError: If the pictures contradict themselves.
        """
        super().setup(stage)
        self.sides = {
            name: [one for one in side if one.image.label.title in self.task_classes.titles]
            for name, side in self.sides.items()
        }

    def scans_of(self, split: str) -> list[StoredStudy]:
        """Scans of the work folder in a split, of the classes of the task."""
        return [
            study
            for study in self.work.studies(split)
            if study.label is None
            or CLASSES.parse(study.label.title).title in self.task_classes.titles
        ]

    def slices_of(self, split: str) -> LabelledCrops:
        """The crops of a split, with their classes.

        Raises:
            CohortError: If no slice of it shows whole lungs.
        """
        if self.sides:
            found = _of_images(self.sides[split], self.settings)
        else:
            found = _of_scans(self.scans_of(split), self.settings)
        if found.left_out:
            _LOG.warning(
                "%s: %d slices left out, %s for one", split, len(found.left_out), found.left_out[0]
            )
        if not found.crops:
            raise CohortError(
                f"expected slices with whole lungs in the split {split}, got none. Give more."
            )
        labels = [int(self.task_classes.parse(title)) for title in found.titles]
        return LabelledCrops(found.crops, labels)


class LabelledCrops(Dataset[Pair]):
    """Crops with their classes; each is made once in a process, as making it takes its time.

    Args:
        crops: For each, what makes it, uint8 (size, size).
        labels: Class of each.
    """

    def __init__(self, crops: Sequence[Callable[[], np.ndarray]], labels: Sequence[int]) -> None:
        self.crops, self.labels = crops, labels
        self._made: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, drawn: Drawn) -> Pair:
        item, _ = drawn
        if item not in self._made:
            self._made[item] = self.crops[item]()
        return torch.from_numpy(self._made[item])[None], torch.tensor(self.labels[item])


class _Found(NamedTuple):
    crops: list[Callable[[], np.ndarray]]
    titles: list[str]
    left_out: list[str]


def _of_scans(studies: Sequence[StoredStudy], settings: CropSettings) -> _Found:
    """Crops of stored scans.

    Raises:
        UsageError: If a scan is stored without lungs or label.
    """
    found = _Found([], [], [])
    for study in studies:
        if study.lungs is None or study.label is None:
            raise UsageError(
                f"study {study.id} is stored without lungs or label. Run preprocess again."
            )
        try:
            chosen = settings.choose(study.lungs)
        except StudyError as error:
            found.left_out.append(f"all of study {study.id} ({error.message})")
            continue
        found.left_out.extend(f"study {study.id}, {note}" for note in chosen.notes)
        for place in chosen.places:
            found.crops.append(partial(_crop_of_scan, study, place, settings))
            found.titles.append(study.label.title)
    return found


def _of_images(images: Sequence[StoredImage], settings: CropSettings) -> _Found:
    """Crops of stored pictures, whose lungs are found by grey values, as published."""
    found = _Found([], [], [])
    for one in images:
        if reason := what_is_cut_off(lungs_of_picture(one.pixels())):
            found.left_out.append(f"{one.image.where}: {reason}")
            continue
        found.crops.append(partial(_crop_of_image, one, settings))
        found.titles.append(one.image.label.title)
    return found


def _crop_of_scan(study: StoredStudy, place: int, settings: CropSettings) -> np.ndarray:
    low, high = PreprocessSettings(**study.settings).window_hu
    grey = hu_to_8_bit(study.slice(place) * (high - low) + low, settings.window)
    assert study.lungs is not None
    return settings.crop(grey, np.asarray(study.lungs[place], dtype=bool))


def _crop_of_image(image: StoredImage, settings: CropSettings) -> np.ndarray:
    grey = np.asarray(image.pixels())
    return settings.crop(grey, lungs_of_picture(grey))
