"""A labelled archive, and the ways it can contradict itself."""

from pathlib import Path

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import CohortError, UsageError
from tests.io import series


@pytest.fixture
def archive(tmp_path):
    for label, patients in {"control": ["a", "b"], "COVID-19": ["c"], "Cap": ["d"]}.items():
        for patient in patients:
            series.write(tmp_path / label / patient, study=patient)
    return tmp_path


def table(root, text):
    (root / "cohort.csv").write_text(text)
    return root


def test_folders_are_labels_and_entries_are_patients(archive):
    (archive / "masks").mkdir()
    (archive / "readme.txt").write_text("hello")
    cohort = read_cohort(archive)
    assert [(e.patient, e.label) for e in cohort] == [
        ("c", CHEST_CT.COVID19),
        ("d", CHEST_CT.CAP),
        ("a", CHEST_CT.CONTROL),
        ("b", CHEST_CT.CONTROL),
    ]
    assert all((archive / e.path).exists() and len(e.study.files) == 12 for e in cohort)


def test_a_file_a_patient_will_do(tmp_path):
    from covidctnet.io import read_volume
    from tests.io.test_nifti import an_image

    (tmp_path / "CAP").mkdir()
    an_image().to_filename(tmp_path / "CAP" / "p1.nii.gz")
    (entry,) = read_cohort(tmp_path)
    assert entry.patient == "p1"
    assert entry.study.format == "nifti"
    assert read_volume(entry.root / entry.path).shape == series.SHAPE


def test_a_table_adds_site_and_split(archive):
    text = (
        "study,patient,label,site,split\ncontrol/a,p1,normal,here,train\ncontrol/b,p1,Control,,\n"
    )
    first, second = read_cohort(table(archive, "\ufeff" + text))
    assert (first.patient, first.site, first.split) == ("p1", "here", "train")
    assert (second.site, second.split) == (None, None)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("", "expected a row for every study in cohort.csv, got none"),
        ("control/a,p1,flu\n", "line 2: unknown label 'flu'"),
        ("control/x,p1,CAP\n", "line 2: the study is missing"),
        ("../a,p1,CAP\n", "line 2: the path leaves the archive"),
        ("/etc,p1,CAP\n", "line 2: the path leaves the archive"),
        ("control/a,,CAP\n", "patient is empty"),
        ("control/a,p1,CAP,x,y,z\n", "more cells than columns"),
        ("control/a,p1,CAP\ncontrol/b,p1,Control\n", "line 3: its patient is Control here and CAP"),
        ("control/a,p1,CAP,,val\ncontrol/b,p1,CAP,,test\n", "line 3: its patient is in split test"),
        ("control/a,p1,CAP\ncontrol/a,p2,CAP\n", "line 3 and cohort.csv line 2 hold the same"),
        (".hidden,p1,CAP\n", "line 2 holds no scan"),
    ],
)
def test_a_contradiction_is_one_clear_line(archive, rows, what):
    (archive / ".hidden").mkdir()
    table(archive, "study,patient,label,site,split\n" + rows)
    with pytest.raises(CohortError, match=what) as caught:
        read_cohort(archive)
    assert "\n" not in str(caught.value)


def test_a_table_without_its_columns_or_no_table_is_refused(archive):
    with pytest.raises(CohortError, match="lacks the columns patient, label"):
        read_cohort(table(archive, "study,who\na,b\n"))
    (archive / "cohort.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CohortError, match="no comma-separated table"):
        read_cohort(archive)


def test_neither_layout_is_refused(tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(CohortError, match=r"expected Control/, Covid-19/, CAP/ or cohort.csv"):
        read_cohort(tmp_path)


def test_an_empty_class_is_refused(archive):
    (archive / "Normal").mkdir()
    with pytest.raises(CohortError, match="for every patient in Normal/, got none"):
        read_cohort(archive)


def test_a_patient_without_a_scan_is_refused_without_a_name(archive):
    (archive / "Cap" / "Jane").mkdir()
    with pytest.raises(CohortError, match="entry 1 of 2 in Cap/ holds no scan") as caught:
        read_cohort(archive)
    assert "Jane" not in str(caught.value)


def test_a_patient_in_two_folders_has_two_labels(archive):
    series.write(archive / "Cap" / "a", study="other")
    with pytest.raises(CohortError, match="Give a patient one label"):
        read_cohort(archive)


def test_a_study_in_two_folders_is_refused(archive):
    series.write(archive / "Cap" / "e", study="a")
    with pytest.raises(CohortError, match="hold the same study"):
        read_cohort(archive)


def test_a_missing_archive_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="expected the folder"):
        read_cohort(tmp_path / "nowhere")


def test_a_folder_of_scans_that_names_no_class_is_refused(archive):
    series.write(archive / "Covid_pos" / "p9", study="nine", patient="9")
    with pytest.raises(CohortError, match=r"name no class holds 1 scans; classes are Control"):
        read_cohort(archive)


def test_a_folder_without_scans_may_have_any_name(archive):
    (archive / "notes").mkdir()
    (archive / "notes" / "readme.txt").write_text("nothing to read")
    assert read_cohort(archive)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("study;patient;label", "expected commas"),
        ("study,patient,label,label", "columns label twice"),
    ],
)
def test_a_table_that_may_be_misread_is_refused(archive, head, message):
    (archive / "cohort.csv").write_text(f"{head}\nCAP/p1,1,CAP,Control\n")
    with pytest.raises(CohortError, match=message):
        read_cohort(archive)


def test_a_folder_that_may_not_be_read_is_named(archive, monkeypatch):
    real = Path.iterdir

    def guarded(self):
        if self.name.lower() == "cap":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", guarded)
    with pytest.raises(CohortError, match=r"(?i)cap/ cannot be read .*check its rights"):
        read_cohort(archive)
