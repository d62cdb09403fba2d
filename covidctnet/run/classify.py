"""Many studies, one answer each: streamed, isolated, continued where they stopped."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from covidctnet.contract import Predictor
from covidctnet.errors import StudyError
from covidctnet.evidence import Keep
from covidctnet.io import Study, find_studies, read_study
from covidctnet.io.child import ReadingChild
from covidctnet.results import ANSWERED, Failure, Prediction
from covidctnet.volume import Volume
from covidctnet.workers.isolate import ChildError, Limits, StartError
from covidctnet.workers.turns import in_order

if TYPE_CHECKING:
    from covidctnet.report import Results

__all__ = [
    "DEFAULT_LIMITS",
    "Counts",
    "answers",
    "classify_into",
    "classify_studies",
    "default_readers",
    "usable_cores",
]

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
Progress = Callable[[int, int], None]
Paths = Sequence[Path | str] | Path | str
Written = tuple[Study, Prediction | Failure]
# What `answers` gives.
Answers = Generator[tuple[Study, Prediction | Failure, dict[str, float]], None, None]
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Counts:
    """What became of the studies of a run.

    Attributes:
        by_status: Studies by status, those answered in an earlier run included.
        earlier: Of them, answered in an earlier run.
        passed_over: Files that belong to no study, by reason.
    """

    by_status: Mapping[str, int]
    earlier: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Studies with an answer."""
        return sum(self.by_status.get(status, 0) for status in ANSWERED)

    @property
    def exit_code(self) -> int:
        """0 all have an answer, 3 some have none, 4 none has one."""
        if not self.answered:
            return 4
        return 3 if self.answered < sum(self.by_status.values()) else 0

    def __str__(self) -> str:
        total = sum(self.by_status.values())
        parts = [f"{n} {status}" for status, n in self.by_status.items() if n]
        studies = "1 study" if total == 1 else f"{total} studies"
        text = f"{studies}: {', '.join(parts)}" if total else "no study found"
        if self.earlier:
            text += f" ({self.earlier} from an earlier run)"
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
    studies = find_studies(paths, every_series=every_series)
    outcomes = answers(studies, model, keep=keep, limits=limits, readers=readers)
    return (outcome for _, outcome, _ in outcomes)


def usable_cores() -> int:
    """Cores that this process may use, where the system tells; else those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    readers: int = 1,
) -> Counts:
    """Classify every study under some paths and write the answers as they come.

    Studies whose answer is there already, from the same files and the same weights, are not asked
    again.

    Args:
        results: Where the answers go.
        paths: See `classify_studies`.
        model: Who answers.
        every_series: See `classify_studies`.
        progress: Called with (done, total) after every study.
        limits: See `classify_studies`.
        readers: See `classify_studies`.

    Raises:
        UsageError: If a path does not exist.
        StorageError: If the results cannot be written.
    """
    studies = find_studies(paths, every_series=every_series)
    results.start(model.info)
    statuses: Counter[str] = Counter()
    todo: list[Study] = []
    for study in studies:
        record = results.answer(study)
        if record is None:
            todo.append(study)
        else:
            statuses[record.status] += 1
    earlier = len(studies) - len(todo)
    if progress:
        progress(earlier, len(studies))
    outcomes = answers(todo, model, keep="slices", limits=limits, readers=readers)
    with results, closing(_written(results, outcomes)) as written:
        for done, (study, outcome) in enumerate(written, 1):
            statuses[outcome.status] += 1
            if isinstance(outcome, Failure):
                _LOG.warning("study %s %s: %s", study.id, outcome.status, outcome.code)
            if progress:
                progress(earlier + done, len(studies))
    order = (*ANSWERED, "refused", "failed")
    return Counts({status: statuses[status] for status in order}, earlier, dict(studies.reasons))


def _written(results: Results, outcomes: Answers) -> Generator[Written]:
    """Every study whose answer is on the disk; the next is answered while it is written."""
    waiting: deque[tuple[Study, Prediction | Failure, Future[Any]]] = deque()

    def first() -> Written:
        writing = waiting[0][2]
        writing.exception()  # waits, and leaves it in the queue when that is interrupted
        study, outcome, _ = waiting.popleft()
        writing.result()
        return study, outcome

    try:
        # Leaving the writer waits for every answer that it was given, whatever ends the run.
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer, closing(outcomes):
            for study, outcome, seconds in outcomes:
                writing = writer.submit(results.add, study, outcome, seconds=seconds)
                waiting.append((study, outcome, writing))
                if len(waiting) > 1:
                    yield first()
            while waiting:
                yield first()
    finally:
        for study, _, writing in waiting:
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
    """Every study with its answer and its seconds by stage, in order; reading runs ahead.

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
    helpers: list[ReadingChild | _ReaderHere] = [
        ReadingChild(limits) if limits else _ReaderHere() for _ in range(readers)
    ]
    coming = in_order(
        studies, helpers, lambda reader, study: _prepared(study, reader, model), ahead=readers
    )
    with closing(coming):
        for study, (prepared, seconds) in coming:
            outcome: Prediction | Failure
            if isinstance(prepared, Failure):
                outcome = prepared
            else:
                outcome = _guarded(study.id, partial(model, prepared, keep=keep))
            # Voxels of this study go before those of the one after the next come.
            del prepared
            if isinstance(outcome, Prediction):
                seconds = {**seconds, **outcome.seconds}
            yield study, outcome, seconds


class _ReaderHere:
    """Reads in this process."""

    def __call__(self, study: Study) -> Volume:
        return read_study(study)

    def close(self) -> None:
        """Nothing to do."""


def _prepared(
    study: Study, read: Callable[[Study], Volume], model: Predictor
) -> tuple[Any, dict[str, float]]:
    """What the model made of a study before its turn, or a `Failure`; and how long reading took."""
    start = time.perf_counter()
    volume = _guarded(study.id, partial(read, study))
    seconds = {"read": time.perf_counter() - start}
    if isinstance(volume, Failure):
        return volume, seconds
    return _guarded(study.id, partial(model.prepare, volume)), seconds


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
