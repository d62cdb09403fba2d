"""A labelled archive becomes preprocessed studies with splits: the first stage of training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from covidctnet.chest.gate import check_chest, prepare_chest
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
from covidctnet.cohort.store import Store, content_key
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.files import make_folder, remove_leftovers, table_text, unwritable, write_whole
from covidctnet.io import Study, read_study
from covidctnet.io.child import bytes_of, packed, unpacked
from covidctnet.io.dicom import DamagedFileError, NotDicomError, identify
from covidctnet.io.discover import study_id
from covidctnet.logs import about
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Failure
from covidctnet.run.runner import DEFAULT_LIMITS, lost
from covidctnet.volume import Source
from covidctnet.workers.isolate import Child, ChildError, Limits, Reply
from covidctnet.workers.turns import in_order
from covidctnet.writer import SoleWriter

if TYPE_CHECKING:
    from covidctnet.run.cluster import Cluster

__all__ = ["Prepared", "prepare"]

_LOG = logging.getLogger(__name__)
Outcome = Reply | Failure
Files = Mapping[str, Mapping[str, bytes]]


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
        warnings = _told(persons, work)
        outcomes = (
            _on_cluster(cohort, store, settings, limits, classes, cluster)
            if cluster
            else _run(cohort, store, settings, max(1, workers), limits, classes)
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


def _told(persons: Persons, work: Path) -> tuple[str, ...]:
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


def _run(
    cohort: tuple[CohortStudy, ...],
    store: Store,
    settings: PreprocessSettings,
    workers: int,
    limits: Limits | None,
    classes: Classes,
) -> Iterator[tuple[CohortStudy, Outcome]]:
    def request(entry: CohortStudy) -> dict[str, Any]:
        return _request(entry, store.folder, settings, classes)

    if limits is None:
        for entry in cohort:
            yield entry, _outcome(entry.study.id, partial(work, **request(entry)))
        return

    def elsewhere(child: Child, entry: CohortStudy) -> Outcome:
        size = bytes_of(entry.study)
        return _outcome(entry.study.id, partial(child.ask, request(entry), files_bytes=size))

    children = [Child(f"{__name__}:work", limits=limits) for _ in range(workers)]
    with closing(in_order(cohort, children, elsewhere, ahead=2 * workers)) as done:
        yield from done


def _request(
    entry: CohortStudy, store: Path, settings: PreprocessSettings, classes: Classes
) -> dict[str, Any]:
    """What `work` is asked."""
    return {
        "study": packed(entry.study),
        "store": str(store),
        "settings": asdict(settings),
        "label": entry.label.key,
        "classes": classes.to_dict(),
        "site": entry.site,
        "patient": entry.patient,
    }


def _on_cluster(
    cohort: tuple[CohortStudy, ...],
    store: Store,
    settings: PreprocessSettings,
    limits: Limits | None,
    classes: Classes,
    cluster: Cluster,
) -> Iterator[tuple[CohortStudy, Outcome]]:
    """The same on other machines: files come back, and are written here."""

    def items() -> Iterator[_Item]:
        for entry in cohort:
            keys = {s.content_of(entry.study.id, settings.digest) for s in _stores(store, settings)}
            known = keys.pop() if len(keys) == 1 else None
            # The folder is made where the work is done.
            request = _request(entry, Path(), settings, classes) | {"known": known or ""}
            yield _Item(entry.study.id, request, bytes_of(entry.study))

    with closing(cluster.map(_Elsewhere(limits), items())) as done:
        for entry, (_, (outcome, files)) in zip(cohort, done, strict=True):
            if not isinstance(outcome, Failure) and outcome[0]["how"] == "kept":
                outcome[0].update(_known(store.get(entry.study.id).source))
            try:
                # Coarse before the other: a study that is there has both.
                for name in sorted(files, reverse=True):
                    (store if name == "." else store.coarse).adopt(entry.study.id, files[name])
            except OSError as error:
                raise unwritable("a preprocessed study", error) from error
            yield entry, outcome


class _Item(NamedTuple):
    """A study that is sent away."""

    id: str
    request: dict[str, Any]
    files_bytes: int


@dataclass(frozen=True)
class _Elsewhere:
    """Preprocesses into a folder that is gone afterwards; see `covidctnet.run.runner.Work`."""

    limits: Limits | None

    def helper(self) -> Child | None:
        """A child process; None without limits."""
        return Child(f"{__name__}:work", limits=self.limits) if self.limits else None

    def __call__(self, child: Child | None, item: _Item) -> tuple[Outcome, Files]:
        """The outcome, and the files of each folder by name."""
        with TemporaryDirectory() as folder:
            request = item.request | {"store": folder}
            outcome = _outcome(
                item.id,
                partial(child.ask, request, files_bytes=item.files_bytes)
                if child
                else partial(work, **request),
            )
            store = Store(Path(folder))
            files = {
                name: {
                    path.name: path.read_bytes()
                    for path in part.folder.glob(f"{item.id}.*")
                    if path.is_file()
                }
                for name, part in ((".", store), ("coarse", store.coarse))
            }
            return outcome, {name: held for name, held in files.items() if held}

    def give_up(self, item: _Item) -> tuple[Outcome, Files]:
        """A study that loses every worker."""
        return lost(item.id), {}


def _outcome(study: str, prepare_it: Callable[[], Reply]) -> Outcome:
    try:
        return prepare_it()
    except StudyError as error:
        return Failure(study, error.code, error.message)
    except ChildError as error:
        return Failure(study, error.code, error.message, status="failed")


def work(
    study: dict[str, Any],
    store: str,
    settings: dict[str, Any],
    label: str,
    classes: dict[str, Any],
    site: str | None,
    patient: str,
    known: str | None = None,
) -> Reply:
    """Preprocess one study into the store; what a child process does.

    With `known`, the key of the content that another store has it of, that store counts.

    Returns:
        ``how``: ``made``, or ``kept`` when the store had it; ``content``, the digest of its voxels;
        ``series``, opaque keys of the series it holds; ``host``, see `Member`.

    Raises:
        StudyError: If it cannot be used.
        StorageError: If the store cannot be written.
    """
    labels = Classes.from_dict(classes)
    asked, store_of, how = unpacked(study), Store(Path(store)), PreprocessSettings(**settings)
    key = content_key(asked)
    series = _series_of(asked)
    if known == key:
        return {"how": "kept", "series": series}, None
    stores = _stores(store_of, how)
    if known is None and all(part.has(asked.id, key, how.digest) for part in stores):
        return {"how": "kept", "series": series, **_known(store_of.get(asked.id).source)}, None
    volume = read_study(asked)
    scan = prepare_chest(volume, how)
    # What would get no answer teaches nothing either.
    check_chest(scan.chest, study=asked.id)
    parts = [(store_of, scan.unit, scan.lungs)]
    if scan.coarse is not None:
        # Before the other: a study that is there has both.
        parts.insert(0, (store_of.coarse, scan.coarse.unit, scan.coarse.lungs))
    try:
        for part, unit, lungs in parts:
            part.put(
                unit,
                lungs=lungs,
                content_key=key,
                settings=settings,
                settings_digest=how.digest,
                label=labels[label],
                classes=labels,
                site=site,
                patient=patient,
            )
    except OSError as error:
        raise unwritable("a preprocessed study", error) from error
    return {"how": "made", "series": series, **_known(volume.source)}, None


def _stores(store: Store, settings: PreprocessSettings) -> list[Store]:
    return [store, store.coarse] if settings.field == "lungs" else [store]


def _known(source: Source) -> dict[str, str]:
    return {"content": source.digest, "host": source.host}


def _series_of(study: Study) -> list[str]:
    """Opaque keys of the DICOM series among a study's files."""
    if study.format != "dicom":
        return []
    uids: set[str] = set()
    for path in study.files:
        # What is damaged is told by who reads the study.
        with suppress(NotDicomError, DamagedFileError, OSError):
            uids.add(identify(path).series_uid)
    return sorted(study_id(uid) for uid in uids if uid)


def _write_list(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """A table, or nothing where there are no rows: none outlives its cause."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_whole(path, table_text([header, *rows]))
