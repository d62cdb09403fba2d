"""Many studies, one answer each: streamed, isolated, continued where they stopped."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidctnet.cohort.key_table import add_to_key_table, key_row, read_key_table
from covidctnet.cohort.pseudonyms import FORMER, Pseudonyms, pseudonyms_of
from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import UsageError
from covidctnet.evidence import Keep
from covidctnet.io import Study, find_studies
from covidctnet.io.discover import Found
from covidctnet.io.fingerprint import changed_at
from covidctnet.logs import about
from covidctnet.radiograph.find import find_radiographs
from covidctnet.report.record import Record, file_stem_of
from covidctnet.results import ANSWERED, Failure, Prediction
from covidctnet.run.outputs import (
    NEED_SCANS,
    NOT_DICOM,
    OutputKind,
    Outputs,
    check_packages,
)
from covidctnet.run.parts import Part
from covidctnet.run.runner import (
    DEFAULT_LIMITS,
    Answered,
    Answers,
    LocalRunner,
    Runner,
    runner_of,
)
from covidctnet.surroundings import usable_cores
from covidctnet.workers.isolate import Limits

if TYPE_CHECKING:
    from covidctnet.report import Results
    from covidctnet.run.metrics import Metrics

__all__ = [
    "DEFAULT_LIMITS",
    "Counts",
    "classify_into",
    "classify_studies",
    "default_readers",
    "ids_of_results",
]

_LOG = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
Paths = Sequence[Path | str] | Path | str
Written = tuple[Study, Prediction | Failure, dict[str, float], Record]


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
        outputs: Answers by kind of file beside them, and by the code of why there is none; empty
            where there is one.
    """

    by_status: Mapping[str, int]
    earlier: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    unsettled: int = 0
    gone: int = 0
    elsewhere: int = 0
    outputs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

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
        is_short = any(
            code not in ("", NOT_DICOM) for codes in self.outputs.values() for code in codes
        )
        return 3 if self.answered < total or is_short else 0

    def __str__(self) -> str:
        total = sum(self.by_status.values())
        parts = [f"{n} {status}" for status, n in self.by_status.items() if n]
        studies = "1 study" if total == 1 else f"{total} studies"
        text = f"{studies}: {', '.join(parts)}" if total else "no study found"
        if self.earlier:
            text += f" ({self.earlier} from an earlier run)"
        for kind, codes in self.outputs.items():
            text += f"; {_TITLES[kind]} for {codes.get('', 0)}"
            without = ", ".join(f"{n} {_in_words(code)}" for code, n in codes.items() if code)
            text += f" (none for {without})" if without else ""
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


_TITLES = {
    "dicom": "DICOM results",
    "nifti": "NIfTI results",
    "scan": "scans in NIfTI",
    "view": "scans to look at",
}


def _in_words(code: str) -> str:
    return "whose source is no DICOM" if code == NOT_DICOM else code


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
    studies = _found(model.info, paths, every_series=every_series)
    runner = LocalRunner(model, limits=limits, readers=readers)
    return (answered.outcome for answered in runner.answers(studies, keep=keep))


def _found(
    info: PredictorInfo, paths: Paths, *, every_series: bool = False, series: str | None = None
) -> Found:
    """What the model reads, under some paths."""
    if info.modality == "ct":
        return find_studies(paths, every_series=every_series, series=series)
    if every_series or series is not None:
        raise UsageError(
            "expected no choice of series, as every radiograph has an answer of its own, got one. "
            "Leave it out."
        )
    return find_radiographs(paths)


