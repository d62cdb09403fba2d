"""One damaged input, read and judged; runs in a child process."""

from __future__ import annotations

import io
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covidctnet import read_volume
from covidctnet.errors import StudyError, UsageError
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.nifti import ras_to_lps
from covidctnet.volume import Volume
from covidctnet.workers.isolate import Reply
from tests.catalogue.steps import big_endian, compressed
from tests.fuzz.mutate import damaged, retagged
from tests.io import series

__all__ = ["FORMATS", "work"]

SHAPE = (9, 36, 32)
# Corners may move by this: jitter of one position below the reader's tolerance.
CORNER_MM = 0.15
_COMPRESSED = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-57": "1.2.840.10008.1.2.4.57",
    "jpeg-70": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}
_NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
FORMATS = (*_NATIVE, *_COMPRESSED, "nifti", "nifti-gz")


@dataclass(frozen=True, eq=False)
class Base:
    """A sound input.

    Attributes:
        folder: Where it lies.
        volume: What it means.
    """

    folder: Path
    volume: Volume


@cache
def base_of(kind: str) -> Base:
    """The sound input of a format; written once a process, removed by whoever made the folder."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    scan = series.a_scan(SHAPE)
    if kind.startswith("nifti"):
        affine = ras_to_lps(series.an_affine())[:, [2, 1, 0, 3]]
        image = nibabel.Nifti1Image(scan.T, affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / ("scan.nii.gz" if kind.endswith("gz") else "scan.nii"))
    elif kind in _COMPRESSED:
        syntax = _COMPRESSED[kind]
        series.write(folder, scan, syntax=syntax, change=_numbered(compressed(syntax)))
    else:
        change = big_endian if kind == "big-endian" else lambda ds, index: None
        series.write(folder, scan, syntax=_NATIVE[kind], change=_numbered(change))
    volume = read_volume(folder)
    assert (volume.array == scan).all()
    return Base(folder, volume)


def _numbered(change: series.Change) -> series.Change:
    """Instance numbers as scanners give them."""

    def both(dataset: Any, index: int) -> None:
        dataset.InstanceNumber = index + 1
        change(dataset, index)

    return both


def mutant(kind: str, seed: int, folder: Path) -> tuple[Path, bytes, bytes]:
    """Write a damaged copy of the sound input.

    Returns:
        The file that was damaged, its content before and after.
    """
    base = base_of(kind)
    rng = np.random.default_rng([FORMATS.index(kind), seed])
    shutil.copytree(base.folder, folder, dirs_exist_ok=True)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    file = files[int(rng.integers(len(files)))]
    before = file.read_bytes()
    if "nifti" not in kind and kind != "deflated" and rng.random() < 0.4:
        after = retagged(before, rng)
    else:
        head = 352 if kind == "nifti" else _pixel_place(kind, before) or len(before) // 2
        after = damaged(before, rng, head=head)
    file.write_bytes(after)
    return file, before, after


def work(kind: str, seed: int) -> Reply:
    """Read one damaged input.

    Returns:
        ``verdict``: ``unchanged``, ``refused``, ``pixels`` when only pixels differ and only pixel
        bytes were damaged, ``header`` when a file without any redundancy means something else now,
        ``untyped`` or ``wrong``; ``detail``.
    """
    base = base_of(kind)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        file, before, after = mutant(kind, seed, folder)
        try:
            volume = read_volume(folder)
        except StudyError as error:
            return _told("refused", error.code), None
        except UsageError as error:
            return _told("refused", str(error)[:40]), None
        except MemoryError:
            raise
        except Exception as error:  # what the trial is for
            return _told("untyped", f"{type(error).__name__}: {error}"[:200]), None
        verdict, detail = _judged(kind, base.volume, volume, before, after)
        if verdict == "wrong" and _is_read_without(kind, base, before, after, file):
            # The header was damaged too, in a way that means nothing.
            verdict, detail = "pixels", ""
    return _told(verdict, detail), None


def _is_read_without(kind: str, base: Base, before: bytes, after: bytes, file: Path) -> bool:
    """Whether the damaged header with sound pixels changes nothing."""
    if kind.startswith("nifti"):
        return False
    if kind == "deflated":
        head, pixels = _head(kind, after), _inflated(before)[len(_head(kind, before)) :]
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        meta = after[: 144 + int.from_bytes(after[140:144], "little")]
        file.write_bytes(meta + deflater.compress(head + pixels) + deflater.flush())
    else:
        # Where the reader finds the pixels: the tag may occur again behind them.
        (frame,) = read_frames(file)
        sound = before[_pixel_place(kind, before) :]
        start = frame.pixels.start
        # What the damage put behind the pixels stays: the header may count it.
        file.write_bytes(after[:start] + sound + after[start + len(sound) :])
    try:
        volume = read_volume(file.parent)
    except (StudyError, UsageError):
        return False
    return _judged(kind, base.volume, volume, before, before)[0] == "unchanged"


def _told(verdict: str, detail: str) -> dict[str, str]:
    return {"verdict": verdict, "detail": detail}


def _judged(
    kind: str, truth: Volume, volume: Volume, before: bytes, after: bytes
) -> tuple[str, str]:
    if volume.shape != truth.shape:
        if kind == "nifti" and before[:352] != after[:352]:
            return "header", "shape"
        return "wrong", f"shape {volume.shape}"
    corners = np.array([[*(np.array(truth.shape) * c), 1] for c in np.ndindex(2, 2, 2)]).T
    apart_mm = float(np.abs((volume.affine - truth.affine) @ corners)[:3].max())
    changed = np.flatnonzero((volume.array != truth.array).any(axis=(1, 2)))
    if apart_mm <= CORNER_MM and len(changed) == 0:
        return "unchanged", ""
    if kind == "nifti" and before[:352] != after[:352]:
        return "header", f"{apart_mm:.2f} mm, {len(changed)} slices"
    if apart_mm > CORNER_MM:
        return "wrong", f"corners {apart_mm:.2f} mm off"
    if kind != "nifti" and len(changed) > 1:
        return "wrong", f"{len(changed)} slices changed"
    if kind == "nifti-gz" or _head(kind, before) != _head(kind, after):
        return "wrong", f"slice {changed[0]} changed by its header"
    return "pixels", ""


def _head(kind: str, content: bytes) -> bytes:
    """What stands in front of the pixels."""
    if kind == "nifti":
        return content[:352]
    if kind == "deflated":
        content = _inflated(content)
    return content[: _pixel_place(kind, content)]


def _inflated(content: bytes) -> bytes:
    start = 144 + int.from_bytes(content[140:144], "little")
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:])


def _pixel_place(kind: str, content: bytes) -> int | None:
    """Where the value of the pixel element begins; None when there is none."""
    for tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        place = content.find(tag)
        if place >= 0:
            return place + (8 if kind == "implicit" else 12)
    return None


def read_back(kind: str, seed: int, folder: Path) -> bytes:
    """Write the damaged input of a seed, to look at it; returns the damaged file's content."""
    _, _, after = mutant(kind, seed, folder)
    return io.BytesIO(after).getvalue()
