"""One field of Perlin noise with the bits of `pnoise2` of the package ``noise`` 1.2.2.

It is the oracle of `covidctnet.systems.covidctnet.perlin.fields`: proven against the package point
by point, and fast enough to compare whole fields with. The package itself takes a tenth of a second
a field.
"""

from dataclasses import dataclass

import numpy as np

from covidctnet.systems.covidctnet.perlin import (
    _ALONG_COLUMNS,
    _ALONG_ROWS,
    _HASH,
    LATTICE,
    _check,
    _frequencies,
)

__all__ = ["perlin2"]


def perlin2(
    shape: tuple[int, int],
    *,
    scale: float,
    octaves: int = 1,
    persistence: float = 0.5,
    lacunarity: float = 2.0,
    offset: tuple[float, float] = (0.0, 0.0),
    repeat: int = 1024,
    base: int = 0,
) -> np.ndarray:
    """A field of Perlin noise: bit for bit ``noise.pnoise2(row / scale, column / scale, ...)``.

    Args:
        shape: Rows and columns.
        scale: Size of a cell of the first octave, voxels.
        octaves: Fields added up, each finer than the one before.
        persistence: Amplitude of an octave over that of the one before; may be negative.
        lacunarity: Frequency of an octave over that of the one before.
        offset: Place on the lattice of the first octave, cells (row, column): the way to vary a
            field. Its whole cells move the lattice and only the rest is added to the coordinates,
            so that a distant field is as precise as one at the origin.
        repeat: Cells of the first octave after which the field repeats.
        base: Shift of the hash, 0 or 1. (From 2 on the package reads beyond its table.)

    Returns:
        float32, `shape`, within about [-1, 1].

    Raises:
        ValueError: If an argument is out of range, or the amplitudes sum to 0.

    Source: Perlin, "Improving noise", 2002, in two dimensions. Differs in: nothing from the
    package ``noise``, up to the rounding of an offset that is not 0.
    """
    _check(octaves, scale)
    if base not in (0, 1) or repeat < 1:
        raise ValueError(f"expected base 0 or 1 and repeat >= 1, got base={base}, repeat={repeat}")
    height, width = shape
    total = np.zeros(shape, np.float32)
    # One piece of memory for every octave: fresh pages would cost as much as the arithmetic.
    memory = np.empty((6 * height + 4 * LATTICE) * width, np.float32)
    lattice, pixels = np.split(memory, [4 * LATTICE * width])
    lower, upper, part = pixels.reshape(3, 2, height, width)
    amplitude, norm = np.float32(1), np.float32(0)
    for frequency in _frequencies(octaves, lacunarity):
        rows = _axis(height, scale, offset[0], frequency, repeat)
        columns = _axis(width, scale, offset[1], frequency, repeat)
        along_rows, along_columns = _gradients(rows, columns, base, out=lattice)
        step, fade = rows.step[:, None], rows.fade[:, None]

        # The order of these operations is that of the package: it decides the last bit.
        np.take(along_rows, rows.lower, axis=1, out=lower, mode="clip")
        lower *= step
        lower += np.take(along_columns, rows.lower, axis=1, out=part, mode="clip")
        np.take(along_rows, rows.upper, axis=1, out=upper, mode="clip")
        upper *= step - 1
        upper += np.take(along_columns, rows.upper, axis=1, out=part, mode="clip")
        left, right = _lerp(lower, upper, fade)
        octave = _lerp(left, right, columns.fade)
        octave *= amplitude
        total += octave

        norm += amplitude
        amplitude *= np.float32(persistence)
    if norm == 0:
        raise ValueError(f"{octaves} octaves of persistence {persistence} sum to amplitude 0")
    total /= norm
    return total


@dataclass(frozen=True)
class _Axis:
    """One axis of one octave: the lattice points that are read, and by which voxels."""

    lattice: np.ndarray  # indices of the lattice points that are read, (n,)
    lower: np.ndarray  # place in `lattice` of the point before a voxel, (size,)
    upper: np.ndarray  # of the point behind it
    step: np.ndarray  # distance from the point before, cells, (size,)
    fade: np.ndarray  # weight of the point behind


def _axis(size: int, scale: float, offset: float, frequency: np.float32, repeat: int) -> _Axis:
    whole, rest = divmod(offset * float(frequency), 1.0)
    place = (np.arange(size) / scale).astype(np.float32) * frequency + np.float32(rest)
    period = np.float32(repeat) * frequency
    cell = np.floor(np.fmod(place, period)).astype(np.float64)
    lower = np.fmod(cell + whole, period).astype(np.int64)
    upper = np.fmod(lower + 1, period).astype(np.int64)
    step = place - np.floor(place)
    fade = _fade(step)
    lower, upper = lower % LATTICE, upper % LATTICE
    is_read = np.zeros(LATTICE, bool)
    is_read[lower] = is_read[upper] = True
    index = np.cumsum(is_read) - 1
    return _Axis(np.flatnonzero(is_read), index[lower], index[upper], step, fade)


def _gradients(
    rows: _Axis, columns: _Axis, base: int, *, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of every lattice row at the columns before and behind each voxel.

    Returns:
        Component along the rows, and component along the columns times the distance along them,
        each (2, lattice row, column), in the memory of `out`.
    """
    hashed = _HASH[rows.lattice + base] + base
    before, behind = columns.lattice[columns.lower], columns.lattice[columns.upper]
    shape = (2, 2, len(hashed), len(before))
    along_rows, along_columns = out[: np.prod(shape)].reshape(shape)
    for table, part in ((_ALONG_ROWS, along_rows), (_ALONG_COLUMNS, along_columns)):
        # A lattice row reads one stretch of the table, so rows are copied whole.
        stretches = np.lib.stride_tricks.sliding_window_view(table, LATTICE)[hashed]
        np.take(stretches, before, axis=1, out=part[0], mode="clip")
        np.take(stretches, behind, axis=1, out=part[1], mode="clip")
    along_columns[0] *= columns.step
    along_columns[1] *= columns.step - 1
    return along_rows, along_columns


def _lerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``start + weight * (end - start)``, in the memory of `end`."""
    end -= start
    end *= weight
    end += start
    return end


def _fade(step: np.ndarray) -> np.ndarray:
    """Quintic weight of the far end at a distance from the near one, both in 0..1."""
    return step * step * step * (step * (step * 6 - 15) + 10)
