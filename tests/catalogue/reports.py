"""DICOM folders of the kinds that reports of other tools tell of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from covidctnet.io.dicom.objects import series_key
from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import (
    big_endian,
    both,
    compressed,
    enhanced,
    file,
    moved,
    on,
    patched,
    put,
    put_object,
    setting,
)
from tests.catalogue.steps import stored as stored_as
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
OTHER = SCAN + np.int16(5)
RIGHT = truth()
LONG = series.a_scan((20, 20, 16))
WHOLE = truth(LONG)
NOISE = bytes((i * 7919) % 251 for i in range(6000))


def _each(keyword: str, value: Callable[[int], object]) -> Change:
    """An attribute that depends on the slice."""
    return lambda ds, index: setattr(ds, keyword, value(index))


def _own(keyword: str) -> Change:
    """A UID of its own for every slice."""
    return _each(keyword, lambda index: series.uid(f"{keyword}/{index}"))


def _alone(*values: str) -> Change:
    """Some attributes deleted."""
    return setting(**dict.fromkeys(values))


def _emptied(*keywords: str) -> Change:
    def change(ds: Dataset, index: int) -> None:
        for keyword in keywords:
            setattr(ds, keyword, "")

    return change


def _renumbered(start: int) -> Change:
    """SOP instances and numbers that go on from another acquisition."""

    def change(ds: Dataset, index: int) -> None:
        ds.InstanceNumber = start + index
        ds.SOPInstanceUID = series.uid(f"second/{index}")

    return change


def _without(*indices: int) -> list[int]:
    return [k for k in range(20) if k not in indices]


def _placeless(**values: object) -> Change:
    """An image of the scan's series that says no place."""
    places = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    uids = {"SeriesInstanceUID": series.uid("study/series"), "SeriesNumber": 2}
    return both(_alone(*places), setting(**{**uids, **values}))


# ---- acquisitions that adjoin, share a place, or go on elsewhere ----

AGAIN = LONG.copy()
AGAIN[11] = AGAIN[11] + np.int16(3)
PARTED: tuple[tuple[str, str, Change], ...] = (
    ("number", "acquisition number", setting(AcquisitionNumber=2)),
    ("time", "acquisition time", setting(AcquisitionTime="101112")),
    ("date-time", "acquisition date and time", setting(AcquisitionDateTime="20200101101112")),
    ("temporal-position", "temporal position", setting(TemporalPositionIdentifier=2)),
    ("image-type", "image type", setting(ImageType=["ORIGINAL", "SECONDARY", "AXIAL"])),
    ("echo", "echo", setting(EchoNumbers=2)),
    ("series-number", "series number", setting(SeriesNumber=7)),
)


def _two(change: Change, first: int, second: int, *, name: str = "series") -> tuple[Step, ...]:
    """Slices up to `first`, and from `second` on under a change."""
    return (
        put("", LONG, skip=range(first, 20), name="a{:04d}.dcm"),
        put(
            "",
            AGAIN,
            skip=range(second),
            change=both(_renumbered(50), change),
            name="b{:04d}.dcm",
            series_name=name,
        ),
    )


