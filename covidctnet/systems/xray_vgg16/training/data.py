"""The radiographs that the network learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from covidctnet.errors import UsageError
from covidctnet.io.picture import Picture
from covidctnet.radiograph.convert import grey_of
from covidctnet.slicewise.resize import Fit
from covidctnet.systems.xray_vgg16.classes import CLASSES, TASKS, Task
from covidctnet.systems.xray_vgg16.settings import RadiographSettings
from covidctnet.training.images import Division, StoredImage
from covidctnet.training.order import Drawn
from covidctnet.training.slices import LabelledPictureData, Pair

__all__ = ["LabelledRadiographs", "RadiographData"]


class RadiographData(LabelledPictureData):
    """Radiographs of a folder; those of a patient are all on one side.

    A batch is the radiographs, uint8 (batch, 1, size, size), and their classes, int64 (batch,).

    Args:
        work: Receives the radiographs as arrays.
        task: What is told apart: ``pneumonia`` or not, or ``covid`` or not.
        images: Folder of radiographs with ``images.csv``, or a folder for each class in which files
            are named ``PATIENT_*`` or lie in a folder for each patient.
        patients_unknown: Allow radiographs without a patient; then no figure is by patient.
        division: Where their table names no split.
        size: Rows and columns that the network sees.
        fit: ``stretch`` makes a radiograph as wide as high, ``pad`` keeps its shape, ``crop`` takes
            the largest square.
        lungs_blacked_out: A control: nothing of the lungs is left in any radiograph.
        batch_size: Radiographs a step; those that do not fill a batch are left out in training.
        workers: Loader processes.
        seed: Of the order.
    """

    classes = CLASSES
    patient_in_name = True
    noun = "radiographs"

    def __init__(
        self,
        work: str,
        task: Task = "pneumonia",
        images: str = "",
        patients_unknown: bool = False,
        division: Division = Division(),  # noqa: B008  (frozen)
        size: int = 324,
        fit: Fit = "stretch",
        lungs_blacked_out: bool = False,
        batch_size: int = 32,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        if task not in TASKS:
            raise UsageError(f"expected a task out of {', '.join(TASKS)}, got {task!r:.80}")
        self.settings = RadiographSettings(size, fit, lungs_blacked_out)
        super().__init__(
            work,
            images=images,
            patients_unknown=patients_unknown,
            division=division,
            batch_size=batch_size,
            workers=workers,
            seed=seed,
        )
        self.classes = TASKS[task]

    def setup(self, stage: str) -> None:
        """Read radiographs and divide them.

        Raises:
            UsageError: If no folder is named.
            CohortError: If the radiographs contradict themselves.
        """
        if not self.images:
            raise UsageError(
                "expected --data.images FOLDER with labelled radiographs, got none. Name the "
                "folder; a work folder of CT has no radiographs."
            )
        super().setup(stage)

    def grey(self, picture: Picture) -> np.ndarray:
        """See `LabelledPictureData.grey`; a slice of a CT in DICOM is refused."""
        return grey_of(picture)

    def slices_of(self, split: str) -> LabelledRadiographs:
        """The radiographs of a split, with their classes."""
        return LabelledRadiographs(self.sides[split], self.settings)

    def weights_of_classes(self) -> tuple[float, ...]:
        """For each class, by what its losses are multiplied so that all classes weigh alike."""
        counts = Counter(self.slices_of("train").labels)
        total = sum(counts.values())
        return tuple(total / (len(counts) * max(counts[int(c)], 1)) for c in self.classes)


class LabelledRadiographs(Dataset[Pair]):
    """Radiographs with their classes.

    Args:
        images: Stored.
        settings: Of the pictures.
    """

    def __init__(self, images: Sequence[StoredImage], settings: RadiographSettings) -> None:
        self.images, self.settings = images, settings
        self.labels = [int(image.image.label) for image in images]
        self.patients = [image.image.patient for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, drawn: Drawn) -> Pair:
        item, _ = drawn
        picture = self.settings.picture(self.images[item].pixels())
        return torch.from_numpy(picture)[None], torch.tensor(self.labels[item])
