"""The results folder: answers written as they come, never half, and continued on the next run."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from covidctnet.contract import PredictorInfo
from covidctnet.errors import StorageError, UsageError
from covidctnet.files import is_leftover, remove_leftovers, table_text, write_whole
from covidctnet.report.evidence import Picture, draw_picture
from covidctnet.report.page import render_page
from covidctnet.report.provenance import json_bytes, provenance_of, run_key
from covidctnet.report.record import (
    Record,
    StudyLike,
    columns,
    fingerprint_of,
    labels_in,
    record_of,
)
from covidctnet.report.words import STATUS_WORDS
from covidctnet.results import Failure, Prediction

__all__ = ["Results"]

logger = logging.getLogger(__name__)

FORMAT = "covidctnet results 1"
NOTICE = "Research use only. Not a medical device."
SUMMARY_EVERY_S = 2.0
# A long table takes a while to write: give it at most this share of the time.
SUMMARY_SHARE = 0.05
_OURS = frozenset({"studies", "results.csv", "results.json", "index.html"})
_NOT_CONTENT = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


class Results:
    """A folder of answers: one record a study, and the three files made of them.

    `results.csv`, `results.json` and `index.html` are written again from the records in `studies/`,
    at most every few seconds and when the context ends, whatever ends it. A record is there whole
    or not at all. Records of studies that are no longer asked for stay.

    Args:
        folder: A new or empty folder, or one of an earlier run.
        clock: Seconds that only go forward.

    Raises:
        UsageError: If it is a file, or holds something else.
    """

    def __init__(self, folder: str | Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._studies = self.folder / "studies"
        self._info: PredictorInfo | None = None
        self._run = ""
        self._changed = False
        self._next_summary_s = 0.0
        try:
            _check_ours(self.folder)
            self._records = {record.study: record for record in _read_records(self._studies)}
        except OSError as error:
            raise _unusable(error) from error
        self._runs = _read_runs(self.folder)
        self._next_order = 1 + max((record.order for record in self._records.values()), default=0)

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, in the order their studies first came."""
        return tuple(sorted(self._records.values(), key=lambda r: (r.order, r.study)))

    @property
    def counts(self) -> Mapping[str, int]:
        """Studies by status."""
        counts = Counter(record.status for record in self._records.values())
        return {status: counts[status] for status in STATUS_WORDS}

    def start(self, info: PredictorInfo) -> None:
        """Say who answers from here on, and write the three files once.

        Raises:
            UsageError: If the folder cannot be made or written into.
            StorageError: If the disk is full.
        """
        provenance = provenance_of(info)
        try:
            # Not before: a run that never starts leaves no folder behind.
            self._studies.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            remove_leftovers(self._studies)
        except OSError as error:
            raise _unusable(error) from error
        self._info = info
        self._run = run_key(provenance)
        self._runs[self._run] = provenance
        self._write_summary()

    def answer(self, study: StudyLike) -> Record | None:
        """The answer that `study` has, or None when it must be asked.

        It has one when its files are as they were, the weights are the same, and the answer was
        not a failure of ours.
        """
        weights = self._started().digest
        record = self._records.get(study.id)
        if record is None or record.status == "failed" or record.weights != weights:
            return None
        return record if record.fingerprint == fingerprint_of(study) else None

    def add(
        self,
        study: StudyLike,
        outcome: Prediction | Failure,
        *,
        seconds: Mapping[str, float] | None = None,
    ) -> Record:
        """Write what came of a study.

        Args:
            study: The study that was asked for; its id is the record's key.
            outcome: Its answer, with or without pictures.
            seconds: Seconds by stage; those of a `Prediction` when not given.

        Raises:
            StorageError: If the disk is full or refuses; nothing of this answer is kept then.
        """
        info = self._started()
        former = self._records.get(study.id)
        if seconds is None:
            seconds = outcome.seconds if isinstance(outcome, Prediction) else {}
        picture = _picture_of(outcome)
        record = record_of(
            study,
            outcome,
            seconds=seconds,
            weights=info.digest,
            run=self._run,
            order=former.order if former else self._next_order,
            answered=datetime.now(UTC).isoformat(timespec="seconds"),
            picture=picture,
        )
        self._write_record(record, picture)
        if former and former.picture and former.picture != record.picture:
            with contextlib.suppress(OSError):
                (self._studies / former.picture).unlink()
        self._records[record.study] = record
        self._next_order = max(self._next_order, record.order + 1)
        self._changed = True
        self._write_summary_when_due()
        return record

    def flush(self) -> None:
        """Write the three files again if there is something new.

        Raises:
            StorageError: If they cannot be written; the old ones are then still there.
        """
        if self._changed:
            self._write_summary()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except StorageError:
            # On the way out of another error, that one is what the caller must hear of.
            if error is None:
                raise
            logger.warning("the tables could not be brought up to date; the answers are kept")

    def _started(self) -> PredictorInfo:
        if self._info is None:
            raise ValueError("call start(info) before asking or adding answers")
        return self._info

    def _write_record(self, record: Record, picture: Picture | None) -> None:
        stem = self._studies / record.file_stem
        picture_file = self._studies / record.picture if record.picture else None
        if picture is not None and picture_file is not None:
            write_whole(picture_file, picture.content)
        try:
            write_whole(stem.with_suffix(".json"), json_bytes(record.to_json(), indent=1))
        except BaseException:
            # No picture without its record.
            if picture_file is not None:
                with contextlib.suppress(OSError):
                    picture_file.unlink()
            raise

    def _write_summary_when_due(self) -> None:
        if self._clock() < self._next_summary_s:
            return
        try:
            self._write_summary()
        except StorageError as error:
            # The record is safe; the table may be open in a spreadsheet. The end tries again.
            logger.warning("%s", error)
            self._next_summary_s = self._clock() + SUMMARY_EVERY_S

    def _write_summary(self) -> None:
        started_s = self._clock()
        records = self.records
        labels = labels_in(records)
        rows = [columns(labels), *(record.to_row(labels) for record in records)]
        write_whole(self.folder / "results.csv", table_text(rows))
        write_whole(self.folder / "results.json", json_bytes(self._summary(records), indent=1))
        page = render_page(records, runs=self._runs, picture_of=self._read_picture)
        write_whole(self.folder / "index.html", page)
        self._changed = False
        took_s = self._clock() - started_s
        self._next_summary_s = self._clock() + max(SUMMARY_EVERY_S, took_s / SUMMARY_SHARE)

    def _summary(self, records: tuple[Record, ...]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "notice": NOTICE,
            "counts": dict(self.counts),
            "runs": self._runs,
            "studies": [record.to_json() for record in records],
        }

    def _read_picture(self, record: Record) -> bytes | None:
        try:
            return (self._studies / record.picture).read_bytes()
        except OSError:
            logger.debug("study %s: its picture is gone", record.study)
            return None


