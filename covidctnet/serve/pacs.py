"""Answers for the studies of a PACS: new ones are looked for, fetched, answered, and stored.

A study is fetched once it has been quiet for a while, and answered once; again when it has grown,
or when other weights answer. What was done is kept in a `Ledger`, so that a restart or a kill loses
and repeats nothing. Files of patients lie in a private folder for as long as one study takes.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from covidctnet.errors import UsageError
from covidctnet.files import make_folder, unwritable
from covidctnet.serve.dicomweb import Instance, Pacs, PacsError, StudyEntry, TooLargeError
from covidctnet.serve.ledger import Ledger, Row
from covidctnet.writer import SoleWriter

__all__ = ["Answering", "Outcome", "PacsWorker", "Watching"]

_LOG = logging.getLogger(__name__)
# So often a study is tried whose reader fails, as when memory was short.
TRIES = 3
_FAILED, _REFUSED = "failed", "refused"
NO_SCAN = "nothing to read"


@dataclass(frozen=True)
class Watching:
    """When a PACS is asked, and how much it may send.

    Attributes:
        quiet_s: A study is fetched when its files have not changed for so long.
        poll_s: Between two looks at the list of studies.
        first_retry_s: Before a second attempt; twice as long before each one after it.
        last_retry_s: At most so long.
        most_bytes: Of a study; a larger one is refused.
        most_files: Likewise.
    """

    quiet_s: float = 60.0
    poll_s: float = 10.0
    first_retry_s: float = 10.0
    last_retry_s: float = 600.0
    most_bytes: int = 8 * 2**30
    most_files: int = 20_000

    def __post_init__(self) -> None:
        if self.quiet_s < 0 or self.poll_s <= 0:
            raise UsageError(
                f"expected --quiet of 0 s or more and --poll of more than 0 s, got {self.quiet_s:g}"
                f" and {self.poll_s:g}"
            )

    def retry_s(self, tries: int) -> float:
        """How long to wait after some attempts, one after the other, that failed."""
        return min(self.last_retry_s, self.first_retry_s * 2.0 ** min(tries - 1, 30))


@dataclass(frozen=True)
class Outcome:
    """What came of the files of a study.

    Attributes:
        status: Of the answer, see `covidctnet.results`.
        record: Short id of the study in the results folder.
    """

    status: str
    record: str


class Answering(Protocol):
    """Who answers a folder, and keeps the results."""

    @property
    def weights(self) -> str:
        """Digest of the weights."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of the series that are answered, as ``CT``."""

    def answer(self, folder: Path) -> list[Outcome]:
        """Answer every study of a folder."""

    def objects(self, record: str) -> Mapping[Instance, Path]:
        """The DICOM results of a study, as they were written."""


