import csv
import gc
import json
import os
import shutil
import threading
import time
import weakref
from dataclasses import replace
from functools import partial

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.uid import DeflatedExplicitVRLittleEndian

from covidctnet.classes import CHEST_CT
from covidctnet.contract import PredictorInfo
from covidctnet.errors import StorageError, StudyError, UsageError
from covidctnet.io import find_studies, read_study
from covidctnet.io.child import ReadingChild
from covidctnet.io.fingerprint import changed_at, fingerprint_of
from covidctnet.report import Results, columns
from covidctnet.results import Failure, Prediction
from covidctnet.run.classify import (
    DEFAULT_LIMITS,
    classify_into,
    classify_studies,
    default_readers,
)
from covidctnet.workers.isolate import Limits, StartError
from tests.catalogue.steps import deflated_bomb
from tests.io.series import a_scan, an_affine, write

PROBABILITIES = {CHEST_CT.CONTROL: 0.2, CHEST_CT.COVID19: 0.7, CHEST_CT.CAP: 0.1}
THICK = an_affine((5.0, 0.8, 0.7))


class Oracle:
    """Answers at once; `trouble` makes it raise for some of the studies."""

    info = PredictorInfo(
        "covidctnet",
        "oracle",
        "0123456789ab",
        CHEST_CT,
        caveat="seen nobody",
        provenance={"weights": "oracle", "device": "cpu"},
    )

    def __init__(self, trouble=None):
        self.trouble = trouble or (lambda number: None)
        self.asked = []

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        self.asked.append(volume.source.study)
        error = self.trouble(len(self.asked))
        if error is not None:
            raise error
        return Prediction(
            volume.source.study, PROBABILITIES, seconds={"classify": 0.5}, weights="0123456789ab"
        )


@pytest.fixture
def inbox(tmp_path):
    """Three studies in nested folders of several depths, with other files between them."""
    root = tmp_path / "inbox"
    write(root / "a", study="one", patient="1")
    write(root / "b" / "deep" / "er", study="two", patient="2")
    write(root / "b", study="three", patient="3")
    (root / "letter.txt").write_text("dear colleague")
    return root


def classify(inbox, output, model):
    return classify_into(Results(output), [inbox], model)


def table(output):
    with (output / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_study_of_a_mix_of_nested_folders_gets_one_answer(inbox):
    answers = list(classify_studies([inbox], Oracle()))
    assert len(answers) == 3
    assert len({answer.study for answer in answers}) == 3
    assert all(isinstance(answer, Prediction) for answer in answers)


def test_a_study_given_twice_is_asked_once(inbox):
    model = Oracle()
    assert len(list(classify_studies([inbox, inbox / "a"], model))) == 3
    assert len(model.asked) == 3


def test_every_format_gets_its_answer_in_one_run(inbox):
    scan = a_scan()
    nibabel.save(nibabel.Nifti1Image(scan.T, np.eye(4)), inbox / "b" / "scan.nii.gz")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan), inbox / "scan.mha")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan), inbox / "b" / "scan.nrrd")
    answers = list(classify_studies([inbox], Oracle()))
    assert len({answer.study for answer in answers}) == len(answers) == 6


def test_the_best_series_of_a_study_answers_or_every_one_when_asked(inbox):
    thick = a_scan()[::2]
    write(inbox / "a" / "thick", thick, study="one", series="thick", patient="1", affine=THICK)
    assert len(list(classify_studies([inbox / "a"], Oracle()))) == 1
    answers = list(classify_studies([inbox / "a"], Oracle(), every_series=True))
    assert len({answer.study for answer in answers}) == 2


def test_one_series_alone_is_answered_by_its_key_whatever_lies_beside_it(inbox, tmp_path):
    thick = a_scan()[::2]
    write(inbox / "a" / "thick", thick, study="one", series="thick", patient="1", affine=THICK)
    keys = {study.series for study in find_studies(inbox / "a", every_series=True)}
    for key in keys:
        counts = classify_into(Results(tmp_path / key), inbox, Oracle(), series=key)
        assert sum(counts.by_status.values()) == 1
    with pytest.raises(UsageError, match=r"one of the series that there are, .*, got 'no'"):
        find_studies(inbox, series="no")


