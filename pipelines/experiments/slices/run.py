"""How near copies of slices and neighbouring slices are, and what the shortcut baseline reaches.

    python -m pipelines.experiments.slices.run FOLDER [--across FOLDER] [--others NAME=FOLDER ...]
        [--scans FOLDER ...]

FOLDER and the one of ``--across`` hold pictures in the classes COVID and NonCOVID, with
``images.csv``. The baseline is fitted in folds by source and patient within FOLDER, and on all of
it for ``--across``. ``--others`` are further pictures for the leak check, ``--scans`` CT scans
whose neighbouring slices are compared.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from covidctnet.classes import Classes
from covidctnet.errors import StudyError
from covidctnet.evaluation.intervals import auc_interval
from covidctnet.evaluation.slicewise import SliceFigures, slice_figures
from covidctnet.io import find_studies, read_study
from covidctnet.io.child import PictureChild
from covidctnet.io.picture import Picture
from covidctnet.slicewise.folds import make_folds
from covidctnet.slicewise.leak import COPY_DISTANCE, Fingerprint, find_copies, fingerprint
from covidctnet.slicewise.shortcut import fit_shortcut, shortcut_features, shortcut_scores
from covidctnet.slicewise.table import Images, read_images
from covidctnet.slicewise.window import grey_8_bit, hu_to_8_bit
from pipelines.experiments.command import tell

CLASSES = Classes(("NonCOVID", "COVID"), normal="NonCOVID")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FOLDS = 5
SEEDS = 10
# Of a scan, every so many slices are copied.
COPIED = 25


def compressed(grey: np.ndarray, quality: int) -> np.ndarray:
    """A picture as JPEG gives it back."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(grey: np.ndarray, share: float) -> np.ndarray:
    """A picture of another size, interpolated, of 32 pixels a side at least."""
    rows, columns = (max(32, round(share * side)) for side in grey.shape)
    return np.asarray(Image.fromarray(grey).resize((columns, rows), Image.Resampling.BILINEAR))


CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 90": lambda grey: compressed(grey, 90),
    "JPEG of quality 75": lambda grey: compressed(grey, 75),
    "JPEG of quality 50": lambda grey: compressed(grey, 50),
    "JPEG of quality 30": lambda grey: compressed(grey, 30),
    "short side 224, JPEG 90": lambda g: compressed(resized(g, 224 / min(g.shape)), 90),
    "half the size": lambda grey: resized(grey, 0.5),
    "half the size, JPEG 75": lambda grey: compressed(resized(grey, 0.5), 75),
    "1.7 times the size": lambda grey: resized(grey, 1.7),
    "contrast 0.8, brighter by 20": lambda g: np.clip(0.8 * g + 20, 0, 255).astype(np.uint8),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read everything and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.experiments.slices.run", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--across", type=Path, default=None)
    parser.add_argument("--others", nargs="*", default=(), metavar="NAME=FOLDER")
    parser.add_argument("--scans", type=Path, nargs="*", default=())
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        return "".join(f"{line}\n" for line in report(options))

    return tell(make, options.output)


def report(options: argparse.Namespace) -> Iterator[str]:
    """The page, line by line."""
    within = read_images(options.folder, CLASSES, patients_unknown=True)
    pictures = read_all(image.file for image in within)
    prints = [fingerprint(grey_8_bit(picture)) for picture in pictures]
    pairs = [copy[:2] for copy in find_copies(prints)]
    features = shortcut_features(pictures)
    sets = {options.folder.name: prints}
    across = None
    if options.across:
        across = read_images(options.across, CLASSES, patients_unknown=True)
        of_across = read_all(image.file for image in across)
        sets[options.across.name] = [fingerprint(grey_8_bit(picture)) for picture in of_across]
    for other in options.others:
        name, _, folder = other.partition("=")
        files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
        sets[name] = [fingerprint(grey_8_bit(picture)) for picture in read_all(files)]
    yield "## Copies of slices"
    yield ""
    yield from copies_table([grey_8_bit(picture) for picture in pictures[::5]], options.scans)
    yield ""
    yield "## Copies within and between sets"
    yield ""
    yield from sets_table(sets)
    yield ""
    yield "## The shortcut baseline"
    yield ""
    yield from baseline_table(options, within, features, pairs, across, of_across if across else [])


def read_all(files: Iterable[Path]) -> list[Picture]:
    """Pictures, read in a child process."""
    with PictureChild() as read:
        return [read(file) for file in files]


