import json
import shutil
from dataclasses import replace

import pytest
import yaml
from pydicom import dcmread

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.key_table import read_key_table
from covidctnet.cohort.pseudonyms import FORMER, KEY_FILE, PRIVATE, pseudonyms_of
from covidctnet.cohort.splits import Splits, SplitSettings, studies_of_split
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, StorageError, UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.run.prepare import prepare
from covidctnet.weights.shipped import presets_root
from covidctnet.workers.isolate import Limits
from covidctnet.writer import SoleWriter
from tests.io.series import uid
from tests.small import PREPROCESSING, write_chest, write_cohort

SETTINGS = PreprocessSettings(**PREPROCESSING)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("archive"))


def run(data, work, settings=SETTINGS, limits=None, **options):
    return prepare(data, work, settings=settings, split=SplitSettings(), limits=limits, **options)


def ids_of(work):
    return pseudonyms_of(work, has_former=True)


@pytest.fixture(scope="module")
def made(archive, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return work, run(archive, work)


@pytest.mark.parametrize("preset", ["compact", "demo", "paper", "upstream"])
def test_every_preset_preprocesses_as_its_file_says(archive, tmp_path, preset):
    work = tmp_path / "work"
    arguments = ["preprocess", str(archive), "-o", str(work), "--preset", preset]
    # Coarse, to be quick; everything else is the preset's.
    assert main([*arguments, "--settings.spacing_mm=6"]) == 0
    preset_file = yaml.safe_load((presets_root() / preset / "preprocess.yaml").read_text())
    expected = PreprocessSettings(**{**preset_file["settings"], "spacing_mm": 6.0})
    stored = Store(work / "preprocessed").index()
    assert len(stored) == 16
    assert all(PreprocessSettings(**study.settings) == expected for study in stored)
    set_apart = preset_file["split"]["denoiser_controls"] * 8  # Controls in all
    splits = Splits.load(work / "splits.json")
    ours = [*splits.studies("denoiser_train"), *splits.studies("denoiser_val")]
    assert len(ours) == pytest.approx(set_apart, abs=1)


def test_every_study_is_preprocessed_and_has_its_place(made):
    work, done = made
    stored = Store(work / "preprocessed").index()
    assert (done.made, done.reused, done.failures) == (16, 0, ())
    assert len(stored) == 16
    assert sum(n for counts in done.splits.counts().values() for n in counts.values()) == 16
    assert all(study.lungs is not None and study.lungs.any() for study in stored)


def test_a_second_run_makes_nothing_and_changes_no_split(archive, made, tmp_path):
    work = shutil.copytree(made[0], tmp_path / "work")
    before = (work / "splits.json").read_bytes()
    done = run(archive, work)
    assert (done.made, done.reused) == (0, 16)
    assert (work / "splits.json").read_bytes() == before


def test_a_study_whose_file_changed_is_made_anew(archive, made, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    work = shutil.copytree(made[0], tmp_path / "work")
    changed = sorted((data / "CAP" / "cap0").glob("*.dcm"))[12]
    header = dcmread(changed)
    pixels = header.pixel_array.copy()
    pixels[20:30, 10:20] += 500
    header.PixelData = pixels.tobytes()
    header.save_as(changed)
    before = {s.id: s.volume().array.copy() for s in Store(work / "preprocessed").index()}
    done = run(data, work)
    assert (done.made, done.reused) == (1, 15)
    after = {s.id: s.volume().array for s in Store(work / "preprocessed").index()}
    assert before.keys() == after.keys()
    different = [s for s, array in after.items() if not (array == before[s]).all()]
    (study,) = different
    assert Store(work / "preprocessed").get(study).label is CHEST_CT.CAP


def test_a_study_that_was_removed_leaves_its_split(archive, made, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    work = shutil.copytree(made[0], tmp_path / "work")
    shutil.rmtree(data / "control" / "control7")
    done = run(data, work)
    assert (done.made, done.reused) == (0, 15)
    assert len(done.splits.members) == 15


def test_a_list_of_the_refused_does_not_outlive_them(archive, made, tmp_path):
    work = shutil.copytree(made[0], tmp_path / "work")
    (work / "refused.csv").write_text("left over from a run before\n")
    run(archive, work)
    assert not (work / "refused.csv").exists()


def test_other_settings_make_everything_anew(archive, made, tmp_path):
    work = shutil.copytree(made[0], tmp_path / "work")
    settings = PreprocessSettings(**{**PREPROCESSING, "size": 48})
    done = run(archive, work, settings=settings)
    assert done.made == 16
    assert {s.shape[1] for s in Store(work / "preprocessed").index()} == {48}


def test_new_patients_join_and_the_others_keep_their_split(archive, made, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    work = shutil.copytree(made[0], tmp_path / "work")
    for name in ("late1", "late2"):
        write_chest(data / "CAP" / name, name, sick=True)
    splits = {s: set(made[1].splits.studies(s)) for s in made[1].splits.counts()}
    after = run(data, work).splits
    assert all(members <= set(after.studies(split)) for split, members in splits.items())


def test_two_child_processes_make_what_this_one_makes(archive, made, tmp_path):
    done = run(archive, tmp_path / "work", workers=2, limits=Limits(), key=made[0])
    assert done.splits.digest == made[1].splits.digest
    for study in Store(made[0] / "preprocessed").index():
        twin = Store(tmp_path / "work" / "preprocessed").get(study.id)
        assert (twin.volume().array == study.volume().array).all()


def test_a_study_that_cannot_be_used_is_named_and_left_out(archive, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    broken = write_chest(data / "Covid-19" / "broken", "broken")
    for file in list(broken.glob("*.dcm"))[5:7]:
        file.unlink()
    calls = []
    done = run(data, tmp_path / "work", progress=lambda n, total: calls.append((n, total)))
    (failure,) = done.failures
    assert failure.status == "refused"
    header, row = (tmp_path / "work" / "refused.csv").read_text().splitlines()
    assert header == "source_path,code,message,label,site,split"
    assert row.startswith(f"Covid-19/broken,{failure.code},")
    assert row.endswith(f",Covid-19,,{done.splits.refused[0].split}")
    assert failure.study not in {m.study for m in done.splits.members}
    assert calls[-1] == (17, 17)


def test_an_archive_of_which_nothing_can_be_used_is_refused(tmp_path):
    data = write_cohort(tmp_path / "data", controls=5, others=3)
    for folder in data.glob("*/*"):
        for file in list(folder.glob("*.dcm"))[3:5]:
            file.unlink()
    with pytest.raises(CohortError, match="none of 11 studies could be used"):
        run(data, tmp_path / "work")


def test_what_contradicts_itself_is_told_before_anything_is_preprocessed(archive, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    rows = [f"{p.parent.name}/{p.name},{p.name},{p.parent.name}," for p in data.glob("*/*")]
    for split, message in (
        ("holdout", "got 'holdout'"),
        ("denoiser", "expected a Control patient"),
    ):
        text = "\n".join(["study,patient,label,split", *rows[:-1], rows[-1] + split])
        (data / "cohort.csv").write_text(text)
        with pytest.raises(CohortError, match=message):
            run(data, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_corrected_label_is_the_one_that_training_sees(archive, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    done = run(data, tmp_path / "work")
    study = done.splits.studies("train")[0]
    before = {s.id: s.label for s in studies_of_split(tmp_path / "work", "train")}[study]
    corrected = next(label for label in CHEST_CT if label is not before)
    rows = ["study,patient,label"]
    for entry in ids_of(tmp_path / "work").cohort(read_cohort(data)):
        label = corrected if entry.study.id == study else entry.label
        rows.append(f"{entry.path.as_posix()},{entry.path.name},{label.title}")
    (data / "cohort.csv").write_text("\n".join(rows))
    assert run(data, tmp_path / "work").reused == 16
    assert {s.id: s.label for s in studies_of_split(tmp_path / "work", "train")}[study] is corrected


def test_a_full_disk_is_told_and_no_split_is_drawn(archive, tmp_path, monkeypatch):
    def full(self, *args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run(archive, tmp_path / "work")
    assert not (tmp_path / "work" / "splits.json").exists()


def test_a_copy_under_another_patient_is_told_with_its_path_and_nothing_is_divided(
    archive, made, tmp_path
):
    data = shutil.copytree(archive, tmp_path / "data")
    work = shutil.copytree(made[0], tmp_path / "work")
    before = (work / "splits.json").read_bytes()
    # Another study by its headers and bytes, the same image.
    copy = shutil.copytree(data / "CAP" / "cap0", data / "CAP" / "someone")
    for file in copy.glob("*.dcm"):
        header = dcmread(file)
        header.StudyInstanceUID, header.SeriesInstanceUID = uid("new study"), uid("new series")
        header.PatientID = "someone"
        header.save_as(file)
    ids = ids_of(work)
    studies = {e.path.name: ids.study(e.study.id) for e in read_cohort(data)}
    with pytest.raises(CohortError, match="identical volume") as error:
        run(data, work)
    for name in ("cap0", "someone"):
        assert f"study {studies[name]} (patient {ids.patient(name)}" in str(error.value)
        assert name not in str(error.value)
    header, *rows = (work / "leaks.csv").read_text().splitlines()
    assert header == "leak,what,study,source_path"
    assert sorted(row.partition("volume,")[2] for row in rows) == sorted(
        f"{studies[name]},CAP/{name}" for name in ("cap0", "someone")
    )
    assert (work / "splits.json").read_bytes() == before
    # What the archive no longer holds is not told again.
    shutil.rmtree(copy)
    run(data, work)
    assert not (work / "leaks.csv").exists()


def test_a_series_under_two_patients_is_refused(archive, made, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    work = shutil.copytree(made[0], tmp_path / "work")
    copy = shutil.copytree(data / "CAP" / "cap0", data / "CAP" / "someone")
    for number, file in enumerate(sorted(copy.glob("*.dcm"))):
        header = dcmread(file)
        header.StudyInstanceUID, header.PatientID = uid("new study"), "someone"
        if number == 12:
            pixels = header.pixel_array.copy()
            pixels[20:30, 10:20] += 500
            header.PixelData = pixels.tobytes()
        header.save_as(file)
    with pytest.raises(CohortError, match="one series is study"):
        run(data, work)


def test_a_person_in_training_and_in_the_test_is_refused_before_anything_is_read(
    archive, tmp_path, monkeypatch
):
    data = shutil.copytree(archive, tmp_path / "data")
    for file in (data / "CAP" / "cap1").glob("*.dcm"):
        header = dcmread(file)
        header.PatientID = "cap0"
        header.save_as(file)
    rows = ["study,patient,label,split"]
    for entry in read_cohort(data):
        split = {"cap0": "train", "cap1": "test"}.get(entry.patient, "")
        rows.append(f"{entry.path.as_posix()},{entry.patient},{entry.label.title},{split}")
    (data / "cohort.csv").write_text("\n".join(rows))
    monkeypatch.setattr(
        "covidctnet.run.preprocessing.work", lambda **_: pytest.fail("a scan was read")
    )
    with pytest.raises(CohortError, match="one person is under several patients") as error:
        run(data, tmp_path / "work")
    assert "train)" in str(error.value) and "test)" in str(error.value)
    assert "cap0" not in str(error.value)
    listed = (tmp_path / "work" / "leaks.csv").read_text()
    assert "CAP/cap0" in listed and "CAP/cap1" in listed
    assert not (tmp_path / "work" / "splits.json").exists()


def test_a_folder_of_a_batch_is_told_loudly_on_the_command_line(tmp_path, capfd):
    data = write_cohort(tmp_path / "data", controls=5, others=3)
    for number in range(3):
        write_chest(data / "CAP" / "batch" / str(number), f"batch{number}", sick=True)
    arguments = ["preprocess", str(data), "-o", str(tmp_path / "work"), "--preset", "demo"]
    assert main([*arguments, "--settings.spacing_mm=6"]) == 0
    out = capfd.readouterr().out
    assert "WARNING: patient " in out and "one patient with 3 PatientIDs, in 3 studies" in out
    assert "Patients were told apart by the folders and files of the archive" in out
    assert (tmp_path / "work" / "persons.csv").read_text().count("CAP/batch") == 3
    told = Splits.load(tmp_path / "work" / "splits.json").told_apart
    assert (told.mixed, told.patients, told.with_id) == (1, 12, 14)


def test_a_refused_study_keeps_label_site_and_a_split(archive, made, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    for number in range(4):
        broken = write_chest(data / "Covid-19" / f"broken{number}", f"broken{number}")
        for file in list(broken.glob("*.dcm"))[5:7]:
            file.unlink()
    # The other study of a patient goes where the first is.
    second = write_chest(data / "CAP" / "cap0" / "second", "second")
    for file in list(second.glob("*.dcm"))[5:7]:
        file.unlink()
    done = run(data, tmp_path / "work", key=made[0])
    # Nobody else moves for them.
    assert done.splits.assignment == made[1].splits.assignment
    again = Splits.load(tmp_path / "work" / "splits.json")
    assert again == done.splits and len(again.refused) == 5
    home = {m.patient: m.split for m in done.splits.members}
    assert all(r.split in ("train", "val", "test") for r in again.refused)
    (stays,) = [r for r in again.refused if r.label is CHEST_CT.CAP]
    assert stays.split == home[stays.patient]
    # Once mended it is where it was placed.
    chosen = next(r for r in again.refused if r.label is CHEST_CT.COVID19)
    for number in range(4):
        name = f"broken{number}"
        if ids_of(tmp_path / "work").patient(name) == chosen.patient:
            shutil.rmtree(data / "Covid-19" / name)
            write_chest(data / "Covid-19" / name, name)
    mended = run(data, tmp_path / "work").splits
    assert mended.assignment[chosen.study] == chosen.split
    assert len(mended.refused) == 4


def test_splits_tell_site_content_and_whom_the_cohort_file_placed(archive, tmp_path):
    data = shutil.copytree(archive, tmp_path / "data")
    rows = ["study,patient,label,site,split"]
    for number, entry in enumerate(read_cohort(data)):
        site, split = ("amber", "dune")[number % 2], "val" if number == 0 else ""
        rows.append(f"{entry.path.as_posix()},{entry.patient},{entry.label.title},{site},{split}")
    (data / "cohort.csv").write_text("\n".join(rows))
    members = run(data, tmp_path / "work").splits.members
    stored = {s.id: s for s in Store(tmp_path / "work" / "preprocessed").index()}
    assert {m.site for m in members} == {"amber", "dune"}
    assert all(m.content == stored[m.study].source.digest != "" for m in members)
    assert all(len(m.series) == 1 for m in members)
    assert [m.split for m in members if m.is_requested] == ["val"]


def test_newcomers_are_drawn_as_the_others_were_and_that_is_told(archive, made, tmp_path, caplog):
    work = shutil.copytree(made[0], tmp_path / "work")
    other = SplitSettings(test=0.3)
    done = prepare(archive, work, settings=SETTINGS, split=other, limits=None)
    assert "divided with other shares before" in caplog.text
    assert done.splits == made[1].splits
    assert done.splits.settings == SplitSettings()


def test_a_fold_is_no_work_folder_to_preprocess_into(archive, made, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    replace(made[1].splits, fold="1 of 3").save(work / "splits.json")
    with pytest.raises(UsageError, match=r"one of several folds \(1 of 3\)"):
        run(archive, work)


def test_no_name_of_a_patient_is_kept(made):
    work, _ = made
    for file in work.rglob("*.json"):
        text = file.read_text()
        for name in ("control0", "covid-190", "cap0", "Doe"):
            assert f'"{name}"' not in text
        json.loads(text)


def test_ids_of_a_work_folder_are_keyed_and_its_table_tells_whose_they_are(archive, made):
    work, done = made
    private = work / PRIVATE
    assert (private / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert private.stat().st_mode & 0o777 == 0o700
    assert (private / "README.txt").read_text().startswith("DO NOT SHARE")
    rows = read_key_table(work)
    assert rows.keys() == {m.study for m in done.splits.members}
    ids = ids_of(work)
    for entry in read_cohort(archive):
        row = rows[ids.study(entry.study.id)]
        assert row.study[0] == "s" and row.patient[0] == "p" and len(row.patient) == 13
        assert (row.archive_patient, row.patient_id) == (entry.patient, entry.patient)
        assert row.study_uid == uid(entry.patient) and row.path.endswith(entry.path.as_posix())
        assert row.given_id == entry.study.id
    # What a spreadsheet of all eight-digit numbers would find is not there.
    text = (work / "splits.json").read_text()
    for name in ("control0", "cap0"):
        assert FORMER.patient(name) not in text


def test_the_same_seed_draws_the_same_patients_whatever_the_key(archive, made, tmp_path):
    other = run(archive, tmp_path / "work").splits
    mine, theirs = (
        {(m.content, m.split) for m in splits.members} for splits in (made[1].splits, other)
    )
    assert mine == theirs
    assert made[1].splits.digest != other.digest


def test_a_work_folder_of_before_keys_keeps_its_ids(archive, made, tmp_path, monkeypatch):
    monkeypatch.setattr("covidctnet.run.prepare._ids_of", lambda work, key: FORMER)
    old = run(archive, tmp_path / "work").splits
    monkeypatch.undo()
    assert not (tmp_path / "work" / PRIVATE).exists()
    assert {m.patient for m in old.members} >= {FORMER.patient("cap0"), FORMER.patient("cap1")}
    done = run(archive, tmp_path / "work")
    assert (done.made, done.reused) == (0, 16)
    assert done.splits == old
    assert not (tmp_path / "work" / PRIVATE).exists()
    with pytest.raises(UsageError, match="ids were made without a key"):
        run(archive, tmp_path / "work", key=made[0])


def test_a_work_folder_without_its_key_or_with_another_is_refused(archive, made, tmp_path):
    work = shutil.copytree(made[0], tmp_path / "work")
    before = (work / "splits.json").read_bytes()
    aside = shutil.move(work / PRIVATE, tmp_path / "aside")
    with pytest.raises(UsageError, match="every patient would be somebody else"):
        run(archive, work)
    other = tmp_path / "other"
    pseudonyms_of(other, has_former=False).keep(other)
    with pytest.raises(UsageError, match="the key that the ids of this folder were made with"):
        run(archive, work, key=other)
    assert (work / "splits.json").read_bytes() == before
    assert run(archive, work, key=aside).reused == 16
    assert (work / PRIVATE / KEY_FILE).exists()


def test_what_a_killed_run_left_half_written_is_cleared_by_the_next(archive, made, tmp_path):
    work = shutil.copytree(made[0], tmp_path / "work")
    left = [
        work / "preprocessed" / ".tmp0123abcd.part",
        work / "preprocessed" / "coarse" / ".tmp4567cdef.part",
        work / ".splits.json.0123abcd.unfinished",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
    run(archive, work)
    assert not [path for path in left if path.exists()]


def test_a_second_run_is_refused_while_another_writes_and_leaves_its_files_alone(
    archive, made, tmp_path
):
    work = shutil.copytree(made[0], tmp_path / "work")
    part = work / "preprocessed" / ".tmp0123abcd.part"
    part.write_bytes(bytes(100))
    with SoleWriter(work), pytest.raises(UsageError, match="another run writes into this folder"):
        run(archive, work)
    assert part.exists()


def test_one_seed_teaches_the_same_scans_in_one_order_whatever_the_key(archive, made, tmp_path):
    run(archive, tmp_path)
    ids, taught, stored = [], [], []
    for work in (made[0], tmp_path):
        splits = ("denoiser_train", "denoiser_val", "train", "val", "test")
        studies = [study for split in splits for study in studies_of_split(work, split)]
        ids.append({study.id for study in studies})
        taught.append([study.source.digest for study in studies])
        stored.append([study.source.digest for study in Store(work / "preprocessed").index()])
    assert len(taught[0]) == 16 and not ids[0] & ids[1]
    assert taught[0] == taught[1]
    assert stored[0] == stored[1]
