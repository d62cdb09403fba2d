"""Answers for a PACS: every study once, whatever goes wrong on the way."""

import logging
import threading

import pytest

from covidctnet.cli import main
from covidctnet.errors import UsageError
from covidctnet.report import Results
from covidctnet.serve.dicomweb import Access, Instance, Pacs, PacsError
from covidctnet.serve.ledger import Ledger
from covidctnet.serve.pacs import Outcome, PacsWorker, Watching
from tests.io.series import write
from tests.serve.fake_pacs import FakePacs
from tests.small import tiny_weights, write_chest

QUIET_S = 60.0


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


class Answers:
    """Counts the files of a folder, and says what it is told to."""

    modalities = ("CT",)

    def __init__(self, weights="w1", status="classified", result=None):
        self.weights, self.status, self.result = weights, status, result
        self.folders = []

    def answer(self, folder):
        self.folders.append(sorted(file.read_bytes() for file in folder.iterdir()))
        return [Outcome(self.status, "r1")]

    def objects(self, record):
        assert record == "r1"
        return self.result or {}


@pytest.fixture
def pacs():
    return FakePacs()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def url(pacs):
    with pacs.served() as address:
        yield address


def a_study(tmp_path, name="one", **more):
    return write(tmp_path / name, study=name, series=f"of {name}", patient=name, **more)


@pytest.fixture
def make(url, clock, tmp_path):
    """Makes workers, one after the other, of one state folder."""
    made = []

    def make(answers, state="state", **more):
        watching = Watching(quiet_s=QUIET_S, poll_s=0.01, first_retry_s=10, **more)
        worker = PacsWorker(
            Pacs(Access(url, timeout_s=0.5)), tmp_path / state, answers, watching, clock=clock
        )
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()


def settled(worker, clock):
    """A look, time in which nothing happens, and another look."""
    worker.look()
    clock.now += QUIET_S + 1
    return worker.look()


def add(pacs, files):
    for file in files:
        pacs.add(file.read_bytes())


def test_a_study_is_fetched_whole_and_answered_once(pacs, make, clock, tmp_path):
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers()
    worker = make(answers)
    assert settled(worker, clock) == 1
    assert answers.folders == [sorted(file.read_bytes() for file in files)]
    clock.now += 10 * QUIET_S
    assert worker.look() == 0
    assert worker.outcomes == {"classified": 1}


def test_a_study_that_still_grows_waits_until_it_is_quiet(pacs, make, clock, tmp_path):
    files = a_study(tmp_path)
    answers = Answers()
    worker = make(answers)
    for file in files:
        add(pacs, [file])
        assert worker.look() == 0
        clock.now += QUIET_S - 1
    clock.now += 2
    assert worker.look() == 1
    assert [len(folder) for folder in answers.folders] == [len(files)]


def test_a_study_that_has_grown_after_its_answer_is_answered_again(pacs, make, clock, tmp_path):
    *most, last = a_study(tmp_path)
    add(pacs, most)
    answers = Answers()
    worker = make(answers)
    settled(worker, clock)
    add(pacs, [last])
    assert settled(worker, clock) == 1
    assert [len(folder) for folder in answers.folders] == [len(most), len(most) + 1]


def test_other_weights_answer_every_study_again(pacs, make, clock, tmp_path):
    add(pacs, a_study(tmp_path))
    first = make(Answers())
    settled(first, clock)
    first.close()
    second = Answers("w2")
    assert make(second).look() == 1
    assert len(second.folders) == 1


def test_other_modalities_are_neither_fetched_nor_answered(pacs, make, clock, tmp_path):
    def magnetic(data, index):
        data.Modality = "MR"

    add(pacs, a_study(tmp_path, change=magnetic))
    answers = Answers()
    assert settled(make(answers), clock) == 0
    assert answers.folders == [] and pacs.asked["file"] == 0


def test_a_pacs_that_tells_no_numbers_is_counted_by_its_files(pacs, make, clock, tmp_path):
    pacs.faults.add("no counts")
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers()
    assert settled(make(answers), clock) == 1
    assert len(answers.folders[0]) == len(files)


