"""The denoiser on real scans whose ill slices radiologists have marked.

    python -m pipelines.real.denoiser FOLDER --weights compact [--compare OTHER] [--output PAGE.md]

FOLDER holds a scan a folder somewhere below, and next to them ``NAME_slice_labels.csv`` for the
scan in a folder NAME, with the columns ``z_mm`` and ``infection`` (0 or 1). Scans without such a
table get the patient's score only. The denoiser has never seen a lesion: what it takes away is
compared with the labels, next to density alone within the same mask.

The answers of weights with a classifier are shown too, and those of weights given as ``--compare``.

One patient is one patient: intervals tell how sure the figure is for that patient's slices, and
nothing of other patients.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from covidctnet import read_volume
from covidctnet.chest.gate import prepare_chest
from covidctnet.classes import CHEST_CT, Label
from covidctnet.devices import pick_device
from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import Estimate
from covidctnet.io import find_studies
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.segment import add_consolidation
from covidctnet.systems.covidctnet.training.bank import InputMaker
from covidctnet.systems.covidctnet.weights import CovidWeights, load_weights
from covidctnet.volume import Volume
from pipelines.experiments.command import tell
from pipelines.real.slices import SliceScores, blocked_auc, score_slices

BLOCK_MM = 20.0
SUFFIX = "_slice_labels.csv"
SCORES = {
    "residual_mm2": "area of residual > 0.08",
    "residual_share": "its share of the lungs",
    "residual_mean": "mean positive residual",
    "density_mm2": "dense area (no network)",
    "density_share": "its share (no network)",
}


@dataclass(frozen=True)
class ScoredScan:
    """One scan.

    Attributes:
        name: Of its folder.
        group: Of the folder above.
        scores: Of the slices.
        ill: Their labels, or None.
        figures: AUC by score, empty without labels.
        answers: Probabilities by the name of the weights that gave them.
    """

    name: str
    group: str
    scores: SliceScores
    ill: np.ndarray | None
    figures: dict[str, Estimate]
    answers: dict[str, Mapping[Label, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Score every scan under a folder and print the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.real.denoiser", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--compare", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        weights = load_weights(options.weights)
        others = [load_weights(name) for name in options.compare]
        scored = score_scans(options.folder, weights, others, device=options.device)
        command = ["python", "-m", "pipelines.real.denoiser", "FOLDER", "--weights", weights.name]
        command += [word for one in others for word in ("--compare", one.name)]
        return table(scored, weights, command=shlex.join(command))

    return tell(make, options.output)


def score_scans(
    folder: Path,
    weights: CovidWeights,
    others: Sequence[CovidWeights] = (),
    *,
    device: str = "auto",
) -> list[ScoredScan]:
    """Score every scan below `folder`.

    Args:
        folder: See the module.
        weights: Their denoiser is evaluated.
        others: More weights whose answers are shown.
        device: See `covidctnet.devices.pick_device`.

    Raises:
        UsageError: If there is none.
        StudyError: If one cannot be read.
    """
    labels = {path.name.removesuffix(SUFFIX): path for path in folder.rglob(f"*{SUFFIX}")}
    scans = sorted({path.parent for path in folder.rglob("*.dcm")})
    if not scans:
        raise UsageError("no DICOM folder below the folder given")
    settings = PreprocessSettings(**weights.card["preprocessing"])
    how = ResidualSettings.of_card(weights.card)
    maker = InputMaker(weights, how, device=pick_device(device))
    models = [
        CovidCTNet(one, device=device)
        for one in (weights, *others)
        if "classifier" in one.card["architecture"]
    ]
    complete = None
    if maker.segmenter is not None:
        complete = partial(add_consolidation, network=maker.segmenter)
    out = []
    for scan in scans:
        if not find_studies(scan):
            continue
        volume = read_volume(scan)
        prepared = prepare_chest(volume, settings, complete=complete)
        unit, lungs = prepared.unit, prepared.lungs
        index, ill = _labelled(unit, labels.get(scan.name))
        labelled = unit.then("slices that radiologists have labelled", unit.array[index])
        # Slices that a crop to the lungs has left out show none.
        is_there = index >= 0
        inside = lungs[index] & is_there[:, None, None]
        scores = score_slices(
            labelled,
            labelled.array - maker.residual_of(labelled, inside).volume.array,
            inside,
            voxel_mm2=unit.spacing[1] * unit.spacing[2],
        )
        block = max(1, round(BLOCK_MM / _step_mm(unit, index)))
        figures = (
            {}
            if ill is None
            else {
                name: blocked_auc(
                    ill, getattr(scores, name), block=block, rng=np.random.default_rng(0)
                )
                for name in SCORES
            }
        )
        answers = {model.weights.name: model(volume).probabilities for model in models}
        out.append(ScoredScan(scan.name, scan.parent.name, scores, ill, figures, answers))
    return out


def _labelled(unit: Volume, table: Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Slices of the volume to score, and their labels; every second one where there are none.

    A labelled slice that a crop to the lungs has left out is -1.
    """
    if table is None:
        return np.arange(0, unit.shape[0], 2), None
    with table.open(newline="", encoding="utf-8") as file:
        rows = sorted((float(r["z_mm"]), int(r["infection"])) for r in csv.DictReader(file))
    heights = np.array([(unit.affine @ [i, 0, 0, 1])[2] for i in range(unit.shape[0])])
    drawn = np.array([z for z, _ in rows])
    index = np.abs(heights[None, :] - drawn[:, None]).argmin(axis=1)
    beyond = (drawn < heights.min() - unit.spacing[0]) | (drawn > heights.max() + unit.spacing[0])
    far = np.abs(heights[index] - drawn)[~beyond].max(initial=0.0)
    if far > 2 * unit.spacing[0] or beyond.all():
        raise UsageError(f"{table.name}: a labelled slice lies {far:.1f} mm off the scan")
    index[beyond] = -1
    return index, np.array([bool(ill) for _, ill in rows])