class PacsWorker:
    """Answers the studies of one PACS, one after the other.

    Args:
        pacs: Where they are.
        state: A folder of its own; one worker at a time has it.
        answering: Who answers.
        watching: When and how much.
        clock: Wall-clock time in seconds.

    Raises:
        UsageError: If another worker has the folder.
        StorageError: If it cannot be written.
    """

    def __init__(
        self,
        pacs: Pacs,
        state: Path,
        answering: Answering,
        watching: Watching = Watching(),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pacs, self._answering, self._watching = pacs, answering, watching
        self._clock = clock
        self._incoming = state / "incoming"
        make_folder(state)
        state.chmod(0o700)
        self._sole = SoleWriter(state)
        self._sole.take()
        try:
            # What a killed worker had fetched.
            shutil.rmtree(self._incoming, ignore_errors=True)
            self._ledger = Ledger(state / "studies.sqlite")
        except BaseException:
            self._sole.release()
            raise
        self._away = 0

    def close(self) -> None:
        """Give the folder back."""
        self._ledger.close()
        self._sole.release()

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Studies by outcome, those of earlier runs included."""
        return self._ledger.outcomes()

    def run(self, *, once: bool = False, stop: threading.Event | None = None) -> None:
        """Look for studies and answer them until somebody stops it.

        Args:
            once: Until nothing is left that can be done now.
            stop: Ends it before the next study.

        Raises:
            PacsError: With `once`, if the PACS cannot be asked.
            StorageError: If the disk is full.
        """
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                done = self.look(stop)
            except PacsError as error:
                if once:
                    raise
                self._away += 1
                wait_s = self._watching.retry_s(self._away)
                if self._away == 1:
                    _LOG.warning("%s; it is asked again, at first in %g s", error, wait_s)
                stop.wait(wait_s)
                continue
            if self._away:
                _LOG.warning("the PACS answers again")
                self._away = 0
            if once and not done:
                return
            if not done:
                stop.wait(self._watching.poll_s)

    def look(self, stop: threading.Event | None = None) -> int:
        """Go through the list of studies once and do what is to be done.

        Returns:
            Studies that something was done for.

        Raises:
            PacsError: If the PACS cannot be asked for the list.
        """
        done = 0
        for entry in list(self._pacs.studies(self._answering.modalities)):
            if stop is not None and stop.is_set():
                break
            row = self._seen(entry)
            if row.files <= 0 or row.is_done(self._answering.weights):
                continue
            now = self._clock()
            # A clock that was set back must not put a study off for ever.
            is_quiet = not 0 <= now - row.changed_s < self._watching.quiet_s
            if is_quiet and not 0 < row.next_s - now <= self._watching.last_retry_s:
                self._work(entry.uid, row)
                done += 1
        return done

    def _seen(self, entry: StudyEntry) -> Row:
        """What is known of a study, its number of files as it is now."""
        row = self._ledger[entry.uid]
        if entry.instances >= 0 and row.total == entry.instances and row.files >= 0:
            return row
        try:
            files = self._count(entry.uid)
        except PacsError as error:
            if not error.is_gone:
                raise
            files = 0
        if (row.total, row.files) != (entry.instances, files):
            # Results that are stored are files of the study too, and no reason to answer again.
            if files != row.files:
                row = replace(row, files=files, changed_s=self._clock(), tries=0, next_s=0.0)
            row = replace(row, total=entry.instances)
            self._ledger.write(row)
        return row

    def _count(self, uid: str) -> int:
        series = self._pacs.series(uid, self._answering.modalities)
        if min(series.values(), default=0) < 0:
            return len(self._pacs.instances(uid, series))
        return sum(series.values())

    def _work(self, uid: str, row: Row) -> None:
        """Answer a study if it has no answer yet, and store its results."""
        try:
            if not row.is_answered(self._answering.weights):
                row = self._answered(uid, row)
                self._ledger.write(row)
            if not row.is_stored:
                objects: dict[Instance, Path] = {}
                for record in row.record.split():
                    objects |= self._answering.objects(record)
                # Another worker with these weights makes the same objects, under the same UIDs.
                missing = {one: path for one, path in objects.items() if not self._pacs.has([one])}
                self._pacs.store(missing)
                row = replace(row, is_stored=True, tries=0, next_s=0.0)
                self._ledger.write(row)
                if objects:
                    held = len(objects) - len(missing)
                    there = f", {held} were there" if held else ""
                    _LOG.info(
                        "study %s: %d results stored in the PACS%s", row.id, len(missing), there
                    )
        except PacsError as error:
            self._later(row, str(error), is_gone=error.is_gone)

    def _later(self, row: Row, why: str, *, is_gone: bool = False) -> None:
        """Try a study again after a while; one that is gone, when it comes again."""
        if is_gone:
            _LOG.warning("study %s: the PACS no longer has all of it; left", row.id)
            # Counted again if it is still listed.
            row = replace(row, total=-1)
        else:
            _LOG.warning("study %s: %s; tried again later", row.id, why)
        tries = row.tries + 1
        next_s = self._clock() + self._watching.retry_s(tries)
        self._ledger.write(replace(row, tries=tries, next_s=next_s))

    def _answered(self, uid: str, row: Row) -> Row:
        """Fetch and answer a study.

        Raises:
            PacsError: If it cannot be fetched whole.
        """
        start = time.monotonic()
        try:
            with self._fetched(uid, row) as folder:
                outcomes = self._answering.answer(folder)
        except TooLargeError as error:
            _LOG.warning("study %s: %s; refused", row.id, error)
            outcomes = [Outcome(_REFUSED, "")]
        status = " ".join(sorted({outcome.status for outcome in outcomes})) or NO_SCAN
        if status == _FAILED and row.tries + 1 < TRIES:
            raise PacsError("its reader failed, as when memory is short")
        _LOG.info("study %s: %s in %.1f s", row.id, status, time.monotonic() - start)
        return replace(
            row,
            answered_files=row.files,
            weights=self._answering.weights,
            outcome=status,
            record=" ".join(outcome.record for outcome in outcomes),
            is_stored=all(outcome.status in (_FAILED, _REFUSED) for outcome in outcomes),
            tries=0,
            next_s=0.0,
        )

    @contextmanager
    def _fetched(self, uid: str, row: Row) -> Iterator[Path]:
        """The files of a study, in a folder that goes when they are answered."""
        folder = self._incoming / row.id
        try:
            self._fetch(uid, row.files, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, uid: str, files: int, folder: Path) -> None:
        instances = self._pacs.instances(uid, self._pacs.series(uid, self._answering.modalities))
        if len(instances) != files:
            raise PacsError("its files changed while it was fetched")
        most = self._watching.most_files
        if files > most:
            raise TooLargeError(f"expected a study of at most {most} files, got {files}")
        left = self._watching.most_bytes
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
            for number, instance in enumerate(instances):
                left -= self._pacs.fetch(instance, folder / f"{number:06d}.dcm", most_bytes=left)
        except OSError as error:
            raise unwritable("what the PACS sends", error) from None
