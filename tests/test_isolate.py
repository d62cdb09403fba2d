import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covidctnet.errors import StudyError
from covidctnet.isolate import Child, ChildError, Limits

HASTY = Limits(memory_mb=400, seconds=3.0)


@pytest.fixture(scope="module")
def child():
    with Child("tests.poison:work", limits=HASTY) as child:
        yield child


def ask(child, deed, **values):
    return child.ask({"deed": deed, **values})


def is_alive(child):
    told, array = ask(child, "double", numbers=[1, -2, 300])
    return array.ravel().tolist() == [2, -4, 600] and told["process"] != os.getpid()


def test_an_array_comes_back_from_another_process(child):
    assert is_alive(child)


def test_one_process_answers_many_requests(child):
    assert len({ask(child, "double", numbers=[n])[0]["process"] for n in range(5)}) == 1


def test_any_text_travels(child):
    text = "süß \udcff \n\0 \u2028"
    assert ask(child, "double", numbers=[0], text=text)[0]["text"] == text


def test_an_array_larger_than_any_pipe_comes_whole(child):
    numbers = list(range(1000)) * 3000
    _, array = ask(child, "double", numbers=numbers)
    assert array.ravel().tolist() == [2 * number for number in numbers]


def test_a_refusal_arrives_as_it_was_raised(child):
    with pytest.raises(StudyError, match="a gap") as caught:
        ask(child, "refuse")
    assert (caught.value.code, caught.value.study) == ("SLICE_GAP", "0123456789ab")
    assert is_alive(child)


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("abort", "CRASHED"),
        ("exit", "CRASHED"),
        ("hang", "TIMED_OUT"),
        ("spin", "TIMED_OUT"),
        ("eat", "OUT_OF_MEMORY"),
        ("grow", "OUT_OF_MEMORY"),
        ("divide", "INTERNAL"),
    ],
)
def test_whatever_happens_is_told_and_the_next_request_is_answered(child, deed, code):
    with pytest.raises(ChildError) as caught:
        ask(child, deed)
    assert caught.value.code == code
    assert "Doe" not in str(caught.value)
    assert is_alive(child)


def test_what_a_library_prints_does_not_disturb(child):
    assert ask(child, "print") == ({"printed": True}, None)


def test_large_files_are_given_more_time():
    limits = Limits(seconds=10, seconds_per_mb=0.5)
    assert limits.seconds_for(0) == 10
    assert limits.seconds_for(100 * 2**20) == 60


def test_a_child_that_hangs_ends_without_its_parent(tmp_path):
    code = (
        "import os, threading, time\n"
        "from covidctnet.isolate import Child, Limits\n"
        "child = Child('tests.poison:work', limits=Limits(seconds=8.0))\n"
        "child.ask({'deed': 'nothing'})\n"
        "print(child._process.pid, flush=True)\n"
        "ask = threading.Thread(target=child.ask, args=({'deed': 'spin'},), daemon=True)\n"
        "ask.start()\n"
        "time.sleep(0.3)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    process = Path("/proc") / done.stdout.strip()
    end = time.monotonic() + 30
    while time.monotonic() < end and process.exists():
        time.sleep(0.2)
    assert not process.exists()