def _unusable(error: OSError) -> UsageError | StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"expected to make a results folder, got: {error.strerror}. Make room and run again."
        )
    return UsageError(
        "expected a results folder to write into, got: "
        f"{error.strerror or type(error).__name__}. Pick another with --output."
    )


def _picture_of(outcome: Prediction | Failure) -> Picture | None:
    if isinstance(outcome, Failure):
        return None
    try:
        return draw_picture(outcome.evidence)
    except (TypeError, ValueError) as error:
        # An answer is worth keeping without its picture.
        logger.warning("study %s: no picture: %s", outcome.study, error)
        return None


def _check_ours(folder: Path) -> None:
    """Refuse a folder that belongs to something else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(
            "expected a results folder, got a file of that name. Pick another with --output."
        )
    names = _content(folder)
    if not names or _read_json(folder / "results.json").get("format") == FORMAT:
        return
    if "results.json" not in names:
        studies = folder / "studies"
        if any(True for _ in _read_records(studies)):
            return
        # A first run that was killed, or found the disk full, before its first answer.
        if studies.is_dir() and names <= _OURS and not _content(studies):
            return
    raise UsageError(
        "expected a new or empty results folder, or one of an earlier run, got a folder with "
        f"{len(names)} other entries. Pick another with --output."
    )


def _content(folder: Path) -> set[str]:
    """Names in a folder, without what systems and killed runs leave there."""
    return {path.name for path in folder.iterdir() if not is_leftover(path)} - _NOT_CONTENT


def _read_records(studies: Path) -> Iterator[Record]:
    for path in sorted(studies.glob("*.json")):
        try:
            yield Record.from_json(_read_json(path))
        except (KeyError, TypeError, ValueError):
            # Not ours, or of another version: the study is simply asked again.
            logger.debug("a file in studies/ is no record of ours and is left alone")


def _read_runs(folder: Path) -> dict[str, Any]:
    runs = _read_json(folder / "results.json").get("runs", {})
    return dict(runs) if isinstance(runs, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
