"""Whether two stacks at one place show one body, or come of one acquisition, by their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.elements import DamagedFileError, NotDicomError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import Placement
from covidctnet.io.dicom.stored import same_pixels
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["Images", "are_one_acquisition", "images_of", "show_one_body"]

# Where slices are compared, as parts of the range that both stacks cover.
HEIGHTS = (0.3, 0.5, 0.7)
# Samples along each side of the rectangle that both slices cover.
SAMPLES = 64
LIMITS_HU = (-1000.0, 400.0)
# The median of three correlations: in 23 real scans .976 or more between a scan and itself with
# thick slices, noise and half a step between, .757 or less between 253 pairs of patients.
MIN_CORRELATION = 0.87
# And of what is finer than some mm, at more places: vessels and organs of a second scan of one
# patient lie elsewhere. In 24 real scans .95 or more between a scan and itself with slices four
# times as thick, another kernel, noise of 60 HU and half a step between; .87 or less in half of all
# that were moved by 2 mm across the body or 4 mm along it.
MIN_FINE_CORRELATION = 0.92
# And of the noise, which no second scan has in common: in 11 real scans .33 or more between a scan
# and itself with thick slices, half a step between, another kernel or other pixels, .10 or less
# between slices two places or more apart.
MIN_NOISE_CORRELATION = 0.3
# Noise is compared in the middle of the images, where they show tissue and change least.
NOISE_SIDE = 256
MEASURED_HU = (-950.0, 390.0)
MIN_PIXELS = 50
FLAT_SHARE = 0.25
# The standard deviation around a pixel, where there is noise and no border of an organ.
MAX_CHANGE_HU = 100.0
# So many deviations from what pixels without anything in common show.
CERTAIN = 4.0
# Two that share less than this part of the shorter one are not compared.
MIN_SHARED = 0.5
# Slices so many times further apart are another reconstruction.
THICKER = 1.3
FINE_SAMPLES = 128
FINE_MM = 8.0


@dataclass(frozen=True, eq=False)
class Images:
    """Parallel images, by their heights.

    Attributes:
        heights: Along a normal that is the same for all that are compared, mm, rising.
        frame: Gives the image at an index.
    """

    heights: np.ndarray
    frame: Callable[[int], Frame]


def images_of(placement: Placement, normal: np.ndarray) -> Images:
    """The images of a stack by their heights along a normal."""
    heights = np.array([f.position for f in placement.frames], dtype=float) @ normal
    order = np.argsort(heights)
    return Images(heights[order], lambda k: placement.frames[order[k]])


def are_one_acquisition(one: Images, other: Images) -> bool:
    """Whether two series are reconstructions of one scan: what they show is at the same places.

    A thick slice is compared with the mean of the thin ones that it covers.

    Args:
        one: A series.
        other: Another that covers much of the same range.

    Returns:
        False also where they have no place in common, or an image cannot be decoded.
    """
    steps = [float(np.median(np.diff(images.heights))) for images in (one, other)]
    thin, thick = (one, other) if steps[0] <= steps[1] else (other, one)
    low = max(one.heights[0], other.heights[0])
    high = min(one.heights[-1], other.heights[-1])
    shorter = min(float(np.ptp(images.heights)) for images in (one, other))
    if high - low < max(MIN_SHARED * shorter, 1e-3):
        return False
    found = []
    for part in HEIGHTS:
        k = int(np.argmin(np.abs(thick.heights - low - part * (high - low))))
        apart = np.abs(thin.heights - thick.heights[k])
        reach = max(max(steps) / 2, float(apart.min()))
        covered = np.flatnonzero(apart <= reach + 1e-3).tolist()
        try:
            parts, whole = [thin.frame(i) for i in covered], thick.frame(k)
            is_thicker = max(steps) > THICKER * min(steps)
            found.append(
                (is_thicker or _are_two_series(parts[0], whole)) and _is_made_of(parts, whole)
            )
        except (StudyError, DamagedFileError, NotDicomError, OSError, LookupError):
            return False
        if 2 * found.count(False) > len(HEIGHTS):
            break
    # Two of three decide.
    return 2 * sum(found) > len(HEIGHTS)


def show_one_body(one: Placement, other: Placement) -> bool:
    """Whether two parallel stacks that cover one range are images of one body in one place.

    Args:
        one: A stack.
        other: Another; its slices may be thicker, and its images of another size.

    Returns:
        False also where their images have no place in common, or cannot be decoded.
    """
    normal = one.axes[:, 0]
    ends = np.array([_ends(placement, normal) for placement in (one, other)])
    low, high = ends[:, 0].max(), ends[:, 1].min()
    found = []
    for part in HEIGHTS:
        height = low + part * (high - low)
        try:
            found.append(_correlation(_at(one, normal, height), _at(other, normal, height)))
        except StudyError:
            return False
    return bool(np.median(found) >= MIN_CORRELATION)


def _are_two_series(one: Frame, other: Frame) -> bool:
    """Whether images of one step are copies, or say that they were computed in two ways."""
    if one.kernel != other.kernel or one.image_type != other.image_type:
        return True
    return same_pixels(one, other)


def _ends(placement: Placement, normal: np.ndarray) -> tuple[float, float]:
    heights = [float(np.array(placement.frames[k].position) @ normal) for k in (0, -1)]
    return min(heights), max(heights)


def _at(placement: Placement, normal: np.ndarray, height: float) -> Frame:
    """The frame nearest to a height."""
    return min(
        placement.frames, key=lambda frame: abs(float(np.array(frame.position) @ normal) - height)
    )


def _correlation(one: Frame, other: Frame) -> float:
    """Of what two images show at the places that both have; 0 where there are none."""
    axes = _axes_of(one)
    lines = [_lines(frame, axes) for frame in (one, other)]
    places = _common_places(lines, SAMPLES)
    if places is None:
        return 0.0
    images = [_sampled(frame, own, places) for frame, own in zip((one, other), lines, strict=True)]
    return _coefficient(*images)


def _is_made_of(thin: list[Frame], thick: Frame) -> bool:
    """Whether an image shows what some others show together, to the finest and to the noise."""
    from scipy import ndimage  # slow to import, and seldom needed

    axes = _axes_of(thick)
    frames = [*thin, thick]
    lines = [_lines(frame, axes) for frame in frames]
    places = _common_places(lines, FINE_SAMPLES)
    if places is None:
        return False
    images = [_sampled(frame, own, places) for frame, own in zip(frames, lines, strict=True)]
    widths = [FINE_MM / float(at[1] - at[0]) for at in places]
    fine = [
        image - ndimage.gaussian_filter(image, widths)
        for image in (np.mean(images[:-1], axis=0), images[-1])
    ]
    if _coefficient(*fine) < MIN_FINE_CORRELATION:
        return False
    places = [_middle(at, [own[k] for own in lines]) for k, at in enumerate(places)]
    images = [_sampled(frame, own, places) for frame, own in zip(frames, lines, strict=True)]
    one, other = np.mean(images[:-1], axis=0), images[-1]
    mean = (one + other) / 2
    is_tissue = (mean > MEASURED_HU[0]) & (mean < MEASURED_HU[1])
    if is_tissue.sum() < MIN_PIXELS:
        return False
    change = ndimage.uniform_filter(mean**2, 5) - ndimage.uniform_filter(mean, 5) ** 2
    least = min(float(np.quantile(change[is_tissue], FLAT_SHARE)), MAX_CHANGE_HU**2)
    is_flat = is_tissue & (change <= least)
    if is_flat.sum() < MIN_PIXELS:
        return False
    noise = [(image - ndimage.uniform_filter(image, 3))[is_flat] for image in (one, other)]
    # Of few pixels more by chance.
    chance = CERTAIN / float(np.sqrt(is_flat.sum()))
    return _coefficient(*noise) >= max(MIN_NOISE_CORRELATION, chance)


def _middle(places: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    """Places of the coarser pixels in the middle of a range, at most `NOISE_SIDE` of them."""
    pitch = max(abs(float(own[1] - own[0])) for own in lines)
    count = min(NOISE_SIDE, int((places[-1] - places[0]) / pitch + 1e-6) + 1)
    # On the lines of the coarsest image, so that its noise is not averaged.
    own = max(lines, key=lambda line: abs(float(line[1] - line[0])))
    inside = np.sort(own[(own >= places[0] - 1e-6) & (own <= places[-1] + 1e-6)])
    first = max(0, (len(inside) - count) // 2)
    return inside[first : first + count]


def _coefficient(one: np.ndarray, other: np.ndarray) -> float:
    if min(float(one.std()), float(other.std())) == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _common_places(lines: list[list[np.ndarray]], samples: int) -> list[np.ndarray] | None:
    """Places along both axes of the rectangle that all images cover."""
    places = []
    for k in range(2):
        low = max(float(own[k].min()) for own in lines)
        high = min(float(own[k].max()) for own in lines)
        if high <= low:
            return None
        places.append(np.linspace(low, high, samples))
    return places


def _axes_of(frame: Frame) -> np.ndarray:
    """Unit vectors down the rows and across the columns, shape (2, 3)."""
    return np.array(frame.orientation).reshape(2, 3)[::-1]


def _lines(frame: Frame, axes: np.ndarray) -> list[np.ndarray]:
    """Where the rows, and the columns, of an image lie along two axes, mm.

    An image may be turned by 180 degrees against another: its lines then go down.
    """
    turns = np.sign((_axes_of(frame) * axes).sum(axis=1))
    sizes = (frame.pixels.rows, frame.pixels.columns)
    spacing = frame.spacing or (1.0, 1.0)
    starts = axes @ np.array(frame.position)
    return [
        start + turn * mm * np.arange(size)
        for start, turn, mm, size in zip(starts, turns, spacing, sizes, strict=True)
    ]


def _sampled(frame: Frame, lines: list[np.ndarray], places: list[np.ndarray]) -> np.ndarray:
    """HU at places along two axes, means over the distance of the places, (row, column)."""
    from scipy import ndimage  # slow to import, and seldom needed

    (hu,), _ = read_hu([frame])
    clipped = np.clip(hu, *LIMITS_HU).astype(np.float32)
    indices = [(at - own[0]) / (own[1] - own[0]) for at, own in zip(places, lines, strict=True)]
    width = [max(1, round(abs(float(index[1] - index[0])))) for index in indices]
    smooth = ndimage.uniform_filter(clipped, width)
    grid = np.meshgrid(*indices, indexing="ij")
    return np.asarray(ndimage.map_coordinates(smooth, grid, order=1, mode="nearest"))
