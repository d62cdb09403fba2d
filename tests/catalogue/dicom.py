"""Hard DICOM folders."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    JPEG2000,
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    XRayRadiationDoseSRStorage,
)

from covidctnet.io.dicom.objects import series_key
from tests.catalogue import encode
from tests.catalogue.cases import Case, Expected, Refusal, Step, Truth, of, truth
from tests.catalogue.steps import (
    at,
    big_endian,
    both,
    compressed,
    deflated_bomb,
    enhanced,
    file,
    junk_above,
    moved,
    on,
    patched,
    put,
    put_object,
    rotated,
    setting,
    stored,
    turned,
)
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
OTHER = SCAN + np.int16(5)
RIGHT = truth()
# JPEG 2000 wants 32 rows and columns.
LARGE = series.a_scan((12, 40, 36))
LONG = series.a_scan((20, 20, 16))
THIN = series.a_scan((30, 20, 16))
THIN_AFFINE = series.an_affine((1.0, 0.8, 0.7))
CORONAL = np.array([[0, 0, 0.7, 0], [2.5, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1.0]])
SIGNED = stored("<i2", intercept=0)


def _instances(name: str) -> Change:
    """SOP instances of their own."""

    def change(ds: Dataset, index: int) -> None:
        ds.SOPInstanceUID = series.uid(f"{name}/{index}")

    return change


def _each(**values: Callable[[int], object]) -> Change:
    """Attributes that depend on the slice."""

    def change(ds: Dataset, index: int) -> None:
        for name, value in values.items():
            setattr(ds, name, value(index))

    return change


def _pixels(array: np.ndarray, intercept: int = 0) -> Change:
    """Signed pixels that hold these HU."""

    def change(ds: Dataset, index: int) -> None:
        ds.PixelRepresentation = 1
        ds.RescaleIntercept = intercept
        ds.PixelData = (array[index].astype(int) - intercept).astype("<i2").tobytes()

    return change


def _refused(code: str, *harmless: Truth) -> Refusal:
    return Refusal(code, harmless)


def _last(skip: int = 0) -> Truth:
    """What is left when the last slices are not there."""
    return truth(SCAN[: len(SCAN) - skip])


PLAIN = (
    Case("dicom-plain", "plain series", "nothing odd", of(RIGHT, put())),
    Case(
        "dicom-signed",
        "plain series",
        "signed pixels, intercept 0",
        of(RIGHT, put(change=SIGNED)),
    ),
    Case("dicom-32-bits", "plain series", "32 bits a pixel", of(RIGHT, put(change=stored("<i4")))),
    Case(
        "dicom-thick-slices",
        "plain series",
        "slices 8 mm apart: flagged",
        of(
            truth(None, series.an_affine((8.0, 0.8, 0.7)), "thick_slices"),
            put(affine=series.an_affine((8.0, 0.8, 0.7))),
        ),
    ),
    Case(
        "dicom-contrast",
        "plain series",
        "a contrast agent is named: flagged",
        of(truth(None, None, "contrast"), put(change=setting(ContrastBolusAgent="agent"))),
    ),
)

DERIVED = setting(ImageType=["DERIVED", "SECONDARY", "AXIAL"])
SEVERAL = (
    Case(
        "dicom-series-thin-and-thick",
        "several series",
        "thin slices and thick ones of the same chest: the thin ones",
        of(
            truth(THIN, THIN_AFFINE),
            put("thick", series_name="a"),
            put("thin", THIN, series_name="b", affine=THIN_AFFINE),
        ),
    ),
    Case(
        "dicom-series-thin-but-short",
        "several series",
        "a short thin block beside the whole chest: the whole chest",
        of(RIGHT, put("thick"), put("thin", series_name="b", affine=THIN_AFFINE)),
    ),
    Case(
        "dicom-series-original-and-derived",
        "several series",
        "an original and a derived series: the original",
        of(RIGHT, put("a", OTHER, change=DERIVED, series_name="a"), put("b", series_name="b")),
    ),
    Case(
        "dicom-series-axial-and-coronal",
        "several series",
        "an axial and a coronal series: the axial one",
        of(RIGHT, put("a", affine=CORONAL, series_name="a"), put("b", series_name="b")),
    ),
    Case(
        "dicom-series-more-slices",
        "several series",
        "two ranges of the chest: the longer one",
        of(truth(LONG[:14]), put("a", series_name="a"), put("b", LONG[:14], series_name="b")),
    ),
    *(
        Case(
            f"dicom-series-{better}-and-{worse}-kernel",
            "several series",
            f"a {better} and a {worse} kernel: the {better} one",
            of(
                RIGHT,
                put("a", OTHER, change=setting(ConvolutionKernel=bad), series_name="a"),
                put("b", change=setting(ConvolutionKernel=good), series_name="b"),
            ),
        )
        for better, good, worse, bad in (
            ("standard", "B30f", "lung", "B60f"),
            ("standard", "STANDARD", "bone", "BONEPLUS"),
            ("lung", "FC51", "bone", "FC30"),
        )
    ),
    Case(
        "dicom-series-whole-and-broken",
        "several series",
        "a whole series and a thinner one with a gap: the whole one",
        of(
            RIGHT,
            put("a", series_name="a"),
            put("b", THIN, series_name="b", affine=THIN_AFFINE, skip=(9,)),
        ),
    ),
    Case(
        "dicom-series-tie",
        "several series",
        "two series that are equally good",
        of(
            _refused("AMBIGUOUS_SERIES", RIGHT, truth(OTHER)),
            put("a", series_name="a"),
            put("b", OTHER, series_name="b"),
        ),
        policy=True,
    ),
    Case(
        "dicom-series-tie-one-folder",
        "several series",
        "two series that are equally good, files mixed in one folder",
        of(
            _refused("AMBIGUOUS_SERIES", RIGHT, truth(OTHER)),
            put(series_name="a", name="a{:04d}.dcm"),
            put("", OTHER, series_name="b", name="b{:04d}.dcm"),
        ),
        policy=True,
    ),
    Case(
        "dicom-series-tie-chosen",
        "several series",
        "two equal series, the caller chooses by key",
        of(truth(OTHER), put("a", series_name="a"), put("b", OTHER, series_name="b")),
        options={"series": series_key(series.uid("study/b"))},
    ),
    Case(
        "dicom-series-thin-and-thick-one-uid",
        "several series",
        "two reconstructions of other pixel spacing under one series UID",
        of(
            RIGHT,
            put(name="a{:04d}.dcm"),
            put(
                "",
                series.a_scan((6, 20, 16)) + np.int16(9),
                affine=series.an_affine((5.0, 0.9, 0.9)),
                change=_instances("thick"),
                name="b{:04d}.dcm",
            ),
        ),
    ),
    *(
        Case(
            f"dicom-series-{word}-slice-elsewhere",
            "several series",
            f"the {word} slice stands under another series UID{joined}",
            of(
                RIGHT if joined else _refused("SLICE_GAP"),
                put(change=on(which, setting(SeriesInstanceUID=series.uid("elsewhere")))),
            ),
        )
        for word, which, joined in (
            ("middle", 5, ""),
            ("last", 11, ": joined"),
            ("first", 0, ": joined"),
        )
    ),
    *(
        Case(
            f"dicom-frame-of-reference-{word}",
            "several series",
            f"{which} under another frame of reference",
            of(
                _refused("SLICE_GAP"),
                put(change=on(slices, setting(FrameOfReferenceUID=series.uid("elsewhere")))),
            ),
        )
        for word, which, slices in (
            ("middle", "a middle slice", (5,)),
            ("last", "the last slice", (11,)),
            ("block", "the last three slices", (9, 10, 11)),
        )
    ),
)

LOCALIZER = setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
SCOUT_AFFINE = np.array([[0, 0, 0.7, -40], [-2.5, 0, 0, 0], [0, -0.8, 0, 20], [0, 0, 0, 1.0]])
LOCALIZERS = (
    Case(
        "dicom-localizer-own-series",
        "localizers",
        "a localizer in a series of its own",
        of(
            RIGHT,
            put("a"),
            put("b", SCAN[:1], change=LOCALIZER, affine=SCOUT_AFFINE, series_name="b"),
        ),
    ),
    Case(
        "dicom-localizer-own-series-one-folder",
        "localizers",
        "two localizers in a series of their own, files mixed in one folder",
        of(
            RIGHT,
            put(),
            put(
                "",
                SCAN[:2],
                change=LOCALIZER,
                affine=SCOUT_AFFINE,
                series_name="b",
                name="scout{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-localizer-same-series",
        "localizers",
        "a localizer under the series UID of the scan",
        of(
            RIGHT,
            put(),
            put(
                "",
                SCAN[:1],
                change=both(LOCALIZER, _instances("scout")),
                affine=SCOUT_AFFINE,
                name="scout{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-localizer-untold",
        "localizers",
        "a localizer under the series UID of the scan that calls itself axial",
        of(
            RIGHT,
            put(),
            put(
                "",
                SCAN[:1],
                change=_instances("scout"),
                affine=SCOUT_AFFINE,
                name="scout{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-localizer-axial",
        "localizers",
        "a localizer parallel to the slices, between two of them",
        of(
            RIGHT,
            put(),
            put(
                "",
                SCAN[:1],
                change=both(LOCALIZER, _instances("scout"), moved(lambda i: (0, 0, 11.0))),
                name="scout{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-localizer-alone",
        "localizers",
        "localizers and nothing else",
        of(_refused("NOT_CT"), put("", SCAN[:2], change=LOCALIZER, affine=SCOUT_AFFINE)),
    ),
)

PICTURE = setting(
    SOPClassUID=SecondaryCaptureImageStorage,
    Modality="OT",
    ImagePositionPatient=None,
    ImageOrientationPatient=None,
    PixelSpacing=None,
    RescaleSlope=None,
    RescaleIntercept=None,
)
NO_IMAGE = setting(
    PixelData=None,
    Rows=None,
    Columns=None,
    ImagePositionPatient=None,
    ImageOrientationPatient=None,
    PixelSpacing=None,
    RescaleSlope=None,
    RescaleIntercept=None,
)
BESIDE: tuple[tuple[str, str, Change], ...] = (
    ("secondary-capture", "a secondary capture", PICTURE),
    (
        "dose-report",
        "a dose report",
        both(NO_IMAGE, setting(SOPClassUID=XRayRadiationDoseSRStorage, Modality="SR")),
    ),
    (
        "structured-report",
        "a structured report",
        both(NO_IMAGE, setting(SOPClassUID=BasicTextSRStorage, Modality="SR")),
    ),
    (
        "presentation-state",
        "a presentation state",
        both(
            NO_IMAGE, setting(SOPClassUID=GrayscaleSoftcopyPresentationStateStorage, Modality="PR")
        ),
    ),
    (
        "pdf",
        "an encapsulated PDF",
        both(
            NO_IMAGE,
            setting(
                SOPClassUID=EncapsulatedPDFStorage,
                Modality="DOC",
                EncapsulatedDocument=b"%PDF-1.4",
            ),
        ),
    ),
    ("segmentation", "a segmentation", setting(SOPClassUID=SegmentationStorage, Modality="SEG")),
    (
        "dose-picture",
        "a dose screen in CT storage",
        setting(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
    ),
    ("projection", "a maximum projection", setting(ImageType=["DERIVED", "SECONDARY", "MIP"])),
)
OBJECTS = (
    *(
        Case(
            f"dicom-beside-{name}",
            "other objects",
            f"{what} beside the scan",
            of(RIGHT, put(), put_object("other.dcm", change)),
        )
        for name, what, change in BESIDE
    ),
    Case(
        "dicom-beside-pet",
        "other objects",
        "PET slices of the same grid beside the scan",
        of(
            RIGHT,
            put(),
            put(
                "",
                OTHER,
                change=setting(SOPClassUID=PositronEmissionTomographyImageStorage, Modality="PT"),
                series_name="pet",
                name="pet{}.dcm",
            ),
        ),
    ),
    *(
        Case(
            f"dicom-only-{name}",
            "other objects",
            f"{what} and nothing else",
            of(_refused("NOT_CT"), put(change=change)),
        )
        for name, what, change in (
            ("mr", "MR slices", setting(SOPClassUID=MRImageStorage, Modality="MR")),
            (
                "pet",
                "PET slices",
                setting(SOPClassUID=PositronEmissionTomographyImageStorage, Modality="PT"),
            ),
            ("secondary-capture", "secondary captures", PICTURE),
            (
                "reports",
                "reports",
                both(NO_IMAGE, setting(SOPClassUID=BasicTextSRStorage, Modality="SR")),
            ),
        )
    ),
)

COPIES = (
    Case(
        "dicom-copies-all",
        "copies",
        "every file twice in two folders",
        of(RIGHT, put("a"), put("b")),
    ),
    Case(
        "dicom-copies-all-one-folder",
        "copies",
        "every file twice in one folder",
        of(RIGHT, put(name="a{:04d}.dcm"), put(name="b{:04d}.dcm")),
    ),
    Case(
        "dicom-copies-one",
        "copies",
        "one slice twice",
        of(RIGHT, put(), put(skip=[k for k in range(12) if k != 5], name="again{}.dcm")),
    ),
    Case(
        "dicom-copies-recoded",
        "copies",
        "every slice twice, one time in another transfer syntax",
        of(
            RIGHT,
            put(name="a{:04d}.dcm"),
            put(name="b{:04d}.dcm", syntax=RLELossless, change=compressed(RLELossless)),
        ),
    ),
    Case(
        "dicom-copies-new-instance",
        "copies",
        "one slice twice, the copy under another instance UID",
        of(
            RIGHT,
            put(),
            put(
                skip=[k for k in range(12) if k != 5],
                change=_instances("copy"),
                name="again{}.dcm",
            ),
        ),
    ),
)


def _second(array: np.ndarray, change: Change) -> tuple[Step, ...]:
    """Another scan at the same places under the same series UID, in one folder."""
    return (
        put(name="a{:04d}.dcm"),
        put("", array, change=both(_instances("second"), change), name="b{:04d}.dcm"),
    )


APART: tuple[tuple[str, str, Change], ...] = (
    ("acquisition-number", "acquisition number", setting(AcquisitionNumber=2)),
    ("acquisition-time", "acquisition time", setting(AcquisitionTime="101112")),
    ("temporal-position", "temporal position", setting(TemporalPositionIdentifier=2)),
    ("trigger-time", "trigger time", setting(TriggerTime=400)),
    ("cardiac-phase", "cardiac phase", setting(NominalPercentageOfCardiacPhase=75)),
    ("tube-voltage", "tube voltage", setting(KVP=140)),
)
OVERLAPS = (
    *(
        Case(
            f"dicom-overlap-{name}",
            "overlapping acquisitions",
            f"two scans of one place under one series UID, told apart by {what}",
            of(_refused("AMBIGUOUS_SERIES", RIGHT, truth(OTHER)), *_second(OTHER, change)),
            policy=True,
        )
        for name, what, change in APART
    ),
    Case(
        "dicom-overlap-three-phases",
        "overlapping acquisitions",
        "three phases under one series UID",
        of(
            _refused("AMBIGUOUS_SERIES", RIGHT, truth(OTHER), truth(SCAN + np.int16(9))),
            *_second(OTHER, setting(TemporalPositionIdentifier=2)),
            put(
                "",
                SCAN + np.int16(9),
                change=both(_instances("third"), setting(TemporalPositionIdentifier=3)),
                name="c{:04d}.dcm",
            ),
        ),
        policy=True,
    ),
    Case(
        "dicom-overlap-untold",
        "overlapping acquisitions",
        "two scans of one place that no header tells apart",
        of(_refused("OVERLAPPING_ACQUISITIONS"), *_second(OTHER, setting())),
    ),
    Case(
        "dicom-overlap-one-slice",
        "overlapping acquisitions",
        "one place has two slices of other pixels",
        of(
            _refused("OVERLAPPING_ACQUISITIONS"),
            put(),
            put(
                "",
                OTHER,
                skip=[k for k in range(12) if k != 5],
                change=_instances("second"),
                name="again{}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-overlap-interleaved",
        "overlapping acquisitions",
        "two acquisitions half a step apart, woven together",
        of(
            _refused(
                "AMBIGUOUS_SERIES",
                RIGHT,
                truth(OTHER, series.an_affine(origin=(-50.0, -60.0, 11.25))),
            ),
            *_second(OTHER, both(setting(AcquisitionNumber=2), moved(lambda i: (0, 0, 1.25)))),
        ),
        policy=True,
    ),
    Case(
        "dicom-acquisitions-stacked",
        "overlapping acquisitions",
        "three acquisitions, each above the other: one scan",
        of(RIGHT, put(change=_each(AcquisitionNumber=lambda i: i // 4))),
    ),
    Case(
        "dicom-acquisition-numbers-differ",
        "overlapping acquisitions",
        "every slice has an acquisition number and time of its own: one scan",
        of(
            RIGHT,
            put(change=_each(AcquisitionNumber=lambda i: i, AcquisitionTime=lambda i: f"1011{i}")),
        ),
    ),
)

BRIDGED = SCAN.copy()
BRIDGED[5:8] = BRIDGED[5]  # so that a straight line over slice 6 meets it
GAPS = (
    *(
        Case(
            f"dicom-gap-{name}",
            "missing slices",
            what,
            of(_refused("SLICE_GAP"), put("", LONG, skip=skip)),
        )
        for name, what, skip in (
            ("one", "a slice is missing", (6,)),
            ("block", "three neighbours are missing", (4, 5, 6)),
            ("two", "two slices are missing, far apart", (4, 13)),
            ("second", "the slice after the first is missing", (1,)),
            ("last-but-one", "the slice before the last is missing", (18,)),
        )
    ),
    Case(
        "dicom-gap-thirty",
        "missing slices",
        "a slice of sixty is missing",
        of(_refused("SLICE_GAP"), put("", series.a_scan((60, 20, 16)), skip=(31,))),
    ),
    Case(
        "dicom-gap-bridged",
        "missing slices",
        "a slice is missing, bridging is asked for",
        of(truth(BRIDGED, None, "gaps_resampled"), put("", BRIDGED, skip=(6,))),
        options={"allow_gaps": True},
    ),
    Case(
        "dicom-every-second-slice",
        "missing slices",
        "every second slice is missing: a whole grid of twice the step",
        of(
            truth(LONG[::2], series.an_affine((5.0, 0.8, 0.7))),
            put("", LONG, skip=range(1, 20, 2)),
        ),
    ),
    Case(
        "dicom-gap-too-wide",
        "missing slices",
        "a gap of 90 m, bridging is asked for",
        of(
            _refused("ABSURD_SIZE"),
            put(change=on(11, moved(lambda i: (0, 0, 90000.0)))),
        ),
        options={"allow_gaps": True},
    ),
    *(
        Case(
            f"dicom-{which}-slices-missing",
            "last slices missing",
            f"the {which} three slices are missing: no geometry shows it, reading is right",
            of(expected, put(skip=skip)),
        )
        for which, skip, expected in (
            ("last", (9, 10, 11), _last(3)),
            (
                "first",
                (0, 1, 2),
                truth(SCAN[3:], series.an_affine(origin=(-50.0, -60.0, 17.5))),
            ),
        )
    ),
)

# Six steps of 2.5 mm, then five of 5 mm; the same at even steps of 2.5 mm.
WIDENING = moved(lambda i: (0, 0, 2.5 * max(0, i - 6)))
EVENED = np.concatenate(
    [
        SCAN[:7].astype(float),
        *(
            np.stack([(SCAN[k - 1].astype(float) + SCAN[k]) / 2, SCAN[k].astype(float)])
            for k in range(7, 12)
        ),
    ]
)
WOBBLE = (0.0, 0.04, -0.03, 0.05, -0.05, 0.02, 0.05, -0.04, 0.01, 0.03, -0.05, 0.0)
UNEVEN = (
    Case(
        "dicom-uneven-alternating",
        "uneven spacing",
        "steps of 2.1 and 2.9 mm in turn",
        of(_refused("UNEVEN_SPACING"), put(change=moved(lambda i: (0, 0, 0.4 * (i % 2))))),
    ),
    Case(
        "dicom-uneven-halves",
        "uneven spacing",
        "steps of 2.5 mm, then of 5 mm",
        of(_refused("UNEVEN_SPACING"), put(change=WIDENING)),
    ),
    Case(
        "dicom-uneven-growing",
        "uneven spacing",
        "steps that grow, each by less than the limit",
        of(
            _refused("UNEVEN_SPACING"),
            put(
                "",
                series.a_scan((60, 20, 16)),
                change=moved(lambda i: (0, 0, 0.1 * max(0, i - 30))),
            ),
        ),
    ),
    Case(
        "dicom-uneven-one-slice",
        "uneven spacing",
        "one slice 0.3 mm from its place",
        of(_refused("UNEVEN_SPACING"), put(change=on(6, moved(lambda i: (0, 0, 0.3))))),
    ),
    Case(
        "dicom-uneven-resampled",
        "uneven spacing",
        "steps of 2.5 mm, then of 5 mm, resampling is asked for",
        of(truth(EVENED, None, "gaps_resampled"), put(change=WIDENING)),
        options={"allow_gaps": True},
    ),
    Case(
        "dicom-uneven-within-limit",
        "uneven spacing",
        "steps that differ by less than 0.1 mm",
        of(RIGHT, put(change=moved(lambda i: (0, 0, 0.7 * WOBBLE[i])))),
    ),
    Case(
        "dicom-uneven-within-share",
        "uneven spacing",
        "steps of 8 mm that differ by less than 5 %",
        of(
            truth(None, series.an_affine((8.0, 0.8, 0.7)), "thick_slices"),
            put(
                affine=series.an_affine((8.0, 0.8, 0.7)),
                change=moved(lambda i: (0, 0, 3 * WOBBLE[i])),
            ),
        ),
    ),
)

SWAPPED = [0, 1, 2, 8, 4, 5, 6, 7, 3, 9, 10, 11]
CARRIED = [0, 1, 8, 2, 3, 4, 5, 6, 7, 9, 10, 11]
SHUFFLED = [3, 0, 7, 1, 2, 11, 4, 6, 5, 10, 9, 8]
ORDER = (
    *(
        Case(
            f"dicom-order-{name}",
            "order",
            f"{what}",
            of(RIGHT, put(change=change, name=files)),
        )
        for name, what, change, files in (
            (
                "instance-numbers-shuffled",
                "instance numbers in an order of their own",
                _each(InstanceNumber=lambda i: SHUFFLED[i]),
                "{:04d}.dcm",
            ),
            (
                "instance-numbers-reversed",
                "instance numbers from head to feet",
                _each(InstanceNumber=lambda i: 12 - i),
                "{:04d}.dcm",
            ),
            (
                "instance-numbers-alike",
                "all of one instance number",
                setting(InstanceNumber=1),
                "{}",
            ),
            ("instance-numbers-missing", "no instance numbers", setting(InstanceNumber=None), "{}"),
            ("names-of-uids", "files named like UIDs", setting(), "1.2.840.{}"),
            ("names-unpadded", "file numbers without leading zeros", setting(), "IM{}"),
        )
    ),
    Case(
        "dicom-order-two-swapped",
        "order",
        "two slices stand at each other's place, as instance numbers in order show",
        of(_refused("NO_GEOMETRY"), put(change=at(SWAPPED))),
    ),
    Case(
        "dicom-order-one-carried-off",
        "order",
        "one slice stands elsewhere in the stack, as instance numbers in order show",
        of(_refused("NO_GEOMETRY"), put(change=at(CARRIED))),
    ),
)

ALONG_Z = (
    *(
        Case(f"dicom-{name}", "spacing along z", what, of(RIGHT, put(change=change)))
        for name, what, change in (
            (
                "thickness-missing",
                "neither SliceThickness nor SpacingBetweenSlices",
                setting(SliceThickness=None, SpacingBetweenSlices=None),
            ),
            ("thickness-thinner", "SliceThickness below the step", setting(SliceThickness=0.5)),
            ("thickness-overlapping", "slices thicker than the step", setting(SliceThickness=5)),
            (
                "thickness-absurd",
                "SliceThickness 99 mm, SpacingBetweenSlices 77 mm",
                setting(SliceThickness=99, SpacingBetweenSlices=77),
            ),
            ("thickness-zero", "SliceThickness is 0", setting(SliceThickness=0)),
            (
                "spacing-between-negative",
                "SpacingBetweenSlices is negative",
                setting(SpacingBetweenSlices=-2.5),
            ),
            (
                "location-reversed",
                "SliceLocation runs against the positions",
                _each(SliceLocation=lambda i: -2.5 * i),
            ),
            (
                "thickness-changes",
                "SliceThickness differs from slice to slice",
                _each(SliceThickness=lambda i: 1 + i % 3),
            ),
        )
    ),
)


def _leaning(degrees: float) -> np.ndarray:
    """An affine whose slices are turned while the table moves along z."""
    affine = rotated(x=degrees)
    affine[:3, 0] = (0, 0, 2.5)
    return affine


UNTILTED = np.full((12, 32, 17), -1024, dtype=np.int16)
for _k in range(12):
    UNTILTED[_k, _k : _k + 20, :16] = SCAN[_k]
TILT = (
    Case(
        "dicom-tilt-17-degrees",
        "gantry tilt",
        "slices stacked at a slant of 17.7 degrees",
        of(_refused("GANTRY_TILT"), put(change=moved(lambda i: (0, 0.8 * i, 0)))),
    ),
    Case(
        "dicom-tilt-sideways",
        "gantry tilt",
        "slices stacked at a slant to the side",
        of(_refused("GANTRY_TILT"), put(change=moved(lambda i: (-0.7 * i, 0, 0)))),
    ),
    Case(
        "dicom-tilt-3-degrees",
        "gantry tilt",
        "a slant of 3 degrees",
        of(_refused("GANTRY_TILT"), put(change=moved(lambda i: (0, 0.131 * i, 0)))),
    ),
    *(
        Case(
            f"dicom-tilt-of-slices-{word}",
            "gantry tilt",
            f"slices turned by {degrees} degrees, stacked along z",
            of(_refused("GANTRY_TILT"), put(affine=_leaning(degrees))),
        )
        for word, degrees in (("forward", 15), ("back", -20))
    ),
    Case(
        "dicom-tilt-untold",
        "gantry tilt",
        "a slant, GantryDetectorTilt says 0",
        of(
            _refused("GANTRY_TILT"),
            put(change=both(moved(lambda i: (0, 0.8 * i, 0)), setting(GantryDetectorTilt=0))),
        ),
    ),
    Case(
        "dicom-tilt-tag-alone",
        "gantry tilt",
        "GantryDetectorTilt says 15 degrees, the slices are straight",
        of(RIGHT, put(change=setting(GantryDetectorTilt=15))),
    ),
    Case(
        "dicom-tilt-undone",
        "gantry tilt",
        "a slant of one row a slice, undoing is asked for",
        of(truth(UNTILTED, None, "untilted"), put(change=moved(lambda i: (0, 0.8 * i, 0)))),
        options={"untilt": True},
    ),
    Case(
        "dicom-tilt-too-steep",
        "gantry tilt",
        "a slant of 500 mm a slice, undoing is asked for",
        of(_refused("ABSURD_SIZE"), put(change=moved(lambda i: (0, 500.0 * i, 0)))),
        options={"untilt": True},
    ),
)


def _text(name: str, old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replace a value by another of the same length, whatever pydicom thinks of it."""
    from pydicom.datadict import tag_for_keyword

    tag = int(tag_for_keyword(name) or 0)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)

    def edit(content: bytes) -> bytes:
        place = content.index(head) + 8
        assert content[place : place + len(old)] == old and len(old) == len(new)
        return content[:place] + new + content[place + len(new) :]

    return edit


