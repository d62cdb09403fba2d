"""What the look for a frontal chest refuses, flags and lets pass, on pictures of several kinds.

    python -m pipelines.experiments.radiographs.look --radiographs NAME=FOLDER ...
        [--others NAME=FOLDER ...] [--scans FOLDER ...] --output docs/measured/radiographs.md

``--radiographs`` are frontal radiographs of chests, ``--others`` anything else, such as CT slices.
Scans are projected from the front and from the side. The limits were chosen on the same pictures:
the table says what they do, not how they will do on others.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io import find_studies
from covidctnet.io.child import PictureChild, ReadingChild
from covidctnet.radiograph.chest import look_at
from covidctnet.radiograph.convert import grey_of
from covidctnet.volume import Volume
from covidctnet.workers.isolate import ChildError
from pipelines.experiments.command import tell

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# HU that a projection counts: air is nothing, and metal no more than dense bone.
LOW_HU, HIGH_HU = -1000.0, 1000.0


def pictures_in(folder: Path) -> Iterator[np.ndarray]:
    """Grey values of every picture below a folder that can be read."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    with PictureChild() as read:
        for file in files:
            try:
                yield grey_of(read(file))
            except (StudyError, ChildError):
                continue


def projected(volume: Volume, axis: int) -> np.ndarray:
    """Attenuation summed along an axis, head up, as 8 bits."""
    dense = np.clip(volume.array.astype(np.float32), LOW_HU, HIGH_HU) - LOW_HU
    summed = dense.sum(axis=axis)[::-1]
    low, high = np.percentile(summed, [2, 99.5])
    grey = np.clip((summed - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.rint(grey).astype(np.uint8)


def row(name: str, pictures: Iterable[np.ndarray]) -> str:
    """How many are refused, flagged and let pass."""
    counts: Counter[str] = Counter()
    for grey in pictures:
        view = look_at(grey)
        counts["all"] += 1
        if view.is_ct:
            counts["ct"] += 1
        elif view.is_no_chest:
            counts["no chest"] += 1
        else:
            counts["flagged" if view.is_doubtful else "passed"] += 1
    cells = [counts[key] for key in ("all", "ct", "no chest", "flagged", "passed")]
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"


def page(given: argparse.Namespace) -> Iterator[str]:
    """The page, line by line."""
    yield "| pictures | number | refused as CT | refused as no chest | flagged | passed |"
    yield "|---|---|---|---|---|---|"
    for named in (*given.radiographs, *given.others):
        name, _, folder = named.partition("=")
        yield row(name, pictures_in(Path(folder)))
    front: list[np.ndarray] = []
    side: list[np.ndarray] = []
    with ReadingChild() as read:
        for study in find_studies(given.scans) if given.scans else ():
            try:
                volume = read(study)
            except (StudyError, ChildError):
                continue
            front.append(projected(volume, 1))
            side.append(projected(volume, 2))
    if front:
        yield row("CT scans projected from the front", front)
        yield row("the same scans projected from the side", side)


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--radiographs", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--others", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--scans", nargs="+", default=[], type=Path)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    return tell(lambda: "".join(f"{line}\n" for line in page(given)), given.output)


if __name__ == "__main__":
    sys.exit(main())
