"""Folders that come one after the other, answered into one results folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from covidctnet.contract import Predictor
from covidctnet.report import Results
from covidctnet.run.classify import found_for
from covidctnet.run.runner import DEFAULT_LIMITS, LocalRunner
from covidctnet.serve.dicomweb import Instance
from covidctnet.serve.pacs import Outcome
from covidctnet.workers.isolate import Limits

__all__ = ["FolderAnswers"]

_MODALITIES = {"ct": ("CT",), "radiograph": ("CR", "DX")}


class FolderAnswers:
    """Answers folders as `covidctnet classify` does; an `covidctnet.serve.pacs.Answering`.

    Answers of other weights lie in folders of their own.

    Args:
        model: Who answers.
        folder: Where the results folders are.
        limits: What reading a study may cost.
    """

    def __init__(
        self, model: Predictor, folder: Path, *, limits: Limits | None = DEFAULT_LIMITS
    ) -> None:
        self._info = model.info
        self._runner = LocalRunner(model, limits=limits)
        self._results = Results(folder / self._info.digest)

    def __enter__(self) -> Self:
        self._results.__enter__()
        self._results.start(self._info)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._results.__exit__(kind, error, trace)

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
        outcomes = []
        studies = found_for(self._info, [folder])
        for study, outcome, seconds, fingerprint, *_ in self._runner.answers(
            studies, keep="slices"
        ):
            self._results.add(study, outcome, seconds=seconds, fingerprint=fingerprint)
            outcomes.append(Outcome(outcome.status, study.id))
        self._results.flush()
        return outcomes

    def objects(self, record: str) -> Mapping[Instance, Path]:
        """The DICOM results of a study, as they were written."""
        return {}
