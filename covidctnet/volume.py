"""The one value that flows from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidctnet.errors import StudyError

if TYPE_CHECKING:
    import SimpleITK

# Among a source's notes when the pixels were computed, not measured.
SYNTHETIC_NOTE = "synthetic patient (phantom)"
# What a note says of a real scan with drawn disease, and what marks its file.
PAINTED_NOTE = "lesions painted into real lungs (no patient looks like this)"
PAINTED_MARK = "covidctnet painted lesions"
PAINTED_INTO = "painted into scan "
# How the description in a file of `Volume.save` begins.
SAVED_MARK = "covidctnet"
# How it begins in a mask that we wrote, of lungs or lesions: no scan.
MASK_MARK = "covidctnet mask"

Units = Literal["HU", "unit", "residual"]


@dataclass(frozen=True)
class Origin:
    """How the voxels of a volume lay in the files that it was read from.

    Files are counted, not named: what they say of a patient is read again when it is needed.

    Attributes:
        shape: Of the volume as it was read, (slice, row, column).
        affine: Of it, 4 x 4 row by row, to LPS mm.
        axes: Which axis of the reader's array each axis of the volume was.
        flipped: Whether it was turned round.
        images: For every slice of the reader's array, the place of its file among those of the
            study, and which frame of that file it is, from 0. Empty where slices are no images of
            the files: for other formats than DICOM, and after interpolation between slices.
    """

    shape: tuple[int, int, int]
    affine: tuple[float, ...]
    axes: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)
    images: tuple[tuple[int, int], ...] = ()


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
        origin: How its voxels lay in the files; None where that is not known. Sources of equal
            images are equal, however their files lay.
    """

    study: str
    digest: str = ""
    reader: str = ""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    acquisition: tuple[tuple[str, str | float], ...] = ()
    origin: Origin | None = field(default=None, repr=False, compare=False)

    @property
    def mark(self) -> str:
        """The first twelve digits of the digest: by these the card of weights names a scan."""
        return self.digest[:12]

    @property
    def host(self) -> str:
        """The mark of the scan that lesions were painted into; empty for any other, or unknown."""
        hosts = [note for note in self.notes if note.startswith(PAINTED_INTO)]
        return hosts[0].removeprefix(PAINTED_INTO) if hosts else ""


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
        origin=_origin_of(values.get("origin")),
    )


def _origin_of(values: Mapping[str, Any] | None) -> Origin | None:
    if values is None:
        return None
    slices, rows, columns = map(int, values["shape"])
    a, b, c = map(int, values["axes"])
    d, e, f = map(bool, values["flipped"])
    return Origin(
        (slices, rows, columns),
        tuple(map(float, values["affine"])),
        (a, b, c),
        (d, e, f),
        tuple((int(file), int(frame)) for file, frame in values["images"]),
    )


@dataclass(frozen=True, eq=False, repr=False)
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
        window_hu: The HU that are 0 and 1 in ``unit``, and whose width is 1 in ``residual``; None
            for HU.
    """

    array: np.ndarray
    affine: np.ndarray
    units: Units
    source: Source
    steps: tuple[str, ...] = field(default=())
    window_hu: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ValueError(f"a volume has shape (slice, row, column), got {self.array.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"an affine is a finite 4 x 4 matrix, got {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"an affine must be invertible, got {affine.tolist()}")
        if (self.window_hu is None) != (self.units == "HU"):
            raise ValueError(
                f"expected a window for a volume in unit or residual alone, got {self.window_hu} "
                f"for one in {self.units}"
            )
        affine.setflags(write=False)
        view = self.array.view()
        view.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "array", view)

    @classmethod
    def from_array(
        cls,
        array: Any,
        spacing: Sequence[float] | None = None,
        *,
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        affine: Any = None,
    ) -> Volume:
        """A scan from an array in Hounsfield units, checked like one that was read from a file.

        With `spacing` the array must have the canonical orientation: slices from feet to head,
        rows from front to back, columns from the patient's right to left. This is the order of
        `SimpleITK.GetArrayFromImage` for an axial CT whose direction is the identity. With `affine`
        the array may have any orientation; it is turned to the canonical one.

        Args:
            array: HU, shape (slice, row, column) with `spacing`, any order of axes with `affine`;
                a type of real numbers. It is copied.
            spacing: Millimetres between voxel centres along (slice, row, column).
            origin: Centre of the first voxel, (x, y, z) in LPS mm; used with `spacing`.
            affine: 4 x 4, from (index on each axis, 1) to LPS mm, in place of `spacing`.

        Returns:
            The volume; its study id is taken from its content.

        Raises:
            UsageError: If the array has not three axes of real numbers, or the geometry cannot be
                a scan's.
            StudyError: ``NOT_HU`` for values that are no Hounsfield units; ``TOO_FEW_SLICES``;
                ``ABSURD_SIZE``.
        """
        from covidctnet.io.convert import volume_from_array

        return volume_from_array(array, spacing, origin=origin, affine=affine)

    def save(self, path: str | Path) -> Path:
        """Write the volume as NIfTI-1, right-handed, in millimetres.

        The voxels keep their type and every bit; the affine is rounded to float32, as the format
        has it. `covidctnet.read_volume`, nibabel and SimpleITK read the same scan back. The file
        holds no date and no name, so the same volume gives the same file.

        Args:
            path: Ends in ``.nii`` or ``.nii.gz``; a file that is there is replaced.

        Returns:
            The path.

        Raises:
            UsageError: If the name ends otherwise, or the folder does not exist.
            StorageError: If the disk is full or refuses; no part of a file stays.
        """
        from covidctnet.io.convert import save_nifti

        return save_nifti(self, path)

    def to_sitk(self) -> SimpleITK.Image:
        """The volume as an image of SimpleITK, with spacing, origin and directions in LPS."""
        from covidctnet.io.convert import image_of

        return image_of(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The voxels for NumPy: a read-only view, or a copy where one is asked for or needed.

        Args:
            dtype: Type of the voxels; their own by default.
            copy: True copies always, None where `dtype` needs it, False never.

        Raises:
            ValueError: If a copy is needed and `copy` is False.
        """
        expected = self.array.dtype if dtype is None else np.dtype(dtype)
        if expected == self.array.dtype:
            return self.array.copy() if copy else self.array
        if copy is False:
            raise ValueError(
                f"expected dtype {self.array.dtype} without a copy, got {expected}. Leave copy out."
            )
        return self.array.astype(expected)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, so that a copy cannot be written to either.
        return type(self), tuple(getattr(self, f.name) for f in fields(self))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{s:.3g}" for s in self.spacing)
        return f"<Volume {size}, {spacing} mm, {self.units}, study {self.source.study}>"

    def _repr_html_(self) -> str:
        """The volume in a notebook: its middle planes and what is known of it."""
        from covidctnet.report.notebook import volume_html

        return volume_html(self)

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

    @property
    def scale_hu(self) -> tuple[float, float]:
        """What 0 and 1 in the volume's units are, in HU."""
        if self.window_hu is None:
            return 0.0, 1.0
        low, high = self.window_hu
        return (low, high) if self.units == "unit" else (0.0, high - low)

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
                f"{by} expects a volume in {units}, got {self.units} "
                f"(steps so far: {'; '.join(self.steps) or 'none'}). Call the stages in order.",
                study=self.source.study,
            )
        return self
