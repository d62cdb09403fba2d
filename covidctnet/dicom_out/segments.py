"""What of an answer can be drawn on its source: lungs, lesions, and regions that were marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from covidctnet.classes import Classes
from covidctnet.dicom_out.place import SourceGrid
from covidctnet.evidence import Evidence, Mask, Panels, Regions, SliceEvidence

__all__ = ["Segment", "for_a_picture", "segments_of", "whole"]


@dataclass(frozen=True, eq=False)
class Segment:
    """Voxels of a source that are one thing.

    Attributes:
        kind: What they are.
        label: For people.
        draw: Gives the voxels, bool, in the order of the reader's array.
        score: Of a region.
    """

    kind: Literal["lungs", "lesions", "region"]
    label: str
    draw: Callable[[], np.ndarray]
    score: float | None = None


def segments_of(
    evidence: Iterable[Evidence], grid: SourceGrid, classes: Classes
) -> tuple[Segment, ...]:
    """The segments of an answer: lungs, lesions, regions, in this order, as far as it has them.

    Args:
        evidence: With all of its voxels.
        grid: Of the source; radiographs have no place in a patient, and no segments.
        classes: For the titles of regions.
    """
    if not grid.origin.affine:
        return ()
    return tuple(_segments(tuple(evidence), grid, classes))


def _segments(
    evidence: tuple[Evidence, ...], grid: SourceGrid, classes: Classes
) -> Iterator[Segment]:
    titles = {label.key: label.title for label in classes}
    for one in evidence:
        if isinstance(one, Panels) and one.lungs is not None and whole(one):
            yield Segment("lungs", "Lungs", partial(grid.mask, one.lungs, one))
    for one in evidence:
        if isinstance(one, Mask) and whole(one):
            yield Segment("lesions", "What counts as lesion", partial(grid.mask, one.found, one))
    for one in evidence:
        if isinstance(one, Regions) and one.affine is not None:
            title = titles.get(one.label, one.label)
            for number, box in enumerate(one.boxes, 1):
                label = f"Region {number} for {title}"
                yield Segment("region", label, partial(grid.box, box, one), box.score)


def whole(evidence: SliceEvidence) -> bool:
    """Whether it keeps every slice from the first on, and says where they are."""
    is_all = evidence.slices == tuple(range(len(evidence.slices)))
    return is_all and evidence.affine is not None


def for_a_picture(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """The evidence as it is kept for a picture, from all voxels of it.

    A mask that panels outline is left out; of the others the few slices that were chosen are kept.

    Args:
        evidence: As ``keep="volumes"`` gives it.
    """
    every = tuple(evidence)
    is_outlined = any(isinstance(one, Panels) and one.outline is not None for one in every)
    return tuple(
        _few(one) if isinstance(one, SliceEvidence) else one
        for one in every
        if not (is_outlined and isinstance(one, Mask))
    )


def _few(one: SliceEvidence) -> SliceEvidence:
    # A radiograph is one picture, whole.
    return one.at(one.chosen) if one.chosen and len(one.slices) > 1 else one
