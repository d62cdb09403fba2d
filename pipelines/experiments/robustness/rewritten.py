"""Lawful ways to write a scan: none may be refused or read otherwise; and slices tampered with.

    python -m pipelines.experiments.robustness.rewritten DATA [DATA ...] --slices 48

Every DICOM scan below the folders is read, and its middle slices are written again in twenty ways:
order, names, transfer syntaxes, UIDs as anonymisers leave them, rescaling, padding, orientation.
Each must give the same voxels at the same places. Then one slice of a scan whose slices have a
rescaling each gets another one, or many slices do: a quarter, a half, every second, one end. That
must be noticed. Prints a table in Markdown and exits with 1 when a way was refused or wrong, or a
change was not noticed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from covidctnet import find_studies, read_study, read_volume
from covidctnet.errors import CovidCTNetError, StudyError
from covidctnet.progress import bar
from tests.catalogue.steps import big_endian, compressed
from tests.io import series
from tests.io.series import Change

__all__ = ["CHANGED", "WAYS", "check_rewritten", "tampered"]

CORNER_MM = 0.01
TAMPERED = 64
# Which of so many slices are changed.
CHANGED: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "one slice": lambda rng, count: np.arange(count) == rng.integers(count),
    "a quarter of the slices": lambda rng, count: rng.permutation(count) < count // 4,
    "a half of the slices": lambda rng, count: rng.permutation(count) < count // 2,
    "every second slice": lambda rng, count: np.arange(count) % 2 == rng.integers(2),
    "the slices of one end": lambda rng, count: np.arange(count) < count // 2,
}


@dataclass(frozen=True, eq=False)
class Scan:
    """Slices of a real scan.

    Attributes:
        array: HU, shape (slice, row, column).
        affine: From its indices to LPS mm.
    """

    array: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Way:
    """How a scan is written.

    Attributes:
        change: Of every slice's header and pixels.
        syntax: Transfer syntax.
        name: Of the file of a slice.
        flips: Which axes are stored from their other end.
        pads: Whether pixels are signed and those outside a circle become padding; then `change`
            is not asked.
    """

    change: Change = lambda ds, index: None
    syntax: str = ExplicitVRLittleEndian
    name: Callable[[int], str] = "IM{:04d}.dcm".format
    flips: tuple[bool, bool, bool] = (False, False, False)
    pads: bool = False


def _rescaled(slope: Callable[[int], float], intercept: Callable[[int], int]) -> Change:
    """The same HU with a rescaling of its own for every slice."""

    def change(ds: Dataset, index: int) -> None:
        hu = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).astype(int) - 1024
        raw = np.rint((hu - intercept(index)) / slope(index))
        ds.RescaleSlope, ds.RescaleIntercept = slope(index), intercept(index)
        ds.PixelRepresentation = 1
        ds.PixelData = raw.astype("<i2").tobytes()

    return change


def _draw(index: int, low: int, high: int) -> int:
    return int(np.random.default_rng([7, index]).integers(low, high))


def _own(keyword: str) -> Change:
    return lambda ds, index: setattr(ds, keyword, series.uid(f"{keyword}/{index}"))


def _value(keyword: str, value: Callable[[int], object]) -> Change:
    return lambda ds, index: setattr(ds, keyword, value(index))


def _without(*keywords: str) -> Change:
    def change(ds: Dataset, index: int) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return change


def _all(*changes: Change) -> Change:
    def change(ds: Dataset, index: int) -> None:
        for one in changes:
            one(ds, index)

    return change


UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
WAYS = {
    "shuffled names": Way(name=lambda i: f"{(i * 7919) % 1009:04d}.dcm"),
    "names without suffix": Way(name=lambda i: f"1.2.840.{i * 31 % 997}"),
    "a folder for every ten": Way(name=lambda i: f"{i // 10}/{i % 10}.dcm"),
    "numbers from head to feet": Way(change=_value("InstanceNumber", lambda i: 500 - i)),
    "no instance numbers": Way(change=_without("InstanceNumber")),
    "implicit": Way(syntax=ImplicitVRLittleEndian),
    "big endian": Way(change=big_endian, syntax=ExplicitVRBigEndian),
    "deflated": Way(syntax=DeflatedExplicitVRLittleEndian),
    "RLE": Way(change=compressed(RLELossless), syntax=RLELossless),
    "JPEG-LS": Way(change=compressed(JPEGLSLossless), syntax=JPEGLSLossless),
    "a series UID each": Way(change=_own("SeriesInstanceUID")),
    "a frame of reference each": Way(change=_own("FrameOfReferenceUID")),
    "no study UID": Way(change=_without("StudyInstanceUID")),
    "all UIDs each slice's own": Way(change=_all(*map(_own, UIDS))),
    "one SOP instance UID": Way(change=_value("SOPInstanceUID", lambda i: "1.2.3")),
    "an acquisition for every slice": Way(change=_value("AcquisitionNumber", lambda i: i)),
    "intercepts in turn": Way(change=_rescaled(lambda i: 1, lambda i: -1024 + 24 * (i % 2))),
    "drawn slopes and intercepts": Way(
        change=_rescaled(lambda i: (1, 0.5)[_draw(i, 0, 2)], lambda i: _draw(i, -1200, 200))
    ),
    "one intercept of its own": Way(
        change=_rescaled(lambda i: 1, lambda i: -1000 if i == 9 else -1024)
    ),
    "padding, prone, from head to feet": Way(flips=(True, True, True), pads=True),
}


def written(scan: Scan, way: Way, folder: Path) -> np.ndarray:
    """Write a scan in a way; returns the HU that it means."""
    array, affine = scan.array, scan.affine.copy()
    truth = array
    if way.pads:
        rows, columns = np.meshgrid(
            *(np.linspace(-1, 1, n) for n in array.shape[1:]), indexing="ij"
        )
        outside = np.hypot(rows, columns) > 1
        array, truth = array.copy(), array.copy()
        array[:, outside], truth[:, outside] = -2000, -1024
    for axis, is_flipped in enumerate(way.flips):
        if is_flipped:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    for index, hu in enumerate(array):
        ds = series.a_slice(np.maximum(hu, -1024), index, affine=affine)
        ds.InstanceNumber, ds.SeriesNumber = index + 1, 3
        ds.SliceThickness = ds.SpacingBetweenSlices = float(np.linalg.norm(affine[:3, 0]))
        if way.pads:
            ds.PixelRepresentation, ds.RescaleIntercept = 1, 0
            ds.PixelData = hu.astype("<i2").tobytes()
            ds.add_new("PixelPaddingValue", "SS", -2000)
        else:
            way.change(ds, index)
        series.save(ds, folder / way.name(index), way.syntax)
    return truth


def check_rewritten(scan: Scan, way: Way) -> str:
    """``right``, ``wrong``, or the code of the refusal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = written(scan, way, folder)
        try:
            volume = read_volume(folder)
        except StudyError as error:
            return error.code
    if volume.shape != truth.shape or not (volume.array == truth).all():
        return "wrong"
    corners = np.array([[*(np.array(truth.shape) * c), 1] for c in np.ndindex(2, 2, 2)]).T
    apart = float(np.abs((volume.affine - scan.affine) @ corners).max())
    return "right" if apart <= CORNER_MM else "wrong"


