"""Which files belong together, where the UIDs that should say so have been changed.

Anonymisers treat all files alike: they write one UID for all patients, or one for every file, or
none. A UID is believed as long as a second witness does not contradict it: the folder, the frame of
reference, the grid of positions, what is alike in all files of one visit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from covidctnet.io.archive import File
from covidctnet.io.dicom.elements import DamagedFileError, NotDicomError
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.dicom.geometry import (
    MIN_SLICES,
    SAME_PLACE,
    STEP_TOLERANCE,
    STEP_TOLERANCE_MM,
    usual_step,
)
from covidctnet.io.dicom.headers import CT_IMAGE, LOCALIZER_TYPES, read_frames
from covidctnet.io.dicom.neighbours import SAME_PART
from covidctnet.io.dicom.voxels import same_pixels

__all__ = ["Group", "group", "without_idle_uids"]

# Two blocks of one scan may share this part of the shorter one.
JOINT_SHARE = 0.1
COSINE_TOLERANCE = 1e-3
# Two blocks off one grid, of which one begins where the other ends, lie so near to one line.
MAX_ASIDE_MM = 30.0
# In two folders, where several patients are likelier than one scan.
MAX_ASIDE_ELSEWHERE_MM = 2.0

Entry = tuple[File, Identity]


@dataclass(frozen=True, eq=False)
class Group:
    """Files of one study.

    Attributes:
        text: What its id is made of.
        entries: Its files and what they say.
        idle_series: Files whose series UID says nothing.
        notes: What was decided.
    """

    text: str
    entries: Sequence[Entry]
    idle_series: frozenset[File] = frozenset()
    notes: tuple[str, ...] = ()


def group(entries: Sequence[Entry]) -> tuple[list[Group], list[File]]:
    """Divide files into studies.

    By study UID over all folders; a folder stands for it where no file names a study, or each file
    names another. One study UID over scans that have nothing else in common is several studies.

    Args:
        entries: Files that could be identified.

    Returns:
        The studies, and files that name no study in folders where others do.
    """
    own_study = _one_file_each(entries, [found.study_uid for _, found in entries])
    own_study |= _one_file_each_of_series(entries)
    nameless = [not found.study_uid or i in own_study for i, (_, found) in enumerate(entries)]
    named_in: dict[Path, str] = {}
    for (path, found), is_nameless in zip(entries, nameless, strict=True):
        if not is_nameless:
            named_in.setdefault(path.parent, found.study_uid)
    unions = _Unions()
    strays: list[File] = []
    keys: list[Hashable | None] = []
    series: dict[tuple[Path, str], Hashable] = {}
    for i, (path, found) in enumerate(entries):
        key: Hashable = ("folder", path.parent) if nameless[i] else ("study", found.study_uid)
        if found.series_uid and not nameless[i]:
            # A series of one folder is in one study; reading says that its slices disagree.
            unions.join(series.setdefault((path.parent, found.series_uid), key), key)
        keys.append(key)
    for i, (path, found) in enumerate(entries):
        if not nameless[i] or path.parent not in named_in:
            continue
        home = series.get((path.parent, found.series_uid))
        if home is None and found.is_slice:
            strays.append(path)
            keys[i] = None
        else:
            keys[i] = home or ("study", named_in[path.parent])
    # Folders without study UIDs that share a series or a frame of reference.
    links: dict[tuple[str, str], Hashable] = {}
    idle = _one_file_each(entries, [found.series_uid for _, found in entries])
    for i, (_, found) in enumerate(entries):
        key_of = keys[i]
        if key_of is None or not nameless[i]:
            continue
        marks = [("frame", found.frame_of_reference)]
        marks += [] if i in idle else [("series", found.series_uid)]
        for mark in marks:
            if mark[1]:
                unions.join(links.setdefault(mark, key_of), key_of)
    studies: dict[Hashable, list[int]] = {}
    for i, key_of in enumerate(keys):
        if key_of is not None:
            studies.setdefault(unions.root(key_of), []).append(i)
    studies = _with_lost(studies, entries)
    groups = []
    for places in studies.values():
        groups += _groups_of_study([entries[i] for i in places], [nameless[i] for i in places])
    return groups, strays


def _with_lost(
    studies: dict[Hashable, list[int]], entries: Sequence[Entry]
) -> dict[Hashable, list[int]]:
    """Studies, with single slices that lie where a scan in their folder goes on.

    Their study UID was damaged, or belongs to another study: reading says that they disagree.
    """
    scans: dict[Path, list[Hashable]] = {}
    lone: list[tuple[Hashable, int]] = []
    for key, places in studies.items():
        slices = [i for i in places if entries[i][1].is_slice]
        if len(places) == 1:
            lone.append((key, places[0]))
        elif len(slices) >= MIN_SLICES:
            for folder in {entries[i][0].parent for i in slices}:
                scans.setdefault(folder, []).append(key)
    ends: dict[tuple[Path, Hashable], list[_Extent]] = {}
    out = dict(studies)
    for key, i in lone:
        path, found = entries[i]
        for home in scans.get(path.parent, ()):
            if (path.parent, home) not in ends:
                atoms = _atoms([entries[k] for k in studies[home]])
                here = [a.extent for a in atoms if a.folder == path.parent]
                ends[path.parent, home] = [extent for extent in here if extent is not None]
            if any(_goes_on_with(extent, found) for extent in ends[path.parent, home]):
                out[home] = [*out[home], *out.pop(key)]
                break
    return out


def _goes_on_with(extent: _Extent, found: Identity) -> bool:
    """Whether a slice lies where the one before the first or behind the last would."""
    if found.position is None:
        return False
    height, *beside = np.array(found.position) @ extent.axes
    off = min(
        abs(height - extent.heights[0] + extent.step),
        abs(height - extent.heights[-1] - extent.step),
    )
    return bool(
        off <= extent.step / 4 and np.abs(beside - extent.beside).max() <= STEP_TOLERANCE_MM
    )


def _groups_of_study(entries: list[Entry], nameless: list[bool]) -> list[Group]:
    uids = sorted(
        {found.study_uid for (_, found), n in zip(entries, nameless, strict=True) if not n}
    )
    bodies = _bodies(entries)
    notes: tuple[str, ...] = ()
    if not uids:
        has_own = any(found.study_uid for _, found in entries)
        what = "every file names a study of its own" if has_own else "no file names its study"
        notes = (f"{what}: the folder was taken for the study",)
    if len(bodies) > 1:
        notes += (
            f"one study UID over {len(bodies)} scans that have nothing else in common: each was "
            "taken for a study",
        )
    out = []
    for body in bodies:
        text = uids[0] if uids and len(bodies) == 1 else "\n".join([*uids, _fingerprint(body)])
        idle = _one_file_each(body, [found.series_uid for _, found in body])
        out.append(Group(text, body, frozenset(body[i][0] for i in idle), notes))
    return out


def _fingerprint(entries: Sequence[Entry]) -> str:
    """What stands for a study that no UID tells from others."""
    lines = sorted(
        f"{found.series_uid} {found.sop_uid} {found.position} {found.number}"
        for _, found in entries
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# ---- one study UID over several scans ----


@dataclass(frozen=True, eq=False)
class _Atom:
    """Files of one folder, series and frame of reference."""

    folder: Path
    series: str
    frame: str
    entries: list[Entry] = field(default_factory=list)

    @cached_property
    def slices(self) -> list[Identity]:
        return [found for _, found in self.entries if found.is_slice]

    @cached_property
    def extent(self) -> _Extent | None:
        return _extent(self.slices)

    @cached_property
    def keys(self) -> frozenset[Hashable]:
        """What tells its slices from others."""
        return frozenset((s.sop_uid, s.position, s.number) for s in self.slices)

    @cached_property
    def numbers(self) -> frozenset[float]:
        """Instance numbers of its slices."""
        return frozenset(s.number for s in self.slices if s.number is not None)

    @cached_property
    def visit(self) -> tuple[str, ...]:
        """What most of its slices say of the visit."""
        found = Counter(s.visit for s in self.slices)
        return found.most_common(1)[0][0] if found else ()

    @cached_property
    def number(self) -> str:
        """The number of the series; empty when its slices carry none, or several."""
        numbers = {s.series_number for s in self.slices}
        return next(iter(numbers)) if len(numbers) == 1 else ""


@dataclass(frozen=True, eq=False)
class _Extent:
    """Where the slices of a scan lie."""

    axes: np.ndarray
    heights: np.ndarray
    beside: np.ndarray
    step: float

    @property
    def length(self) -> float:
        return float(self.heights[-1] - self.heights[0])


def _bodies(entries: list[Entry]) -> list[list[Entry]]:
    """The scans of a study that have no more in common than its UID; one, as a rule."""
    atoms = _atoms(entries)
    large = [atom for atom in atoms if len(atom.slices) >= MIN_SLICES]
    # Loose files hold nothing together that is large enough to speak for itself.
    loose = _joined([atom for atom in atoms if len(atom.slices) < MIN_SLICES])
    large_scans = [part for scan in _joined(large) for part in _apart(scan)]
    many = [scan for scan in loose if sum(len(a.slices) for a in scan) >= MIN_SLICES]
    scans = _joined_scans([*large_scans, *many])
    if len(scans) < 2:
        return [entries]
    taken = {id(atom) for scan in many for atom in scan}
    nearest = _Nearest(scans)
    for atom in (a for scan in loose for a in scan if id(a) not in taken):
        nearest.scan_of(atom).append(atom)
    return [[entry for atom in scan for entry in atom.entries] for scan in scans]


def _joined(atoms: list[_Atom]) -> list[list[_Atom]]:
    """Those that a UID holds together: a frame of reference, a series, or no frame at all."""
    unions = _Unions()
    for atom in atoms:
        unions.join(("frame", atom.frame), id(atom))
        if atom.series:
            unions.join(("series", atom.series), id(atom))
    scans: dict[Hashable, list[_Atom]] = {}
    for atom in atoms:
        scans.setdefault(unions.root(id(atom)), []).append(atom)
    return list(scans.values())


def _joined_scans(scans: list[list[_Atom]]) -> list[list[_Atom]]:
    """Scans of which one goes on where another ends are one, whatever their UIDs."""
    if len(scans) < 2:
        return scans
    unions = _Unions()
    wholes = []
    for scan in scans:
        folders = {atom.folder for atom in scan}
        folder = folders.pop() if len(folders) == 1 else Path()
        wholes.append(_Atom(folder, "", "", [e for atom in scan for e in atom.entries]))
    pairs = _Pairs(wholes)
    for i, j in np.argwhere(np.triu(pairs.one_scan | (pairs.go_on & ~pairs.elsewhere), 1)):
        unions.join(int(i), int(j))
    parts: dict[Hashable, list[_Atom]] = {}
    for i, scan in enumerate(scans):
        parts.setdefault(unions.root(i), []).extend(scan)
    return list(parts.values())


class _Nearest:
    """Which scan a loose file has most in common with: UIDs, then its folder, then the size."""

    def __init__(self, scans: list[list[_Atom]]) -> None:
        self._scans = scans
        self._sizes = [sum(len(a.slices) for a in scan) for scan in scans]
        self._like: dict[tuple[str, str], set[int]] = {}
        self._folders: dict[tuple[str, ...], set[int]] = {}
        for k, scan in enumerate(scans):
            for atom in scan:
                self._like.setdefault(("frame", atom.frame), set()).add(k)
                self._like.setdefault(("series", atom.series), set()).add(k)
                for depth in range(len(atom.folder.parts) + 1):
                    self._folders.setdefault(atom.folder.parts[:depth], set()).add(k)

    def scan_of(self, atom: _Atom) -> list[_Atom]:
        """The scan, to which the file may be added."""
        like = set(self._like.get(("frame", atom.frame), ()))
        if atom.series:
            like |= self._like.get(("series", atom.series), set())
        candidates = like or set(range(len(self._scans)))
        for depth in range(len(atom.folder.parts), -1, -1):
            if near := candidates & self._folders.get(atom.folder.parts[:depth], set()):
                candidates = near
                break
        return self._scans[max(sorted(candidates), key=lambda k: self._sizes[k])]


def _apart(scan: list[_Atom]) -> list[list[_Atom]]:
    """Large ones that UIDs hold together, divided where some cannot be of one visit.

    Copies are joined first, then those whose folders are nearest to each other, as long as nothing
    keeps any of them apart.
    """
    pairs = _Pairs(scan)
    against = pairs.against
    if not against.any():
        return [scan]
    like = pairs.like
    root = np.arange(len(scan))

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
    for depth in range(max(len(atom.folder.parts) for atom in scan), -1, -1):
        buckets: dict[tuple[str, ...], list[int]] = {}
        for i, atom in enumerate(scan):
            buckets.setdefault(atom.folder.parts[:depth], []).append(i)
        for members in map(tuple, buckets.values()):
            if len(members) > 1 and members not in seen:
                seen.add(members)
                join(np.array(members), like)
    parts: dict[int, list[_Atom]] = {}
    for i, atom in enumerate(scan):
        parts.setdefault(int(root[i]), []).append(atom)
    return list(parts.values())


class _Pairs:
    """What is to be said of every two of some atoms, as matrices.

    Attributes:
        like: A UID holds the two together.
        elsewhere: They lie in two folders.
        one_scan: They lie on one grid, one where the other goes on or woven into it.
        go_on: They are two parts of one scan by their places, on one grid or off it.
        copies: Most slices of one are slices of the other.
        against: Something says that they are of two visits, whatever their UIDs.
    """

    def __init__(self, atoms: Sequence[_Atom]) -> None:
        self._atoms = atoms
        extents = [atom.extent for atom in atoms]
        self._has = np.array([extent is not None for extent in extents])
        none = _Extent(np.zeros((3, 3)), np.zeros(2), np.zeros(2), 1.0)
        known = [extent or none for extent in extents]
        self._known = known
        axes = np.array([extent.axes.ravel() for extent in known])
        beside = np.array([extent.beside for extent in known])
        self._step = np.array([extent.step for extent in known])
        self._low = np.array([extent.heights[0] for extent in known])
        self._high = np.array([extent.heights[-1] for extent in known])
        both = self._has[:, None] & self._has[None, :]
        self._parallel = both & _near(axes, COSINE_TOLERANCE)
        self._in_line = self._parallel & _near(beside, STEP_TOLERANCE_MM)
        self._nearly_in_line = self._parallel & _near(beside, MAX_ASIDE_MM)
        self._nearly_in_line &= ~self.elsewhere | _near(beside, MAX_ASIDE_ELSEWHERE_MM)
        length = self._high - self._low
        self._common = np.minimum.outer(self._high, self._high) - np.maximum.outer(
            self._low, self._low
        )
        self._overlap = self._common > JOINT_SHARE * np.minimum.outer(length, length)
        self._largest = np.maximum.outer(self._step, self._step)
        tolerance = np.maximum(STEP_TOLERANCE_MM, STEP_TOLERANCE * self._largest)
        self._same_step = np.abs(np.subtract.outer(self._step, self._step)) <= tolerance
        phase = np.subtract.outer(self._low, self._low) / self._largest
        self._off = np.abs(phase - np.round(phase))

    @cached_property
    def like(self) -> np.ndarray:
        frames, series = self._codes("frame"), self._codes("series")
        same_series = (series[:, None] == series[None, :]) & (series >= 0)[:, None]
        return np.asarray((frames[:, None] == frames[None, :]) | same_series)

    @cached_property
    def elsewhere(self) -> np.ndarray:
        folders = self._codes("folder")
        return np.asarray(folders[:, None] != folders[None, :])

    @cached_property
    def one_scan(self) -> np.ndarray:
        found = np.zeros_like(self._parallel)
        adjoin = self._in_line & ~self._overlap & (-self._common <= 2 * self._largest)
        woven = self._in_line & self._overlap & self._same_step & (self._off > SAME_PLACE / 2)
        for i, j in np.argwhere(np.triu(adjoin | woven, 1)):
            found[i, j] = _is_one_scan(self._known[i], self._known[j])
        return np.asarray(found | found.T)

    @cached_property
    def go_on(self) -> np.ndarray:
        found = self.one_scan.copy()
        # On one grid each reaches further than the other: a scan in two series that overlap.
        further = np.less.outer(self._low, self._low) & np.less.outer(self._high, self._high)
        on_grid = self._in_line & self._same_step & (self._off <= SAME_PLACE / 2)
        staggered = on_grid & (further | further.T) & (self._common >= 0)
        for i, j in np.argwhere(np.triu(staggered, 1)):
            length = min(self._known[i].length, self._known[j].length)
            found[i, j] |= self._common[i, j] <= SAME_PART * length or _hold_copies(
                self._atoms[i], self._atoms[j], self._known[i]
            )
        # Off the grid, by another step or place, one begins where the other ends.
        smallest = np.minimum.outer(self._step, self._step)
        meet = (self._common <= 1.1 * smallest) & (-self._common <= 1.5 * self._largest)
        found |= np.triu(self._nearly_in_line & meet, 1)
        return np.asarray(found | found.T)

    @cached_property
    def copies(self) -> np.ndarray:
        found = np.zeros_like(self._parallel)
        # Two parts of one scan may be copied as well, so only the ranges must meet.
        candidates = self._in_line & self._same_step & (self._common >= 0)
        candidates |= ~self._has[:, None] & ~self._has[None, :]
        for i, j in np.argwhere(np.triu(candidates, 1)):
            found[i, j] = _are_copies(self._atoms[i], self._atoms[j])
        return np.asarray(found | found.T)

    @cached_property
    def against(self) -> np.ndarray:
        series, elsewhere = self._codes("series", empty=True), self.elsewhere
        same_series = series[:, None] == series[None, :]
        numbers, frames = self._codes("number"), self._codes("frame")
        same_number = (numbers[:, None] == numbers[None, :]) & (numbers >= 0)[:, None]
        is_told = (numbers >= 0) | (frames >= 0)
        untold = ~is_told[:, None] & ~is_told[None, :]
        # A visit numbers its series: two of one number, or without number and frame of reference,
        # that show one part of the body in one way are two scans; two reconstructions of a scan
        # have other steps and begin and end together.
        ends = np.maximum(
            np.abs(np.subtract.outer(self._low, self._low)),
            np.abs(np.subtract.outer(self._high, self._high)),
        )
        alike = self._same_step & self._overlap
        rebuilt = ~self._same_step & self._overlap & (ends <= self._largest)
        other = same_number & (alike | ~rebuilt | elsewhere)
        other |= untold & (alike | (elsewhere & ~rebuilt))
        found = self._parallel & other & ~same_series
        for i, j in np.argwhere(np.triu(same_series & elsewhere, 1)):
            one, second = self._atoms[i], self._atoms[j]
            if self._has[i] and self._has[j]:
                # Two parts of one scan have one step.
                other_step = self._parallel[i, j] and not self._same_step[i, j]
                collide = (self._overlap[i, j] or other_step) and not self.copies[i, j]
            else:
                collide = not _are_copies(one, second) and bool(one.numbers & second.numbers)
            found[i, j] = found[j, i] = collide
        found |= elsewhere & self._other_visit()
        return np.asarray(found & ~self.go_on & ~np.eye(len(found), dtype=bool))

    def _other_visit(self) -> np.ndarray:
        visits = [atom.visit for atom in self._atoms]
        found = np.zeros_like(self._parallel)
        for k in range(max(map(len, visits), default=0)):
            codes = _coded([visit[k] if k < len(visit) else "" for visit in visits])
            said = codes >= 0
            found |= (codes[:, None] != codes[None, :]) & said[:, None] & said[None, :]
        return found

    def _codes(self, name: str, *, empty: bool = False) -> np.ndarray:
        return _coded([getattr(atom, name) for atom in self._atoms], empty=empty)


def _coded(values: Sequence[Hashable], *, empty: bool = False) -> np.ndarray:
    """A number for each value; -1 for empty ones unless they count as a value."""
    known: dict[Hashable, int] = {}
    return np.array(
        [known.setdefault(v, len(known)) if v or empty else -1 for v in values], dtype=int
    )


def _near(values: np.ndarray, limit: float) -> np.ndarray:
    """Which rows differ by no more than a limit in every column."""
    found = np.ones((len(values), len(values)), dtype=bool)
    for column in values.T:
        found &= np.abs(np.subtract.outer(column, column)) <= limit
    return found


def _hold_copies(one: _Atom, other: _Atom, extent: _Extent) -> bool:
    """Whether two hold the same image at a place that both have, by its pixels."""

    def by_height(atom: _Atom) -> dict[float, File]:
        return {
            round(float(np.array(found.position) @ extent.axes[:, 0]), 1): path
            for path, found in atom.entries
            if found.is_slice and found.position is not None
        }

    mine, its = by_height(one), by_height(other)
    for height in sorted(mine.keys() & its.keys()):
        try:
            (a,), (b,) = read_frames(mine[height]), read_frames(its[height])
        except (DamagedFileError, NotDicomError, OSError, ValueError):
            continue
        return same_pixels(a, b)
    return False


def _atoms(entries: list[Entry]) -> list[_Atom]:
    idle_series = _one_file_each(entries, [found.series_uid for _, found in entries])
    idle_frames = _one_file_each(entries, [found.frame_of_reference for _, found in entries])
    atoms: dict[tuple[Path, str, str], _Atom] = {}
    for i, entry in enumerate(entries):
        path, found = entry
        series = "" if i in idle_series else found.series_uid
        frame = "" if i in idle_frames else found.frame_of_reference
        key = (path.parent, series, frame)
        atoms.setdefault(key, _Atom(*key)).entries.append(entry)
    return list(atoms.values())


def _are_copies(one: _Atom, other: _Atom) -> bool:
    """Whether most slices of one are slices of the other."""
    a, b = one.keys, other.keys
    return len(a & b) * 2 > min(len(a), len(b))


def _extent(slices: Sequence[Identity]) -> _Extent | None:
    """Where slices lie; None when they do not say, or in several directions."""
    placed = [s for s in slices if s.position is not None and s.orientation is not None]
    if len(placed) < MIN_SLICES or len(placed) < len(slices):
        return None
    directions = np.array([s.orientation for s in placed])
    if np.abs(directions - directions[0]).max() > COSINE_TOLERANCE:
        return None
    across, down = directions[0].reshape(2, 3)
    axes = np.stack([np.cross(across, down), down, across], axis=1)
    places = np.array([s.position for s in placed]) @ axes
    heights = np.unique(np.round(places[:, 0], 2))
    if len(heights) < 2:
        return None
    return _Extent(axes, heights, np.median(places[:, 1:], axis=0), usual_step(heights))


def _is_one_scan(one: _Extent, other: _Extent) -> bool:
    """Whether two blocks lie on one grid, one where the other goes on or woven into it."""
    tolerance = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * one.step)
    if (
        np.abs(one.axes - other.axes).max() > COSINE_TOLERANCE
        or np.abs(one.beside - other.beside).max() > STEP_TOLERANCE_MM
    ):
        return False
    shared = len(np.intersect1d(one.heights, other.heights))
    if shared > max(1, JOINT_SHARE * min(len(one.heights), len(other.heights))):
        return False
    steps = np.diff(np.union1d(one.heights, other.heights))
    return bool(np.abs(steps - np.median(steps)).max() <= tolerance)


# ---- UIDs that say nothing ----


def _one_file_each(entries: Sequence[Entry], uids: Sequence[str]) -> set[int]:
    """Slices of one folder, series number and direction that have a UID of their own each."""
    homes = [
        (path.parent, found.series_number, found.visit, _direction(found.orientation))
        if found.is_slice
        else None
        for path, found in entries
    ]
    return _singles(homes, uids)


def _one_file_each_of_series(entries: Sequence[Entry]) -> set[int]:
    """Slices of one series, wherever they lie, that have a study UID of their own each."""
    homes = [
        (found.series_uid, found.frame_of_reference, found.visit, _direction(found.orientation))
        if found.is_slice and found.series_uid
        else None
        for _, found in entries
    ]
    return _singles(homes, [found.study_uid for _, found in entries])


@cache
def _direction(orientation: tuple[float, ...] | None) -> Hashable:
    """Which way rows and columns run, roughly: noise in the last digits says nothing."""
    if orientation is None:
        return None
    return tuple(
        (axis := [abs(cosine) for cosine in vector].index(max(map(abs, vector))), vector[axis] > 0)
        for vector in (orientation[:3], orientation[3:])
    )


def _singles(homes: Sequence[Hashable], uids: Sequence[str]) -> set[int]:
    """Places whose UID occurs once, where many of one home are like that."""
    counts = Counter(uids)
    alone = [
        i
        for i, (home, uid) in enumerate(zip(homes, uids, strict=True))
        if home is not None and uid and counts[uid] == 1
    ]
    many = Counter(homes[i] for i in alone)
    return {i for i in alone if many[homes[i]] >= MIN_SLICES}


def without_idle_uids(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """The frames of a study, UIDs taken off that every file has for itself.

    Series are then told apart by their number; frames of reference are not told apart.

    Args:
        frames: All of the study.

    Returns:
        The frames, and notes on what was taken off.
    """
    is_slice = [f.sop_class == CT_IMAGE and not LOCALIZER_TYPES & set(f.image_type) for f in frames]
    notes: list[str] = []

    def idle(uids: Sequence[str], homes: Iterable[Hashable]) -> set[int]:
        return _singles([h if s else None for h, s in zip(homes, is_slice, strict=True)], uids)

    def homes() -> Iterable[Hashable]:
        return ((f.series_number, _direction(f.orientation)) for f in frames)

    changes: dict[int, dict[str, str]] = {}
    if own := idle([f.series_uid for f in frames], homes()):
        notes.append(
            f"{len(own)} images of {len(own)} series UIDs joined by the number of their series"
        )
        for i in own:
            changes.setdefault(i, {})["series_uid"] = f"number {frames[i].series_number}"
    if own := idle([f.frame_of_reference for f in frames], homes()):
        notes.append(f"{len(own)} images have a frame of reference each: it was not asked for")
        for i in own:
            changes.setdefault(i, {})["frame_of_reference"] = ""
    if own := idle([f.study_uid for f in frames], homes()):
        for i in own:
            changes.setdefault(i, {})["study_uid"] = ""
    return [_changed(f, changes.get(i, {})) for i, f in enumerate(frames)], tuple(notes)


def _changed(frame: Frame, values: Mapping[str, str]) -> Frame:
    return replace(frame, **values) if values else frame  # type: ignore[arg-type]


class _Unions:
    """Things that are joined, and what stands for each set of them."""

    def __init__(self) -> None:
        self._above: dict[Hashable, Hashable] = {}

    def root(self, thing: Hashable) -> Hashable:
        """What stands for the set that a thing is in."""
        above = self._above
        while above.setdefault(thing, thing) != thing:
            # Half the way for the next one who asks.
            above[thing] = above[above[thing]]
            thing = above[thing]
        return thing

    def join(self, one: Hashable, other: Hashable) -> None:
        """Put two things into one set."""
        self._above[self.root(other)] = self.root(one)