def _table(ds: Dataset, index: int) -> None:
    """A modality table instead of slope and intercept."""
    del ds.RescaleSlope, ds.RescaleIntercept
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.ModalityLUTType = "HU"
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    ds.ModalityLUTSequence = Items([item])


RESCALE = (
    *(
        Case(
            f"dicom-{word}-missing-{where}",
            "rescale missing or wrong",
            f"no {name} on {'all slices' if slices == range(12) else 'one slice'}",
            of(_refused("NO_RESCALE"), put(change=on(slices, setting(**{name: None})))),
        )
        for word, name in (("slope", "RescaleSlope"), ("intercept", "RescaleIntercept"))
        for where, slices in (("all", range(12)), ("one", (4,)))
    ),
    Case(
        "dicom-rescale-missing-all",
        "rescale missing or wrong",
        "neither slope nor intercept, signed pixels in HU",
        of(
            _refused("NO_RESCALE"),
            put(change=both(SIGNED, setting(RescaleSlope=None, RescaleIntercept=None))),
        ),
    ),
    Case(
        "dicom-rescale-missing-one",
        "rescale missing or wrong",
        "neither slope nor intercept on one slice",
        of(
            _refused("NO_RESCALE"),
            put(change=on(7, setting(RescaleSlope=None, RescaleIntercept=None))),
        ),
    ),
    Case(
        "dicom-slope-0-all",
        "rescale missing or wrong",
        "slope 0 on all slices",
        of(_refused("NO_RESCALE"), put(change=setting(RescaleSlope=0))),
    ),
    Case(
        "dicom-slope-0-one",
        "rescale missing or wrong",
        "slope 0 on one slice",
        of(_refused("NO_RESCALE"), put(change=on(4, setting(RescaleSlope=0)))),
    ),
    *(
        Case(
            f"dicom-{word}-{name}",
            "rescale missing or wrong",
            f"{keyword} is {text!r} on one slice",
            of(
                _refused("CORRUPT_SLICE" if name == "text" else "NO_RESCALE"),
                put(change=setting(RescaleSlope="1.00", RescaleIntercept="-1024.")),
                patched(_text(keyword, old, new), 4),
            ),
        )
        for word, keyword, old in (
            ("slope", "RescaleSlope", b"1.00"),
            ("intercept", "RescaleIntercept", b"-1024."),
        )
        for name, text, new in (
            ("nan", "nan", b"nan".ljust(len(old))),
            ("infinite", "inf", b"inf".ljust(len(old))),
            ("text", "abc", b"abc".ljust(len(old))),
            ("empty", "", b" " * len(old)),
        )
    ),
    Case(
        "dicom-modality-table",
        "rescale missing or wrong",
        "a table of values instead of slope and intercept",
        of(_refused("NO_RESCALE"), put(change=_table)),
    ),
    Case(
        "dicom-intercept-of-another-scan",
        "rescale missing or wrong",
        "one slice's intercept is 0, its pixels are like its neighbours'",
        of(_refused("NO_RESCALE"), put(change=on(5, setting(RescaleIntercept=0)))),
    ),
    Case(
        "dicom-slope-of-another-scan",
        "rescale missing or wrong",
        "one slice's slope is 2, its pixels are like its neighbours'",
        of(_refused("NO_RESCALE"), put(change=on(5, setting(RescaleSlope=2)))),
    ),
)


