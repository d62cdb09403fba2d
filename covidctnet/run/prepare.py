"""A labelled archive becomes preprocessed studies with splits: the first stage of training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.archive import CohortStudy, read_cohort
from covidctnet.cohort.key_table import add_key_rows
from covidctnet.cohort.members import Member, Refused, find_leaks
from covidctnet.cohort.persons import (
    Found,
    Persons,
    find_persons,
    in_words,
    in_words_shared,
    owners_of,
)
from covidctnet.cohort.pseudonyms import Pseudonyms, pseudonyms_of
from covidctnet.cohort.refused import place_refused
from covidctnet.cohort.splits import Splits, SplitSettings, make_splits
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import make_folder, remove_leftovers, table_text, write_whole
from covidctnet.logs import about
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Failure
from covidctnet.run.preprocessing import Outcome, preprocess_here, preprocess_on_cluster
from covidctnet.run.runner import DEFAULT_LIMITS
from covidctnet.workers.isolate import Limits
from covidctnet.writer import SoleWriter

if TYPE_CHECKING:
    from covidctnet.run.cluster import Cluster

__all__ = ["Prepared", "prepare"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What became of an archive.

    Attributes:
        made: Studies preprocessed now.
        reused: Studies that were there already with the same content and settings.
        failures: Studies that could not be used.
        splits: Who trains what.
        warnings: What somebody must look at, a line each.
    """

    made: int
    reused: int
    failures: tuple[Failure, ...]
    splits: Splits
    warnings: tuple[str, ...] = ()


def prepare(
    data: Path | Sequence[Path],
    work: Path,
    *,
    settings: PreprocessSettings,
    split: SplitSettings,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    wait: bool = False,
    classes: Classes | None = None,
    cluster: Cluster | None = None,
    key: Path | None = None,
) -> Prepared:
    """Preprocess every study of a cohort and divide the cohort by patient.

    A study that cannot be read is named in ``refused.csv`` and left out; the others go on. Scans
    that are under two patients are named in ``leaks.csv``, and nothing is divided.

    Args:
        data: The archive, or several (see `covidctnet.cohort.archive.read_cohort`).
        work: Receives ``preprocessed/``, ``splits.json``, ``refused.csv``, ``leaks.csv``, and
            ``persons.csv`` with patients who may be several persons.
        settings: How to preprocess.
        split: How to divide. Where an earlier run tells how it did, newcomers are drawn like that.
        workers: Processes that read and preprocess.
        progress: Called with (done, total) after every study.
        limits: What a study may cost; None works in this process, without limits.
        wait: Wait for the end of another run that preprocesses into the work folder.
        classes: Of the archive's labels; by default those of the work folder, or `CHEST_CT`.
        cluster: Reads and preprocesses instead of this machine, which alone writes.
        key: Folder of an earlier run whose ids are taken, see
            `covidctnet.cohort.pseudonyms.pseudonyms_of`.

    Raises:
        UsageError: If the archive does not exist, the work folder is one of several folds or of
            other classes, has lost the key of its ids, or another run preprocesses into it.
        CohortError: If the archive contradicts itself, has too few patients, or has a scan under
            two patients, or a person.
    """
    classes = _classes_of(_previous(work), classes)
    found = read_cohort(*([data] if isinstance(data, Path) else data), classes=[classes])
    ids = _ids_of(work, key)
    split = _checked(ids.cohort(found), work, split, classes)
    make_folder(work)
    with SoleWriter(work, wait=wait):
        ids = _ids_of(work, key).keep(work)
        cohort = ids.cohort(found)
        # Another run may have divided it meanwhile.
        split = _checked(cohort, work, split, classes)
        store = Store(work / "preprocessed")
        for folder in (work, store.folder, store.coarse.folder):
            remove_leftovers(folder)
        owners = owners_of(cohort)
        add_key_rows(work, ids, found, cohort, owners)
        persons = find_persons(cohort, owners)
        warnings = _report_persons(persons, work)
        outcomes = (
            preprocess_on_cluster(cohort, store, settings, limits, classes, cluster)
            if cluster
            else preprocess_here(cohort, store, settings, max(1, workers), limits, classes)
        )
        done = _prepare(cohort, outcomes, work, split, progress, classes, persons)
    return replace(done, warnings=warnings)


def _ids_of(work: Path, key: Path | None) -> Pseudonyms:
    """How ids are made: as before, in a work folder of before keys."""
    has_former = (work / "splits.json").exists() or bool(Store(work / "preprocessed").index())
    return pseudonyms_of(work, has_former=has_former, key=key)


def _checked(
    cohort: Sequence[CohortStudy], work: Path, split: SplitSettings, classes: Classes
) -> SplitSettings:
    """How the cohort is drawn.

    What contradicts itself is told now, not when hours of preprocessing are over.
    """
    previous = _previous(work)
    split = _drawn_like(previous, split)
    make_splits([_member(entry) for entry in cohort], split, previous=previous, classes=classes)
    return split


