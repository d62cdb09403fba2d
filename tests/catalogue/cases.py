"""What a case of the catalogue is: an input that is written, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.io import series

# Rows of the table of inputs; every case belongs to one of them.
GROUPS = (
    "plain series",
    "several series",
    "localizers",
    "other objects",
    "copies",
    "overlapping acquisitions",
    "missing slices",
    "last slices missing",
    "uneven spacing",
    "order",
    "spacing along z",
    "gantry tilt",
    "rescale missing or wrong",
    "rescale per slice",
    "padding",
    "monochrome 1",
    "stored bits",
    "colour and pictures",
    "enhanced CT",
    "transfer syntaxes",
    "no preamble",
    "junk beside",
    "damaged files",
    "mixed formats",
    "missing geometry",
    "orientation",
    "noise of geometry",
    "mixed patients and studies",
    "adjoining acquisitions",
    "UIDs of anonymisers",
    "bystanders",
    "stray files",
    "words for HU",
    "few slices",
    "float pixels",
    "absurd headers",
    "names and folders",
    "not HU",
    "volume file",
    "scaling of a file",
    "geometry of a file",
    "dimensions of a file",
    "type of a file",
    "broken file",
    "default geometry",
    "header and voxels apart",
    "names of formats",
    "archive",
    "hostile archive",
)
PATIENT = "secret-7781"
# No message may hold these; the last three stand in every header that `series` writes.
SECRETS = (PATIENT, "Doe", "Jane")
FORMATS = ("dicom", "nifti", "mha", "mhd", "nrrd", "nhdr", "zip")


@dataclass(frozen=True, eq=False)
class Truth:
    """The volume that the input means.

    Attributes:
        array: HU in canonical orientation, shape (slice, row, column).
        affine: From (slice, row, column, 1) to LPS mm.
        flags: What the volume must be flagged with, at least.
        tolerance_hu: Largest difference; 0 unless the input was compressed with loss.
    """

    array: np.ndarray
    affine: np.ndarray
    flags: tuple[str, ...] = ()
    tolerance_hu: float = 0.0


@dataclass(frozen=True, eq=False)
class Refusal:
    """The input must be refused.

    Attributes:
        code: Of the `StudyError`.
        harmless: Volumes that would not be wrong; the refusal is then a rule of this package.
    """

    code: str
    harmless: tuple[Truth, ...] = ()


Expected = Truth | Refusal
Step = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A hard input.

    Attributes:
        name: Format first, then words joined by hyphens.
        group: One of `GROUPS`.
        what: What is odd about it, a few words.
        build: Writes it under a folder and says what must become of it.
        policy: Whether the refusal is a rule of this package, not the only right answer.
        options: Of `covidctnet.read_volume`.
    """

    name: str
    group: str
    what: str
    build: Callable[[Path], Expected]
    policy: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """One of `FORMATS`."""
        return self.name.partition("-")[0]

    def input_in(self, folder: Path) -> Path:
        """What to read once the case is built: a DICOM folder, or the only file."""
        if self.format == "dicom":
            return folder
        return next(path for path in sorted(folder.iterdir()) if path.name.startswith("scan."))


def of(expected: Expected, *steps: Step) -> Callable[[Path], Expected]:
    """A `build` that takes some steps and expects a value known beforehand."""

    def build(folder: Path) -> Expected:
        for step in steps:
            step(folder)
        return expected

    return build


def truth(
    array: np.ndarray | None = None, affine: np.ndarray | None = None, *flags: str, loss: float = 0
) -> Truth:
    """The usual scan and affine, or others."""
    return Truth(
        series.a_scan() if array is None else array,
        series.an_affine() if affine is None else affine,
        flags,
        loss,
    )


def every_case() -> tuple[Case, ...]:
    """The catalogue."""
    from tests.catalogue import (
        archives,
        contradictions,
        damage,
        dicom,
        enhanced,
        files,
        habits,
        joints,
        mixtures,
        parts,
        patients,
        phases,
        reports,
        unfinished,
    )

    modules = (
        dicom,
        reports,
        parts,
        files,
        archives,
        contradictions,
        patients,
        phases,
        joints,
        enhanced,
        damage,
        unfinished,
        mixtures,
        habits,
    )
    return tuple(case for module in modules for case in module.CASES)
