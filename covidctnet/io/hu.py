"""Whether numbers are Hounsfield units, and in which type they are kept."""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError

__all__ = ["AIR_HU", "PADDING_BELOW_HU", "as_hu", "check_hu", "noise_hu"]

AIR_HU = -1024
# Nothing is thinner than air at -1000 HU, and noise reaches some hundreds below: what lies lower
# (-2000, -3024) is the scanner's way to mark voxels outside the field of view.
PADDING_BELOW_HU = -1500
# A CT that contains a chest shows some air and some soft tissue; windowed, shifted or scaled
# numbers lack one of them. The lowest value of all may be padding, and is no sign of air.
AIR_RANGE_HU = (AIR_HU, -600)
MIN_AIR = 1e-3
# Soft tissue is a tenth of a scan or more; of one shifted down by 1024, what lies here is dense
# bone, a quarter of a hundredth in ten real chests.
TISSUE_RANGE_HU = (-200, 300)
MIN_TISSUE = 0.02
# Most soft tissue is fat or muscle: from -115 to 55 HU in 23 real scans.
MAX_TISSUE_PEAK_HU = 150.0
PEAK_RANGE_HU, PEAK_STEP_HU = (-300, 500), 10
# Bone and metal are a hundredth of a scan; of one whose sign was turned, the air is here.
DENSE_HU = 500
MAX_DENSE = 0.25
MAX_HU = 32767
# What a number of 16 bits reaches when its sign is not read.
MAX_UNSIGNED = 65535
# Where noise is measured: squares of soft tissue, in so many slices of the middle half.
NOISE_SQUARE = 8
NOISE_SLICES = 7
NOISE_RANGE_HU = (-80, 160)


def as_hu(array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers as HU: all below -1024 to -1024, int16 when nothing is lost by it, float32 else.

    Args:
        array: Any real type, finite; overwritten where it can be.

    Returns:
        The array and notes on what was done.

    Raises:
        StudyError: ``NOT_HU`` when a number is far beyond any HU.
    """
    low, high = array.min(), array.max()
    if high > MAX_HU:
        what, advice = "", "Export the original CT values"
        if high <= MAX_UNSIGNED:
            what = ", as negative numbers that the header calls unsigned"
            advice = (
                "Correct the header (PixelRepresentation 1 in DICOM, a signed type elsewhere) if "
                "they are, or export the original CT values"
            )
        raise StudyError("NOT_HU", f"expected HU, got values up to {high:g}{what}. {advice}.")
    notes: tuple[str, ...] = ()
    if low < AIR_HU:
        padding = int((array < PADDING_BELOW_HU).sum())
        if padding:
            notes = (f"{padding} padding voxels below {PADDING_BELOW_HU} HU set to -1024",)
        array = np.maximum(array, array.dtype.type(AIR_HU), out=_writeable(array))
    if array.dtype == np.int16:
        return array, notes
    if array.dtype.kind in "iu" or bool((array == np.rint(array)).all()):
        return array.astype(np.int16), notes
    return array.astype(np.float32), notes


def _writeable(array: np.ndarray) -> np.ndarray | None:
    return array if array.flags.writeable else None


def check_hu(array: np.ndarray) -> None:
    """Refuse numbers that cannot be HU of a body part with air around or inside.

    Args:
        array: Padding already set to air, shape (slice, row, column).

    Raises:
        StudyError: ``NOT_HU``.
    """
    # Every fourth voxel in the plane: shares of a thousandth survive that.
    sample = np.ascontiguousarray(array[:, ::4, ::4]) if min(array.shape[1:]) >= 64 else array
    low, high = float(sample.min()), float(sample.max())
    air = float(((sample > max(low, AIR_RANGE_HU[0])) & (sample <= AIR_RANGE_HU[1])).mean())
    tissue = _share(sample, TISSUE_RANGE_HU)
    dense = float((sample > DENSE_HU).mean())
    peak = _peak(sample)
    is_tissue = tissue >= MIN_TISSUE and peak <= MAX_TISSUE_PEAK_HU
    if air >= MIN_AIR and is_tissue and dense <= MAX_DENSE:
        return
    if low >= -1.0 and high <= 1.0:
        what = "they look scaled to 0..1"
    elif low >= 0 and high <= 255:
        what = "they look like 8-bit grey values"
    elif air < MIN_AIR and _share(sample, (0, 200)) > MIN_TISSUE:
        what = "there is no air near -1000; they may be shifted by 1024"
    elif air < MIN_AIR:
        what = "there is no air near -1000"
    elif tissue < MIN_TISSUE:
        what = "there is no soft tissue near 0; they may be shifted by 1024"
    elif dense > MAX_DENSE:
        what = f"{dense:.0%} of them are above {DENSE_HU} HU, as if their sign was turned"
    else:
        what = f"most soft tissue lies near {peak:.0f} HU; a slope may be wrong"
    raise StudyError(
        "NOT_HU",
        f"expected HU with air near -1000 and soft tissue near 0, got values from {low:g} to "
        f"{high:g}; {what}. Export the original CT values.",
    )


def _peak(sample: np.ndarray) -> float:
    """Where most values of soft tissue lie, HU; NaN without any."""
    low, high = PEAK_RANGE_HU
    edges = np.arange(low, high + 1, PEAK_STEP_HU)
    counts, _ = np.histogram(sample, bins=edges)
    if not counts.any():
        return float("nan")
    around = np.convolve(counts, np.ones(3), "same")
    return float(edges[int(around.argmax())] + PEAK_STEP_HU / 2)


def _share(sample: np.ndarray, limits: tuple[float, float]) -> float:
    return float(((sample >= limits[0]) & (sample <= limits[1])).mean())


def noise_hu(array: np.ndarray) -> float:
    """How much neighbouring voxels of soft tissue differ: the nearest that voxels tell of dose.

    Args:
        array: HU, shape (slice, row, column).

    Returns:
        The median, over squares that hold nothing but soft tissue, of the standard deviation
        within the square, HU; NaN when there are no such squares.
    """
    count = len(array)
    chosen = np.unique(np.linspace(count / 4, 3 * count / 4, NOISE_SLICES).astype(int))
    side = NOISE_SQUARE
    rows, columns = (n // side * side for n in array.shape[1:])
    planes = array[np.minimum(chosen, count - 1), :rows, :columns].astype(np.float32)
    squares = planes.reshape(len(planes), rows // side, side, columns // side, side)
    squares = squares.swapaxes(2, 3).reshape(-1, side * side)
    low, high = NOISE_RANGE_HU
    inside = squares[(squares.min(axis=1) > low) & (squares.max(axis=1) < high)]
    return float(np.median(inside.std(axis=1))) if len(inside) else float("nan")
