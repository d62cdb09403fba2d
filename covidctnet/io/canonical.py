"""The last step of every reader: canonical orientation, a look at the HU, flags, the digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.filled import Filler, check_damage, check_filled, filler_of
from covidctnet.io.hu import as_hu, check_hu, noise_hu
from covidctnet.io.levels import check_levels
from covidctnet.volume import Origin, Source, Volume

__all__ = [
    "Canonical",
    "canonical",
    "check_extent",
    "check_geometry",
    "check_layout",
    "check_size",
    "is_default",
    "is_sheared",
    "volume_of",
]

THICK_SLICES_MM = 5.0
FEW_SLICES = 30
# More voxels are no chest CT: 512 x 512 x 4096, 2 GB.
MAX_VOXELS = 2**30
# Axes further than this from their patient axis count as odd.
ODD_DEGREES = 20.0
# What the voxels of a chest CT measure: the finest reconstructions have 0.1 mm; scans of single
# slices leave out 20 mm between them at most. Pixels of 8 mm still show lungs, and no vessel.
MIN_SPACING_MM = 0.1
MAX_PIXEL_MM = 8.0
MAX_STEP_MM = 20.0
# The widest gantries have 900 mm, the longest tables 2 m.
MAX_SIDE_MM = 1000.0
MAX_LENGTH_MM = 2500.0
# What rounding leaves of a 0 or a 1 that a program wrote.
ROUNDING_MM = 1e-4
# Where programs put the middle of a volume at 0, they may count from the edge of a voxel or from
# its centre.
HALF_VOXEL_MM = 0.5
# Neighbours along an axis are alike: in 23 real scans those of a wrong one of the sizes differ four
# times as much. So many pairs tell, drawn evenly from the whole volume; fewer for each of the many
# sizes that the number of voxels allows.
UNLIKE = 2.0
PAIRS = 20_000
FEWER_PAIRS = 5_000
# A lag at which voxels are nearly as alike as at the header's, or more, and clearly more than five
# places before and behind: there begin the true rows. In 24 real scans, as they are, thinned, with
# noise and turned, no lag but the header's and its multiples is twice as unlike or less and 1.1
# times more alike than those around; of 1815 wrong headers every one shows such a lag.
AS_ALIKE = 1.3
NEIGHBOUR_UNITS = 5
ROUND_A_MINIMUM = 1.15
# A multiple of the header's lag is a true row further on; it must be more alike, not as alike. In
# real scans the next row but one is at least 1.04 times as unlike as the next.
MORE_ALIKE = 0.7
# What differs beyond these is padding or metal, which say little of places.
COUNTED_HU = (-2000.0, 1000.0)
# No image has shorter rows.
MIN_LAG = 8
MAX_SIDE = 4096
# Directions further from a right angle than this are sheared.
SHEAR_TOLERANCE = 2e-3
# Of a file whose numbers are HU.
ZEROS = filler_of((0.0,), is_one_file=True)


@dataclass(frozen=True, eq=False)
class Canonical:
    """An array in canonical orientation.

    Attributes:
        array: Shape (slice, row, column), contiguous.
        affine: From (slice, row, column, 1) to LPS mm.
        axes: Which axis of the input each axis was.
        flipped: Whether it was turned round.
        degrees: Largest angle between an axis and its patient axis.
    """

    array: np.ndarray
    affine: np.ndarray
    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    degrees: float


def canonical(array: np.ndarray, affine: np.ndarray) -> Canonical:
    """Turn an array so that its axes run feet to head, front to back, right to left.

    Voxels are moved, never computed: obliquity stays in the affine.

    Args:
        array: Three axes, any meaning.
        affine: 4 x 4, from (index on each axis, 1) to LPS mm.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # Target patient axes along (slice, row, column): z, y, x.
    axes = max(
        permutations(range(3)),
        key=lambda p: sum(abs(directions[2 - k, axis]) for k, axis in enumerate(p)),
    )
    flipped = tuple(bool(directions[2 - k, axis] < 0) for k, axis in enumerate(axes))
    turned = affine.astype(np.float64)
    for k, axis in enumerate(axes):
        if flipped[k]:
            turned[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
    for k, axis in enumerate(axes):
        turned[:3, k] = affine[:3, axis] * (-1 if flipped[k] else 1)
    view = array.transpose(axes)[tuple(slice(None, None, -1 if f else 1) for f in flipped)]
    cosines = [abs(directions[2 - k, axis]) for k, axis in enumerate(axes)]
    degrees = float(np.degrees(np.arccos(np.clip(min(cosines), 0.0, 1.0))))
    return Canonical(np.ascontiguousarray(view), turned, axes, flipped, degrees)


def is_sheared(affine: np.ndarray) -> bool:
    """Whether the axes of an affine are not at right angles."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE)


def check_geometry(
    affine: np.ndarray, shape: tuple[int, ...], *, is_ours: bool = False
) -> tuple[str, ...]:
    """Refuse the affine of a file that is none, or that a program writes when it is given none.

    Args:
        affine: 4 x 4, from indices to mm, whatever the space.
        shape: Of the voxels, axes as in `affine`.
        is_ours: Whether `Volume.save` wrote the file: a spacing of 1 mm was then given.

    Returns:
        ``default_geometry`` when the spacing may be right and the position is not given.

    Raises:
        StudyError: ``NO_GEOMETRY``, ``ABSURD_EXTENT``.
    """
    what = None
    if not np.isfinite(affine).all():
        what = "its affine is not finite"
    elif abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        what = "its affine is flat"
    elif is_sheared(affine):
        what = "its axes are not at right angles"
    if what is not None:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected three axes at right angles: {what}. Convert the scan again from DICOM.",
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_extent(spacing, shape)
    if is_default(affine, shape) and not is_ours:
        raise StudyError(
            "NO_GEOMETRY",
            "expected the scan's spacing and position, got voxels of exactly 1 x 1 x 1 mm from "
            "the origin 0 or around it, which programs write that were given none. Convert the "
            "scan again from DICOM, or write its affine into the file.",
        )
    return ("default_geometry",) if _default_places(affine, shape)[0].all() else ()


def is_default(affine: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether an affine is what a program writes when it is given none, turned or not.

    Args:
        affine: 4 x 4, from indices to mm, whatever the space.
        shape: Of the voxels, axes as in `affine`.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    is_at_zero, is_centred = _default_places(affine, shape)
    is_unit = bool(np.abs(spacing - 1).max() < ROUNDING_MM)
    return is_unit and bool((is_at_zero | is_centred).all())


def _default_places(affine: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """By axis of the space, whether one end of a volume lies at 0, and whether its middle does.

    Programs turn and mirror what they were given: then the first voxel lies elsewhere, and a corner
    is still at 0. None does for axes that are not those of the space.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(directions).max(axis=0) <= 1 - 1e-6).any():
        return np.zeros(3, dtype=bool), np.zeros(3, dtype=bool)
    first = affine[:3, 3]
    last = affine[:3, :3] @ (np.array(shape[:3]) - 1) + first
    is_at_zero = np.minimum(np.abs(first), np.abs(last)) < ROUNDING_MM
    is_centred = np.abs(first + last) / 2 < HALF_VOXEL_MM + ROUNDING_MM
    return is_at_zero, is_centred


