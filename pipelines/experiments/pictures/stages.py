"""What the denoiser does to three phantoms: input, training noise, denoised and residual."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from covidctnet.chest.gate import prepare_chest
from covidctnet.classes import CHEST_CT, Label
from covidctnet.phantom import SCANNERS, UNSEEN_SCANNERS, Phantom, make_phantom
from covidctnet.preprocess import PreprocessSettings
from covidctnet.report.pictures import RESIDUAL_LIMIT, colour_residual
from covidctnet.systems.covidctnet.denoise import denoise_slices
from covidctnet.systems.covidctnet.training.noise import NoiseSettings, corrupt
from covidctnet.systems.covidctnet.weights import CovidWeights

__all__ = ["Stages", "draw_stages", "show_phantoms", "trained_with"]

SEEDS = {CHEST_CT.CONTROL: 1, CHEST_CT.COVID19: 6, CHEST_CT.CAP: 3}
NOISE_SEED = 0
# Ground glass and consolidation; Controls too have what the code 3 stands for.
ILL = (1, 2)
# A slice that is shown has so much of the largest one's lung.
MIN_LUNG = 0.6


@dataclass(frozen=True, eq=False)
class Stages:
    """One slice of one phantom, everything float32 (row, column).

    Attributes:
        label: Of the phantom.
        image: The slice in [0, 1].
        noisy: The same with the training noise on it.
        denoised: What the denoiser makes of `image`.
        cleaned: What it makes of `noisy`.
        lungs: Their mask.
        width_hu: Of the window.
    """

    label: Label
    image: np.ndarray
    noisy: np.ndarray
    denoised: np.ndarray
    cleaned: np.ndarray
    lungs: np.ndarray
    width_hu: float


def show_phantoms(
    weights: CovidWeights, *, matrix: int | None = None, spacing_mm: float | None = None
) -> list[Stages]:
    """Put a phantom of every class through the denoiser.

    Args:
        weights: Their denoiser, and the preprocessing it needs.
        matrix: Rows and columns of the phantoms instead of the scanner's.
        spacing_mm: Between their slices, likewise.
    """
    settings = PreprocessSettings(**weights.card["preprocessing"])
    denoiser = weights.denoiser()
    recipe = trained_with(weights)
    out = []
    for label, seed in SEEDS.items():
        scanner = SCANNERS[UNSEEN_SCANNERS[0]]
        phantom = make_phantom(label, seed, scanner=scanner, matrix=matrix, spacing_mm=spacing_mm)
        unit, mask = prepare_chest(phantom.volume, settings)[:2]
        height = phantom.volume.affine @ [fullest_slice(phantom), 0, 0, 1]
        index = int(np.rint(np.linalg.solve(unit.affine, height)[0]))
        index = min(max(index, 0), len(unit.array) - 1)
        image, lungs = np.array(unit.array[index]), mask[index]
        noisy = _paint(image, lungs, recipe, NOISE_SEED + int(label))
        denoised, cleaned = denoise_slices(denoiser, np.stack([image, noisy]))
        low, high = unit.scale_hu
        out.append(Stages(label, image, noisy, denoised, cleaned, lungs, high - low))
    return out


def fullest_slice(phantom: Phantom) -> int:
    """The slice with most of what is ill, or most lung where nothing is; no sliver of lung."""
    lung = phantom.lungs.sum(axis=(1, 2))
    ill = np.isin(phantom.lesions, ILL).sum(axis=(1, 2)) * (lung > MIN_LUNG * lung.max())
    return int((ill if ill.any() else lung).argmax())


def trained_with(weights: CovidWeights) -> NoiseSettings:
    """The noise that a denoiser learned to take off, on every slice instead of a share of them."""
    config = weights.card.get("training", {}).get("denoiser", {}).get("config", {})
    noise = config.get("model", {}).get("noise", {})
    # Cards older than a setting were trained without what it adds.
    older = {"lobes": 0.0} if noise else {}
    return NoiseSettings(**{**older, **noise, "share": 1.0})


def _paint(image: np.ndarray, lungs: np.ndarray, recipe: NoiseSettings, seed: int) -> np.ndarray:
    clean = torch.from_numpy(image)[None, None]
    region = torch.from_numpy(lungs.astype(np.float32))[None, None]
    generator = torch.Generator().manual_seed(seed)
    noisy, _ = corrupt(clean, region, recipe, generator=generator)
    return noisy[0, 0].numpy()


INK, FAINT, GROUND = (31, 41, 51), (82, 96, 109), (255, 255, 255)
_TILE = (186, 140)
_GAP, _BETWEEN, _LABELS, _MARGIN = 4, 26, 118, 10
_HEADINGS, _SCALE = 84, 58
_ROOM = 1.12
"""The crop is this much larger than the lungs."""


def draw_stages(stages: Sequence[Stages]) -> bytes:
    """A row a phantom: the slice, denoised and their difference, without noise and with it.

    Returns:
        A PNG file's content, 1280 pixels wide.
    """
    (w, h), columns = _TILE, 6
    lefts = [_MARGIN + _LABELS + n * (w + _GAP) + (n // 3) * _BETWEEN for n in range(columns)]
    width = lefts[-1] + w + _MARGIN
    height = _HEADINGS + len(stages) * (h + _GAP) + _SCALE
    canvas = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(canvas)

    for first, words in ((0, "as it is classified"), (3, "as the denoiser is trained")):
        left, right = lefts[first], lefts[first + 2] + w
        _write(pen, ((left + right) / 2, 20), words, 21, INK)
        pen.line([(left, 40), (right, 40)], fill=(182, 194, 207), width=2)
    names = ("input", "denoised", "residual", "with noise", "denoised", "residual")
    for left, name in zip(lefts, names, strict=True):
        _write(pen, (left + w / 2, 62), name, 20, INK)

    for row, shown in enumerate(stages):
        top = _HEADINGS + row * (h + _GAP)
        _write(pen, (_MARGIN, top + h / 2 - 12), shown.label.title, 22, INK, anchor="lm")
        _write(pen, (_MARGIN, top + h / 2 + 14), "phantom", 18, FAINT, anchor="lm")
        planes = (
            shown.image,
            shown.denoised,
            shown.image - shown.denoised,
            shown.noisy,
            shown.cleaned,
            shown.noisy - shown.cleaned,
        )
        box = _crop(shown.lungs)
        for column, (left, plane) in enumerate(zip(lefts, planes, strict=True)):
            canvas.paste(_tile(plane, box, is_residual=column % 3 == 2), (left, top))

    _draw_scale(canvas, pen, lefts[0], lefts[-1] + w, height - _SCALE + 12, stages[0].width_hu)
    # A palette of our own: greys by the dozen and all colours of the residual.
    file = io.BytesIO()
    small = canvas.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    size: int,
    colour: tuple[int, int, int],
    *,
    anchor: str = "mm",
) -> None:
    # Pillow's own font: the same on every machine.
    pen.text(at, words, fill=colour, font=ImageFont.load_default(size), anchor=anchor)


def _crop(lungs: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is shown: the lungs and a rim, in a tile's shape."""
    if not lungs.any():
        lungs = np.ones_like(lungs)
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    y, x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    tall, wide = len(range(rows[0], rows[-1] + 1)), len(range(columns[0], columns[-1] + 1))
    scale = _ROOM * max(wide / _TILE[0], tall / _TILE[1]) / 2
    return (
        x - scale * _TILE[0],
        y - scale * _TILE[1],
        x + scale * _TILE[0],
        y + scale * _TILE[1],
    )


