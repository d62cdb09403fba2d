import shutil
from dataclasses import replace

import pytest
from pydicom import dcmread

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import StorageError, UsageError
from covidctnet.phantom import SCANNERS, CohortPlan, cohort, write_cohort
from covidctnet.slicewise.table import read_images

TINY = {"scanners": ("amber", "dune"), "matrix": 24, "spacing_mm": 16.0}
PLAN = CohortPlan({"Control": 1, "Covid-19": 1, "CAP": 1}, seed=3, **TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "cohort"
    write_cohort(root, PLAN, workers=1)
    return root


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "cohort")


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_cohort_is_read_with_its_labels_and_scanners_as_sites(made):
    planned = {patient.name: patient for patient in PLAN}
    entries = read_cohort(made)
    assert len(entries) == len(planned)
    for entry in entries:
        assert entry.label is planned[entry.patient].label
        assert entry.site == planned[entry.patient].scanner
        assert entry.site in SCANNERS


def test_every_patient_has_its_truth(made):
    for patient in PLAN:
        names = {path.name for path in (made / "truth" / patient.name).iterdir()}
        assert names == {"lungs.nii.gz", "lesions.nii.gz", "phantom.json"}


def test_two_processes_write_the_same_files_as_one(made, tmp_path):
    write_cohort(tmp_path / "cohort", PLAN, workers=2)
    assert files(tmp_path / "cohort") == files(made)


def test_a_second_run_keeps_what_is_there(copy, monkeypatch):
    def refuse(*_):
        raise AssertionError("made a patient again")

    before = files(copy)
    monkeypatch.setattr(cohort, "_make", refuse)
    write_cohort(copy, PLAN, workers=1)
    assert files(copy) == before


def test_an_interrupted_run_goes_on_where_it_was(made, copy):
    lost = next(iter(PLAN))
    scan = copy / lost.label.title / lost.name
    scan.rename(scan.with_name(f".{scan.name}.part"))
    next(scan.with_name(f".{scan.name}.part").iterdir()).unlink()
    (copy / "cohort.csv").unlink()
    calls = []
    write_cohort(copy, PLAN, workers=1, progress=lambda *now: calls.append(now))
    assert calls == [(3, 3)]
    assert files(copy) == files(made)


def test_a_run_that_breaks_leaves_no_half_patient(tmp_path, monkeypatch):
    def stop(phantom, folder, *, patient):
        (folder / "IM0001.dcm").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "write_series", stop)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path / "cohort", PLAN, workers=1)
    assert not list((tmp_path / "cohort").rglob("*.dcm"))
    assert not (tmp_path / "cohort" / "cohort.csv").exists()


def test_progress_counts_to_the_last_patient(tmp_path):
    calls = []
    plan = CohortPlan({"Control": 2}, **TINY)
    write_cohort(
        tmp_path / "new" / "cohort", plan, workers=1, progress=lambda *now: calls.append(now)
    )
    assert calls == [(1, 2), (2, 2)]


def test_another_plan_is_refused_in_the_same_folder(made):
    other = CohortPlan({"Control": 1, "Covid-19": 1, "CAP": 2}, seed=3, **TINY)
    before = files(made)
    with pytest.raises(UsageError, match="holds another cohort of phantoms"):
        write_cohort(made, other, workers=1)
    assert files(made) == before


def test_a_broken_plan_file_is_another_cohort(copy):
    (copy / "phantoms.json").write_text("{")
    with pytest.raises(UsageError, match="holds another cohort of phantoms"):
        write_cohort(copy, PLAN, workers=1)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="new or empty folder"):
        write_cohort(tmp_path, PLAN, workers=1)
    assert list(files(tmp_path)) == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "cohort").write_text("")
    with pytest.raises(UsageError, match="expected a folder"):
        write_cohort(tmp_path / "cohort", PLAN, workers=1)


