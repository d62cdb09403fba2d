"""DICOM folders where a header says a phase, an image type or contrast medium in unusual ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import both, enhanced, on, put, setting
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
RIGHT = truth()
OTHER = SCAN + np.int16(5)
EITHER = Refusal("AMBIGUOUS_SERIES", (RIGHT, truth(OTHER)))

# ---- two phases under one series UID ----

# Keyword, its words, and its value in either phase. As text, the bytes of 20 and of 30 are alike,
# and those of 0 are nothing.
PHASES: tuple[tuple[str, str, Any, Any], ...] = (
    ("NominalPercentageOfRespiratoryPhase", "percentage of the breath", 20.0, 30.0),
    ("NominalPercentageOfCardiacPhase", "percentage of the heart beat", 20.0, 30.0),
    ("StartingRespiratoryPhase", "respiratory phase", "INSPIRATION", "MAXIMUM"),
    ("EndingRespiratoryPhase", "end of the respiratory phase", "EXPIRATION", "MINIMUM"),
    ("StartingRespiratoryAmplitude", "respiratory amplitude", 0.0, 100.0),
    ("NominalRespiratoryTriggerDelayTime", "delay after the breath", 0.0, 500.0),
    ("ActualRespiratoryTriggerDelayTime", "measured delay after the breath", 20.0, 30.0),
    ("NominalCardiacTriggerDelayTime", "delay after the heart beat", 320.0, 330.0),
    ("ActualCardiacTriggerDelayTime", "measured delay after the heart beat", 320.0, 330.0),
    ("RespiratoryCyclePosition", "position in the breath", "START_RESPIR", "END_RESPIR"),
    ("CardiacCyclePosition", "position in the heart beat", "END_SYSTOLE", "END_DIASTOLE"),
    ("TemporalPositionIndex", "index in time", 64, 16384),
    ("TemporalPositionTimeOffset", "time since the start", 0.0, 2.5),
    ("FrameReferenceTime", "reference time", "0", "2500"),
    ("IrradiationEventUID", "irradiation event", series.uid("event a"), series.uid("event b")),
    ("AcquisitionDate", "acquisition date", "20200101", "20200102"),
    ("SeriesDescription", "series description", "Gated 20.0%", "Gated 30.0%"),
    ("ImageComments", "image comments", "Gated, 20%", "Gated, 30%"),
)


def _hyphened(keyword: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in keyword).replace("u-i-d", "uid")


def _phase(array: np.ndarray, name: str, change: Change) -> Step:
    def other(ds: Dataset, index: int) -> None:
        ds.SOPInstanceUID = series.uid(f"{name}/{index}")

    return put("", array, change=both(other, change), name=name + "{:04d}.dcm")


OVERLAPPING = (
    *(
        Case(
            f"dicom-overlap{_hyphened(keyword)}",
            "overlapping acquisitions",
            f"two scans of one place under one series UID, told apart by {what}",
            of(
                EITHER,
                _phase(SCAN, "a", setting(**{keyword: one})),
                _phase(OTHER, "b", setting(**{keyword: two})),
            ),
            policy=True,
        )
        for keyword, what, one, two in PHASES
    ),
    Case(
        "dicom-overlap-ten-breaths",
        "overlapping acquisitions",
        "ten phases of a breath under one series UID",
        of(
            Refusal("AMBIGUOUS_SERIES", tuple(truth(SCAN + np.int16(5 * k)) for k in range(10))),
            *(
                _phase(
                    SCAN + np.int16(5 * k),
                    f"p{k}-",
                    setting(NominalPercentageOfRespiratoryPhase=10.0 * k),
                )
                for k in range(10)
            ),
        ),
        policy=True,
    ),
)

ONE = series.a_body()
BREATH = series.a_body(phase=0.25, seed=4)
STEPS = series.an_affine((5.0, 0.8, 0.7))
BETWEEN = series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 12.5))
TWO_BREATHS = ONE.copy()
TWO_BREATHS[1::2] = BREATH[1::2]


def _in_turn(keyword: str, one: Any, two: Any) -> Change:
    def change(ds: Dataset, index: int) -> None:
        setattr(ds, keyword, (one, two)[index % 2])

    return change


WOVEN = (
    *(
        Case(
            f"dicom-woven{_hyphened(keyword)}",
            "overlapping acquisitions",
            f"two breaths half a step apart, told apart by {what}",
            of(
                Refusal(
                    "AMBIGUOUS_SERIES",
                    (truth(ONE[::2], STEPS), truth(BREATH[1::2], BETWEEN)),
                ),
                put("", TWO_BREATHS, change=_in_turn(keyword, one, two)),
            ),
            policy=True,
        )
        for keyword, what, one, two in PHASES
    ),
    *(
        Case(
            f"dicom-alternating{_hyphened(keyword)}",
            "overlapping acquisitions",
            f"one scan, two values of {what} in turn",
            of(truth(ONE), put("", ONE, change=_in_turn(keyword, one, two))),
        )
        for keyword, what, one, two in PHASES
        if keyword.startswith(("Actual", "TemporalPositionTime", "FrameReference"))
    ),
)

# ---- the same in the frames of an enhanced CT ----

TWICE = np.repeat(SCAN, 2, axis=0)
TWICE[1::2] += np.int16(5)


def _frames(sequence: str, keyword: str, one: Any, two: Any) -> Callable[[Dataset, int], None]:
    """Two frames at every place, told apart by an element of a sequence."""

    def frame(item: Dataset, number: int) -> None:
        place = series.an_affine() @ [number // 2, 0, 0, 1]
        item.PlanePositionSequence[0].ImagePositionPatient = [float(x) for x in place[:3]]
        if sequence not in item:
            setattr(item, sequence, Items([Dataset()]))
        setattr(getattr(item, sequence)[0], keyword, (one, two)[number % 2])

    return frame


ENHANCED = tuple(
    Case(
        f"dicom-enhanced-phases-{name}",
        "enhanced CT",
        f"two phases in one object, told apart by {what}",
        of(
            EITHER,
            enhanced(
                range(24),
                scan=TWICE,
                per_frame=False,
                frame=_frames(sequence, keyword, one, two),
            ),
        ),
        policy=True,
    )
    for name, what, sequence, keyword, one, two in (
        (
            "breath",
            "percentage of the breath",
            "RespiratorySynchronizationSequence",
            "NominalPercentageOfRespiratoryPhase",
            20.0,
            30.0,
        ),
        (
            "heart",
            "percentage of the heart beat",
            "CardiacSynchronizationSequence",
            "NominalPercentageOfCardiacPhase",
            20.0,
            30.0,
        ),
        (
            "offset",
            "time since the start",
            "TemporalPositionSequence",
            "TemporalPositionTimeOffset",
            0.0,
            2.5,
        ),
        (
            "position",
            "position in the breath",
            "FrameContentSequence",
            "RespiratoryCyclePosition",
            "START_RESPIR",
            "END_RESPIR",
        ),
        ("voltage", "tube voltage", "CTXRayDetailsSequence", "KVP", "80", "140"),
        (
            "event",
            "irradiation event",
            "IrradiationEventIdentificationSequence",
            "IrradiationEventUID",
            series.uid("event a"),
            series.uid("event b"),
        ),
    )
)

# ---- image types ----


def _typed(value: str) -> Change:
    return setting(ImageType=value.split("/"))


def _frame_type(value: str) -> Callable[[Dataset, int], None]:
    def frame(item: Dataset, number: int) -> None:
        of_frame = Dataset()
        of_frame.FrameType = value.split("/")
        item.CTImageFrameTypeSequence = Items([of_frame])

    return frame


TYPES: Sequence[tuple[str, str, str]] = (
    ("3d", "read", "ORIGINAL/PRIMARY/AXIAL/3D"),
    ("perfusion", "read", "ORIGINAL/PRIMARY/AXIAL/PERFUSION"),
    ("perfusion-further", "read", "ORIGINAL/PRIMARY/AXIAL/CT_SOM5 SEQ/PERFUSION"),
    ("secondary-3d", "read", "ORIGINAL/SECONDARY/AXIAL/3D"),
    ("volume", "read", "ORIGINAL/PRIMARY/AXIAL/VOLUME"),
    ("derived-3d", "NOT_CT", "DERIVED/SECONDARY/AXIAL/3D"),
    ("derived-perfusion", "NOT_CT", "DERIVED/PRIMARY/AXIAL/PERFUSION"),
    ("3d-alone", "NOT_CT", "DERIVED/SECONDARY/3D"),
    ("original-3d-no-axial", "NOT_CT", "ORIGINAL/PRIMARY/3D"),
    ("axial-mip", "NOT_CT", "ORIGINAL/PRIMARY/AXIAL/MIP"),
    ("axial-min-ip", "NOT_CT", "DERIVED/SECONDARY/AXIAL/MIN_IP"),
    ("rendering", "NOT_CT", "DERIVED/SECONDARY/VOLREN"),
)
IMAGE_TYPES = (
    *(
        Case(
            f"dicom-type-{name}",
            "other objects",
            f"a series of image type {value.replace('/', ', ')}",
            of(RIGHT if outcome == "read" else Refusal(outcome), put(change=_typed(value))),
        )
        for name, outcome, value in TYPES
    ),
    Case(
        "dicom-type-3d-of-one",
        "other objects",
        "one slice of an axial original says 3D further on in its image type",
        of(RIGHT, put(change=on(5, _typed("ORIGINAL/PRIMARY/AXIAL/3D")))),
    ),
    Case(
        "dicom-type-3d-beside",
        "other objects",
        "an axial original that says 3D, beside a derived series that says so too",
        of(
            RIGHT,
            put(change=_typed("ORIGINAL/PRIMARY/AXIAL/3D"), name="a{:04d}.dcm"),
            put(
                "",
                OTHER,
                change=_typed("DERIVED/SECONDARY/AXIAL/3D"),
                series_name="3d",
                name="b{:04d}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-type-enhanced-perfusion",
        "enhanced CT",
        "original frames of a perfusion scan",
        of(RIGHT, enhanced(frame=_frame_type("ORIGINAL/PRIMARY/PERFUSION/NONE"))),
    ),
    Case(
        "dicom-type-enhanced-projection",
        "enhanced CT",
        "frames that are maximum projections",
        of(Refusal("NOT_CT"), enhanced(frame=_frame_type("DERIVED/PRIMARY/VOLUME/MAX_IP"))),
    ),
)

# ---- wordings of contrast medium ----

CONTRAST = tuple(
    Case(
        f"dicom-contrast-{name}",
        "plain series",
        f"contrast medium is told as {value}: flagged",
        of(truth(None, None, "contrast"), put(change=setting(**{keyword: value}))),
    )
    for name, keyword, value in (
        ("embolism", "StudyDescription", "PE CHEST"),
        ("abbreviated", "SeriesDescription", "CT Thorax c.m."),
        ("italian-short", "SeriesDescription", "TC TORACE CMDC"),
        ("no-oral", "SeriesDescription", "CT CHEST W CON, NO ORAL"),
        ("not-ionic", "ContrastBolusAgent", "NON IONIC"),
    )
)

CASES: Sequence[Case] = (*OVERLAPPING, *WOVEN, *ENHANCED, *IMAGE_TYPES, *CONTRAST)
