"""Which files belong together, where the UIDs that should say so have been changed.

Anonymisers treat all files alike: they write one UID for all patients, or one for every file, or
none. A UID is believed as long as a second witness does not contradict it: the folder, the frame of
reference, the grid of positions, what is alike in all files of one visit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidctnet.io.archive import DamagedFileError, File
from covidctnet.io.dicom.blocks import Extent, blocks_of
from covidctnet.io.dicom.divided import parts_of_one_scan
from covidctnet.io.dicom.frame import Entry, Identity
from covidctnet.io.dicom.geometry import MIN_SLICES, STEP_TOLERANCE_MM
from covidctnet.io.dicom.nameless import folders_of_one_visit
from covidctnet.io.dicom.scattered import scattered_entries
from covidctnet.io.dicom.single_uids import one_each, one_each_in_series
from covidctnet.io.dicom.unions import Unions
from covidctnet.io.dicom.visits import visits_of

__all__ = ["Group", "group"]


@dataclass(frozen=True, eq=False)
class Group:
    """Files of one study.

    Attributes:
        text: What its id is made of.
        entries: Its files and what they say.
        single_series: Files with series UIDs that say nothing: one each, or drawn at random.
        notes: What was decided.
    """

    text: str
    entries: Sequence[Entry]
    single_series: frozenset[File] = frozenset()
    notes: tuple[str, ...] = ()


def group(entries: Sequence[Entry]) -> tuple[list[Group], list[File]]:
    """Divide files into studies.

    By study UID over all folders; a folder stands for it where no file names a study, or each file
    names another. One study UID over scans of several visits is several studies.

    Args:
        entries: Files that could be identified.

    Returns:
        The studies, and files that name no study in folders where others do.
    """
    own_study = one_each(entries, [found.study_uid for _, found in entries])
    own_study |= one_each_in_series(entries)
    own_study |= _drawn_studies(entries, own_study)
    nameless = [not found.study_uid or i in own_study for i, (_, found) in enumerate(entries)]
    named_in: dict[Path, str] = {}
    for (path, found), is_nameless in zip(entries, nameless, strict=True):
        if not is_nameless:
            named_in.setdefault(path.parent, found.study_uid)
    unions = Unions()
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
    series_uids = [found.series_uid for _, found in entries]
    single = one_each(entries, series_uids) | scattered_entries(entries, series_uids)
    for i, (_, found) in enumerate(entries):
        key_of = keys[i]
        if key_of is None or not nameless[i]:
            continue
        marks = [("frame", found.frame_of_reference)]
        marks += [] if i in single else [("series", found.series_uid)]
        for mark in marks:
            if mark[1]:
                unions.join(links.setdefault(mark, key_of), key_of)
    alone: dict[Path, list[Entry]] = {}
    for i, entry in enumerate(entries):
        if keys[i] == ("folder", entry[0].parent):
            alone.setdefault(entry[0].parent, []).append(entry)
    for one, other in folders_of_one_visit(alone):
        unions.join(("folder", one), ("folder", other))
    studies: dict[Hashable, list[int]] = {}
    for i, key_of in enumerate(keys):
        if key_of is not None:
            studies.setdefault(unions.root(key_of), []).append(i)
    studies = _joined(_with_lost(studies, entries), entries)
    groups = []
    for places in studies.values():
        groups += _groups_of_study([entries[i] for i in places], [nameless[i] for i in places])
    return groups, strays


def _drawn_studies(entries: Sequence[Entry], single: set[int]) -> set[int]:
    """Files with study UIDs that are drawn at random, and what else of their folders has such one.

    Args:
        entries: All files.
        single: Slices that have a study UID each.
    """
    uids = [found.study_uid for _, found in entries]
    drawn = scattered_entries(entries, uids, [""] * len(entries))
    named = {(entries[i][0].parent, uids[i]) for i in drawn}
    counts = Counter(uids)
    folders = {entries[i][0].parent for i in single}
    visits = {(entries[i][0].parent.parent, entries[i][1].visit) for i in single}
    return {
        i
        for i, (path, found) in enumerate(entries)
        if (path.parent, uids[i]) in named
        # Localizers and reports next to slices that have a UID each have one of their own too.
        or (
            not (found.is_slice or found.places)
            and counts[uids[i]] == 1
            and (path.parent in folders or (path.parent.parent, found.visit) in visits)
        )
    }


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
    ends: dict[tuple[Path, Hashable], list[Extent]] = {}
    out = dict(studies)
    for key, i in lone:
        path, found = entries[i]
        for home in scans.get(path.parent, ()):
            if (path.parent, home) not in ends:
                blocks = blocks_of([entries[k] for k in studies[home]])
                here = [a.extent for a in blocks if a.folder == path.parent]
                ends[path.parent, home] = [extent for extent in here if extent is not None]
            if any(_goes_on_with(extent, found) for extent in ends[path.parent, home]):
                out[home] = [*out[home], *out.pop(key)]
                break
    return out


def _joined(
    studies: dict[Hashable, list[int]], entries: Sequence[Entry]
) -> dict[Hashable, list[int]]:
    """Studies, with those that hold parts of one scan as one."""
    unions = Unions()
    named = {key: [entries[i] for i in places] for key, places in studies.items()}
    for one, other in parts_of_one_scan(named):
        unions.join(one, other)
    out: dict[Hashable, list[int]] = {}
    for key, places in studies.items():
        out.setdefault(unions.root(key), []).extend(places)
    return out


def _goes_on_with(extent: Extent, found: Identity) -> bool:
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
    visits = visits_of(entries, is_named=bool(uids))
    notes: tuple[str, ...] = ()
    if not uids:
        has_own = any(found.study_uid for _, found in entries)
        what = "files name studies of their own" if has_own else "no file names its study"
        notes = (f"{what}: the folder was taken for the study",)
    if len(visits) > 1:
        notes += (
            f"one {'study UID' if uids else 'folder'} over {len(visits)} scans that are not of one "
            "visit by their headers, folders or places: each was taken for a study",
        )
    out = []
    for visit in visits:
        text = uids[0] if uids and len(visits) == 1 else "\n".join([*uids, _fingerprint(visit)])
        own = [found.series_uid for _, found in visit]
        single = one_each(visit, own) | scattered_entries(visit, own)
        out.append(Group(text, visit, frozenset(visit[i][0] for i in single), notes))
    return out


def _fingerprint(entries: Sequence[Entry]) -> str:
    """What identifies a study that no UID distinguishes from others.

    Where files carry no UIDs of their own, as those of several patients may, by their content too.
    """
    lines = sorted(
        f"{found.series_uid} {found.sop_uid} {found.position} {found.number}"
        for _, found in entries
    )
    if len({found.sop_uid for _, found in entries if found.sop_uid}) < len(entries):
        lines += sorted(_content(path) for path, _ in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(path: File) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, DamagedFileError):
        return ""
