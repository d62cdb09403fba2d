"""Which choice buys what: denoisers and classifiers on phantoms, one change at a time.

    python -m pipelines.experiments.ablation.run FOLDER [--grid GRID.yaml] [--output PAGE.md]

Makes two cohorts of phantoms, trains every row of the grid (`grid.yaml`) with every seed, and
measures them on phantoms of scanners that no training patient saw. What is there is kept: an
interrupted run goes on where it was. Networks and slices are small, so that the whole takes about
an hour on two cores; the order of the rows is what is measured, not what a full run reaches.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cli import main as covidctnet
from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import auc
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS
from covidctnet.files import write_whole
from covidctnet.phantom import SCANNERS, UNSEEN_SCANNERS, make_phantom
from covidctnet.preprocess import PreprocessSettings, preprocess
from covidctnet.systems.covidctnet.denoise import denoise_slices
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.training.noise import NoiseSettings
from covidctnet.volume import Source, Volume
from covidctnet.weights.shipped import presets_root
from pipelines.experiments.ablation.table import render
from pipelines.experiments.command import tell
from pipelines.real.slices import score_slices

GRID = Path(__file__).with_name("grid.yaml")
# Every so many slices of a volume are measured against the truth.
EVERY = 6
# A slice with so many lesion voxels holds a lesion, one with none does not; between is neither.
MIN_LESION_VOXELS = 12
UNSEEN_SEED = 5000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.experiments.ablation.run", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid", type=Path, default=GRID)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        grid = yaml.safe_load(options.grid.read_text(encoding="utf-8"))
        results = list(ablation(options.folder, grid))
        return render(results, grid, transfer_curves(options.folder, grid))

    return tell(make, options.output)


def ablation(folder: Path, grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Results of every row and seed, as they come; those that are there are read.

    Finalists come with several seeds, the other rows with one. A denoiser that training refuses as
    a dead start counts as such, and the next seed is tried.
    """
    work = _cohorts(folder, grid)
    alive: dict[str, list[int]] = {}
    for name, row in grid["rows"].items():
        expected = grid["finalist_runs"] if row.get("finalist") else 1
        alive[name] = []
        for seed in alive[row["like"]] if "like" in row else grid["seeds"]:
            if len(alive[name]) == expected:
                break
            home = folder / "runs" / f"{_slug(name)}-{seed}"
            file = home / "result.json"
            if not file.is_file():
                sys.stderr.write(f"{name}, seed {seed}\n")
                measured = _result(home, work, folder, grid, row, seed)
                line = {"row": name, "seed": seed, "recipe": recipe(grid, name), **measured}
                write_whole(file, json.dumps(line) + "\n")
            result = json.loads(file.read_text(encoding="utf-8"))
            if result.get("recipe") != recipe(grid, name):
                raise UsageError(
                    f"the result of {name!r} in this folder was made by another recipe. Give a new "
                    f"folder, or remove runs/{home.name} from this one."
                )
            if not result.get("refused"):
                alive[name].append(seed)
            yield result


