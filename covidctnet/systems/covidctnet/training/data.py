"""Preprocessed studies as the networks eat them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.devices import Precision, pick_device
from covidctnet.errors import CohortError, UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.progress import track
from covidctnet.systems.covidctnet.denoise import ct_volume, place, residual_volume
from covidctnet.systems.covidctnet.residual import (
    ClassifierInput,
    DepthResize,
    ResidualSettings,
    Within,
)
from covidctnet.systems.covidctnet.segment import complete_lungs
from covidctnet.systems.covidctnet.training.bank import BankedExample, read_list
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.training.order import EachOnce, processes_of_run
from covidctnet.training.work import WorkFolder, is_synthetic, one_preprocessing
from covidctnet.weights.card import taught_by

__all__ = ["ResidualData", "SliceData"]

_LOG = logging.getLogger(__name__)
Pair = tuple[torch.Tensor, torch.Tensor]


class SliceData(pl.LightningDataModule):
    """Slices of the Control patients set aside for the denoiser, with their lungs.

    A batch is (slices, lungs), both float32 (batch, 1, row, column), slices in [0, 1].

    Args:
        work: Folder that `covidctnet preprocess` filled.
        batch_size: Slices a step and process.
        workers: Loader processes, at most one a core; the memory-mapped slices need few.
        validation_slices: Slices a validation patient gives, evenly spaced.
        lungs_only: Leave out slices without lungs.
        real_share: Share of the slices that come from real patients when the cohort mixes them
            with phantoms; None, or a cohort of one kind, gives every slice the same chance.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        work: Path,
        batch_size: int = 8,
        workers: int = 0,
        validation_slices: int = 24,
        lungs_only: bool = False,
        real_share: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_loading(batch_size, workers)
        if real_share is not None and not 0 < real_share < 1:
            raise UsageError(f"real_share must lie between 0 and 1, got {real_share}")
        self.lungs_only = lungs_only
        self.real_share = real_share
        self.work = WorkFolder(work)
        self.batch_size = batch_size
        self.workers = workers
        self.validation_slices = validation_slices
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Open the memory maps."""
        train = self.work.studies("denoiser_train")
        val = self.work.studies("denoiser_val")
        one_preprocessing([*train, *val])  # now, not when the training is over
        parts = [Slices(s, None, self.lungs_only) for s in train]
        self.train: Dataset[Pair] = ConcatDataset(parts)
        self.val: Dataset[Pair] = ConcatDataset(
            [Slices(s, self.validation_slices, self.lungs_only) for s in val]
        )
        self.chances: np.ndarray | None = None
        if self.real_share is not None:
            is_real = np.repeat([not is_synthetic(s) for s in train], [len(p) for p in parts])
            if is_real.all() or not is_real.any():
                _LOG.info("one kind of patients only: real_share has no effect")
                return
            self.chances = np.where(
                is_real, self.real_share / is_real.sum(), (1 - self.real_share) / (~is_real).sum()
            )

    def train_dataloader(self) -> DataLoader[Pair]:
        """All slices, shuffled afresh every epoch, or as many drawn by `real_share`."""
        return loader(
            self.train,
            self.batch_size,
            self.workers,
            shuffle_seed=self.seed,
            chances=self.chances,
        )

    def val_dataloader(self) -> DataLoader[Pair]:
        """The same slices every time."""
        return loader(self.val, self.batch_size, self.workers)


class ResidualData(pl.LightningDataModule):
    """Residuals of the frozen denoiser or CTs, made once and kept, with their labels.

    A batch is (inputs, labels): float32 (batch, channel, slice, row, column) and int64 (batch,).

    Args:
        work: Folder that `covidctnet preprocess` filled and the denoiser was trained in.
        denoiser: CovidWeights folder or name; the one in the work folder by default.
        depth: Slices of the residual.
        batch_size: Scans a step and process.
        workers: Loader processes.
        device: Where the denoiser runs: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        depth_resize: See `ResidualSettings`; goes into the card.
        signed: The same.
        within: The same.
        classifier_input: The same: ``residual``, ``ct`` (no denoiser runs) or ``both``.
        precision: Of the denoiser: ``32``, or ``bf16``; see `place` of the denoiser.
        shrink: See `ResidualSettings`; goes into the card.
        examples: List of drawn examples, as `bank.write_list` writes it, to learn from in place of
            the work folder's patients.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        work: Path,
        denoiser: str | None = None,
        depth: int = 50,
        batch_size: int = 16,
        workers: int = 0,
        device: str = "auto",
        depth_resize: DepthResize = "linear",
        signed: bool = True,
        classifier_input: ClassifierInput = "residual",
        within: Within = "scan",
        precision: Precision = "32",
        shrink: int = 1,
        examples: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_loading(batch_size, workers)
        if precision not in get_args(Precision):
            raise UsageError(f"precision must be 32 or bf16, got {precision!r}")
        self.settings = ResidualSettings(
            depth_resize, signed, classifier_input, within, shrink, depth
        )
        self.examples = examples
        self.precision: Precision = precision
        self.work = WorkFolder(work)
        self.weights = load_weights(denoiser or self.work.weights)
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.seed = seed
        self.splits: Mapping[str, Dataset[Pair]] = {}

    @property
    def size(self) -> int:
        """Rows and columns that the classifier reads."""
        return int(self.weights.card["preprocessing"]["size"]) // self.settings.shrink

    @property
    def channels(self) -> int:
        """Channels of what the classifier sees."""
        return self.settings.channels

    @property
    def store(self) -> Store:
        """Residuals of exactly this denoiser at this depth."""
        key = self.weights.card["files"]["denoiser.safetensors"]["sha256"][:12]
        return self._store(
            key,
            ["absolute"] * (not self.settings.signed) + [self.precision] * (self.precision != "32"),
        )

    @property
    def ct_store(self) -> Store:
        """CTs at this depth, whatever the denoiser."""
        return self._store("ct", [])

    def _store(self, what: str, how: list[str]) -> Store:
        resize, within = self.settings.depth_resize, self.settings.within
        name = [what, str(self.settings.depth), *[resize] * (resize != "linear"), *how]
        name += [within] * (within != "scan")
        return Store(self.work.path / "residuals" / "-".join(name))

    def taught(self) -> list[StoredStudy]:
        """The studies that the classifier learns from or is chosen by."""
        if self.examples is None:
            return [s for split in ("train", "val") for s in self._studies(split)]
        listed = read_list(self.examples, self.settings)
        named = {example.study for examples in listed.values() for example in examples}
        return [s for s in Store(self.work.preprocessed).index() if s.id in named]

    def prepare_data(self) -> None:
        """Make the residuals and CTs that are missing; only one process a machine does.

        Raises:
            CohortError: If the denoiser was trained with other preprocessing.
        """
        if self.examples is not None:
            return
        studies = [s for split in ("train", "val") for s in self._studies(split)]
        trained_with = PreprocessSettings(**self.weights.card["preprocessing"])
        if PreprocessSettings(**one_preprocessing(studies)) != trained_with:
            raise CohortError(
                "the denoiser was trained with other preprocessing than the classifier's studies. "
                "Run preprocess and train-denoiser again."
            )
        self._refuse_the_denoisers(studies)
        if self.settings.has_ct:
            store = self.ct_store
            for study in _missing(store, studies):
                lungs = self._lungs(study)
                store.put_like(study, ct_volume(study.volume(), self.settings, lungs=lungs))
        if self.settings.has_residual:
            self._make_residuals(studies)

    def _refuse_the_denoisers(self, studies: Sequence[StoredStudy]) -> None:
        """Residuals of what the denoiser has learned are too clean to teach a classifier.

        The splits keep them apart; weights that the denoiser started from may have known others.
        """
        taught = taught_by(self.weights.card, "denoiser")
        if found := [study.id for study in studies if study.source.mark in taught]:
            raise CohortError(
                f"the denoiser, or the weights that it started from, learned from {len(found)} of "
                f"the classifier's {len(studies)} studies, {found[0]} for one. Train the denoiser "
                "again with the splits of today, from weights that know none of these."
            )

    def _lungs(self, study: StoredStudy) -> np.ndarray | None:
        """The lungs as these weights see them in use: with what their network adds."""
        segmenter = self.weights.segmenter()
        if study.lungs is None or segmenter is None or self.settings.within == "scan":
            return study.lungs
        placed = place(segmenter, pick_device(self.device), self.precision)
        return complete_lungs(study, placed)

    def _make_residuals(self, studies: Sequence[StoredStudy]) -> None:
        store = self.store
        missing = _missing(store, studies)
        if not missing:
            return
        _LOG.info("making residuals of %d studies", len(missing))
        network = place(self.weights.denoiser(), pick_device(self.device), self.precision)
        for study in track(missing, "residuals"):
            made = residual_volume(study.volume(), network, self.settings, lungs=self._lungs(study))
            store.put_like(study, made.volume, lungs=made.lungs)

    def setup(self, stage: str) -> None:
        """Open the memory maps."""
        if self.examples is not None:
            listed = read_list(self.examples, self.settings)
            self.splits = {split: _Banked(found) for split, found in listed.items()}
            return
        residuals = _by_id(self.store) if self.settings.has_residual else {}
        cts = _by_id(self.ct_store) if self.settings.has_ct else {}
        self.splits = {
            split: _Inputs(self._studies(split), self.settings, residuals, cts)
            for split in ("train", "val")
        }

    def train_dataloader(self) -> DataLoader[Pair]:
        """All scans, shuffled afresh every epoch."""
        return loader(self.splits["train"], self.batch_size, self.workers, shuffle_seed=self.seed)

    def val_dataloader(self) -> DataLoader[Pair]:
        """The validation scans, in order."""
        return loader(self.splits["val"], self.batch_size, self.workers)

    def _studies(self, split: str) -> list[StoredStudy]:
        return self.work.studies(split)


