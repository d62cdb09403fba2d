"""Preprocessed volumes on disk: NIfTI that any viewer opens and numpy maps, with a record each.

`<study>.nii` holds int16 with a slope, one axial slice one contiguous block; `<study>.lungs.nii`
the lungs as uint8; `<study>.json` the record. The record is written last and removed first: a
study without one is not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.stored import (
    OFFSET,
    STEPS_PER_UNIT,
    StoredStudy,
    from_record,
    is_whole,
    to_record,
)
from covidctnet.errors import StudyError, UsageError
from covidctnet.io.discover import Study
from covidctnet.io.nifti import ras_to_lps
from covidctnet.volume import Volume

try:
    import fcntl
except ImportError:  # Windows: two writers of one study may then undo each other, never mix
    fcntl = None  # type: ignore[assignment]

__all__ = ["STEPS_PER_UNIT", "Store", "StoredStudy", "content_key"]

_LOG = logging.getLogger(__name__)

_INT16_MAX = 32767


def content_key(study: Study) -> str:
    """SHA-256 over the bytes of a study's files, whatever their names and order.

    Args:
        study: From `find_studies`.

    Raises:
        StudyError: ``UNREADABLE`` if a file cannot be read.
    """
    try:
        digests = []
        for path in study.files:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"a file cannot be read ({error.strerror}). Check its rights.",
            study=study.id,
        ) from None
    text = "\n".join([study.series_uid or "", *sorted(digests)])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """A folder of preprocessed studies.

    Two processes may write at once, even the same study: every file appears whole, by one rename.

    Attributes:
        folder: Made when something is put into it.
    """

    folder: Path
    _cached: dict[str, tuple[tuple[int, int], StoredStudy]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def coarse(self) -> Store:
        """Whole scans on a coarse grid, of the studies here that are cropped to their lungs."""
        return Store(self.folder / "coarse")

    def put(
        self,
        volume: Volume,
        *,
        lungs: np.ndarray | None = None,
        content_key: str,
        settings: Mapping[str, Any],
        settings_digest: str,
        label: Label | None = None,
        site: str | None = None,
        patient: str | None = None,
        classes: Classes = CHEST_CT,
    ) -> StoredStudy:
        """Keep a volume, whole or not at all.

        Args:
            volume: In ``unit`` or ``residual``.
            lungs: bool, the volume's shape.
            content_key: Of the files it was made from.
            settings: How it was made.
            settings_digest: Of `settings`.
            label: Its class.
            site: Where it was scanned.
            patient: Pseudonym.
            classes: That `label` is one of.

        Raises:
            StudyError: ``WRONG_UNITS`` for HU; ``OUT_OF_RANGE`` for values that do not fit.
            ValueError: If `lungs` has another shape.
            OSError: If the disk is full or read-only; nothing half-written stays.
        """
        if volume.window_hu is None:
            volume.expect("unit", by="Store.put")
        assert volume.window_hu is not None
        if lungs is not None and lungs.shape != volume.shape:
            raise ValueError(f"lungs have shape {lungs.shape}, the volume {volume.shape}")
        stored = StoredStudy(
            id=volume.source.study,
            folder=self.folder,
            content_key=content_key,
            settings=dict(settings),
            settings_digest=settings_digest,
            shape=volume.shape,
            units=volume.units,
            label=label,
            site=site,
            patient=patient,
            steps=volume.steps,
            source=volume.source,
            has_lungs=lungs is not None,
            window_hu=volume.window_hu,
            token=secrets.token_hex(8),
            classes=classes,
        )
        self._write(stored, volume, lungs)
        return stored

    def put_like(
        self, stored: StoredStudy, volume: Volume, *, lungs: np.ndarray | None = None
    ) -> StoredStudy:
        """Keep what became of a stored study, under the same keys and label.

        Args:
            stored: Where the volume came from, in this store or another.
            volume: What it became.
            lungs: bool, the volume's shape.
        """
        return self.put(
            volume,
            lungs=lungs,
            content_key=stored.content_key,
            settings=stored.settings,
            settings_digest=stored.settings_digest,
            label=stored.label,
            site=stored.site,
            patient=stored.patient,
            classes=stored.classes,
        )

    def has(self, study: str, content_key: str, settings_digest: str) -> bool:
        """Whether a study is there, made from this content with these settings."""
        return self.content_of(study, settings_digest) == content_key

    def content_of(self, study: str, settings_digest: str) -> str | None:
        """Key of the content that a study was made from with these settings; None without it."""
        stored = self._read(self.folder / f"{study}.json")
        if stored is None or stored.settings_digest != settings_digest:
            return None
        return stored.content_key

    def adopt(self, study: str, files: Mapping[str, bytes]) -> None:
        """Keep a study that was put into a store elsewhere, whole or not at all.

        Args:
            study: Its id.
            files: Content by name, as they were there.

        Raises:
            OSError: If the disk is full or read-only; nothing half-written stays.
        """
        self._replace(
            study, {name: partial(_copy, content=content) for name, content in files.items()}
        )

    def get(self, study: str) -> StoredStudy:
        """A study by its short id.

        Raises:
            UsageError: If it is not there.
        """
        stored = self._read(self.folder / f"{study}.json")
        if stored is None:
            raise UsageError(f"study {study} is not in the store. Run preprocess first.")
        return stored

    def index(self) -> list[StoredStudy]:
        """All studies by their rank. Damaged records count as missing."""
        if not self.folder.is_dir():
            return []
        read = (self._read(path) for path in sorted(self.folder.glob("*.json")))
        found = (stored for stored in read if stored is not None)
        return sorted(found, key=lambda stored: stored.rank)

    def _read(self, path: Path) -> StoredStudy | None:
        try:
            status = path.stat()
            # Every write makes a new file: the inode tells two within one tick apart.
            stamp = (status.st_mtime_ns, status.st_ino)
            cached = self._cached.get(path.name)
            if cached is None or cached[0] != stamp:
                cached = (stamp, from_record(json.loads(path.read_text()), self.folder))
                self._cached[path.name] = cached
            return cached[1] if is_whole(cached[1]) else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            _LOG.warning("a record of the store is damaged and counts as missing")
            return None

    def _write(self, stored: StoredStudy, volume: Volume, lungs: np.ndarray | None) -> None:
        steps = volume.array.astype(np.float32) * np.float32(STEPS_PER_UNIT)
        if not np.isfinite(steps).all() or np.abs(steps).max() > _INT16_MAX:
            raise StudyError(
                "OUT_OF_RANGE",
                f"expected values within +-{_INT16_MAX / STEPS_PER_UNIT:.2f} to store, got "
                f"{volume.array.min():g} to {volume.array.max():g}.",
                study=stored.id,
            )
        values = np.rint(steps).astype("<i2")
        text = (json.dumps(to_record(stored), indent=1) + "\n").encode()
        writers: dict[str, Callable[[BinaryIO], object]] = {
            stored.path.name: lambda f: _nifti(f, values, volume.affine, stored.token)
        }
        if lungs is not None:
            mask = lungs.astype("u1")
            writers[stored.lungs_path.name] = lambda f: _nifti(f, mask, volume.affine, stored.token)
        writers[f"{stored.id}.json"] = partial(_copy, content=text)
        self._replace(stored.id, writers)

    def _replace(self, study: str, writers: Mapping[str, Callable[[BinaryIO], object]]) -> None:
        """Write the files of a study and put them in the place of former ones, the record last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = f"{study}.json"
        parts: list[tuple[Path, Path]] = []
        try:
            # Temporary files first: a full disk leaves the former study as it was.
            for name in sorted(writers, key=lambda name: name == record):
                parts.append((self.folder / name, _part(self.folder, writers[name])))
            with _alone(self.folder):
                (self.folder / record).unlink(missing_ok=True)
                if f"{study}.lungs.nii" not in writers:
                    (self.folder / f"{study}.lungs.nii").unlink(missing_ok=True)
                for path, part in parts:
                    part.replace(path)
        finally:
            for _, part in parts:
                part.unlink(missing_ok=True)


def _copy(file: BinaryIO, content: bytes) -> None:
    file.write(content)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time renames, so that a record and its files come from the same one."""
    with (folder / ".lock").open("ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _part(folder: Path, write: Callable[[BinaryIO], object]) -> Path:
    """A whole temporary file in the folder, on the disk for sure."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a store may be shared like any other folder.
        Path(name).chmod(0o644)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _nifti(file: BinaryIO, array: np.ndarray, affine: np.ndarray, token: str) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1])
    # (slice, row, column) in C order is (column, row, slice) in NIfTI's Fortran order.
    ras = ras_to_lps(affine)[:, [2, 1, 0, 3]]
    header.set_zooms(np.linalg.norm(ras[:3, :3], axis=0))
    header.set_sform(ras, code="scanner")
    header.set_qform(ras, code="scanner", strip_shears=True)
    header.set_xyzt_units("mm")
    header["vox_offset"] = OFFSET
    header["magic"] = b"n+1"
    header["descrip"] = token.encode()
    header.set_slope_inter(1 / STEPS_PER_UNIT if array.dtype.itemsize == 2 else 1, 0)
    file.write(header.binaryblock)
    file.write(bytes(OFFSET - len(header.binaryblock)))
    file.write(np.ascontiguousarray(array).data)
