"""What an answer rests on: typed values that a report draws and an evaluation measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.volume import Source, Units, Volume

__all__ = [
    "CONSOLIDATION",
    "GROUND_GLASS",
    "OTHER_LESION",
    "Box",
    "Evidence",
    "Finding",
    "Heatmap",
    "Keep",
    "LesionVolume",
    "Mask",
    "Panels",
    "QualityFindings",
    "Region",
    "Regions",
    "SliceEvidence",
    "SliceScores",
    "evidence_from",
]

Keep = Literal["numbers", "slices", "volumes"]
"""What an answer keeps: no voxels, those of a few slices for a picture, or all of them."""

GROUND_GLASS, CONSOLIDATION, OTHER_LESION = 1, 2, 3
"""Codes of a mask of lesions that somebody has drawn; 0 is none."""


@dataclass(frozen=True)
class Evidence:
    """What an answer rests on; every kind is a frozen dataclass.

    A kind of your own needs no edit in the package: register how a report draws it with
    `covidctnet.report.evidence.draw`.
    """

    VOXELS: ClassVar[tuple[str, ...]] = ()
    """Attributes with an array of shape (slice, row, column) or several, or None."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `json.dumps` writes, ``type`` first; voxels are left out."""
        names = [f.name for f in fields(self) if f.name not in self.VOXELS]
        return {"type": _name(type(self)), **{name: _plain(getattr(self, name)) for name in names}}


@dataclass(frozen=True)
class Region:
    """A third of one lung, and how much of it counts as lesion.

    Attributes:
        lung: ``right`` or ``left``, the patient's.
        third: ``upper``, ``middle`` or ``lower`` third of that lung's height.
        lung_ml: Its volume, rim left out.
        lesion_ml: Of it, what counts as lesion.
    """

    lung: str
    third: str
    lung_ml: float
    lesion_ml: float

    @property
    def share(self) -> float:
        """Lesion over lung; NaN where there is no lung."""
        return self.lesion_ml / self.lung_ml if self.lung_ml else math.nan


@dataclass(frozen=True)
class LesionVolume(Evidence):
    """How much of the lungs counts as lesion, and where.

    Attributes:
        threshold: From which a voxel counts, in the unit of the system's score.
        regions: Six: both lungs, three thirds each.
        top_slices_mm: Heights of the slices with the largest lesion area, largest first.
    """

    threshold: float
    regions: tuple[Region, ...]
    top_slices_mm: tuple[float, ...] = ()

    @property
    def lung_ml(self) -> float:
        """Volume of both lungs, rim left out."""
        return sum(region.lung_ml for region in self.regions)

    @property
    def lesion_ml(self) -> float:
        """Volume of all voxels that count."""
        return sum(region.lesion_ml for region in self.regions)

    @property
    def share(self) -> float:
        """Lesion over lung, both lungs together; NaN without lungs."""
        return self.lesion_ml / self.lung_ml if self.lung_ml else math.nan

    def to_dict(self) -> dict[str, Any]:
        """See `Evidence.to_dict`; with ``share``, ``lesion_ml`` and ``lung_ml``."""
        sums = {"share": self.share, "lesion_ml": self.lesion_ml, "lung_ml": self.lung_ml}
        return super().to_dict() | {name: _plain(float(value)) for name, value in sums.items()}


@dataclass(frozen=True)
class SliceScores(Evidence):
    """A score for each slice of a scan.

    Attributes:
        scores: One a slice, in the order of the scan.
        heights_mm: Of the slices, in patient millimetres; empty where they are not known.
        label: What a high score speaks for, the key of a class.
        threshold: From which a slice counts as positive; None where none was set.
    """

    scores: tuple[float, ...]
    heights_mm: tuple[float, ...] = ()
    label: str = ""
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.heights_mm and len(self.heights_mm) != len(self.scores):
            raise ValueError(
                f"expected a height for each of {len(self.scores)} scores, got "
                f"{len(self.heights_mm)}"
            )
        if not all(map(math.isfinite, (*self.scores, *self.heights_mm))):
            raise ValueError("expected finite scores and heights")