def recipe(grid: Mapping[str, Any], name: str) -> str:
    """Twelve digits that change with all that decides a row, defaults of the noise included."""
    rows = {key: grid["rows"][key] for key in (name, grid["rows"][name].get("like")) if key}
    shared = {k: v for k, v in grid.items() if k not in ("rows", "seeds", "finalist_runs")}
    text = json.dumps([rows, shared, asdict(NoiseSettings())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _result(
    home: Path,
    work: Path,
    folder: Path,
    grid: Mapping[str, Any],
    row: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    try:
        _train(home, work, folder, grid, row, seed)
    except _RefusedError:
        return {"refused": True}
    return measure(home / "weights", folder / "unseen")


def _cohorts(folder: Path, grid: Mapping[str, Any]) -> Path:
    """The work folder with the training cohort; the unseen one next to it."""
    plan, work = grid["cohort"], folder / "work"
    if not (work / "splits.json").is_file():
        cohort = folder / "phantoms"
        shape = [f"--matrix={plan['matrix']}", f"--spacing-mm={plan['spacing_mm']}"]
        people = [f"--controls={plan['controls']}", f"--patients={plan['patients']}"]
        _call("phantom", "-o", str(cohort), *people, *shape)
        how = _flags(grid["preprocess"])
        _call("preprocess", str(cohort), "-o", str(work), "--preset", grid["preset"], *how)
    preset = yaml.safe_load((presets_root() / grid["preset"] / "preprocess.yaml").read_text())
    settings = PreprocessSettings(**_merged(preset, grid["preprocess"])["settings"])
    for label in CHEST_CT:
        for number in range(plan["unseen"]):
            file = folder / "unseen" / f"{label.key}-{number:02d}.npz"
            if not file.is_file():
                _write_unseen(file, label, number, plan, settings)
    return work


def _write_unseen(
    file: Path, label: Label, number: int, plan: Mapping[str, Any], settings: PreprocessSettings
) -> None:
    """A phantom of an unseen scanner as network input, with its truth on the same grid."""
    scanner = SCANNERS[UNSEEN_SCANNERS[number % len(UNSEEN_SCANNERS)]]
    phantom = make_phantom(
        label,
        UNSEEN_SEED + number,
        scanner=scanner,
        matrix=plan["matrix"],
        spacing_mm=plan["spacing_mm"],
    )
    lesions = np.isin(phantom.lesions, (GROUND_GLASS, CONSOLIDATION))
    unit, lungs, ill = (
        preprocess(phantom.volume.then("for the network", array), settings)
        for array in (
            phantom.volume.array,
            *(np.where(m, settings.high_hu, settings.low_hu) for m in (phantom.lungs, lesions)),
        )
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        unit=unit.array.astype(np.float16),
        affine=unit.affine,
        lungs=lungs.array > 0.5,
        ill=ill.array > 0.5,
    )
    part.replace(file)


def _train(
    home: Path,
    work: Path,
    folder: Path,
    grid: Mapping[str, Any],
    row: Mapping[str, Any],
    seed: int,
) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "preprocessed").symlink_to((work / "preprocessed").resolve())
    shutil.copy(work / "splits.json", home / "splits.json")
    twin = folder / "runs" / f"{_slug(row['like'])}-{seed}" if "like" in row else None
    if twin is not None:
        if not (twin / "result.json").is_file():
            raise UsageError(f"the row {row['like']!r} must come before those like it")
        weights = str(twin / "weights")
        more = [f"--data.denoiser={weights}"]
    else:
        start = ["--init", str(_lungs(folder, work, grid, seed))] if row.get("from_lungs") else []
        _stage("denoiser", home, grid, row, seed, start)
        more = []
    _stage("classifier", home, grid, row, seed, more)


def _lungs(folder: Path, work: Path, grid: Mapping[str, Any], seed: int) -> Path:
    weights = folder / f"lungs-{seed}"
    if not (weights / "card.json").is_file():
        _call(
            "train-lungs",
            *("--work", str(work)),
            *("--output", str(weights)),
            f"--seed_everything={seed}",
            *_flags(grid["lungs"]),
        )
    return weights


def _stage(
    stage: str,
    home: Path,
    grid: Mapping[str, Any],
    row: Mapping[str, Any],
    seed: int,
    more: Sequence[str],
) -> None:
    settings = _merged(grid[stage], row.get(stage, {}))
    preset = ("--preset", grid["preset"])
    place = ("--work", str(home), f"--seed_everything={seed}", "--device=cpu")
    _call(f"train-{stage}", *preset, *place, *_flags(settings), *more)


def _flags(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Nested settings as flags: ``{data: {depth: 50}}`` becomes ``--data.depth=50``."""
    out: list[str] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            out += _flags(value, f"{prefix}{key}.")
        else:
            out.append(f"--{prefix}{key}={json.dumps(value).strip(chr(34))}")
    return out


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in change.items():
        is_nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = _merged(both[key], value) if is_nested else value
    return both


class _RefusedError(UsageError):
    """Training found nothing worth keeping, and said why on the way."""


def _call(*words: str) -> None:
    code = covidctnet(list(words))
    if code == UsageError.exit_code and words[0] == "train-denoiser":
        raise _RefusedError("the denoiser was refused; see the lines above")
    if code:
        raise UsageError(f"covidctnet {words[0]} ended with {code}; see the lines above")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def measure(weights: Path, unseen: Path) -> dict[str, Any]:
    """What a denoiser and a classifier do on the unseen phantoms.

    Returns:
        ``contrast``: mean absolute residual in lesions over that in healthy lung;
        ``slice_auc``: of the mean positive residual within the lungs, for slices with lesions
        against slices without any, all patients together; ``voxel_auc``: of the residual of lung
        voxels; ``auc``: mean of the three one-against-rest AUCs over patients; ``accuracy``.
    """
    model = CovidCTNet.load(weights, device="cpu")
    rng = np.random.default_rng(0)
    inside: list[np.ndarray] = []
    outside: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    has_lesion: list[np.ndarray] = []
    truth, answers = [], []
    for file in sorted(unseen.glob("*.npz")):
        held = np.load(file)
        unit = held["unit"].astype(np.float32)
        label = next(k for k in CHEST_CT if file.name.startswith(f"{k.key}-"))
        rows = slice(None, None, EVERY)
        images, lungs, ill = (
            unit[rows],
            held["lungs"][rows],
            held["ill"][rows] & held["lungs"][rows],
        )
        denoised = denoise_slices(model.denoiser, images)
        residual = np.abs(images - denoised)
        inside.append(residual[ill])
        healthy = residual[lungs & ~ill]
        outside.append(rng.choice(healthy, min(len(healthy), 20_000), replace=False))
        scores_of = score_slices(_volume(images, held["affine"]), denoised, lungs)
        count = ill.sum(axis=(1, 2))
        clear = (scores_of.voxels > 0) & ((count == 0) | (count >= MIN_LESION_VOXELS))
        scores.append(scores_of.residual_mean[clear])
        has_lesion.append(count[clear] > 0)
        answers.append(_probabilities(model, unit, held["affine"]))
        truth.append(int(label))
    lesion, rest = np.concatenate(inside), np.concatenate(outside)
    sample = rng.choice(lesion, min(len(lesion), 200_000), replace=False)
    is_ill = np.repeat([True, False], [len(sample), len(rest)])
    labels, probabilities = np.array(truth), np.array(answers)
    return {
        "contrast": float(lesion.mean() / rest.mean()),
        "slice_auc": auc(np.concatenate(has_lesion), np.concatenate(scores)),
        "voxel_auc": auc(is_ill, np.concatenate([sample, rest])),
        "auc": float(
            np.mean([auc(labels == label, probabilities[:, label]) for label in CHEST_CT])
        ),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "patients": len(labels),
    }


def _probabilities(model: CovidCTNet, unit: np.ndarray, affine: np.ndarray) -> list[float]:
    answer = model(_volume(unit, affine)).probabilities
    return [answer[label] for label in CHEST_CT]


def _volume(unit: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(unit, affine, "unit", Source(study="0" * 12), (), PreprocessSettings().window_hu)


def transfer_curves(folder: Path, grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Validation loss of the denoiser against steps, with and without lung transfer."""
    names = ["base", *(n for n, row in grid["rows"].items() if row.get("from_lungs"))]
    out = []
    for name in names:
        for seed in grid["seeds"]:
            home = folder / "runs" / f"{_slug(name)}-{seed}"
            if not (home / "weights" / "card.json").is_file():
                continue  # not run, or refused
            log = home / "denoiser" / "log" / "run1"
            with (log / "metrics.csv").open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if row.get("val_loss"):
                        loss, step = float(row["val_loss"]), int(row["step"]) + 1
                        out.append({"row": name, "seed": seed, "step": step, "loss": loss})
    return out


if __name__ == "__main__":
    sys.exit(main())
