"""Files that were damaged on their way, and headers whose sizes do not fit their voxels."""

from __future__ import annotations

from pydicom.dataset import Dataset

from tests.catalogue.cases import Case, Refusal, of
from tests.catalogue.files import EYE, META, head_of, nifti, nrrd_head
from tests.catalogue.steps import put
from tests.io import series

BODY = series.a_body()

# ---- sizes of which one took a factor of another ----


def _longer_rows(ds: Dataset, index: int) -> None:
    ds.Rows, ds.Columns = ds.Rows // 2, ds.Columns * 2


def _shorter_rows(ds: Dataset, index: int) -> None:
    ds.Rows, ds.Columns = ds.Rows * 2, ds.Columns // 2


# Columns, rows, slices, of which 36, 40, 32 are right.
FACTORS = (
    ("rows-twice-as-long", "rows twice as long, half as many", (72, 20, 32)),
    ("rows-half-as-long", "rows half as long, twice as many", (18, 80, 32)),
    ("rows-a-third", "rows of a third, three times as many slices", (12, 40, 96)),
    ("slices-twice-as-large", "half as many slices, twice as many rows", (36, 80, 16)),
    ("slices-half-as-large", "twice as many slices, half as many rows", (36, 20, 64)),
    ("slices-a-quarter", "four times as many slices, rows and columns halved", (18, 20, 128)),
)
MHA = META.format(matrix=EYE, spacing="0.7 0.8 2.5")
SIZES = (
    *(
        Case(
            f"nifti-{name}",
            "dimensions of a file",
            f"the header says {what}",
            of(Refusal("NO_GEOMETRY"), nifti(array=BODY, dim=[3, *sizes, 1, 1, 1, 1])),
        )
        for name, what, sizes in FACTORS
    ),
    *(
        Case(
            f"{form}-{name}",
            "dimensions of a file",
            f"the header says {what}",
            of(
                Refusal("NO_GEOMETRY"),
                head_of(form, head.replace("16 20 12", " ".join(map(str, sizes))), BODY.tobytes()),
            ),
        )
        for form, head in (("mha", MHA), ("nrrd", nrrd_head()))
        for name, what, sizes in FACTORS[::2]
    ),
    *(
        Case(
            f"dicom-{name}",
            "damaged files",
            f"every header says {what}",
            of(Refusal("NO_GEOMETRY"), put(scan=BODY, change=change)),
        )
        for name, what, change in (
            ("rows-twice-as-long", "rows twice as long, half as many", _longer_rows),
            ("rows-half-as-long", "rows half as long, twice as many", _shorter_rows),
        )
    ),
)

CASES: tuple[Case, ...] = SIZES
