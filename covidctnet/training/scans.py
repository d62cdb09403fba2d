"""Slices of scans for training: read once, kept as arrays like pictures, with drawn lesions.

A labelled archive (see `covidctnet.cohort.archive`) becomes the same small files that
`covidctnet.training.images` makes of pictures. Where masks are asked for, it has to name one for
each scan that is not normal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidctnet.chest.lungs import lung_mask
from covidctnet.classes import Classes
from covidctnet.cohort.archive import CohortStudy
from covidctnet.errors import CohortError, StudyError
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS
from covidctnet.files import make_folder
from covidctnet.io.child import ReadingChild
from covidctnet.io.lesions import lesion_truth
from covidctnet.progress import track
from covidctnet.slicewise.leak import fingerprint
from covidctnet.slicewise.table import Images, LabelledImage, PatientImages
from covidctnet.slicewise.window import LUNG_WINDOW, Window, hu_to_8_bit
from covidctnet.training.images import StoredImage
from covidctnet.volume import SYNTHETIC_NOTE, Volume

__all__ = ["StoredSlices", "store_scans"]

_LOG = logging.getLogger(__name__)

# What masks call the kinds of lesion that are told apart, for so many kinds.
_KINDS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    0: (),
    1: ((GROUND_GLASS, CONSOLIDATION),),
    2: ((GROUND_GLASS,), (CONSOLIDATION,)),
}


@dataclass(frozen=True)
class StoredSlices:
    """Slices of scans in the work folder.

    Attributes:
        stored: In the order of `table`.
        table: Whose they are and what they show.
        synthetic: Whether all scans are phantoms.
    """

    stored: tuple[StoredImage, ...]
    table: Images
    synthetic: bool


def store_scans(
    cohort: Sequence[CohortStudy],
    folder: Path,
    classes: Classes,
    *,
    choose: Callable[[np.ndarray], Sequence[int]],
    kinds: int = 1,
    window: Window = LUNG_WINDOW,
) -> StoredSlices:
    """Read scans in a child process and keep slices of them, with the drawn lesions.

    A scan that cannot be read, or shows no lungs, is left out and named in the log.

    Args:
        cohort: A normal scan without a mask has no lesion.
        folder: Receives the files; those that are there are replaced.
        classes: That the labels become.
        choose: Gives the places of the slices, rising, from the area of lung in each: as the
            predictor of the system chooses them.
        kinds: Of lesion: 1 for all of them, 2 for ground glass and consolidation; 0 leaves masks
            out.
        window: Of the grey values.

    Raises:
        CohortError: If a scan that is not normal has no mask, a mask is no such file, no scan is
            left, or there are more kinds.
        OSError: If the disk is full or refuses.
    """
    if kinds not in _KINDS:
        raise CohortError(
            "expected one kind of lesion, or two (ground glass and consolidation) in masks of "
            f"scans, got {kinds}. Give --data.kinds 1 or 2."
        )
    if without := [entry.study.id for entry in cohort if kinds and _lacks_mask(entry)]:
        raise CohortError(
            "expected a mask of the lesions of every scan that is not normal, got none for "
            f"{len(without)} of {len(cohort)} scans, such as study {without[0]}. Name the masks in "
            "the column lesions of cohort.csv."
        )
    make_folder(folder)
    stored: list[StoredImage] = []
    synthetic = True
    with ReadingChild() as read:
        for entry in track(list(cohort), "reading scans"):
            study = entry.study.id
            try:
                volume = read(entry.study)
                places = choose(lung_mask(volume).sum(axis=(1, 2)))
            except StudyError as error:
                _LOG.warning("study %s is left out: %s %s", study, error.code, error.message)
                continue
            stored += _kept(entry, volume, places, folder, classes, kinds, window)
            synthetic = synthetic and SYNTHETIC_NOTE in volume.source.notes
    if not stored:
        raise CohortError(
            f"expected scans to learn from, got none that can be read of {len(cohort)}; the lines "
            "above say why. Give others."
        )
    table = PatientImages(tuple(one.image for one in stored), classes)
    return StoredSlices(tuple(stored), table, synthetic)


def _lacks_mask(entry: CohortStudy) -> bool:
    return entry.lesions is None and entry.label.rank > 0


def _kept(
    entry: CohortStudy,
    volume: Volume,
    places: Sequence[int],
    folder: Path,
    classes: Classes,
    kinds: int,
    window: Window,
) -> list[StoredImage]:
    """The slices of one scan, as files."""
    study = entry.study.id
    codes = np.zeros(volume.shape, np.uint8)
    if kinds and entry.mask is not None:
        try:
            for number, of_kind in enumerate(_KINDS[kinds], start=1):
                codes[lesion_truth(entry.mask, volume, codes=of_kind)] = number
        except CohortError as error:
            raise CohortError(f"study {study}: {error}") from None
    label = classes.parse(entry.label.title)
    out = []
    for place in places:
        grey = hu_to_8_bit(volume.array[place], window)
        file, mask = folder / f"{study}-{place:04d}.npy", None
        np.save(file, grey, allow_pickle=False)
        if kinds:
            mask = file.with_suffix(".mask.npy")
            np.save(mask, codes[place], allow_pickle=False)
        image = LabelledImage(
            file,
            label,
            f"slice {place} of study {study}",
            patient=entry.patient,
            split=entry.split,
            scan=study,
            z_mm=float(place * volume.spacing[0]),
        )
        out.append(StoredImage(image, file, mask, fingerprint(grey), volume.source.mark))
    return out