def tampered(scan: Scan, seed: int, changed: str = "one slice") -> str:
    """What becomes of a scan some of whose slices get a rescaling that is not theirs.

    Args:
        scan: Written with a rescaling for every slice, or, for odd seeds where many slices are
            changed, with one for all.
        seed: Chooses the slices and the change.
        changed: One of `CHANGED`.
    """
    rng = np.random.default_rng([11, seed])
    which = CHANGED[changed](rng, len(scan.array))
    by = float(rng.choice([-1, 1]) * rng.uniform(30, 500))
    factor = float(rng.choice([0.5, 0.9, 1.1, 2.0])) if rng.random() < 0.5 else None
    is_one = changed != "one slice" and seed % 2 == 1
    honest = _rescaled(lambda i: 1, lambda i: -1024 + (0 if is_one else _draw(i, 0, 100)))

    def change(ds: Dataset, index: int) -> None:
        honest(ds, index)
        if which[index] and factor is None:
            ds.RescaleIntercept = round(float(ds.RescaleIntercept) + by)
        elif which[index]:
            ds.RescaleSlope = factor

    return check_rewritten(scan, Way(change=change))


def scans(folders: Sequence[Path], slices: int) -> Iterator[Scan]:
    """The middle slices of every DICOM scan below some folders that can be read."""
    for study in find_studies(folders):
        if study.format != "dicom":
            continue
        try:
            volume = read_study(study)
        except StudyError:
            continue
        if volume.array.dtype != np.int16:
            continue
        first = max(0, (len(volume.array) - slices) // 2)
        affine = volume.affine.copy()
        affine[:3, 3] = (affine @ [first, 0, 0, 1])[:3]
        yield Scan(np.maximum(volume.array[first : first + slices], -1024), affine)


def main() -> int:
    """Write, read, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="+", type=Path, help="folders of DICOM scans")
    parser.add_argument("--slices", type=int, default=48, help="of every scan, from its middle")
    options = parser.parse_args()
    try:
        read_scans = list(scans(options.data, options.slices))
    except CovidCTNetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    outcomes: dict[str, list[str]] = {}
    noticed: dict[str, list[str]] = {name: [] for name in CHANGED}
    with bar("rewritten") as progress:
        for number, scan in enumerate(read_scans, start=1):
            for name, way in WAYS.items():
                outcomes.setdefault(name, []).append(check_rewritten(scan, way))
            progress(number, len(read_scans))
    for name, row in noticed.items():
        for seed in range(TAMPERED if read_scans else 0):
            row.append(tampered(read_scans[seed % len(read_scans)], seed, name))
    sys.stdout.write(table(outcomes, noticed))
    is_good = all(outcome == "right" for row in outcomes.values() for outcome in row)
    is_noticed = all("wrong" not in row for row in noticed.values())
    return 0 if read_scans and is_good and is_noticed else 1


def table(outcomes: dict[str, list[str]], noticed: dict[str, list[str]]) -> str:
    """Outcomes by way, and of what was changed, in Markdown."""
    lines = ["| way | right | refused | wrong |", "|---|---|---|---|"]
    total = [0, 0, 0]
    for name, row in outcomes.items():
        counts = [row.count("right"), 0, row.count("wrong")]
        counts[1] = len(row) - sum(counts)
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append(f"| {name} | {counts[0]} | {counts[1]} | {counts[2]} |")
    lines.append(f"| all | {total[0]} | {total[1]} | {total[2]} |")
    lines += ["", "| rescaling changed of | noticed | of | read wrongly |", "|---|---|---|---|"]
    for name, row in noticed.items():
        reported = sum(outcome not in ("right", "wrong") for outcome in row)
        lines.append(f"| {name} | {reported} | {len(row)} | {row.count('wrong')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