def ids_of_results(output: Path, key: Path | None = None) -> Pseudonyms:
    """How the ids of a results folder are made: as before, in a folder of before keys.

    Args:
        output: The folder, of all parts where there are some.
        key: Folder of an earlier run whose ids are taken.

    Raises:
        UsageError: See `covidctnet.cohort.pseudonyms.pseudonyms_of`.
    """
    records = (*output.glob("studies/*.json"), *output.glob("parts/*/studies/*.json"))
    return pseudonyms_of(output, has_former=bool(records), key=key)


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
    model: Predictor | Runner,
    *,
    every_series: bool = False,
    series: str | None = None,
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    readers: int = 1,
    settle_s: float = 0.0,
    part: Part | None = None,
    metrics: Metrics | None = None,
    outputs: Collection[OutputKind] = (),
    each: Callable[[Record], None] | None = None,
    ids: Pseudonyms = FORMER,
    ids_folder: Path | None = None,
) -> Counts:
    """Classify every study under some paths and write the answers as they come.

    Studies whose answer is there already, from the same files and the same weights, are not asked
    again. Rows of studies that lay under these paths and are there no more are taken out.

    Args:
        results: Where the answers go.
        paths: See `classify_studies`.
        model: Who answers: a predictor on this machine, or a runner.
        every_series: See `classify_studies`.
        series: Key of the only series to answer, see `covidctnet.io.find_studies`.
        progress: Called with (done, total) after every study.
        limits: See `classify_studies`; of this machine alone.
        readers: See `classify_studies`; of this machine alone.
        settle_s: Leave out studies with a file that was written less than so many seconds ago.
        part: Only the studies of this part; all by default.
        metrics: Told of every study.
        outputs: Kinds of files that are written for every answer; see `covidctnet.run.outputs`.
        each: Called with the record of every study, those of earlier runs first.
        ids: How the ids of studies are made; by default they are those of `find_studies`.
        ids_folder: Where their key is kept; the folder of the results by default.

    Raises:
        UsageError: If a path or the series does not exist, or a package is missing.
        StorageError: If the results cannot be written.
    """
    check_packages(outputs)
    runner = runner_of(model, limits=limits, readers=readers)
    started = time.time()
    studies = _found(runner.info, paths, every_series=every_series, series=series)
    statuses: Counter[str] = Counter()
    output_counts: dict[str, Counter[str]] = {kind: Counter() for kind in outputs}
    todo: list[Study] = []
    unsettled = 0
    with results:
        results.start(runner.info)
        ids = ids.keep(ids_folder or results.folder)
        # Parts divide what is found, whatever the key.
        held = [study for study in studies if part is None or part.has(study.id)]
        ours = [ids.named(study) for study in held]
        if ids.secret:
            known = read_key_table(results.folder)
            new = [(a, b.id) for a, b in zip(held, ours, strict=True) if b.id not in known]
            add_to_key_table(results.folder, [key_row(study, name) for study, name in new])
        for study in ours:
            record = results.answer(study, outputs=outputs)
            if record is not None:
                statuses[record.status] += 1
                _count(output_counts, record.outputs)
                if each:
                    each(record)
            # A clock that is ahead of this one must not put a study off for ever.
            elif settle_s and abs(started - changed_at(study)) < settle_s:
                unsettled += 1
            else:
                todo.append(study)
        given_paths = [paths] if isinstance(paths, (str, Path)) else paths
        gone = 0
        if series is None:  # of one series alone, nothing says that others are gone
            there = [ids.study(study.id) for study in studies]
            gone = results.leave_out_gone(there, [Path(path) for path in given_paths])
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
        with ExitStack() as ending:
            writer = None
            if outputs:
                writer = ending.enter_context(Outputs(outputs, results.folder, runner.info, limits))
            outcomes = runner.answers(
                todo,
                keep="volumes" if outputs else "slices",
                with_scans=not NEED_SCANS.isdisjoint(outputs),
            )
            written = ending.enter_context(closing(_written(results, outcomes, writer)))
            for done, (study, outcome, seconds, record) in enumerate(written, 1):
                statuses[outcome.status] += 1
                _count(output_counts, record.outputs)
                if each:
                    each(record)
                _log_outcome(study, outcome, seconds)
                if metrics:
                    metrics.answered(outcome.status, seconds)
                if progress:
                    progress(earlier + done, total)
        if not unsettled:
            results.complete()
    by_status = {status: statuses[status] for status in (*ANSWERED, "refused", "failed")}
    elsewhere = len(studies) - len(ours)
    return Counts(
        by_status, earlier, dict(studies.reasons), unsettled, gone, elsewhere, output_counts
    )


def _count(
    output_counts: Mapping[str, Counter[str]], outputs: Mapping[str, Mapping[str, Any]]
) -> None:
    for kind, written in outputs.items():
        if kind in output_counts:
            output_counts[kind][written["code"]] += 1


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


def _written(results: Results, outcomes: Answers, outputs: Outputs | None) -> Generator[Written]:
    """Every study whose answer is on the disk; the next is answered while it is written."""
    waiting: deque[tuple[Study, Future[Written]]] = deque()

    def first() -> Written:
        writing = waiting[0][1]
        writing.exception()  # waits, and leaves it in the queue when that is interrupted
        waiting.popleft()
        return writing.result()

    try:
        # Leaving the writer waits for every answer that it was given, whatever ends the run.
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer, closing(outcomes):
            for answered in outcomes:
                waiting.append((answered.study, writer.submit(_write, results, answered, outputs)))
                # Voxels of this study go before the next ones come.
                del answered
                if len(waiting) > 1:
                    yield first()
            while waiting:
                yield first()
    finally:
        for study, writing in waiting:
            if writing.exception() is not None:
                _LOG.warning("the answer to study %s could not be written", study.id)


def _write(results: Results, answered: Answered, outputs: Outputs | None) -> Written:
    study, outcome, seconds, fingerprint, source, _, scan = answered
    written: dict[str, dict[str, Any]] = {}
    if outputs is not None:
        # First: a record says which files there are.
        outcome, written = outputs.write(study, outcome, source, file_stem_of(study.id), scan=scan)
    record = results.add(study, outcome, seconds=seconds, fingerprint=fingerprint, outputs=written)
    return study, outcome, seconds, record
