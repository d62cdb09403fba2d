import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covidctnet.errors import StudyError
from covidctnet.workers.isolate import Child, ChildError, Limits, StartError
from tests.io.series import write

# As the console script has it.
MAIN = "import sys; from covidctnet.__main__ import main; sys.exit(main())"
HASTY = Limits(memory_mb=400, seconds=3.0)


@pytest.fixture(scope="module")
def child():
    with Child("tests.poison:work", limits=HASTY) as child:
        yield child


def ask(child, deed, **values):
    return child.ask({"deed": deed, **values})


def is_alive(child):
    reply, array = ask(child, "double", numbers=[1, -2, 300])
    return array.ravel().tolist() == [2, -4, 600] and reply["process"] != os.getpid()


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
    ("deed", "code", "line"),
    [
        ("abort", "CRASHED", "broke down, which a damaged file can cause. Export it again"),
        ("exit", "CRASHED", "broke down, which a damaged file can cause. Export it again"),
        ("hang", "TIMED_OUT", "more than 3 s and was stopped. Check the files"),
        ("spin", "TIMED_OUT", "more than 3 s and was stopped. Check the files"),
        ("eat", "OUT_OF_MEMORY", "memory that reading may take. Check the files"),
        ("grow", "OUT_OF_MEMORY", "memory that reading may take. Check the files"),
        ("divide", "INTERNAL", "ZeroDivisionError. Run again with --verbose"),
    ],
)
def test_whatever_happens_is_told_and_the_next_request_is_answered(child, deed, code, line):
    with pytest.raises(ChildError) as caught:
        ask(child, deed)
    assert caught.value.code == code
    assert line in caught.value.message
    assert "Doe" not in str(caught.value)
    assert is_alive(child)


def test_what_a_library_prints_does_not_disturb(child):
    assert ask(child, "print") == ({"printed": True}, None)


def test_large_files_are_given_more_time():
    limits = Limits(seconds=10, seconds_per_mb=0.5)
    assert limits.seconds_for(0) == 10
    assert limits.seconds_for(100 * 2**20) == 60


@pytest.fixture
def hostile(tmp_path):
    """A folder with a file for every module of Python and some packages, each leaving a trace."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    code = f"open({str(tmp_path / 'executed')!r}, 'a').write(__name__ + ' ')\nraise SystemExit(3)\n"
    for name in (*sys.stdlib_module_names, "pydicom", "numpy", "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(code)
    return folder


def executed(folder):
    trace = folder.parent / "executed"
    return trace.read_text() if trace.exists() else ""


def test_no_file_of_the_working_folder_is_executed_by_a_child(hostile, monkeypatch):
    monkeypatch.chdir(hostile)
    with Child("tests.poison:work", limits=HASTY) as child:
        assert is_alive(child)
    assert executed(hostile) == ""


def test_no_file_of_pythonpath_is_executed_by_a_child(hostile, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(hostile))
    with Child("tests.poison:work", limits=HASTY) as child:
        assert is_alive(child)
    assert executed(hostile) == ""


def test_a_child_ignores_the_variables_of_python_and_the_packages_of_the_user(child):
    flags, _ = ask(child, "flags")
    assert flags == {"isolated": 1, "no_user_site": 1, "ignore_environment": 1}


def test_a_package_that_the_parent_alone_finds_is_found_behind_those_of_the_child(
    tmp_path, monkeypatch
):
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent" / "__init__.py").write_text("VALUE = 7\n")
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("covidctnet.workers.isolate._PACKAGES", ("numpy", "lent"))
    with Child("tests.poison:work", limits=HASTY) as child:
        assert ask(child, "lend")[0] == {"value": 7}


@pytest.mark.parametrize("task", ["tests.no_such_module:work", "tests.poison:no_such_work"])
def test_a_child_that_cannot_start_blames_the_program_and_not_a_file(task):
    with Child(task) as child, pytest.raises(StartError) as caught:
        ask(child, "double", numbers=[1])
    text = str(caught.value)
    assert text.startswith("the program cannot start: ")
    assert "no_such" in text
    assert "Install covidctnet again" in text
    assert "damaged" not in text


def test_an_interpreter_that_is_gone_or_dies_at_its_start_blames_the_program(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "doe-jane" / "python"))
    with Child("tests.poison:work") as child, pytest.raises(StartError, match="FileNotFound") as e:
        ask(child, "double", numbers=[1])
    assert "doe" not in str(e.value)
    monkeypatch.setattr(sys, "executable", "false")
    with Child("tests.poison:work") as child, pytest.raises(StartError, match="status 1"):
        ask(child, "double", numbers=[1])


@pytest.mark.parametrize("pythonpath", ["", ":", "."])
@pytest.mark.parametrize("start", [["-m", "covidctnet"], ["-P", "-c", MAIN]])
def test_the_program_executes_no_file_of_the_working_folder(hostile, start, pythonpath, tmp_path):
    # What Python itself imports to run any module is out of reach.
    own = "import sys, runpy, contextlib, pkgutil, encodings.utf_8; print(*sys.modules)"
    known = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, check=True)
    for name in known.stdout.split():
        (hostile / f"{name}.py").unlink(missing_ok=True)
    for file in list(hostile.iterdir()) if pythonpath else ():
        # Python looks for these in PYTHONPATH before any program starts: the library's modules for
        # other systems, and what a site adds.
        name = file.stem
        is_lacking = name in sys.stdlib_module_names and importlib.util.find_spec(name) is None
        if is_lacking or name in ("sitecustomize", "usercustomize"):
            file.unlink()
    write(tmp_path / "scan")
    done = subprocess.run(
        [sys.executable, *start, "inspect", "--quick", str(tmp_path / "scan")],
        cwd=hostile,
        env={**os.environ, "PYTHONPATH": pythonpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert executed(hostile) == ""
    assert done.returncode == 0, done.stderr


def test_helpers_of_multiprocessing_execute_no_file_of_the_working_folder(hostile, tmp_path):
    arguments = ["phantom", "-o", str(tmp_path / "cohort"), "--patients", "1", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", MAIN, *arguments, "--matrix", "32", "--spacing-mm", "20"],
        cwd=hostile,
        capture_output=True,
        text=True,
        check=False,
    )
    assert executed(hostile) == ""
    assert done.returncode == 0, done.stderr


def test_a_child_that_hangs_ends_without_its_parent(tmp_path):
    code = (
        "import os, threading, time\n"
        "from covidctnet.workers.isolate import Child, Limits\n"
        "child = Child('tests.poison:work', limits=Limits(seconds=2.0))\n"
        "child.ask({'deed': 'nothing'})\n"
        "print(child._process.pid, flush=True)\n"
        "ask = threading.Thread(target=child.ask, args=({'deed': 'hang'},), daemon=True)\n"
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
