"""Steps that write small DICOM series, and the changes that make them odd."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.catalogue import encode
from tests.catalogue.cases import PATIENT, Step
from tests.io import series
from tests.io.series import Change

__all__ = [
    "at",
    "both",
    "compressed",
    "enhanced",
    "file",
    "junk_above",
    "moved",
    "on",
    "patched",
    "put",
    "put_object",
    "setting",
    "stored",
    "turned",
]

COMPRESSED = {
    "1.2.840.10008.1.2.1.98": encode.plain,
    "1.2.840.10008.1.2.5": encode.rle,
    "1.2.840.10008.1.2.4.51": encode.jpeg_lossy,
    "1.2.840.10008.1.2.4.57": lambda array: encode.jpeg_lossless(array, 7),
    "1.2.840.10008.1.2.4.70": encode.jpeg_lossless,
    "1.2.840.10008.1.2.4.80": encode.jpeg_ls,
    "1.2.840.10008.1.2.4.81": lambda array: encode.jpeg_ls(array, 1),
    "1.2.840.10008.1.2.4.90": encode.jpeg_2000,
    "1.2.840.10008.1.2.4.91": lambda array: encode.jpeg_2000(array, 2),
    "1.2.840.10008.1.2.4.201": encode.high_throughput_jpeg_2000,
    "1.2.840.10008.1.2.4.202": encode.high_throughput_jpeg_2000,
}


def put(
    into: str = "",
    scan: np.ndarray | None = None,
    *,
    change: Change | None = None,
    skip: Sequence[int] = (),
    affine: np.ndarray | None = None,
    study: str = "study",
    series_name: str = "series",
    patient: str = PATIENT,
    syntax: str = ExplicitVRLittleEndian,
    name: str = "{:04d}.dcm",
) -> Step:
    """A step that writes a series, sane but for `change`; see `tests.io.series.write`."""

    def sane(ds: Dataset, index: int) -> None:
        step_mm = float(np.linalg.norm((series.an_affine() if affine is None else affine)[:3, 0]))
        ds.InstanceNumber = index + 1
        ds.SliceThickness = ds.SpacingBetweenSlices = step_mm

    def step(folder: Path) -> None:
        with warnings.catch_warnings():
            # Odd values are the point.
            warnings.simplefilter("ignore")
            series.write(
                folder / into,
                scan,
                change=both(sane, change) if change else sane,
                skip=tuple(skip),
                affine=affine,
                study=study,
                series=series_name,
                patient=patient,
                syntax=syntax,
                name=name,
            )

    return step


def put_object(name: str, change: Change, affine: np.ndarray | None = None) -> Step:
    """A step that writes one more object of the study."""

    def step(folder: Path) -> None:
        ds = series.a_slice(
            series.a_scan()[0], 0, series="other object", affine=affine, patient=PATIENT
        )
        change(ds, 0)
        series.save(ds, folder / name)

    return step


def file(name: str, content: bytes) -> Step:
    """A step that writes a file of these bytes."""

    def step(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return step


def patched(
    edit: Callable[[bytes], bytes], index: int | None = None, name: str = "{:04d}.dcm"
) -> Step:
    """A step that edits the bytes of a slice's file, or of all files."""

    def step(folder: Path) -> None:
        one = [] if index is None else [folder / name.format(index * 7)]
        for path in one or [p for p in folder.rglob("*") if p.is_file()]:
            path.write_bytes(edit(path.read_bytes()))

    return step


def setting(**values: Any) -> Change:
    """Set attributes on every slice, or delete those that are None."""

    def change(ds: Dataset, index: int) -> None:
        for name, value in values.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return change


def on(which: int | Sequence[int], change: Change) -> Change:
    """A change of some slices alone."""
    chosen = (which,) if isinstance(which, int) else tuple(which)

    def on_some(ds: Dataset, index: int) -> None:
        if index in chosen:
            change(ds, index)

    return on_some


def both(*changes: Change) -> Change:
    """Changes one after the other."""

    def change(ds: Dataset, index: int) -> None:
        for one in changes:
            one(ds, index)

    return change


def moved(shift: Callable[[int], Sequence[float]]) -> Change:
    """Add LPS millimetres to the position."""

    def change(ds: Dataset, index: int) -> None:
        pairs = zip(ds.ImagePositionPatient, shift(index), strict=True)
        ds.ImagePositionPatient = [float(round(float(a) + b, 6)) for a, b in pairs]

    return change


def at(order: Sequence[int]) -> Change:
    """Put slice k where slice order[k] belongs; instance numbers follow k."""

    def change(ds: Dataset, index: int) -> None:
        place = series.an_affine() @ [order[index], 0, 0, 1]
        ds.ImagePositionPatient = [float(round(x, 6)) for x in place[:3]]
        ds.InstanceNumber = index + 1

    return change


def stored(
    dtype: str, *, slope: int = 1, intercept: int = -1024, bits: int | None = None
) -> Change:
    """Store the same HU in another type with another rescale."""

    def change(ds: Dataset, index: int) -> None:
        kind = np.dtype(dtype)
        raw = (_stored(ds).astype(np.int64) - 1024 - intercept) // slope
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        ds.BitsAllocated = kind.itemsize * 8
        ds.BitsStored = bits or ds.BitsAllocated
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(kind.kind == "i")
        ds.PixelData = raw.astype(kind).tobytes()

    return change


