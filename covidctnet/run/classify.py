"""Many studies, one answer each: streamed, isolated, continued where they stopped."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from covidctnet.contract import Predictor
from covidctnet.errors import StudyError, UsageError
from covidctnet.evidence import Keep
from covidctnet.io import Study, find_studies, read_study
from covidctnet.io.child import ReadingChild
from covidctnet.io.discover import Found
from covidctnet.io.fingerprint import changed_at, fingerprint_of
from covidctnet.logs import about
from covidctnet.radiograph.child import RadiographChild
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import Radiograph, read_radiograph
from covidctnet.results import ANSWERED, Failure, Prediction
from covidctnet.run.parts import Part
from covidctnet.surroundings import usable_cores
from covidctnet.volume import Volume
from covidctnet.workers.isolate import ChildError, Limits, StartError
from covidctnet.workers.turns import in_order

if TYPE_CHECKING:
    from covidctnet.report import Results
    from covidctnet.run.metrics import Metrics

__all__ = [
    "DEFAULT_LIMITS",
    "Answered",
    "Counts",
    "answers",
    "classify_into",
    "classify_studies",
    "default_readers",
]

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
Progress = Callable[[int, int], None]
Paths = Sequence[Path | str] | Path | str
Written = tuple[Study, Prediction | Failure, dict[str, float]]
DEFAULT_LIMITS = Limits()


class Answered(NamedTuple):
    """What came of a study.

    Attributes:
        study: As it was found.
        outcome: Its answer, or why it has none.
        seconds: Wall-clock seconds by stage.
        fingerprint: Of its files before they were read; they were the same afterwards, unless the
            outcome is a failure with the code ``CHANGED``.
    """

    study: Study
    outcome: Prediction | Failure
    seconds: dict[str, float]
    fingerprint: str


# What `answers` gives.
Answers = Generator[Answered, None, None]


@dataclass(frozen=True)
class Counts:
    """What became of the studies of a run.

    Attributes:
        by_status: Studies by status, those answered in an earlier run included.
        earlier: Of them, answered in an earlier run.
        passed_over: Files that belong to no study, by reason.
        unsettled: Studies that were not asked, as their files changed a moment ago.
        gone: Rows of earlier runs that were taken out, as their studies are gone or renamed.
        elsewhere: Studies that are in other parts.
    """

    by_status: Mapping[str, int]
    earlier: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    unsettled: int = 0
    gone: int = 0
    elsewhere: int = 0

    @property
    def answered(self) -> int:
        """Studies with an answer."""
        return sum(self.by_status.get(status, 0) for status in ANSWERED)

    @property
    def exit_code(self) -> int:
        """0 all have an answer, 3 some have none, 4 none has one."""
        total = sum(self.by_status.values()) + self.unsettled
        if not total and self.elsewhere:
            return 0
        if not self.answered:
            return 4
        return 3 if self.answered < total else 0

    def __str__(self) -> str:
        total = sum(self.by_status.values())
        parts = [f"{n} {status}" for status, n in self.by_status.items() if n]
        studies = "1 study" if total == 1 else f"{total} studies"
        text = f"{studies}: {', '.join(parts)}" if total else "no study found"
        if self.earlier:
            text += f" ({self.earlier} from an earlier run)"
        if self.elsewhere:
            text += f"; {self.elsewhere} in other parts"
        if self.unsettled:
            text += f"; {self.unsettled} left for the next run, as their files still change"
        if self.gone:
            text += f"; {self.gone} left out of the tables, as they are gone or renamed"
        if self.passed_over:
            reasons = ", ".join(f"{n} {why}" for why, n in sorted(self.passed_over.items()))
            text += f"; files passed over: {reasons}"
        return text


def classify_studies(
    paths: Paths,
    model: Predictor,
    *,
    every_series: bool = False,
    keep: Keep = "numbers",
    limits: Limits | None = DEFAULT_LIMITS,
    readers: int = 1,
) -> Iterator[Prediction | Failure]:
    """One answer for every study under some paths, as they come.

    The next studies are read, in processes of their own, and prepared while the networks work on
    the one before; one study more than there are readers is in memory at most. A study that cannot
    be used, or that breaks its reader, gives a `Failure` and the others go on.

    Args:
        paths: Files and folders, nested as they are.
        model: Who answers.
        every_series: An answer for every series of a DICOM study, not only for the best one.
        keep: Voxels in the evidence of each `Prediction`: none, those of a few slices for a
            picture (``slices``), or all (``volumes``).
        limits: What reading a study may cost; None reads in this process, without limits.
        readers: Studies that are read at once.

    Raises:
        UsageError: If a path does not exist.
    """
    studies = _found(model, paths, every_series=every_series)
    outcomes = answers(studies, model, keep=keep, limits=limits, readers=readers)
    return (answered.outcome for answered in outcomes)


def _found(
    model: Predictor, paths: Paths, *, every_series: bool = False, series: str | None = None
) -> Found:
    """What the model reads, under some paths."""
    if model.info.modality == "ct":
        return find_studies(paths, every_series=every_series, series=series)
    if every_series or series is not None:
        raise UsageError(
            "expected no choice of series, as every radiograph has an answer of its own, got one. "
            "Leave it out."
        )
    return find_radiographs(paths)


def default_readers(device: str) -> int:
    """Studies to read at once so that the networks need not wait.

    Args:
        device: Type of the device that the networks run on.
    """
    cores = usable_cores()
    # On a CPU the networks want the cores themselves, but reading and preparing take longer than
    # one study's turn where they are quick. Next to a GPU these take nearly a second of a core, and
    # what is left of the cores answers and writes.
    return min(2, cores) if device == "cpu" else min(16, max(1, cores - 2))


def classify_into(
    results: Results,
    paths: Paths,
    model: Predictor,
    *,
    every_series: bool = False,
    series: str | None = None,
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    readers: int = 1,
    settle_s: float = 0.0,
    part: Part | None = None,
    metrics: Metrics | None = None,
) -> Counts:
    """Classify every study under some paths and write the answers as they come.

    Studies whose answer is there already, from the same files and the same weights, are not asked
    again. Rows of studies that lay under these paths and are there no more are taken out.

    Args:
        results: Where the answers go.
        paths: See `classify_studies`.
        model: Who answers.
        every_series: See `classify_studies`.
        series: Key of the only series to answer, see `covidctnet.io.find_studies`.
        progress: Called with (done, total) after every study.
        limits: See `classify_studies`.
        readers: See `classify_studies`.
        settle_s: Leave out studies with a file that was written less than so many seconds ago.
        part: Only the studies of this part; all by default.
        metrics: Told of every study.

    Raises:
        UsageError: If a path or the series does not exist.
        StorageError: If the results cannot be written.
    """
    started = time.time()
    studies = _found(model, paths, every_series=every_series, series=series)
    statuses: Counter[str] = Counter()
    todo: list[Study] = []
    unsettled = 0
    with results:
        results.start(model.info)
        ours = [study for study in studies if part is None or part.has(study.id)]
        for study in ours:
            record = results.answer(study)
            if record is not None:
                statuses[record.status] += 1
            # A clock that is ahead of this one must not put a study off for ever.
            elif settle_s and abs(started - changed_at(study)) < settle_s:
                unsettled += 1
            else:
                todo.append(study)
        given_paths = [paths] if isinstance(paths, (str, Path)) else paths
        gone = 0
        if series is None:  # of one series alone, nothing says that others are gone
            ids = [study.id for study in studies]
            gone = results.leave_out_gone(ids, [Path(path) for path in given_paths])
        earlier = len(ours) - len(todo) - unsettled
        total = earlier + len(todo)
        if progress:
            progress(earlier, total)
        if metrics:
            metrics.found(total, statuses)
        _LOG.info(
            "%d studies to answer, %d have their answer",
            len(todo),
            earlier,
            extra={"is_routine": True},
        )
        outcomes = answers(todo, model, keep="slices", limits=limits, readers=readers)
        with closing(_written(results, outcomes)) as written:
            for done, (study, outcome, seconds) in enumerate(written, 1):
                statuses[outcome.status] += 1
                _log_outcome(study, outcome, seconds)
                if metrics:
                    metrics.answered(outcome.status, seconds)
                if progress:
                    progress(earlier + done, total)
        if not unsettled:
            results.complete()
    by_status = {status: statuses[status] for status in (*ANSWERED, "refused", "failed")}
    elsewhere = len(studies) - len(ours)
    return Counts(by_status, earlier, dict(studies.reasons), unsettled, gone, elsewhere)


def _log_outcome(study: Study, outcome: Prediction | Failure, seconds: Mapping[str, float]) -> None:
    """A line a study: of those without an answer for everybody, of the others for files."""
    took_s = round(sum(seconds.values()), 3)
    facts = {"status": outcome.status, "seconds": took_s}
    if isinstance(outcome, Failure):
        extra = about(study.id, facts | {"code": outcome.code})
        _LOG.warning("study %s %s: %s", study.id, outcome.status, outcome.code, extra=extra)
    else:
        extra = about(study.id, facts, is_routine=True)
        _LOG.info("study %s %s in %.1f s", study.id, outcome.status, took_s, extra=extra)


def _written(results: Results, outcomes: Answers) -> Generator[Written]:
    """Every study whose answer is on the disk; the next is answered while it is written."""
    waiting: deque[tuple[Written, Future[Any]]] = deque()

    def first() -> Written:
        writing = waiting[0][1]
        writing.exception()  # waits, and leaves it in the queue when that is interrupted
        written, _ = waiting.popleft()
        writing.result()
        return written

    try:
        # Leaving the writer waits for every answer that it was given, whatever ends the run.
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer, closing(outcomes):
            for study, outcome, seconds, fingerprint in outcomes:
                writing = writer.submit(
                    results.add, study, outcome, seconds=seconds, fingerprint=fingerprint
                )
                waiting.append(((study, outcome, seconds), writing))
                if len(waiting) > 1:
                    yield first()
            while waiting:
                yield first()
    finally:
        for (study, _, _), writing in waiting:
            if writing.exception() is not None:
                _LOG.warning("the answer to study %s could not be written", study.id)


def answers(
    studies: Iterable[Study],
    model: Predictor,
    *,
    keep: Keep = "numbers",
    limits: Limits | None = DEFAULT_LIMITS,
    readers: int = 1,
) -> Answers:
    """Every study with its answer, in order; reading runs ahead.

    A study whose files change while it is read has no answer, only a failure: what was read may be
    half of it.

    Args:
        studies: In the order of the output.
        model: Who answers.
        keep: See `classify_studies`.
        limits: See `classify_studies`.
        readers: See `classify_studies`.

    Raises:
        ValueError: If there is no reader.
    """
    if readers < 1:
        raise ValueError(f"expected one reader or more, got {readers}")
    helpers = [_reader(model, limits) for _ in range(readers)]
    coming = in_order(
        studies, helpers, lambda reader, study: _prepared(study, reader, model), ahead=readers
    )
    with closing(coming):
        for study, (prepared, seconds, fingerprint) in coming:
            outcome: Prediction | Failure
            if isinstance(prepared, Failure):
                outcome = prepared
            else:
                outcome = _guarded(study.id, partial(model, prepared, keep=keep))
            # Voxels of this study go before those of the one after the next come.
            del prepared
            if isinstance(outcome, Prediction):
                seconds = {**seconds, **outcome.seconds}
            yield Answered(study, outcome, seconds, fingerprint)


class _Reader(Protocol):
    """Reads one study after the other."""

    def __call__(self, study: Study) -> Volume | Radiograph:
        """What the study holds."""

    def close(self) -> None:
        """Nothing is read any more."""


def _reader(model: Predictor, limits: Limits | None) -> _Reader:
    """What reads for a model: in a process of its own where there are limits."""
    if model.info.modality == "ct":
        return ReadingChild(limits) if limits else _ReaderHere(read_study)
    return RadiographChild(limits) if limits else _ReaderHere(read_radiograph)


class _ReaderHere:
    """Reads in this process.

    Args:
        read: The reader.
    """

    def __init__(self, read: Callable[[Study], Volume | Radiograph]) -> None:
        self._read = read

    def __call__(self, study: Study) -> Volume | Radiograph:
        return self._read(study)

    def close(self) -> None:
        """Nothing to do."""


def _prepared(
    study: Study, read: Callable[[Study], Volume | Radiograph], model: Predictor
) -> tuple[Any, dict[str, float], str]:
    """What the model made of a study before its turn, or a `Failure`; seconds and fingerprint."""
    fingerprint = fingerprint_of(study)
    start = time.perf_counter()
    volume = _guarded(study.id, partial(read, study))
    seconds = {"read": time.perf_counter() - start}
    if fingerprint_of(study) != fingerprint:
        volume = Failure(
            study.id,
            "CHANGED",
            "its files changed while they were read, as when a copy has not ended. Run again when "
            "it has; --settle SECONDS leaves out what changed a moment ago.",
            status="failed",
        )
    if isinstance(volume, Failure):
        return volume, seconds, fingerprint
    return _guarded(study.id, partial(model.prepare, volume)), seconds, fingerprint


def _guarded(study: str, work: Callable[[], T]) -> T | Failure:
    """What `work` gives, or why it gives nothing: one bad study never stops the rest."""
    try:
        return work()
    except StartError:
        # Every other study would fail for the same cause, and none is at fault.
        raise
    except StudyError as error:
        return Failure(study, error.code, error.message)
    except ChildError as error:
        return Failure(study, error.code, error.message, status="failed")
    except MemoryError:
        return _too_large(study)
    except Exception as error:  # a bug of ours must cost one study, not the night's run
        _LOG.debug("study %s", study, exc_info=True)
        # torch.OutOfMemoryError and its kin are RuntimeErrors; torch is not imported here.
        if "out of memory" in str(error).lower():
            return _too_large(study)
        return Failure(
            study,
            "INTERNAL",
            f"the program failed with {type(error).__name__}. Run again with --verbose and report "
            "what it says.",
            status="failed",
        )


def _too_large(study: str) -> Failure:
    return Failure(
        study,
        "OUT_OF_MEMORY",
        "the study does not fit into memory. Close other programs, or use another --device.",
        status="failed",
    )