def _step_mm(unit: Volume, index: np.ndarray) -> float:
    return float(np.median(np.diff(index))) * unit.spacing[0]


def table(scored: Sequence[ScoredScan], weights: CovidWeights, *, command: str) -> str:
    """The figures in Markdown."""
    lines = [
        "# The denoiser on real scans",
        "",
        f"Made by `make real-scans`: `{command}`; weights {weights.digest}.",
        "",
        "AUC over the slices of one patient, against radiologists' slice labels; intervals by a",
        f"bootstrap over blocks of {BLOCK_MM:.0f} mm. They tell of that patient only. Patients'",
        "scores are over the labelled slices, or every second one where there are no labels;",
        "answers are to whole scans. Nothing follows for other patients.",
        "",
        f"| scan | ill slices | {' | '.join(SCORES.values())} | patient: share | patient: mean |",
        "|---" * (4 + len(SCORES)) + "|",
    ]
    for one in scored:
        ill = "no labels" if one.ill is None else f"{int(one.ill.sum())} of {len(one.ill)}"
        cells = [_short(one.figures.get(name)) for name in SCORES]
        lines.append(
            f"| {one.group}/{one.name} | {ill} | {' | '.join(cells)} | "
            f"{one.scores.whole('residual_share'):.4f} | {one.scores.whole('residual_mean'):.4f} |"
        )
    if scored[0].answers:
        titles = " | ".join(label.title for label in CHEST_CT)
        lines += ["", f"| scan | weights | {titles} |", "|---" * (2 + len(CHEST_CT)) + "|"]
    for one in scored:
        for name, probabilities in one.answers.items():
            cells = [f"{probabilities[label]:.3f}" for label in CHEST_CT]
            lines.append(f"| {one.group}/{one.name} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _short(figure: Estimate | None) -> str:
    return "" if figure is None else f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
