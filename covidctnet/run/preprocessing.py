"""Studies are preprocessed into a store: in child processes here, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from covidctnet.chest.gate import check_chest, prepare_chest
from covidctnet.classes import Classes
from covidctnet.cohort.archive import CohortStudy
from covidctnet.cohort.store import Store, content_key
from covidctnet.errors import StudyError
from covidctnet.files import unwritable
from covidctnet.io import Study, read_study
from covidctnet.io.child import bytes_of, packed, unpacked
from covidctnet.io.dicom import DamagedFileError, NotDicomError, identify
from covidctnet.io.discover import study_id
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Failure
from covidctnet.run.runner import lost
from covidctnet.volume import Source
from covidctnet.workers.isolate import Child, ChildError, Limits, Reply
from covidctnet.workers.turns import in_order

if TYPE_CHECKING:
    from covidctnet.run.cluster import Cluster

__all__ = ["Outcome", "preprocess_here", "preprocess_on_cluster", "work"]

Outcome = Reply | Failure
Files = Mapping[str, Mapping[str, bytes]]


def preprocess_here(
    cohort: tuple[CohortStudy, ...],
    store: Store,
    settings: PreprocessSettings,
    workers: int,
    limits: Limits | None,
    classes: Classes,
) -> Iterator[tuple[CohortStudy, Outcome]]:
    """Each study with what became of it, in the order of the cohort.

    Args:
        cohort: Of an archive.
        store: Receives the studies.
        settings: How to preprocess.
        workers: Child processes.
        limits: What a study may cost; None works in this process, without limits.
        classes: Of the labels.
    """

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


def preprocess_on_cluster(
    cohort: tuple[CohortStudy, ...],
    store: Store,
    settings: PreprocessSettings,
    limits: Limits | None,
    classes: Classes,
    cluster: Cluster,
) -> Iterator[tuple[CohortStudy, Outcome]]:
    """The same on other machines: files come back, and are written here.

    Args:
        cohort: See `preprocess_here`.
        store: The same.
        settings: The same.
        limits: The same.
        classes: The same.
        cluster: That works.
    """

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