def junk_above(*, signed: bool = False, shift: int = 0, zeros: bool = False) -> Change:
    """12 bits stored, shifted up by some; anything or zeros above them."""

    def change(ds: Dataset, index: int) -> None:
        hu = _stored(ds).astype(np.int64) - 1024
        raw = (hu & 0xFFF) if signed else hu + 1024
        ds.BitsStored, ds.HighBit = 12, 11 + shift
        ds.PixelRepresentation = int(signed)
        ds.RescaleIntercept = 0 if signed else -1024
        if shift:
            raw = raw << shift
        elif not zeros:
            raw = raw | (index % 16) << 12
        ds.PixelData = (raw & 0xFFFF).astype("<u2").tobytes()

    return change


# Streams that say themselves whether their numbers are signed.
_SIGNED = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202")


def compressed(syntax: str, parts: int = 1) -> Change:
    """Pixels in a compressed syntax, each frame in some fragments."""

    def change(ds: Dataset, index: int) -> None:
        array = _stored(ds)
        if ds.PixelRepresentation and syntax in _SIGNED:
            array = array.view("<i2")
        stream = COMPRESSED[syntax](array)
        ds.PixelData = encode.fragmented(stream + b"\0" * (len(stream) % 2), parts)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    return change


def big_endian(ds: Dataset, index: int) -> None:
    """Swap the pixels' bytes; the writer does the rest."""
    ds.PixelData = _stored(ds).astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"


def turned(
    axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The usual scan along other axes: axis k of the result is axis axes[k], turned when -1.

    Returns:
        The array as a scanner would store it, and its affine.
    """
    scan, affine = series.a_scan(), series.an_affine()
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for k, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        index[axis, k] = flip
        index[axis, 3] = scan.shape[axis] - 1 if flip < 0 else 0
    array = scan.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    return np.ascontiguousarray(array), affine @ index


def rotated(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """The usual affine turned by degrees round the patient's axes."""
    a, b, c = np.radians([x, y, z])
    turn = np.eye(4)
    turn[:3, :3] = (
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    )
    return np.asarray(turn @ series.an_affine())


def enhanced(
    order: Sequence[int] = range(12),
    *,
    scan: np.ndarray | None = None,
    rescale: bool = True,
    per_frame: bool = True,
    change: Callable[[Dataset], None] | None = None,
    frame: Callable[[Dataset, int], None] | None = None,
    affine: np.ndarray | None = None,
    name: str = "enhanced.dcm",
    instance: str = "enhanced",
    syntax: str = ExplicitVRLittleEndian,
) -> Step:
    """A step that writes a multi-frame CT whose frames are stored in `order`.

    Args:
        order: Index of the slice that each frame shows.
        scan: HU.
        rescale: Whether slope and intercept are given at all.
        per_frame: Whether every frame has an intercept of its own, or all share one.
        change: Of the whole object before it is saved.
        frame: Of the item that describes a frame, with the frame's number.
        affine: From (slice, row, column) to LPS mm.
        name: Of the file.
        instance: Makes the SOPInstanceUID.
        syntax: Transfer syntax; compressing is the business of `change`.
    """

    def step(folder: Path) -> None:
        array = series.a_scan() if scan is None else scan
        matrix = series.an_affine() if affine is None else affine
        ds = series.a_slice(array[0], 0, affine=matrix, patient=PATIENT)
        orientation = ds.ImageOrientationPatient
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(ds, keyword)
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.SOPClassUID = EnhancedCTImageStorage
        ds.SOPInstanceUID = series.uid(instance)
        ds.NumberOfFrames = len(order)

        def value(k: int) -> Dataset:
            intercept = -1024 - (k if per_frame else 0)
            one = _item(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU")
            return _item(PixelValueTransformationSequence=Items([one]))

        shared = _item(
            PixelMeasuresSequence=Items([_item(PixelSpacing=[0.8, 0.7], SliceThickness=9.0)]),
            PlaneOrientationSequence=Items([_item(ImageOrientationPatient=orientation)]),
        )
        if rescale and not per_frame:
            shared.update(value(0))
        ds.SharedFunctionalGroupsSequence = Items([shared])
        items = []
        for number, k in enumerate(order):
            place = [float(round(x, 6)) for x in matrix[:3] @ [k, 0, 0, 1]]
            item = _item(
                PlanePositionSequence=Items([_item(ImagePositionPatient=place)]),
                FrameContentSequence=Items([_item(FrameAcquisitionNumber=1)]),
            )
            if rescale and per_frame:
                item.update(value(k))
            if frame:
                frame(item, number)
            items.append(item)
        ds.PerFrameFunctionalGroupsSequence = Items(items)
        extra = [k if per_frame else 0 for k in order]
        ds.PixelData = b"".join(
            (array[k].astype(int) + 1024 + more).astype("<u2").tobytes()
            for k, more in zip(order, extra, strict=True)
        )
        if change:
            change(ds)
        series.save(ds, folder / name, syntax)

    return step


def deflated_bomb(path: Path, megabytes: int) -> None:
    """Replace a deflated file's data set by one that inflates to many megabytes of zeros."""
    content = path.read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    data = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = data[: data.index(b"\xe0\x7f\x10\x00OW")]
    head += b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", megabytes * 2**20)
    body = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    # A full flush makes blocks that know nothing of each other: they can be repeated.
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(content[:start] + body + block * megabytes + packer.flush(zlib.Z_FINISH))


def _item(**values: Any) -> Dataset:
    out = Dataset()
    for name, value in values.items():
        setattr(out, name, value)
    return out


def _stored(ds: Dataset) -> np.ndarray:
    return np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