@dataclass(frozen=True)
class Finding:
    """One check of a picture or a scan.

    Attributes:
        code: Short and machine-readable, such as ``jpeg_quality``.
        value: What the check measured.
        text: A sentence for a person; empty where the code says it.
    """

    code: str
    value: float | str
    text: str = ""


@dataclass(frozen=True)
class QualityFindings(Evidence):
    """What checks of the input found; empty when nothing was remarkable."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SliceEvidence(Evidence):
    """Voxels on slices of a grid; all arrays are of one shape (slice, row, column), read-only.

    Attributes:
        slices: Index on the grid of every slice that is kept.
        affine: 4 x 4, from (slice, row, column, 1) on the grid to LPS mm; None for a picture
            without a scale.
        chosen: Which of the kept slices are worth a picture, by their place among them.
    """

    slices: tuple[int, ...]
    affine: np.ndarray | None = None
    chosen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        shapes = set()
        for name in self.VOXELS:
            value = getattr(self, name)
            several = value if isinstance(value, tuple) else (value,) * (value is not None)
            arrays = tuple(map(_frozen, several))
            shapes |= {array.shape for array in arrays}
            if arrays:
                object.__setattr__(self, name, arrays if isinstance(value, tuple) else arrays[0])
        if len(shapes) > 1 or any(len(s) != 3 or s[0] != len(self.slices) for s in shapes):
            raise ValueError(
                f"expected arrays of one shape, {len(self.slices)} slices first, got "
                f"{sorted(shapes)}"
            )
        if self.affine is not None:
            affine = _frozen(np.array(self.affine, dtype=np.float64))
            if affine.shape != (4, 4) or not np.isfinite(affine).all():
                raise ValueError(f"expected a finite 4 x 4 affine, got {affine.tolist()}")
            object.__setattr__(self, "affine", affine)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, so that arrays of a copy cannot be written to either.
        return _made, (type(self), {f.name: getattr(self, f.name) for f in fields(self)})

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [f.name for f in fields(self)]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.slices)} slices>"

    @property
    def heights_mm(self) -> tuple[float, ...]:
        """Of the first voxel of every kept slice, in patient millimetres; empty without a scale."""
        if self.affine is None:
            return ()
        return tuple(float((self.affine @ [index, 0, 0, 1])[2]) for index in self.slices)

    def at(self, places: Sequence[int]) -> Self:
        """The same on some of the kept slices alone, by their place among them."""
        index = list(places)
        cut = {name: _cut(getattr(self, name), index) for name in self.VOXELS}
        slices = tuple(self.slices[place] for place in index)
        return replace(self, slices=slices, chosen=(), **cut)

    def few(self, count: int) -> Self:
        """The same on the chosen slices; where none were, on `count` at even distances."""
        if self.chosen:
            return self.at(self.chosen)
        if len(self.slices) <= count:
            return self
        return self.at(np.linspace(0, len(self.slices) - 1, count).round().astype(int).tolist())


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Panels(SliceEvidence):
    """Aligned images of the same slices: what a network was given, what it made of it.

    Attributes:
        names: Of the images, such as ``input``, ``denoised``, ``residual``.
        units: Of each: ``unit`` or ``residual``; see `Volume`.
        images: One a name, float32.
        window_hu: See `Volume`.
        lungs: Mask, bool.
        outline: What is outlined on the first image, bool.
    """

    names: tuple[str, ...]
    units: tuple[Units, ...]
    images: tuple[np.ndarray, ...]
    window_hu: tuple[float, float]
    lungs: np.ndarray | None = None
    outline: np.ndarray | None = None
    VOXELS = ("images", "lungs", "outline")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.names) == len(self.units) == len(self.images):
            raise ValueError(
                f"expected units and an image for each of {', '.join(self.names)}, got "
                f"{len(self.units)} and {len(self.images)}"
            )

    def __getitem__(self, name: str) -> np.ndarray:
        """An image by its name."""
        return self.images[self.names.index(name)]

    def volume(self, name: str, study: str) -> Volume:
        """An image as a volume, to save it or to go on with it.

        Args:
            name: Of the image.
            study: Short id.

        Raises:
            UsageError: If not all slices were kept, or the images have no scale.
        """
        if self.slices != tuple(range(len(self.slices))) or self.affine is None:
            raise UsageError(
                'expected images of all slices of a scan, got some of them. Use keep="volumes".'
            )
        units = self.units[self.names.index(name)]
        return Volume(self[name], self.affine, units, Source(study), (), self.window_hu)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Mask(SliceEvidence):
    """Voxels that a system found.

    Attributes:
        name: What they are.
        found: bool.
        searched: Where the system looks, bool; everywhere when None.
        score: What was compared with a threshold, the larger the likelier; may be missing.
        over: What lies below in a picture, in [0, 1].
    """

    name: str = "lesion"
    found: np.ndarray
    searched: np.ndarray | None = None
    score: np.ndarray | None = None
    over: np.ndarray | None = None
    VOXELS = ("found", "searched", "score", "over")

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along (slice, row, column)."""
        return self.found.shape

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres; NaN without a scale."""
        if self.affine is None:
            return math.nan
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_dict(self) -> dict[str, Any]:
        """See `Evidence.to_dict`; with ``found_ml``."""
        return {**super().to_dict(), "found_ml": _plain(int(self.found.sum()) * self.voxel_ml)}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Heatmap(SliceEvidence):
    """Which places spoke for a class, by Grad-CAM or the like.

    Attributes:
        label: Key of the class.
        values: From 0 to 1, the largest of the scan.
        over: What lies below in a picture, in [0, 1].
    """

    label: str
    values: np.ndarray
    over: np.ndarray | None = None
    VOXELS = ("values", "over")


@dataclass(frozen=True)
class Box:
    """A rectangle on a slice, in voxels of the grid; `bottom` and `right` are not in it.

    Attributes:
        slice: Index on the grid.
        top, left, bottom, right: Rows and columns.
        score: How sure the system is, from 0 to 1.
    """

    slice: int
    top: float
    left: float
    bottom: float
    right: float
    score: float

    def __post_init__(self) -> None:
        if not (self.top < self.bottom and self.left < self.right and 0 <= self.score <= 1):
            raise ValueError(f"expected a box with an area and a score in 0..1, got {self}")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Regions(SliceEvidence):
    """Places that a detector marked.

    Attributes:
        label: Key of the class that they speak for.
        boxes: Best first.
        over: The slices, in [0, 1].
    """

    label: str
    boxes: tuple[Box, ...]
    over: np.ndarray | None = None
    VOXELS = ("over",)

    def height_mm(self, box: Box) -> float | None:
        """Of a box, in patient millimetres."""
        return None if self.affine is None else float((self.affine @ [box.slice, 0, 0, 1])[2])


# What says all without its voxels, and the values that their tuples hold.
_RESTORED = (LesionVolume, SliceScores, Regions, QualityFindings)
_HELD: Mapping[str, type] = {"regions": Region, "boxes": Box, "findings": Finding}


def evidence_from(record: Mapping[str, Any]) -> Evidence | None:
    """The evidence that `Evidence.to_dict` wrote; None for what is nothing without its voxels.

    Raises:
        KeyError, TypeError, ValueError: If it is not what that function gave.
    """
    kind = next((kind for kind in _RESTORED if _name(kind) == record["type"]), None)
    if kind is None:
        return None
    values = {f.name: record[f.name] for f in fields(kind) if f.name not in kind.VOXELS}
    for name, value in values.items():
        if name in _HELD:
            values[name] = tuple(_HELD[name](**one) for one in value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    made: Evidence = kind(**values)
    return made


def _made(kind: type[Evidence], values: Mapping[str, Any]) -> Evidence:
    return kind(**values)


def _name(kind: type) -> str:
    """``lesion_volume`` for `LesionVolume`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_")


def _frozen(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array).view()
    view.setflags(write=False)
    return view


def _cut(value: Any, index: list[int]) -> Any:
    if isinstance(value, tuple):
        return tuple(array[index] for array in value)
    return None if value is None else value[index]


def _plain(value: Any) -> Any:
    """As JSON has it: lists for tuples and arrays, None for what is no finite number."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(one) for name, one in asdict(value).items()}
    return value
