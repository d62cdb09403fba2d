"""Which files belong together, where the UIDs that should say so have been changed.

Anonymisers treat all files alike: they write one UID for all patients, or one for every file, or
none. A UID is believed as long as a second witness does not contradict it: the folder, the frame of
reference, the grid of positions, what is alike in all files of one visit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, takewhile
from pathlib import Path

import numpy as np

from covidctnet.io.archive import File
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.dicom.geometry import MIN_SLICES, STEP_TOLERANCE, STEP_TOLERANCE_MM, usual_step
from covidctnet.io.dicom.headers import CT_IMAGE, LOCALIZER_TYPES

__all__ = ["Group", "group", "without_idle_uids"]

# Two blocks of one scan may share this part of the shorter one.
JOINT_SHARE = 0.1
COSINE_TOLERANCE = 1e-3

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
    loose = _joined([atom for atom in atoms if len(atom.slices) < MIN_SLICES], _is_like)
    large_scans = [part for scan in _joined(large, _is_like) for part in _apart(scan)]
    many = [scan for scan in loose if sum(len(a.slices) for a in scan) >= MIN_SLICES]
    scans = _joined_scans([*large_scans, *many])
    if len(scans) < 2:
        return [entries]
    for atom in (a for scan in loose if scan not in many for a in scan):
        max(scans, key=lambda scan: _nearness(atom, scan)).append(atom)
    return [[entry for atom in scan for entry in atom.entries] for scan in scans]


def _joined(atoms: list[_Atom], belong: Callable[[_Atom, _Atom], bool]) -> list[list[_Atom]]:
    unions = _Unions()
    # One of many that are alike in all that is asked is enough to compare with.
    stand_ins: dict[tuple[str, str], _Atom] = {}
    for atom in atoms:
        if len(atom.slices) < MIN_SLICES:
            first = stand_ins.setdefault((atom.series, atom.frame), atom)
            unions.join(id(first), id(atom))
        else:
            stand_ins[atom.folder.as_posix(), f"{atom.series} {atom.frame}"] = atom
    for one, other in combinations(stand_ins.values(), 2):
        if belong(one, other):
            unions.join(id(one), id(other))
    scans: dict[Hashable, list[_Atom]] = {}
    for atom in atoms:
        scans.setdefault(unions.root(id(atom)), []).append(atom)
    return list(scans.values())


def _joined_scans(scans: list[list[_Atom]]) -> list[list[_Atom]]:
    """Scans of which one goes on where another ends are one, whatever their UIDs."""
    unions = _Unions()
    extents = [_extent([s for a in scan for s in a.slices]) for scan in scans]
    for i, j in combinations(range(len(scans)), 2):
        one, other = extents[i], extents[j]
        if one is not None and other is not None and _is_one_scan(one, other):
            unions.join(i, j)
    parts: dict[Hashable, list[_Atom]] = {}
    for i, scan in enumerate(scans):
        parts.setdefault(unions.root(i), []).extend(scan)
    return list(parts.values())


def _nearness(atom: _Atom, scan: Sequence[_Atom]) -> tuple[bool, int, int]:
    """How much a loose file has in common with a scan: UIDs, then its folder."""
    is_like = any(_is_like(atom, other) for other in scan)
    nearest = max(_shared(a.folder, atom.folder) for a in scan)
    return is_like, nearest, sum(len(a.slices) for a in scan)


def _is_like(one: _Atom, other: _Atom) -> bool:
    """Whether a UID holds two together."""
    if one.frame and one.frame == other.frame:
        return True
    return bool(one.series and one.series == other.series) or not (one.frame or other.frame)


def _apart(scan: list[_Atom]) -> list[list[_Atom]]:
    """Large ones that UIDs hold together, divided where some cannot be of one visit.

    Copies are joined first, then those whose folders are nearest to each other, as long as nothing
    keeps any of them apart.
    """
    against: dict[int, set[int]] = {}
    for i, j in combinations(range(len(scan)), 2):
        if _is_against(scan[i], scan[j]):
            against.setdefault(i, set()).add(j)
            against.setdefault(j, set()).add(i)
    if not against:
        return [scan]
    parts = {i: {i} for i in range(len(scan))}
    pairs = [(i, j) for i, j in combinations(range(len(scan)), 2) if _is_like(scan[i], scan[j])]
    for i, j in sorted(pairs, key=lambda pair: _kinship(scan[pair[0]], scan[pair[1]])):
        one, other = parts[i], parts[j]
        if one is other or any(against.get(k, set()) & other for k in one):
            continue
        one |= other
        parts.update(dict.fromkeys(other, one))
    unique = {id(part): part for part in parts.values()}
    return [[scan[i] for i in sorted(part)] for part in unique.values()]


def _kinship(one: _Atom, other: _Atom) -> tuple[bool, int]:
    """Smaller for those that belong together more surely."""
    return not _are_copies(one, other), -_shared(one.folder, other.folder)


def _shared(one: Path, other: Path) -> int:
    """Folders that two paths have in common, from the root on."""
    pairs = zip(one.parts, other.parts, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _is_against(one: _Atom, other: _Atom) -> bool:
    """Whether something says that two are of two visits, whatever their UIDs."""
    here, there = one.extent, other.extent
    if here is not None and there is not None and _is_one_scan(here, there):
        return False
    is_other_folder = one.folder != other.folder
    if is_other_folder and _differ(one.visit, other.visit):
        return True
    if one.series == other.series:
        return is_other_folder and _collide(one, other)
    # A visit numbers its series: two of one number, or without number and frame of reference, that
    # show one part of the body in one way are two scans.
    is_untold = not (one.number or other.number or one.frame or other.frame)
    return (is_untold or (one.number != "" and one.number == other.number)) and (
        here is not None and there is not None and _is_alike(here, there)
    )


def _is_alike(one: _Extent, other: _Extent) -> bool:
    """Whether two blocks show one part of the body in slices of one direction and distance."""
    tolerance = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * one.step)
    is_parallel = bool(np.abs(one.axes - other.axes).max() <= COSINE_TOLERANCE)
    return is_parallel and abs(one.step - other.step) <= tolerance and _overlap(one, other)


def _overlap(one: _Extent, other: _Extent) -> bool:
    low = max(one.heights[0], other.heights[0])
    high = min(one.heights[-1], other.heights[-1])
    return bool(high - low > JOINT_SHARE * min(one.length, other.length))


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


def _differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return any(a and b and a != b for a, b in zip(one, other, strict=False))


def _collide(one: _Atom, other: _Atom) -> bool:
    """Whether two folders of one series UID hold two scans, not two parts or copies of one."""
    if _are_copies(one, other):
        return False
    here, there = one.extent, other.extent
    if here is None or there is None:
        return bool({s.number for s in one.slices} & {s.number for s in other.slices} - {None})
    return _overlap(here, there)


def _are_copies(one: _Atom, other: _Atom) -> bool:
    """Whether most slices of one are slices of the other."""
    a, b = ({(s.sop_uid, s.position, s.number) for s in atom.slices} for atom in (one, other))
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
        (path.parent, found.series_number, found.visit, found.orientation)
        if found.is_slice
        else None
        for path, found in entries
    ]
    return _singles(homes, uids)


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
        return ((f.series_number, f.orientation) for f in frames)

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
        while self._above.setdefault(thing, thing) != thing:
            thing = self._above[thing]
        return thing

    def join(self, one: Hashable, other: Hashable) -> None:
        """Put two things into one set."""
        self._above[self.root(other)] = self.root(one)
