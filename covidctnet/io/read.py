"""A study, or the only study under a path, as a volume."""

from __future__ import annotations

from pathlib import Path

from covidctnet.errors import StudyError, UsageError
from covidctnet.io.archive import File, members, packing_of
from covidctnet.io.dicom import DamagedFileError, holds_series, read_dicom
from covidctnet.io.discover import Study, find_studies
from covidctnet.io.itk import read_itk
from covidctnet.io.names import packed_suffix
from covidctnet.io.nifti import read_nifti
from covidctnet.volume import Volume

__all__ = ["read_study", "read_volume"]


def read_study(
    study: Study, *, series: str | None = None, allow_gaps: bool = False, untilt: bool = False
) -> Volume:
    """Read a study to HU in canonical orientation, or refuse it.

    Args:
        study: From `find_studies`.
        series: Key of the DICOM series to read (`covidctnet inspect` shows them); the rule in
            `covidctnet.io.dicom.series` chooses by default.
        allow_gaps: Resample unevenly spaced slices to even steps, flagged ``gaps_resampled``.
        untilt: Undo the shear of a tilted gantry, flagged ``untilted``.

    Returns:
        Volume in HU with the study's id, what was decided as notes, and flags.

    Raises:
        StudyError: With the code of the reason; the study is named.
    """
    try:
        if study.format == "dicom":
            return read_dicom(
                study.files,
                study.id,
                notes=study.notes,
                series=series or study.stack,
                series_uid=study.series_uid,
                allow_gaps=allow_gaps,
                undo_tilt=untilt,
            )
        if study.format == "closed":
            raise StudyError(
                "UNREADABLE", "expected a folder that may be entered. Check its rights."
            )
        if study.format == "archive":
            _refuse_packed(study.files[0])
            members(study.path)
            raise StudyError(
                "BAD_ARCHIVE",
                "expected an archive that stays as it is, it has changed while it was read. "
                "Read it again.",
            )
        if study.format in ("packed", "other"):
            raise _not_read(study)
        if series is not None:
            raise StudyError(
                "UNKNOWN_SERIES",
                "expected a DICOM study, as a series was asked for, got a file of one volume. "
                "Leave the series out.",
            )
        if study.format == "picture":
            raise StudyError(
                "NOT_CT",
                "expected a chest CT, got a picture that may be a radiograph. Give the original "
                "CT series, or use weights of a system that reads radiographs.",
            )
        if study.format == "nifti":
            return read_nifti(study.files[0], study.id)
        return read_itk(study.files, study.id)
    except StudyError as error:
        raise error.of_study(study.id) from None
    except DamagedFileError as error:
        raise StudyError(
            error.code,
            f"expected a whole archive: {error}. {error.advice}.",
            study=study.id,
        ) from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected files that can be read: {error.strerror}. Check their rights and the disk.",
            study=study.id,
        ) from None
    except MemoryError:
        raise StudyError(
            "OUT_OF_MEMORY",
            "expected a scan that fits into memory. Close other programs, or read it on a computer "
            "with more.",
            study=study.id,
        ) from None


def _not_read(study: Study) -> StudyError:
    if study.format == "packed":
        return StudyError(
            "CORRUPT_FILE",
            "expected a NIfTI, MHA or NRRD file, got one that is compressed "
            f"({packed_suffix(study.files[0].name)}). Unpack it and give the file.",
        )
    return StudyError(
        "NOT_CT",
        "expected a volume as DICOM, NIfTI, MHA or NRRD, got one in another format "
        f"({study.files[0].suffix.lower()}). Convert it to NIfTI and give that file.",
    )


def _refuse_packed(file: File) -> None:
    """Refuse an archive that is not opened, whole or not."""
    if not isinstance(file, Path):
        what, which = "an archive that lies in a zip archive", "the outer archive"
    elif (kind := packing_of(file)) is not None:
        what, which = f"an archive ({kind})", "it"
    else:
        return
    raise StudyError(
        "BAD_ARCHIVE",
        f"expected a folder or a zip archive, got {what}, which is not opened. Unpack {which} and "
        "give the folder.",
    )


def read_volume(
    path: Path | str,
    *,
    series: str | None = None,
    allow_gaps: bool = False,
    untilt: bool = False,
) -> Volume:
    """Read the only study under a path to HU in canonical orientation.

    Args:
        path: Folder or zip archive of a DICOM study, a DICOM, NIfTI, MHA or NRRD file.
        series: See `read_study`; it also chooses among several studies.
        allow_gaps: See `read_study`.
        untilt: See `read_study`.

    Raises:
        UsageError: If the path does not exist, or holds several studies.
        StudyError: ``NOT_CT`` if it holds none; whatever the study is refused for.
    """
    found = find_studies(path)
    if not found:
        over = ", ".join(f"{n} {reason}" for reason, n in sorted(found.reasons.items()))
        advice = " Links are followed only when they are given directly." if "links" in over else ""
        if Path(path).suffix.lower() == ".img":
            advice += " Write a NIfTI pair (.hdr and .img) as one .nii file."
        raise StudyError(
            "NOT_CT",
            f"expected a chest CT, found nothing readable (passed over: {over or 'no file'}). "
            f"Give a folder of DICOM files, or a NIfTI, MHA or NRRD file.{advice}",
        )
    studies = list(found)
    if len(found) > 1 and series is not None:
        studies = [s for s in found if s.format == "dicom" and holds_series(s.files, series)]
        if not studies:
            raise StudyError(
                "UNKNOWN_SERIES",
                f"expected a series of one of {len(found)} studies, got {series}. Take a key that "
                "`covidctnet inspect` shows.",
            )
    if len(studies) > 1:
        raise UsageError(
            f"expected one study, found {len(studies)}. Give the folder of one of them, or use "
            "find_studies and read_study for all."
        )
    return read_study(studies[0], series=series, allow_gaps=allow_gaps, untilt=untilt)
