"""Studies whose parts belong together, or do not: series that go on, key images, copies, wedges."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from scipy import ndimage

from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.files import nifti
from tests.catalogue.steps import both, put, setting, stored
from tests.io import series
from tests.io.series import Change

BODY = series.a_body()
COUNT = len(BODY)
# Lungs above, from slice 36 on, and an abdomen below.
TRUNK = series.a_body(shape=(60, 40, 36))
TRUNK[:36] = series.a_body(lungs=40.0, seed=5, shape=(60, 40, 36))[:36]


def _of(scan: np.ndarray, first: int = 0) -> Any:
    """A part of a scan, from a slice on, at its place."""
    affine = series.an_affine()
    affine[:3, 3] += affine[:3, 0] * first
    return truth(scan[first:], affine)


def _numbered(start: int) -> Change:
    return lambda ds, index: setattr(ds, "InstanceNumber", index - start + 1)


# ---- two series that go on from each other ----


def _two(
    first: int,
    second: int,
    *changes: Change,
    one: Change | None = None,
    hu: np.ndarray = BODY,
) -> tuple[Step, ...]:
    """Slices up to `first`, and from `second` on as a series of its own, under some changes."""
    mine = (one,) if one else ()
    return (
        put("a", BODY, skip=range(first, COUNT), change=both(*mine)),
        put(
            "b",
            hu,
            skip=range(second),
            change=both(*mine, _numbered(second), *changes),
            series_name="abdomen",
        ),
    )


def _time(seconds: float) -> Change:
    """Four slices a second, from some second on."""
    return lambda ds, index: setattr(ds, "AcquisitionTime", f"1012{seconds + index / 4:05.2f}")


def _over_midnight(ds: Dataset, index: int) -> None:
    """Four slices a second; the twentieth is the first of the next day."""
    seconds = (86_395 + index / 4) % 86_400
    clock = f"{int(seconds) // 3600:02d}{int(seconds) // 60 % 60:02d}{seconds % 60:05.2f}"
    ds.AcquisitionTime = clock


AGENT = setting(ContrastBolusAgent="agent")
GO_ON = (
    *(
        Case(
            f"dicom-two-series-{name}",
            "adjoining acquisitions",
            what,
            of(_of(BODY), *steps),
        )
        for name, what, steps in (
            ("go-on", "chest and abdomen of one scan in two series: joined", _two(20, 20)),
            ("share-three", "two series of one scan share three places: joined", _two(20, 17)),
            ("share-twelve", "two series of one scan share twelve places: joined", _two(20, 8)),
            (
                "one-spiral",
                "two series of one spiral with contrast medium, times go on: joined",
                _two(20, 20, one=both(AGENT, _time(10))),
            ),
            (
                "midnight",
                "two series of one spiral over midnight: joined",
                _two(20, 20, one=_over_midnight),
            ),
            ("one-slice", "one slice is in a series of its own: joined", _two(31, 31)),
        )
    ),
    *(
        Case(
            f"dicom-two-series-{name}",
            "adjoining acquisitions",
            what,
            of(Refusal("SLICE_GAP"), *steps),
        )
        for name, what, steps in (
            (
                "two-phases",
                "chest and abdomen on one grid, 20 s apart, with contrast medium",
                _two(20, 20, _time(30), one=both(AGENT, _time(10))),
            ),
            (
                "contrast-untimed",
                "chest and abdomen with contrast medium, no time is said",
                _two(20, 20, one=AGENT),
            ),
            ("contrast-later", "the abdomen alone with contrast medium", _two(20, 20, AGENT)),
            (
                "acquisition",
                "chest and abdomen of two acquisitions",
                _two(20, 20, setting(AcquisitionNumber=2)),
            ),
            (
                "other-pixels",
                "two series share three places with other pixels",
                _two(20, 17, hu=BODY + np.int16(3)),
            ),
            (
                "other-breath",
                "the abdomen in another breath",
                _two(20, 20, hu=series.a_body(phase=-0.4)),
            ),
        )
    ),
    *(
        Case(
            f"dicom-abdomen-{name}",
            "several series",
            what,
            of(
                expected,
                put("a", TRUNK, skip=range(border)),
                put(
                    "b",
                    TRUNK,
                    skip=range(border, 60),
                    series_name="abdomen",
                    change=setting(ConvolutionKernel="B60f"),
                ),
            ),
        )
        for name, what, border, expected in (
            ("beside-chest", "an abdomen goes on where the lungs ended: the chest", 30, None),
            ("longer", "as long an abdomen goes on where the lungs ended: the chest", 28, None),
            ("with-lungs", "lungs go on in a series of another kernel", 44, Refusal("SLICE_GAP")),
        )
        for expected in [expected or _of(TRUNK, border)]
    ),
    Case(
        "dicom-abdomen-far",
        "several series",
        "a longer abdomen elsewhere: the chest",
        of(
            _of(TRUNK, 30),
            put("a", TRUNK, skip=range(30)),
            put(
                "b",
                series.a_body(lungs=40.0, seed=5, shape=(48, 40, 36)),
                affine=series.an_affine(origin=(-50.0, -60.0, -300.0)),
                series_name="abdomen",
            ),
        ),
    ),
)

# ---- single images beside a scan, and copies ----


def _single(place: int, *changes: Change, hu: np.ndarray = BODY) -> tuple[Step, ...]:
    """A scan, and one image of a series of its own."""
    others = [k for k in range(COUNT) if k != place]
    scan_number = setting(SeriesNumber=2)
    return (
        put("a", BODY, change=scan_number),
        put("b", hu, skip=others, series_name="single", change=both(scan_number, *changes)),
    )


def _next_place(ds: Dataset, index: int) -> None:
    ds.ImagePositionPatient = [float(x) for x in (series.an_affine() @ [COUNT, 0, 0, 1])[:3]]
    ds.InstanceNumber = 1


DERIVED = setting(ImageType=["DERIVED", "SECONDARY", "AXIAL"])
SINGLES = (
    *(
        Case(f"dicom-single-{name}", "bystanders", what, of(_of(BODY), *steps))
        for name, what, steps in (
            (
                "copy-numbered-next",
                "a copy of a slice has the next instance number",
                _single(20, DERIVED, setting(InstanceNumber=COUNT + 1)),
            ),
            (
                "copy-numbered-first",
                "a copy of the first slice has the number before it",
                _single(0, setting(InstanceNumber=0)),
            ),
            (
                "monitoring",
                "one thick image of a series of its own at the next place",
                _single(0, _next_place, setting(SliceThickness=10.0, SeriesNumber=3)),
            ),
        )
    ),
    Case(
        "dicom-single-next",
        "bystanders",
        "one derived image of a series of its own at the next place",
        of(Refusal("SLICE_GAP"), *_single(0, _next_place, DERIVED, setting(SeriesNumber=3))),
    ),
    Case(
        "dicom-series-thrice",
        "copies",
        "a series three times, under three series UIDs",
        of(_of(BODY), *(put(name, BODY, series_name=name) for name in "abc")),
    ),
    Case(
        "dicom-slices-repeat",
        "copies",
        "every slice three times in a row at places of its own, each with a time",
        of(
            truth(np.repeat(BODY[:16], 3, axis=0), series.an_affine((0.8, 0.8, 0.7))),
            put(
                "",
                np.repeat(BODY[:16], 3, axis=0),
                affine=series.an_affine((0.8, 0.8, 0.7)),
                change=lambda ds, i: setattr(ds, "AcquisitionTime", f"10{i:04d}"),
            ),
        ),
    ),
)

# ---- turned scans, mirrored slices, positions in cm ----

# A body whose heart lies on one side.
ASKEW = BODY.copy()
ASKEW[:, 24:32, 20:28] = 60


def _turned(degrees: float) -> np.ndarray:
    """A body that fills the image, turned around its rows, with -1024 HU outside."""
    body = ASKEW[:, 6:-6, 4:-4].astype(float)
    angle = np.radians(degrees)
    turn = np.array(
        [
            [np.cos(angle), -np.sin(angle), 0],
            [np.sin(angle), np.cos(angle), 0],
            [0, 0, 1],
        ]
    )
    middle = (np.array(body.shape) - 1) / 2
    out = ndimage.affine_transform(body, turn, middle - turn @ middle, order=1, cval=-1024.0)
    return np.clip(np.rint(out), -1024, 3000).astype(np.int16)


def _ending(value: int) -> np.ndarray:
    """A body that fills the image, its last slice half of one value."""
    body = BODY[:, 6:-6, 4:-4].copy()
    body[-1, body.shape[1] // 2 :] = value
    return body


def _stored_cut() -> np.ndarray:
    """Stored numbers of a body, HU and 1024 more, whose last slices are zeros."""
    stored_numbers = BODY + np.int16(1024)
    stored_numbers[24:] = 0
    return stored_numbers


MIRRORED = ASKEW.copy()
MIRRORED[9] = MIRRORED[9, :, ::-1]
SHIFTED: dict[str, Any] = {"scl_slope": 1.0, "scl_inter": -1024.0}


def _winding() -> np.ndarray:
    """A lung that winds along a body, in pixels of 3 mm."""
    side = np.linspace(-1, 1, 96)
    y, x = np.meshgrid(side, side, indexing="ij")
    body = np.where(x**2 + y**2 < 0.9, 40, -1000)
    angles = 0.25 * np.arange(32)
    lungs = [(x - 0.4 * np.cos(a)) ** 2 + (y - 0.4 * np.sin(a)) ** 2 < 0.12 for a in angles]
    return np.stack([np.where(lung, -850, body) for lung in lungs]).astype(np.int16)


def _skin(mirrored: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Coronal slices from front to back, head up, and the same volume in axial slices."""
    scan = ASKEW[::-1, 6:-6].transpose(1, 0, 2).copy()
    scan[-2:] = -1000
    scan[-2, :, 8:22] = scan[-1, :, 14:28] = 40
    if mirrored is not None:
        scan[mirrored] = scan[mirrored, :, ::-1]
    return scan, scan.transpose(1, 0, 2)[::-1]


