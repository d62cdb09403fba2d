"""How much of a lesion lies outside the lungs that the networks look at.

    python -m pipelines.strangers.outside --work runs/work --settings cross-fit.yaml --data /archive

A lung mask that leaves out consolidation hides it: nothing outside the mask is answered. Lesions
are drawn into real Controls, each looked at by the lung network of its own fold, which has not
seen it, and phantoms are drawn, looked at by the network of ``all``, which has seen no ill phantom.
Both are cropped and masked as scans in use are, with the network and by density alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from covidctnet.chest.gate import ChestScan, prepare_chest
from covidctnet.chest.lungs import lung_mask
from covidctnet.classes import CHEST_CT
from covidctnet.cohort.archive import read_cohort
from covidctnet.devices import pick_device, pick_precision
from covidctnet.errors import UsageError
from covidctnet.io import read_study
from covidctnet.phantom import make_phantom
from covidctnet.phantom.painter import paint_lesions
from covidctnet.preprocess import PreprocessSettings
from covidctnet.progress import track
from covidctnet.systems.covidctnet.denoise import place
from covidctnet.systems.covidctnet.segment import add_consolidation
from covidctnet.systems.covidctnet.training.crossfit import CrossFit
from covidctnet.systems.covidctnet.training.folds import ALL
from covidctnet.systems.covidctnet.training.lungs import fill_bases
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.volume import Volume
from pipelines.experiments.command import tell
from pipelines.strangers.run import settings_of

ILL = (CHEST_CT.COVID19, CHEST_CT.CAP)
# Ground glass and consolidation; other findings are no disease of these classes.
DISEASE = (1, 2)
SIZES_ML = (1.0, 10.0)
PLEURA_MM = 3.0
DRAWS = 2000


@dataclass(frozen=True)
class Lesion:
    """One connected lesion.

    Attributes:
        scan: Of which it is part.
        kind: What drew it.
        ml: Its volume.
        is_pleural: Whether it comes within 3 mm of the border of the lungs.
        outside_ml: Of its volume, what lies outside, by the way the lungs were found.
    """

    scan: str
    kind: str
    ml: float
    is_pleural: bool
    outside_ml: Mapping[str, float]


def lesions_of(
    scan: str,
    kind: str,
    volume: Volume,
    truth: np.ndarray,
    lungs: np.ndarray,
    scans: Mapping[str, ChestScan],
) -> Iterator[Lesion]:
    """The lesions of one scan.

    Args:
        scan: Its name.
        kind: What drew them.
        volume: In HU.
        truth: Where they are, bool, the volume's shape.
        lungs: Where lung is, bool, the same shape.
        scans: What the networks look at, by the way the lungs were found.
    """
    labels, count = ndimage.label(truth)
    depth = ndimage.distance_transform_edt(lungs, sampling=volume.spacing)
    numbers = np.arange(1, count + 1)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    near = ndimage.minimum(depth, labels, numbers)
    places = np.argwhere(truth)
    of = labels[truth]
    outside = {}
    for name, looked in scans.items():
        to_unit = np.linalg.inv(looked.unit.affine)
        mm = (volume.affine[:3, :3] @ places.T).T + volume.affine[:3, 3]
        index = np.round((to_unit[:3, :3] @ mm.T).T + to_unit[:3, 3]).astype(int)
        is_in = ((index >= 0) & (index < looked.unit.shape)).all(axis=1)
        is_in[is_in] = looked.lungs[tuple(index[is_in].T)]
        outside[name] = np.bincount(of[~is_in], minlength=count + 1)[1:]
    for number in range(count):
        yield Lesion(
            scan,
            kind,
            float(voxels[number] * volume.voxel_ml),
            bool(near[number] <= PLEURA_MM),
            {k: float(v[number] * volume.voxel_ml) for k, v in outside.items()},
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, look and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="cross-fitted work folder")
    parser.add_argument("--settings", type=Path, required=True, help="its cross-fit.yaml")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="the same archives")
    parser.add_argument("--copies", type=int, default=1, help="of every class and Control")
    parser.add_argument("--phantoms", type=int, default=6, help="of every ill class")
    parser.add_argument("--output", type=Path, default=None, help="page in Markdown")
    options = parser.parse_args(arguments)

    def make() -> str:
        fitted = CrossFit(options.work, settings_of(options.settings))
        drawn = [
            *painted(fitted, options.data, options.copies),
            *phantoms(fitted, options.phantoms),
        ]
        return render(drawn)

    return tell(make, options.output)


def painted(fitted: CrossFit, data: Sequence[Path], copies: int) -> Iterator[Lesion]:
    """Lesions drawn into every Control that taught, and consolidated bases."""
    entries = [e for e in read_cohort(*data) if e.study.id in fitted.hosts]
    if not entries:
        raise UsageError(f"expected the Controls of the work folder in {len(data)} archives")
    for number, entry in enumerate(track(entries, "painted scans")):
        volume = read_study(entry.study)
        lungs = lung_mask(volume)
        look = _looks(fitted, fitted.fold_of(entry.study.id))
        for label in ILL:
            for copy in range(copies):
                drawn = paint_lesions(volume, label, 1000 * number + copy, lungs=lungs)
                truth = np.isin(drawn.lesions, DISEASE) & lungs
                yield from lesions_of(
                    entry.study.id, f"drawn {label}", volume, truth, lungs, look(drawn.volume)
                )
        filled = _with_bases(volume, lungs, number)
        truth = lungs & (filled.array > -500) & (volume.array < filled.array)
        yield from lesions_of(
            entry.study.id, "consolidated bases", volume, truth, lungs, look(filled)
        )


def phantoms(fitted: CrossFit, count: int) -> Iterator[Lesion]:
    """Lesions of phantoms that no network has seen."""
    look = _looks(fitted, ALL)
    for label in ILL:
        for seed in track(range(90_000, 90_000 + count), f"phantoms with {label}"):
            drawn = make_phantom(label, seed)
            truth = np.isin(drawn.lesions, DISEASE) & drawn.lungs
            yield from lesions_of(
                f"phantom {label} {seed}",
                f"phantom {label}",
                drawn.volume,
                truth,
                drawn.lungs,
                look(drawn.volume),
            )


def _with_bases(volume: Volume, lungs: np.ndarray, seed: int) -> Volume:
    window = (-1000.0, 400.0)
    unit = (volume.array.astype(np.float32) - window[0]) / (window[1] - window[0])
    windowed = volume.then("windowed", unit, units="unit", window_hu=window)
    filled = fill_bases(windowed, lungs, np.random.default_rng(seed))
    hu = np.round(filled.array * (window[1] - window[0]) + window[0]).astype(np.int16)
    return volume.then("consolidated bases", np.where(lungs, hu, volume.array))


def _looks(fitted: CrossFit, fold: str) -> Callable[[Volume], dict[str, ChestScan]]:
    weights = load_weights(fitted.networks(fold))
    settings = PreprocessSettings(**weights.card["preprocessing"])
    network = weights.segmenter()
    if network is None:
        raise UsageError(f"the networks of fold {fold} have no lung network. Run cross-fit again.")
    device = pick_device("auto")
    placed = place(network, device, pick_precision("auto", device))
    complete = partial(add_consolidation, network=placed)
    return lambda volume: {
        "network": prepare_chest(volume, settings, complete=complete),
        "density alone": prepare_chest(volume, settings),
    }


def render(lesions: Sequence[Lesion]) -> str:
    """The page: a row a group of lesions."""
    lines = [
        "| lesions | scans | lesions | ml | outside, by the network | outside, by density alone |",
        "|---|---|---|---|---|---|",
    ]
    for name, chosen in _groups(lesions):
        if not chosen:
            continue
        scans = len({one.scan for one in chosen})
        cells = [
            name,
            str(scans),
            str(len(chosen)),
            f"{sum(one.ml for one in chosen):.0f}",
            *(_share(chosen, how) for how in ("network", "density alone")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        "Share of the lesions' volume that lies outside the lungs or the crop that the networks "
        "look at, with a bootstrap interval of 95 % over scans. Everything here is drawn, into "
        "real lungs or into phantoms: no patient's lesion is among them."
    )
    return "\n".join(["# Lesions outside the lungs", "", note, "", *lines, ""])


def _groups(lesions: Sequence[Lesion]) -> Iterator[tuple[str, list[Lesion]]]:
    kinds = list(dict.fromkeys(one.kind for one in lesions))
    yield "all", list(lesions)
    for kind in kinds:
        yield kind, [one for one in lesions if one.kind == kind]
    low, high = SIZES_ML
    yield f"below {low:g} ml", [one for one in lesions if one.ml < low]
    yield f"{low:g} to {high:g} ml", [one for one in lesions if low <= one.ml < high]
    yield f"{high:g} ml and more", [one for one in lesions if one.ml >= high]
    yield f"within {PLEURA_MM:g} mm of the pleura", [one for one in lesions if one.is_pleural]
    yield "further inside", [one for one in lesions if not one.is_pleural]


def _share(lesions: Sequence[Lesion], how: str) -> str:
    """Outside over all, with an interval over scans."""
    scans = sorted({one.scan for one in lesions})
    totals = np.array(
        [
            [
                sum(o.outside_ml[how] for o in lesions if o.scan == scan),
                sum(o.ml for o in lesions if o.scan == scan),
            ]
            for scan in scans
        ]
    )
    share = totals[:, 0].sum() / totals[:, 1].sum()
    drawn = np.random.default_rng(0).integers(len(scans), size=(DRAWS, len(scans)))
    sums = totals[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return f"{share:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    sys.exit(main())
