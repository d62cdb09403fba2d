"""What can go wrong, by name."""

from __future__ import annotations


class CovidCTNetError(Exception):
    """Base of every error that this package raises on purpose.

    Its text is one line for a person: what was expected, what came, what to do next. `exit_code` is
    what the command line returns when nothing catches it.
    """

    exit_code = 1


class UsageError(CovidCTNetError):
    """The caller asked for something that cannot be: a missing folder, an unknown preset."""

    exit_code = 2


class StorageError(CovidCTNetError):
    """What was made cannot be written: the disk is full, or says no."""

    exit_code = 1


class CohortError(UsageError):
    """A labelled cohort contradicts itself: an unknown label, a patient in two splits."""


class WeightsError(UsageError):
    """A weights folder is missing, incomplete, tampered with or of another architecture."""


class StudyError(CovidCTNetError):
    """One study cannot be used; the others can.

    Args:
        code: Upper-case name of the reason, such as ``SLICE_GAP`` (docs/reference/errors.md).
        message: What was expected, what came, what to do next. Never a patient's name, id or path.
        study: Short study id (see `covidctnet.volume.Source`), when it is known.
    """

    exit_code = 4

    def __init__(self, code: str, message: str, *, study: str | None = None) -> None:
        super().__init__(code, message, study)
        self.code = code
        self.message = message
        self.study = study

    def __str__(self) -> str:
        where = f"study {self.study}: " if self.study else ""
        return f"{where}{self.code}: {self.message}"

    def of_study(self, study: str) -> StudyError:
        """The same error, with the study it happened in."""
        return self if self.study else StudyError(self.code, self.message, study=study)
