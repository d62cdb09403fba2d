"""One preprocessed study on disk: its record, and its voxels as memory maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.pseudonyms import is_keyed
from covidctnet.errors import UsageError
from covidctnet.io.nifti import ras_to_lps
from covidctnet.volume import Source, Units, Volume, source_of

__all__ = ["OFFSET", "STEPS_PER_UNIT", "StoredStudy", "from_record", "is_whole", "to_record"]

# 14000 steps for the window of 1400 HU: 0.1 HU each, and room for +-2.34 in int16.
STEPS_PER_UNIT = 14000
OFFSET = 352
_DESCRIPTION = 148  # byte of the field `descrip` in the NIfTI header
_RECORD = 1


@dataclass(frozen=True)
class StoredStudy:
    """A study in a store, mapped when asked.

    Attributes:
        id: Short study id.
        folder: Of the store.
        content_key: Of the files it was made from.
        settings: How it was preprocessed.
        settings_digest: Of `settings`.
        shape: (slice, row, column).
        units: ``unit`` or ``residual``.
        label: Its class, if known.
        site: Where it was scanned, if known.
        patient: Pseudonym.
        steps: History of the volume.
        source: Of the volume.
        has_lungs: Whether the lungs are stored too.
        window_hu: Of the volume.
        token: Stands in the record and in the files that belong to it.
        classes: That `label` is one of.
    """

    id: str
    folder: Path
    content_key: str
    settings: Mapping[str, Any]
    settings_digest: str
    shape: tuple[int, int, int]
    units: Units
    label: Label | None
    site: str | None
    patient: str | None
    steps: tuple[str, ...]
    source: Source
    has_lungs: bool
    window_hu: tuple[float, float]
    token: str = field(default="", repr=False, compare=False)
    classes: Classes = field(default=CHEST_CT, repr=False)

    @property
    def rank(self) -> tuple[str, str]:
        """Orders studies alike in every work folder, so that one seed trains one network.

        Keyed ids differ from folder to folder, voxels do not. Ids of before keys come first, by
        themselves: in such a folder the order stays what it was.
        """
        return (self.source.digest if is_keyed(self.id) else "", self.id)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader decided."""
        return self.source.notes

    @property
    def path(self) -> Path:
        """The NIfTI file."""
        return self.folder / f"{self.id}.nii"

    @property
    def lungs_path(self) -> Path:
        """The NIfTI file of the lungs, there or not."""
        return self.folder / f"{self.id}.lungs.nii"

    @property
    def slices(self) -> np.ndarray:
        """Memory map, int16 (slice, row, column); divided by `STEPS_PER_UNIT` they are values."""
        return _map(self.path, np.dtype("<i2"), self.shape)

    @property
    def lungs(self) -> np.ndarray | None:
        """Memory map, uint8 (slice, row, column), or None."""
        if not self.has_lungs:
            return None
        return _map(self.lungs_path, np.dtype("u1"), self.shape)

    def slice(self, index: int) -> np.ndarray:
        """One slice, float32 (row, column)."""
        return self.slices[index].astype(np.float32) / np.float32(STEPS_PER_UNIT)

    def lungs_slice(self, index: int) -> np.ndarray:
        """Lungs of one slice, float32 (row, column), 0 or 1.

        Raises:
            UsageError: If the store keeps none.
        """
        lungs = self.lungs
        if lungs is None:
            raise UsageError(f"study {self.id} is stored without lungs. Run preprocess again.")
        return lungs[index].astype(np.float32)

    def volume(self) -> Volume:
        """The whole volume, float32."""
        array = self.slices.astype(np.float32)
        array /= np.float32(STEPS_PER_UNIT)
        with self.path.open("rb") as file:
            header = nib.Nifti1Header(file.read(348), check=False)
        # NIfTI counts column, row, slice and RAS; here it is slice, row, column and LPS.
        affine = ras_to_lps(header.get_sform())[:, [2, 1, 0, 3]]
        return Volume(array, affine, self.units, self.source, self.steps, self.window_hu)


def is_whole(stored: StoredStudy) -> bool:
    """Whether the files are there, of the right size, and of this record."""
    voxels = int(np.prod(stored.shape))
    files = [(stored.path, 2 * voxels)]
    if stored.has_lungs:
        files.append((stored.lungs_path, voxels))
    for path, size in files:
        with path.open("rb") as file:
            file.seek(_DESCRIPTION)
            if file.read(80).rstrip(b"\0") != stored.token.encode():
                return False
            if file.seek(0, os.SEEK_END) != OFFSET + size:
                return False
    return True


def _map(path: Path, dtype: np.dtype, shape: tuple[int, int, int]) -> np.ndarray:
    return np.memmap(path, dtype=dtype, mode="r", offset=OFFSET, shape=shape)


def to_record(stored: StoredStudy) -> dict[str, Any]:
    """What the record says, ready for JSON; no path."""
    return {
        "record": _RECORD,
        "study": stored.id,
        "content_key": stored.content_key,
        "settings_digest": stored.settings_digest,
        "settings": dict(stored.settings),
        "shape": list(stored.shape),
        "units": stored.units,
        "label": stored.label.title if stored.label is not None else None,
        "site": stored.site,
        "patient": stored.patient,
        "steps": list(stored.steps),
        # Voxels of a work folder lie in no file of the study any more.
        "source": asdict(replace(stored.source, origin=None)),
        "has_lungs": stored.has_lungs,
        "window_hu": list(stored.window_hu),
        "token": stored.token,
        **({} if stored.classes == CHEST_CT else {"classes": stored.classes.to_dict()}),
    }


def from_record(data: dict[str, Any], folder: Path) -> StoredStudy:
    """The study that a record tells of.

    Raises:
        ValueError, KeyError, TypeError: If it is not what `to_record` wrote.
    """
    if data["record"] != _RECORD:
        raise ValueError("another kind of record")
    slices, rows, columns = data["shape"]
    settings = dict(data["settings"])
    # Records older than this entry are of scans whose settings name the window.
    classes = Classes.from_dict(data["classes"]) if "classes" in data else CHEST_CT
    low, high = data.get("window_hu") or (settings["low_hu"], settings["high_hu"])
    return StoredStudy(
        id=data["study"],
        folder=folder,
        content_key=data["content_key"],
        settings=settings,
        settings_digest=data["settings_digest"],
        shape=(int(slices), int(rows), int(columns)),
        units=data["units"],
        label=classes.parse(data["label"]) if data["label"] else None,
        site=data["site"],
        patient=data["patient"],
        steps=tuple(data["steps"]),
        source=source_of(data["source"]),
        has_lungs=bool(data["has_lungs"]),
        window_hu=(float(low), float(high)),
        token=data["token"],
        classes=classes,
    )
