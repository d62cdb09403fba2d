"""A labelled archive becomes preprocessed studies with splits: the first stage of training."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from covidctnet.errors import CohortError, StudyError
from covidctnet.evaluation.splits import Member, Splits, SplitSettings, make_splits
from covidctnet.files import table_text, write_whole
from covidctnet.io import read_study
from covidctnet.io.cohort import CohortStudy, read_cohort
from covidctnet.io.store import Store, content_key
from covidctnet.lungs import lung_mask
from covidctnet.preprocess import PreprocessSettings, preprocess
from covidctnet.results import Failure

__all__ = ["Prepared", "prepare"]

_LOG = logging.getLogger(__name__)
Outcome = tuple[str, str] | Failure


@dataclass(frozen=True)
class Prepared:
    """What became of an archive.

    Attributes:
        made: Studies preprocessed now.
        kept: Studies that were there already with the same content and settings.
        failures: Studies that could not be used.
        splits: Who trains what.
    """

    made: int
    kept: int
    failures: tuple[Failure, ...]
    splits: Splits


def prepare(
    data: Path,
    work: Path,
    *,
    settings: PreprocessSettings,
    split: SplitSettings,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Preprocess every study of a cohort and divide the cohort by patient.

    A study that cannot be read is named in ``refused.csv`` and left out; the others go on.

    Args:
        data: The archive (see `covidctnet.io.cohort.read_cohort`).
        work: Receives ``preprocessed/``, ``splits.json`` and ``refused.csv``.
        settings: How to preprocess.
        split: How to divide.
        workers: Processes that read and preprocess.
        progress: Called with (done, total) after every study.

    Raises:
        UsageError: If the archive does not exist.
        CohortError: If the archive contradicts itself or has too few patients.
    """
    cohort = read_cohort(data)
    work.mkdir(parents=True, exist_ok=True)
    store = Store(work / "preprocessed")
    members: list[Member] = []
    failures: list[Failure] = []
    made = 0
    rows: list[tuple[str, str, str]] = []
    for done, (entry, outcome) in enumerate(_run(cohort, store, settings, workers), start=1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            rows.append((entry.path.relative_to(data).as_posix(), outcome.code, outcome.message))
            _LOG.warning("%s %s: %s", outcome.status, outcome.code, outcome.message)
        else:
            study, how = outcome
            made += how == "made"
            members.append(Member(study, pseudonym(entry.patient), entry.label, entry.split))
        if progress:
            progress(done, len(cohort))
    _write_refused(work / "refused.csv", rows)
    if failures and not members:
        raise CohortError(
            f"none of {len(cohort)} studies could be used (first: {failures[0].code}: "
            f"{failures[0].message}). See refused.csv in the work folder."
        )
    splits_file = work / "splits.json"
    previous = Splits.load(splits_file) if splits_file.exists() else None
    splits = make_splits(members, split, previous=previous)
    splits.save(splits_file)
    return Prepared(made, len(members) - made, tuple(failures), splits)


def pseudonym(patient: str) -> str:
    """A patient's name in the archive as 12 hexadecimal digits: folders may carry real names."""
    return hashlib.sha256(patient.encode()).hexdigest()[:12]


def _run(
    cohort: tuple[CohortStudy, ...], store: Store, settings: PreprocessSettings, workers: int
) -> Iterator[tuple[CohortStudy, Outcome]]:
    if workers <= 1:
        for entry in cohort:
            yield entry, _prepare_one(entry, store, settings)
        return
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        # A window of futures, not all of them: an archive may hold a hundred thousand studies.
        waiting: list[tuple[CohortStudy, Future[Outcome]]] = []
        try:
            for entry in cohort:
                waiting.append((entry, pool.submit(_prepare_one, entry, store, settings)))
                if len(waiting) > 2 * workers:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_one(entry: CohortStudy, store: Store, settings: PreprocessSettings) -> Outcome:
    study = entry.study
    try:
        key = content_key(study)
        if store.has(study.id, key, settings.digest):
            return study.id, "kept"
        volume = read_study(study)
        unit = preprocess(volume, settings)
        lungs = lung_mask(unit, window_hu=(settings.low_hu, settings.high_hu))
        if not lungs.any():
            raise StudyError(
                "NOT_CHEST", "wanted a chest with two lungs, found none. Give a chest CT."
            )
        store.put(
            unit,
            lungs=lungs,
            content_key=key,
            settings=asdict(settings),
            settings_digest=settings.digest,
            label=entry.label,
            site=entry.site,
            patient=pseudonym(entry.patient),
        )
    except StudyError as error:
        return Failure(study.id, error.code, str(error.of_study(study.id)))
    return study.id, "made"


def _write_refused(path: Path, rows: list[tuple[str, str, str]]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_whole(path, table_text([("source_path", "code", "message"), *rows]))
