"""DICOM folders where marks, damage or places part the slices of one scan, or join those of two."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import both, moved, on, put, put_object, setting
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
RIGHT = truth()
LONG = series.a_scan((20, 20, 16))
CUT = Refusal("SLICE_GAP")
ELSEWHERE = setting(SeriesInstanceUID=series.uid("elsewhere"))
MISSPELT = setting(SOPClassUID="1.2.840.10000.5.1.4.1.1.2")

# ---- an outer slice whose header was damaged in several places ----

CODES = {"study": "MIXED_STUDY", "patient": "MIXED_PATIENT"}
DAMAGE: tuple[tuple[str, str, Change], ...] = (
    ("class", "SOP class", MISSPELT),
    ("spacing", "pixel spacing missing", setting(PixelSpacing=None)),
    ("orientation", "orientation missing", setting(ImageOrientationPatient=None)),
    ("aside", "position 0.8 mm aside", moved(lambda i: (0.8, 0, 0))),
    ("place", "position amid the others", moved(lambda i: (0, 0, -6.0 if i else 6.0))),
    ("patient", "patient's id", setting(PatientID="another")),
    ("nowhere", "number and position missing", setting(InstanceNumber=None, PixelSpacing=None)),
    (
        "class-spacing",
        "SOP class and pixel spacing",
        both(MISSPELT, setting(PixelSpacing=None)),
    ),
    (
        "class-place",
        "SOP class and position",
        both(MISSPELT, moved(lambda i: (0, 0, 40.0))),
    ),
    ("study", "study UID", setting(StudyInstanceUID=series.uid("another study"))),
)


def _unlike_series(change: Change) -> Change:
    return both(ELSEWHERE, change)


LOST = (
    *(
        Case(
            f"dicom-outer-{word}-{name}",
            "damaged files",
            f"the {word} slice under another series UID, {what} damaged too",
            of(
                Refusal(CODES.get(name, "SLICE_GAP")),
                put(change=on(which, _unlike_series(change))),
            ),
        )
        for word, which in (("first", 0), ("last", 11))
        for name, what, change in DAMAGE
    ),
    Case(
        "dicom-outer-last-class-same-series",
        "damaged files",
        "the last slice: SOP class and pixel spacing damaged",
        of(CUT, put(change=on(11, both(MISSPELT, setting(PixelSpacing=None))))),
    ),
)

KEY = both(
    setting(
        SeriesInstanceUID=series.uid("key images"),
        SeriesNumber=900,
        ImageType=["DERIVED", "SECONDARY", "AXIAL"],
    ),
    lambda ds, i: setattr(ds, "InstanceNumber", 1),
)
SCOUT = np.array([[0, 0, 0.7, -40], [-2.5, 0, 0, 0], [0, -0.8, 0, 20], [0, 0, 0, 1.0]])


def _sheet(ds: Dataset, index: int) -> None:
    """A dose report as a picture, of CT storage, without a place."""
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = series.uid("dose"), 999, 1
    ds.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, keyword)


LAWFUL = tuple(
    Case(f"dicom-lone-{name}", "bystanders", f"{what} in the folder of a CT", of(RIGHT, put(), one))
    for name, what, one in (
        ("key-image", "a copy of a slice as a key image", put_object("key.dcm", KEY)),
        (
            "scout",
            "a localizer that does not say so, numbered as the next slice",
            put_object("scout.dcm", setting(InstanceNumber=13), affine=SCOUT),
        ),
        ("dose-sheet", "a dose report of CT storage", put_object("dose.dcm", _sheet)),
        (
            "capture",
            "a secondary capture, numbered as the next slice",
            put_object(
                "capture.dcm",
                both(_sheet, setting(SOPClassUID=SecondaryCaptureImageStorage, InstanceNumber=13)),
            ),
        ),
        (
            "monitoring",
            "a slice that waits for contrast medium, between two of the scan",
            put_object(
                "monitoring.dcm",
                both(
                    KEY, moved(lambda i: (0, 0, 11.0)), setting(ImageType=["ORIGINAL", "PRIMARY"])
                ),
            ),
        ),
    )
)

# ---- a scan that goes on off its grid ----


def _second(change: Change, start: int, scan: np.ndarray = LONG) -> Step:
    """The rest of a scan under another series UID."""

    def other(ds: Dataset, index: int) -> None:
        ds.InstanceNumber, ds.SeriesNumber = 1 + index - start, 3
        ds.SOPInstanceUID = series.uid(f"second/{index}")

    return put(
        "",
        scan,
        skip=range(start),
        change=both(other, change),
        name="b{:04d}.dcm",
        series_name="other",
    )


def _stepping(step: float, start: int) -> Change:
    def change(ds: Dataset, index: int) -> None:
        ds.ImagePositionPatient = [-50.0, -60.0, 10.0 + 2.5 * start + step * (index - start)]

    return change


FIRST = put("", LONG, skip=range(11, 20), name="a{:04d}.dcm")
OFF_GRID: tuple[tuple[str, str, Change], ...] = (
    ("aside", "1 mm aside", moved(lambda i: (1.0, 0, 0))),
    ("zoom", "with other pixel spacing", setting(PixelSpacing=[0.85, 0.75])),
    ("step", "in slices twice as far apart", _stepping(5.0, 11)),
    ("step-near", "in slices a little further apart", _stepping(2.6, 11)),
    ("behind", "6.5 mm behind, off its grid", moved(lambda i: (0, 0, 4.0))),
    ("hole", "behind a hole of 40 mm", moved(lambda i: (0, 0, 37.5))),
    ("turned", "with a field of view shifted by 20 mm", moved(lambda i: (20, 0, 0))),
    (
        "picture",
        "as images that call themselves projections",
        setting(ImageType=["ORIGINAL", "PRIMARY", "MIP"]),
    ),
)
GOES_ON = (
    *(
        Case(
            f"dicom-goes-on-{name}",
            "adjoining acquisitions",
            f"the scan goes on in another series, {what}",
            of(CUT, FIRST, _second(change, 11)),
        )
        for name, what, change in OFF_GRID
    ),
    Case(
        "dicom-abdomen-overlaps",
        "several series",
        "a series of the abdomen, planned by itself, that overlaps by some slices: left out",
        of(
            truth(LONG),
            put("", LONG, name="a{:04d}.dcm"),
            put(
                "",
                LONG[:9] + np.int16(3),
                affine=series.an_affine((5.0, 0.9, 0.8), (-55.0, -65.0, -20.3)),
                series_name="abdomen",
                name="b{:04d}.dcm",
                change=setting(SeriesNumber=3, ConvolutionKernel="B30f"),
            ),
        ),
    ),
)

CASES: tuple[Case, ...] = (*LOST, *LAWFUL, *GOES_ON)
