"""A system on a folder of pictures, in folds, with its controls.

    python -m pipelines.experiments.slices.folds FOLDER --work runs/folds --preset tiny
        [--system xray_vgg16] [--across FOLDER] [--from-scratch] [--lungs-blacked-out]
        [--train-blacked-out]

The system is ``resnet50_slices`` or one of radiographs.

Every fold trains a fresh network by the command line and scores pictures that taught nothing; those
of one patient, of one source, and copies are in one fold. A fold that was trained before is not
trained again, and one that was interrupted goes on. Further flags go to the training.

The shortcut baseline on the same folds is always in the table. ``--from-scratch`` trains the same
folds without ImageNet weights. ``--lungs-blacked-out`` scores the test pictures without lungs;
``--train-blacked-out`` trains without them, too. ``--across`` names pictures of another set, which
are scored by the mean of the networks of all folds; copies of training pictures are left out.

Printed are figures by picture, with intervals over patients or sources, and by patient where
patients are known; and the confusion matrix.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from covidctnet.classes import Classes
from covidctnet.cli import main as covidctnet
from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import Estimate, auc, bootstrap, redraw
from covidctnet.evaluation.slicewise import patient_figures, slice_figures
from covidctnet.io.child import PictureChild
from covidctnet.io.picture import Picture
from covidctnet.radiograph.convert import grey_of
from covidctnet.registry import find_system
from covidctnet.run.load import load
from covidctnet.slicewise.aggregate import patient_scores
from covidctnet.slicewise.leak import find_copies, fingerprint
from covidctnet.slicewise.shortcut import fit_shortcut, shortcut_features, shortcut_scores
from covidctnet.slicewise.table import Images, PatientImages, read_images
from covidctnet.slicewise.window import grey_8_bit
from covidctnet.training.images import Division, StoredImage, divide_images, store_images
from pipelines.experiments.command import tell

THRESHOLD = 0.5
NETWORK, SHORTCUT = "network", "shortcut baseline"
TESTED_BLACK = "network, lungs blacked out in the test"


@dataclass(frozen=True)
class Variant:
    """One way to train the same folds.

    Attributes:
        name: In the table.
        folder: Of its work folders, before the number of the fold.
        flags: That make it.
    """

    name: str
    folder: str
    flags: tuple[str, ...] = ()


PLAIN = Variant(NETWORK, "fold")
FROM_SCRATCH = Variant("network from scratch", "scratch", ("--model.pretrained=",))
TRAINED_BLACK = Variant(
    "network, lungs blacked out in training and test",
    "blacked-out",
    ("--data.lungs_blacked_out=true",),
)


class Scoring(Protocol):
    """A predictor of single pictures."""

    settings: Any

    def scores(self, pictures: np.ndarray, /) -> np.ndarray:
        """Probabilities, (picture, class), of uint8 pictures (picture, size, size)."""


@dataclass(frozen=True)
class Subject:
    """The system that is looked at.

    Attributes:
        name: Of the system.
        classes: Of its task.
        is_radiograph: Whether it reads radiographs, no slices.
        points: Published operating points of a picture.
    """

    name: str
    classes: Classes
    is_radiograph: bool
    points: Mapping[str, float]

    @classmethod
    def of(cls, name: str, flags: Sequence[str]) -> Subject:
        """A system by its name, with the task that flags of its training name."""
        system = find_system(name)
        home = f"covidctnet.systems.{name}"
        tasks = getattr(import_module(f"{home}.classes"), "TASKS", {})
        named = [flag.partition("=")[2] for flag in flags if flag.startswith("--data.task=")]
        classes = tasks[named[-1]] if named and named[-1] in tasks else system.classes
        points = getattr(import_module(f"{home}.published"), "OPERATING_POINTS", {})
        return cls(name, classes, system.modality == "radiograph", points)

    @property
    def unit(self) -> str:
        """What one picture is called."""
        return "radiograph" if self.is_radiograph else "slice"

    def read(self, folder: Path, *, patients_unknown: bool) -> Images:
        """The labelled pictures of a folder."""
        return read_images(
            folder,
            self.classes,
            patients_unknown=patients_unknown,
            patient_in_name=self.is_radiograph,
        )

    def grey(self, picture: Picture) -> np.ndarray:
        """Grey values as training takes them."""
        return grey_of(picture) if self.is_radiograph else grey_8_bit(picture)


def train_fold(
    given: argparse.Namespace, variant: Variant, fold: int, flags: Sequence[str]
) -> Scoring:
    """The network of one fold, trained where it is not there yet."""
    work = Path(given.work) / f"{variant.folder}{fold}"
    arguments = ["train", given.system, "classifier", "--preset", given.preset]
    arguments += [f"--work={work}", f"--data.images={given.folder}"]
    arguments += [f"--data.patients_unknown={str(given.patients_unknown).lower()}"]
    arguments += [f"--data.division.folds={given.folds}", f"--data.division.fold={fold}"]
    arguments += [*flags, *variant.flags]
    if any((work / "classifier").rglob("last.ckpt")):
        arguments.append("--ckpt_path=last")
    if not (work / "weights" / "card.json").is_file() and covidctnet(arguments) != 0:
        raise UsageError(f"the training of fold {fold} failed; see above")
    found: Any = load(work / "weights", device="cpu", precision="32")
    scoring: Scoring = found
    return scoring


@dataclass
class Scored:
    """Scores of all pictures by one model, each by the network that has not seen it.

    Attributes:
        slices: One a picture.
        folds: Of each picture.
        decided: The same, moved so that one half stands for the fold's own threshold of patients.
    """

    slices: np.ndarray
    folds: np.ndarray
    decided: np.ndarray


def in_folds(
    stored: Sequence[StoredImage],
    images: Images,
    models: Sequence[Scoring],
    *,
    black: bool = False,
) -> Scored:
    """Score every picture by the network of the fold that it tests."""
    places = {image.where: place for place, image in enumerate(images)}
    found = Scored(*(np.full(len(images), np.nan) for _ in range(3)))
    for fold, model in enumerate(models):
        settings = replace(model.settings, lungs_blacked_out=black)
        # The parts that the training made, as they follow from the pictures alone.
        tested = divide_images(stored, images, Division(len(models), fold))["test"]
        shown = np.stack([settings.picture(one.pixels()) for one in tested])
        scores = model.scores(shown)[:, int(images.classes.target)].tolist()
        for one, score in zip(tested, scores, strict=True):
            place = places[one.image.where]
            found.slices[place], found.folds[place] = score, fold
            points = settings.points
            found.decided[place] = score if points is None else points.decided(score)
    return found


def page(given: argparse.Namespace, flags: Sequence[str]) -> Iterator[str]:
    """The page, line by line."""
    subject = Subject.of(given.system, flags)
    images = subject.read(given.folder, patients_unknown=given.patients_unknown)
    variants = [PLAIN]
    variants += [FROM_SCRATCH] if given.from_scratch else []
    variants += [TRAINED_BLACK] if given.train_blacked_out else []
    models = {
        one.name: [train_fold(given, one, fold, flags) for fold in range(given.folds)]
        for one in variants
    }
    stored = store_images(images, Path(given.work) / "pictures", grey=subject.grey)
    scored = {
        name: in_folds(stored, images, of_folds, black=name == TRAINED_BLACK.name)
        for name, of_folds in models.items()
    }
    if given.lungs_blacked_out:
        scored[TESTED_BLACK] = in_folds(stored, images, models[NETWORK], black=True)
    with PictureChild() as read:
        pictures = [read(image.file) for image in images]
    features = shortcut_features(pictures)
    shortcut = shortcut_scores(features, images, scored[NETWORK].folds).positive

    gained = difference(images, scored[NETWORK].slices, shortcut)
    yield verdict(gained)
    yield ""
    groups = len(np.unique(images.groups()))
    yield f"{len(images)} {subject.unit}s of {groups} patients or sources, {given.folds} folds."
    yield ""
    yield "| model | unit | figure | value (95 % interval) |"
    yield "|---|---|---|---|"
    for name, one in scored.items():
        yield from slice_rows(name, images, one.slices, subject.unit, at=subject.points)
        if isinstance(images, PatientImages):
            yield from patient_rows(name, images, one)
    yield from slice_rows(SHORTCUT, images, shortcut, subject.unit)
    yield difference_row(SHORTCUT, gained, subject.unit)
    for name, one in scored.items():
        if name != NETWORK:
            less = difference(images, scored[NETWORK].slices, one.slices)
            yield difference_row(name, less, subject.unit)
    yield ""
    yield from confusion(images, scored[NETWORK], subject.unit)
    if given.across:
        yield ""
        yield from across(given, subject, models, pictures, fit_shortcut(features, images.labels))


def verdict(gained: Estimate) -> str:
    """The first line: whether the network has shown anything beyond the shortcut baseline."""
    if gained.low > 0:
        return f"The network's AUC is above that of the shortcut baseline: {gained}."
    return (
        f"The network does not beat the shortcut baseline: difference of the AUCs {gained}. It has "
        "shown nothing about lungs."
    )


def confusion(images: Images, one: Scored, unit: str) -> Iterator[str]:
    """The confusion matrix, by patient where patients are known, at the thresholds of the folds."""
    target, normal = images.classes.target.title, images.classes.normal
    called, positive = one.slices > THRESHOLD, images.positive
    if isinstance(images, PatientImages):
        unit = "patient"
        by_patient = patient_scores(images.patients, one.decided.tolist())
        ill = patient_scores(images.patients, images.positive.astype(float).tolist())
        called = np.array(list(by_patient.values())) > THRESHOLD
        positive = np.array(list(ill.values())) > THRESHOLD
    yield f"| true, by {unit} | called {normal} | called {target} |"
    yield "|---|---|---|"
    for title, is_row in ((normal, ~positive), (target, positive)):
        total = max(int(is_row.sum()), 1)
        cells = [int((is_row & ~called).sum()), int((is_row & called).sum())]
        yield f"| {title} | " + " | ".join(f"{n} ({n / total:.1%})" for n in cells) + " |"


def slice_rows(
    name: str,
    images: Images,
    scores: np.ndarray,
    unit: str,
    *,
    at: Mapping[str, float] | None = None,
) -> Iterator[str]:
    """Figures by picture; sensitivity and specificity at further thresholds."""
    found = slice_figures(images, scores, THRESHOLD, np.random.default_rng(0)).figures
    for figure, value in found.items():
        yield f"| {name} | {unit} | {figure} | {value} |"
    for point, threshold in (at or {}).items():
        there = slice_figures(images, scores, threshold, np.random.default_rng(0)).figures
        for figure in ("sensitivity", "specificity"):
            yield f"| {name} | {unit} | {figure} at {point} ({threshold:g}) | {there[figure]} |"


def patient_rows(name: str, images: PatientImages, one: Scored) -> Iterator[str]:
    """Figures by patient, at the thresholds that the folds chose on validation patients."""
    for figure, value in patient_figures(images, one.decided, THRESHOLD).items():
        yield f"| {name} | patient | {figure} | {value} |"


def difference_row(name: str, gained: Estimate, unit: str) -> str:
    """How much better the network is."""
    return f"| network - {name} | {unit} | auc | {gained} |"


def difference(images: Images, one: np.ndarray, other: np.ndarray) -> Estimate:
    """The difference of two AUCs on the same slices, with its interval."""
    positive = images.positive
    draws = redraw(positive.astype(int), np.random.default_rng(0), patients=images.groups())

    def figures(index: np.ndarray) -> dict[str, float]:
        drawn = positive[index]
        return {"auc": auc(drawn, one[index]) - auc(drawn, other[index])}

    return bootstrap(figures, draws)["auc"]


def across(
    given: argparse.Namespace,
    subject: Subject,
    models: Mapping[str, Sequence[Scoring]],
    taught: Sequence[Picture],
    shortcut: object,
) -> Iterator[str]:
    """Figures on pictures of another set that are no copies of training pictures."""
    others = subject.read(given.across, patients_unknown=True)
    with PictureChild() as read:
        pictures = [read(image.file) for image in others]
    prints = [fingerprint(subject.grey(picture)) for picture in (*taught, *pictures)]
    copies = {
        second - len(taught)
        for first, second, _ in find_copies(prints)
        if first < len(taught) <= second
    }
    kept = [place for place in range(len(others)) if place not in copies]
    others = replace(others, images=tuple(others[place] for place in kept))
    pictures = [pictures[place] for place in kept]
    yield (
        f"Across sets: trained on {given.folder.name}, tested on {len(others)} pictures of "
        f"{given.across.name}; {len(copies)} copies of training pictures left out."
    )
    yield ""
    yield "| model | unit | figure | value (95 % interval) |"
    yield "|---|---|---|---|"
    greys = [subject.grey(picture) for picture in pictures]
    target = int(others.classes.target)
    for name, of_folds in models.items():
        scores = np.mean([scores_of(model, greys, target) for model in of_folds], axis=0)
        yield from slice_rows(f"{name}, mean of {len(of_folds)}", others, scores, subject.unit)
    features = shortcut_features(pictures)
    found = shortcut.predict_proba(features)[:, target]  # type: ignore[attr-defined]
    yield from slice_rows(SHORTCUT, others, found, subject.unit)


def scores_of(model: Scoring, greys: Sequence[np.ndarray], target: int) -> np.ndarray:
    """Probability of the target class of pictures."""
    shown = np.stack([model.settings.picture(grey) for grey in greys])
    found: np.ndarray = model.scores(shown)[:, target]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", required=True)
    parser.add_argument("--system", default="resnet50_slices")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--across", type=Path, default=None)
    for flag in ("patients-unknown", "from-scratch", "lungs-blacked-out", "train-blacked-out"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--output", type=Path)
    given, flags = parser.parse_known_args(arguments)
    make: Callable[[], str] = lambda: "".join(f"{line}\n" for line in page(given, flags))  # noqa: E731
    return tell(make, given.output)


if __name__ == "__main__":
    sys.exit(main())
