"""One line is all that the user sees: the cause and the next step stand in it."""

import ast
import re
from pathlib import Path

import pytest

from covidctnet import find_studies, read_study, read_volume
from covidctnet.errors import StudyError
from covidctnet.io.dicom.objects import series_key
from tests.catalogue.cases import every_case
from tests.io import series

ROOT = Path(__file__).resolve().parents[2]

CASES = {case.name: case for case in every_case()}
# A case of the catalogue, its code, words of the cause, and words of what to do.
LINES = (
    ("dicom-junk-alone", "NOT_CT", "nothing readable .*not a scan", "Give a folder"),
    ("dicom-rgb", "NOT_HU", "12 x not HU but colours", "original CT series"),
    ("dicom-words-density", "NOT_HU", "unit of its RescaleType", "original CT series"),
    ("nifti-shifted-up", "NOT_HU", "shifted by 1024", "original CT values"),
    ("dicom-slope-0-all", "NO_RESCALE", "slope of 0", "Export the series again"),
    ("dicom-slope-of-another-scan", "NO_RESCALE", "slice .* unlike its neighbours", "Export"),
    ("mha-slope", "NO_RESCALE", "slope or an offset of its own", "Apply it"),
    (
        "dicom-type-derived-3d",
        "NOT_CT",
        "projection or screen, by its image type or description",
        "original CT series",
    ),
    (
        "dicom-overlap-nominal-percentage-of-respiratory-phase",
        "AMBIGUOUS_SERIES",
        "2 series are equally good",
        "series=KEY",
    ),
    ("nifti-voxel-nan", "NOT_HU", "holds NaN or Inf", "Write -1024 for what is padding"),
    ("dicom-series-tie", "AMBIGUOUS_SERIES", "2 series are equally good", "series=KEY"),
    ("dicom-patient-ids", "MIXED_PATIENT", "2 patient ids", "Sort the files by patient"),
    ("dicom-patients-one-series-birth", "MIXED_PATIENT", "2 dates of birth", "Sort the files"),
    ("dicom-patients-one-series-time", "MIXED_PATIENT", "2 times of the study", "by its key"),
    ("dicom-patients-one-stack-sex", "MIXED_PATIENT", "a series carry 2 sexes", "Sort the files"),
    ("dicom-patients-heights", "AMBIGUOUS_SERIES", "2 scans lie at heights", "series=KEY"),
    ("dicom-patients-frames-untold", "AMBIGUOUS_SERIES", "no sex, date of birth", "series=KEY"),
    (
        "dicom-patients-formats-one-series",
        "AMBIGUOUS_SERIES",
        "2 scans under one series UID differ in matrix, spacing or frame",
        "series=KEY",
    ),
    ("dicom-uid-series-each-patients", "MIXED_PATIENT", "2 patient", "Sort the files"),
    ("dicom-uid-study-missing-one", "MIXED_STUDY", "1 of 12 .* no study", "study UID"),
    ("dicom-studies-half", "MIXED_STUDY", "2 study UIDs", "Export the series again"),
    ("dicom-overlap-untold", "OVERLAPPING_ACQUISITIONS", "2 different slices lie at one", "Export"),
    ("nifti-frames-two", "OVERLAPPING_ACQUISITIONS", "16 x 20 x 12 x 2", "three-dimensional"),
    ("dicom-position-missing-all", "NO_GEOMETRY", "12 of 12 lack", "Export the original"),
    ("nifti-identity", "NO_GEOMETRY", "1 x 1 x 1 mm from the origin 0", "Convert .* from DICOM"),
    ("mha-array-bare", "NO_GEOMETRY", "programs write that were given none", "Convert"),
    ("nifti-qfac-two", "NO_GEOMETRY", r"pixdim\[0\].*got 2", "Convert"),
    ("nrrd-units-cm", "NO_GEOMETRY", "counts in 'cm', not in mm", "Convert"),
    ("mha-metres", "NO_GEOMETRY", "may be metres", "Convert"),
    ("dicom-gap-one", "SLICE_GAP", "1 gap among .* between", "Export the whole series"),
    ("dicom-gzipped-half", "CORRUPT_SLICE", "file 9 of 12 .* compressed by gzip", "Unpack"),
    (
        "dicom-step-wide",
        "ABSURD_EXTENT",
        "steps of 20 mm at most.*got voxels of 50",
        "Check the sp",
    ),
    ("nifti-centimetres", "NO_GEOMETRY", "0.07 x 0.08 x 0.25, which may be .* cm", "Convert"),
    (
        "nifti-sizes-exchanged",
        "NO_GEOMETRY",
        "rows of 20 voxels.*another order",
        "Correct the head",
    ),
    ("nifti-pixdim-below-zero", "NO_GEOMETRY", "pixdim of more than 0.*-0.7", "from DICOM"),
    ("nifti-rows-twice-as-long", "NO_GEOMETRY", "rows of 72 .*fit rows of 36", "Correct the head"),
    ("dicom-jpeg-2000-half", "CORRUPT_SLICE", "holds [23]. zeros.*part of it is miss", "Export"),
    ("dicom-lower-half-denser", "CORRUPT_SLICE", "slice 10 of 32.*rows", "Copy or export"),
    ("nifti-fewer-slices", "CORRUPT_FILE", "holds more", "Export it again"),
    ("mha-places-apart", "NO_GEOMETRY", "offset and position contradict", "Convert .* from DICOM"),
    ("dicom-bits-eleven-signed", "NOT_HU", "11 bits.*end below soft tissue", "correct BitsStored"),
    ("dicom-padding-range-over-lung", "NOT_HU", "-2000 to -724 HU", "PixelPaddingRangeLimit"),
    ("dicom-table-beside-slope", "NO_RESCALE", "12 of 12 .*Modality LUT", "original series"),
    ("zip-in-zip", "BAD_ARCHIVE", "an archive that lies in a zip archive", "Unpack the outer"),
    ("dicom-mirrored-slice", "NO_GEOMETRY", "slice 9 of 32 .*mirrored", "original series"),
    ("dicom-positions-in-cm", "NO_GEOMETRY", "0.75 mm apart.*may be in cm", "original series"),
    ("nifti-filled-intercept", "CORRUPT_FILE", "8 of 32 .*stored as 0", "export the scan again"),
    ("dicom-goes-on-derived", "SLICE_GAP", "9 images of another .*goes on", "as one series"),
    ("dicom-uneven-halves", "UNEVEN_SPACING", "5 of 11 differ", "allow_gaps=True"),
    ("dicom-tilt", "GANTRY_TILT", "tilted by", "untilt=True"),
    ("dicom-seven-slices", "TOO_FEW_SLICES", "at least 8 slices, got 7", "whole series"),
    ("dicom-absurd-matrix", "ABSURD_SIZE", "claims", "Export|Check"),
    ("dicom-damaged-empty", "CORRUPT_SLICE", "file 6 of 12", "export the series again"),
    ("dicom-damaged-pixels-cut", "CORRUPT_SLICE", "ends amid its pixels", "Export the series"),
    ("nifti-cut-half", "CORRUPT_FILE", "bytes of voxels, the file holds", "Export it again"),
    ("nifti-magic-pair", "CORRUPT_FILE", "a pair", "one .nii file"),
    ("mhd-alone", "CORRUPT_FILE", "is not next to it", "into one folder"),
    ("mhd-list", "CORRUPT_FILE", "several files", "as one file"),
    ("dicom-syntax-unknown", "UNSUPPORTED_SYNTAX", "1.2.840.99999.1.2.1 is not", "uncompressed"),
    ("zip-encrypted", "BAD_ARCHIVE", "encrypted", "unpack it yourself"),
    ("zip-path-upwards", "BAD_ARCHIVE", "leads out of it", "unpack it yourself"),
    ("zip-half", "BAD_ARCHIVE", "directory cannot be read", "copy it again"),
    ("zip-bomb", "BAD_ARCHIVE", "as no scan does|more than is read", "Pack or copy it again"),
    ("zip-link", "BAD_ARCHIVE", "a link or a device", "Pack"),
)
# Codes that reading does not raise for a file, and where their lines are tested.
ELSEWHERE = {
    "NOT_RADIOGRAPH": "tests/radiograph/test_convert.py",
    "LATERAL_VIEW": "tests/io/dicom/test_radiograph.py",
    "CHANGED": "tests/run/test_classify.py",
    "WORKER_LOST": "tests/run/test_cluster.py",
    "UNKNOWN_SERIES": "below",
    "UNREADABLE": "below",
    "NOT_CHEST": "tests/systems/covidctnet/test_predictor.py",
    "WRONG_UNITS": "tests/systems/covidctnet/test_denoise.py",
    "WRONG_SIZE": "tests/systems/covidctnet/test_predictor.py",
    "OUT_OF_RANGE": "tests/cohort/test_store.py",
    "CRASHED": "tests/workers/test_isolate.py",
    "TIMED_OUT": "tests/workers/test_isolate.py",
    "OUT_OF_MEMORY": "tests/workers/test_isolate.py",
    "INTERNAL": "tests/workers/test_isolate.py",
    "NO_ANSWER": "tests/run/test_elsewhere.py",
    "BAD_IDENTITY": "tests/dicom_out/test_objects.py",
    "NOT_DICOM": "tests/run/test_outputs.py",
    "NOT_PICTURE": "tests/io/test_picture.py",
    "SMALL_PICTURE": "tests/io/test_picture.py",
    "COLOUR_MODEL": "tests/io/test_picture.py",
    "SEVERAL_PICTURES": "tests/io/test_picture.py",
    "SLICE_ORDER": "tests/slicewise/test_aggregate.py",
    "MIXED_SCANS": "tests/slicewise/test_aggregate.py",
}