def check_extent(spacing: Sequence[float] | np.ndarray, shape: Sequence[int]) -> None:
    """Refuse voxels, or a volume of them, that no chest CT has.

    Args:
        spacing: Of the voxels along three axes, mm, in any order.
        shape: Of the volume, in the same order.

    Raises:
        StudyError: ``NO_GEOMETRY`` for voxels too fine, ``ABSURD_EXTENT`` for voxels too large or
            a volume too long.
    """
    sizes = " x ".join(f"{s:.3g}" for s in spacing)
    if min(spacing) < MIN_SPACING_MM:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected spacing in mm, from {MIN_SPACING_MM:g} mm on, got {sizes}, which may be "
            "metres or cm. Convert the scan again from DICOM.",
        )
    # The longest step may be from slice to slice, and so may the longest side.
    steps = sorted(float(step) for step in spacing)
    sides = sorted(float(step) * count for step, count in zip(spacing, shape, strict=True))
    if steps[1] > MAX_PIXEL_MM + ROUNDING_MM or steps[2] > MAX_STEP_MM + ROUNDING_MM:
        what = f"voxels of {sizes} mm"
    elif sides[1] > MAX_SIDE_MM or sides[2] > MAX_LENGTH_MM:
        what = f"a volume of {sides[2]:.0f} x {sides[1]:.0f} x {sides[0]:.0f} mm"
    else:
        return
    raise StudyError(
        "ABSURD_EXTENT",
        f"expected a chest CT, with pixels of {MAX_PIXEL_MM:g} mm and steps of {MAX_STEP_MM:g} mm "
        f"at most, {MAX_SIDE_MM:g} mm wide and {MAX_LENGTH_MM:g} mm long at most, got {what}. "
        "Check the spacing in the header; convert or export the scan again.",
    )