def _coronal(scan: np.ndarray) -> Step:
    affine = series.an_affine()
    affine[:3, 3] += affine[:3, 0] * (scan.shape[1] - 1)
    affine[:3, :2] = np.stack([affine[:3, 1], -affine[:3, 0]], axis=1)
    return put("", scan, affine=affine)


def _twice_the_step(ds: Dataset, index: int) -> None:
    ds.SliceThickness = ds.SpacingBetweenSlices = 5.0
    ds.SliceLocation = 5.0 * index


SHAPES = (
    *(
        Case(
            f"dicom-turned-{name}-{degrees}",
            "padding",
            f"a scan turned by {degrees} degrees, {what}",
            of(truth(_turned(degrees)), put("", _turned(degrees), change=change)),
        )
        for degrees in (3, 8, 15)
        for name, what, change in (
            ("zeros", "air outside of it stored as 0", stored("<u2", intercept=-1024)),
            ("air", "-1024 outside of it", stored("<i2", intercept=0)),
        )
    ),
    Case(
        "dicom-filled-last-slice",
        "damaged files",
        "the last slice ends in stored zeros, which mean air",
        of(Refusal("CORRUPT_SLICE"), put("", _ending(-1024))),
    ),
    Case(
        "nifti-filled-intercept",
        "broken file",
        "the last slices are stored zeros, which mean air by the intercept",
        of(Refusal("CORRUPT_FILE"), nifti(array=_stored_cut(), **SHIFTED)),
    ),
    Case(
        "dicom-mirrored-slice",
        "orientation",
        "one slice is mirrored left to right",
        of(Refusal("NO_GEOMETRY"), put("", MIRRORED)),
    ),
    Case(
        "dicom-coronal-skin",
        "orientation",
        "coronal slices, the outer ones show skin on either side",
        of(truth(_skin()[1], series.an_affine(), "odd_orientation"), _coronal(_skin()[0])),
    ),
    Case(
        "dicom-coronal-mirrored",
        "orientation",
        "one coronal slice is mirrored left to right",
        of(Refusal("NO_GEOMETRY"), _coronal(_skin(mirrored=20)[0])),
    ),
    Case(
        "dicom-steps-contradicted",
        "spacing along z",
        "positions 2.5 mm apart, all other fields of the header say 5 mm: positions count",
        of(_of(BODY), put("", BODY, change=_twice_the_step)),
    ),
    Case(
        "dicom-positions-in-cm",
        "spacing along z",
        "positions of the slices in cm",
        of(
            Refusal("NO_GEOMETRY"),
            put(
                "",
                _winding(),
                affine=series.an_affine((0.75, 3.0, 3.0)),
                change=setting(SliceThickness=7.5),
            ),
        ),
    ),
    Case(
        "dicom-positions-in-mm",
        "spacing along z",
        "positions of the same slices in mm: flagged",
        of(
            truth(_winding(), series.an_affine((7.5, 3.0, 3.0)), "thick_slices"),
            put("", _winding(), affine=series.an_affine((7.5, 3.0, 3.0))),
        ),
    ),
)

CASES: tuple[Case, ...] = (*GO_ON, *SINGLES, *SHAPES)
