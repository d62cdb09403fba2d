"""DICOM folders as sites leave them: other fields of view, images of one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import put, setting
from tests.io import series
from tests.io.series import Change

BODY = series.a_body()
RIGHT = truth(BODY)

# ---- fields of view of a part of the chest ----

FINE = series.a_body(shape=(64, 80, 72))
FINE_AFFINE = series.an_affine((1.25, 0.4, 0.35))
WHOLE = np.rint(FINE.reshape(16, 4, 80, 72).mean(axis=1)).astype(np.int16)
WHOLE_AFFINE = series.an_affine((5.0, 0.4, 0.35), (-50.0, -60.0, 11.875))


def _field(rows: slice, columns: slice) -> Step:
    """Thin slices of a part of the chest."""
    affine = FINE_AFFINE.copy()
    affine[:3, 3] += affine[:3, 1] * rows.start + affine[:3, 2] * columns.start
    part = FINE[:, rows, columns]
    return put("a", part, affine=affine, series_name="a", change=setting(SeriesNumber=3))


THICK = put("b", WHOLE, affine=WHOLE_AFFINE, change=setting(SeriesNumber=2))
FIELDS = tuple(
    Case(
        f"dicom-field-of-{name}",
        "several series",
        f"thin slices of {what} alone, thick ones of the whole chest: the whole chest",
        of(truth(WHOLE, WHOLE_AFFINE), _field(rows, columns), THICK),
    )
    for name, what, rows, columns in (
        ("one-lung", "one lung", slice(0, 80), slice(0, 36)),
        ("the-heart", "the heart", slice(20, 60), slice(18, 54)),
        ("the-back", "the spine", slice(40, 80), slice(0, 72)),
    )
)

# ---- images that wait for contrast medium, all of one place ----


def _tracking(place: int, **values: Any) -> Step:
    """Five noisy images of one place of the body, as a scanner takes them before a scan."""

    def step(folder: Any) -> None:
        noise = np.random.default_rng(5).normal(0, 20, (5, *BODY.shape[1:]))
        # Beyond the end of a series, they show what the whole body has there.
        scan = np.clip(BODY[place] + noise, -1024, 3000).astype(np.int16)
        position = [float(x) for x in (series.an_affine() @ [place, 0, 0, 1])[:3]]
        usual = {"ImagePositionPatient": position, "SliceThickness": 10.0}
        put(
            "",
            scan,
            series_name="tracking",
            change=setting(**usual, **values),
            name="tracking{:04d}.dcm",
        )(folder)

    return step


ONE_UID = {"SeriesInstanceUID": series.uid("study/series")}
TRACKING = (
    *(
        Case(
            f"dicom-bolus-tracking-{name}",
            "UIDs of anonymisers",
            f"five images of one place under the series UID of the scan, told apart by {what}",
            of(RIGHT, put("", BODY, change=setting(**mine)), _tracking(15, **ONE_UID, **its)),
        )
        for name, what, mine, its in (
            ("number", "series number", {"SeriesNumber": 3}, {"SeriesNumber": 2}),
            ("acquisition", "acquisition number", {}, {"AcquisitionNumber": 9}),
            ("thickness", "slice thickness", {}, {}),
        )
    ),
    Case(
        "dicom-bolus-tracking-behind",
        "bystanders",
        "five images of one place where the scan would go on, of a series of their own",
        of(
            truth(BODY[:20]),
            put("", BODY[:20], change=setting(SeriesNumber=3)),
            _tracking(20, SeriesNumber=2),
        ),
    ),
    Case(
        "dicom-bolus-tracking-hole",
        "UIDs of anonymisers",
        "five images of one place under the series UID of the scan, which has no slice there",
        of(
            Refusal("SLICE_GAP"),
            put("", BODY, skip=[15], change=setting(SeriesNumber=3)),
            _tracking(15, SeriesNumber=2, **ONE_UID),
        ),
    ),
)

# ---- words in other alphabets ----


def _described(alphabet: str, words: bytes) -> Change:
    def change(ds: Dataset, index: int) -> None:
        ds.add_new("SpecificCharacterSet", "LO", alphabet)
        ds.add_new("SeriesDescription", "UN", words)

    return change


ALPHABETS = tuple(
    Case(
        f"dicom-contrast-{name}",
        "plain series",
        f"contrast medium is told in {what}: flagged",
        of(truth(None, None, "contrast"), put(change=_described(alphabet, words.encode(encoding)))),
    )
    for name, what, alphabet, encoding, words in (
        ("gb18030", "GB18030", "GB18030", "gb18030", "胸部增强"),
        ("cyrillic", "ISO_IR 144", "ISO_IR 144", "iso8859_5", "с контрастом"),
        ("japanese", "ISO 2022 IR 87", "\\ISO 2022 IR 87", "iso2022_jp", "造影"),
    )
)

CASES: Sequence[Case] = (*FIELDS, *TRACKING, *ALPHABETS)