def check_layout(array: np.ndarray) -> None:
    """Refuse voxels that lie in rows or planes of another length than the header says.

    With sizes exchanged, or one halved and another doubled, or numbers of another width, voxels
    that are neighbours by the header are strangers, and others are neighbours.

    Args:
        array: As it was read, three axes in any order of memory.

    Raises:
        StudyError: ``NO_GEOMETRY``, with the sizes that fit.
    """
    order = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    view = array.transpose(order)
    _, rows, columns = view.shape
    flat = np.ascontiguousarray(view).reshape(-1)
    if any(UNLIKE * _apart(flat, lag, PAIRS) < _apart(flat, 1, PAIRS) for lag in (2, 3, 4)):
        raise _other_sizes("one number a voxel", "another number of them")
    plane = rows * columns
    lags = _divisors(flat.size)
    if lag := _better_lag(flat, columns, [n for n in lags if n % plane], 1):
        raise _other_sizes(f"rows of {columns} voxels", f"rows of {lag}")
    if lag := _better_lag(flat, plane, [n for n in lags if n % columns == 0], columns):
        raise _other_sizes(f"{rows} rows in a plane", f"{lag // columns}")


def _divisors(count: int) -> list[int]:
    """Every number that divides another."""
    small = [n for n in range(1, math.isqrt(count) + 1) if count % n == 0]
    return sorted({*small, *(count // n for n in small)})


def _better_lag(flat: np.ndarray, claim: int, lags: Sequence[int], unit: int) -> int | None:
    """The lag at which voxels are neighbours and that the header does not say; None without one.

    Args:
        flat: Voxels in the order of memory.
        claim: The lag that the header says.
        lags: Others that its number of voxels allows.
        unit: Voxels from one place to the next along this axis.
    """
    found = _apart(flat, claim, FEWER_PAIRS)
    best: tuple[float, int] | None = None
    for lag in lags:
        if not MIN_LAG * unit <= lag <= min(MAX_SIDE * unit, flat.size // 2):
            continue
        if abs(lag - claim) <= NEIGHBOUR_UNITS * unit:
            continue
        here = _apart(flat, lag, FEWER_PAIRS)
        if here >= found * (MORE_ALIKE if lag % claim == 0 else AS_ALIKE):
            continue
        # Thick slices differ much, and a short way within one is none of another length: that
        # would be a lowest point.
        around = [_apart(flat, abs(lag + s * NEIGHBOUR_UNITS * unit), FEWER_PAIRS) for s in (-1, 1)]
        if min(around) >= ROUND_A_MINIMUM * here and (best is None or here < best[0]):
            best = here, lag
    return best[1] if best else None


def _apart(flat: np.ndarray, lag: int, pairs: int) -> float:
    """The mean difference of voxels so many places apart."""
    count = flat.size - lag
    if count < 1:
        return math.inf
    places = np.linspace(0, count - 1, min(pairs, count)).astype(np.int64)
    ahead, here = (
        np.clip(flat[at].astype(np.float32), *COUNTED_HU) for at in (places + lag, places)
    )
    return float(np.abs(ahead - here).mean())


def _other_sizes(expected: str, got: str) -> StudyError:
    return StudyError(
        "NO_GEOMETRY",
        f"expected {expected}, as the header says, got voxels that fit {got}: its sizes are wrong "
        "or in another order, or its numbers have another width. Correct the header, or export "
        "the scan again.",
    )


def volume_of(
    array: np.ndarray,
    affine: np.ndarray,
    *,
    study: str,
    reader: str,
    notes: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    acquisition: tuple[tuple[str, str | float], ...] = (),
    is_patient_order: bool = False,
    filler: Filler = ZEROS,
    images: tuple[tuple[int, int], ...] = (),
) -> Volume:
    """The volume that a reader hands on.

    Args:
        array: HU, three axes, any orientation; may be written to.
        affine: From its indices to LPS mm.
        study: Short id.
        reader: ``dicom``, ``nifti`` or ``itk``.
        notes: What the reader decided.
        flags: The reader's reservations.
        acquisition: What the header tells of it; slice distance and noise are added.
        is_patient_order: Whether axes are (slice, row, column) of a scanner, so that turning them
            is worth a flag.
        filler: What a copy of the scan that broke off would be filled up with.
        images: See `covidctnet.volume.Origin`.

    Raises:
        StudyError: ``NOT_HU``, ``NO_GEOMETRY``, ``ABSURD_EXTENT``; ``CORRUPT_SLICE`` or
            ``CORRUPT_FILE`` where a scan was filled up.
    """
    check_extent(np.linalg.norm(affine[:3, :3], axis=0), array.shape)
    check_layout(array)
    turned = canonical(array, affine)
    hu, more = as_hu(turned.array)
    check_hu(hu)
    code = "CORRUPT_SLICE" if reader == "dicom" else "CORRUPT_FILE"
    check_filled(hu, code=code, filler=filler)
    if filler.values is None:
        # Decoders go on after damage. Where nothing was decoded, a slice that differs from both
        # neighbours is one at which the patient breathed.
        check_damage(hu, code=code)
    names = set(flags)
    spacing = np.linalg.norm(turned.affine[:3, :3], axis=0)
    # Slices that were interpolated, or are not those of the scanner, say nothing about its pixels.
    if "gaps_resampled" not in names and (turned.axes[0] == 0 or not is_patient_order):
        check_levels(hu, float(spacing[0]), code=code)
    if spacing[0] > THICK_SLICES_MM + 1e-3:
        names.add("thick_slices")
    if hu.shape[0] < FEW_SLICES:
        names.add("few_slices")
    is_turned = turned.axes != (0, 1, 2) or any(turned.flipped[1:])
    if turned.degrees > ODD_DEGREES or (is_patient_order and is_turned):
        names.add("odd_orientation")
    if is_patient_order and is_turned:
        more = (*more, "slices were turned to the canonical orientation by their matrix")
    deviation = noise_hu(hu)
    noise = () if math.isnan(deviation) else (("noise_hu", round(deviation, 1)),)
    source = Source(
        study=study,
        digest=_digest(hu, turned.affine),
        reader=reader,
        notes=(*notes, *more),
        flags=tuple(sorted(names)),
        acquisition=(("slice_mm", round(float(spacing[0]), 3)), *noise, *acquisition),
        origin=_origin(turned, images),
    )
    return Volume(hu, turned.affine, "HU", source)


def _origin(turned: Canonical, images: tuple[tuple[int, int], ...]) -> Origin:
    slices, rows, columns = turned.array.shape
    first, second, third = turned.axes
    is_flipped, are_flipped, also_flipped = turned.flipped
    return Origin(
        (slices, rows, columns),
        tuple(turned.affine.ravel().tolist()),
        (first, second, third),
        (is_flipped, are_flipped, also_flipped),
        images,
    )


def check_size(shape: tuple[int, ...]) -> None:
    """Refuse what no scanner makes, before anything is allocated.

    Raises:
        StudyError: ``ABSURD_SIZE``.
    """
    voxels = 1
    for n in shape:
        voxels *= int(n)
    if voxels > MAX_VOXELS or max(shape) > 4096:
        raise StudyError(
            "ABSURD_SIZE",
            f"expected at most {MAX_VOXELS} voxels and 4096 along an axis, the header claims "
            f"{' x '.join(str(n) for n in shape)}. Check the file, or export it again.",
        )


def _digest(array: np.ndarray, affine: np.ndarray) -> str:
    """SHA-256 over type, shape, voxels and the affine to 1e-4 mm."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data if array.flags.c_contiguous else array.tobytes())
    # Adding 0.0 turns -0.0 into 0.0.
    digest.update((np.round(affine, 4) + 0.0).tobytes())
    return digest.hexdigest()