def test_an_unknown_scanner_is_refused_with_the_names_of_those_known():
    with pytest.raises(UsageError, match=r"got mars; scanners are amber, birch, .*unseen-b"):
        CohortPlan({"Control": 1}, scanners=("amber", "mars"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed must be 0 or more"),
        ({"matrix": 8}, "matrix must be"),
        ({"spacing_mm": 0.0}, "0.3 to 20 mm"),
        ({"scanners": ()}, "expected names of scanners, got none"),
        ({"patients": {}}, "at least one patient"),
        ({"patients": {"Control": 0}}, "at least one patient"),
        ({"patients": {"Control": 3, "CAP": -1}}, "no negative number"),
        ({"patients": {"influenza": 3}}, "unknown label"),
        ({"patients": {"Covid-19": 1, "covid": 1}}, "every class once"),
    ],
)
def test_an_impossible_plan_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        CohortPlan(**{"patients": {"Control": 1}, **changes})


def test_a_patient_does_not_depend_on_how_many_others_there_are():
    few = list(CohortPlan({"CAP": 2}, seed=5))
    many = list(CohortPlan({"Control": 7, "CAP": 4}, seed=5))
    assert few == [patient for patient in many if patient.label is CHEST_CT.CAP][:2]


def test_another_seed_draws_none_of_the_same_patients():
    first, second = (
        list(CohortPlan({"Control": 20, "Covid-19": 20}, seed=seed)) for seed in (0, 1)
    )
    for name in ("name", "seed"):
        known, new = ({getattr(p, name) for p in plan} for plan in (first, second))
        assert len(known) == len(new) == 40
        assert not known & new


def test_every_scanner_asked_for_gets_patients():
    plan = CohortPlan({"Control": 60}, scanners=("amber", "dune", "fjord"))
    assert {patient.scanner for patient in plan} == set(plan.scanners)


def test_a_full_disk_is_told_though_its_number_was_lost(tmp_path, monkeypatch):
    def full(*args, **options):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise OSError("cannot write the element") from error

    monkeypatch.setattr(cohort, "write_series", full)
    plan = CohortPlan({"Control": 1}, matrix=32, spacing_mm=12.0)
    with pytest.raises(StorageError, match="got: No space left on device"):
        write_cohort(tmp_path / "cohort", plan, workers=1)
    assert not list((tmp_path / "cohort").rglob("*.dcm"))
    assert not list((tmp_path / "cohort" / "truth").iterdir())


@pytest.fixture(scope="module")
def with_radiographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("both") / "cohort"
    write_cohort(root, replace(PLAN, radiographs=40), workers=1)
    return root


def test_a_patient_has_one_name_label_and_site_in_ct_and_radiograph(with_radiographs):
    pictures = read_images(with_radiographs / "radiographs", CHEST_CT)
    scans = read_cohort(with_radiographs)
    assert {(i.patient, i.label, i.source) for i in pictures} == {
        (e.patient, e.label, e.site) for e in scans
    }
    for image, entry in zip(pictures, sorted(scans, key=lambda e: e.patient), strict=False):
        if image.file.suffix == ".dcm":
            assert dcmread(image.file).PatientID == image.patient
        assert dcmread(entry.study.files[0]).PatientID == entry.patient


def test_radiographs_leave_the_scans_as_they_are(made, with_radiographs):
    both = files(with_radiographs)
    assert {k: v for k, v in both.items() if k != "phantoms.json"}.items() >= {
        k: v for k, v in files(made).items() if k != "phantoms.json"
    }.items()
    assert "radiographs" not in (made / "phantoms.json").read_text()


def test_a_radiograph_that_is_gone_is_made_again(with_radiographs, tmp_path):
    copy = shutil.copytree(with_radiographs, tmp_path / "cohort")
    lost = next((copy / "radiographs" / "CAP").iterdir())
    lost.unlink()
    calls = []
    plan = replace(PLAN, radiographs=40)
    write_cohort(copy, plan, workers=1, progress=lambda *now: calls.append(now))
    assert calls == [(3, 3)] and files(copy) == files(with_radiographs)


def test_radiographs_of_no_size_are_refused():
    with pytest.raises(UsageError, match="expected a radiograph of 32 to 4096 rows, got 3"):
        replace(PLAN, radiographs=3)
