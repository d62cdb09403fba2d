"""The ResNet-50 system on a folder of pictures, in folds, and the shortcut baseline.

    python -m pipelines.experiments.slices.folds FOLDER --work runs/folds --preset tiny

Every fold is trained by the command line and scores pictures that taught nothing; those of one
patient, of one source, and copies are in one fold. Further flags go to the training. Printed are
figures by slice, with intervals over patients or sources.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from covidctnet.cli import main as covidctnet
from covidctnet.contract import RunSettings
from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import Estimate, auc, bootstrap, redraw
from covidctnet.evaluation.slicewise import slice_figures
from covidctnet.io.child import PictureChild
from covidctnet.slicewise.shortcut import shortcut_features, shortcut_scores
from covidctnet.slicewise.table import Images, read_images
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.predictor import SlicePredictor
from covidctnet.systems.resnet50_slices.training.data import SliceData
from covidctnet.training.images import Division
from covidctnet.weights import load_weights
from pipelines.experiments.command import tell

THRESHOLD = 0.5
CPU = RunSettings(device="cpu", precision="32")


def fold_scores(
    given: argparse.Namespace, fold: int, flags: list[str], places: dict[str, int]
) -> dict[int, float]:
    """Train one fold, and score its test pictures by their places in the table."""
    work = Path(given.work) / f"fold{fold}"
    arguments = ["train", "resnet50_slices", "classifier", "--preset", given.preset]
    arguments += [f"--work={work}", f"--data.images={given.folder}"]
    arguments += [f"--data.patients_unknown={given.patients_unknown}"]
    arguments += [f"--data.division.folds={given.folds}", f"--data.division.fold={fold}", *flags]
    if not (work / "weights" / "card.json").is_file() and covidctnet(arguments) != 0:
        raise UsageError(f"the training of fold {fold} failed; see above")
    model = SlicePredictor(load_weights(work / "weights"), CPU)
    settings = model.settings
    data = SliceData(
        str(work),
        images=str(given.folder),
        patients_unknown=given.patients_unknown,
        division=Division(given.folds, fold),
        size=settings.size,
        fit=settings.fit,
    )
    data.setup("test")
    tested = data.sides["test"]
    pictures = np.stack([settings.picture(one.pixels()) for one in tested])
    scores = model.scores(pictures)[:, int(CLASSES.target)]
    return {places[one.image.where]: float(p) for one, p in zip(tested, scores, strict=True)}


def table(given: argparse.Namespace, flags: list[str]) -> str:
    """All folds, and the shortcut baseline on the same ones."""
    images = read_images(given.folder, CLASSES, patients_unknown=given.patients_unknown)
    places = {image.where: place for place, image in enumerate(images)}
    scores, folds = np.full(len(images), np.nan), np.full(len(images), -1)
    for fold in range(given.folds):
        for place, score in fold_scores(given, fold, flags, places).items():
            scores[place], folds[place] = score, fold
    with PictureChild() as read:
        features = shortcut_features(read(image.file) for image in images)
    shortcut = shortcut_scores(features, images, folds).positive
    lines = ["| model | figure | value (95 % interval), slices |", "|---|---|---|"]
    for name, values in (("network", scores), ("shortcut baseline", shortcut)):
        found = slice_figures(images, values, THRESHOLD, np.random.default_rng(0))
        lines += [f"| {name} | {figure} | {value} |" for figure, value in found.figures.items()]
    lines.append(f"| network - shortcut | auc | {difference(images, scores, shortcut)} |")
    groups = len(np.unique(images.groups()))
    return "\n".join([*lines, "", f"{len(images)} slices of {groups} patients or sources"]) + "\n"


def difference(images: Images, one: np.ndarray, other: np.ndarray) -> Estimate:
    """The difference of two AUCs on the same slices, with its interval."""
    positive = images.positive
    draws = redraw(positive.astype(int), np.random.default_rng(0), patients=images.groups())

    def figures(index: np.ndarray) -> dict[str, float]:
        drawn = positive[index]
        return {"auc": auc(drawn, one[index]) - auc(drawn, other[index])}

    return bootstrap(figures, draws)["auc"]


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", required=True)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--patients-unknown", action="store_true")
    parser.add_argument("--output", type=Path)
    given, flags = parser.parse_known_args(arguments)
    return tell(lambda: table(given, flags), given.output)


if __name__ == "__main__":
    sys.exit(main())
