"""The ablation's tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

FIGURES = {
    "contrast": "residual contrast",
    "slice_auc": "slice AUC",
    "voxel_auc": "voxel AUC",
    "auc": "three-class AUC",
}
AREAS = ("slice_auc", "voxel_auc", "auc")


def render(
    results: Sequence[Mapping[str, Any]],
    grid: Mapping[str, Any],
    curves: Sequence[Mapping[str, Any]],
) -> str:
    """Rows in the grid's order; finalists as mean and 95 % interval over seeds.

    Args:
        results: Of `pipelines.experiments.ablation.run.ablation`.
        grid: What was run.
        curves: Of `pipelines.experiments.ablation.run.transfer_curves`.
    """
    model, trainer = grid["denoiser"]["model"], grid["denoiser"]["trainer"]
    steps = trainer["max_epochs"] * trainer["limit_train_batches"]
    measured = [r for r in results if not r.get("refused")]
    patients, size = measured[0]["patients"], grid["preprocess"]["settings"]["size"]
    lines = [
        "# Ablation on phantoms",
        "",
        "Made by `python -m pipelines.experiments.ablation.run FOLDER --output "
        "docs/measured/ablation.md`.",
        "",
        f"Phantoms only, small networks: base width {model['base']}, slices of {size} x {size}, "
        f"{steps} steps. Measured on {patients} phantoms of scanners that no training phantom saw. "
        f"Rows with {grid['finalist_runs']} runs show the mean and its 95 % t-interval over them; "
        "the others one run, whose place among close rows is chance. A dead start is a denoiser "
        "that gives one constant within the lungs after 200 steps: training refuses it.",
        "",
        f"| row | runs | dead starts | {' | '.join(FIGURES.values())} |",
        "|---" * (3 + len(FIGURES)) + "|",
    ]
    for name in grid["rows"]:
        tried = [r for r in results if r["row"] == name]
        runs = [r for r in tried if not r.get("refused")]
        cells = [_mean([r[figure] for r in runs], is_area=figure in AREAS) for figure in FIGURES]
        dead = len(tried) - len(runs)
        lines.append(f"| {name} | {len(runs)} | {dead or ''} | {' | '.join(cells)} |")
    lines += [
        "",
        "Validation loss of the denoiser with and without lung transfer, mean of a row's runs:",
        "",
    ]
    at = sorted({c["step"] for c in curves})
    lines += [f"| row | {' | '.join(f'step {s}' for s in at)} |", "|---" * (1 + len(at)) + "|"]
    for name in dict.fromkeys(c["row"] for c in curves):
        means = [
            _mean([c["loss"] for c in curves if (c["row"], c["step"]) == (name, s)], digits=4)
            for s in at
        ]
        lines.append(f"| {name} | {' | '.join(means)} |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float], digits: int = 3, *, is_area: bool = False) -> str:
    if not values:
        return "not run"
    mean = float(np.mean(values))
    if len(values) < 3:
        return f"{mean:.{digits}f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    low, high = mean - reach, mean + reach
    if is_area:  # three runs know little, but that an AUC lies between 0 and 1
        low, high = max(0.0, low), min(1.0, high)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
