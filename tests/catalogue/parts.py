"""DICOM folders where marks, damage or places part the slices of one scan, or join those of two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from covidctnet.io.dicom.objects import series_key
from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import both, enhanced, file, moved, on, put, put_object, setting
from tests.io import series
from tests.io.series import Change


def _as_is(ds: Dataset, index: int) -> None:
    """Nothing changed."""


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
    ("rows", "rows", setting(Rows=10)),
    (
        "columns-place",
        "columns and position",
        both(setting(Columns=15), moved(lambda i: (9000, 0, 0))),
    ),
    (
        "unnumbered-place",
        "number and position",
        both(setting(InstanceNumber=None), moved(lambda i: (0, 0, 20.0 if i else -20.0))),
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
                series.a_body(lungs=40.0, seed=5, shape=(9, 40, 36)),
                affine=series.an_affine((5.0, 0.9, 0.8), (-55.0, -65.0, -20.3)),
                series_name="abdomen",
                name="b{:04d}.dcm",
                change=setting(SeriesNumber=3, ConvolutionKernel="B30f"),
            ),
        ),
    ),
)

# ---- two scans woven into each other, or one whose marks alternate ----

ONE = series.a_body()
BODY = truth(ONE)
PATIENT = series.a_body(lungs=-400, seed=5)
PHASE = series.a_body(phase=0.25, seed=4)
MEDIUM = series.a_body(soft=60, seed=6)
STEPS = series.an_affine((5.0, 0.8, 0.7))
BETWEEN = series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 12.5))


def _woven(other: np.ndarray) -> np.ndarray:
    out = ONE.copy()
    out[1::2] = other[1::2]
    return out


def _in_turn(*changes: Change) -> Change:
    def change(ds: Dataset, index: int) -> None:
        changes[index % len(changes)](ds, index)

    return change


def _apart(other: np.ndarray) -> Refusal:
    return Refusal("AMBIGUOUS_SERIES", (truth(ONE[::2], STEPS), truth(other[1::2], BETWEEN)))


def _twice(ds: Dataset, index: int) -> None:
    ds.InstanceNumber = index // 2 + 1


def _behind(ds: Dataset, index: int) -> None:
    ds.InstanceNumber = index // 2 + 1 + 16 * (index % 2)


MARKS: tuple[tuple[str, str, Change], ...] = (
    ("time", "acquisition time", setting(AcquisitionTime="121212")),
    ("date-time", "acquisition date and time", setting(AcquisitionDateTime="20200101101112")),
    ("kvp", "tube voltage", setting(KVP=80)),
    ("series-number", "series number", setting(SeriesNumber=7)),
    ("contrast", "contrast agent", setting(ContrastBolusAgent="agent")),
    ("exposure", "exposure", setting(Exposure=90)),
    ("position-in-time", "temporal position", setting(TemporalPositionIdentifier=2)),
)
TOGETHER = "two acquisitions half a step apart"
WOVEN = (
    *(
        Case(
            f"dicom-woven-{name}",
            "overlapping acquisitions",
            f"{TOGETHER}, told apart by {what}",
            of(_apart(PATIENT), put("", _woven(PATIENT), change=_in_turn(_as_is, change))),
            policy=True,
        )
        for name, what, change in MARKS
    ),
    *(
        Case(
            f"dicom-woven-{name}-{who}",
            "overlapping acquisitions",
            f"{TOGETHER} of {whose}, {what}",
            of(_apart(other), put("", _woven(other), change=change)),
            policy=True,
        )
        for name, what, change in (
            ("numbers-again", "instance numbers begin again", _twice),
            ("numbers-behind", "instance numbers go on", _behind),
            (
                "counted",
                "told apart by acquisition number",
                _in_turn(setting(AcquisitionNumber=1), setting(AcquisitionNumber=2)),
            ),
        )
        for who, whose, other in (
            ("patients", "two patients", PATIENT),
            ("phases", "one patient in two breaths", PHASE),
            ("media", "one patient before and behind contrast medium", MEDIUM),
        )
    ),
    Case(
        "dicom-woven-three",
        "overlapping acquisitions",
        "three acquisitions a third of a step apart, told apart by tube voltage",
        of(
            Refusal("AMBIGUOUS_SERIES"),
            put(
                "",
                series.a_body(shape=(30, 40, 36)),
                change=_in_turn(setting(KVP=80), setting(KVP=100), setting(KVP=120)),
            ),
        ),
        policy=True,
    ),
    *(
        Case(
            f"dicom-woven-untold-{name}",
            "overlapping acquisitions",
            f"two scans of {whose} half a step apart that no header tells apart",
            of(Refusal("OVERLAPPING_ACQUISITIONS"), put("", _woven(other))),
        )
        for name, whose, other in (
            ("patients", "two patients", PATIENT),
            ("media", "one patient before and behind contrast medium", MEDIUM),
        )
    ),
    Case(
        "dicom-woven-thickness",
        "overlapping acquisitions",
        f"{TOGETHER} of two patients, told apart by slice thickness",
        of(
            Refusal("OVERLAPPING_ACQUISITIONS"),
            put("", _woven(PATIENT), change=_in_turn(_as_is, setting(SliceThickness=1.0))),
        ),
    ),
    *(
        Case(
            f"dicom-alternating-{name}",
            "overlapping acquisitions",
            f"one scan, {what} for odd and even slices",
            of(BODY, put("", ONE, change=change)),
        )
        for name, what, change in (
            (
                "acquisition",
                "an acquisition number",
                _in_turn(setting(AcquisitionNumber=1), setting(AcquisitionNumber=2)),
            ),
            (
                "exposure",
                "an exposure",
                _in_turn(setting(Exposure=40), setting(Exposure=41)),
            ),
            ("numbers", "instance numbers of their own", _behind),
        )
    ),
)


def _frames(name: str, value: Callable[[int], object]) -> Callable[[Dataset, int], None]:
    def frame(item: Dataset, number: int) -> None:
        setattr(item.FrameContentSequence[0], name, value(number))

    return frame


ENHANCED = (
    *(
        Case(
            f"dicom-enhanced-woven-{name}",
            "enhanced CT",
            f"frames of two scans half a step apart, told apart by {what}",
            of(
                _apart(PATIENT),
                enhanced(range(32), scan=_woven(PATIENT), frame=_frames(keyword, value)),
            ),
            policy=True,
        )
        for name, what, keyword, value in (
            ("acquisition", "acquisition number", "FrameAcquisitionNumber", lambda k: 1 + k % 2),
            ("stack", "stack id", "StackID", lambda k: str(1 + k % 2)),
            (
                "time",
                "time",
                "FrameAcquisitionDateTime",
                lambda k: f"2020010110{10 + k % 2}00",
            ),
        )
    ),
    Case(
        "dicom-enhanced-alternating",
        "enhanced CT",
        "frames of one scan, acquisition numbers alternate",
        of(
            BODY,
            enhanced(
                range(32), scan=ONE, frame=_frames("FrameAcquisitionNumber", lambda k: 1 + k % 2)
            ),
        ),
    ),
)

# ---- two scans that meet, and slices in another order ----

BLOCKS = np.concatenate([ONE[:16], series.a_body(lungs=-300, seed=5)[16:]])
BREATHS = np.concatenate([ONE[:16], series.a_body(phase=0.12, seed=7)[16:]])


def _later(ds: Dataset, index: int) -> None:
    ds.AcquisitionTime = "101010" if index < 16 else "121212"


def _again(ds: Dataset, index: int) -> None:
    ds.InstanceNumber = index % 16 + 1


def _reversed(start: int, stop: int) -> Change:
    def change(ds: Dataset, index: int) -> None:
        if start <= index < stop:
            ds.InstanceNumber = start + stop - index

    return change


MEETING = (
    *(
        Case(
            f"dicom-meeting-{name}",
            "adjoining acquisitions",
            f"two patients under one series UID, one behind the other: {what}",
            of(Refusal("OVERLAPPING_ACQUISITIONS"), put("", BLOCKS, change=change)),
        )
        for name, what, change in (
            ("times", "two times", _later),
            ("numbers", "instance numbers begin again", _again),
        )
    ),
    Case(
        "dicom-meeting-folders",
        "adjoining acquisitions",
        "two folders under one series UID, each numbered from 1",
        of(
            Refusal("OVERLAPPING_ACQUISITIONS"),
            put("a", ONE, skip=range(16, 32), change=_again),
            put("b", ONE, skip=range(16), change=_again),
        ),
    ),
    Case(
        "dicom-meeting-breaths",
        "adjoining acquisitions",
        "two acquisitions in two breaths: one scan",
        of(truth(BREATHS), put("", BREATHS, change=_later)),
    ),
    *(
        Case(
            f"dicom-order-reversed-{count}",
            "order",
            f"{count} neighbours whose positions are in reversed order",
            of(
                Refusal("NO_GEOMETRY"),
                put(
                    "",
                    np.concatenate([ONE[:12], ONE[12 : 12 + count][::-1], ONE[12 + count :]]),
                    change=_reversed(12, 12 + count),
                ),
            ),
        )
        for count in (2, 3, 4, 8)
    ),
)

# ---- damage in the folder of another series ----

TWO = (put("a"), put("b", SCAN + np.int16(5), series_name="b", change=setting(SeriesNumber=3)))
CHOSEN = {"series": series_key(series.uid("study/series"))}
THICK = put(
    "b",
    SCAN[:8] + np.int16(5),
    series_name="b",
    affine=series.an_affine((5.0, 0.8, 0.7)),
    change=setting(SeriesNumber=3),
)
ELSEWHERE_DAMAGED = (
    Case(
        "dicom-damaged-elsewhere-chosen",
        "damaged files",
        "one series chosen, an empty file amid those of another",
        of(RIGHT, *TWO, file("b/0035.dcm", b"")),
        options=CHOSEN,
    ),
    Case(
        "dicom-damaged-elsewhere-chosen-noise",
        "damaged files",
        "one series chosen, noise behind the files of another: flagged",
        of(truth(None, None, "stray_files"), *TWO, file("b/0084.dcm", bytes(range(256)) * 9)),
        options=CHOSEN,
    ),
    Case(
        "dicom-damaged-elsewhere",
        "damaged files",
        "an empty file amid those of a thicker series in another folder",
        of(RIGHT, put("a"), THICK, file("b/0021.dcm", b"")),
    ),
    Case(
        "dicom-damaged-maybe-own",
        "damaged files",
        "an empty file named as the last one, in the folder of another series",
        of(
            Refusal("CORRUPT_SLICE"),
            put("a", name="IM{:04d}.dcm"),
            put(
                "b",
                SCAN[:8] + np.int16(5),
                series_name="b",
                affine=series.an_affine((3.0, 0.8, 0.7)),
                name="IM{:04d}.dcm",
            ),
            file("b/IM0084.dcm", b""),
        ),
    ),
)

# ---- UIDs that say less than the pixels and places ----


def _number_two(ds: Dataset, index: int) -> None:
    ds.SeriesNumber, ds.SOPInstanceUID = 2, series.uid(f"{ds.SeriesInstanceUID}/{index}")


def _noisy(keyword: str) -> Change:
    def change(ds: Dataset, index: int) -> None:
        noise = 1e-6 * (-1) ** index
        ds.ImageOrientationPatient = [1.0, noise, 0.0, 0.0, 1.0, -noise]
        setattr(ds, keyword, series.uid(f"{keyword}/{index}"))

    return change


IDENTITY = (
    *(
        Case(
            f"dicom-one-number-overlap-{count}",
            "UIDs of anonymisers",
            f"one scan in two series of one number that share {count} slices: joined",
            of(
                truth(LONG),
                put("", LONG[: 8 + count], series_name="a", name="a{}.dcm", change=_number_two),
                put("", LONG, skip=range(8), series_name="b", name="b{}.dcm", change=_number_two),
            ),
        )
        for count in (3, 6, 10)
    ),
    *(
        Case(
            f"dicom-uid-{name}-each-noise",
            "UIDs of anonymisers",
            f"{what} of its own for every slice, and noise in the directions",
            of(RIGHT, put(change=_noisy(keyword))),
        )
        for name, what, keyword in (
            ("study", "a study UID", "StudyInstanceUID"),
            ("series", "a series UID", "SeriesInstanceUID"),
            ("frame", "a frame of reference", "FrameOfReferenceUID"),
        )
    ),
    Case(
        "dicom-uid-frame-on-every-second",
        "UIDs of anonymisers",
        "every second slice names no frame of reference",
        of(RIGHT, put(change=_in_turn(_as_is, setting(FrameOfReferenceUID="")))),
    ),
    Case(
        "dicom-uid-study-each-folder",
        "UIDs of anonymisers",
        "every slice has a study UID and a folder of its own, all one series UID",
        of(
            RIGHT,
            put(
                name="{:04d}/slice.dcm",
                change=lambda ds, i: setattr(ds, "StudyInstanceUID", series.uid(f"study/{i}")),
            ),
        ),
    ),
)

# ---- mixtures ----


def _body(scan: np.ndarray, name: str, *, skip: range = range(0), change: Change = _as_is) -> Step:
    """Slices of a body with instances and numbers of their own."""

    def own(ds: Dataset, index: int) -> None:
        ds.SOPInstanceUID = series.uid(f"{name}/{index}")

    return put("", scan, skip=skip, change=both(own, change), name=name + "{:04d}.dcm")


SECOND = setting(SeriesInstanceUID=series.uid("second"), SeriesNumber=3, AcquisitionNumber=2)
PHASES = tuple(
    _body(
        series.a_body(phase=0.05 * k, seed=k),
        f"p{k}-",
        change=lambda ds, i, k=k: setattr(ds, "InstanceNumber", 1 + i + 32 * k),
    )
    for k in range(5)
)
ONLY_COUNTED = setting(AcquisitionNumber=2)
MIXTURES = (
    *(
        Case(
            f"dicom-split-{name}-{shared}",
            "adjoining acquisitions",
            f"a scan split at the diaphragm in two breaths and {what} that share {shared} places",
            of(
                CUT,
                _body(ONE, "a", skip=range(20, 32)),
                _body(PHASE, "b", skip=range(20 - shared), change=change),
            ),
        )
        for shared in (3, 6, 12)
        for name, what, change in (
            ("series", "two series", SECOND),
            ("acquisitions", "two acquisitions of one series", ONLY_COUNTED),
        )
    ),
    Case(
        "dicom-phases-numbered",
        "overlapping acquisitions",
        "five phases of a breath under one series UID, told apart by nothing but numbers",
        of(Refusal("OVERLAPPING_ACQUISITIONS"), *PHASES),
    ),
    Case(
        "dicom-woven-phases-untold",
        "overlapping acquisitions",
        f"{TOGETHER} in two breaths that no header tells apart",
        of(Refusal("OVERLAPPING_ACQUISITIONS"), put("", _woven(PHASE))),
    ),
    Case(
        "dicom-woven-thirds-numbered",
        "overlapping acquisitions",
        "three scans a third of a step apart whose instance numbers begin again",
        of(
            Refusal("AMBIGUOUS_SERIES"),
            put(
                "",
                np.stack(
                    [
                        image
                        for three in zip(ONE[:30:3], PATIENT[:30:3], MEDIUM[:30:3], strict=True)
                        for image in three
                    ]
                ),
                change=lambda ds, i: setattr(ds, "InstanceNumber", i // 3 + 1),
            ),
        ),
        policy=True,
    ),
    Case(
        "dicom-woven-shorter",
        "overlapping acquisitions",
        "a shorter acquisition between the slices of a longer one, told apart by time: the longer",
        of(
            truth(ONE[::2], STEPS),
            put("", ONE[::2], affine=STEPS, name="a{:04d}.dcm"),
            put(
                "",
                PATIENT[5:27:2],
                affine=series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 22.5)),
                name="b{:04d}.dcm",
                change=both(
                    setting(AcquisitionTime="121212"),
                    lambda ds, i: setattr(ds, "SOPInstanceUID", series.uid(f"b/{i}")),
                ),
            ),
        ),
    ),
    Case(
        "dicom-half-one-step-low",
        "overlapping acquisitions",
        "the upper half lies one step too low",
        of(
            Refusal("OVERLAPPING_ACQUISITIONS"),
            put("", ONE, change=on(range(16, 32), moved(lambda i: (0, 0, -2.5)))),
        ),
    ),
)

CASES: tuple[Case, ...] = (
    *LOST,
    *LAWFUL,
    *GOES_ON,
    *WOVEN,
    *ENHANCED,
    *MEETING,
    *ELSEWHERE_DAMAGED,
    *IDENTITY,
    *MIXTURES,
)
