"""DICOM folders of several patients under the UIDs of one, and of one patient under several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from covidctnet.io.dicom.objects import series_key
from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import both, enhanced, on, put, setting
from tests.io import series
from tests.io.series import Change

LONG = series.a_scan((20, 20, 16))
WHOLE = truth(LONG)
# Another patient: another matrix, step and place, or the same.
OTHER = series.a_scan((17, 22, 18)) + np.int16(3)
ELSEWHERE = series.an_affine((2.0, 0.9, 0.85), (-60.0, -50.0, 19.3))
# Within the first, and with four fifths of what counts as lung in it.
SMALLER = series.an_affine((2.0, 0.57, 0.57), (-60.0, -50.0, 19.3))
FAR = series.an_affine((2.0, 0.9, 0.85), (-60.0, -50.0, -300.0))
FURTHER = series.an_affine((2.0, 0.9, 0.85), (-60.0, -50.0, 400.0))
FAR_ON_GRID = series.an_affine(origin=(-50.0, -60.0, -490.0))
# What the headers of one visit say, and what those of another say instead.
VISIT = {
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "070Y",
    "StudyDate": "20200304",
    "StudyTime": "101112",
}
TOLD: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("sex", "sex", {"PatientSex": "M"}),
    ("birth", "date of birth", {"PatientBirthDate": "19610102"}),
    ("age", "age", {"PatientAge": "059Y"}),
    ("date", "date of the study", {"StudyDate": "20200306"}),
    ("time", "time of the study", {"StudyTime": "134501"}),
)
OWN = {"FrameOfReferenceUID": series.uid("own")}
CHOSEN = {"series": series_key(series.uid("study/series"))}
SECOND_CHOSEN = {"series": series_key(series.uid("study/second"))}


def _one(**values: Any) -> Step:
    """The first scan."""
    return put("", LONG, change=setting(**{"SeriesNumber": 2, **values}), name="a{:04d}.dcm")


def _second(
    scan: np.ndarray = OTHER,
    affine: np.ndarray | None = ELSEWHERE,
    *,
    into: str = "",
    name: str = "second",
    change: Change | None = None,
    **values: Any,
) -> Step:
    """Another scan under the same study UID; a series and a number of its own unless `values`."""
    usual = setting(**{"SeriesNumber": 3, **values})
    return put(
        into,
        scan,
        affine=affine,
        series_name=name,
        change=both(usual, change) if change else usual,
        name=name + "{:04d}.dcm",
    )


def _same_series(**values: Any) -> dict[str, Any]:
    return {"SeriesInstanceUID": series.uid("study/series"), "SeriesNumber": 2, **values}


def _with_own(*keywords: str, **values: Any) -> Change:
    """UIDs of their own for every slice."""

    def change(ds: Dataset, index: int) -> None:
        setting(**values)(ds, index)
        for keyword in keywords:
            setattr(ds, keyword, series.uid(f"{keyword} of {ds.SOPInstanceUID}"))

    return change


def _of_each_file(letter: str, **values: Any) -> Change:
    """A series UID of its own for every slice."""
    return both(
        setting(**values),
        lambda ds, i: setattr(ds, "SeriesInstanceUID", series.uid(f"{letter}/{i}")),
    )


UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
BODY = series.a_body()
THICK = np.rint(BODY.reshape(16, 2, *BODY.shape[1:]).mean(axis=1)).astype(np.int16)
THICK_AFFINE = series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 11.25))

OF_EACH_FILE = (
    *(
        Case(
            f"dicom-folders-each-{name}-{scan}",
            "UIDs of anonymisers",
            f"every file has {what} of its own, {next_to_it} in the next folder",
            of(
                truth(BODY),
                put("a", BODY, change=_with_own(*keywords, SeriesNumber=2, **VISIT)),
                other(keywords),
            ),
        )
        for name, what, keywords in (
            ("study", "a study UID", UIDS[:1]),
            ("study-series", "a study and a series UID", UIDS[:2]),
            ("study-series-frame", "study, series and frame of reference", UIDS),
        )
        for scan, next_to_it, other in (
            (
                "thick",
                "thick slices of the scan",
                lambda keywords: put(
                    "b",
                    THICK,
                    affine=THICK_AFFINE,
                    series_name="b",
                    change=_with_own(*keywords, SeriesNumber=3, **VISIT),
                ),
            ),
            (
                "localizers",
                "two localizers",
                lambda keywords: put(
                    "scout",
                    BODY[:2],
                    series_name="scout",
                    change=_with_own(
                        *keywords,
                        SeriesNumber=1,
                        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                        **VISIT,
                    ),
                ),
            ),
        )
    ),
    *(
        Case(
            f"dicom-enhanced-single-{keyword.removesuffix('UID').lower()}",
            "UIDs of anonymisers",
            f"an enhanced CT of one frame a file, each with a {keyword} of its own",
            of(
                truth(BODY),
                *(
                    enhanced(
                        range(k, k + 1),
                        scan=BODY,
                        name=f"{k}.dcm",
                        instance=f"{k}",
                        change=partial(_with_own(keyword, SeriesNumber=2), index=0),
                    )
                    for k in range(len(BODY))
                ),
            ),
        )
        for keyword in UIDS
    ),
)


SEVERAL = (
    *OF_EACH_FILE,
    *(
        Case(
            f"dicom-patients-flat-{name}-chosen",
            "mixed patients and studies",
            f"two patients in one folder under one study UID, told apart by {what}: one chosen",
            of(truth(OTHER, ELSEWHERE), _one(**VISIT), _second(**{**VISIT, **values})),
            options=SECOND_CHOSEN,
        )
        for name, what, values in TOLD
    ),
    *(
        Case(
            f"dicom-patients-one-series-{name}",
            "mixed patients and studies",
            f"two patients under one series UID, told apart by {what} and matrix",
            of(
                Refusal("MIXED_PATIENT"),
                _one(**VISIT),
                _second(**_same_series(**{**VISIT, **values})),
            ),
        )
        for name, what, values in TOLD
    ),
    *(
        Case(
            f"dicom-patients-one-stack-{name}",
            "mixed patients and studies",
            f"the upper half of a series carries another {what}",
            of(
                Refusal("MIXED_PATIENT"),
                put("", LONG, change=both(setting(**VISIT), on(range(10, 20), setting(**values)))),
            ),
        )
        for name, what, values in TOLD[:3]
    ),
    Case(
        "dicom-patients-files-each-sex",
        "mixed patients and studies",
        "every slice has a series UID of its own, two patients of other sex",
        of(
            Refusal("MIXED_PATIENT"),
            put("", LONG, change=_of_each_file("a", **VISIT), name="a{:04d}.dcm"),
            _second(change=_of_each_file("b", **{**VISIT, "PatientSex": "M"})),
        ),
    ),
    Case(
        "dicom-patients-heights",
        "mixed patients and studies",
        "two scans in one folder at heights that have nothing in common",
        of(
            Refusal("AMBIGUOUS_SERIES", (WHOLE, truth(OTHER, FAR))),
            _one(),
            _second(affine=FAR),
        ),
        policy=True,
    ),
    Case(
        "dicom-patients-heights-three",
        "mixed patients and studies",
        "three scans in one folder at heights that have nothing in common, all headers alike",
        of(
            Refusal("AMBIGUOUS_SERIES", (WHOLE, truth(OTHER, FAR))),
            _one(**VISIT),
            _second(affine=FAR, **VISIT),
            _second(OTHER[:12], FURTHER, name="third", **{**VISIT, "SeriesNumber": 4}),
        ),
        policy=True,
    ),
    Case(
        "dicom-patients-heights-one-series",
        "mixed patients and studies",
        "two scans under one series UID at heights that have nothing in common",
        of(Refusal("SLICE_GAP"), _one(), _second(affine=FAR, **_same_series())),
    ),
    Case(
        "dicom-patients-heights-one-grid",
        "mixed patients and studies",
        "two scans under one series UID on one grid, far apart",
        of(Refusal("SLICE_GAP"), _one(), _second(LONG, FAR_ON_GRID, **_same_series())),
    ),
    Case(
        "dicom-patients-heights-folders",
        "mixed patients and studies",
        "two scans in two folders at heights that have nothing in common, all headers alike",
        of(
            Refusal("AMBIGUOUS_SERIES", (WHOLE, truth(OTHER, FAR))),
            _one(**VISIT),
            _second(affine=FAR, into="b", **VISIT),
        ),
        policy=True,
    ),
    Case(
        "dicom-patients-heights-chosen",
        "mixed patients and studies",
        "two scans at heights that have nothing in common, the caller chooses",
        of(WHOLE, _one(), _second(affine=FAR)),
        options=CHOSEN,
    ),
    Case(
        "dicom-patients-heights-short",
        "several series",
        "eight thin slices far from the scan, a fifth as long: left out",
        of(
            WHOLE,
            _one(),
            _second(OTHER[:8], series.an_affine((1.25, 0.9, 0.85), (-60.0, -50.0, 300.0))),
        ),
    ),
    Case(
        "dicom-patients-formats-one-series",
        "mixed patients and studies",
        "two scans under one series UID with other matrices that begin and end apart",
        of(Refusal("AMBIGUOUS_SERIES"), _one(), _second(affine=SMALLER, **_same_series())),
        policy=True,
    ),
    Case(
        "dicom-patients-frames-one-series",
        "mixed patients and studies",
        "two scans under one series UID in two frames of reference that begin and end apart",
        of(
            Refusal("AMBIGUOUS_SERIES"),
            _one(**VISIT),
            _second(LONG[:16] + np.int16(2), None, **_same_series(**OWN, **VISIT)),
        ),
        policy=True,
    ),
    Case(
        "dicom-patients-frames-untold",
        "mixed patients and studies",
        "two scans in frames of reference of their own, nothing says that they are of one patient",
        of(
            Refusal("AMBIGUOUS_SERIES", (WHOLE, truth(OTHER, ELSEWHERE))),
            _one(),
            _second(**OWN),
        ),
        policy=True,
    ),
)

# ---- one patient ----

THICK_AFFINE = series.an_affine((5.0, 0.8, 0.7))
THICK = LONG[::2]
PRONE_AFFINE = series.an_affine()
PRONE_AFFINE[:3, 1:3] *= -1
PRONE_AFFINE[:2, 3] = (40.0, 50.0)
# As it is read: canonical, and flagged.
PRONE_READ = series.an_affine(origin=(40.0 - 15 * 0.7, 50.0 - 19 * 0.8, 10.0))
PRONE = truth(LONG[:, ::-1, ::-1], PRONE_READ, "odd_orientation")

ONE_PATIENT = (
    *(
        Case(
            f"dicom-frames-{name}",
            "several series",
            what,
            of(WHOLE, _one(**values), second),
        )
        for name, what, values, second in (
            (
                "reconstructions",
                "two reconstructions in frames of reference of their own: the thin one",
                {},
                _second(THICK, THICK_AFFINE, **OWN),
            ),
            (
                "reconstructions-unnumbered",
                "two reconstructions without numbers in two frames of reference: the thin one",
                {"SeriesNumber": ""},
                _second(THICK, THICK_AFFINE, SeriesNumber="", **OWN),
            ),
            (
                "reconstructions-folders",
                "two reconstructions in two folders and frames of reference: the thin one",
                VISIT,
                _second(THICK, THICK_AFFINE, into="b", **OWN, **VISIT),
            ),
            (
                "kernels",
                "two kernels in frames of reference of their own: the standard one",
                {},
                _second(LONG + np.int16(2), None, ConvolutionKernel="B60f", **OWN),
            ),
            (
                "prone",
                "supine and shorter prone, frames of reference of their own: supine",
                {},
                _second(LONG[:17], PRONE_AFFINE, **OWN),
            ),
            (
                "prone-folders",
                "supine and shorter prone in two folders, frames of reference of their own: supine",
                VISIT,
                _second(LONG[:17], PRONE_AFFINE, into="b", **OWN, **VISIT),
            ),
            (
                "phases",
                "two phases in frames of reference of their own, one visit by their headers: the "
                "longer one",
                VISIT,
                _second(
                    LONG[:16] + np.int16(2),
                    series.an_affine(origin=(-50.0, -60.0, 13.7)),
                    **OWN,
                    **VISIT,
                ),
            ),
        )
    ),
    Case(
        "dicom-frames-tie",
        "several series",
        "supine and prone of one length in frames of reference of their own",
        of(Refusal("AMBIGUOUS_SERIES", (WHOLE, PRONE)), _one(), _second(LONG, PRONE_AFFINE, **OWN)),
        policy=True,
    ),
    Case(
        "dicom-frames-chosen",
        "several series",
        "supine and prone in frames of reference of their own, the caller chooses prone",
        of(PRONE, _one(), _second(LONG, PRONE_AFFINE, **OWN)),
        options=SECOND_CHOSEN,
    ),
    Case(
        "dicom-frames-chosen-folders",
        "several series",
        "two scans in two folders and frames of reference, nothing else told: one is chosen",
        of(truth(OTHER, ELSEWHERE), _one(), _second(into="b", **OWN)),
        options=SECOND_CHOSEN,
    ),
    *(
        Case(
            f"dicom-visit-{name}",
            "several series",
            f"thin and thick slices of one visit, {what}: the thin ones",
            of(WHOLE, _one(**VISIT), _second(THICK, THICK_AFFINE, **{**VISIT, **values})),
        )
        for name, what, values in (
            ("age-spelt", "an age is written as 70", {"PatientAge": "70"}),
            ("sex-unknown", "one sex is O", {"PatientSex": "O"}),
            ("time-near", "times of the study two minutes apart", {"StudyTime": "101301.5"}),
            ("date-empty", "one date is empty", {"StudyDate": ""}),
            ("birth-none", "one date of birth is 19000101", {"PatientBirthDate": "19000101"}),
        )
    ),
)

CASES: Sequence[Case] = (*SEVERAL, *ONE_PATIENT)
