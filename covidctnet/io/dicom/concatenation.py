"""Whether all files are there that together hold one multi-frame image.

Exporters divide large enhanced CT into parts, a concatenation. A part alone is a whole grid, and
nothing but its header tells that the rest of the scan is missing. Source: DICOM PS3.3,
C.7.6.16.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame, Part
from covidctnet.io.dicom.series import Stack

__all__ = ["with_missing_parts"]

# So many missing parts are named.
_SHOWN = 5


@dataclass
class _Concatenation:
    """The parts that are there, by number.

    Attributes:
        sizes: Frames of each part.
        copies: SOP instances of each part: more than one when several images have one UID.
        before: Frames in front of each part, as it says.
        total: How many parts there should be, or 0.
    """

    sizes: dict[int, int] = field(default_factory=dict)
    copies: dict[int, set[str]] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def add(self, frame: Frame, part: Part) -> None:
        self.sizes[part.number] = frame.pixels.frames
        self.copies.setdefault(part.number, set()).add(frame.sop_uid)
        if part.before is not None:
            self.before[part.number] = part.before
        self.total = max(self.total, part.total)

    @property
    def lack(self) -> str:
        """What is missing, in words; empty when all is there."""
        numbers = sorted(self.sizes)
        # Some programs count from 0.
        first = min(1, numbers[0])
        last = max(numbers[-1], first + self.total - 1)
        most = max(map(len, self.copies.values()))
        missing = [n for n in range(first, last + 1) if len(self.copies.get(n, ())) < most]
        count = last - first + 1
        if missing:
            names = ", ".join(str(n - first + 1) for n in missing[:_SHOWN])
            names += " and more" if len(missing) > _SHOWN else ""
            kind = "part" if len(missing) == 1 else "parts"
            return f"{kind} {names} of {count} {'is' if len(missing) == 1 else 'are'} missing"
        seen = 0
        for number in numbers:
            if self.before.get(number, 0) > seen:
                return f"the {self.before[number] - seen} frames before part {number} are missing"
            seen += self.sizes[number]
        if not self.total and self.sizes[numbers[-1]] >= self.sizes[numbers[0]]:
            # A large image is cut into parts of one size, and the last is smaller.
            return f"{count} came and the header does not say whether there are more"
        return ""


def with_missing_parts(stacks: Sequence[Stack], frames: Sequence[Frame]) -> list[Stack]:
    """Stacks, each refused when an image that it is of lacks a part.

    Args:
        stacks: Of one study.
        frames: All images of the study.
    """
    wholes: dict[tuple[str, str], _Concatenation] = {}
    for frame in frames:
        if frame.part is not None:
            key = frame.series_uid, frame.part.whole
            wholes.setdefault(key, _Concatenation()).add(frame, frame.part)
    lacks = {key: lack for key, whole in wholes.items() if (lack := whole.lack)}
    if not lacks:
        return list(stacks)
    return [_refused(stack, lacks) for stack in stacks]


def _refused(stack: Stack, lacks: dict[tuple[str, str], str]) -> Stack:
    for frame in stack.frames:
        if frame.part and (lack := lacks.get((frame.series_uid, frame.part.whole))):
            fault = StudyError(
                "SLICE_GAP",
                "expected all parts of a multi-frame image (its header says it is one part of "
                f"several, a concatenation), {lack}. Give the files of all parts together.",
            )
            return replace(stack, fault=fault)
    return stack
