"""A radiograph as systems take it: grey values of 8 bits, and what its file gives away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.evidence import Finding
from covidctnet.io.archive import File
from covidctnet.io.dicom import DamagedFileError, NotDicomError, identify
from covidctnet.io.discover import Study, content_id
from covidctnet.io.picture import Format, grey_digest, read_stored
from covidctnet.io.read import read_study
from covidctnet.radiograph.convert import grey_of
from covidctnet.radiograph.quality import check_picture
from covidctnet.volume import Origin, Source

__all__ = ["Radiograph", "read_radiograph", "read_radiograph_file"]


@dataclass(frozen=True, eq=False, repr=False)
class Radiograph:
    """One radiograph.

    Attributes:
        pixels: Grey values, uint8 (row, column), read-only; brighter is denser.
        format: ``PNG``, ``JPEG``, ``TIFF`` or ``DICOM``, by the content.
        source: Short id, digest of the grey values, notes and flags of the reader.
        findings: Of the quality checks.
        spacing_mm: Between rows and between columns; None where the file does not say it.
    """

    pixels: np.ndarray
    format: Format
    source: Source
    findings: tuple[Finding, ...] = ()
    spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 (row, column), got {self.pixels.dtype} {self.pixels.shape}"
            )
        view = self.pixels.view()
        view.setflags(write=False)
        object.__setattr__(self, "pixels", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Radiograph {rows} x {columns}, {self.format}, study {self.source.study}>"


def read_radiograph_file(path: File, study: str = "") -> Radiograph:
    """Read a file as one frontal radiograph, and check its quality.

    Args:
        path: PNG, JPEG, TIFF, or DICOM (CR, DX).
        study: Its short id; from its content by default.

    Raises:
        StudyError: As `covidctnet.io.picture.read_picture`; ``NOT_RADIOGRAPH`` for a slice of a CT
            in DICOM. Formats without a header say nothing of what they show.
    """
    stored = read_stored(path)
    picture = stored.picture
    grey = grey_of(picture)
    source = Source(
        study or content_id(path),
        digest=grey_digest(grey),
        reader=picture.format.lower(),
        notes=picture.notes,
        flags=picture.flags,
        origin=_origin(grey, picture.format),
    )
    # DICOM files are often named by UIDs, whose last number is no suffix.
    suffix = "" if path.suffix[1:].isdigit() else path.suffix
    findings = check_picture(stored, suffix)
    return Radiograph(grey, picture.format, source, findings, picture.spacing_mm)


def _origin(grey: np.ndarray, format_: Format) -> Origin:
    """The file is the only image of its study, and has no place in the patient."""
    rows, columns = grey.shape
    return Origin((1, rows, columns), (), images=((0, 0),) if format_ == "DICOM" else ())


def read_radiograph(study: Study) -> Radiograph:
    """Read a study that `covidctnet.radiograph.find.find_radiographs` found, or refuse it.

    Raises:
        StudyError: As `read_radiograph_file`; ``NOT_RADIOGRAPH`` for DICOM of another kind.
    """
    if study.format in ("closed", "archive"):
        read_study(study)  # says why it cannot be opened
    try:
        if study.format != "picture":
            raise _of_another_kind(study)
        return read_radiograph_file(study.files[0], study.id)
    except StudyError as error:
        raise error.of_study(study.id) from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a file that can be read: {error.strerror}. Check its rights and the disk.",
            study=study.id,
        ) from None


def _of_another_kind(study: Study) -> StudyError:
    count = len(study.files)
    files = "a DICOM file" if count == 1 else f"{count} DICOM files"
    try:
        identity = identify(study.files[0])
    except (NotDicomError, DamagedFileError, OSError):
        return StudyError(
            "CORRUPT_SLICE",
            f"expected a whole radiograph (CR or DX), got {files} that cannot be read. Export them "
            "again.",
        )
    what = "a CT" if identity.is_slice or identity.places else "no radiograph"
    return StudyError(
        "NOT_RADIOGRAPH",
        f"expected a radiograph (CR or DX), got {files} of {what}. Give CT to a system that reads "
        "it.",
    )
