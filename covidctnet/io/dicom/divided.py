"""One scan under several study UIDs: parts that a program gave a UID for each folder.

A frame of reference is of one examination. Scans of one frame that lie on one grid, of which one
begins where the other ends, are parts of one, whatever their study UIDs say; each by itself would
be read as if it were the whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

from covidctnet.io.dicom.blocks import Block, Extent, are_in_line, blocks_of, is_one_scan
from covidctnet.io.dicom.frame import Entry
from covidctnet.io.dicom.geometry import STEP_TOLERANCE, STEP_TOLERANCE_MM
from covidctnet.io.dicom.visit_marks import differing_facts

__all__ = ["parts_of_one_scan"]

# So many pairs of one frame of reference are asked: a program may write one frame for everybody.
MAX_ASKED = 2000
# From the last slice of a part to the first of the next, with room for one that is missing.
MAX_STEPS = 2.1


def parts_of_one_scan(
    studies: Mapping[Hashable, Sequence[Entry]],
) -> list[tuple[Hashable, Hashable]]:
    """Pairs of studies that hold parts of one scan.

    Args:
        studies: Files by what stands for their study.
    """
    by_frame: dict[str, dict[Hashable, list[Entry]]] = {}
    for key, entries in studies.items():
        for entry in entries:
            found = entry[1]
            if found.frame_of_reference and found.is_slice:
                of_frame = by_frame.setdefault(found.frame_of_reference, {})
                of_frame.setdefault(key, []).append(entry)
    pairs: list[tuple[Hashable, Hashable]] = []
    asked = 0
    for members in by_frame.values():
        if len(members) < 2:
            continue
        blocks = [(key, block) for key, own in members.items() for block in blocks_of(own)]
        for (key, one), (its_key, other) in combinations(blocks, 2):
            if key != its_key and asked < MAX_ASKED:
                asked += 1
                if _go_on(one, other):
                    pairs.append((key, its_key))
    return pairs


def _go_on(one: Block, other: Block) -> bool:
    if one.extent is None or other.extent is None:
        return False
    if differing_facts((one.visit, one.minute), (other.visit, other.minute)):
        return False
    return is_one_scan(one.extent, other.extent) or _meet(one.extent, other.extent)


def _meet(one: Extent, other: Extent) -> bool:
    """Whether one begins where the other ends, also where a slice between them is missing."""
    tolerance = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * one.step)
    if not are_in_line(one, other) or abs(one.step - other.step) > tolerance:
        return False
    between = max(other.heights[0] - one.heights[-1], one.heights[0] - other.heights[-1])
    return bool(0 < between <= MAX_STEPS * one.step)
