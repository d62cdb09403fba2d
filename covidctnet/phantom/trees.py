"""Branching trees (vessels, airways) and how tubes are drawn on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.phantom.fields import Grid


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight pieces of tubes.

    Attributes:
        start: Where each piece starts, shape (piece, 3), (slice, row, column) in mm.
        end: Where it ends, same shape.
        start_radius: Radius at the start in mm, shape (piece,).
        end_radius: Radius at the end in mm, shape (piece,).
    """

    start: np.ndarray
    end: np.ndarray
    start_radius: np.ndarray
    end_radius: np.ndarray

    @classmethod
    def along(cls, points: np.ndarray, radii: np.ndarray | float) -> Tubes:
        """One tube through `points`, shape (point, 3), with a radius a point."""
        points = np.asarray(points, dtype=np.float64)
        radius = np.broadcast_to(np.asarray(radii, dtype=np.float64), len(points))
        return cls(points[:-1], points[1:], radius[:-1], radius[1:])

    @classmethod
    def joined(cls, *tubes: Tubes) -> Tubes:
        """All pieces of `tubes` together."""
        return cls(
            np.concatenate([t.start for t in tubes]),
            np.concatenate([t.end for t in tubes]),
            np.concatenate([t.start_radius for t in tubes]),
            np.concatenate([t.end_radius for t in tubes]),
        )

    def widened(self, by_mm: float) -> Tubes:
        """The same tubes with `by_mm` added to every radius."""
        return Tubes(self.start, self.end, self.start_radius + by_mm, self.end_radius + by_mm)

    def part(self, keep: np.ndarray) -> Tubes:
        """The pieces where `keep` is True."""
        return Tubes(
            self.start[keep], self.end[keep], self.start_radius[keep], self.end_radius[keep]
        )


def grow_tree(
    targets: np.ndarray,
    root: np.ndarray,
    *,
    rng: np.random.Generator,
    tip_radius_mm: float,
    exponent: float,
    balance: float = 0.4,
) -> Tubes:
    """Tree from `root` to every target: short in wire and short in the way to each tip.

    Each target joins where its distance plus `balance` times the way from there to the root is
    least. Radii follow Murray: a parent's radius to the power of `exponent` is the sum of its
    children's.

    Args:
        targets: Points to reach, shape (target, 3), (slice, row, column) in mm.
        root: Where the tree starts, shape (3,).
        rng: For the bends of the branches.
        tip_radius_mm: Radius of the last branches.
        exponent: Of Murray's law; 3 in theory, less gives a thicker trunk.
        balance: 0 is the minimum spanning tree, 1 close to a star.

    Source: H. Cuntz et al., One rule to grow them all, PLoS Computational Biology 2010 (the
    balance); C. D. Murray, PNAS 1926 (the radii).
    """
    nodes = np.vstack([root, targets])
    parent = np.zeros(len(nodes), dtype=np.intp)
    path = np.zeros(len(nodes))
    waiting = np.ones(len(nodes), dtype=bool)
    waiting[0] = False
    length = np.linalg.norm(nodes - nodes[0], axis=1)
    cost = length.copy()
    order = []
    for _ in range(len(targets)):
        new = int(np.argmin(np.where(waiting, cost, np.inf)))
        waiting[new] = False
        order.append(new)
        path[new] = path[parent[new]] + length[new]
        distance = np.linalg.norm(nodes - nodes[new], axis=1)
        better = waiting & (distance + balance * path[new] < cost)
        cost[better] = distance[better] + balance * path[new]
        length[better] = distance[better]
        parent[better] = new
    power = np.zeros(len(nodes))
    power[np.setdiff1d(np.arange(len(nodes)), parent)] = tip_radius_mm**exponent
    for child in reversed(order):
        power[parent[child]] += power[child]
    radius = power ** (1.0 / exponent)
    children = np.array(order)
    return _bent(
        nodes[parent[children]],
        nodes[children],
        np.minimum(radius[parent[children]], 1.25 * radius[children]),
        radius[children],
        rng,
    )


def _bent(
    start: np.ndarray,
    end: np.ndarray,
    start_radius: np.ndarray,
    end_radius: np.ndarray,
    rng: np.random.Generator,
    pieces: int = 3,
) -> Tubes:
    """Every straight branch as a gentle bow of `pieces` pieces."""
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = (start + end) / 2 + rng.normal(0.0, 0.09, start.shape) * length
    tubes = []
    for piece in range(pieces):
        a, b = piece / pieces, (piece + 1) / pieces
        tubes.append(
            Tubes(
                _bezier(start, middle, end, a),
                _bezier(start, middle, end, b),
                (1 - a) * start_radius + a * end_radius,
                (1 - b) * start_radius + b * end_radius,
            )
        )
    return Tubes.joined(*tubes)


def _bezier(start: np.ndarray, middle: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def draw_tubes(tubes: Tubes, grid: Grid, cover: np.ndarray) -> None:
    """Raise `cover` in place to the part of each voxel that lies in a tube.

    Args:
        tubes: In the frame of the grid.
        grid: Of `cover`.
        cover: From 0 to 1, shape (slice, row, column), float32.
    """
    pitch = np.array(grid.pitch)
    soft = float(np.cbrt(pitch.prod()))
    origin = np.array([axis[0] for axis in grid.axes], dtype=np.float64)
    reach = np.maximum(tubes.start_radius, tubes.end_radius)[:, None] + soft
    low = np.ceil((np.minimum(tubes.start, tubes.end) - reach - origin) / pitch).astype(int)
    high = np.floor((np.maximum(tubes.start, tubes.end) + reach - origin) / pitch).astype(int) + 1
    low, high = np.clip(low, 0, grid.shape), np.clip(high, 0, grid.shape)
    step = tubes.end - tubes.start
    square = np.maximum((step**2).sum(axis=1), 1e-6)
    for i in np.flatnonzero((high > low).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[i], high[i], strict=True))
        z = (grid.z[box[0]] - np.float32(tubes.start[i, 0]))[:, None, None]
        y = (grid.y[box[1]] - np.float32(tubes.start[i, 1]))[None, :, None]
        x = (grid.x[box[2]] - np.float32(tubes.start[i, 2]))[None, None, :]
        dz, dy, dx = step[i].astype(np.float32)
        along = (z * dz + y * dy + x * dx) / np.float32(square[i])
        np.clip(along, 0.0, 1.0, out=along)
        away = (z - along * dz) ** 2
        away += (y - along * dy) ** 2
        away += (x - along * dx) ** 2
        np.sqrt(away, out=away)
        a, b = tubes.start_radius[i], tubes.end_radius[i]
        radius = along * np.float32(b - a) + np.float32(a)
        inside = np.clip(0.5 + (radius - away) / np.float32(soft), 0.0, 1.0)
        thin = min(1.0, max(a, b) / (0.6 * soft))  # a tube thinner than a voxel fills part of it
        np.maximum(cover[box], inside * np.float32(thin), out=cover[box])