def result_of(tmp_path, study_files):
    """A file that plays the part of a result in the same study."""
    (path,) = write(
        tmp_path / "result", study="one", series="a result", patient="one", skip=tuple(range(1, 24))
    )[:1]
    import pydicom

    data = pydicom.dcmread(path)
    data.Modality = "SEG"
    data.save_as(path)
    key = Instance(data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
    return {key: path}


def test_results_are_stored_and_no_reason_to_answer_again(pacs, make, clock, tmp_path):
    files = a_study(tmp_path)
    add(pacs, files)
    result = result_of(tmp_path, files)
    answers = Answers(result=result)
    worker = make(answers)
    settled(worker, clock)
    ((instance, path),) = result.items()
    assert pacs.files[instance.study, instance.series, instance.sop] == path.read_bytes()
    assert settled(worker, clock) == 0
    assert len(answers.folders) == 1 and pacs.asked["store"] == 1


def test_a_pacs_that_says_it_stores_and_does_not_is_tried_again_without_a_second_answer(
    pacs, make, clock, tmp_path, caplog
):
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers(result=result_of(tmp_path, files))
    pacs.faults.add("stores nothing")
    worker = make(answers)
    with caplog.at_level(logging.WARNING):
        settled(worker, clock)
    assert "has it not" in caplog.text
    assert worker.look() == 0  # not before its time
    pacs.faults.clear()
    clock.now += 11
    assert worker.look() == 1
    assert len(answers.folders) == 1
    (instance,) = answers.result
    assert (instance.study, instance.series, instance.sop) in pacs.files


@pytest.mark.parametrize("fault", ["half a file", "broken connection", "deleted"])
def test_a_study_that_cannot_be_fetched_whole_is_answered_when_it_can(
    fault, pacs, make, clock, tmp_path
):
    files = a_study(tmp_path)
    add(pacs, files)
    pacs.faults.add(fault)
    answers = Answers()
    worker = make(answers)
    settled(worker, clock)
    assert answers.folders == []
    assert not list((tmp_path / "state" / "incoming").iterdir())
    pacs.faults.clear()
    clock.now += 11
    assert worker.look() == 1
    assert [len(folder) for folder in answers.folders] == [len(files)]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("password", "refuses access"),
        ("status 503", "status 503"),
        ("redirect", "not followed"),
        ("no JSON", "root of its DICOMweb service"),
        ("slow", "within 0.5 s"),
    ],
)
def test_a_pacs_that_does_not_answer_is_one_line_and_is_asked_again(
    fault, words, pacs, make, clock, tmp_path, caplog
):
    add(pacs, a_study(tmp_path))
    pacs.faults.add(fault)
    answers = Answers()
    worker = make(answers)
    with pytest.raises(PacsError, match=words):
        worker.run(once=True)
    stop = threading.Event()
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            pacs.faults.clear()
        if len(waited) > 4:
            stop.set()
        clock.now += QUIET_S + 1
        return stop.is_set()

    stop.wait = wait
    with caplog.at_level(logging.WARNING):
        worker.run(stop=stop)
    assert waited[:3] == [10, 20, 40]
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if words in line] == lines[:1]
    assert "answers again" in lines[1]
    assert len(answers.folders) == 1


def test_a_pacs_that_is_away_is_said_so(tmp_path, clock):
    pacs = Pacs(Access("http://127.0.0.1:9/dicom-web", timeout_s=0.5))
    with pytest.raises(PacsError, match="none can be reached"):
        list(pacs.studies(["CT"]))


def test_a_user_and_a_password_are_sent(pacs, url, tmp_path):
    pacs.faults.add("password")
    add(pacs, a_study(tmp_path))
    asked = Pacs(Access(url, "worker", "secret"))
    assert len(list(asked.studies(["CT"]))) == 1


def test_a_reader_that_fails_is_tried_three_times_and_then_left(pacs, make, clock, tmp_path):
    add(pacs, a_study(tmp_path))
    answers = Answers(status="failed")
    worker = make(answers)
    settled(worker, clock)
    for _ in range(5):
        clock.now += 1000
        worker.look()
    assert len(answers.folders) == 3
    assert worker.outcomes == {"failed": 1}


