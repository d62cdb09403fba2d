"""Folders whose files name no study, or one each: which of them belong together.

A folder stands for its study then. An export with a folder for each series makes several of one
visit: two reconstructions show the same acquisition to the noise, and localizers carry the marks of
the visit of the scan in the next folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from covidctnet.io.dicom.anatomy import are_one_acquisition
from covidctnet.io.dicom.blocks import COSINE_TOLERANCE, Block, blocks_of, images_of_block
from covidctnet.io.dicom.frame import Entry
from covidctnet.io.dicom.geometry import MIN_SLICES
from covidctnet.io.dicom.visit_marks import common_marks, differing_facts

__all__ = ["folders_of_one_visit"]

# So many pairs of folders are asked whether their pixels are of one scan: an archive has too many.
MAX_ASKED = 200


def folders_of_one_visit(folders: Mapping[Path, Sequence[Entry]]) -> list[tuple[Path, Path]]:
    """Pairs of folders next to each other that are of one visit.

    Two reconstructions, by their pixels; and what is no scan, with the only scan there whose marks
    of a visit are the same.

    Args:
        folders: Files that name no study, by their folder.
    """
    by_parent: dict[Path, list[Path]] = {}
    for folder in folders:
        by_parent.setdefault(folder.parent, []).append(folder)
    found: list[tuple[Path, Path]] = []
    asked = 0
    for siblings in by_parent.values():
        if len(siblings) < 2:
            continue
        scans, others = [], []
        for folder in sorted(siblings):
            blocks = blocks_of(list(folders[folder]))
            large = [block for block in blocks if len(block.slices) >= MIN_SLICES]
            if not any(block.slices for block in blocks):
                others.append(folder)
            elif len(large) == 1 and large[0].extent is not None:
                scans.append(large[0])
        for one, other in combinations(scans, 2):
            if asked < MAX_ASKED and _may_be_rebuilt(one, other):
                asked += 1
                if _show_one_acquisition(one, other):
                    found.append((one.folder, other.folder))
        for folder in others:
            marks = common_marks([entry.visit for _, entry in folders[folder]])
            same = [block.folder for block in scans if any(marks) and block.visit == marks]
            if len(same) == 1 or _is_chained(same, found):
                found.append((same[0], folder))
    return found


def _is_chained(folders: Sequence[Path], pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Whether the first of some folders was joined with each of the others."""
    return bool(folders) and all((folders[0], other) in pairs for other in folders[1:])


def _may_be_rebuilt(one: Block, other: Block) -> bool:
    """Two series of one visit by their headers, that begin and end together."""
    if not one.number or not other.number or one.number == other.number:
        return False
    if differing_facts((one.visit, one.minute), (other.visit, other.minute)):
        return False
    a, b = one.extent, other.extent
    if a is None or b is None or np.abs(a.axes - b.axes).max() > COSINE_TOLERANCE:
        return False
    apart = max(abs(a.heights[k] - b.heights[k]) for k in (0, -1))
    return bool(apart <= max(a.step, b.step))


def _show_one_acquisition(one: Block, other: Block) -> bool:
    extent = one.extent
    if extent is None:
        return False
    normal = extent.axes[:, 0]
    return are_one_acquisition(images_of_block(one, normal), images_of_block(other, normal))
