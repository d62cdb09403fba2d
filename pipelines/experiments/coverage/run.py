"""Whether prediction sets hold the truth as often as they promise: hundreds of phantoms.

    python -m pipelines.experiments.coverage.run WEIGHTS FOLDER [--fit 200] [--try 500]

Draws small phantoms, classifies them, fits temperature and sets on the first and counts on the
rest, which are drawn alike: same scanners, other patients. Answers are kept in FOLDER as they come,
so an interrupted run goes on. The figures are of phantoms, and of weights that may be toys: what is
shown is that the promise holds, whatever the network is worth.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from covidctnet.classes import CHEST_CT
from covidctnet.errors import StudyError, UsageError
from covidctnet.evaluation.calibration import calibration_error
from covidctnet.evaluation.intervals import redraw, wilson
from covidctnet.files import make_folder, write_whole
from covidctnet.phantom import SCANNERS, TRAINING_SCANNERS, make_phantom
from covidctnet.progress import track
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.trust.calibration import Calibration, soften
from pipelines.experiments.command import tell

COVERAGES = (0.8, 0.9, 0.95)
SEED = 70_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and classify what is missing; print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.experiments.coverage.run", description=__doc__
    )
    parser.add_argument("weights")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fit", type=int, default=200, help="patients to fit on")
    parser.add_argument("--try", type=int, default=500, dest="tried", help="patients to try on")
    parser.add_argument("--matrix", type=int, default=192)
    parser.add_argument("--spacing-mm", type=float, default=8.0)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        model = CovidCTNet.load(options.weights)
        rows = list(
            answers(
                model,
                options.folder,
                options.fit + options.tried,
                matrix=options.matrix,
                spacing_mm=options.spacing_mm,
            )
        )
        return render(rows, options.fit, model)

    return tell(make, options.output)


def answers(
    model: CovidCTNet, folder: Path, count: int, *, matrix: int, spacing_mm: float
) -> Iterator[dict[str, Any]]:
    """Truth and probabilities of phantom after phantom; those that are there are read."""
    make_folder(folder)
    for number in track(range(count), "phantoms"):
        file = folder / f"{model.weights_digest}-{matrix}-{spacing_mm:g}-{number:04d}.json"
        if not file.is_file():
            label = list(CHEST_CT)[number % len(CHEST_CT)]
            # Not number % scanners: a scanner must not go with a label.
            rng = np.random.default_rng([SEED, number])
            scanner = SCANNERS[TRAINING_SCANNERS[rng.integers(len(TRAINING_SCANNERS))]]
            phantom = make_phantom(
                label, SEED + number, scanner=scanner, matrix=matrix, spacing_mm=spacing_mm
            )
            row: dict[str, Any] = {"truth": int(label)}
            try:
                probabilities = model(phantom.volume).probabilities
                row["probabilities"] = [probabilities[k] for k in CHEST_CT]
            except StudyError as error:
                row["refused"] = error.code
            write_whole(file, json.dumps(row) + "\n")
        yield json.loads(file.read_text(encoding="utf-8"))


def render(rows: Sequence[dict[str, Any]], fit: int, model: CovidCTNet) -> str:
    """The table: coverage promised and found, and what it costs.

    Raises:
        UsageError: If no patient is left to fit or to try on.
    """
    groups = (rows[:fit], rows[fit:])
    answered = [[row for row in group if "probabilities" in row] for group in groups]
    if not all(answered):
        raise UsageError("expected answers to fit on and to try on; give more patients")
    refused = len(rows) - sum(map(len, answered))
    (truth, probabilities), (new_truth, new_probabilities) = (
        (np.array([r["truth"] for r in group]), np.array([r["probabilities"] for r in group]))
        for group in answered
    )
    if model.calibration is not None:
        # The fit here needs the classifier's own probabilities.
        probabilities, new_probabilities = (
            soften(p, 1 / model.calibration.temperature) for p in (probabilities, new_probabilities)
        )
    draws = redraw(new_truth, np.random.default_rng(0))
    fitted = Calibration.fit(truth, probabilities)
    softened = soften(new_probabilities, fitted.temperature)
    right = int((new_probabilities.argmax(axis=1) == new_truth).sum())
    lines = [
        f"Weights `{model.weights.name}` ({model.weights_digest}) on small phantoms of the "
        f"training scanners: fitted on {len(truth)} patients, tried on {len(new_truth)} others"
        + (f"; {refused} phantoms refused." if refused else "."),
        "",
        f"Accuracy {wilson(right, len(new_truth))}; temperature {fitted.temperature:.2f}; expected "
        f"calibration error {calibration_error(new_truth, new_probabilities, draws)} before and "
        f"{calibration_error(new_truth, softened, draws)} after.",
        "",
        "| promised | found | 95 of 100 such trials find | mean labels in a set | abstained |",
        "|---|---|---|---|---|",
    ]
    for coverage in COVERAGES:
        low, high = expected(coverage, len(truth), len(new_truth))
        sets = Calibration.fit(truth, probabilities, coverage=coverage).sets.sets(softened)
        held = int(sets[np.arange(len(new_truth)), new_truth].sum())
        open_ = int((sets.sum(axis=1) > 1).sum())
        lines.append(
            f"| {coverage:.2f} | {wilson(held, len(new_truth))} | {low:.3f} to {high:.3f} "
            f"| {sets.sum(axis=1).mean():.2f} | {wilson(open_, len(new_truth))} |"
        )
    lines += [
        "",
        "Intervals are 95 %, Wilson's, or a bootstrap over patients for the calibration error; "
        "they are of the patients tried. The trials count the chance of those fitted on as well. "
        "Found may exceed promised: a set is never empty.",
    ]
    return "\n".join(lines) + "\n"


def expected(coverage: float, fit: int, tried: int) -> tuple[float, float]:
    """Where the share that is found lies in 95 of 100 trials, if the promise is kept.

    Args:
        coverage: Promised.
        fit: Patients whom the threshold was fitted on.
        tried: Patients it is tried on.

    Source: given the threshold, coverage follows a beta distribution (Vovk 2012, proposition 2a).
    """
    rank = min(fit, math.ceil((fit + 1) * coverage))
    hits = stats.betabinom(tried, rank, fit + 1 - rank)
    low, high = hits.ppf([0.025, 0.975]) / tried
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
