"""Every stage of the chain on one phantom, each beside a reference in the same run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet import perlin
from covidctnet.classify import CovidCTNet
from covidctnet.denoise import denoise_slices
from covidctnet.io import read_volume
from covidctnet.lungs import lung_mask
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.phantom.series import write_series
from covidctnet.preprocess import PreprocessSettings, preprocess
from covidctnet.residual import DepthPlan
from covidctnet.results import Label
from covidctnet.volume import Volume

__all__ = ["benchmark", "render"]

Row = dict[str, Any]
NOISE_SLICES = 8


def benchmark(weights: str, device: str, repeats: int, *, matrix: int | None = None) -> list[Row]:
    """Measure reading, preprocessing, lungs, Perlin, denoising and the whole chain.

    Args:
        weights: Shipped name or folder.
        device: See `covidctnet.denoise.pick_device`.
        repeats: Runs a row; medians are given.
        matrix: Rows and columns of the phantom; 512 by default.

    Returns:
        Rows with ``stage``, ``seconds`` (median), ``reference`` (what it stands beside, or empty)
        and ``reference_seconds`` (median, or None).
    """
    model = CovidCTNet.load(weights, device=device)
    phantom = make_phantom(Label.COVID19, 0, scanner=SCANNERS["birch"], matrix=matrix)
    with tempfile.TemporaryDirectory() as folder:
        write_series(phantom, Path(folder), patient="benchmark")
        volume = read_volume(folder)
        rows = [
            _row(
                f"read {volume.shape[0]} DICOM slices",
                lambda: read_volume(folder),
                "SimpleITK's series reader",
                lambda: _read_sitk(folder),
                repeats,
            )
        ]
    settings = PreprocessSettings()
    unit = preprocess(volume, model.settings)
    plan = DepthPlan.linear(unit.shape[0], model.depth)
    needed = np.ascontiguousarray(unit.array[plan.needed], dtype=np.float32)
    rows += [
        _row(
            "resample to 1 mm, window, 240 x 240",
            lambda: preprocess(volume, settings),
            "SimpleITK's resampling to 1 mm alone",
            lambda: _resample_sitk(volume),
            repeats,
        ),
        _row("lung mask", lambda: lung_mask(volume), "", None, repeats),
        _row(
            f"{NOISE_SLICES} Perlin fields of 240 x 240, 5 octaves",
            _perlin_fields,
            "the package noise, in a loop",
            _perlin_loop,
            repeats,
        ),
        _row(
            f"denoise the {len(needed)} slices wanted ({model.device.type})",
            lambda: denoise_slices(model.denoiser, needed),
            "",
            None,
            repeats,
        ),
        _row("the whole chain behind reading", lambda: model(volume), "", None, repeats),
    ]
    return rows


def render(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| stage | seconds | beside | seconds |", "|---|---|---|---|"]
    for row in rows:
        reference = row["reference_seconds"]
        shown = f"{reference:.3f}" if reference is not None else ""
        lines.append(f"| {row['stage']} | {row['seconds']:.3f} | {row['reference']} | {shown} |")
    return "\n".join(lines)


def _row(
    stage: str,
    work: Callable[[], object],
    reference: str,
    peer: Callable[[], object] | None,
    repeats: int,
) -> Row:
    return {
        "stage": stage,
        "seconds": _median(work, repeats),
        "reference": reference,
        "reference_seconds": _median(peer, repeats) if peer else None,
    }


def _median(work: Callable[[], object], repeats: int) -> float:
    work()  # warm: files in the cache, kernels chosen
    times = []
    for _ in range(max(1, repeats)):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _read_sitk(folder: str) -> object:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return reader.Execute()


def _resample_sitk(volume: Volume) -> object:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing[::-1])
    size = [round(n * s) for n, s in zip(volume.shape[::-1], volume.spacing[::-1], strict=True)]
    return SimpleITK.Resample(
        image,
        size,
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        image.GetOrigin(),
        (1.0, 1.0, 1.0),
        image.GetDirection(),
        -1000.0,
        SimpleITK.sitkFloat32,
    )


def _perlin_fields() -> object:
    return [
        perlin.perlin2((240, 240), scale=50.0, octaves=5, offset=(k, k))
        for k in range(NOISE_SLICES)
    ]


def _perlin_loop() -> object:
    from noise import pnoise2

    return [
        [pnoise2(k + i / 50.0, k + j / 50.0, octaves=5) for i in range(240) for j in range(240)]
        for k in range(NOISE_SLICES)
    ]