def _previous(work: Path) -> Splits | None:
    splits_file = work / "splits.json"
    return Splits.load(splits_file) if splits_file.exists() else None


def _prepare(
    cohort: tuple[CohortStudy, ...],
    outcomes: Iterable[tuple[CohortStudy, Outcome]],
    work: Path,
    split: SplitSettings,
    progress: Callable[[int, int], None] | None,
    classes: Classes,
    persons: Persons,
) -> Prepared:
    members: list[Member] = []
    failures: list[Failure] = []
    refused: list[Refused] = []
    made = 0
    rows: list[tuple[str, str, str]] = []
    paths: dict[str, str] = {}
    for done, (entry, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            refused.append(
                Refused(
                    entry.study.id,
                    entry.patient,
                    entry.label,
                    outcome.code,
                    entry.split,
                    entry.site,
                )
            )
            rows.append((entry.path.as_posix(), outcome.code, outcome.message))
            extra = about(outcome.study, {"status": outcome.status, "code": outcome.code})
            _LOG.warning(
                "study %s %s: %s", outcome.study, outcome.status, outcome.code, extra=extra
            )
        else:
            reply, _ = outcome
            made += reply["how"] == "made"
            known = (reply["content"], tuple(reply["series"]), reply["host"])
            members.append(_member(entry, *known))
            paths[entry.study.id] = entry.path.as_posix()
        if progress:
            progress(done, len(cohort))
    _list_refused(work, rows, refused)
    leaks = [
        (number, leak.what, member.study, paths[member.study])
        for number, leak in enumerate(find_leaks(members), start=1)
        for member in leak.members
    ]
    _write_list(work / "leaks.csv", ("leak", "what", "study", "source_path"), leaks)
    if failures and not members:
        raise CohortError(
            f"none of {len(cohort)} studies could be used (first: {failures[0].code}: "
            f"{failures[0].message}). See refused.csv in the work folder."
        )
    previous = _previous(work)
    splits = make_splits(members, split, previous=previous, classes=classes)
    splits = replace(splits, told_apart=persons.told_apart)
    splits = place_refused(splits, refused, previous=previous)
    splits.save(work / "splits.json")
    _list_refused(work, rows, splits.refused)
    return Prepared(made, len(members) - made, tuple(failures), splits)


def _report_persons(persons: Persons, work: Path) -> tuple[str, ...]:
    """Warn of patients who may be several persons, and refuse persons who are several patients.

    Raises:
        CohortError: If somebody could be in two splits.
    """
    _list_persons(work / "persons.csv", (*persons.mixed, *persons.unsure))
    if persons.shared:
        _list_persons(work / "leaks.csv", persons.shared)
        raise CohortError(in_words_shared(persons.shared))
    warnings = in_words(persons)
    for line in warnings:
        _LOG.warning("%s", line)
    return warnings


def _list_refused(
    work: Path, rows: Sequence[tuple[str, str, str]], refused: Sequence[Refused]
) -> None:
    header = ("source_path", "code", "message", "label", "site", "split")
    _write_list(
        work / "refused.csv",
        header,
        [
            (*row, one.label.title, one.site or "", one.split or "")
            for row, one in zip(rows, refused, strict=True)
        ],
    )


def _list_persons(path: Path, found: Sequence[Found]) -> None:
    rows = [
        (number, one.what, entry.study.id, entry.path.as_posix())
        for number, one in enumerate(found, start=1)
        for entry in one.studies
    ]
    _write_list(path, ("leak", "what", "study", "source_path"), rows)


def _classes_of(previous: Splits | None, classes: Classes | None) -> Classes:
    """Those asked for, which are those of an earlier run if there was one."""
    if previous is None or classes in (None, previous.classes):
        return classes or (previous.classes if previous else CHEST_CT)
    assert classes is not None
    raise UsageError(
        f"expected an archive of {previous.classes.in_words}, as in the work folder, got "
        f"{classes.in_words}. Choose another work folder."
    )


def _drawn_like(previous: Splits | None, split: SplitSettings) -> SplitSettings:
    """The settings of the earlier run, where it tells them: a cohort is drawn in one way."""
    if previous is None:
        return split
    if previous.fold is not None:
        raise UsageError(
            f"the work folder is one of several folds ({previous.fold}); preprocess into the one "
            "that it was made from, and run covidctnet split again"
        )
    if previous.settings not in (None, split):
        _LOG.warning(
            "the work folder was divided with other shares before; new patients are drawn with "
            "those, nobody moves (covidctnet split --redraw draws all again)"
        )
    return previous.settings or split


def _member(
    entry: CohortStudy, content: str = "", series: tuple[str, ...] = (), host: str = ""
) -> Member:
    return Member(
        entry.study.id,
        entry.patient,
        entry.label,
        entry.split,
        entry.site,
        content,
        series,
        host=host,
        traits=entry.traits,
    )


def _write_list(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """A table, or nothing where there are no rows: none outlives its cause."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_whole(path, table_text([header, *rows]))
