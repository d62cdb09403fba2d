"""Do the networks rewritten for inference answer as the trained ones, on every study of folders?

    python -m pipelines.experiments.exactness.run FOLDER... --weights compact

The plain path runs the networks as they were trained, in float32. Next to it stand the networks
rewritten for inference, in float32 and in bfloat16, and compiled where one asks for it. Everything
before the networks is the same; `tests/systems/covidctnet/test_denoise.py` compares lazy slices
with all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.errors import StudyError, UsageError
from covidctnet.evaluation.intervals import wilson
from covidctnet.io import find_studies
from covidctnet.io.child import ReadingChild
from covidctnet.results import Prediction
from covidctnet.run.classify import DEFAULT_LIMITS
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.volume import SYNTHETIC_NOTE
from covidctnet.workers.isolate import ChildError
from pipelines.experiments.command import tell

PLAIN = "as trained, float32"
# What bfloat16 may change of a probability.
TOLERANCE = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer every study in every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compiled", action="store_true", help="compiled networks too")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        models = ways(options.weights, options.device, compiled=options.compiled)
        by_way: dict[str, list[Prediction]] = {way: [] for way in models}
        refused = 0
        for answers in answered(models, options.folders):
            refused += not answers
            for way, answer in answers.items():
                by_way[way].append(answer)
        if not by_way[PLAIN]:
            raise UsageError("no study below these folders can be read")
        return render(by_way, models[PLAIN], refused)

    return tell(make, options.output)


def ways(name: str, device: str, *, compiled: bool = False) -> dict[str, CovidCTNet]:
    """The plain path first, then the fast ones."""
    weights = load_weights(name)
    plain = CovidCTNet(weights, device=device, precision="32")
    plain.denoiser = weights.denoiser().to(plain.device)
    plain.classifier = weights.classifier().to(plain.device)
    make = partial(CovidCTNet, weights, device=device)
    fast = {
        PLAIN: plain,
        "rewritten, float32": make(precision="32"),
        "rewritten, bfloat16": make(precision="bf16"),
    }
    if compiled:
        fast["rewritten, bfloat16, compiled"] = make(precision="bf16", compiled=True)
    return fast


def answered(
    models: Mapping[str, CovidCTNet], folders: Sequence[Path]
) -> Iterator[dict[str, Prediction]]:
    """What every way answers, study by study; nothing where one is refused."""
    with ReadingChild(DEFAULT_LIMITS) as read:
        for study in find_studies(folders):
            try:
                prepared = models[PLAIN].prepare(read(study))
            except (StudyError, ChildError) as error:
                sys.stderr.write(f"study {study.id}: {error.code}\n")
                yield {}
            else:
                yield {way: model(prepared) for way, model in models.items()}


def render(by_way: Mapping[str, Sequence[Prediction]], model: CovidCTNet, refused: int) -> str:
    """A row a way."""
    plain = by_way[PLAIN]
    device = model.device.type
    if device == "cuda":
        device = "a GPU, whose convolutions take float32 as TF32"
    synthetic = sum(any(SYNTHETIC_NOTE in note for note in one.notes) for one in plain)
    lines = [
        "# Networks rewritten for inference against the trained ones",
        "",
        f"Made by `make exactness`: {len(plain)} studies, {synthetic} of them phantoms, {refused} "
        f"more refused; weights {model.weights.name} ({model.weights_digest}), on "
        f"{device}. Probabilities after calibration, compared with those of the networks "
        f"{PLAIN}; intervals are Wilson's, 95 %.",
        "",
        "| networks | change of a probability: largest | mean | studies beyond "
        f"{TOLERANCE} | other label | other prediction set |",
        "|---|---|---|---|---|---|",
    ]
    for way, answers in list(by_way.items())[1:]:
        pairs = list(zip(plain, answers, strict=True))
        off = np.abs([_changes(one, other) for one, other in pairs])
        beyond = wilson(int((off.max(axis=1) > TOLERANCE).sum()), len(pairs))
        labels = sum(one.label is not other.label for one, other in pairs)
        sets = sum(one.prediction_set != other.prediction_set for one, other in pairs)
        lines.append(
            f"| {way} | {off.max():.1e} | {off.mean():.1e} | {beyond.value:.2f} "
            f"({beyond.low:.2f}-{beyond.high:.2f}) | {labels} | {sets} |"
        )
    return "\n".join(lines) + "\n"


def _changes(one: Prediction, other: Prediction) -> list[float]:
    return [other.probabilities[label] - one.probabilities[label] for label in CHEST_CT]


if __name__ == "__main__":
    sys.exit(main())
