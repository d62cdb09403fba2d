"""What a classifier learns from when its scans are few: thousands of examples drawn from them.

Every example is seen through networks that never learned from the scan it was drawn from
(cross-fitting): what a denoiser leaves of lungs that it knows is less than what it leaves of a
stranger's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.devices import Precision, pick_device
from covidctnet.errors import CohortError, StorageError, StudyError, UsageError
from covidctnet.files import make_folder, unwritable, write_whole
from covidctnet.stopping import ignore_stops
from covidctnet.systems.covidctnet.denoise import Residual, place, residual_volume
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.segment import complete_lungs
from covidctnet.systems.covidctnet.training.examples import Example, ExampleSettings, draw_example
from covidctnet.systems.covidctnet.weights import CovidWeights, load_weights
from covidctnet.trust.appearance import describe_appearance
from covidctnet.volume import Volume

__all__ = [
    "Bank",
    "BankedExample",
    "ExampleJob",
    "InputMaker",
    "fill_bank",
    "read_list",
    "write_list",
]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleJob:
    """One example to draw.

    Attributes:
        study: Short id of the scan it is drawn from, in the work folder's store.
        label: Class of the example.
        number: Of the examples of that class from that scan, from 0.
        weights: Folder of the denoiser and the lung network that look at it.
    """

    study: str
    label: Label
    number: int
    weights: Path

    @property
    def name(self) -> str:
        """Name of its file, without suffix."""
        return f"{self.study}-{self.label.key}-{self.number:04d}"


@dataclass(frozen=True)
class BankedExample:
    """An example on disk.

    Attributes:
        path: Of its file.
        study: Short id of the scan it was drawn from.
        label: Its class.
        lesion_ml: Volume of what was drawn.
        outside_ml: Of it, what lies outside the lungs that the networks look at.
        appearance: `covidctnet.trust.appearance.FEATURES` of the example.
    """

    path: Path
    study: str
    label: Label
    lesion_ml: float
    outside_ml: float
    appearance: tuple[float, ...] = ()

    def load(self) -> torch.Tensor:
        """What the classifier reads, float32 (channel, depth, row, column)."""
        with safe_open(str(self.path), framework="np") as file:
            return torch.from_numpy(file.get_tensor("input").astype(np.float32))


@dataclass(frozen=True)
class Bank:
    """A folder of examples.

    Attributes:
        folder: Holds a file an example; each appears whole.
        examples: How they are drawn.
        residual: What the classifier reads of them.
        seed: Of everything random.
        precision: Of the networks.
    """

    folder: Path
    examples: ExampleSettings = field(default_factory=ExampleSettings)
    residual: ResidualSettings = field(default_factory=ResidualSettings)
    seed: int = 0
    precision: Precision = "32"

    def path(self, job: ExampleJob) -> Path:
        """Where an example lies; other settings or networks are other examples."""
        settings = {
            "examples": asdict(self.examples),
            "residual": self.residual.deciding(),
            "depth": self.residual.depth,
            "seed": self.seed,
            "precision": self.precision,
            "weights": load_cached(job.weights).digest,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / digest / f"{job.name}.safetensors"

    def read(self, job: ExampleJob) -> BankedExample | None:
        """An example that is there; None for one that is missing or damaged."""
        path = self.path(job)
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata()
            return BankedExample(
                path,
                job.study,
                job.label,
                float(metadata["lesion_ml"]),
                float(metadata["outside_ml"]),
                tuple(map(float, metadata["appearance"].split())),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None


class InputMaker:
    """What a classifier reads of scans, made by one set of networks.

    Args:
        weights: With a denoiser; with a lung network where the card asks for one.
        residual: What the classifier reads.
        device: Where the networks run.
        precision: Of the networks.
    """

    def __init__(
        self,
        weights: CovidWeights,
        residual: ResidualSettings,
        *,
        device: torch.device,
        precision: Precision = "32",
    ) -> None:
        self.residual = residual
        self.denoiser = place(weights.denoiser(), device, precision)
        segmenter = weights.segmenter()
        self.segmenter = None if segmenter is None else place(segmenter, device, precision)

    def __call__(self, unit: Volume, lungs: np.ndarray) -> np.ndarray:
        """What the classifier reads.

        Args:
            unit: In ``unit``: the slices that the classifier's depth consists of.
            lungs: Mask of its shape, bool.

        Returns:
            float32 (channel, depth, row, column); see `ResidualSettings.compose`.
        """
        ct = unit.array * lungs if self.residual.within == "lungs" else unit.array
        return self.residual.compose(residual=self.residual_of(unit, lungs).volume.array, ct=ct)

    def residual_of(self, unit: Volume, lungs: np.ndarray) -> Residual:
        """The residual alone; arguments as for the whole input."""
        settings = replace(self.residual, depth=len(unit.array))
        return residual_volume(unit, self.denoiser, settings, lungs=lungs)


def fill_bank(
    bank: Bank,
    store: Store,
    jobs: Sequence[ExampleJob],
    *,
    workers: int = 1,
    device: str = "cpu",
) -> Iterator[int]:
    """Draw the examples that are missing.

    Args:
        bank: Where they go, and how they are drawn.
        store: The scans.
        jobs: The examples to draw.
        workers: Processes; each uses one core. One alone works in this process.
        device: Where the networks run; a GPU serves one worker best.

    Yields:
        How many of all are there, after each one.

    Raises:
        UsageError: If a scan has no lung mask.
        StorageError: If the disk is full or refuses; whole examples are kept.
    """
    missing = [job for job in jobs if bank.read(job) is None]
    done = len(jobs) - len(missing)
    yield done
    if workers <= 1:
        for job in missing:
            _draw(bank, store.folder, job, device)
            done += 1
            yield done
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=ignore_stops) as pool:
        futures = [pool.submit(_draw_alone, bank, store.folder, job, device) for job in missing]
        try:
            for future in as_completed(futures):
                future.result()
                done += 1
                yield done
        except BrokenProcessPool:
            raise StorageError(
                "a process that draws examples was ended by the system, which a lack of memory can "
                "cause. Whole examples are kept; run again with --workers 1."
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _draw_alone(bank: Bank, store: Path, job: ExampleJob, device: str) -> None:
    # Every worker has a core: threads of several would wait for one another.
    torch.set_num_threads(1)
    _draw(bank, store, job, device)


def _draw(bank: Bank, store: Path, job: ExampleJob, device: str) -> None:
    study = _stored(store, job.study)
    maker = _maker(job.weights, bank.residual, bank.precision, device)
    example = _drawable(bank, study, job, _lungs(bank, study, job, maker))
    lungs = example.mask
    network_input = maker(example.unit, lungs)
    voxel_ml = example.unit.voxel_ml
    is_lesion = example.lesions > 0
    looks = describe_appearance(example.unit, lungs)
    metadata = {
        "lesion_ml": f"{np.count_nonzero(is_lesion) * voxel_ml:.3f}",
        "outside_ml": f"{np.count_nonzero(is_lesion & ~lungs) * voxel_ml:.3f}",
        "appearance": " ".join(f"{value:.6g}" for value in looks),
    }
    path = bank.path(job)
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(
            save_arrays({"input": network_input.astype(np.float16)}, metadata=metadata)
        )
        part.replace(path)
    except OSError as error:
        raise unwritable("an example", error) from error
    finally:
        part.unlink(missing_ok=True)


def _lungs(bank: Bank, study: StoredStudy, job: ExampleJob, maker: InputMaker) -> np.ndarray | None:
    """The study's lungs as the networks of the job find them; found once, then mapped."""
    if maker.segmenter is None:
        return study.lungs
    folder = bank.folder / "lungs" / load_cached(job.weights).digest
    path = folder / f"{study.id}-{study.token}.npy"
    if not path.is_file():
        found = complete_lungs(study, maker.segmenter)
        make_folder(folder)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.save(file, found)
            part.replace(path)
        except OSError as error:
            raise unwritable("the lungs of an example", error) from error
        finally:
            part.unlink(missing_ok=True)
    mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _drawable(bank: Bank, study: StoredStudy, job: ExampleJob, lungs: np.ndarray | None) -> Example:
    """The example of a job; where no lesion can be placed, the next seed has its turn."""
    for attempt in range(3):
        seed = int(hashlib.sha256(f"{bank.seed} {job.name} {attempt}".encode()).hexdigest()[:8], 16)
        try:
            depth = bank.residual.depth
            return draw_example(
                study, job.label, seed, depth=depth, settings=bank.examples, lungs=lungs
            )
        except StudyError as error:
            _LOG.debug("example %s: %s", job.name, error)
    raise UsageError(
        f"no example could be drawn from study {job.study}: expected two lungs after turning and "
        "shifting it. Leave the study out, or vary scans less."
    )