class Slices(Dataset[Pair]):
    """Slices of one study; `count` evenly spaced ones, or all."""

    def __init__(self, study: StoredStudy, count: int | None, lungs_only: bool) -> None:
        self.study = study
        there = np.arange(study.shape[0])
        if lungs_only and study.lungs is not None:
            there = np.flatnonzero(study.lungs.any(axis=(1, 2)))
        number = min(count or len(there), len(there))
        self.indices = there[np.unique(np.linspace(0, len(there) - 1, number).round().astype(int))]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> Pair:
        index = int(self.indices[item])
        clean = self.study.slice(index)
        lungs = self.study.lungs_slice(index)
        return torch.from_numpy(clean)[None], torch.from_numpy(lungs)[None]


class _Inputs(Dataset[Pair]):
    """What the classifier sees of whole studies, with their labels."""

    def __init__(
        self,
        studies: list[StoredStudy],
        settings: ResidualSettings,
        residuals: Mapping[str, StoredStudy],
        cts: Mapping[str, StoredStudy],
    ) -> None:
        # These carry the label of today, not the one of when the residual was made.
        self.studies = studies
        self.settings, self.residuals, self.cts = settings, residuals, cts

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, item: int) -> Pair:
        study = self.studies[item]
        residual, ct = (kept.get(study.id) for kept in (self.residuals, self.cts))
        network_input = self.settings.compose(
            residual=None if residual is None else residual.volume().array,
            ct=None if ct is None else ct.volume().array,
        )
        assert study.label is not None  # `prepare` stores no study without one
        return torch.from_numpy(network_input), torch.tensor(int(study.label), dtype=torch.int64)