def test_an_answer_for_one_series_leaves_the_rows_of_the_others(inbox, tmp_path):
    classify_into(Results(tmp_path / "out"), inbox, Oracle())
    before = (tmp_path / "out" / "results.csv").read_text().splitlines()
    (study, *_) = find_studies(inbox / "a", every_series=True)
    counts = classify_into(Results(tmp_path / "out"), inbox, Oracle(), series=study.series)
    after = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert counts.gone == 0 and set(before) < set(after)


def test_answers_come_one_by_one(inbox):
    model = Oracle()
    answers = classify_studies([inbox], model)
    assert not model.asked
    for number in (1, 2, 3):
        assert next(answers).label is CHEST_CT.COVID19
        assert len(model.asked) == number


def test_a_run_that_is_given_up_reads_no_further(inbox, monkeypatch):
    read, real = [], read_study
    monkeypatch.setattr("covidctnet.run.runner.read_study", lambda s: read.append(s.id) or real(s))
    answers = classify_studies([inbox], Oracle(), limits=None)
    next(answers)
    answers.close()
    assert len(read) <= 2


def test_two_studies_are_in_memory_at_most(inbox, monkeypatch):
    read, real = [], read_study

    def alive():
        gc.collect()
        return sum(volume() is not None for volume in read)

    def reading(study):
        assert alive() <= 1
        volume = real(study)
        read.append(weakref.ref(volume))
        return volume

    monkeypatch.setattr("covidctnet.run.runner.read_study", reading)
    # Slow enough that the following study has been read when an answer comes.
    for answer in classify_studies([inbox], Oracle(lambda _: time.sleep(0.1)), limits=None):
        assert isinstance(answer, Prediction)
        assert alive() <= 1
    assert (len(read), alive()) == (3, 0)


class Waiting(Oracle):
    """Prepares a study only when another one is being prepared as well."""

    def __init__(self, readers):
        super().__init__()
        self.together = threading.Barrier(readers)

    def prepare(self, volume):
        self.together.wait(timeout=30)
        return volume


@pytest.mark.parametrize("limits", [None, DEFAULT_LIMITS])
def test_as_many_studies_are_prepared_at_once_as_there_are_readers(inbox, limits):
    answers = list(classify_studies([inbox], Waiting(3), limits=limits, readers=3))
    assert all(isinstance(answer, Prediction) for answer in answers)
    alone = classify_studies([inbox], Oracle(), limits=limits)
    assert [answer.study for answer in answers] == [answer.study for answer in alone]


def test_what_cannot_be_prepared_is_refused_and_the_others_go_on(inbox):
    class Picky(Oracle):
        prepared = 0

        def prepare(self, volume):
            self.prepared += 1
            if self.prepared == 1:
                raise StudyError("NOT_CHEST", "expected a chest", study=volume.source.study)
            return volume

    model = Picky()
    first, *others = classify_studies([inbox], model, limits=None)
    assert (first.status, first.code) == ("refused", "NOT_CHEST")
    assert model.asked == [other.study for other in others]
    assert len(others) == 2


def test_no_reader_is_refused(inbox):
    with pytest.raises(ValueError, match="one reader or more, got 0"):
        list(classify_studies([inbox], Oracle(), readers=0))


