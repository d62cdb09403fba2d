"""The results folder: answers written as they come, never half, and continued on the next run."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from covidctnet.cohort.pseudonyms import IDS_FILE, PRIVATE
from covidctnet.contract import PredictorInfo
from covidctnet.errors import StorageError, UsageError
from covidctnet.files import is_leftover, remove_leftovers, table_text, write_whole
from covidctnet.io.fingerprint import fingerprint_of
from covidctnet.report.evidence import Picture, draw_picture
from covidctnet.report.page import VIEWER, pages_of, render_page, view_of, viewer_files
from covidctnet.report.provenance import json_bytes, provenance_of, run_key
from covidctnet.report.record import (
    Record,
    StudyLike,
    columns,
    labels_in,
    record_of,
)
from covidctnet.report.words import STATUS_WORDS
from covidctnet.results import Failure, Prediction
from covidctnet.writer import WRITER_FILES, SoleWriter

__all__ = ["Results"]

logger = logging.getLogger(__name__)

FORMAT = "covidctnet results 1"
NOTICE = "Research use only. Not a medical device."
SUMMARY_EVERY_S = 2.0
# A long table takes a while to write: give it at most this share of the time.
SUMMARY_SHARE = 0.05
# Folders of what is written beside answers.
_OUTPUTS = ("dicom", "nifti", "scan", "view")
_OURS = frozenset(
    {"studies", "results.csv", "results.json", "index.html", "pages", "parts", VIEWER, *_OUTPUTS}
)
# Refusals whose cause is the machine, not the study: nothing of the files tells when it has ended.
_OF_THE_MACHINE = frozenset({"UNREADABLE", "OUT_OF_MEMORY"})
_SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
_NOT_CONTENT = frozenset({*_SYSTEM_FILES, *WRITER_FILES, PRIVATE, IDS_FILE})


class Results:
    """A folder of answers: one record a study, and the three files made of them.

    `results.csv`, `results.json` and `index.html` are written again from the records in `studies/`,
    at most every few seconds and when the context ends, whatever ends it. A record is there whole
    or not at all. Records of studies that were not looked for stay; those of studies that are gone
    lose their row, see `leave_out_gone`.

    A context within another is part of it: nothing is read again, and the three files wait for
    their time or for the end of the outer one.

    Args:
        folder: A new or empty folder, or one of an earlier run.
        clock: Seconds that only go forward.
        wait: Wait for the end of another run that writes into the folder, instead of refusing.

    Raises:
        UsageError: If it is a file, or holds something else.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._studies = self.folder / "studies"
        self._info: PredictorInfo | None = None
        self._run = ""
        self._is_complete = False
        self._is_merged = False
        self._changed = False
        self._next_summary_s = 0.0
        # What the pages behind the first one show, as they were last written.
        self._shown_pages: dict[int, tuple[object, ...]] = {}
        self._has_viewer = False
        self._depth = 0
        self._writer = SoleWriter(self.folder, wait=wait)
        self._read()

    def _read(self) -> None:
        """Take up what is in the folder.

        Raises:
            UsageError: If it holds something else.
        """
        try:
            _check_ours(self.folder)
            self._records = {record.study: record for record in _read_records(self._studies)}
        except OSError as error:
            raise _unusable(error) from error
        summary = _read_json(self.folder / "results.json")
        runs = summary.get("runs", {})
        self._runs: dict[str, Any] = dict(runs) if isinstance(runs, dict) else {}
        self._is_complete = summary.get("complete") is True
        self._is_merged = summary.get("merged") is True
        self._next_order = 1 + max((record.order for record in self._records.values()), default=0)

    @property
    def records(self) -> tuple[Record, ...]:
        """All records that have a row, in the order their studies first came."""
        shown = (record for record in self._records.values() if not record.is_gone)
        return tuple(sorted(shown, key=lambda r: (r.order, r.study)))

    def record(self, study: str) -> Record | None:
        """The record of a study, or None where it has no row.

        Args:
            study: Its short id.
        """
        record = self._records.get(study)
        return None if record is None or record.is_gone else record

    @property
    def counts(self) -> Mapping[str, int]:
        """Studies by status."""
        counts = Counter(record.status for record in self.records)
        return {status: counts[status] for status in STATUS_WORDS}

    @property
    def is_complete(self) -> bool:
        """Whether the last run here came to its end."""
        return self._is_complete

    def complete(self) -> None:
        """Say that every study that was to be asked has its record."""
        self._changed |= not self._is_complete
        self._is_complete = True

    def start(self, info: PredictorInfo) -> None:
        """Say who answers from here on, and write the three files once.

        From here to the end of the context no other run can write into the folder.

        Raises:
            UsageError: If the folder cannot be made or written into, if another run writes into
                it, or if it holds answers of other weights.
            StorageError: If the disk is full.
        """
        if self._depth > 1 and self._info is not None and self._info.digest == info.digest:
            # What is in memory is what the folder holds: nobody else writes.
            self._is_complete = False
            return
        provenance = provenance_of(info)
        self._open()
        if self._is_merged:
            raise UsageError(
                "expected a folder for the answers of one run, got one with the merged answers of "
                "several parts. Give --part K/N or another folder with --output."
            )
        self._refuse_other_weights(info)
        self._info = info
        self._run = run_key(provenance)
        self._runs[self._run] = provenance
        self._is_complete = False
        self._write_summary()

    def take_over(self, parts: Sequence[Results], *, is_complete: bool) -> None:
        """Become the answers of several folders together; nobody else may write into them.

        Args:
            parts: Folders with different studies, by the same weights.
            is_complete: Whether these are all.

        Raises:
            UsageError: If weights differ, a study is in two of them, or this folder holds answers
                of its own.
            StorageError: If the disk is full.
        """
        self._open()
        if self._records and not self._is_merged:
            raise UsageError(
                f"expected a folder of parts alone, got one with {len(self._records)} answers of "
                "its own. Move studies/ and the tables away, then merge again."
            )
        weights = sorted({record.weights for part in parts for record in part.records})
        if len(weights) > 1:
            raise UsageError(
                f"expected parts by the same weights, got answers by {' and '.join(weights)}. Run "
                "the parts of one of them again, into another folder."
            )
        former, self._records = self._records, {}
        for part in parts:
            self._runs |= part._runs
            for record in part.records:
                if record.study in self._records:
                    raise UsageError(f"study {record.study} is in two parts. Remove one of them.")
                record = replace(record, order=len(self._records) + 1)
                if former.get(record.study) != record:
                    self._take_record(part, record)
                self._records[record.study] = record
        for record in former.values():
            kept = self._records.get(record.study)
            if kept is None:
                (self._studies / record.file_stem).with_suffix(".json").unlink(missing_ok=True)
            if record.picture and (kept is None or kept.picture != record.picture):
                (self._studies / record.picture).unlink(missing_ok=True)
        self._is_complete, self._is_merged = is_complete, True
        self._write_summary()

    def _take_record(self, part: Results, record: Record) -> None:
        picture = part._read_picture(record) if record.picture else None
        if picture is not None:
            write_whole(self._studies / record.picture, picture)
        for name in record.output_files:
            try:
                content = (part.folder / name).read_bytes()
            except OSError as error:
                raise UsageError(
                    f"expected {name} in its part, it cannot be read ({error.strerror}). Run "
                    "classify with that --part again."
                ) from None
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
        self._write_record(record, None)

    def _open(self) -> None:
        """Make the folder, become its only writer, and look what is in it.

        Raises:
            UsageError: If it cannot be made or written into, or another run writes into it.
            StorageError: If the disk is full.
        """
        try:
            # Not before: a run that never starts leaves no folder behind.
            self._studies.mkdir(parents=True, exist_ok=True)
            self._writer.take()
            # Another run may have written since this one looked.
            self._read()
            remove_leftovers(self.folder)
            for name in ("studies", "pages", VIEWER, *_OUTPUTS):
                remove_leftovers(self.folder / name)
        except OSError as error:
            raise _unusable(error) from error

    def _refuse_other_weights(self, info: PredictorInfo) -> None:
        """One table never compares studies by different weights without saying so."""
        others = [record for record in self.records if record.weights != info.digest]
        if not others:
            return
        model = self._runs.get(others[0].run, {}).get("model", {})
        raise UsageError(
            f"expected a folder of answers by the weights {info.weights} ({info.digest}), got one "
            f"with answers by {model.get('weights') or 'others'} ({others[0].weights}). Give "
            "another folder with --output, or those weights."
        )

    def answer(self, study: StudyLike, *, outputs: Collection[str] = ()) -> Record | None:
        """The answer that `study` has, or None when it must be asked.

        It has one when its files are as they were, the weights are the same, and the answer was
        neither a failure of ours nor a refusal that this machine, or these versions of the
        libraries, may not repeat. The row of a study whose files have changed goes at once.

        Args:
            study: That is asked for.
            outputs: Kinds of files that an answer must have beside it, or a reason why not.

        Raises:
            StorageError: If the row of a study that has changed cannot be taken out.
        """
        weights = self._started().digest
        record = self._records.get(study.id)
        if record is None:
            return None
        if record.fingerprint != fingerprint_of(study):
            self._show(record, is_gone=True)
            return None
        if record.status == "failed" or record.weights != weights:
            return None
        if record.status == "refused" and self._may_have_ended(record):
            return None
        if record.probabilities and not self._has_outputs(record, outputs):
            return None
        return self._show(record, is_gone=False)

    def leave_out_gone(self, found: Collection[str], paths: Sequence[Path]) -> int:
        """Take out the rows of studies that lay under some paths and are no longer found there.

        Args:
            found: Ids of all studies that are there.
            paths: Where they were looked for.

        Returns:
            How many rows went. Their records are kept: an answer comes back with its study.

        Raises:
            StorageError: If a record cannot be written.
        """
        self._started()
        roots = {root for path in paths for root in (path.absolute(), path.resolve())}
        ids = set(found)
        gone = [
            record
            for record in self.records
            if record.study not in ids
            and any(Path(record.source_path).is_relative_to(root) for root in roots)
        ]
        for record in gone:
            self._show(record, is_gone=True)
        return len(gone)

    def _show(self, record: Record, *, is_gone: bool) -> Record:
        """The record with or without a row."""
        if record.is_gone == is_gone:
            return record
        record = replace(record, is_gone=is_gone)
        self._write_record(record, None)
        self._records[record.study] = record
        self._changed = True
        return record

    def _has_outputs(self, record: Record, kinds: Collection[str]) -> bool:
        """Whether an answer has its files of some kinds, or what they were refused for."""
        if not set(kinds) <= set(record.outputs):
            return False
        return all((self.folder / name).is_file() for name in record.output_files)

    def _may_have_ended(self, record: Record) -> bool:
        """Whether the cause of a refusal may be over though the files are as they were."""
        if record.code in _OF_THE_MACHINE:
            return True
        then, now = self._runs.get(record.run, {}), self._runs[self._run]
        return any(then.get(name) != now[name] for name in ("covidctnet", "libraries"))

    def add(
        self,
        study: StudyLike,
        outcome: Prediction | Failure,
        *,
        fingerprint: str | None = None,
        seconds: Mapping[str, float] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Record:
        """Write what came of a study.

        Args:
            study: The study that was asked for; its id is the record's key.
            outcome: Its answer, with or without pictures.
            fingerprint: Of its files before they were read; as they are now when not given.
            seconds: Seconds by stage; those of a `Prediction` when not given.
            outputs: What was written beside it; see `Record`.

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
            fingerprint=fingerprint_of(study) if fingerprint is None else fingerprint,
            seconds=seconds,
            weights=info.digest,
            run=self._run,
            order=former.order if former else self._next_order,
            answered=datetime.now(UTC).isoformat(timespec="seconds"),
            picture=picture,
            outputs=outputs,
        )
        self._write_record(record, picture)
        for kind in set(former.outputs if former else ()) - set(record.outputs):
            # Of an answer that this one replaces.
            shutil.rmtree(self.folder / kind / record.file_stem, ignore_errors=True)
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
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth:
            if self._changed and error is None:
                self._write_summary_when_due()
            return
        try:
            self._flush_whole()
        except StorageError:
            # On the way out of another error, that one is what the caller must hear of.
            if error is None:
                raise
            logger.warning("the tables could not be brought up to date; the answers are kept")
        finally:
            self._writer.release()

    def _flush_whole(self) -> None:
        try:
            self.flush()
        except KeyboardInterrupt:
            # Nothing interrupts twice (see `covidctnet.stopping`).
            self.flush()
            raise

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
        self._write_pages(records)
        self._changed = False
        took_s = self._clock() - started_s
        self._next_summary_s = self._clock() + max(SUMMARY_EVERY_S, took_s / SUMMARY_SHARE)

    def _write_pages(self, records: tuple[Record, ...]) -> None:
        """The first page, and those of the others that show something new."""
        if not self._has_viewer and any(view_of(record) for record in records):
            (self.folder / VIEWER).mkdir(exist_ok=True)
            for name, content in viewer_files():
                write_whole(self.folder / VIEWER / name, content)
            self._has_viewer = True
        page = render_page(records, runs=self._runs, picture_of=self._read_picture)
        write_whole(self.folder / "index.html", page)
        pages, folder = pages_of(records), self.folder / "pages"
        if len(pages) > 1:
            folder.mkdir(exist_ok=True)
        shown: dict[int, tuple[object, ...]] = {}
        for number, here in enumerate(pages[1:], 2):
            # A link to the page behind is all that a page shows of others.
            shown[number] = (*here, number < len(pages), len(self._runs))
            if self._shown_pages.get(number) != shown[number]:
                page = render_page(
                    records, runs=self._runs, picture_of=self._read_picture, number=number
                )
                write_whole(folder / f"{number}.html", page)
        self._shown_pages = shown
        for file in folder.glob("*.html"):
            if not file.stem.isdigit() or int(file.stem) not in shown:
                with contextlib.suppress(OSError):
                    file.unlink()

    def _summary(self, records: tuple[Record, ...]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "notice": NOTICE,
            "complete": self._is_complete,
            "merged": self._is_merged,
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
    if (
        not names
        or names == {"parts"}
        or _read_json(folder / "results.json").get("format") == FORMAT
    ):
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


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
