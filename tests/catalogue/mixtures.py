"""Series whose UIDs, classes, marks or slices are mixed: one scan in disorder, or two in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from covidctnet.io.dicom.objects import series_key
from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import both, put, put_object, setting
from tests.io import series
from tests.io.series import Change

BODY = series.a_body()
RIGHT = truth(BODY)
THICK = np.rint(BODY.reshape(16, 2, *BODY.shape[1:]).mean(axis=1)).astype(np.int16)
THICK_AFFINE = series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 11.25))
FINE = series.a_body(shape=(64, 40, 36))

# ---- UIDs drawn at random ----


def _drawn(keyword: str, count: int, seed: int = 0) -> Change:
    """Each file gets one of a few UIDs."""
    order = np.random.default_rng(seed).integers(count, size=100)

    def change(ds: Dataset, index: int) -> None:
        setattr(ds, keyword, series.uid(f"{keyword}/{order[index]}"))

    return change


def _in_turn(keyword: str, count: int) -> Change:
    return lambda ds, i: setattr(ds, keyword, series.uid(f"{keyword}/{i % count}"))


def _numbered(number: int | str) -> Change:
    return setting(SeriesNumber=number)


def _thick(*changes: Change) -> Step:
    change = changes[0]
    for one in changes[1:]:
        change = both(change, one)
    return put("", THICK, affine=THICK_AFFINE, change=change, series_name="b", name="b{:04d}.dcm")


WOVEN = BODY.copy()
WOVEN[1::2] = series.a_body(phase=0.25, seed=4)[1::2]
UIDS = (
    *(
        Case(
            f"dicom-drawn-{name}",
            "UIDs of anonymisers",
            what,
            of(RIGHT, put("", BODY, change=both(_numbered(2), change))),
        )
        for name, what, change in (
            (
                "series",
                "each file has one of five random series UIDs",
                _drawn("SeriesInstanceUID", 5),
            ),
            ("series-in-turn", "five series UIDs in turn", _in_turn("SeriesInstanceUID", 5)),
            (
                "frames",
                "each file has one of three random frames of reference",
                _drawn("FrameOfReferenceUID", 3),
            ),
            (
                "studies",
                "each file has one of three random study and series UIDs",
                both(_drawn("StudyInstanceUID", 3), _drawn("SeriesInstanceUID", 3, 1)),
            ),
        )
    ),
    *(
        Case(
            f"dicom-drawn-series-{name}",
            "UIDs of anonymisers",
            f"five random series UIDs over thin and thick slices {what}: the thin ones",
            of(
                RIGHT,
                put("", BODY, change=both(_numbered(numbers[0]), _drawn("SeriesInstanceUID", 5))),
                _thick(_numbered(numbers[1]), _drawn("SeriesInstanceUID", 5, 1)),
            ),
        )
        for name, what, numbers in (
            ("two", "with numbers of their own", (2, 3)),
            ("two-unnumbered", "without numbers", ("", "")),
        )
    ),
    Case(
        "dicom-own-series-two-unnumbered",
        "UIDs of anonymisers",
        "a series UID for every file of thin and thick slices without numbers: the thin ones",
        of(
            RIGHT,
            put(
                "", BODY, change=lambda ds, i: setattr(ds, "SeriesInstanceUID", series.uid(f"{i}"))
            ),
            _thick(lambda ds, i: setattr(ds, "SeriesInstanceUID", series.uid(f"b{i}"))),
        ),
    ),
    Case(
        "dicom-drawn-woven",
        "overlapping acquisitions",
        "two breaths in turn under random series UIDs",
        of(
            Refusal("UNEVEN_SPACING"),
            put("", WOVEN, change=both(_numbered(2), _drawn("SeriesInstanceUID", 3))),
        ),
    ),
)

# ---- one scan, one mark ----

VISIT = {
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "070Y",
    "StudyDate": "20200304",
    "StudyTime": "101112",
}
DERIVED = {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "SeriesNumber": 3}
MARKS = tuple(
    Case(
        f"dicom-derived-{name}",
        "several series",
        f"thick slices computed of thin ones, {what}: the thin ones",
        of(
            RIGHT,
            put("", BODY, change=setting(**VISIT, SeriesNumber=2)),
            _thick(setting(**{**VISIT, **DERIVED, **values})),
        ),
    )
    for name, what, values in (
        ("later", "on the next day", {"StudyDate": "20200305", "StudyTime": "080910"}),
        ("time", "three hours later", {"StudyTime": "134501"}),
        ("age", "with an age of 69 for 70", {"PatientAge": "069Y"}),
        ("months", "with an age in months", {"PatientAge": "840M"}),
        ("sex", "with another sex", {"PatientSex": "M"}),
        ("birth", "with another date of birth", {"PatientBirthDate": "19500701"}),
        ("id", "with a zero before the patient's id", {"PatientID": "0secret-7781"}),
    )
)

# ---- slices of another class ----

PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID")
SCALE = ("RescaleSlope", "RescaleIntercept")


def _captured(chosen: Callable[[int], bool], *without: str) -> Change:
    """Some slices as secondary captures, without some elements."""

    def change(ds: Dataset, index: int) -> None:
        if not chosen(index):
            return
        ds.SOPClassUID, ds.Modality = SecondaryCaptureImageStorage, "OT"
        ds.ImageType = ["DERIVED", "SECONDARY"]
        for keyword in without:
            delattr(ds, keyword)

    return change


CAPTURED = tuple(
    Case(
        f"dicom-captured-{name}{suffix}",
        "other objects",
        f"{what} stored as a secondary capture, {more}",
        of(expected, put("", BODY, change=_captured(chosen, *without))),
    )
    for name, what, chosen in (
        ("second", "every second slice is", lambda i: i % 2 == 1),
        ("last", "the last twelve slices are", lambda i: i >= 20),
    )
    for suffix, more, without, expected in (
        ("", "with its place and scale", (), RIGHT),
        ("-bare", "without place and scale", (*PLACE, *SCALE), Refusal("SLICE_GAP")),
        (
            "-unnumbered",
            "without place, scale and number",
            (*PLACE, *SCALE, "InstanceNumber"),
            Refusal("SLICE_GAP"),
        ),
    )
)

# ---- slices of another body ----


def _another() -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in FINE.shape), indexing="ij")
    hu = np.full(FINE.shape, -1000.0)
    hu[(y / 0.6) ** 2 + ((x - 0.2) / 0.7) ** 2 < 1] = 40
    hu[((x - 0.2) / 0.5) ** 2 + ((y - 0.2) / 0.25) ** 2 + (z / 1.4) ** 2 < 1] = -850
    hu += np.random.default_rng(8).normal(0, 8, hu.shape)
    # No lower value can be stored.
    hu = np.maximum(hu, -1024)
    return np.asarray(np.rint(hu).astype(np.int16))


def _exchanged(part: slice) -> np.ndarray:
    scan = FINE.copy()
    scan[part] = _another()[part]
    return scan


FOREIGN = tuple(
    Case(
        f"dicom-foreign-{name}",
        "mixed patients and studies",
        f"{what} of another person under the headers of a scan",
        of(Refusal("OVERLAPPING_ACQUISITIONS"), put("", _exchanged(part))),
    )
    for name, what, part in (
        ("one", "one slice", slice(30, 31)),
        ("ten", "ten slices", slice(30, 40)),
        ("half", "the upper half", slice(32, 64)),
    )
)

# ---- keys that name no scan ----

REPORT = series.uid("report")


def _report(ds: Dataset, index: int) -> None:
    ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.88.67",
        "SR",
        REPORT,
    )
    for keyword in ("PixelData", "Rows", "Columns", *PLACE, *SCALE):
        delattr(ds, keyword)


KEYS = (
    Case(
        "dicom-chosen-report",
        "other objects",
        "a scan and a dose report, the caller chooses the report",
        of(Refusal("NOT_CT"), put(), put_object("report.dcm", _report)),
        options={"series": series_key(REPORT)},
    ),
)

CASES: Sequence[Case] = (*UIDS, *MARKS, *CAPTURED, *FOREIGN, *KEYS)
