"""Lung segmentation with the denoiser's network: what the paper starts its denoiser from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.errors import StudyError, UsageError
from covidctnet.io.lung_pairs import LungPair, find_lung_pairs
from covidctnet.preprocess import PreprocessSettings
from covidctnet.preprocess.grid import antialias_matrix
from covidctnet.progress import track
from covidctnet.systems.covidctnet.segment import pad_slices
from covidctnet.systems.covidctnet.training.data import Pair, Slices, loader
from covidctnet.systems.covidctnet.training.examples import ExampleSettings, draw_example
from covidctnet.systems.covidctnet.training.tasks import BCDUNetTask
from covidctnet.training.augment import vary_slices
from covidctnet.training.look import Look, look_at_pictures
from covidctnet.training.seeded import Schedule
from covidctnet.training.work import WorkFolder, one_preprocessing
from covidctnet.volume import Volume

__all__ = ["LungData", "LungTask", "fill_bases"]

_LOG = logging.getLogger(__name__)
# Every so many patients of a folder with drawn lungs choose the checkpoint.
VALIDATE_EVERY = 5
# Slices of a painted example; more would look like their neighbours.
PAINTED_DEPTH = 24
# Share of the painted examples whose bases are consolidated as well.
DENSE_BASES = 0.35


class LungData(pl.LightningDataModule):
    """Slices with their lungs: drawn ones, or those that preprocessing found.

    A batch is (slices, lungs), both float32 (batch, 1, row, column). Patients are held back whole.

    Args:
        work: Receives ``lungs/``. Where `pairs` is not given, also the source: the lungs that
            preprocessing found in its studies, whatever their label, test patients left out.
        pairs: Folder in a layout of Kaggle's "finding lungs in CT" (`covidctnet.io.lung_pairs`).
        painted: How many times findings are drawn into every Control of the work folder, those of
            ill patients as often as those of Controls. The lungs stay what they were before, so
            that the network learns consolidation as lung. The scans are then the whole ones on a
            coarse grid (see `covidctnet.systems.covidctnet.segment`), of patients set aside for
            the denoiser alone. 0 takes the preprocessed scans as they are.
        size: Rows and columns that drawn slices are resized to; preprocessed ones have a size.
        batch_size: Slices a step and process.
        workers: Loader processes.
        validation_slices: Slices a validation patient gives, evenly spaced.
        seed: Of the shuffling.
    """

    def __init__(
        self,
        work: Path,
        pairs: Path | None = None,
        painted: int = 0,
        size: int = 240,
        batch_size: int = 8,
        workers: int = 0,
        validation_slices: int = 12,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.work = WorkFolder(work)
        if painted < 0:
            raise UsageError(f"painted must be 0 or more, got {painted}")
        if painted and pairs:
            raise UsageError("expected drawn pairs or painted scans, got both. Leave one out.")
        self.pairs = pairs
        self.painted = painted
        self.size = size
        self.batch_size = batch_size
        self.workers = workers
        self.validation_slices = validation_slices
        self.seed = seed
        self.patients: dict[str, int] = {}

    def setup(self, stage: str) -> None:
        """Read the pairs, or open the memory maps."""
        parts = self._drawn() if self.pairs else self._found()
        self.train: Dataset[Pair] = ConcatDataset(parts["train"])
        self.val: Dataset[Pair] = ConcatDataset(parts["val"])
        self.patients = {split: len(found) for split, found in parts.items()}

    @property
    def settings(self) -> PreprocessSettings:
        """What the slices went through, as far as it is known."""
        return self._settings

    def train_dataloader(self) -> DataLoader[Pair]:
        """All slices, shuffled afresh every epoch."""
        return loader(self.train, self.batch_size, self.workers, shuffle_seed=self.seed)

    def val_dataloader(self) -> DataLoader[Pair]:
        """The same slices every time."""
        return loader(self.val, self.batch_size, self.workers)

    def _found(self) -> dict[str, list[Dataset[Pair]]]:
        # Painted lungs teach networks that look at the classifier's patients: not from these.
        splits = ("denoiser_{}",) if self.painted else ("denoiser_{}", "{}")
        studies = {
            split: [s for name in splits for s in self.work.studies(name.format(split))]
            for split in ("train", "val")
        }
        self._settings = PreprocessSettings(
            **one_preprocessing([s for found in studies.values() for s in found])
        )
        if self.painted:
            return {split: self._painted(found) for split, found in studies.items()}
        return {
            "train": [Slices(s, None, lungs_only=False) for s in studies["train"]],
            "val": [Slices(s, self.validation_slices, lungs_only=False) for s in studies["val"]],
        }

    def _painted(self, studies: Sequence[StoredStudy]) -> list[Dataset[Pair]]:
        """Examples of the Controls among some studies, a class in turn."""
        if self._settings.field != "lungs":
            raise UsageError(
                "painted lungs need whole scans on a coarse grid, which preprocess keeps of scans "
                "cropped to the lungs. Run preprocess again with field: lungs."
            )
        drawn: list[tuple[np.ndarray, np.ndarray]] = []
        coarse = Store(self.work.preprocessed).coarse
        controls = [coarse.get(study.id) for study in studies if study.label is CHEST_CT.CONTROL]
        for number, study in enumerate(track(controls, "painting")):
            for copy in range(self.painted):
                seed = self.seed + 1000 * number + copy
                label = (CHEST_CT.CAP, CHEST_CT.COVID19, CHEST_CT.CAP, CHEST_CT.CONTROL)[copy % 4]
                settings = ExampleSettings(plain=0.5)
                try:
                    example = draw_example(
                        study, label, seed, depth=PAINTED_DEPTH, settings=settings
                    )
                except StudyError as error:
                    _LOG.warning("an example of %s is left out: %s", study.id, error.message)
                    continue
                rng = np.random.default_rng([seed, 3])
                unit = example.unit
                if rng.random() < DENSE_BASES:
                    unit = fill_bases(unit, example.lungs, rng)
                drawn.append((unit.array, example.lungs))
        # Whole scans are of many sizes, and slices of a step are of one.
        shape = tuple(max((unit.shape[axis] for unit, _ in drawn), default=0) for axis in (1, 2))
        return [_Painted(unit, lungs, shape) for unit, lungs in drawn]

    def _drawn(self) -> dict[str, list[Dataset[Pair]]]:
        assert self.pairs is not None
        self._settings = PreprocessSettings(size=self.size)
        parts: dict[str, list[Dataset[Pair]]] = {"train": [], "val": []}
        pairs = sorted(find_lung_pairs(self.pairs), key=lambda pair: pair.patient)
        if len(pairs) < 2:
            raise UsageError(f"expected drawn lungs of two patients or more, got {len(pairs)}")
        for number, pair in enumerate(pairs):
            split = "train" if number % VALIDATE_EVERY else "val"
            try:
                parts[split].append(_Drawn(pair, self._settings))
            except StudyError as error:
                _LOG.warning("drawn lungs %s are left out: %s", pair.patient, error.message)
        if not parts["train"] or not parts["val"]:
            raise UsageError("too few drawn lungs can be read; see the warnings above")
        return parts


class _Drawn(Dataset[Pair]):
    """Slices of one pair in memory, resized and windowed."""

    def __init__(self, pair: LungPair, settings: PreprocessSettings) -> None:
        slices, lungs, is_hu = pair.read()
        rows, columns = (antialias_matrix(n, settings.size) for n in slices.shape[1:])
        unit = slices.astype(np.float32)
        if is_hu:
            unit = (unit - settings.low_hu) / (settings.high_hu - settings.low_hu)
        self.slices = (rows @ np.clip(unit, 0, 1) @ columns.T).astype(np.float16)
        self.lungs = (rows @ lungs.astype(np.float32) @ columns.T) > 0.5

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: int) -> Pair:
        return (
            torch.from_numpy(self.slices[item].astype(np.float32))[None],
            torch.from_numpy(self.lungs[item].astype(np.float32))[None],
        )


class _Painted(Dataset[Pair]):
    """Slices of one example in memory, as the network sees them."""

    def __init__(self, unit: np.ndarray, lungs: np.ndarray, shape: tuple[int, ...]) -> None:
        rows, columns = (full - held for full, held in zip(shape, unit.shape[1:], strict=True))
        both = np.stack([unit, lungs.astype(np.float32)])
        both = np.pad(both, ((0, 0), (0, 0), (0, rows), (0, columns)))
        padded = pad_slices(torch.from_numpy(both))
        self.slices, self.lungs = padded[0].half(), padded[1].half()

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: int) -> Pair:
        return self.slices[item].float()[None], self.lungs[item].float()[None]


def fill_bases(unit: Volume, lungs: np.ndarray, rng: np.random.Generator) -> Volume:
    """Consolidate the lowest or hindmost part of one lung or of both, up to the pleura.

    What no plan of findings draws so large: the case in which density loses a whole base.

    Args:
        unit: In ``unit``, canonical orientation.
        lungs: Their mask, bool.
        rng: Source of all randomness.

    Returns:
        The volume, changed within the lungs alone.
    """
    if not lungs.any():
        return unit
    z, y, x = (part.astype(np.float32) for part in np.nonzero(lungs))
    low, high = unit.scale_hu
    # How far down and back, each over its extent: the border lies anywhere between the two.
    lean = rng.uniform(0, 1)
    depth = (1 - lean) * (z.max() - z) / max(np.ptp(z), 1) + lean * (y - y.min()) / max(
        np.ptp(y), 1
    )
    sides = rng.choice(["both", "left", "right"])
    is_side = np.ones(len(x), dtype=bool)
    if sides != "both":
        is_side = (x > np.median(x)) == (sides == "left")
    border = np.quantile(depth[is_side], 1 - rng.uniform(0.05, 0.4))
    # Tissue that takes the place of air, a little of it left in the bronchi.
    dense = (rng.uniform(0, 60) - low) / (high - low)
    share = np.clip((depth - border) / 0.06, 0, 1) * is_side
    share *= rng.uniform(0.85, 1.0)
    out = unit.array.copy()
    held = unit.array[lungs]
    out[lungs] = np.where(held < dense, held + share * (dense - held), held)
    return unit.then("bases consolidated", out)


class LungTask(BCDUNetTask):
    """BCDU-Net learns where the lungs are.

    Args:
        base: Width of the first level; the denoiser that starts from it must have the same.
        depth: Dense blocks at the bottom: 3 (D3) or 1 (D1).
        bidirectional: Let the ConvLSTMs read both ways.
        gates: Gate activation of the ConvLSTMs.
        learning_rate: Of Adam, at its highest.
        schedule: ``cosine`` falls to zero over the run; ``constant`` stays.
        augment: Vary the slices (mirror, turn, zoom, density, grain).
        seed: Of everything random in a step.
    """

    def __init__(
        self,
        base: int = 16,
        depth: Literal[1, 3] = 3,
        bidirectional: bool = True,
        gates: Literal["sigmoid", "hard_sigmoid"] = "sigmoid",
        learning_rate: float = 1e-3,
        schedule: Schedule = "cosine",
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, learning_rate, schedule)
        self.build(base, depth, bidirectional, gates)
        self.augment = augment

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Binary cross-entropy, as published."""
        slices, lungs = batch
        if self.augment:
            generator = self.generator(1, self.moment(batch_idx))
            slices, lungs = vary_slices(slices, lungs, generator=generator)
        loss = _entropy(self(slices), lungs)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Cross-entropy and Dice on patients held back."""
        slices, lungs = batch
        output = self(slices)
        inside, truth = output > 0.5, lungs > 0.5
        both = (inside & truth).sum() * 2.0
        scores: dict[str, Any] = {
            "val_loss": _entropy(output, lungs),
            "val_dice": (both + 1) / (inside.sum() + truth.sum() + 1),
        }
        self.add_scores(scores, len(slices))

    def look(self, batch: tuple[torch.Tensor, torch.Tensor], count: int) -> Look:
        """Slices, their lungs, and what was found."""
        slices, lungs = batch
        return look_at_pictures((slices, lungs, self(slices)), "slice, lungs, found", count)


def _entropy(output: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
    # log(0) of a saturated sigmoid would be an infinite loss.
    return F.binary_cross_entropy(output.clamp(1e-6, 1 - 1e-6), lungs)
