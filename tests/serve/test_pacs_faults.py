"""What goes wrong between a PACS and its workers: certificates, halves, deletions, two at once."""

import logging
import shutil
import ssl
import subprocess

import pytest

from covidctnet.report import Results
from covidctnet.serve.answers import FolderAnswers
from covidctnet.serve.dicomweb import Access, Pacs, PacsError
from covidctnet.serve.pacs import PacsWorker, Watching
from tests.dicom_out.answers import INFO, an_answer
from tests.serve.fake_pacs import FakePacs
from tests.serve.test_pacs import QUIET_S, Answers, Clock, a_study, add, settled


@pytest.fixture
def pacs():
    return FakePacs()


@pytest.fixture
def clock():
    return Clock()


class Seer:
    """Answers at once, with seeded evidence."""

    info = INFO

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        return an_answer(volume)


@pytest.fixture
def make(pacs, clock, tmp_path):
    """Makes workers of one PACS, each with a state folder of its own."""
    made = []
    with pacs.served() as url:

        def make(state, answers=None):
            folder = tmp_path / state
            answers = answers or FolderAnswers(Seer(), folder / "results", limits=None)
            watching = Watching(quiet_s=QUIET_S, first_retry_s=10)
            worker = PacsWorker(Pacs(Access(url)), folder, answers, watching, clock=clock)
            made.append((worker, answers))
            return worker

        yield make
        for worker, answers in made:
            worker.close()
            if isinstance(answers, FolderAnswers):
                answers.close()


# ---- Certificates ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that only its own file vouches for, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "pacs.pem", folder / "pacs.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=pacs", "-keyout", key, "-out", pem]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return pem, key


@pytest.fixture
def https(pacs, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with pacs.served(context) as url:
        yield url


def test_a_certificate_that_nobody_vouches_for_is_refused_and_nothing_is_sent(
    https, pacs, clock, tmp_path, caplog
):
    add(pacs, a_study(tmp_path))
    asked = Pacs(Access(https, "worker", "secret"))
    with pytest.raises(PacsError, match=r"certificate that is trusted.*--ca-file"):
        list(asked.studies(["CT"]))
    answers = Answers()
    worker = PacsWorker(asked, tmp_path / "state", answers, Watching(), clock=clock)
    with pytest.raises(PacsError):
        worker.run(once=True)
    worker.close()
    assert not pacs.asked and not answers.folders
    assert "secret" not in caplog.text


def test_a_certificate_of_the_hospital_is_taken_with_its_file(https, pacs, certificate, tmp_path):
    add(pacs, a_study(tmp_path))
    asked = Pacs(Access(https, ca_file=certificate[0]))
    assert len(list(asked.studies(["CT"]))) == 1


def test_the_certificate_of_another_host_is_refused(https, certificate):
    elsewhere = https.replace("127.0.0.1", "localhost")
    with pytest.raises(PacsError, match="certificate that is trusted"):
        list(Pacs(Access(elsewhere, ca_file=certificate[0])).studies(["CT"]))


# ---- Halves and deletions ----


def test_a_study_that_is_deleted_while_it_is_read_is_left_until_it_comes_again(
    pacs, make, clock, tmp_path, caplog
):
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers()
    worker = make("state", answers)

    def delete():
        if pacs.asked["file"] == 3:
            with pacs.lock:
                pacs.files.clear()

    pacs.before_file = delete
    with caplog.at_level(logging.WARNING):
        settled(worker, clock)
    assert "no longer has all of it; left" in caplog.text
    assert answers.folders == [] and not list((tmp_path / "state" / "incoming").iterdir())
    clock.now += 10_000
    assert worker.look() == 0  # it is not listed any more
    add(pacs, files)
    worker.look()
    clock.now += QUIET_S + 1
    worker.look()
    assert [len(folder) for folder in answers.folders] == [len(files)]


def test_a_study_that_loses_a_file_while_it_is_read_is_answered_whole_or_not_at_all(
    pacs, make, clock, tmp_path, caplog
):
    files = a_study(tmp_path)
    add(pacs, files)
    answers = Answers()
    worker = make("state", answers)

    def delete():
        if pacs.asked["file"] == 3:
            with pacs.lock:
                pacs.files.pop(list(pacs.files)[-1])

    pacs.before_file = delete
    with caplog.at_level(logging.WARNING):
        settled(worker, clock)
    assert "no longer has all of it" in caplog.text and answers.folders == []
    # What is left is a study of its own size, once it is quiet.
    clock.now += 11
    assert settled(worker, clock) == 1
    assert [len(folder) for folder in answers.folders] == [len(files) - 1]


def test_half_a_study_whose_sender_was_cut_off_is_answered_again_when_the_rest_comes(
    pacs, make, clock, tmp_path
):
    files = a_study(tmp_path)
    half = len(files) // 2
    add(pacs, files[:half])
    answers = Answers(status="refused")
    worker = make("state", answers)
    assert settled(worker, clock) == 1
    clock.now += 10 * QUIET_S
    assert worker.look() == 0
    answers.status = "classified"
    add(pacs, files[half:])
    assert settled(worker, clock) == 1
    assert [len(folder) for folder in answers.folders] == [half, len(files)]
    assert worker.outcomes == {"classified": 1}


# ---- Two workers ----


def test_two_workers_of_one_pacs_store_every_result_once(pacs, make, clock, tmp_path):
    for name in ("one", "two"):
        add(pacs, a_study(tmp_path, name))
    first, second = make("first"), make("second")
    settled(first, clock)
    held = dict(pacs.files)
    assert sorted(set(pacs.modality.values())) == ["CT", "OT", "SEG", "SR"]
    stored = pacs.asked["store"]
    assert stored == 6
    settled(second, clock)
    assert pacs.files == held and pacs.asked["store"] == stored
    assert first.outcomes == second.outcomes == {"abstained": 2}
    assert second.look() == 0


def test_two_workers_at_the_same_study_leave_one_result_in_the_pacs(pacs, make, clock, tmp_path):
    add(pacs, a_study(tmp_path))
    first, second = make("first"), make("second")
    first.look()
    second.look()
    clock.now += QUIET_S + 1
    # The second one answers and stores while the first one fetches.
    pacs.before_file = lambda: second.look() if pacs.asked["file"] == 1 else None
    assert first.look() == 1
    kinds = sorted(kind for kind in pacs.modality.values() if kind != "CT")
    assert kinds == ["OT", "SEG", "SR"] and pacs.asked["store"] == 3


# ---- Many studies ----


def test_records_of_earlier_studies_are_read_once(pacs, make, clock, tmp_path, monkeypatch):
    read = []
    original = Results._read
    monkeypatch.setattr(Results, "_read", lambda self: (read.append(1), original(self)))
    answers = FolderAnswers(Seer(), tmp_path / "state" / "results", limits=None)
    worker = make("state", answers)
    for number in range(4):
        add(pacs, a_study(tmp_path, f"study {number}"))
    assert settled(worker, clock) == 4
    assert len(read) == 2  # when it is made, and when it is opened
    answers.close()
    (folder,) = (tmp_path / "state" / "results").iterdir()
    assert len(Results(folder).records) == 4
    table = (folder / "results.csv").read_text()
    assert len(table.splitlines()) == 5
