"""Where studies are read and answered: one interface, and this machine behind it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import CohortError, StudyError
from covidctnet.evidence import Keep, Mask, SliceEvidence
from covidctnet.io import Study, read_study
from covidctnet.io.child import ReadingChild
from covidctnet.io.fingerprint import fingerprint_of
from covidctnet.radiograph.child import RadiographChild
from covidctnet.radiograph.read import Radiograph, read_radiograph
from covidctnet.results import Failure, Prediction
from covidctnet.volume import Source, Volume
from covidctnet.workers.isolate import ChildError, Limits, StartError
from covidctnet.workers.turns import in_order

if TYPE_CHECKING:
    from covidctnet.cohort.store import StoredStudy
    from covidctnet.evaluation.localise import Localisation
    from covidctnet.io.lesions import MaskFile

__all__ = [
    "DEFAULT_LIMITS",
    "Answered",
    "Answers",
    "Asked",
    "LocalRunner",
    "Reader",
    "Reading",
    "Runner",
    "Work",
    "answer",
    "lost",
    "prepare",
    "read",
    "reader_of",
    "runner_of",
]

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
DEFAULT_LIMITS = Limits()
NO_LESIONS: Mapping[str, MaskFile] = MappingProxyType({})


class Answered(NamedTuple):
    """What came of a study.

    Attributes:
        study: As it was found.
        outcome: Its answer, or why it has none.
        seconds: Wall-clock seconds by stage.
        fingerprint: Of its files before they were read; they were the same afterwards, unless the
            outcome is a failure with the code ``CHANGED``. Empty for a study of a work folder.
        source: Of what was read; None where nothing was.
        localisation: How well the lesions were found, where a mask of them was given, or why the
            mask could not be used.
        scan: What was read, where it was asked for and is a volume.
    """

    study: Any
    outcome: Prediction | Failure
    seconds: dict[str, float]
    fingerprint: str
    source: Source | None = None
    localisation: Localisation | CohortError | None = None
    scan: Volume | None = None


class Work(Hashable, Protocol):
    """Work on items, one after the other, that can be sent to another process."""

    def helper(self) -> Any:
        """What is kept from item to item, such as a child process."""

    def __call__(self, helper: Any, item: Any, /) -> Any:
        """The result of an item."""

    def give_up(self, item: Any, /) -> Any:
        """The result of an item that loses every process that works on it."""


class Asked(Protocol):
    """A study as it was found, or one of a work folder."""

    @property
    def id(self) -> str:
        """Short id."""


# What `Runner.answers` gives.
Answers = Generator[Answered, None, None]


@runtime_checkable
class Runner(Protocol):
    """Who answers many studies, here or on other machines."""

    @property
    def info(self) -> PredictorInfo:
        """Of the predictor that answers."""

    def answers(
        self,
        studies: Iterable[Asked],
        *,
        keep: Keep = "numbers",
        lesions: Mapping[str, MaskFile] = NO_LESIONS,
        with_scans: bool = False,
    ) -> Answers:
        """Every study with its answer, once and in order; reading runs ahead.

        A study whose files change while it is read has no answer, only a failure: what was read
        may be half of it.

        Args:
            studies: In the order of the output; of folders, or of a work folder.
            keep: Voxels in the evidence of each `Prediction`: none, those of a few slices for a
                picture (``slices``), or all (``volumes``).
            lesions: Files with masks of lesions, by study: what the predictor found is compared
                with them, and no voxels are kept.
            with_scans: Give the voxels that were read with the answer.
        """


class LocalRunner:
    """Reads in child processes and answers in this one.

    Args:
        model: Who answers.
        limits: What reading a study may cost; None reads in this process, without limits.
        readers: Studies that are read at once; one more is in memory at most.

    Raises:
        ValueError: If there is no reader.
    """

    def __init__(
        self, model: Predictor, *, limits: Limits | None = DEFAULT_LIMITS, readers: int = 1
    ) -> None:
        if readers < 1:
            raise ValueError(f"expected one reader or more, got {readers}")
        self._model = model
        self._limits = limits
        self._readers = readers

    @property
    def info(self) -> PredictorInfo:
        """Of the predictor that answers."""
        return self._model.info

    def answers(
        self,
        studies: Iterable[Asked],
        *,
        keep: Keep = "numbers",
        lesions: Mapping[str, MaskFile] = NO_LESIONS,
        with_scans: bool = False,
    ) -> Answers:
        """See `Runner.answers`."""
        model = self._model
        coming = in_order(
            studies,
            [reader_of(self._limits, model.info.modality) for _ in range(self._readers)],
            lambda reader, study: prepare(study, read(study, reader), model, with_scan=with_scans),
            ahead=self._readers,
        )
        with closing(coming):
            for study, prepared in coming:
                answered = answer(study, prepared, model, keep=keep, lesions=lesions.get(study.id))
                # Voxels of this study go before those of the one after the next come.
                del prepared
                yield answered


def runner_of(
    model: Predictor | Runner, *, limits: Limits | None = DEFAULT_LIMITS, readers: int = 1
) -> Runner:
    """The runner that was given, or this machine for a predictor.

    Args:
        model: One of both.
        limits: See `LocalRunner`.
        readers: See `LocalRunner`.
    """
    if isinstance(model, Runner):
        return model
    return LocalRunner(model, limits=limits, readers=readers)


class Reader(Protocol):
    """Reads one study after the other."""

    def __call__(self, study: Study) -> Volume | Radiograph:
        """What the study holds."""

    def close(self) -> None:
        """Nothing is read any more."""


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


def reader_of(limits: Limits | None, modality: str = "ct") -> Reader:
    """What reads studies one after the other: a child process, or this one without limits.

    Args:
        limits: What reading a study may cost.
        modality: Of the predictor that answers, see `covidctnet.contract.PredictorInfo`.
    """
    if modality == "ct":
        return ReadingChild(limits) if limits else _ReaderHere(read_study)
    return RadiographChild(limits) if limits else _ReaderHere(read_radiograph)


class Reading(NamedTuple):
    """What came of reading a study.

    Attributes:
        scan: What was read, or why nothing was.
        seconds: Wall-clock seconds by stage.
        fingerprint: See `Answered`.
    """

    scan: Volume | Radiograph | StoredStudy | Failure
    seconds: dict[str, float]
    fingerprint: str


class Prepared(NamedTuple):
    """What a predictor made of a study before its turn.

    Attributes:
        scan: From `Predictor.prepare`, or why there is nothing.
        seconds: Wall-clock seconds by stage.
        fingerprint: See `Answered`.
        source: See `Answered`.
        read: Voxels that were read, where they were asked for.
    """

    scan: Any
    seconds: dict[str, float]
    fingerprint: str
    source: Source | None
    read: Volume | None = None


def read(study: Any, reader: Callable[[Study], Volume | Radiograph]) -> Reading:
    """Read a study, and look whether its files stayed the same; one of a work folder is mapped.

    Args:
        study: Of either kind.
        reader: From `reader_of`.
    """
    if not isinstance(study, Study):
        return Reading(study, {}, "")
    fingerprint = fingerprint_of(study)
    start = time.perf_counter()
    scan = _guarded(study.id, partial(reader, study))
    seconds = {"read": time.perf_counter() - start}
    if fingerprint_of(study) != fingerprint:
        scan = Failure(
            study.id,
            "CHANGED",
            "its files changed while they were read, as when a copy has not ended. Run again when "
            "it has; --settle SECONDS leaves out what changed a moment ago.",
            status="failed",
        )
    return Reading(scan, seconds, fingerprint)


def prepare(
    study: Asked, reading: Reading, model: Predictor, *, with_scan: bool = False
) -> Prepared:
    """Do what a predictor can do before a study's turn.

    Args:
        study: What was read.
        reading: What came of it.
        model: Who answers.
        with_scan: Keep what was read.
    """
    scan, seconds, fingerprint = reading
    if isinstance(scan, Failure):
        return Prepared(scan, seconds, fingerprint, None)
    prepared = _guarded(study.id, partial(model.prepare, scan))
    kept = scan if with_scan and isinstance(scan, Volume) else None
    return Prepared(prepared, seconds, fingerprint, scan.source, kept)


def answer(
    study: Asked,
    prepared: Prepared,
    model: Predictor,
    *,
    keep: Keep,
    lesions: MaskFile | None = None,
) -> Answered:
    """Answer a prepared study.

    Args:
        study: What was prepared.
        prepared: What came of it.
        model: Who answers.
        keep: See `Runner.answers`.
        lesions: File with the mask of its lesions.
    """
    scan, seconds, fingerprint, source, voxels = prepared
    localisation = None
    outcome: Prediction | Failure
    if isinstance(scan, Failure):
        outcome = scan
    else:
        whole: Keep = keep if lesions is None else "volumes"
        outcome = _guarded(study.id, partial(model, scan, keep=whole))
    if isinstance(outcome, Prediction):
        seconds = {**seconds, **outcome.seconds}
        if lesions is not None:
            localisation = _localised(outcome, lesions)
            # Voxels of many patients would fill the memory.
            numbers = tuple(e for e in outcome.evidence if not isinstance(e, SliceEvidence))
            outcome = replace(outcome, evidence=numbers)
    return Answered(study, outcome, seconds, fingerprint, source, localisation, voxels)


def _localised(outcome: Prediction, lesions: MaskFile) -> Localisation | CohortError | None:
    from covidctnet.evaluation.localise import localise
    from covidctnet.io.lesions import lesion_truth

    mask = outcome.find(Mask)
    if mask is None:
        return None
    try:
        return localise(mask, lesion_truth(lesions, mask))
    except CohortError as error:
        # The answer stands without it.
        return error


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


def lost(study: str) -> Failure:
    """A study that several machines were lost over."""
    return Failure(
        study,
        "WORKER_LOST",
        "every worker that took it was lost, as when it needs more memory than a node has. Run it "
        "alone, without --runner.",
        status="failed",
    )


def _too_large(study: str) -> Failure:
    return Failure(
        study,
        "OUT_OF_MEMORY",
        "the study does not fit into memory. Close other programs, or use another --device.",
        status="failed",
    )
