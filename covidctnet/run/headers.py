"""What the headers of a study tell, series by series; asked of a child process.

Headers alone do not tell copies of slices from others: pixels are decoded for that, and a decoder
may break down over a damaged file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import FEW_SLICES, ODD_DEGREES, THICK_SLICES_MM
from covidctnet.io.child import ReadingChild, bytes_of, packed, unpacked
from covidctnet.io.child import work as read
from covidctnet.io.dicom import Dropped, Stack, Survey, series_key, survey
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import has_geometry
from covidctnet.io.dicom.kinds import unfit
from covidctnet.io.dicom.stacks import WITHOUT_PLACE
from covidctnet.io.discover import Study
from covidctnet.workers.isolate import Limits, Reply

__all__ = ["InspectingChild", "headers_of", "millimetres", "undivided"]


class InspectingChild(ReadingChild):
    """A `ReadingChild` that also tells what headers say.

    Args:
        limits: What a study may cost.
        task: What the child does with a study; `work`, but for those who try its limits.
    """

    def __init__(self, limits: Limits | None = None, *, task: str = f"{__name__}:work") -> None:
        super().__init__(limits, task=task)

    def headers(self, study: Study) -> dict[str, Any]:
        """`headers_of`, elsewhere.

        Raises:
            ChildError: If the child died or hung.
        """
        request = {"study": packed(study), "headers": True}
        description, _ = self._child.ask(request, files_bytes=bytes_of(study))
        return description


def work(study: dict[str, Any], headers: bool = False) -> Reply:
    """What the child does."""
    return (headers_of(unpacked(study)), None) if headers else read(study)


def headers_of(study: Study) -> dict[str, Any]:
    """What the headers of a DICOM study say, and which of its series would be read.

    Returns:
        What they add to `covidctnet.run.inspect.describe`: ``series``, ``files``, ``notes``; then
        ``geometry`` and ``flags``, or ``outcome``, ``code`` and ``message`` of a refusal.
    """
    description: dict[str, Any] = {
        "files": len(study.files),
        "notes": list(study.notes),
        "series": undivided(study),
    }
    try:
        series_survey = survey(study.files, series_uid=study.series_uid)
        description["series"] = _series(series_survey, len(study.files))
        _choose(series_survey, description)
    except StudyError as error:
        description.update(outcome="refused", code=error.code, message=error.message)
    return description


def undivided(study: Study) -> list[dict[str, Any]]:
    """The series of a study of which nothing is known yet."""
    return [_others("not divided into series", len(study.files))]


def millimetres(values: Sequence[float]) -> list[float]:
    """Lengths as they are shown."""
    return [round(float(value), 4) for value in values]


def _choose(series_survey: Survey, description: dict[str, Any]) -> None:
    """Which stack would be read, and why the others would not."""
    best, dropped = series_survey.choose()
    why = {(d.key, d.images): d.why for d in dropped}
    description["series"] = _series(series_survey, description["files"], best, why)
    assert best.placement is not None  # a chosen stack has no fault
    first = best.frames[0].pixels
    description["geometry"] = {
        "shape": [len(best.frames), first.rows, first.columns],
        "spacing_mm": _spacing(best),
    }
    description["flags"] = _flags(best)
    description["notes"] += best.notes


def _series(
    series_survey: Survey,
    files: int,
    best: Stack | None = None,
    why: Mapping[tuple[str, int], str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """An entry a stack and a kind of image that is none; their files add up to all of the study."""
    entries = [
        *(_stack(s, why.get((s.key, len(s.frames)), ""), s is best) for s in series_survey.stacks),
        *map(_dropped, series_survey.dropped),
    ]
    held = [{frame.file for frame in stack.frames} for stack in series_survey.stacks]
    for left_out in series_survey.dropped:
        held.append(
            {
                frame.file
                for frame in series_survey.frames
                if (series_key(frame.series_uid), _left_out_as(frame))
                == (left_out.key, left_out.what)
            }
        )
    # A file of many frames may hold several series: it counts where it is listed first.
    counted: set[File] = set()
    for entry, own in zip(entries, held, strict=True):
        entry["files"] = len(own - counted)
        counted |= own
    if series_survey.damaged:
        entries.append(_others("files that cannot be read", series_survey.damaged))
    if left := files - sum(entry["files"] for entry in entries):
        entries.append(_others("copies or second images of a place", left))
    return entries


def _left_out_as(frame: Frame) -> str:
    """What an image is called that is in no stack."""
    return unfit(frame) or ("" if has_geometry(frame) else WITHOUT_PLACE)


def _others(what: str, files: int) -> dict[str, Any]:
    return _dropped(Dropped("", what, files, "", files))


def _stack(stack: Stack, why: str, is_chosen: bool) -> dict[str, Any]:
    first = stack.frames[0].pixels
    return {
        "key": stack.key,
        "kind": "CT" if stack.is_original else "derived CT",
        "images": len(stack.frames),
        "files": 0,
        "matrix": [first.rows, first.columns],
        "spacing_mm": _spacing(stack),
        "orientation": stack.direction,
        "kernel": stack.kernel,
        "chosen": is_chosen,
        "why": stack.fault.code if stack.fault else why,
    }


def _dropped(dropped: Dropped) -> dict[str, Any]:
    return {
        "key": dropped.key,
        "kind": dropped.what,
        "images": dropped.images,
        "files": dropped.files,
        "matrix": [],
        "spacing_mm": [],
        "orientation": "unknown",
        "kernel": "unknown",
        "chosen": False,
        "why": dropped.why,
    }


def _flags(stack: Stack) -> list[str]:
    """The reservations that headers can tell; the same rules as for volumes."""
    assert stack.placement is not None
    turned = np.diag(stack.placement.axes[::-1])
    is_odd = turned[1:].min() < 0 or np.abs(turned).min() < np.cos(np.radians(ODD_DEGREES))
    flags = {
        "stray_files": bool(stack.strays),
        "contrast": any(f.has_contrast for f in stack.frames),
        "few_slices": len(stack.frames) < FEW_SLICES,
        "lossy": any(f.is_lossy for f in stack.frames),
        "odd_orientation": bool(is_odd),
        "thick_slices": stack.placement.step_mm > THICK_SLICES_MM + 1e-3,
    }
    return sorted(name for name, is_set in flags.items() if is_set)


def _spacing(stack: Stack) -> list[float]:
    if stack.placement is None:
        return []
    return millimetres((stack.placement.step_mm, *stack.placement.pixel_mm))
