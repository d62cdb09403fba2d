"""The slices that the network learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.slicewise.resize import CENTRE, Fit
from covidctnet.slicewise.sampling import lung_slices
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.settings import SliceSettings
from covidctnet.training.images import Division, StoredImage, divide_images
from covidctnet.training.order import Drawn
from covidctnet.training.scans import store_scans
from covidctnet.training.slices import LabelledSliceData, Pair

__all__ = ["LabelledSlices", "SliceData"]


class SliceData(LabelledSliceData):
    """Slices of a folder of pictures, of an archive of scans, or of those of a work folder.

    Those of a patient are all on one side.

    A batch is the slices, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Filled by preprocess; with `images` or `scans`, it receives their slices as arrays.
        images: Folder of pictures with ``images.csv`` or a folder for each class and patient;
            empty for scans.
        scans: Labelled archive of scans; empty for those of the work folder, which preprocess has
            put on a coarser grid than the predictor reads.
        patients_unknown: Allow pictures without a patient; then no figure is by patient.
        division: Of pictures, and of an archive, where their table names no split.
        size: Rows and columns that the network sees.
        fit: ``crop`` takes the largest square of a slice, ``pad`` keeps all of it.
        slices: Of a scan, evenly spaced over the lungs.
        level: Middle of the window for HU.
        width: Of that window.
        lungs_blacked_out: A control: nothing of the lungs is left in any slice.
        batch_size: Slices a step; slices that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.
    """

    classes = CLASSES
    # The head normalises over a batch.
    min_batch = 2

    def __init__(
        self,
        work: str,
        images: str = "",
        scans: str = "",
        patients_unknown: bool = False,
        division: Division = Division(),  # noqa: B008  (frozen)
        size: int = 448,
        fit: Fit = "crop",
        slices: int = 16,
        level: float = -600.0,
        width: float = 1500.0,
        lungs_blacked_out: bool = False,
        batch_size: int = 32,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        if scans and (images or patients_unknown):
            raise UsageError(
                "expected either --data.images or --data.scans, and --data.patients_unknown for "
                "pictures alone. Give one of them."
            )
        self.settings = SliceSettings(size, fit, level, width, slices, lungs_blacked_out)
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
        self.scans = scans

    def setup(self, stage: str) -> None:
        """Read pictures or an archive and divide them; a work folder is divided by preprocess.

        Raises:
            CohortError: If the pictures or the archive contradict themselves.
        """
        if self.sides or not self.scans:
            super().setup(stage)
            return
        found = store_scans(
            read_cohort(Path(self.scans)),
            self.work.path / "slices",
            CLASSES,
            choose=partial(lung_slices, count=self.settings.slices),
            kinds=0,
            window=self.settings.window,
        )
        self.synthetic = found.synthetic
        self.sides = divide_images(found.stored, found.table, self.division)

    def slices_of(self, split: str) -> LabelledSlices:
        """The slices of a split, with their classes."""
        if self.sides:
            return LabelledSlices.of_images(self.sides[split], self.settings)
        return LabelledSlices.of_scans(self.scans_of(split), self.settings)


Where = tuple[float, float]


class LabelledSlices(Dataset[Pair]):
    """Slices with their classes; the place of a crop is drawn by the seed that comes with an index.

    Args:
        slices: For each, what makes its picture (size, size) from the place of the crop.
        labels: Class of each.
        patients: Whose each is; None where that is unknown.
    """

    def __init__(
        self,
        slices: Sequence[Callable[[Where], np.ndarray]],
        labels: Sequence[int],
        patients: Sequence[str | None],
    ) -> None:
        self.slices, self.labels, self.patients = slices, labels, patients

    @classmethod
    def of_scans(cls, studies: Sequence[StoredStudy], settings: SliceSettings) -> LabelledSlices:
        """Slices of stored scans.

        Args:
            studies: Preprocessed, with their lungs and labels.
            settings: Of the slices.

        Raises:
            UsageError: If a scan is stored without lungs or label.
        """
        slices: list[Callable[[Where], np.ndarray]] = []
        labels: list[int] = []
        patients: list[str | None] = []
        for study in studies:
            if study.lungs is None or study.label is None:
                raise UsageError(
                    f"study {study.id} is stored without lungs or label. Run preprocess again."
                )
            label = CLASSES.parse(study.label.title)
            for place in lung_slices(study.lungs.sum(axis=(1, 2)), settings.slices):
                slices.append(partial(_of_scan, study, place, settings))
                labels.append(int(label))
                patients.append(study.patient or study.id)
        return cls(slices, labels, patients)

    @classmethod
    def of_images(cls, images: Sequence[StoredImage], settings: SliceSettings) -> LabelledSlices:
        """Stored pictures."""
        slices = [partial(_of_image, image, settings) for image in images]
        labels = [int(image.image.label) for image in images]
        return cls(slices, labels, [image.image.patient for image in images])

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, drawn: Drawn) -> Pair:
        item, seed = drawn
        where: Where = CENTRE
        if seed >= 0:
            x, y = np.random.default_rng(seed).random(2)
            where = float(x), float(y)
        return torch.from_numpy(self.slices[item](where))[None], torch.tensor(self.labels[item])


def _of_scan(study: StoredStudy, place: int, settings: SliceSettings, where: Where) -> np.ndarray:
    low, high = PreprocessSettings(**study.settings).window_hu
    return settings.slice(study.slice(place) * (high - low) + low, where)


def _of_image(image: StoredImage, settings: SliceSettings, where: Where) -> np.ndarray:
    return settings.picture(image.pixels(), where)