def test_a_missing_path_is_refused_before_anything_is_asked(inbox):
    model = Oracle()
    with pytest.raises(UsageError):
        classify_studies([inbox, inbox / "nothing"], model)
    assert not model.asked


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StudyError("NOT_CHEST", "expected a chest"), "refused", "NOT_CHEST"),
        (MemoryError(), "failed", "OUT_OF_MEMORY"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "failed", "OUT_OF_MEMORY"),
        (ZeroDivisionError("/home/doe/secret"), "failed", "INTERNAL"),
    ],
)
def test_one_bad_study_never_stops_the_rest(inbox, error, status, code):
    answers = list(classify_studies([inbox], Oracle(lambda number: error if number == 2 else None)))
    (failure,) = [answer for answer in answers if isinstance(answer, Failure)]
    assert (failure.status, failure.code) == (status, code)
    assert len(answers) == 3
    assert "secret" not in failure.message
    assert "\n" not in failure.message


def test_a_reader_that_breaks_costs_its_study_only(inbox, monkeypatch):
    real = read_study

    def breaking(study):
        if study.path.name == "a":
            raise MemoryError
        return real(study)

    monkeypatch.setattr("covidctnet.run.runner.read_study", breaking)
    answers = list(classify_studies([inbox], Oracle(), limits=None))
    assert [answer.code for answer in answers if isinstance(answer, Failure)] == ["OUT_OF_MEMORY"]
    assert len(answers) == 3


STUDY = b"1.2.840.99999.1000"
# What is wrong with some of two hundred studies, and the code that says so. The first four break
# the process that reads them; the others are files that would, if they were read trustingly.
POISON = {
    12: ("abort", "CRASHED"),
    13: ("abort", "CRASHED"),
    57: ("hang", "TIMED_OUT"),
    90: ("grow", "OUT_OF_MEMORY"),
    101: ("nested", "CORRUPT_SLICE"),
    102: ("nested", "CORRUPT_SLICE"),
    140: ("bomb", "ABSURD_SIZE"),
    150: ("huge", "ABSURD_SIZE"),
    151: ("huge", "ABSURD_SIZE"),
    199: ("huge", "ABSURD_SIZE"),
}


def poisoned(content, deed):
    if deed == "nested":
        place = content.index(b"\x20\x00\x0d\x00UI")
        nest = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 60000
        return content[:place] + nest + content[place:]
    if deed == "huge":
        for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
            place = content.index(tag) + len(tag)
            content = content[:place] + b"\xff\xff" + content[place + 2 :]
    return content


def test_of_two_hundred_studies_with_a_twentieth_poisoned_exactly_the_good_ones_are_answered(
    tmp_path, monkeypatch
):
    def name(number):
        return STUDY[:-3] + b"%03d" % number

    def of_study(number):
        return lambda dataset, _: setattr(dataset, "StudyInstanceUID", name(number).decode())

    sound = write(tmp_path / "sound", change=of_study(0))
    bomb = write(tmp_path / "bomb", change=of_study(140), syntax=DeflatedExplicitVRLittleEndian)[4]
    deflated_bomb(bomb, 600)
    template = [path.read_bytes() for path in sound]
    for number in range(200):
        deed, _ = POISON.get(number, ("good", ""))
        folder = tmp_path / "inbox" / f"{number:03d}-{deed}"
        folder.mkdir(parents=True)
        for k, content in enumerate(template):
            content = content.replace(STUDY, name(number))
            (folder / f"{k}.dcm").write_bytes(poisoned(content, deed) if k == 4 else content)
        if deed == "bomb":
            bomb.rename(folder / "4.dcm")
    reader = partial(ReadingChild, task="tests.poison:read_or_break")
    monkeypatch.setattr("covidctnet.run.runner.ReadingChild", reader)
    limits = Limits(memory_mb=500, seconds=5.0)
    answers = list(classify_studies([tmp_path / "inbox"], Oracle(), limits=limits))
    codes = {n: a.code for n, a in enumerate(answers) if isinstance(a, Failure)}
    assert len(answers) == 200
    assert codes == {number: code for number, (_, code) in POISON.items()}


def test_nothing_of_a_patient_is_logged(inbox, tmp_path, caplog):
    write(inbox / "gap", study="four", patient="4", skip=(5,))
    classify(inbox, tmp_path / "out", Oracle({1: ZeroDivisionError("Doe^Jane")}.get))
    assert "SLICE_GAP" in caplog.text
    for private in ("Doe", "Jane", "inbox", str(tmp_path)):
        assert private not in caplog.text


