"""The table of Dice on pictures with masks whose patients are not known."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from covidctnet.systems.deeptek_unet.settings import MaskSettings
from pipelines.experiments.slices import masks


@pytest.fixture
def drawn(tmp_path):
    """Twelve pictures with a bright lesion each, and its mask."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(12):
        grey = rng.integers(0, 100, (32, 32)).astype(np.uint8)
        mask = np.zeros_like(grey)
        mask[8 : 12 + number, 8:20] = 255
        grey[mask > 0] += 100
        Image.fromarray(grey).save(tmp_path / "pictures" / f"ct_{number}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"ct_{number}.png")
    return tmp_path


def bright(settings):
    """A network that calls the brightest half of a lesion's pixels a lesion."""
    return SimpleNamespace(settings=settings, probabilities=lambda x: (x[:, None] >= 150) * 1.0)


def test_dice_is_by_picture_and_pooled_with_every_picture_tested_once(drawn, monkeypatch, capsys):
    asked = []

    def train_block(given, start, block, folder, flags):
        asked.append((start, block, *flags))
        return bright(MaskSettings(size=32))

    monkeypatch.setattr(masks, "train_block", train_block)
    arguments = [str(drawn / "pictures"), str(drawn / "masks"), "--work", str(drawn / "work")]
    assert masks.main([*arguments, "--blocks=3", "--from-scratch", "--trainer.max_epochs=1"]) == 0
    told = capsys.readouterr().out
    assert "12 pictures with lesions in 3 blocks" in told
    values = [float(v) for v in re.findall(r"\| (0\.\d+) \(0\.\d+-0\.\d+, n=12\)", told)]
    assert len(values) == 4 and values == pytest.approx([2 / 3] * 4, abs=0.05)
    flags = "--trainer.max_epochs=1"
    assert asked == [(start, k, flags) for start in ("imagenet", "scratch") for k in range(3)]


def test_blocks_are_successive_numbers_not_names(drawn):
    folder = masks.make_set(drawn / "pictures", drawn / "masks", drawn / "set", 3)
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [f"block {k}" for k in (0, 1, 2) for _ in range(4)]
    third = np.asarray(Image.open(folder / rows[2]["file"]))
    assert np.array_equal(third, np.asarray(Image.open(drawn / "pictures" / "ct_2.png")))


def test_a_picture_without_a_mask_is_one_line(drawn, capsys):
    (drawn / "masks" / "ct_3.png").unlink()
    arguments = [str(drawn / "pictures"), str(drawn / "masks"), "--work", str(drawn / "work")]
    assert masks.main(arguments) == 2
    assert "12 pictures, 1 without a mask" in capsys.readouterr().err
