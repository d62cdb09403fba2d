import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from covidctnet.errors import UsageError
from covidctnet.report import Results
from covidctnet.writer import WRITER_FILES, SoleWriter
from tests.report.answers import AStudy, an_info, answer

HOLD = """
import sys, time
from pathlib import Path
from covidctnet.writer import SoleWriter

writer = SoleWriter(Path(sys.argv[1]))
writer.take()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def held_elsewhere(tmp_path):
    """A process that has the folder."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "taken\n"
    yield holder
    holder.kill()
    holder.communicate()


def test_a_second_writer_is_refused_in_one_line_that_names_host_and_process(
    held_elsewhere, tmp_path
):
    with pytest.raises(UsageError) as caught:
        SoleWriter(tmp_path).take()
    line = str(caught.value)
    assert f"host {socket.gethostname()}, process {held_elsewhere.pid}" in line
    assert "--wait" in line
    assert "\n" not in line
    assert str(tmp_path) not in line


def test_the_folder_of_a_writer_that_was_killed_is_free(held_elsewhere, tmp_path):
    os.kill(held_elsewhere.pid, signal.SIGKILL)
    held_elsewhere.wait()
    with SoleWriter(tmp_path):
        told = json.loads((tmp_path / ".writer.json").read_text())
    assert told["process"] == os.getpid()


def test_a_writer_that_waits_begins_when_the_other_ends(held_elsewhere, tmp_path, caplog):
    caplog.set_level("INFO")
    threading.Timer(0.5, held_elsewhere.kill).start()
    with SoleWriter(tmp_path, wait=True):
        assert held_elsewhere.poll() is not None or held_elsewhere.wait(5) is not None
    assert f"process {held_elsewhere.pid}" in caplog.text


def test_a_writer_leaves_nothing_but_its_lock(tmp_path):
    with SoleWriter(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == WRITER_FILES
    assert [path.name for path in tmp_path.iterdir()] == [".writer.lock"]


def test_without_locks_of_the_file_system_a_run_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    import errno

    def none(*arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    writer = SoleWriter(tmp_path)
    monkeypatch.setattr(writer._lock, "acquire", none)
    with writer:
        pass
    assert "knows no locks" in caplog.text


def test_a_second_run_deletes_nothing_that_the_first_is_writing(held_elsewhere, tmp_path):
    (tmp_path / "studies").mkdir()
    being_written = tmp_path / "studies" / ".a.json.0123abcd.unfinished"
    being_written.write_text("{")
    with pytest.raises(UsageError, match="another run writes"):
        Results(tmp_path).start(an_info())
    assert being_written.exists()
    held_elsewhere.kill()
    held_elsewhere.wait()
    with Results(tmp_path) as results:
        results.start(an_info())
    assert not being_written.exists()


def test_a_run_that_waited_knows_the_answers_of_the_run_it_waited_for(tmp_path):
    first, second = Results(tmp_path), Results(tmp_path, wait=True)
    has_begun = threading.Event()

    def answer_slowly():
        with first:
            first.start(an_info())
            has_begun.set()
            time.sleep(0.5)
            first.add(AStudy(), answer())

    thread = threading.Thread(target=answer_slowly)
    thread.start()
    has_begun.wait()
    with second:
        second.start(an_info())
        assert second.answer(AStudy()) is not None
    thread.join()


def test_answers_of_other_weights_are_never_put_into_one_table(tmp_path):
    with Results(tmp_path) as results:
        results.start(an_info())
        results.add(AStudy(), answer())
    before = (tmp_path / "results.csv").read_bytes()
    other = replace(an_info(digest="ba9876543210"), weights="mine")
    with pytest.raises(UsageError) as caught, Results(tmp_path) as results:
        results.start(other)
    assert "weights mine (ba9876543210), got one with answers by compact" in str(caught.value)
    assert (tmp_path / "results.csv").read_bytes() == before
    with Results(tmp_path) as results:
        results.start(an_info())