def _mixed(ds: Dataset, index: int) -> None:
    if index % 3 == 0:
        stored("<i2", intercept=0)(ds, index)
    elif index % 3 == 1:
        stored("<i2", intercept=-1000)(ds, index)


def _negative(ds: Dataset, index: int) -> None:
    raw = 3000 - (SCAN[index].astype(int) + 1024)
    ds.RescaleSlope, ds.RescaleIntercept = -1, 1976
    ds.PixelData = raw.astype("<u2").tobytes()


FRACTIONS = ((SCAN + 1024) * 0.75 - 900.25).astype(np.float32)
EVEN = (SCAN // 2 * 2).astype(np.int16)
PER_SLICE = (
    Case(
        "dicom-intercept-per-slice",
        "rescale per slice",
        "every slice has an intercept of its own",
        of(
            RIGHT,
            put(change=lambda ds, i: stored("<u2", intercept=-1024 - 10 * i)(ds, i)),
        ),
    ),
    Case(
        "dicom-slope-per-slice",
        "rescale per slice",
        "slopes 1 and 2 in turn",
        of(
            truth(EVEN),
            put("", EVEN, change=lambda ds, i: stored("<u2", slope=1 + i % 2)(ds, i)),
        ),
    ),
    Case(
        "dicom-signed-and-unsigned",
        "rescale per slice",
        "signed and unsigned slices in turn",
        of(RIGHT, put(change=_mixed)),
    ),
    Case(
        "dicom-slope-fraction",
        "rescale per slice",
        "slope 0.75, intercept -900.25",
        of(
            truth(FRACTIONS),
            put(change=setting(RescaleSlope="0.75", RescaleIntercept="-900.25")),
        ),
    ),
    Case(
        "dicom-slope-negative",
        "rescale per slice",
        "slope -1: stored values fall as HU rise",
        of(RIGHT, put(change=_negative)),
    ),
    Case(
        "dicom-rescale-exponent",
        "rescale per slice",
        "slope 1.0E+00, intercept -1.024E3",
        of(RIGHT, put(change=setting(RescaleSlope="1.0E+00", RescaleIntercept="-1.024E3"))),
    ),
)


def _padded(value: int) -> np.ndarray:
    scan = SCAN.copy()
    scan[:, :, -2:] = value
    return scan


def _padding(value: int, limit: int | None = None, vr: str = "SS") -> Change:
    """Declare a padding value, or a range of them."""

    def change(ds: Dataset, index: int) -> None:
        ds.add_new("PixelPaddingValue", vr, value)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", vr, limit)

    return change


def _unsigned_padding(ds: Dataset, index: int) -> None:
    raw = SCAN[index].astype(int) + 1024
    raw[:, -2:] = 63536
    ds.PixelData = raw.astype("<u2").tobytes()


RANGED = _padded(-2000)
RANGED[:, :, -1] = -1300
AIR_PADDED = truth(_padded(-1024))
PADDING = (
    *(
        Case(
            f"dicom-padding-{-value}-{word}",
            "padding",
            f"padding of {value}, {word}",
            of(AIR_PADDED, put(change=both(_pixels(_padded(value)), declare))),
        )
        for value in (-2000, -3024)
        for word, declare in (("declared", _padding(value)), ("untold", setting()))
    ),
    Case(
        "dicom-padding-unsigned",
        "padding",
        "declared padding of 63536 in unsigned pixels",
        of(AIR_PADDED, put(change=both(_unsigned_padding, _padding(63536, vr="US")))),
    ),
    Case(
        "dicom-padding-range",
        "padding",
        "a declared range of padding, from -2000 to -1200",
        of(AIR_PADDED, put(change=both(_pixels(RANGED), _padding(-2000, -1200)))),
    ),
    Case(
        "dicom-padding-high",
        "padding",
        "declared padding above every tissue, 4000",
        of(AIR_PADDED, put(change=both(_pixels(_padded(4000)), _padding(4000)))),
    ),
    Case(
        "dicom-padding-amid-tissue",
        "padding",
        "a declared padding value that is soft tissue and that no corner shows",
        of(RIGHT, put(change=_padding(1024 + 40, vr="US"))),
    ),
)

BITS = (
    Case(
        "dicom-monochrome-1",
        "monochrome 1",
        "MONOCHROME1: a matter of display, not of HU",
        of(RIGHT, put(change=setting(PhotometricInterpretation="MONOCHROME1"))),
    ),
    Case(
        "dicom-monochrome-1-signed",
        "monochrome 1",
        "MONOCHROME1, signed, with a window and an inverse shape",
        of(
            RIGHT,
            put(
                change=both(
                    SIGNED,
                    setting(
                        PhotometricInterpretation="MONOCHROME1",
                        PresentationLUTShape="INVERSE",
                        WindowCenter=40,
                        WindowWidth=400,
                    ),
                )
            ),
        ),
    ),
    Case(
        "dicom-12-bits",
        "stored bits",
        "12 of 16 bits, zeros above",
        of(RIGHT, put(change=stored("<u2", bits=12))),
    ),
    Case(
        "dicom-12-bits-junk",
        "stored bits",
        "12 of 16 bits, unsigned, other things above",
        of(RIGHT, put(change=junk_above())),
    ),
    Case(
        "dicom-12-bits-junk-signed",
        "stored bits",
        "12 of 16 bits, signed, other things above",
        of(RIGHT, put(change=junk_above(signed=True))),
    ),
    Case(
        "dicom-12-bits-signed-unextended",
        "stored bits",
        "12 of 16 bits, signed, zeros above the sign",
        of(RIGHT, put(change=junk_above(signed=True, zeros=True))),
    ),
    Case(
        "dicom-12-bits-shifted",
        "stored bits",
        "12 of 16 bits up to bit 15",
        of(RIGHT, put(change=junk_above(shift=4))),
    ),
    Case(
        "dicom-12-bits-shifted-signed",
        "stored bits",
        "12 of 16 bits up to bit 14, signed",
        of(RIGHT, put(change=junk_above(signed=True, shift=3))),
    ),
)


def _colour(ds: Dataset, index: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "RGB"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PlanarConfiguration = 7, 0
    grey = np.clip((SCAN[index].astype(int) + 1024) // 5, 0, 255).astype(np.uint8)
    ds.PixelData = np.repeat(grey[:, :, None], 3, axis=2).tobytes()


def _grey(ds: Dataset, index: int) -> None:
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    grey = np.clip((SCAN[index].astype(int) + 1024) // 5, 0, 255).astype(np.uint8)
    ds.PixelData = grey.tobytes()


def _palette(ds: Dataset, index: int) -> None:
    _grey(ds, index)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        table = (np.arange(256, dtype="<u2") * 257).tobytes()
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", table)


def _grey_jpeg(ds: Dataset, index: int) -> None:
    _grey(ds, index)
    array = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns)
    stream = encode.jpeg_lossy(array, 8)
    ds.PixelData = encode.fragmented(stream + bytes(len(stream) % 2))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def _grey_in_16(ds: Dataset, index: int) -> None:
    grey = np.clip((SCAN[index].astype(int) + 1024) // 5, 0, 255)
    ds.RescaleIntercept, ds.BitsStored, ds.HighBit = 0, 8, 7
    ds.PixelData = grey.astype("<u2").tobytes()


PICTURES = (
    *(
        Case(
            f"dicom-{name}",
            "colour and pictures",
            what,
            of(_refused("NOT_HU"), put(change=change, syntax=syntax)),
        )
        for name, what, change, syntax in (
            ("rgb", "RGB in CT storage", _colour, ExplicitVRLittleEndian),
            ("palette", "a palette of colours in CT storage", _palette, ExplicitVRLittleEndian),
            ("8-bits", "8-bit screenshots in CT storage", _grey, ExplicitVRLittleEndian),
            ("8-bits-jpeg", "8-bit screenshots as JPEG", _grey_jpeg, JPEGBaseline8Bit),
            ("8-of-16-bits", "8 of 16 bits stored", _grey_in_16, ExplicitVRLittleEndian),
        )
    ),
    *(
        Case(
            f"dicom-{name}-slice",
            "colour and pictures",
            what,
            of(_refused("SLICE_GAP"), put(change=on(which, change))),
        )
        for name, what, change, which in (
            ("rgb-middle", "a middle slice is RGB", _colour, 6),
            ("rgb-last", "the last slice is RGB", _colour, 11),
            ("8-bits-middle", "a middle slice has 8 bits", _grey, 6),
            ("8-bits-last", "the last slice has 8 bits", _grey, 11),
            ("8-bits-first", "the first slice has 8 bits", _grey, 0),
        )
    ),
)


def _phase(item: Dataset, number: int) -> None:
    """Two frames at every place."""
    place = series.an_affine() @ [number // 2, 0, 0, 1]
    item.PlanePositionSequence[0].ImagePositionPatient = [float(x) for x in place[:3]]


def _told_phase(item: Dataset, number: int) -> None:
    _phase(item, number)
    item.FrameContentSequence[0].TemporalPositionIndex = 1 + number % 2


def _placeless(item: Dataset, number: int) -> None:
    if number == 4:
        del item.PlanePositionSequence


def _halves(folder: Path) -> Expected:
    """One scan in two multi-frame objects of one series."""
    enhanced(range(6), name="a.dcm", instance="a")(folder)
    enhanced(range(6, 12), name="b.dcm", instance="b")(folder)
    return RIGHT


def _rle_frames(ds: Dataset) -> None:
    frames = np.frombuffer(ds.PixelData, "<u2").reshape(-1, ds.Rows, ds.Columns)
    ds.PixelData = encapsulate([encode.rle(frame) for frame in frames])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


TWICE = np.repeat(SCAN, 2, axis=0)
TWICE[1::2] += np.int16(5)
ENHANCED = (
    Case(
        "dicom-enhanced",
        "enhanced CT",
        "a multi-frame CT, rescale shared",
        of(RIGHT, enhanced(per_frame=False)),
    ),
    Case(
        "dicom-enhanced-per-frame",
        "enhanced CT",
        "an intercept of its own for every frame",
        of(RIGHT, enhanced()),
    ),
    Case(
        "dicom-enhanced-shuffled",
        "enhanced CT",
        "frames in no order, an intercept of its own for every frame",
        of(RIGHT, enhanced(SHUFFLED)),
    ),
    Case(
        "dicom-enhanced-reversed",
        "enhanced CT",
        "frames from head to feet, rescale shared",
        of(RIGHT, enhanced(range(11, -1, -1), per_frame=False)),
    ),
    Case(
        "dicom-enhanced-legacy",
        "enhanced CT",
        "a legacy converted multi-frame CT",
        of(
            RIGHT,
            enhanced(
                SHUFFLED,
                change=lambda ds: setattr(ds, "SOPClassUID", LegacyConvertedEnhancedCTImageStorage),
            ),
        ),
    ),
    Case(
        "dicom-enhanced-rle",
        "enhanced CT",
        "frames compressed one by one",
        of(RIGHT, enhanced(SHUFFLED, change=_rle_frames, syntax=RLELossless)),
    ),
    Case(
        "dicom-enhanced-two-objects",
        "enhanced CT",
        "one scan in two multi-frame objects of one series",
        _halves,
    ),
    Case(
        "dicom-enhanced-gap",
        "enhanced CT",
        "a frame is missing",
        of(_refused("SLICE_GAP"), enhanced([k for k in range(12) if k != 5])),
    ),
    Case(
        "dicom-enhanced-no-rescale",
        "enhanced CT",
        "no rescale, neither shared nor per frame",
        of(_refused("NO_RESCALE"), enhanced(rescale=False, per_frame=False)),
    ),
    Case(
        "dicom-enhanced-frames-untold",
        "enhanced CT",
        "more frames claimed than described",
        of(
            _refused("CORRUPT_SLICE"),
            enhanced(change=lambda ds: setattr(ds, "NumberOfFrames", 13)),
        ),
    ),
    Case(
        "dicom-enhanced-pixels-short",
        "enhanced CT",
        "the pixels of the last frame are missing",
        of(
            _refused("CORRUPT_SLICE"),
            enhanced(change=lambda ds: setattr(ds, "PixelData", ds.PixelData[:-640])),
        ),
    ),
    Case(
        "dicom-enhanced-position-missing",
        "enhanced CT",
        "one frame says no position",
        of(_refused("NO_GEOMETRY"), enhanced(frame=_placeless)),
    ),
    Case(
        "dicom-enhanced-two-phases",
        "enhanced CT",
        "two phases in one object, told apart by temporal position",
        of(
            _refused("AMBIGUOUS_SERIES", RIGHT, truth(OTHER)),
            enhanced(range(24), scan=TWICE, per_frame=False, frame=_told_phase),
        ),
        policy=True,
    ),
    Case(
        "dicom-enhanced-overlap-untold",
        "enhanced CT",
        "two phases in one object that nothing tells apart",
        of(
            _refused("OVERLAPPING_ACQUISITIONS"),
            enhanced(range(24), scan=TWICE, per_frame=False, frame=_phase),
        ),
    ),
)


def _syntax(name: str, syntax: str, what: str, *flags: str, loss: float = 0) -> tuple[Case, ...]:
    """Unsigned and signed pixels in a compressed syntax."""
    return tuple(
        Case(
            f"dicom-{name}-{word}",
            "transfer syntaxes",
            f"{what}, {word}",
            of(
                truth(LARGE, None, *flags, loss=loss),
                put("", LARGE, change=both(change, compressed(syntax)), syntax=syntax),
            ),
        )
        for word, change in (("unsigned", setting()), ("signed", SIGNED))
    )


def _recode(folder: Path) -> None:
    """Every other slice in RLE."""
    put(
        change=on(range(0, 12, 2), compressed(RLELossless)),
        skip=range(1, 12, 2),
        syntax=RLELossless,
    )(folder)
    put(skip=range(0, 12, 2))(folder)


def _other_syntax(new: bytes) -> Callable[[bytes], bytes]:
    old = b"1.2.840.10008.1.2.1\0"
    return lambda content: content.replace(old, new.ljust(len(old), b"\0"), 1)


ENCAPSULATED = "1.2.840.10008.1.2.1.98"
SYNTAXES = (
    *(
        Case(
            f"dicom-{name}-{word}",
            "transfer syntaxes",
            f"{what}, {word}",
            of(RIGHT, put(change=both(change, swap), syntax=syntax)),
        )
        for name, what, syntax, swap in (
            ("implicit", "implicit little endian", ImplicitVRLittleEndian, setting()),
            ("big-endian", "explicit big endian", ExplicitVRBigEndian, big_endian),
            ("deflated", "deflated", DeflatedExplicitVRLittleEndian, setting()),
        )
        for word, change in (("unsigned", setting()), ("signed", SIGNED))
    ),
    *_syntax("rle", RLELossless, "RLE"),
    *_syntax("jpeg-lossless-57", JPEGLossless, "lossless JPEG, predictor 7"),
    *_syntax("jpeg-lossless-70", JPEGLosslessSV1, "lossless JPEG, predictor 1"),
    *_syntax("jpeg-ls", JPEGLSLossless, "JPEG-LS"),
    *_syntax("jpeg-2000", JPEG2000Lossless, "JPEG 2000 without loss"),
    *_syntax("htj2k", HTJ2KLossless, "high-throughput JPEG 2000 without loss"),
    *_syntax("htj2k-rpcl", HTJ2KLosslessRPCL, "the same in the order of resolutions"),
    *_syntax("encapsulated", ENCAPSULATED, "uncompressed in fragments"),
    Case(
        "dicom-jpeg-ls-lossy",
        "transfer syntaxes",
        "JPEG-LS off by one at most: flagged",
        of(
            truth(LARGE, None, "lossy", loss=1),
            put("", LARGE, change=compressed(JPEGLSNearLossless), syntax=JPEGLSNearLossless),
        ),
    ),
    Case(
        "dicom-jpeg-2000-lossy",
        "transfer syntaxes",
        "JPEG 2000 with loss: flagged",
        of(
            truth(LARGE, None, "lossy", loss=25),
            put("", LARGE, change=compressed(JPEG2000), syntax=JPEG2000),
        ),
    ),
    Case(
        "dicom-jpeg-12-bits-lossy",
        "transfer syntaxes",
        "12-bit JPEG with loss: flagged",
        of(
            truth(LARGE, None, "lossy", loss=2),
            put(
                "",
                LARGE,
                change=both(stored("<u2", bits=12), compressed(JPEGExtended12Bit)),
                syntax=JPEGExtended12Bit,
            ),
        ),
    ),
    Case(
        "dicom-lossy-before",
        "transfer syntaxes",
        "uncompressed, once compressed with loss as the header says: flagged",
        of(truth(None, None, "lossy"), put(change=setting(LossyImageCompression="01"))),
    ),
    Case(
        "dicom-syntaxes-mixed",
        "transfer syntaxes",
        "uncompressed and RLE slices in turn",
        of(RIGHT, _recode),
    ),
    Case(
        "dicom-fragments",
        "transfer syntaxes",
        "every frame in three fragments",
        of(
            truth(LARGE),
            put("", LARGE, change=compressed(JPEGLSLossless, 3), syntax=JPEGLSLossless),
        ),
    ),
    Case(
        "dicom-syntax-unknown",
        "transfer syntaxes",
        "a transfer syntax that nobody knows",
        of(_refused("UNSUPPORTED_SYNTAX"), put(), patched(_other_syntax(b"1.2.840.99999.1.2.1"))),
    ),
    Case(
        "dicom-syntax-of-video",
        "transfer syntaxes",
        "the header claims a film",
        of(
            _refused("UNSUPPORTED_SYNTAX"),
            put(
                syntax="1.2.840.10008.1.2.4.102",
                change=compressed(RLELossless),
            ),
        ),
    ),
)


def _without_preamble(content: bytes) -> bytes:
    return content[132:]


def _without_meta(content: bytes) -> bytes:
    return content[content.index(b"\x08\x00\x08\x00") :]


PREAMBLE = (
    Case(
        "dicom-no-preamble",
        "no preamble",
        "neither preamble nor prefix",
        of(RIGHT, put(), patched(_without_preamble)),
    ),
    Case(
        "dicom-no-meta",
        "no preamble",
        "neither preamble nor meta group, explicit",
        of(RIGHT, put(), patched(_without_meta)),
    ),
    Case(
        "dicom-no-meta-implicit",
        "no preamble",
        "neither preamble nor meta group, implicit",
        of(RIGHT, put(syntax=ImplicitVRLittleEndian), patched(_without_meta)),
    ),
    Case(
        "dicom-preamble-of-tiff",
        "no preamble",
        "the preamble is the start of a TIFF",
        of(RIGHT, put(), patched(lambda content: b"II*\0\x08\0\0\0" + content[8:])),
    ),
    Case(
        "dicom-no-preamble-one",
        "no preamble",
        "one slice without preamble",
        of(RIGHT, put(), patched(_without_preamble, 5)),
    ),
)

NOISE = bytes((i * 7919) % 251 for i in range(5000))
JUNK: tuple[tuple[str, str, Step], ...] = (
    ("ds-store", "a .DS_Store", file(".DS_Store", bytes(500))),
    ("thumbs-db", "a Thumbs.db", file("Thumbs.db", bytes(range(256)))),
    ("jpeg", "a JPEG", file("picture.jpg", b"\xff\xd8\xff\xe0" + NOISE)),
    ("text", "a text", file("readme.txt", b"Slices from feet to head.")),
    ("pdf", "a PDF called .dcm", file("report.dcm", b"%PDF-1.4" + NOISE)),
    ("random", "random bytes", file("random.bin", NOISE)),
    ("empty", "an empty file of another kind", file("nothing.txt", b"")),
    ("resource-fork", "a resource fork", file("._0007.dcm", b"\x00\x05\x16\x07" + bytes(200))),
    (
        "dicomdir",
        "a DICOMDIR",
        put_object("DICOMDIR", setting(SOPClassUID=MediaStorageDirectoryStorage, PixelData=None)),
    ),
)
JUNKS = (
    *(
        Case(
            f"dicom-junk-{name}", "junk beside", f"{what} beside the slices", of(RIGHT, put(), step)
        )
        for name, what, step in JUNK
    ),
    Case(
        "dicom-junk-all",
        "junk beside",
        "all kinds of junk at once",
        of(RIGHT, put(), *(step for _, _, step in JUNK)),
    ),
    Case(
        "dicom-junk-alone",
        "junk beside",
        "junk and nothing else",
        of(_refused("NOT_CT"), *(step for _, _, step in JUNK)),
    ),
    Case("dicom-nothing", "junk beside", "an empty folder", of(_refused("NOT_CT"))),
)


def _cut_stream(ds: Dataset, index: int) -> None:
    """Half of the compressed stream of a frame."""
    stream = ds.PixelData[16:-8]
    ds.PixelData = encapsulate([stream[: len(stream) // 4 * 2]])
    ds["PixelData"].is_undefined_length = True


def _damaged(name: str, what: str, edit: Callable[[bytes], bytes], index: int | None = 5) -> Case:
    return Case(
        f"dicom-damaged-{name}",
        "damaged files",
        what,
        of(_refused("CORRUPT_SLICE"), put(), patched(edit, index)),
    )


DAMAGED = (
    _damaged("empty", "a slice's file is empty", lambda content: b""),
    _damaged("empty-last", "the last slice's file is empty", lambda content: b"", 11),
    _damaged("preamble-alone", "a file ends behind its prefix", lambda content: content[:132]),
    _damaged("meta-alone", "a file ends behind its meta group", lambda content: content[:300]),
    _damaged("meta-cut-last", "the last file ends amid its meta group", lambda c: c[:180], 11),
    _damaged("header-cut-early", "a file ends before it says its study", lambda c: c[:420]),
    _damaged("header-cut-in-uid", "a file ends amid its study UID", lambda c: c[:600]),
    _damaged("header-cut-late", "a file ends behind its UIDs", lambda c: c[:800]),
    _damaged("pixels-cut", "a file ends amid its pixels", lambda content: content[:-200]),
    _damaged("pixels-cut-last", "the last file ends amid its pixels", lambda c: c[:-2], 11),
    _damaged("pixels-cut-all", "all files end amid their pixels", lambda c: c[:-64], None),
    _damaged(
        "pixels-gone",
        "a file ends before its pixels",
        lambda content: content[: content.index(b"\xe0\x7f\x10\x00")],
    ),
    _damaged("zeros", "a slice's file is all zeros", lambda content: bytes(len(content))),
    _damaged("noise", "a slice's file is noise", lambda content: NOISE),
    Case(
        "dicom-damaged-no-suffix-last",
        "damaged files",
        "the last file, named without a suffix, is empty",
        of(_refused("CORRUPT_SLICE"), put(name="IM{:04d}"), patched(lambda c: b"", 11, "IM{:04d}")),
    ),
    *(
        Case(
            f"dicom-damaged-{name}",
            "damaged files",
            what,
            of(_refused("CORRUPT_SLICE"), put(change=change)),
        )
        for name, what, change in (
            ("no-pixels", "a slice without pixel data", on(3, setting(PixelData=None))),
            ("pixels-short", "a slice with too few pixels", on(3, setting(PixelData=bytes(100)))),
            ("pixels-empty", "a slice with empty pixel data", on(3, setting(PixelData=b""))),
            ("rows-wrong", "Rows one less than the pixels", setting(Rows=19)),
            ("rows-zero", "Rows of one slice is 0", on(4, setting(Rows=0))),
            ("bits-impossible", "20 of 16 bits stored", setting(BitsStored=20, HighBit=19)),
        )
    ),
    *(
        Case(
            f"dicom-damaged-{name}-cut",
            "damaged files",
            f"a {what} frame is cut short",
            of(
                _refused("CORRUPT_SLICE"),
                put(
                    "",
                    LARGE,
                    change=both(compressed(syntax), on(4, _cut_stream)),
                    syntax=syntax,
                ),
            ),
        )
        for name, what, syntax in (
            ("rle", "RLE", RLELossless),
            ("jpeg", "lossless JPEG", JPEGLosslessSV1),
            ("jpeg-ls", "JPEG-LS", JPEGLSLossless),
            ("jpeg-2000", "JPEG 2000", JPEG2000Lossless),
        )
    ),
    Case(
        "dicom-damaged-jpeg-2000-tiles",
        "damaged files",
        "a JPEG 2000 frame of another size than the header says",
        of(
            _refused("CORRUPT_SLICE"),
            put(
                "",
                LARGE,
                change=both(compressed(JPEG2000Lossless), setting(Rows=36, Columns=40)),
                syntax=JPEG2000Lossless,
            ),
        ),
    ),
    Case(
        "dicom-damaged-deflated-cut",
        "damaged files",
        "a deflated data set is cut short",
        of(
            _refused("CORRUPT_SLICE"),
            put(syntax=DeflatedExplicitVRLittleEndian),
            patched(lambda content: content[:-40], 5),
        ),
    ),
    Case(
        "dicom-stray-bytes",
        "damaged files",
        "two stray bytes behind the pixels: harmless",
        of(RIGHT, put(change=lambda ds, i: setattr(ds, "PixelData", ds.PixelData + b"\0\0"))),
    ),
)


def _half_matrix(ds: Dataset, index: int) -> None:
    ds.Rows, ds.PixelData = ds.Rows // 2, ds.PixelData[: len(ds.PixelData) // 2]


def _transposed(ds: Dataset, index: int) -> None:
    pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    ds.Rows, ds.Columns = ds.Columns, ds.Rows
    ds.PixelData = np.ascontiguousarray(pixels.T).tobytes()


MIXED_FORMATS = (
    *(
        Case(
            f"dicom-{name}",
            "mixed formats",
            what,
            of(_refused("SLICE_GAP"), put("", scan, change=c)),
        )
        for name, what, scan, c in (
            ("matrix-middle", "a middle slice has another matrix", SCAN, on(5, _half_matrix)),
            ("matrix-last", "the last slice has another matrix", SCAN, on(11, _half_matrix)),
            ("matrix-first", "the first slice has another matrix", SCAN, on(0, _half_matrix)),
            ("matrix-turned", "a middle slice has rows for columns", SCAN, on(5, _transposed)),
            (
                "matrix-untrue",
                "a middle slice claims twice the rows that it has",
                SCAN,
                on(5, setting(Rows=40)),
            ),
            (
                "matrix-upper",
                "the upper slices have another matrix",
                LONG,
                on(range(8, 20), _half_matrix),
            ),
            (
                "spacing-middle",
                "a middle slice has another pixel spacing",
                SCAN,
                on(5, setting(PixelSpacing=[0.9, 0.7])),
            ),
            (
                "spacing-last",
                "the last slice has another pixel spacing",
                SCAN,
                on(11, setting(PixelSpacing=[0.8, 0.8])),
            ),
            (
                "spacing-upper",
                "the upper slices have another pixel spacing",
                LONG,
                on(range(8, 20), setting(PixelSpacing=[0.9, 0.8])),
            ),
            (
                "orientation-one",
                "a middle slice is turned by 3 degrees",
                SCAN,
                on(
                    5,
                    setting(ImageOrientationPatient=[0.99863, 0.052336, 0, -0.052336, 0.99863, 0]),
                ),
            ),
        )
    ),
    Case(
        "dicom-matrix-half",
        "mixed formats",
        "the upper half has another matrix: two halves that are equally good",
        of(_refused("SLICE_GAP"), put("", LONG, change=on(range(10, 20), _half_matrix))),
    ),
)

LOST: tuple[tuple[str, str, Change], ...] = (
    *(
        (f"{word}-missing-{where}", f"no {name} on {which}", on(slices, setting(**{name: None})))
        for word, name in (
            ("position", "ImagePositionPatient"),
            ("orientation", "ImageOrientationPatient"),
            ("spacing", "PixelSpacing"),
        )
        for where, which, slices in (
            ("all", "all slices", range(12)),
            ("first", "the first slice", (0,)),
            ("one", "a middle slice", (6,)),
        )
    ),
    ("spacing-zero", "PixelSpacing is 0", setting(PixelSpacing=[0, 0])),
    ("spacing-zero-one-way", "PixelSpacing is 0 along the rows", setting(PixelSpacing=[0.8, 0])),
    ("spacing-negative", "PixelSpacing is negative", setting(PixelSpacing=[-0.8, 0.7])),
    ("spacing-single", "PixelSpacing is one number", setting(PixelSpacing=[0.8])),
    (
        "spacing-of-detector",
        "ImagerPixelSpacing instead of PixelSpacing",
        setting(PixelSpacing=None, ImagerPixelSpacing=[0.8, 0.7]),
    ),
    ("position-alike", "all slices at one place", setting(ImagePositionPatient=[0, 0, 0])),
    ("position-of-two", "positions of two numbers", setting(ImagePositionPatient=[0, 0])),
    (
        "position-retired",
        "the retired ImagePosition instead of positions",
        both(
            setting(ImagePositionPatient=None),
            lambda ds, i: ds.add_new(0x00200030, "DS", [0.0, 0.0, 2.5 * i]),
        ),
    ),
    (
        "orientation-parallel",
        "rows run along columns",
        setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    ),
    (
        "orientation-zero",
        "direction cosines are 0",
        setting(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    ),
    (
        "orientation-long",
        "direction cosines of length 2",
        setting(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]),
    ),
    (
        "orientation-oblique-axes",
        "rows and columns 80 degrees apart",
        setting(ImageOrientationPatient=[1, 0, 0, 0.173648, 0.984808, 0]),
    ),
    ("in-plane-one", "one slice 0.3 mm aside", on(6, moved(lambda i: (0.3, 0, 0)))),
    ("in-plane-one-far", "one slice 9 mm aside", on(6, moved(lambda i: (0, 9, 0)))),
    ("in-plane-last", "the last slice 0.3 mm aside", on(11, moved(lambda i: (0, 0.3, 0)))),
    ("in-plane-half", "half of the slices 9 mm aside", on(range(6), moved(lambda i: (9, 0, 0)))),
    ("in-plane-bent", "slices on a bow", moved(lambda i: (0.1 * (i - 6) ** 2, 0, 0))),
)
GEOMETRY = (
    *(
        Case(
            f"dicom-{name}",
            "missing geometry",
            what,
            of(_refused("NO_GEOMETRY"), put(change=change)),
        )
        for name, what, change in LOST
    ),
    *(
        Case(
            f"dicom-position-{name}",
            "missing geometry",
            f"a position is {text!r}",
            of(
                _refused("NO_GEOMETRY"),
                put(change=setting(ImagePositionPatient=["-50.0", "-60.0", "0012.50"])),
                patched(_text("ImagePositionPatient", b"-50.0", text.encode().ljust(5)), which),
            ),
        )
        for name, text, which in (("nan", "nan", None), ("infinite", "-inf", None))
    ),
)


def _stack(
    name: str, what: str, axes: tuple[int, int, int], flips: tuple[int, int, int], *flags: str
) -> Case:
    array, affine = turned(axes, flips)
    return Case(
        f"dicom-stack-{name}",
        "orientation",
        what,
        of(truth(None, None, *flags), put("", array, affine=affine)),
    )


def _oblique(name: str, what: str, **degrees: float) -> Case:
    affine = rotated(**degrees)
    return Case(
        f"dicom-oblique-{name}",
        "orientation",
        what,
        of(truth(None, affine), put(affine=affine)),
    )


ODD = "odd_orientation"
ORIENTATION = (
    _stack("head-first-reversed", "slices written from head to feet", (0, 1, 2), (-1, 1, 1)),
    _stack("prone", "prone, head first", (0, 1, 2), (1, -1, -1), ODD),
    _stack("prone-reversed", "prone, from head to feet", (0, 1, 2), (-1, -1, -1), ODD),
    _stack("feet-first", "seen from above: columns turned", (0, 1, 2), (-1, 1, -1), ODD),
    _stack("feet-first-prone", "seen from above: rows turned", (0, 1, 2), (-1, -1, 1), ODD),
    _stack("left-handed", "seen from above, from feet to head", (0, 1, 2), (1, 1, -1), ODD),
    _stack("left-handed-rows", "upside down, from feet to head", (0, 1, 2), (1, -1, 1), ODD),
    _stack("on-its-side", "rows and columns exchanged", (0, 2, 1), (1, 1, 1), ODD),
    _stack("on-its-other-side", "turned by 90 degrees in the plane", (0, 2, 1), (1, -1, 1), ODD),
    _stack("coronal", "coronal, head up", (1, 0, 2), (1, -1, 1), ODD),
    _stack("coronal-from-behind", "coronal, from back to front", (1, 0, 2), (-1, -1, 1), ODD),
    _stack("coronal-feet-up", "coronal, feet up", (1, 0, 2), (1, 1, -1), ODD),
    _stack("sagittal", "sagittal, head up", (2, 0, 1), (1, -1, 1), ODD),
    _stack("sagittal-from-left", "sagittal, from left to right", (2, 0, 1), (-1, -1, 1), ODD),
    _stack("sagittal-nose-right", "sagittal, front on the right", (2, 0, 1), (1, -1, -1), ODD),
    _stack("sagittal-rolled", "sagittal, rows and columns exchanged", (2, 1, 0), (1, 1, 1), ODD),
    _oblique("in-plane", "the head turned by 12 degrees in the plane", z=12),
    _oblique("to-the-side", "the stack leans by 10 degrees to the side", y=10),
    _oblique("forward", "the stack leans by 15 degrees forward", x=15),
    _oblique("all", "turned round all three axes", x=8, y=-6, z=11),
)


def _rounded_cosines(ds: Dataset, index: int) -> None:
    ds.ImageOrientationPatient = [round(float(x), 6) for x in ds.ImageOrientationPatient]


def _noisy_cosines(ds: Dataset, index: int) -> None:
    ds.ImageOrientationPatient = [
        float(x) + 1e-6 * (-1) ** index for x in ds.ImageOrientationPatient
    ]


GEOMETRY_NOISE = (
    Case(
        "dicom-noise-orientation",
        "noise of geometry",
        "direction cosines off by 1e-6",
        of(RIGHT, put(change=_noisy_cosines)),
    ),
    Case(
        "dicom-noise-orientation-rounded",
        "noise of geometry",
        "oblique cosines of six digits",
        of(
            truth(None, rotated(x=8, y=-6, z=11)),
            put(affine=rotated(x=8, y=-6, z=11), change=_rounded_cosines),
        ),
    ),
    Case(
        "dicom-noise-position",
        "noise of geometry",
        "positions off by 0.05 mm along the normal",
        of(RIGHT, put(change=moved(lambda i: (0, 0, WOBBLE[i])))),
    ),
    Case(
        "dicom-noise-in-plane",
        "noise of geometry",
        "positions off by 0.05 mm in the plane",
        of(RIGHT, put(change=moved(lambda i: (WOBBLE[i], WOBBLE[11 - i], 0)))),
    ),
    Case(
        "dicom-noise-negative-zero",
        "noise of geometry",
        "cosines of minus 0",
        of(RIGHT, put(change=setting(ImageOrientationPatient=["1", "-0.0", "0", "-0", "1", "-0"]))),
    ),
)

PATIENTS = (
    Case(
        "dicom-patient-ids",
        "mixed patients and studies",
        "one slice carries another patient's id",
        of(_refused("MIXED_PATIENT"), put(change=on(2, setting(PatientID="another")))),
    ),
    Case(
        "dicom-patient-names",
        "mixed patients and studies",
        "the upper half carries another patient's name",
        of(
            _refused("MIXED_PATIENT"), put(change=on(range(6, 12), setting(PatientName="Roe^Rick")))
        ),
    ),
    Case(
        "dicom-patients-overlapping",
        "mixed patients and studies",
        "two whole scans of two patients under one series UID",
        of(
            _refused("MIXED_PATIENT"),
            *_second(OTHER, setting(PatientID="another", PatientName="Roe^Rick")),
        ),
    ),
    *(
        Case(
            f"dicom-studies-{name}",
            "mixed patients and studies",
            f"one series UID, {what} under another study UID",
            of(
                _refused("MIXED_STUDY"),
                put(change=on(slices, setting(StudyInstanceUID=series.uid("another study")))),
            ),
        )
        for name, what, slices in (
            ("half", "the upper half", range(6, 12)),
            ("one", "a middle slice", (5,)),
            ("last", "the last slice", (11,)),
        )
    ),
)


def _count(count: int) -> Truth:
    return truth(SCAN[:count], None, "few_slices")


FEW = (
    *(
        Case(
            f"dicom-{word}",
            "few slices",
            what,
            of(
                _refused("TOO_FEW_SLICES", _count(count)),
                put("", SCAN[:count], change=setting(SliceThickness=2.5)),
            ),
            policy=True,
        )
        for word, what, count in (
            ("seven-slices", "seven slices", 7),
            ("two-slices", "two slices", 2),
            ("one-slice", "a single slice", 1),
        )
    ),
    Case("dicom-eight-slices", "few slices", "eight: flagged", of(_count(8), put("", SCAN[:8]))),
)


def _floats(kind: str) -> Change:
    def change(ds: Dataset, index: int) -> None:
        content = SCAN[index].astype(kind).tobytes()
        if kind == "<f4":
            ds.FloatPixelData, ds.BitsAllocated = content, 32
        else:
            ds.DoubleFloatPixelData, ds.BitsAllocated = content, 64
        ds.RescaleIntercept = 0
        del ds.PixelData, ds.BitsStored, ds.HighBit

    return change


def _not_a_number(ds: Dataset, index: int) -> None:
    pixels = np.frombuffer(ds.FloatPixelData, "<f4").copy()
    pixels[9] = np.nan
    ds.FloatPixelData = pixels.tobytes()


FLOATS = (
    Case("dicom-float", "float pixels", "float pixel data", of(RIGHT, put(change=_floats("<f4")))),
    Case(
        "dicom-double", "float pixels", "double pixel data", of(RIGHT, put(change=_floats("<f8")))
    ),
    Case(
        "dicom-float-nan",
        "float pixels",
        "float pixel data, one is not a number",
        of(_refused("CORRUPT_SLICE"), put(change=both(_floats("<f4"), on(5, _not_a_number)))),
    ),
)


def _nested(content: bytes) -> bytes:
    place = content.index(b"\x20\x00\x0d\x00UI")
    nest = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 60000
    return content[:place] + nest + content[place:]


def _bomb(folder: Path) -> None:
    deflated_bomb(folder / "0035.dcm", 600)


ABSURD = (
    *(
        Case(
            f"dicom-absurd-{name}",
            "absurd headers",
            what,
            of(_refused("ABSURD_SIZE"), put(change=change)),
        )
        for name, what, change in (
            ("rows", "65,535 rows", setting(Rows=65535)),
            ("columns", "9,999 columns", setting(Columns=9999)),
            ("matrix", "65,535 x 65,535 pixels", setting(Rows=65535, Columns=65535)),
            ("matrix-one", "one slice claims 65,535 x 65,535 pixels", on(5, setting(Rows=65535))),
            ("frames", "99,999,999 frames", setting(NumberOfFrames=99999999)),
        )
    ),
    Case(
        "dicom-absurd-enhanced-frames",
        "absurd headers",
        "a multi-frame CT claims 99,999,999 frames",
        of(
            _refused("ABSURD_SIZE"),
            enhanced(change=lambda ds: setattr(ds, "NumberOfFrames", 99999999)),
        ),
    ),
    Case(
        "dicom-frames-of-a-ct-image",
        "absurd headers",
        "CT images that claim two frames each",
        of(_refused("CORRUPT_SLICE"), put(change=setting(NumberOfFrames=2))),
    ),
    Case(
        "dicom-absurd-nesting",
        "absurd headers",
        "60,000 nested sequences",
        of(_refused("CORRUPT_SLICE"), put(), patched(_nested, 5)),
    ),
    Case(
        "dicom-absurd-deflated",
        "absurd headers",
        "a small deflated file that inflates to 600 MiB",
        of(_refused("ABSURD_SIZE"), put(syntax=DeflatedExplicitVRLittleEndian), _bomb),
    ),
    Case(
        "dicom-absurd-element",
        "absurd headers",
        "an element of the header claims 4 GB",
        of(
            _refused("CORRUPT_SLICE"),
            put(change=lambda ds, i: ds.add_new(0x00091010, "OB", bytes(100))),
            patched(
                lambda c: c.replace(
                    b"\x09\x00\x10\x10OB\0\0d\0\0\0", b"\x09\x00\x10\x10OB\0\0\xf0\xff\xff\xff"
                ),
                5,
            ),
        ),
    ),
)


def _links(folder: Path) -> None:
    """A link to a file and one to a folder of other slices."""
    aside = folder.with_name(f"{folder.name}-aside")
    put("", OTHER, series_name="other", change=_instances("other"))(aside)
    (folder / "linked folder").symlink_to(aside)
    (folder / "linked.dcm").symlink_to(aside / "0007.dcm")


def _unknown_letters(content: bytes) -> bytes:
    return content.replace(b"ISO_IR 192", b"KLINGON_77")


NAMES = (
    Case(
        "dicom-names-non-ascii",
        "names and folders",
        "patient, folders and files with letters beyond ASCII",
        of(
            RIGHT,
            put(
                "Zoë/山田",
                change=setting(
                    SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen=山田^太郎"
                ),
                name="Größe {:d}.dcm",
            ),
        ),
    ),
    Case(
        "dicom-names-spaces",
        "names and folders",
        "names with spaces, quotes and brackets",
        of(RIGHT, put("a 'b' (c)", name="slice [{}] & more.dcm")),
    ),
    Case(
        "dicom-charset-unknown",
        "names and folders",
        "a character set that nobody knows",
        of(
            RIGHT, put(change=setting(SpecificCharacterSet="ISO_IR 192")), patched(_unknown_letters)
        ),
    ),
    Case(
        "dicom-folders-nested",
        "names and folders",
        "slices five folders deep",
        of(RIGHT, put("a/b/c/d/e")),
    ),
    Case(
        "dicom-folders-of-slices",
        "names and folders",
        "every slice in a folder of its own, all files of one name",
        of(RIGHT, put(name="{}/slice.dcm")),
    ),
    Case(
        "dicom-folders-two",
        "names and folders",
        "one series over two folders",
        of(RIGHT, put("a", skip=range(0, 12, 2)), put("b", skip=range(1, 12, 2))),
    ),
    Case(
        "dicom-links",
        "names and folders",
        "links to a file and a folder of another series: not followed",
        of(RIGHT, put(), _links),
    ),
)


def _windowed(ds: Dataset, index: int) -> None:
    hu = np.clip(SCAN[index].astype(int), -1000, 400)
    ds.RescaleIntercept = 0
    ds.PixelData = ((hu + 1000) * 255 // 1400).astype("<u2").tobytes()


def _unit(ds: Dataset, index: int) -> None:
    ds.RescaleIntercept, ds.RescaleSlope = "0", "0.0005"


def _no_air(ds: Dataset, index: int) -> None:
    ds.PixelData = np.maximum(SCAN[index].astype(int) + 1024, 1000).astype("<u2").tobytes()


UNITS = tuple(
    Case(f"dicom-{name}", "not HU", what, of(_refused("NOT_HU"), put(change=change)))
    for name, what, change in (
        ("shifted-up", "everything 1024 too high", setting(RescaleIntercept=0)),
        ("shifted-down", "everything 1024 too low", setting(RescaleIntercept=-2048)),
        ("windowed", "values from 0 to 255 in 16 bits", _windowed),
        ("unit", "values from 0 to 1", _unit),
        ("no-air", "no air anywhere", _no_air),
        ("effective-z", "RescaleType Z_EFF", setting(RescaleType="Z_EFF")),
        ("density", "RescaleType MGML", setting(RescaleType="MGML")),
    )
)

CASES: tuple[Case, ...] = (
    *PLAIN,
    *SEVERAL,
    *LOCALIZERS,
    *OBJECTS,
    *COPIES,
    *OVERLAPS,
    *GAPS,
    *UNEVEN,
    *ORDER,
    *ALONG_Z,
    *TILT,
    *RESCALE,
    *PER_SLICE,
    *PADDING,
    *BITS,
    *PICTURES,
    *ENHANCED,
    *SYNTAXES,
    *PREAMBLE,
    *JUNKS,
    *DAMAGED,
    *MIXED_FORMATS,
    *GEOMETRY,
    *ORIENTATION,
    *GEOMETRY_NOISE,
    *PATIENTS,
    *FEW,
    *FLOATS,
    *ABSURD,
    *NAMES,
    *UNITS,
)
