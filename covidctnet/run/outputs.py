"""DICOM and NIfTI of every answer, next to its record, and what its page draws."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from covidctnet.contract import PredictorInfo
from covidctnet.dicom_out.nifti import nifti_files
from covidctnet.dicom_out.place import SourceGrid
from covidctnet.dicom_out.segments import for_a_picture
from covidctnet.dicom_out.view import view_files
from covidctnet.errors import StudyError, UsageError
from covidctnet.files import write_folder_whole
from covidctnet.io.child import HeaderChild
from covidctnet.io.convert import volume_bytes
from covidctnet.results import Failure, Prediction
from covidctnet.volume import Origin, Source, Volume
from covidctnet.workers.isolate import ChildError, Limits, StartError

__all__ = ["NEED_SCANS", "NOT_DICOM", "OutputKind", "Outputs", "Written", "check_packages"]

_LOG = logging.getLogger(__name__)
# ``scan`` is the scan itself as NIfTI; ``view`` a coarse copy of it and of what was found, which a
# page draws where it lies as a file.
OutputKind = Literal["dicom", "nifti", "scan", "view"]
NEED_SCANS = frozenset({"scan", "view"})
# What became of one kind: its files below the results folder, or a code and a message.
Written = dict[str, dict[str, Any]]
Files = Iterable[tuple[str, bytes]]
# The code of sources that no DICOM refers to: no fault of theirs.
NOT_DICOM = "NOT_DICOM"


def check_packages(kinds: Collection[OutputKind]) -> None:
    """Refuse what packages that are not there would write.

    Raises:
        UsageError: If one is missing.
    """
    if "dicom" in kinds and find_spec("highdicom") is None:
        raise UsageError(
            "expected the package highdicom for --dicom, it is not installed. Install it with "
            "pip install 'covidctnet[dicom]', or leave --dicom out."
        )


class Outputs:
    """Writes the files of answers, one study after the other.

    Args:
        kinds: What is written.
        folder: Of the results.
        info: Who answers.
        limits: What reading headers again may cost.
    """

    def __init__(
        self,
        kinds: Collection[OutputKind],
        folder: Path,
        info: PredictorInfo,
        limits: Limits | None = None,
    ) -> None:
        check_packages(kinds)
        self.kinds = tuple(dict.fromkeys(kinds))
        self._folder, self._info = folder, info
        self._headers = HeaderChild(limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._headers.close()

    def write(
        self,
        study: Any,
        outcome: Prediction | Failure,
        source: Source | None,
        stem: str,
        *,
        scan: Volume | None = None,
    ) -> tuple[Prediction | Failure, Written]:
        """Write all kinds for one answer.

        What one study does not allow is told and stops no other.

        Args:
            study: As it was found.
            outcome: Its evidence with all voxels.
            source: Of what was read.
            stem: Name of its folders.
            scan: What was read, for the kinds of `NEED_SCANS`.

        Returns:
            The outcome with the voxels of a picture alone, and what became of each kind.

        Raises:
            StorageError: If the disk is full or refuses.
            StartError: If no process can start.
        """
        if isinstance(outcome, Failure):
            return outcome, {}
        origin = source.origin if source is not None else None
        reader = source.reader if source is not None else ""
        make: dict[str, Callable[[], Files]] = {
            "dicom": partial(self._dicom, study, outcome, origin),
            "nifti": partial(_nifti, outcome, origin, reader),
            "scan": partial(_scan, scan),
            "view": partial(_view, outcome, origin, reader, scan, stem),
        }
        written: Written = {
            kind: self._one(study.id, kind, make[kind], stem) for kind in self.kinds
        }
        return replace(outcome, evidence=for_a_picture(outcome.evidence)), written

    def _one(self, study: str, kind: str, make: Callable[[], Files], stem: str) -> dict[str, Any]:
        folder = self._folder / kind / stem
        try:
            names = write_folder_whole(folder, make())
        except StudyError as error:
            code, message = error.code, error.message
        except StartError:
            raise
        except ChildError as error:
            code, message = error.code, error.message
        except MemoryError:
            code, message = "OUT_OF_MEMORY", "its results do not fit into memory"
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError,
                TypeError, ValueError) as error:  # fmt: skip
            # A bug of ours, or of a library, costs these files and not the answer. Its message may
            # cite a header.
            trace = traceback.extract_tb(error.__traceback__)[-1]
            _LOG.debug("study %s: %s at %s:%s", study, type(error).__name__, trace.name,
                       trace.lineno)  # fmt: skip
            code = "INTERNAL"
            message = f"the program failed with {type(error).__name__}"
        else:
            return {"files": [f"{kind}/{stem}/{name}" for name in names], "code": "", "message": ""}
        if code != NOT_DICOM:
            _LOG.warning("study %s has no %s results: %s: %s", study, kind, code, message)
        write_folder_whole(folder, ())
        return {"files": [], "code": code, "message": message}

    def _dicom(self, study: Any, outcome: Prediction, origin: Origin | None) -> Files:
        if origin is None or not origin.images:
            raise StudyError(
                "NOT_DICOM",
                "expected a source in DICOM for results in DICOM, got none. Use --nifti.",
            )
        from covidctnet.dicom_out.study import dicom_files

        found = self._headers(study, origin.images)
        return dicom_files(outcome, origin, found, self._info)


def _nifti(outcome: Prediction, origin: Origin | None, reader: str) -> Files:
    return () if origin is None else nifti_files(outcome, SourceGrid(origin), reader)


def _scan(scan: Volume | None) -> Files:
    if scan is not None:
        yield "scan.nii.gz", volume_bytes(scan)


def _view(
    outcome: Prediction, origin: Origin | None, reader: str, scan: Volume | None, stem: str
) -> Files:
    if origin is None or scan is None:
        return ()
    return view_files(outcome, SourceGrid(origin), reader, scan, stem)