ADJOINING = (
    *(
        Case(
            f"dicom-joint-{name}",
            "adjoining acquisitions",
            f"two acquisitions share one place, told apart by {what}: joined",
            of(WHOLE, *_two(change, 12, 11)),
        )
        for name, what, change in PARTED
    ),
    Case(
        "dicom-joint-three",
        "adjoining acquisitions",
        "three acquisitions, each shares a place with the next: joined",
        of(
            WHOLE,
            put("", LONG, skip=range(9, 20), name="a{:04d}.dcm"),
            put(
                "",
                LONG + np.int16(1) * (np.arange(20) == 8).astype(np.int16)[:, None, None],
                skip=_without(*range(8, 15)),
                change=both(setting(AcquisitionNumber=2), _renumbered(30)),
                name="b{:04d}.dcm",
            ),
            put(
                "",
                LONG - np.int16(1) * (np.arange(20) == 14).astype(np.int16)[:, None, None],
                skip=range(14),
                change=both(
                    setting(AcquisitionNumber=3),
                    lambda ds, i: setattr(ds, "SOPInstanceUID", series.uid(f"third/{i}")),
                ),
                name="c{:04d}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-joint-gap",
        "adjoining acquisitions",
        "two acquisitions of one series, three slices between them are missing",
        of(Refusal("SLICE_GAP"), *_two(setting(AcquisitionNumber=2), 9, 12)),
    ),
    Case(
        "dicom-joint-wide",
        "adjoining acquisitions",
        "two acquisitions share six of twenty places with other pixels",
        of(
            Refusal("SLICE_GAP"),
            put("", LONG, skip=range(13, 20), name="a{:04d}.dcm"),
            put(
                "",
                LONG + np.int16(4),
                skip=range(7),
                change=both(_renumbered(50), setting(AcquisitionNumber=2)),
                name="b{:04d}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-joint-kernel",
        "adjoining acquisitions",
        "two reconstructions with other kernels adjoin",
        of(Refusal("SLICE_GAP"), *_two(setting(ConvolutionKernel="B60f"), 12, 11)),
    ),
    *(
        Case(
            f"dicom-goes-on-{name}",
            "adjoining acquisitions",
            f"the scan goes on under {what}",
            of(Refusal("SLICE_GAP"), *_two(change, 11, 11, name=other)),
        )
        for name, what, change, other in (
            (
                "derived",
                "another series UID, as a derived series",
                setting(ImageType=["DERIVED", "SECONDARY", "AXIAL"]),
                "other",
            ),
            (
                "frame-of-reference",
                "another series UID and frame of reference",
                setting(FrameOfReferenceUID=series.uid("elsewhere")),
                "other",
            ),
        )
    ),
    *(
        Case(
            f"dicom-{name}",
            "adjoining acquisitions",
            what,
            of(Refusal("SLICE_GAP"), *_two(change, first, second, name="other")),
        )
        for name, what, first, second, change in (
            (
                "hole-one",
                "the scan goes on in another series behind a hole of one",
                11,
                12,
                setting(),
            ),
            (
                "hole-two",
                "the scan goes on in another series behind a hole of two",
                10,
                12,
                setting(),
            ),
            (
                "hole-short",
                "seven slices in another series, behind a hole of one",
                12,
                13,
                setting(),
            ),
            ("joint-series", "two series of one scan share one place", 12, 11, setting()),
            (
                "goes-on-short",
                "the last five slices in another series with another kernel",
                15,
                15,
                setting(ConvolutionKernel="B60f"),
            ),
            (
                "goes-on-moved",
                "the scan goes on in another series, moved by half a step",
                12,
                12,
                moved(lambda index: (0, 0, 1.2)),
            ),
        )
    ),
    Case(
        "dicom-goes-on-series",
        "adjoining acquisitions",
        "the scan goes on under another series UID: joined",
        of(truth(AGAIN), *_two(setting(), 11, 11, name="other")),
    ),
    Case(
        "dicom-goes-on-chosen",
        "adjoining acquisitions",
        "the scan goes on under another series UID, the caller chooses the first part",
        of(truth(LONG[:11]), *_two(setting(), 11, 11, name="other")),
        options={"series": series_key(series.uid("study/series"))},
    ),
    Case(
        "dicom-second-phase-reaches-further",
        "adjoining acquisitions",
        "two scans of one chest, the shorter one reaches two slices further",
        of(
            truth(LONG[:18]),
            put("", LONG, skip=(18, 19), name="a{:04d}.dcm"),
            put(
                "",
                LONG + np.int16(4),
                skip=range(6),
                change=_renumbered(50),
                name="b{:04d}.dcm",
                series_name="other",
            ),
        ),
    ),
)

# ---- UIDs as anonymisers leave them ----

NO_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def _resaved(edit: Callable[[Dataset], None]) -> Step:
    """A step that edits written files as anonymisers do, whatever the standard says."""

    def step(folder: Path) -> None:
        for path in folder.rglob("*.dcm"):
            ds = dcmread(path)
            edit(ds)
            dcmwrite(path, ds, enforce_file_format=False)

    return step


def _classless(ds: Dataset) -> None:
    del ds.SOPClassUID, ds.file_meta.MediaStorageSOPClassUID


GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


def _guid(keyword: str) -> Change:
    return setting(**{keyword: GUID})


def _worded(ds: Dataset, *, keyword: str, value: str) -> None:
    """A UID replaced by words, which pydicom writes with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(ds, keyword, value)


UIDS = (
    *(
        Case(
            f"dicom-uid-{name}",
            "UIDs of anonymisers",
            what,
            of(RIGHT, put(change=change)),
        )
        for name, what, change in (
            ("series-each", "every slice has a series UID of its own", _own("SeriesInstanceUID")),
            (
                "frame-each",
                "every slice has a frame of reference of its own",
                _own("FrameOfReferenceUID"),
            ),
            ("study-each", "every slice has a study UID of its own", _own("StudyInstanceUID")),
            (
                "series-and-frame-each",
                "series UID and frame of reference are each slice's own",
                both(_own("SeriesInstanceUID"), _own("FrameOfReferenceUID")),
            ),
            ("all-each", "all UIDs are each slice's own", both(*map(_own, NO_UIDS))),
            ("study-missing", "no slice has a study UID", _alone("StudyInstanceUID")),
            ("study-empty", "every study UID is empty", _emptied("StudyInstanceUID")),
            ("series-missing", "no slice has a series UID", _alone("SeriesInstanceUID")),
            ("series-empty", "every series UID is empty", _emptied("SeriesInstanceUID")),
            ("frame-missing", "no slice has a frame of reference", _alone("FrameOfReferenceUID")),
            ("all-missing", "study, series and frame of reference are missing", _alone(*NO_UIDS)),
            ("study-guid", "the study UID is a GUID with hyphens", _guid("StudyInstanceUID")),
            ("series-guid", "the series UID is a GUID with hyphens", _guid("SeriesInstanceUID")),
            (
                "instances-alike",
                "every slice has the same SOP instance UID",
                setting(SOPInstanceUID=series.uid("one")),
            ),
        )
    ),
    *(
        Case(
            f"dicom-uid-{what}-{name}",
            "UIDs of anonymisers",
            f"{value!r} stands for the {said} of all slices",
            of(RIGHT, put(), _resaved(partial(_worded, keyword=keyword, value=value))),
        )
        for what, said, keyword, name, value in (
            ("study", "study UID", "StudyInstanceUID", "words", "ANONYMIZED STUDY"),
            ("study", "study UID", "StudyInstanceUID", "braces", f"{{{GUID}}}"),
            ("study", "study UID", "StudyInstanceUID", "brackets", "[Deleted]"),
            ("study", "study UID", "StudyInstanceUID", "blanks", "   "),
            ("study", "study UID", "StudyInstanceUID", "urn", f"urn:uuid:{GUID}"),
            ("study", "study UID", "StudyInstanceUID", "accents", "anonymisé"),
            ("series", "series UID", "SeriesInstanceUID", "words", "REMOVED (1)"),
            ("series", "series UID", "SeriesInstanceUID", "braces", f"{{{GUID}}}"),
            ("frame", "frame of reference", "FrameOfReferenceUID", "words", "REMOVED (1)"),
            ("instance", "SOP instance UID", "SOPInstanceUID", "words", "REMOVED (1)"),
        )
    ),
    Case(
        "dicom-uid-all-each-localizer",
        "UIDs of anonymisers",
        "all UIDs are each file's own, a localizer's too",
        of(
            RIGHT,
            put(change=both(*map(_own, NO_UIDS))),
            put_object(
                "localizer.dcm",
                both(
                    setting(
                        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
                    ),
                    setting(**{keyword: series.uid(f"{keyword}/localizer") for keyword in NO_UIDS}),
                ),
            ),
        ),
    ),
    Case(
        "dicom-uid-series-and-number-each",
        "UIDs of anonymisers",
        "series UID and series number are each slice's own",
        of(
            Refusal("TOO_FEW_SLICES", (RIGHT,)),
            put(change=both(_own("SeriesInstanceUID"), _each("SeriesNumber", lambda k: k + 1))),
        ),
        policy=True,
    ),
    Case(
        "dicom-uid-study-missing-halves",
        "UIDs of anonymisers",
        "no slice has a study UID, the series lies in two folders",
        of(
            RIGHT,
            put("a", skip=range(6, 12), change=_alone("StudyInstanceUID")),
            put("b", skip=range(6), change=_alone("StudyInstanceUID")),
        ),
    ),
    Case(
        "dicom-uid-series-each-folder",
        "UIDs of anonymisers",
        "every slice has a series UID and a folder of its own",
        of(RIGHT, put(change=_own("SeriesInstanceUID"), name="{:04d}/slice.dcm")),
    ),
    Case(
        "dicom-uid-class-in-meta",
        "UIDs of anonymisers",
        "the SOP class stands in the file's meta group alone",
        of(RIGHT, put(), _resaved(lambda ds: setattr(ds, "SOPClassUID", ""))),
    ),
    Case(
        "dicom-uid-class-missing",
        "UIDs of anonymisers",
        "no SOP class at all, the modality is CT",
        of(RIGHT, put(), _resaved(_classless)),
    ),
    Case(
        "dicom-uid-series-each-two",
        "UIDs of anonymisers",
        "two series of other thickness, every slice has a series UID of its own: the thinner",
        of(
            truth(series.a_scan((30, 20, 16)), series.an_affine((1.0, 0.8, 0.7))),
            put(change=both(_own("SeriesInstanceUID"), setting(SeriesNumber=2)), name="a{}.dcm"),
            put(
                "",
                series.a_scan((30, 20, 16)),
                affine=series.an_affine((1.0, 0.8, 0.7)),
                series_name="thin",
                change=both(
                    lambda ds, i: setattr(ds, "SeriesInstanceUID", series.uid(f"thin/{i}")),
                    setting(SeriesNumber=3),
                ),
                name="b{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-uid-series-each-gap",
        "UIDs of anonymisers",
        "every slice has a series UID of its own, one slice is missing",
        of(Refusal("SLICE_GAP"), put(change=_own("SeriesInstanceUID"), skip=(5,))),
    ),
    Case(
        "dicom-uid-series-each-patients",
        "UIDs of anonymisers",
        "every slice has a series UID of its own, two patients overlap",
        of(
            Refusal("MIXED_PATIENT"),
            put(change=_own("SeriesInstanceUID"), name="a{}.dcm"),
            put(
                "",
                OTHER,
                series_name="b",
                patient="another",
                change=lambda ds, i: setattr(ds, "SeriesInstanceUID", series.uid(f"b/{i}")),
                name="b{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-uid-study-missing-one",
        "UIDs of anonymisers",
        "one slice of a series has no study UID",
        of(Refusal("MIXED_STUDY"), put(change=on(5, _alone("StudyInstanceUID")))),
    ),
    Case(
        "dicom-uid-constant-series-number",
        "UIDs of anonymisers",
        "two series under one series UID, told apart by their numbers",
        of(
            Refusal("AMBIGUOUS_SERIES", (RIGHT, truth(OTHER))),
            put(change=setting(SeriesNumber=2), name="a{}.dcm"),
            put(
                "",
                OTHER,
                change=both(setting(SeriesNumber=3), _renumbered(1)),
                name="b{}.dcm",
            ),
        ),
        policy=True,
    ),
)

# ---- objects beside the scan ----


def _page(sop_class: str, rows: int, columns: int, *, short: bool = False) -> Change:
    """An object without geometry whose matrix is larger than any CT's."""

    def change(ds: Dataset, index: int) -> None:
        ds.SOPClassUID, ds.Modality = sop_class, "OT"
        ds.SeriesInstanceUID = series.uid("page")
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(ds, keyword)
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.Rows, ds.Columns = rows, columns
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.PixelData = bytes(1000 if short else rows * columns)

    return change


BESIDE = (
    *(
        Case(
            f"dicom-beside-{name}",
            "bystanders",
            f"{what} in the study of a CT",
            of(RIGHT, put("ct"), put_object("page.dcm", change)),
        )
        for name, what, change in (
            ("page", "a scanned page", _page(SecondaryCaptureImageStorage, 7016, 4960)),
            (
                "mammogram",
                "a mammogram",
                _page(DigitalMammographyXRayImageStorageForPresentation, 4915, 5355),
            ),
            (
                "radiograph",
                "a radiograph",
                _page(DigitalXRayImageStorageForPresentation, 4280, 3520),
            ),
            (
                "slide",
                "a slide of many frames",
                both(
                    _page(VLWholeSlideMicroscopyImageStorage, 240, 240),
                    setting(NumberOfFrames=90000),
                ),
            ),
            (
                "page-short",
                "a page with fewer pixels than it says",
                _page(SecondaryCaptureImageStorage, 7016, 4960, short=True),
            ),
            (
                "frames-many",
                "a capture of 60,000 frames",
                both(
                    _page(MultiFrameTrueColorSecondaryCaptureImageStorage, 100, 100),
                    setting(NumberOfFrames=60000),
                ),
            ),
            (
                "private",
                "a large object of a private class",
                _page("1.2.826.0.1.3680043.8.498.7.1", 7016, 4960),
            ),
            (
                "pet-large",
                "a large PET image",
                _page(PositronEmissionTomographyImageStorage, 6000, 6000),
            ),
            (
                "screen",
                "a large screen picture of CT storage",
                both(
                    _page(CTImageStorage, 7016, 4960),
                    setting(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
                ),
            ),
            (
                "localizer-tall",
                "a localizer of CT storage with 5,000 rows",
                both(
                    _page(CTImageStorage, 5000, 1000),
                    setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
                ),
            ),
            (
                "page-same-series",
                "a page under the series UID of the scan",
                both(
                    _page(SecondaryCaptureImageStorage, 7016, 4960),
                    setting(SeriesInstanceUID=series.uid("study/series")),
                ),
            ),
            (
                "rows-odd",
                "an image whose numbers are none",
                both(
                    _page(SecondaryCaptureImageStorage, 70, 50),
                    lambda ds, i: ds.add_new("NumberOfFrames", "IS", "1"),
                ),
            ),
        )
    ),
    Case(
        "dicom-beside-page-one-folder",
        "bystanders",
        "a scanned page in the folder of the slices",
        of(RIGHT, put(), put_object("page.dcm", _page(SecondaryCaptureImageStorage, 7016, 4960))),
    ),
    *(
        Case(
            f"dicom-page-{name}",
            "bystanders",
            f"a page saved as a CT image without a place, under the series UID of the scan: {what}",
            of(expected, put(change=setting(SeriesNumber=2), skip=skip), put_object("p.dcm", page)),
        )
        for name, what, expected, skip, page in (
            ("number", "another series number", RIGHT, (), _placeless(SeriesNumber=501)),
            (
                "type",
                "another image type",
                RIGHT,
                (),
                _placeless(InstanceNumber=1, ImageType=["DERIVED", "SECONDARY", "OTHER"]),
            ),
            (
                "next",
                "another image type, but numbered as the next slice",
                Refusal("NO_GEOMETRY"),
                (),
                _placeless(InstanceNumber=13, ImageType=["DERIVED", "SECONDARY", "OTHER"]),
            ),
            ("slice", "nothing else", Refusal("NO_GEOMETRY"), (), _placeless(InstanceNumber=1)),
            (
                "hole",
                "another series number, and a slice is missing",
                Refusal("NO_GEOMETRY"),
                (5,),
                _placeless(SeriesNumber=501),
            ),
        )
    ),
    Case(
        "dicom-beside-report-cut",
        "bystanders",
        "a report that is cut short",
        of(
            RIGHT,
            put("ct"),
            put_object(
                "report.dcm",
                both(
                    _page(EncapsulatedPDFStorage, 0, 0),
                    lambda ds, i: setattr(ds, "EncapsulatedDocument", bytes(4000)),
                ),
            ),
            lambda folder: (folder / "report.dcm").write_bytes(
                (folder / "report.dcm").read_bytes()[:-2500]
            ),
        ),
    ),
    Case(
        "dicom-beside-derived-name",
        "bystanders",
        "a derived series spells the patient's name otherwise",
        of(
            RIGHT,
            put("a"),
            put(
                "b",
                OTHER,
                series_name="derived",
                change=setting(
                    PatientName="DOE, JANE", ImageType=["DERIVED", "SECONDARY", "AXIAL"]
                ),
            ),
        ),
    ),
    Case(
        "dicom-beside-chosen",
        "bystanders",
        "one series chosen, another carries another patient's id",
        of(
            RIGHT,
            put(name="a{:04d}.dcm"),
            put(
                "",
                OTHER,
                series_name="b",
                patient="another",
                change=setting(PatientName="R^R"),
                name="b{:04d}.dcm",
            ),
        ),
        options={"series": series_key(series.uid("study/series"))},
    ),
    Case(
        "dicom-beside-chosen-damaged",
        "bystanders",
        "one series chosen, a slice of another is damaged",
        of(
            RIGHT,
            put("a"),
            put("b", OTHER, series_name="b", name="b{:04d}.dcm"),
            patched(lambda c: c[:-200], 5, "b/b{:04d}.dcm"),
        ),
        options={"series": series_key(series.uid("study/series"))},
    ),
    Case(
        "dicom-beside-damaged-series",
        "bystanders",
        "a slice of another series ends amid its header",
        of(
            RIGHT,
            put("a"),
            put("b", OTHER, series_name="b", name="b{:04d}.dcm"),
            patched(lambda c: c[: c.index(b"\x28\x00\x10\x00US") + 4], 5, "b/b{:04d}.dcm"),
        ),
    ),
)

# ---- files beside the scan that hold nothing ----

FLAGGED = truth(None, None, "stray_files")
IMAGES = "IM{:04d}.dcm"


def _half(source: str, target: str) -> Step:
    """A second copy of a slice, half written."""

    def step(folder: Path) -> None:
        content = (folder / source).read_bytes()
        (folder / target).write_bytes(content[: len(content) - 300])

    return step


def both_steps(folder: Path) -> None:
    """Two files that hold nothing."""
    file("a.dcm", b"")(folder)
    file("b.dcm", NOISE)(folder)


def _second_half(folder: Path) -> None:
    """The last six slices in a folder of their own, named as the first six."""
    put("b", name=IMAGES, skip=range(6))(folder)
    for number in range(6):
        (folder / "b" / IMAGES.format(7 * (number + 6))).rename(
            folder / "b" / IMAGES.format(7 * number)
        )


STRAYS = (
    *(
        Case(
            f"dicom-stray-{name}",
            "stray files",
            f"{what} beside whole slices: flagged",
            of(FLAGGED, put(name=IMAGES), step),
        )
        for name, what, step in (
            ("empty", "an empty file", file("tmp.dcm", b"")),
            ("random", "a file of noise", file("noise.dcm", NOISE)),
            ("zeros", "a file of zeros", file("zeros.dcm", bytes(3000))),
            ("half", "half of a second copy of a slice", _half("IM0035.dcm", "part.dcm")),
            ("far", "an empty file whose number is far off", file("IM9999.dcm", b"")),
            ("copy-half", "half of a file named as a copy", _half("IM0035.dcm", "IM0035 (1).dcm")),
            ("temporary", "an empty file of a program that broke off", file("~IM0035.dcm", b"")),
            ("two", "an empty file and one of noise", both_steps),
        )
    ),
    *(
        Case(
            f"dicom-stray-{name}",
            "stray files",
            f"a second copy of the folder that broke off, its last file {what}: flagged",
            of(
                FLAGGED,
                put("a", name=IMAGES),
                put("b", name=IMAGES, skip=range(6, 12)),
                file("b/IM0042.dcm", content),
            ),
        )
        for name, what, content in (
            ("in-copy-empty", "empty", b""),
            ("in-copy-noise", "noise", NOISE),
        )
    ),
    *(
        Case(
            f"dicom-stray-{name}",
            "stray files",
            what,
            of(Refusal("CORRUPT_SLICE"), *steps),
        )
        for name, what, steps in (
            (
                "maybe-next",
                "an empty file named as the slice behind the last would be",
                (put(name=IMAGES), file("IM0084.dcm", b"")),
            ),
            (
                "last-of-folder",
                "folders of six slices, named alike; the last file is empty",
                (
                    put("a", name=IMAGES, skip=range(6, 12)),
                    _second_half,
                    file("b/IM0035.dcm", b""),
                ),
            ),
            (
                "maybe-middle",
                "an empty file and a hole among the slices",
                (put(name=IMAGES, skip=(5,)), file("tmp.dcm", b"")),
            ),
            (
                "no-numbers",
                "an empty file beside slices without numbers",
                (put(name=IMAGES, change=setting(InstanceNumber=None)), file("tmp.dcm", b"")),
            ),
            (
                "half-of-missing",
                "the last slice is half written under another name",
                (
                    put(name=IMAGES),
                    _half("IM0077.dcm", "part.dcm"),
                    lambda f: (f / "IM0077.dcm").unlink(),
                ),
            ),
        )
    ),
)

# ---- what a header says of its pixels ----

METAL = SCAN.copy()
METAL[:, 8:11, 5:8] = 2500
DENSE = SCAN.copy()
DENSE[:, 8:11, 5:8] = 3600
WIDE = truth(METAL, None, "stored_bits")
SPECK = SCAN.copy()
SPECK[5, 9, 6] = 2500
PADDED = METAL.copy()
PADDED[:, :2] = -3024


def _narrow(signed: bool) -> Change:
    """16-bit numbers whose header says 12."""

    def change(ds: Dataset, index: int) -> None:
        stored_as("<i2", intercept=0)(ds, index) if signed else None
        ds.BitsStored, ds.HighBit = 12, 11

    return change


def _marked(ds: Dataset, index: int) -> None:
    """A mark in bit 12 over some pixels, as overlays were once kept."""
    raw = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).copy()
    raw[4:6, 6:12] |= 1 << 12
    ds.BitsStored, ds.HighBit, ds.PixelData = 12, 11, raw.tobytes()


HEADERS = (
    Case(
        "dicom-bits-too-few-signed",
        "stored bits",
        "metal of 2500 HU in signed pixels of 12 bits",
        of(WIDE, put("", METAL, change=_narrow(True))),
    ),
    Case(
        "dicom-bits-too-few-unsigned",
        "stored bits",
        "metal of 3600 HU in unsigned pixels of 12 bits",
        of(truth(DENSE, None, "stored_bits"), put("", DENSE, change=_narrow(False))),
    ),
    Case(
        "dicom-bits-too-few-jpeg-ls",
        "stored bits",
        "metal of 3600 HU, 12 bits said, 16 bits compressed",
        of(
            truth(DENSE, None, "stored_bits"),
            put(
                "",
                DENSE,
                change=both(compressed("1.2.840.10008.1.2.4.80"), _narrow(False)),
                syntax="1.2.840.10008.1.2.4.80",
            ),
        ),
    ),
    *(
        Case(
            f"dicom-bits-too-few-{name}",
            "stored bits",
            f"metal of 3600 HU, 12 bits said, {what}",
            of(truth(DENSE, None, "stored_bits"), step),
        )
        for name, what, step in (
            (
                "rle",
                "compressed by RLE",
                put(
                    "",
                    DENSE,
                    change=both(compressed("1.2.840.10008.1.2.5"), _narrow(False)),
                    syntax="1.2.840.10008.1.2.5",
                ),
            ),
            (
                "big-endian",
                "big endian",
                put("", DENSE, change=both(_narrow(False), big_endian), syntax=ExplicitVRBigEndian),
            ),
            (
                "32-bits",
                "in 32 bits",
                put("", DENSE, change=stored_as("<u4", bits=12)),
            ),
            (
                "enhanced",
                "in one object of many frames",
                enhanced(
                    scan=DENSE,
                    per_frame=False,
                    change=lambda ds: setting(BitsStored=12, HighBit=11)(ds, 0),
                ),
            ),
        )
    ),
    Case(
        "dicom-bits-too-few-one-voxel",
        "stored bits",
        "one voxel of 2500 HU in signed pixels of 12 bits",
        of(truth(SPECK, None, "stored_bits"), put("", SPECK, change=_narrow(True))),
    ),
    Case(
        "dicom-bits-too-few-padding",
        "stored bits",
        "metal and a padding of -3024 in signed pixels of 12 bits",
        of(
            truth(np.maximum(PADDED, np.int16(-1024)), None, "stored_bits"),
            put("", PADDED, change=_narrow(True)),
        ),
    ),
    Case(
        "dicom-bits-marks-above",
        "stored bits",
        "marks in bit 12 over soft tissue",
        of(truth(None, None, "stored_bits"), put(change=_marked)),
    ),
    *(
        Case(
            f"dicom-words-{name}",
            "words for HU",
            f"RescaleType is {word!r}",
            of(RIGHT, put(change=setting(RescaleType=word))),
        )
        for name, word in (
            ("hu", "HU"),
            ("ricord", "Houndsfield Unit"),
            ("capitals", "HOUNSFIELD"),
            ("short", "Hounsfield"),
            ("units", "Hounsfield Units"),
            ("small", "hu"),
            ("misspelt", "HOUSFIELD"),
            ("unspecified", "US"),
            ("unknown", "UNSPECIFIED"),
            ("ct-number", "CT Number"),
            ("points", "H.U."),
            ("joined", "Hounsfield_Units"),
        )
    ),
    *(
        Case(
            f"dicom-words-{name}",
            "words for HU",
            f"RescaleType is {word!r}",
            of(Refusal("NOT_HU"), put(change=setting(RescaleType=word))),
        )
        for name, word in (
            ("density", "OD"),
            ("iodine", "MGML"),
            ("effective-z", "Z_EFF"),
            ("percent", "PCT"),
            ("modified", "HU_MOD"),
        )
    ),
    Case(
        "dicom-words-hu-and-shifted",
        "words for HU",
        "RescaleType is HOUNSFIELD, the values are 1024 too high",
        of(
            Refusal("NOT_HU"),
            put("", SCAN + np.int16(1024), change=setting(RescaleType="HOUNSFIELD")),
        ),
    ),
    Case(
        "dicom-intercepts-in-turn",
        "rescale per slice",
        "intercepts of -1024 and -1000 in turn",
        of(
            RIGHT, put(change=lambda ds, i: stored_as("<i2", intercept=-1024 + 24 * (i % 2))(ds, i))
        ),
    ),
    Case(
        "dicom-intercept-of-one",
        "rescale per slice",
        "one slice has an intercept of its own, and it is right",
        of(RIGHT, put(change=on(5, stored_as("<u2", intercept=-1100)))),
    ),
    Case(
        "dicom-intercepts-in-turn-one-wrong",
        "rescale missing or wrong",
        "intercepts of -1024 and -1000 in turn, one of them is 60 too high",
        of(
            Refusal("NO_RESCALE"),
            put(
                change=both(
                    lambda ds, i: stored_as("<i2", intercept=-1024 + 24 * (i % 2))(ds, i),
                    on(6, setting(RescaleIntercept=-964)),
                )
            ),
        ),
    ),
    *(
        Case(
            f"dicom-contrast-{name}",
            "plain series",
            f"contrast medium is told by {keyword}: flagged",
            of(truth(None, None, "contrast"), put(change=setting(**{keyword: value}))),
        )
        for name, keyword, value in (
            ("series-description", "SeriesDescription", "CHEST W/Contrast 2.0"),
            ("study-description", "StudyDescription", "CT THORAX W/ IV CONTRAST"),
            ("protocol", "ProtocolName", "Thorax mit KM"),
            ("volume", "ContrastBolusVolume", "80"),
            ("route", "ContrastBolusRoute", "IV"),
            ("underscores", "SeriesDescription", "Thorax_KM_venoes"),
            ("italian", "SeriesDescription", "TORACE CON MDC"),
            ("injection", "StudyDescription", "Thorax avec injection"),
        )
    ),
)

CASES: Sequence[Case] = (*ADJOINING, *UIDS, *BESIDE, *STRAYS, *HEADERS)