def test_progress_is_told_after_every_study(inbox, tmp_path):
    calls = []
    classify_into(
        Results(tmp_path / "out"), [inbox], Oracle(), progress=lambda *step: calls.append(step)
    )
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    calls.clear()
    classify_into(
        Results(tmp_path / "out"), [inbox], Oracle(), progress=lambda *step: calls.append(step)
    )
    assert calls == [(3, 3)]


def test_one_study_is_one_study(inbox, tmp_path):
    counts = classify(inbox / "a", tmp_path / "out", Oracle())
    assert str(counts) == "1 study: 1 classified"


def test_a_study_that_cannot_be_read_is_refused_by_name(inbox):
    write(inbox / "gap", study="four", patient="4", skip=(5,))
    answers = {answer.study: answer for answer in classify_studies([inbox], Oracle())}
    (failure,) = [answer for answer in answers.values() if isinstance(answer, Failure)]
    assert (failure.status, failure.code) == ("refused", "SLICE_GAP")
    assert len(answers) == 4


def slow(add):
    """A disk that answers are written to slower than they come."""

    def wait_and_add(*arguments, **more):
        time.sleep(0.2)
        return add(*arguments, **more)

    return wait_and_add


def test_no_more_than_one_answer_waits_for_the_disk(inbox, tmp_path, monkeypatch):
    write(inbox / "c", study="four", patient="4")
    counts = []

    def look(number):
        counts.append(len(list((tmp_path / "out" / "studies").glob("*.json"))))

    monkeypatch.setattr(Results, "add", slow(Results.add))
    classify(inbox, tmp_path / "out", Oracle(look))
    assert len(counts) == 4
    assert all(written >= asked - 1 for asked, written in enumerate(counts))


def test_an_interrupt_loses_no_answer_that_was_given(inbox, tmp_path, monkeypatch):
    model = Oracle()

    def told(done, total):
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Results, "add", slow(Results.add))
    with pytest.raises(KeyboardInterrupt):
        classify_into(Results(tmp_path / "out"), [inbox], model, progress=told)
    assert len(model.asked) == 2
    assert len(table(tmp_path / "out")) == 2


def test_an_answer_that_cannot_be_written_is_told_also_when_something_else_ends_the_run(
    inbox, tmp_path, monkeypatch, caplog
):
    def full(results, *arguments, **more):
        raise StorageError("No space left")

    def interrupted(number):
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Results, "add", full)
    with pytest.raises(KeyboardInterrupt):
        classify(inbox, tmp_path / "out", Oracle(interrupted))
    assert caplog.text.count("could not be written") == 1


def test_no_reader_outlives_a_run_that_a_full_disk_ends(inbox, tmp_path, monkeypatch):
    closed, close = [], ReadingChild.close

    def full(results, *arguments, **more):
        raise StorageError("No space left")

    def watched(child):
        closed.append(child)
        close(child)

    monkeypatch.setattr(Results, "add", full)
    monkeypatch.setattr(ReadingChild, "close", watched)
    with pytest.raises(StorageError) as caught:
        classify(inbox, tmp_path / "out", Oracle())
    assert len(closed) == 1, caught


@pytest.mark.parametrize(
    ("device", "cores", "readers"),
    [
        ("cpu", 1, 1),
        ("cpu", 2, 2),
        ("cpu", 64, 2),
        ("cuda", 1, 1),
        ("cuda", 2, 1),
        ("cuda", 8, 6),
        ("cuda", 16, 14),
        ("cuda", 64, 16),
    ],
)
def test_readers_leave_cores_to_those_who_answer(monkeypatch, device, cores, readers):
    monkeypatch.setattr("covidctnet.run.classify.usable_cores", lambda: cores)
    assert default_readers(device) == readers


