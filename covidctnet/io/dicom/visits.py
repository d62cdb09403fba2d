"""The visits under one study UID: scans that something tells apart are several."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from covidctnet.io.dicom.blocks import Block, blocks_of
from covidctnet.io.dicom.frame import Entry
from covidctnet.io.dicom.geometry import MIN_SLICES
from covidctnet.io.dicom.pairs import Pairs
from covidctnet.io.dicom.unions import Unions
from covidctnet.io.dicom.visit_marks import common_marks

__all__ = ["visits_of"]


def visits_of(entries: list[Entry], *, is_named: bool = True) -> list[list[Entry]]:
    """The files of each visit under one study UID; one visit, as a rule.

    Args:
        entries: Files of one study UID, or of folders that name no study.
        is_named: Whether there is such a UID.
    """
    blocks = blocks_of(entries)
    large = [block for block in blocks if len(block.slices) >= MIN_SLICES]
    # Loose files hold nothing together that is large enough to speak for itself.
    loose = _joined([block for block in blocks if len(block.slices) < MIN_SLICES])
    large_scans = _divided(large, is_named) if large else []
    many = [scan for scan in loose if sum(len(a.slices) for a in scan) >= MIN_SLICES]
    scans = _joined_scans([*large_scans, *many])
    if len(scans) < 2:
        return [entries]
    taken = {id(block) for scan in many for block in scan}
    nearest = _Nearest(scans)
    for block in (a for scan in loose for a in scan if id(a) not in taken):
        nearest.scan_of(block).append(block)
    return [[entry for block in scan for entry in block.entries] for scan in scans]


def _joined(blocks: list[Block]) -> list[list[Block]]:
    """Those that a UID holds together: a frame of reference, a series, or no frame at all."""
    unions = Unions()
    for block in blocks:
        unions.join(("frame", block.frame), id(block))
        if block.series:
            unions.join(("series", block.series), id(block))
    scans: dict[Hashable, list[Block]] = {}
    for block in blocks:
        scans.setdefault(unions.root(id(block)), []).append(block)
    return list(scans.values())


def _joined_scans(scans: list[list[Block]]) -> list[list[Block]]:
    """Scans of which one goes on where another ends are one, whatever their UIDs."""
    if len(scans) < 2:
        return scans
    unions = Unions()
    wholes = []
    for scan in scans:
        folders = {block.folder for block in scan}
        folder = folders.pop() if len(folders) == 1 else Path()
        wholes.append(Block(folder, "", "", [e for block in scan for e in block.entries]))
    pairs = Pairs(wholes)
    for i, j in np.argwhere(np.triu(pairs.one_scan | (pairs.go_on & ~pairs.elsewhere), 1)):
        unions.join(int(i), int(j))
    parts: dict[Hashable, list[Block]] = {}
    for i, scan in enumerate(scans):
        parts.setdefault(unions.root(i), []).extend(scan)
    return list(parts.values())


class _Nearest:
    """Which scan loose files have most in common with: visit, UIDs, folder, then the size."""

    def __init__(self, scans: list[list[Block]]) -> None:
        self._scans = scans
        self._sizes = [sum(len(a.slices) for a in scan) for scan in scans]
        self._like: dict[tuple[str, str], set[int]] = {}
        self._folders: dict[tuple[str, ...], set[int]] = {}
        self._visits = [
            common_marks([s.visit for block in scan for s in block.slices]) for scan in scans
        ]
        for k, scan in enumerate(scans):
            for block in scan:
                self._like.setdefault(("frame", block.frame), set()).add(k)
                self._like.setdefault(("series", block.series), set()).add(k)
                for depth in range(len(block.folder.parts) + 1):
                    self._folders.setdefault(block.folder.parts[:depth], set()).add(k)

    def scan_of(self, block: Block) -> list[Block]:
        """The scan, to which the file may be added."""
        like = set(self._like.get(("frame", block.frame), ()))
        if block.series:
            like |= self._like.get(("series", block.series), set())
        candidates = like or set(range(len(self._scans)))
        own = common_marks([found.visit for _, found in block.entries])
        candidates = {k for k in candidates if not _differ(own, self._visits[k])} or candidates
        for depth in range(len(block.folder.parts), -1, -1):
            if near := candidates & self._folders.get(block.folder.parts[:depth], set()):
                candidates = near
                break
        return self._scans[max(sorted(candidates), key=lambda k: self._sizes[k])]


def _differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two visits say something different."""
    return any(a and b and a != b for a, b in zip(one, other, strict=False))


def _divided(blocks: list[Block], is_named: bool) -> list[list[Block]]:
    """Large blocks by visit: joined where a UID holds them together and nothing speaks against it.

    Copies are joined first, then those whose folders are nearest to each other, as long as nothing
    keeps any of them apart.
    """
    pairs = Pairs(blocks, is_named=is_named)
    against, like = pairs.against, pairs.like
    root = np.arange(len(blocks))

    def join(members: np.ndarray, allowed: np.ndarray) -> None:
        """Join the parts of some members, each with the first that it may be joined with."""
        roots = list(dict.fromkeys(root[members].tolist()))
        for k, one in enumerate(roots):
            if root[one] != one:
                continue
            rest = np.array([other for other in roots[k + 1 :] if root[other] == other], dtype=int)
            while len(rest):
                fit = rest[allowed[one, rest] & ~against[one, rest]]
                if not len(fit):
                    break
                other = int(fit[0])
                root[root == other] = one
                for matrix in (against, like):
                    matrix[one] |= matrix[other]
                    matrix[:, one] |= matrix[:, other]
                rest = rest[rest != other]

    for i, j in np.argwhere(np.triu(pairs.copies & ~against, 1)):
        join(np.array([i, j]), np.ones_like(against))
    seen: set[tuple[int, ...]] = set()
    for depth in range(max(len(block.folder.parts) for block in blocks), -1, -1):
        buckets: dict[tuple[str, ...], list[int]] = {}
        for i, block in enumerate(blocks):
            buckets.setdefault(block.folder.parts[:depth], []).append(i)
        for members in map(tuple, buckets.values()):
            if len(members) > 1 and members not in seen:
                seen.add(members)
                join(np.array(members), like)
    parts: dict[int, list[Block]] = {}
    for i, block in enumerate(blocks):
        parts.setdefault(int(root[i]), []).append(block)
    return list(parts.values())
