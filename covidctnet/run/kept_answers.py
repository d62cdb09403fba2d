"""The answers of an evaluation, kept as they come: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from covidctnet.classes import Classes
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.localise import Localisation
from covidctnet.evidence import evidence_from
from covidctnet.files import make_folder, remove_leftovers, unwritable, write_whole
from covidctnet.io.fingerprint import fingerprint_of
from covidctnet.io.lesions import MaskFile
from covidctnet.report.provenance import provenance_of, run_key
from covidctnet.results import Failure, Prediction
from covidctnet.run.runner import Answered, Answers, Asked, Runner
from covidctnet.volume import source_of
from covidctnet.writer import SoleWriter

__all__ = ["ANSWERS", "KeptAnswers"]

_LOG = logging.getLogger(__name__)
ANSWERS = "answers"
"""Name of the folder in that of an evaluation."""
_RECORD = 1
# Refusals whose cause is the machine, not the study.
_OF_THE_MACHINE = frozenset({"UNREADABLE", "OUT_OF_MEMORY"})


class KeptAnswers:
    """A record a study in ``answers/``, there whole or not at all; a context, with one writer.

    A study is asked again when its files, its mask of lesions or the records' format changed, when
    we failed, or when it was refused by other versions or for want of memory.

    Args:
        output: Folder of the evaluation; made when the context begins.
        info: Who answers.
    """

    def __init__(self, output: Path, info: PredictorInfo) -> None:
        self._folder = output / ANSWERS
        self._info = info
        self._run = run_key(provenance_of(info))
        self._writer = SoleWriter(output)
        self._marks: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Become the only writer.

        Raises:
            UsageError: If another run writes into the folder, or other weights have answered in it.
            StorageError: If it cannot be written.
        """
        make_folder(self._folder)
        try:
            self._writer.take()
        except OSError as error:
            raise unwritable("the answers of an evaluation", error) from error
        try:
            remove_leftovers(self._folder)
            self._refuse_other_weights()
        except BaseException:
            self._writer.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.release()

    def answers(
        self, runner: Runner, studies: Sequence[Asked], *, lesions: Mapping[str, MaskFile]
    ) -> Answers:
        """Every study with its answer, in order: those that are kept, and those asked now.

        Args:
            runner: Who is asked.
            studies: All of them.
            lesions: Files with masks of lesions, by study.

        Raises:
            StorageError: If an answer cannot be written.
        """
        kept = {study.id: self._read(study, lesions.get(study.id)) for study in studies}
        todo = [study for study in studies if kept[study.id] is None]
        if len(todo) < len(studies):
            _LOG.info("%d studies to answer, %d have their answer", len(todo),
                      len(studies) - len(todo))  # fmt: skip
        masks = {study.id: lesions[study.id] for study in todo if study.id in lesions}
        with closing(runner.answers(todo, lesions=masks)) as outcomes:
            for study in studies:
                answered = kept.pop(study.id)
                if answered is None:
                    answered = next(outcomes)
                    self._write(study, answered)
                yield answered

    def _refuse_other_weights(self) -> None:
        for path in sorted(self._folder.glob("*.json")):
            record = _read_json(path)
            weights = record.get("weights", self._info.digest)
            if weights != self._info.digest:
                raise UsageError(
                    f"expected a folder of answers by the weights {self._info.weights} "
                    f"({self._info.digest}), got one with answers by {record.get('weights_name')} "
                    f"({weights}). Give another folder with --output, or those weights."
                )

    def _mark(self, study: Asked, lesions: MaskFile | None) -> str:
        """What must be the same for an answer to count; taken before the study is read."""
        if isinstance(study, StoredStudy):
            return f"{study.content_key} {study.settings_digest} {study.token}"
        mark = fingerprint_of(study)  # type: ignore[arg-type]
        if lesions is None:
            return mark
        try:
            stat = lesions.path.stat()
            values = f" {lesions.values}" if lesions.values else ""
            return f"{mark} {stat.st_size} {stat.st_mtime_ns}{values}"
        except OSError:
            return f"{mark} no mask"

    def _read(self, study: Asked, lesions: MaskFile | None) -> Answered | None:
        mark = self._marks[study.id] = self._mark(study, lesions)
        record = _read_json(self._folder / f"{study.id}.json")
        try:
            if record["record"] != _RECORD or record["mark"] != mark:
                return None
            outcome = _outcome_from(record["outcome"])
            if isinstance(outcome, Failure) and (
                outcome.status == "failed"
                or outcome.code in _OF_THE_MACHINE
                or record["run"] != self._run
            ):
                return None
            source, found = record["source"], record["localisation"]
            return Answered(
                study,
                outcome,
                dict(record["seconds"]),
                record["fingerprint"],
                source_of(source) if source else None,
                CohortError(found) if isinstance(found, str) else Localisation(**found)
                if found else None,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, CohortError):
            # None there, damaged, or of another version: the study is asked again.
            return None

    def _write(self, study: Asked, answered: Answered) -> None:
        found = answered.localisation
        record = {
            "record": _RECORD,
            "study": study.id,
            "mark": self._marks[study.id],
            "weights": self._info.digest,
            "weights_name": self._info.weights,
            "run": self._run,
            "outcome": _outcome_record(answered.outcome),
            "seconds": {stage: float(value) for stage, value in answered.seconds.items()},
            "fingerprint": answered.fingerprint,
            "source": asdict(answered.source) if answered.source else None,
            "localisation": str(found) if isinstance(found, CohortError)
            else asdict(found) if found else None,
        }  # fmt: skip
        write_whole(self._folder / f"{study.id}.json", json.dumps(record, indent=1) + "\n")


def _outcome_record(outcome: Prediction | Failure) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return asdict(outcome)
    # As it is, where `to_dict` has null for what JSON has no number for.
    acquisition = [list(pair) for pair in outcome.acquisition]
    plain = outcome.to_dict() | {"acquisition": acquisition, "ood_score": outcome.ood_score}
    return plain | {"classes": outcome.classes.to_dict()}


def _outcome_from(record: Mapping[str, Any]) -> Prediction | Failure:
    if "classes" not in record:
        return Failure(**record)
    classes = Classes.from_dict(record["classes"])
    label_of = {label.key: label for label in classes}
    return Prediction(
        study=record["study"],
        probabilities={label_of[key]: p for key, p in record["probabilities"].items()},
        flags=tuple(record["flags"]),
        seconds=record["seconds"],
        prediction_set=tuple(label_of[key] for key in record["prediction_set"]),
        ood_score=record["ood_score"],
        evidence=tuple(
            one for kept in record["evidence"] if (one := evidence_from(kept)) is not None
        ),
        acquisition=tuple((str(name), value) for name, value in record["acquisition"]),
        weights=record["weights"],
        notes=tuple(record["notes"]),
        classes=classes,
    )


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