def test_a_study_that_is_refused_has_nothing_stored_and_is_left(pacs, make, clock, tmp_path):
    add(pacs, a_study(tmp_path))
    worker = make(Answers(status="refused", result={"never": "asked"}))
    settled(worker, clock)
    assert pacs.asked["store"] == 0 and worker.outcomes == {"refused": 1}


@pytest.mark.parametrize("limit", [{"most_bytes": 2_000}, {"most_files": 3}])
def test_a_study_that_is_too_large_is_refused_and_leaves_nothing(
    limit, pacs, make, clock, tmp_path
):
    add(pacs, a_study(tmp_path))
    answers = Answers()
    worker = make(answers, **limit)
    settled(worker, clock)
    clock.now += 10_000
    assert worker.look() == 0
    assert answers.folders == [] and worker.outcomes == {"refused": 1}
    assert not list((tmp_path / "state").glob("incoming/*"))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["answer", "objects"])
def test_a_worker_that_was_killed_goes_on_where_it_was(where, pacs, make, clock, tmp_path):
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers(result=result_of(tmp_path, files))

    def die(*_):
        raise Killed

    setattr(answers, where, die)
    worker = make(answers)
    with pytest.raises(Killed):
        settled(worker, clock)
    worker.close()
    left = tmp_path / "state" / "incoming" / "s0" / "1.dcm"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a patient")
    delattr(answers, where)
    worker = make(answers)
    assert not left.exists()
    assert worker.look() == 1
    assert len(answers.folders) == 1  # an answer that was kept is not asked for twice
    assert pacs.asked["store"] == 1
    assert worker.look() == 0


def test_a_second_worker_of_one_folder_is_refused(make):
    make(Answers())
    with pytest.raises(UsageError, match="another run"):
        make(Answers())


def test_the_list_of_studies_names_nobody_and_only_its_owner_reads_it(pacs, make, clock, tmp_path):
    files = a_study(tmp_path)
    add(pacs, files)
    settled(make(Answers()), clock)
    path = tmp_path / "state" / "studies.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    (study,) = {key[0] for key in pacs.files}
    assert study.encode() not in path.read_bytes()
    other = Ledger(tmp_path / "other.sqlite")
    mine = Ledger(path)
    assert other.id_of(study) != mine.id_of(study) == mine.id_of(study)
    other.close()
    mine.close()


def test_a_list_of_studies_that_is_damaged_is_said_so(tmp_path):
    path = tmp_path / "studies.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="damaged"):
        Ledger(path)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/dicom-web",
        "host:8042",
        "http://",
        "https://user:secret@host/dicom-web",
        "file:///etc",
    ],
)
def test_an_address_that_is_none_or_shows_a_password_is_refused_without_showing_it(url):
    with pytest.raises(UsageError) as error:
        Access(url)
    assert "secret" not in str(error.value)


def test_a_uid_of_a_pacs_leads_to_no_other_place(pacs, url):
    asked = Pacs(Access(url))
    with pytest.raises(PacsError, match="names a place"):
        asked.series("..", ["CT"])
    assert asked.series("1.2/../../../admin?x=1#", ["CT"]) == {}


def test_the_command_answers_what_is_there_and_ends(pacs, url, tmp_path, capsys):
    write_chest(tmp_path / "chest", "one")
    pacs.add_folder(tmp_path / "chest")
    weights = str(tiny_weights(tmp_path / "weights"))
    state = tmp_path / "state"
    command = ["serve", "pacs", "--dicomweb", url, "--state", str(state), "--weights", weights]
    assert main([*command, "--quiet", "0", "--once"]) == 0
    out = capsys.readouterr().out
    assert "Research use only" in out
    (folder,) = (state / "results").iterdir()
    (record,) = Results(folder).records
    assert record.status in out
    fetched = pacs.asked["file"]
    assert main([*command, "--quiet", "0", "--once"]) == 0
    assert pacs.asked["file"] == fetched == 25
    kinds = sorted(kind for kind in pacs.modality.values() if kind != "CT")
    assert kinds == ["OT", "SEG", "SR"] and pacs.asked["store"] == 3
