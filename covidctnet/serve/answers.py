"""Folders that come one after the other, answered into one results folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from covidctnet.contract import Predictor
from covidctnet.errors import StorageError
from covidctnet.report import Results
from covidctnet.run.classify import classify_into, ids_of_results
from covidctnet.run.outputs import OutputKind, check_packages
from covidctnet.run.runner import DEFAULT_LIMITS, LocalRunner
from covidctnet.serve.dicomweb import Instance
from covidctnet.serve.pacs import Outcome
from covidctnet.workers.isolate import Limits

__all__ = ["FolderAnswers"]

_OUTPUTS: tuple[OutputKind, ...] = ("dicom",)
_MODALITIES = {"ct": ("CT",), "radiograph": ("CR", "DX")}


class FolderAnswers:
    """Answers folders as `covidctnet classify` does; an `covidctnet.serve.pacs.Answering`.

    Answers of other weights lie in folders of their own. The folder stays open from the first
    answer to `close`: records are read once, however many studies come.

    Args:
        model: Who answers.
        folder: Where the results folders are.
        limits: What reading a study may cost.
    """

    def __init__(
        self, model: Predictor, folder: Path, *, limits: Limits | None = DEFAULT_LIMITS
    ) -> None:
        check_packages(_OUTPUTS)
        self._info = model.info
        self._runner = LocalRunner(model, limits=limits)
        self._limits = limits
        self._results = Results(folder / self._info.digest)
        self._ids = ids_of_results(self._results.folder)
        self._open: ExitStack | None = None

    def close(self) -> None:
        """Write the tables, and give the folder back.

        Raises:
            StorageError: If the disk is full.
        """
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    @property
    def weights(self) -> str:
        """Digest of the weights."""
        return self._info.digest

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of the series that are answered."""
        return _MODALITIES[self._info.modality]

    def answer(self, folder: Path) -> list[Outcome]:
        """Answer every study of a folder.

        Raises:
            StorageError: If the disk is full.
        """
        if self._open is None:
            with ExitStack() as opened:
                opened.enter_context(self._results)
                self._results.start(self._info)
                self._open = opened.pop_all()
        outcomes: list[Outcome] = []
        classify_into(
            self._results,
            [folder],
            self._runner,
            limits=self._limits,
            outputs=_OUTPUTS,
            ids=self._ids,
            each=lambda record: outcomes.append(Outcome(record.status, record.study)),
        )
        return outcomes

    def objects(self, record: str) -> Mapping[Instance, Path]:
        """The DICOM results of a study, as they were written.

        Raises:
            StorageError: If one of them is gone.
        """
        kept = self._results.record(record)
        names = kept.output_files if kept is not None else ()
        found = {}
        for path in (self._results.folder / name for name in names):
            try:
                header = dcmread(path, stop_before_pixels=True)
            except (OSError, InvalidDicomError):
                raise StorageError(
                    "expected the results that were written, one is gone or damaged. Remove "
                    "studies.sqlite from the --state folder, and studies are asked again."
                ) from None
            uids = (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
            found[Instance(*map(str, uids))] = path
        return found