class _Banked(Dataset[Pair]):
    """Drawn examples, with their labels."""

    def __init__(self, examples: Sequence[BankedExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, item: int) -> Pair:
        example = self.examples[item]
        return example.load(), torch.tensor(int(example.label), dtype=torch.int64)


def _by_id(store: Store) -> Mapping[str, StoredStudy]:
    return {study.id: study for study in store.index()}


def _missing(store: Store, studies: Sequence[StoredStudy]) -> list[StoredStudy]:
    return [s for s in studies if not store.has(s.id, s.content_key, s.settings_digest)]


class _EpochShuffle(torch.utils.data.Sampler[int]):
    """An order that depends on seed and epoch only, so that a resumed run repeats it."""

    def __init__(self, count: int, seed: int, chances: np.ndarray | None) -> None:
        self.count, self.seed, self.epoch, self.chances = count, seed, 0, chances

    def __len__(self) -> int:
        return self.count

    def __iter__(self):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.chances is None:
            yield from rng.permutation(self.count).tolist()
        else:
            yield from rng.choice(self.count, self.count, p=self.chances).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch


def _check_loading(batch_size: int, workers: int) -> None:
    if batch_size < 1 or workers < 0:
        raise UsageError(
            f"batch_size must be 1 or more and workers 0 or more, got {batch_size} and {workers}"
        )


def loader(
    dataset: Dataset[Pair],
    batch_size: int,
    workers: int,
    *,
    shuffle_seed: int | None = None,
    chances: np.ndarray | None = None,
) -> DataLoader[Pair]:
    # A preset made for a large machine must run on a small one.
    workers = min(workers, os.cpu_count() or 1)
    sampler: torch.utils.data.Sampler[int] | None = None
    processes, rank = processes_of_run()
    if shuffle_seed is not None:
        sampler = _EpochShuffle(len(dataset), shuffle_seed, chances)  # type: ignore[arg-type]
    elif processes > 1:
        sampler = EachOnce(range(len(dataset)), processes, rank)  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