# What a next step begins with; what stands in a variable is looked at where the cases are read.
STEPS = re.compile(
    r"(Apply|Check|Choose|Close|Convert|Copy|Correct|Decide|Download|Export|For a matrix of|Give|"
    r"Leave|Make|Move|Or choose|Pack|Read|Save|Set|Sort|Take|Undo|Unpack|Write|\{\}).*\.?"
)


def _texts_of_errors():
    """The text of each error for users that reading raises, ``{}`` for what is filled in."""
    for path in sorted((ROOT / "covidctnet" / "io").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = {"StudyError": 1, "UsageError": 0, "CohortError": 0}.get(node.func.id)
            if place is None:
                continue
            text = node.args[place]
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            said = "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in parts)
            yield pytest.param(said, id=f"{path.name}-{node.lineno}")


@pytest.mark.parametrize("text", [*_texts_of_errors()])
def test_every_error_of_reading_says_what_was_expected_and_ends_with_a_next_step(text):
    assert text.startswith("expected "), text
    sentences = re.split(r"(?<=[.)}]) (?=[A-Z{])", text)
    if text != "expected one patient, {}":  # both its endings are cases below
        assert len(sentences) > 1 and STEPS.fullmatch(sentences[-1]), text


@pytest.mark.parametrize(
    ("name", "code", "cause", "advice"), LINES, ids=[line[0] for line in LINES]
)
def test_a_refusal_names_its_cause_and_the_next_step(tmp_path, name, code, cause, advice):
    case = CASES.get(name) or next(c for n, c in CASES.items() if n.startswith(name))
    folder = tmp_path / "input"
    folder.mkdir()
    case.build(folder)
    with pytest.raises(StudyError) as caught:
        read_volume(case.input_in(folder), **case.options)
    assert caught.value.code == code
    assert re.search(cause, caught.value.message), caught.value.message
    assert re.search(advice, caught.value.message), caught.value.message


def test_five_images_under_five_series_uids_are_counted_together(tmp_path):
    def change(ds, index):
        ds.SeriesInstanceUID = series.uid(f"own/{index}")

    series.write(tmp_path, change=change, skip=range(5, 12))
    with pytest.raises(StudyError, match=r"5 CT images in 5 series.*one series UID") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "TOO_FEW_SLICES"


def test_every_documented_code_has_a_line_that_is_tested():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert documented == {line[1] for line in LINES} | set(ELSEWHERE)
    for code, file in ELSEWHERE.items():
        path = Path(__file__) if file == "below" else ROOT / file
        assert code in path.read_text(), f"{code} is not tested in {file}"


def test_a_series_that_is_not_there_names_those_that_are(tmp_path):
    series.write(tmp_path / "scan")
    (study,) = find_studies(tmp_path / "scan")
    key = series_key(series.uid("study/series"))
    for asked in ("nothing", f"{key}.7"):
        with pytest.raises(StudyError, match=rf"{key}, got {asked}.*covidctnet inspect") as caught:
            read_study(study, series=asked)
        assert caught.value.code == "UNKNOWN_SERIES"


def test_a_series_asked_of_a_file_says_to_leave_it_out(tmp_path):
    CASES["nifti-origin-zero"].build(tmp_path)
    with pytest.raises(StudyError, match=r"a file of one volume\. Leave the series out") as caught:
        read_volume(CASES["nifti-origin-zero"].input_in(tmp_path), series="abc")
    assert caught.value.code == "UNKNOWN_SERIES"


def test_a_slice_that_the_system_keeps_shut_is_named_with_the_reason(tmp_path, monkeypatch):
    files = series.write(tmp_path)
    real = Path.open

    def guarded(self, *args, **options):
        if self == files[3]:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    said = r"file 4 of 12 .*cannot be read \(Permission denied\). Check its rights"
    with pytest.raises(StudyError, match=said) as caught:
        read_volume(tmp_path)
    assert caught.value.code == "UNREADABLE"


def test_patient_ids_drawn_for_every_file_are_told_from_mixed_patients(tmp_path):
    series.write(tmp_path, change=lambda ds, index: setattr(ds, "PatientID", f"drawn-{index}"))
    said = r"each of 12 slices carries another .*file by file\. Anonymise the series again"
    with pytest.raises(StudyError, match=said) as caught:
        read_volume(tmp_path)
    assert caught.value.code == "MIXED_PATIENT"
    assert "drawn" not in str(caught.value)
