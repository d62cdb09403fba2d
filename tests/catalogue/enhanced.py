"""Multi-frame CT: in parts, of projections, in odd streams; and what is no slice beside a CT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.catalogue.cases import Case, Refusal, of, truth
from tests.catalogue.steps import enhanced, put, setting
from tests.io import series

SCAN = series.a_scan()
LONG = series.a_scan((36, 20, 16))
RIGHT = truth()
WHOLE = truth(LONG)
GAP = Refusal("SLICE_GAP")


def _told(**values: Any) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


# ---- parts of a concatenation ----


def _parts(*numbers: int, total: int | None = 3, **more: Any) -> tuple[Callable[..., None], ...]:
    """Steps that write some of three parts of a scan of 36 slices."""
    steps = []
    for number in numbers:
        values = {
            "ConcatenationUID": series.uid("whole"),
            "InConcatenationNumber": number,
            "ConcatenationFrameOffsetNumber": 12 * (number - 1),
            **({} if total is None else {"InConcatenationTotalNumber": total}),
            **more,
        }
        steps.append(
            enhanced(
                range(12 * (number - 1), 12 * number),
                scan=LONG,
                change=_told(**values),
                name=f"{number}.dcm",
                instance=f"part {number}",
            )
        )
    return tuple(steps)


CONCATENATIONS = tuple(
    Case(f"dicom-concatenation-{name}", "enhanced CT", what, of(expected, *steps), policy=policy)
    for name, what, expected, steps, policy in (
        ("whole", "a scan in three parts", WHOLE, _parts(1, 2, 3), False),
        ("without-first", "a scan in parts, the first is missing", GAP, _parts(2, 3), False),
        ("without-middle", "a scan in parts, the middle one is missing", GAP, _parts(1, 3), False),
        ("without-last", "a scan in parts, the last is missing", GAP, _parts(1, 2), False),
        ("one-part", "a scan in parts, only one is there", GAP, _parts(2), False),
        (
            "untold-total",
            "a scan in parts, the last is missing and none says how many there are",
            GAP,
            _parts(1, 2, total=None),
            False,
        ),
        (
            "without-uid",
            "a scan in parts without the UID of the concatenation, the last is missing",
            GAP,
            _parts(1, 2, ConcatenationUID=""),
            False,
        ),
        (
            "by-offset",
            "a part that calls itself the only one and says that frames lie before it",
            GAP,
            _parts(2, total=1, InConcatenationNumber=1),
            False,
        ),
    )
)


# ---- projections ----


def _projected(keep: Callable[..., np.ndarray], scan: np.ndarray) -> np.ndarray:
    """The highest or lowest of every slice and its neighbours."""
    return np.stack([keep(scan[max(0, k - 2) : k + 3], axis=0) for k in range(len(scan))])


MIP, MINIP = _projected(np.max, SCAN), _projected(np.min, SCAN)


def _typed(*types: str, **more: str) -> Callable[[Dataset], None]:
    """A change that says one frame type of all frames."""

    def change(ds: Dataset) -> None:
        kind = Dataset()
        kind.FrameType = list(types)
        for keyword, value in more.items():
            setattr(kind, keyword, value)
        ds.ImageType = list(types)
        ds.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = Items([kind])

    return change


def _derived_by(code: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item, derivation = Dataset(), Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "projection"
        derivation.DerivationCodeSequence = Items([item])
        ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
        ds.SharedFunctionalGroupsSequence[0].DerivationImageSequence = Items([derivation])

    return change


_DERIVED = ("DERIVED", "PRIMARY", "VOLUME")
_TECHNIQUE = "VolumeBasedCalculationTechnique"
NOT_CT = Refusal("NOT_CT")
PROJECTIONS = (
    *(
        Case(
            f"dicom-enhanced-projection-{name}",
            "enhanced CT",
            f"frames that were calculated from others, {what}",
            of(NOT_CT, enhanced(scan=scan, change=change)),
        )
        for name, what, scan, change in (
            ("maximum", "frame type MAXIMUM", MIP, _typed(*_DERIVED, "MAXIMUM")),
            ("minimum", "frame type MINIMUM", MINIP, _typed(*_DERIVED, "MINIMUM")),
            (
                "image-type",
                "MAXIMUM in ImageType alone",
                MIP,
                _told(ImageType=[*_DERIVED, "MAXIMUM"]),
            ),
            (
                "technique",
                "technique MAX_IP, frame type NONE",
                MIP,
                _typed(*_DERIVED, "NONE", **{_TECHNIQUE: "MAX_IP"}),
            ),
            (
                "technique-of-all",
                "technique MIN_IP of the whole object",
                MINIP,
                _told(ImageType=[*_DERIVED, "NONE"], **{_TECHNIQUE: "MIN_IP"}),
            ),
            (
                "rendering",
                "technique VOLUME_RENDER",
                MIP,
                _typed(*_DERIVED, "NONE", **{_TECHNIQUE: "VOLUME_RENDER"}),
            ),
            (
                "distorted",
                "volumetric properties DISTORTED",
                MIP,
                _typed(*_DERIVED, "NONE", VolumetricProperties="DISTORTED"),
            ),
            ("subtraction", "SUBTRACTION", MIP, _typed(*_DERIVED, "SUBTRACTION")),
            ("code", "by the code of their derivation", MIP, _derived_by("113078")),
        )
    ),
    Case(
        "dicom-enhanced-reformatted",
        "enhanced CT",
        "frames that were resampled from others, technique MPR: HU all the same",
        of(RIGHT, enhanced(change=_typed(*_DERIVED, "RESAMPLED", **{_TECHNIQUE: "MPR"}))),
    ),
    *(
        Case(
            f"dicom-projection-{name}",
            "bystanders",
            f"a projection alone, its image type says {words[-1]}",
            of(NOT_CT, put(scan=MIP, change=setting(ImageType=["DERIVED", "SECONDARY", *words]))),
        )
        for name, words in (
            ("maximum", ("REFORMATTED", "MAXIMUM")),
            ("max-ip", ("MPR", "MAX IP")),
            ("mip-thin-in-brackets", ("PROCESSED", "MIP (THIN)")),
            ("mip-thin", ("MIP THIN",)),
            ("mip-of-a-maker", ("AXIAL", "CT_SOM5 MIP")),
            ("mips", ("MIPS",)),
            ("min-ip", ("REFORMATTED", "MIN IP")),
        )
    ),
    Case(
        "dicom-projection-by-description",
        "bystanders",
        "a derived series that only its description calls a projection",
        of(
            NOT_CT,
            put(
                scan=MIP,
                change=setting(
                    ImageType=["DERIVED", "SECONDARY", "AXIAL"], SeriesDescription="Thorax MIP 10/2"
                ),
            ),
        ),
    ),
    Case(
        "dicom-original-named-maximum",
        "bystanders",
        "an axial original whose type goes on with MAXIMUM",
        of(RIGHT, put(change=setting(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "MAXIMUM INSP"]))),
    ),
    Case(
        "dicom-average-of-slices",
        "bystanders",
        "a derived series of averages: HU all the same",
        of(
            RIGHT, put(change=setting(ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]))
        ),
    ),
)

CASES = (*CONCATENATIONS, *PROJECTIONS)