def test_an_answer_is_written_while_the_next_study_is_asked(inbox, tmp_path, monkeypatch):
    is_asked, write_one, waited = threading.Event(), Results.add, []

    def look(number):
        if number == 2:
            is_asked.set()

    def add(results, *arguments, **more):
        waited.append(is_asked.wait(30))
        return write_one(results, *arguments, **more)

    monkeypatch.setattr(Results, "add", add)
    classify(inbox, tmp_path / "out", Oracle(look))
    assert waited == [True, True, True]


def test_progress_counts_what_is_on_the_disk(inbox, tmp_path):
    counts = []

    def told(done, total):
        counts.append((done, len(list((tmp_path / "out" / "studies").glob("*.json")))))

    classify_into(Results(tmp_path / "out"), [inbox], Oracle(), progress=told)
    assert [done for done, _ in counts] == [0, 1, 2, 3]
    assert all(written >= done for done, written in counts)


def test_the_table_has_a_row_a_study_and_the_documented_columns(inbox, tmp_path):
    counts = classify(inbox, tmp_path / "out", Oracle())
    rows = table(tmp_path / "out")
    assert tuple(rows[0]) == columns(CHEST_CT)
    assert [row["label"] for row in rows] == ["Covid-19"] * 3
    assert [float(row["p_covid19"]) for row in rows] == [0.7] * 3
    assert counts.exit_code == 0
    assert "3 classified" in str(counts)