def copies_table(pictures: Sequence[np.ndarray], scans: Sequence[Path]) -> Iterator[str]:
    """Distances of copies, and of neighbours in scans."""
    near: list[float] = []
    halfway: list[float] = []
    steps: list[float] = []
    slices = list(pictures)
    for study in find_studies(list(scans)) if scans else ():
        try:
            volume = read_study(study)
        except StudyError:
            continue
        greys = hu_to_8_bit(volume.array)
        slices += list(greys[COPIED // 2 :: COPIED])
        prints = [fingerprint(grey) for grey in greys]
        near += [apart(*two) for two in pairwise(prints)]
        means = ((a.astype(np.uint16) + b) // 2 for a, b in pairwise(greys))
        between = [fingerprint(mean.astype(np.uint8)) for mean in means]
        halfway += [apart(*two) for two in zip(prints, between, strict=False)]
        steps.append(volume.spacing[0])
    yield f"Distances of perceptual hashes; pictures at {COPY_DISTANCE} or less are called copies."
    yield ""
    yield "| pictures compared | pairs | smallest | 1 % | median | 99 % | largest | called copies |"
    yield "|---|---|---|---|---|---|---|---|"
    originals = [fingerprint(grey) for grey in slices]
    for name, change in CHANGES.items():
        copies = [fingerprint(change(grey)) for grey in slices]
        yield row(f"a slice and its copy: {name}", map(apart, originals, copies))
    if steps:
        steps_mm = f"{min(steps):g} to {max(steps):g} mm"
        yield row(f"neighbouring slices of {len(steps)} scans, {steps_mm} apart", near)
        yield row("a slice and the mean of it and the next, as if half as far apart", halfway)


def apart(one: Fingerprint, other: Fingerprint) -> float:
    """Distance of two hashes."""
    assert one.cosines is not None and other.cosines is not None
    return float(np.linalg.norm(one.cosines - other.cosines))


def row(name: str, distances: Iterable[float]) -> str:
    """One line of the table of copies."""
    values = np.array(list(distances))
    cells = " | ".join(f"{value:.3f}" for value in np.quantile(values, [0, 0.01, 0.5, 0.99, 1]))
    return f"| {name} | {len(values)} | {cells} | {(values <= COPY_DISTANCE).mean():.1%} |"


def sets_table(sets: Mapping[str, Sequence[Fingerprint]]) -> Iterator[str]:
    """How many pairs of copies lie within and between sets."""
    names = [name for name, prints in sets.items() for _ in prints]
    copies = find_copies([one for prints in sets.values() for one in prints])
    counts: Counter[tuple[str, str, bool]] = Counter(
        (names[copy.first], names[copy.second], copy.distance == 0) for copy in copies
    )
    yield "Pictures: " + ", ".join(f"{name} {len(prints)}" for name, prints in sets.items()) + "."
    yield ""
    yield "| one set | other set | pairs with the same pixels | pairs of near copies |"
    yield "|---|---|---|---|"
    for one, other in sorted({key[:2] for key in counts}):
        yield f"| {one} | {other} | {counts[one, other, True]} | {counts[one, other, False]} |"


def baseline_table(
    options: argparse.Namespace,
    within: Images,
    features: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    across: Images | None,
    of_across: Sequence[Picture],
) -> Iterator[str]:
    """AUC of the baseline by slice, in folds and across sets."""
    rng = np.random.default_rng(0)
    groups = within.groups(pairs)
    areas = []
    first: SliceFigures | None = None
    of_first = np.zeros(0)
    for seed in range(SEEDS):
        folds = make_folds(within.labels, groups, FOLDS, seed=seed)
        scores = shortcut_scores(features, within, folds).positive
        figures = slice_figures(within, scores, 0.5, rng)
        areas.append(figures.figures["auc"].value)
        if first is None:
            first, of_first = figures, scores
    assert first is not None
    name, mean = options.folder.name, np.mean(areas)
    yield (
        "One logistic regression on size, brightness, border and format of the pictures. "
        "Intervals are 95 %, over whole sources; where these are unknown, as if each slice were of "
        f"another patient, which makes them too narrow. The table has the first seed of "
        f"the folds. Over {SEEDS} seeds the AUC within {name} is {min(areas):.3f} to "
        f"{max(areas):.3f}, {mean:.3f} in the mean."
    )
    yield ""
    yield "| pictures | slices | sources | AUC |"
    yield "|---|---|---|---|"
    yield line(f"{options.folder.name}, {FOLDS} folds by source", within, of_first, first)
    if across is not None:
        model = fit_shortcut(features, within.labels)
        scores = model.predict_proba(shortcut_features(of_across))[:, 1]
        figures = slice_figures(across, scores, 0.5, rng)
        yield line(
            f"{options.across.name}, fitted on all of {options.folder.name}",
            across,
            scores,
            figures,
        )


def line(name: str, images: Images, scores: np.ndarray, figures: SliceFigures) -> str:
    """One line of the table of the baseline."""
    if figures.groups is not None:
        return f"| {name} | {figures.slices} | {figures.groups} | {figures.figures['auc']} |"
    alone = auc_interval(images.positive, scores)
    return f"| {name} | {figures.slices} | unknown | {alone}, too narrow |"


if __name__ == "__main__":
    sys.exit(main())
