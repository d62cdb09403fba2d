"""The one value that flows from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from covidctnet.errors import StudyError

# Among a source's notes when the pixels were computed, not measured.
SYNTHETIC_NOTE = "synthetic patient (phantom)"
# What a note says of a real scan with drawn disease, and what marks its file.
PAINTED_NOTE = "lesions painted into real lungs (no patient looks like this)"
PAINTED_MARK = "covidctnet painted lesions"
PAINTED_INTO = "painted into scan "

Units = Literal["HU", "unit", "residual"]


@dataclass(frozen=True)
class Source:
    """Where a volume came from, without a word about whom.

    Attributes:
        study: Short id, 12 hexadecimal digits of a hash of the StudyInstanceUID (DICOM) or of the
            file's content (everything else). Never a header's text.
        digest: SHA-256 of the HU voxels and the affine, hexadecimal; equal for equal images.
        reader: Name of the reader, ``dicom``, ``nifti``, ``itk`` or ``phantom``.
        notes: What the reader decided, one sentence each (series dropped, duplicates, jitter).
        flags: Short machine-readable reservations (``lossy``, ``thick_slices``).
        acquisition: How it was scanned, by name, as far as the reader can tell: ``slice_mm``
            between slices, ``noise_hu`` in soft tissue, ``kernel`` (what it is for), ``kvp``.
    """

    study: str
    digest: str = ""
    reader: str = ""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    acquisition: tuple[tuple[str, str | float], ...] = ()

    @property
    def mark(self) -> str:
        """The first twelve digits of the digest: by these the card of weights names a scan."""
        return self.digest[:12]

    @property
    def host(self) -> str:
        """The mark of the scan that lesions were painted into; empty for any other, or unknown."""
        found = [note for note in self.notes if note.startswith(PAINTED_INTO)]
        return found[0].removeprefix(PAINTED_INTO) if found else ""


def source_of(values: Mapping[str, Any]) -> Source:
    """The source that `dataclasses.asdict` made `values` of, JSON in between or not.

    Raises:
        KeyError, TypeError, ValueError: If it made it not. Values older than `acquisition` lack it.
    """
    return Source(
        study=str(values["study"]),
        digest=str(values["digest"]),
        reader=str(values["reader"]),
        notes=tuple(values["notes"]),
        flags=tuple(values["flags"]),
        acquisition=tuple((str(name), value) for name, value in values.get("acquisition", ())),
    )


@dataclass(frozen=True, eq=False)
class Volume:
    """A chest CT, or what became of it, with its geometry.

    Canonical orientation: slices from feet to head, rows from front to back, columns from the
    patient's right to left, that is along +z, +y, +x of LPS up to the obliquity in the affine.

    Attributes:
        array: Voxels, shape (slice, row, column), read-only. int16 or float32 for HU, float32 else.
        affine: 4 x 4, from (slice, row, column, 1) to patient millimetres in LPS.
        units: ``HU``; ``unit``, the HU window mapped to [0, 1]; ``residual``, input minus output.
        source: Study id, content digest and the reader's notes.
        steps: What was done so far, one sentence a step.
    """

    array: np.ndarray
    affine: np.ndarray
    units: Units
    source: Source
    steps: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ValueError(f"a volume has shape (slice, row, column), got {self.array.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"an affine is a finite 4 x 4 matrix, got {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"an affine must be invertible, got {affine.tolist()}")
        affine.setflags(write=False)
        view = self.array.view()
        view.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "array", view)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (slice, row, column)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along (slice, row, column)."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def then(self, step: str, array: np.ndarray, **changes: Any) -> Volume:
        """The next value: new voxels, and one more sentence in its history.

        Args:
            step: What was done, a short sentence.
            array: The new voxels, shape (slice, row, column).
            **changes: Other attributes that change, such as `affine` or `units`.
        """
        return replace(self, array=array, steps=(*self.steps, step), **changes)

    def expect(self, units: Units, by: str) -> Volume:
        """This volume, if it is in `units`.

        Raises:
            StudyError: ``WRONG_UNITS`` when it is not; `by` names the stage that asked.
        """
        if self.units != units:
            raise StudyError(
                "WRONG_UNITS",
                f"{by} wants a volume in {units}, got {self.units} "
                f"(steps so far: {'; '.join(self.steps) or 'none'}). Call the stages in order.",
                study=self.source.study,
            )
        return self
