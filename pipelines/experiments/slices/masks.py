"""The U-Net system on pictures with drawn lesions whose patients are not known, in blocks.

    python -m pipelines.experiments.slices.masks PICTURES MASKS --work runs/masks --preset tiny
        [--from-scratch]

A mask has the name of its picture, but for the ending. Files are numbered; those that follow each
other are likely of one patient, so they are divided in blocks of successive numbers. Every block is
tested by a network that the others taught. A block that was trained before is not trained again,
and one that was interrupted goes on. Further flags go to the training. Pictures and masks are
copied into the work folder.

Printed are Dice by picture and pooled, with intervals over blocks, from ImageNet weights and, if
asked for, from scratch.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidctnet.cli import main as covidctnet
from covidctnet.contract import RunSettings
from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import bootstrap, redraw
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.slicewise.table import read_images
from covidctnet.systems.deeptek_unet.classes import CLASSES
from covidctnet.systems.deeptek_unet.masks import mask_of_picture
from covidctnet.systems.deeptek_unet.predictor import MaskPredictor
from covidctnet.systems.deeptek_unet.rule import dice
from covidctnet.systems.deeptek_unet.settings import square
from covidctnet.training.images import Division, StoredImage, divide_images, store_images
from covidctnet.weights import load_weights
from pipelines.experiments.command import tell

CPU = RunSettings(device="cpu", precision="32")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def number_of(path: Path) -> tuple[int, str]:
    """Files in the order of the number at the end of their names."""
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else 0, path.name


def make_set(pictures: Path, masks: Path, folder: Path, blocks: int) -> Path:
    """A folder with ``images.csv``, whose sources are the blocks.

    Raises:
        UsageError: If a picture has no mask, or there are fewer pictures than blocks.
    """
    files = sorted((p for p in pictures.iterdir() if p.suffix in SUFFIXES), key=number_of)
    of_name = {p.stem: p for p in masks.iterdir() if p.suffix in SUFFIXES}
    without = [p.name for p in files if p.stem not in of_name]
    if without or len(files) < blocks:
        raise UsageError(
            f"expected a mask for each picture and {blocks} pictures at least, got {len(files)} "
            f"pictures, {len(without)} without a mask. Give both folders of one data set."
        )
    make_folder(folder / "masks")
    rows: list[tuple[str, ...]] = [("file", "label", "source", "mask")]
    for place, file in enumerate(files):
        mask = of_name[file.stem]
        name = f"{place:04d}"
        shutil.copyfile(file, folder / f"{name}{file.suffix}")
        shutil.copyfile(mask, folder / "masks" / f"{name}{mask.suffix}")
        block = f"block {place * blocks // len(files)}"
        rows.append((f"{name}{file.suffix}", "Covid-19", block, f"masks/{name}{mask.suffix}"))
    write_whole(folder / "images.csv", table_text(rows))
    return folder


def train_block(
    given: argparse.Namespace, start: str, block: int, folder: Path, flags: Sequence[str]
) -> MaskPredictor:
    """The network that is tested on one block, trained where it is not there yet."""
    work = Path(given.work) / f"{start}{block}"
    arguments = ["train", "deeptek_unet", "segmenter", "--preset", given.preset, f"--work={work}"]
    arguments += [f"--data.images={folder}", "--data.patients_unknown=true"]
    arguments += [f"--data.division.folds={given.blocks}", f"--data.division.fold={block}", *flags]
    if start == "scratch":
        arguments.append("--model.pretrained=")
    if any((work / "segmenter").rglob("last.ckpt")):
        arguments.append("--ckpt_path=last")
    if not (work / "weights" / "card.json").is_file() and covidctnet(arguments) != 0:
        raise UsageError(f"the training for block {block} failed; see above")
    return MaskPredictor(load_weights(work / "weights"), CPU)


@dataclass(frozen=True)
class Tested:
    """Masks of tested pictures, at the size of the network.

    Attributes:
        found: bool, (picture, size, size).
        drawn: The same shape.
        blocks: Of each picture.
    """

    found: np.ndarray
    drawn: np.ndarray
    blocks: np.ndarray


def tested(model: MaskPredictor, images: Sequence[StoredImage]) -> tuple[np.ndarray, np.ndarray]:
    """Found and drawn masks of pictures."""
    size = model.settings.size
    shown = np.stack([square(one.pixels(), size) for one in images])
    drawn = np.stack([square(one.labels(), size, is_mask=True) for one in images]) > 0
    found = model.probabilities(shown).max(axis=1) > model.settings.rule.probability
    return found, drawn


def page(given: argparse.Namespace, flags: Sequence[str]) -> Iterator[str]:
    """The page, line by line."""
    folder = make_set(given.pictures, given.masks, Path(given.work) / "set", given.blocks)
    images = read_images(folder, CLASSES, patients_unknown=True)
    stored = store_images(images, Path(given.work) / "pictures", mask_of=mask_of_picture)
    yield (
        f"{len(images)} pictures with lesions in {given.blocks} blocks; patients are not known, so "
        "that pictures of one may lie in two blocks next to each other. None is without a lesion, "
        "so there are no figures but Dice. Intervals are 95 %, over blocks."
    )
    yield ""
    yield "| start | Dice, mean over pictures | Dice, pooled |"
    yield "|---|---|---|"
    for start in ("imagenet", "scratch")[: 1 + given.from_scratch]:
        parts = []
        for block in range(given.blocks):
            model = train_block(given, start, block, folder, flags)
            test = divide_images(stored, images, Division(given.blocks, block))["test"]
            found, drawn = tested(model, test)
            parts.append(Tested(found, drawn, np.full(len(test), block)))
        yield row("ImageNet" if start == "imagenet" else "from scratch", parts)


def row(name: str, parts: Sequence[Tested]) -> str:
    """One line of the table."""
    found, drawn = (np.concatenate([getattr(p, k) for p in parts]) for k in ("found", "drawn"))
    blocks = np.concatenate([p.blocks for p in parts])

    def figures(index: np.ndarray) -> dict[str, float]:
        agreement = dice(found[index], drawn[index])
        return {"mean": agreement.mean, "pooled": agreement.pooled}

    groups = np.zeros(len(blocks), dtype=int)
    draws = redraw(groups, np.random.default_rng(0), patients=blocks)
    told = bootstrap(figures, draws)
    return f"| {name} | {told['mean']} | {told['pooled']} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--work", required=True)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--from-scratch", action="store_true")
    parser.add_argument("--output", type=Path)
    given, flags = parser.parse_known_args(arguments)
    return tell(lambda: "".join(f"{line}\n" for line in page(given, flags)), given.output)


if __name__ == "__main__":
    sys.exit(main())