def test_a_second_run_asks_nothing_again(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    before = table(tmp_path / "out")
    model = Oracle()
    counts = classify(inbox, tmp_path / "out", model)
    assert not model.asked
    assert (counts.earlier, counts.exit_code) == (3, 0)
    assert table(tmp_path / "out") == before


def test_a_folder_with_answers_of_other_weights_is_refused_and_left_alone(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    before = table(tmp_path / "out")
    model = Oracle()
    model.info = replace(model.info, digest="ba9876543210")
    with pytest.raises(UsageError, match=r"answers by oracle \(0123456789ab\)"):
        classify(inbox, tmp_path / "out", model)
    assert not model.asked
    assert table(tmp_path / "out") == before


@pytest.mark.parametrize("change", ["one slice more", "other voxels"])
def test_a_study_whose_files_changed_is_asked_again(inbox, tmp_path, change):
    classify(inbox, tmp_path / "out", Oracle())
    slices = 13 if change == "one slice more" else 12
    scan = a_scan((slices, 20, 16))
    scan[:, 8, 8] = 77
    write(inbox / "a", scan, study="one", patient="1")
    model = Oracle()
    counts = classify(inbox, tmp_path / "out", model)
    assert (len(model.asked), counts.earlier) == (1, 2)
    assert len(table(tmp_path / "out")) == 3


def test_a_study_that_was_moved_is_not_asked_again(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    (inbox / "a").rename(inbox / "elsewhere")
    model = Oracle()
    assert classify(inbox, tmp_path / "out", model).earlier == 3
    assert not model.asked


def test_a_failure_of_ours_is_tried_again_and_a_refusal_is_not(inbox, tmp_path):
    trouble = {1: ValueError("ours"), 2: StudyError("NOT_CHEST", "expected a chest")}
    first = classify(inbox, tmp_path / "out", Oracle(trouble.get))
    assert first.exit_code == 3
    model = Oracle()
    second = classify(inbox, tmp_path / "out", model)
    assert len(model.asked) == 1
    assert (second.earlier, second.by_status["refused"], second.exit_code) == (2, 1, 3)


def test_an_interrupted_run_keeps_its_answers_and_goes_on(inbox, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        classify(inbox, tmp_path / "out", Oracle({3: KeyboardInterrupt()}.get))
    assert len(table(tmp_path / "out")) == 2
    model = Oracle()
    assert classify(inbox, tmp_path / "out", model).earlier == 2
    assert len(model.asked) == 1


def test_nothing_found_means_none_classified(tmp_path):
    (tmp_path / "empty").mkdir()
    counts = classify(tmp_path / "empty", tmp_path / "out", Oracle())
    assert (counts.exit_code, str(counts)) == (4, "no study found")


def test_none_classified_is_told_from_some(inbox, tmp_path):
    refuse = StudyError("NOT_CHEST", "expected a chest")
    assert classify(inbox, tmp_path / "all", Oracle(lambda number: refuse)).exit_code == 4
    assert classify(inbox, tmp_path / "one", Oracle({1: refuse}.get)).exit_code == 3


def test_results_hold_the_provenance_and_the_page_no_path(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    (run,) = data["runs"].values()
    assert run["model"]["weights"] == "oracle"
    assert "pydicom" in run["libraries"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Research use only" in page
    for private in (str(tmp_path), "inbox", "Doe", "Jane"):
        assert private not in page
    for outside in ("http://", "https://", "<script src", "<link"):
        assert outside not in page


def test_a_full_disk_is_one_clear_line_and_loses_nothing(inbox, tmp_path, monkeypatch):
    import errno
    import os

    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr("covidctnet.files.os.replace", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        classify(inbox, tmp_path / "out", Oracle())
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    left = [p.name for p in (tmp_path / "out").rglob("*") if "unfinished" in p.name]
    assert not left
    assert classify(inbox, tmp_path / "out", Oracle()).exit_code == 0


def test_a_reader_that_cannot_start_ends_the_run_and_blames_no_study(inbox, tmp_path, monkeypatch):
    reader = partial(ReadingChild, task="tests.no_such_module:work")
    monkeypatch.setattr("covidctnet.run.runner.ReadingChild", reader)
    with pytest.raises(StartError, match="the program cannot start"):
        classify(inbox, tmp_path / "results", Oracle())


def in_this_process(inbox, output, model, **options):
    return classify_into(Results(output), [inbox], model, limits=None, **options)


@pytest.mark.parametrize("half", ["a slice", "all but a slice"])
def test_a_copy_that_ends_while_it_is_read_leaves_no_answer_and_is_asked_again(
    inbox, tmp_path, monkeypatch, half
):
    files = sorted((inbox / "a").glob("*.dcm"))
    content = {file: file.read_bytes() for file in files}
    late = files[:1] if half == "a slice" else files[1:]
    for file in late:
        file.write_bytes(content[file][:-200])

    def read_half(study):
        try:
            return read_study(study)
        finally:
            # The copy ends when the half of it was read.
            for file in late:
                file.write_bytes(content[file])

    monkeypatch.setattr("covidctnet.run.runner.read_study", read_half)
    first = in_this_process(inbox, tmp_path / "out", Oracle())
    assert first.by_status["failed"] == 1
    (row,) = [row for row in table(tmp_path / "out") if row["status"] == "failed"]
    assert row["code"] == "CHANGED"
    monkeypatch.undo()
    second = in_this_process(inbox, tmp_path / "out", Oracle())
    assert (second.earlier, second.by_status["classified"]) == (2, 3)


def test_an_answer_is_kept_under_the_state_that_was_read_and_not_the_one_that_came_after(
    inbox, tmp_path, monkeypatch
):
    class Slow(Oracle):
        def __call__(self, volume, *, keep="numbers"):
            if not self.asked:
                for file in (inbox / "a").glob("*.dcm"):
                    os.utime(file, (1, 1))
            return super().__call__(volume, keep=keep)

    in_this_process(inbox, tmp_path / "out", Slow())
    model = Oracle()
    assert in_this_process(inbox, tmp_path / "out", model).earlier == 2
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("code", "is_asked"), [("UNREADABLE", True), ("OUT_OF_MEMORY", True), ("NOT_CHEST", False)]
)
def test_a_refusal_of_the_machine_is_asked_again_though_the_files_are_as_they_were(
    inbox, tmp_path, code, is_asked
):
    classify(inbox, tmp_path / "out", Oracle({1: StudyError(code, "expected more")}.get))
    model = Oracle()
    counts = classify(inbox, tmp_path / "out", model)
    assert (len(model.asked), counts.earlier) == ((1, 2) if is_asked else (0, 3))


def test_a_refusal_by_other_versions_of_the_libraries_is_asked_again(inbox, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("covidctnet.report.provenance._version", lambda library: "0.1")
        classify(inbox, tmp_path / "out", Oracle({1: StudyError("NOT_CHEST", "none")}.get))
    model = Oracle()
    assert classify(inbox, tmp_path / "out", model).earlier == 2
    assert len(model.asked) == 1


def test_the_row_of_a_study_that_is_gone_goes_and_comes_back_with_it(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    before = table(tmp_path / "out")
    shutil.move(inbox / "a", tmp_path / "a")
    counts = classify(inbox, tmp_path / "out", Oracle())
    assert (counts.gone, counts.earlier, len(table(tmp_path / "out"))) == (1, 2, 2)
    assert "1 left out of the tables, as they are gone or renamed" in str(counts)
    shutil.move(tmp_path / "a", inbox / "a")
    model = Oracle()
    counts = classify(inbox, tmp_path / "out", model)
    assert (counts.gone, counts.earlier, model.asked) == (0, 3, [])
    assert table(tmp_path / "out") == before


def test_a_damaged_file_that_was_replaced_under_another_name_leaves_no_old_row(inbox, tmp_path):
    (inbox / "c").mkdir()
    (inbox / "c" / "half.nii.gz").write_bytes(b"\x1f\x8b\x08\x00half of a scan")
    first = classify(inbox, tmp_path / "out", Oracle())
    assert first.by_status["refused"] == 1
    (inbox / "c" / "half.nii.gz").unlink()
    nibabel.save(nibabel.Nifti1Image(a_scan().T, np.eye(4)), inbox / "c" / "whole.nii.gz")
    counts = classify(inbox, tmp_path / "out", Oracle())
    assert counts.gone == 1
    codes = [row["code"] for row in table(tmp_path / "out")]
    assert len(codes) == 4
    assert "CORRUPT_FILE" not in codes


def test_rows_of_folders_that_were_not_asked_for_stay(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    shutil.rmtree(inbox / "b" / "deep")
    assert classify(inbox / "a", tmp_path / "out", Oracle()).gone == 0
    assert len(table(tmp_path / "out")) == 3


def test_the_row_of_a_study_that_changed_goes_before_it_is_asked_again(inbox, tmp_path):
    classify(inbox, tmp_path / "out", Oracle())
    os.utime(next((inbox / "a").glob("*.dcm")), (1, 1))
    with pytest.raises(KeyboardInterrupt):
        classify(inbox, tmp_path / "out", Oracle({1: KeyboardInterrupt()}.get))
    assert len(table(tmp_path / "out")) == 2


def test_a_study_that_is_being_copied_is_left_for_the_next_run(inbox, tmp_path, monkeypatch):
    moments = {"a": 990.0, "b": 900.0, "er": 1300.0}
    monkeypatch.setattr(
        "covidctnet.run.classify.changed_at", lambda study: moments[study.path.name]
    )
    monkeypatch.setattr("covidctnet.run.classify.time.time", lambda: 1000.0)
    model = Oracle()
    counts = in_this_process(inbox, tmp_path / "out", model, settle_s=60.0)
    assert (len(model.asked), counts.unsettled, counts.exit_code) == (2, 1, 3)
    assert "1 left for the next run, as their files still change" in str(counts)
    moments["a"] = 900.0
    assert in_this_process(inbox, tmp_path / "out", model, settle_s=60.0).exit_code == 0
    assert len(model.asked) == 3


def test_a_copy_that_keeps_its_old_moment_is_told_from_a_file_that_rests(tmp_path):
    start = time.time()
    (file,) = write(tmp_path / "a", a_scan((12, 20, 16)))[:1]
    os.utime(file, (1, 1))
    study = type("AStudy", (), {"files": (file,)})()
    assert changed_at(study) > start - 5
    assert fingerprint_of(study)