def _tile(
    plane: np.ndarray, box: tuple[float, float, float, float], *, is_residual: bool
) -> Image.Image:
    """What lies within the box, enlarged; as numbers, not as colours, and air outside the slice."""
    scale = (box[2] - box[0]) / _TILE[0]
    fitted = Image.fromarray(plane.astype(np.float32)).transform(
        _TILE,
        Image.Transform.AFFINE,
        (scale, 0, box[0], 0, scale, box[1]),
        resample=Image.Resampling.BICUBIC,
    )
    values = np.asarray(fitted)
    if is_residual:
        return Image.fromarray(colour_residual(values))
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=-1))


def _draw_scale(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, left: int, right: int, top: int, width_hu: float
) -> None:
    """What the colours of a residual mean."""
    wide, high = 260, 18
    ramp = np.linspace(-RESIDUAL_LIMIT, RESIDUAL_LIMIT, wide, dtype=np.float32)
    limit = round(RESIDUAL_LIMIT * width_hu)
    _write(pen, (left, top + high / 2), "residual, input minus denoised:", 18, INK, anchor="lm")
    start = left + 370
    _write(pen, (start - 10, top + high / 2), f"-{limit} HU", 18, INK, anchor="rm")
    canvas.paste(Image.fromarray(colour_residual(np.tile(ramp, (high, 1)))), (start, top))
    _write(pen, (start + wide + 10, top + high / 2), f"+{limit} HU", 18, INK, anchor="lm")
    words = "orange: denser than the denoiser expects"
    _write(pen, (right, top + high / 2), words, 18, FAINT, anchor="rm")