def write_list(path: Path, bank: Bank, splits: Mapping[str, Sequence[BankedExample]]) -> None:
    """Say which examples a classifier learns from.

    Args:
        path: A JSON file; files in it are named relative to its folder.
        bank: How the examples were made.
        splits: The examples of ``train`` and of ``val``.

    Raises:
        StorageError: If it cannot be written.
    """
    rows = [
        {
            "file": os.path.relpath(example.path, path.parent),
            "study": example.study,
            "label": example.label.title,
            "split": split,
            "lesion_ml": example.lesion_ml,
            "outside_ml": example.outside_ml,
        }
        for split, examples in splits.items()
        for example in examples
    ]
    content = {"residual": bank.residual.deciding(), "depth": bank.residual.depth, "examples": rows}
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_list(path: Path, residual: ResidualSettings) -> dict[str, tuple[BankedExample, ...]]:
    """The examples that `write_list` named, by split.

    Args:
        path: The JSON file.
        residual: What the classifier reads; the examples must be made for it.

    Raises:
        UsageError: If there is no such file, it is damaged, or the examples were made for another
            classifier.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        made_for = ResidualSettings(**content["residual"], depth=content["depth"])
        out: dict[str, list[BankedExample]] = {"train": [], "val": []}
        for row in content["examples"]:
            example = BankedExample(
                Path(path).parent / row["file"],
                row["study"],
                CHEST_CT.parse(row["label"]),
                float(row["lesion_ml"]),
                float(row["outside_ml"]),
            )
            out[row["split"]].append(example)
    except (OSError, KeyError, TypeError, ValueError, CohortError) as error:
        raise UsageError(
            f"the list of examples {Path(path).name!r} cannot be read ({type(error).__name__}). "
            "Make it again with covidctnet cross-fit."
        ) from None
    if made_for != residual:
        raise UsageError(
            f"expected examples for a classifier of {residual}, got those for {made_for}. Make "
            "them again with covidctnet cross-fit."
        )
    return {split: tuple(examples) for split, examples in out.items()}


@cache
def load_cached(folder: Path) -> CovidWeights:
    """CovidWeights, read once a process."""
    return load_weights(folder)


@cache
def _maker(
    folder: Path, residual: ResidualSettings, precision: Precision, device: str
) -> InputMaker:
    where = pick_device(device)
    return InputMaker(load_cached(folder), residual, device=where, precision=precision)


@cache
def _studies(store: Path) -> Mapping[str, StoredStudy]:
    return {study.id: study for study in Store(store).index()}


def _stored(store: Path, study: str) -> StoredStudy:
    return _studies(store)[study]
