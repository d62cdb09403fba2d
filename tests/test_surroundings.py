"""What the machine lacks is told in one line with the right cause."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from covidctnet import surroundings
from covidctnet.cli import main
from covidctnet.surroundings import set_threads, shortage, usable_cores
from covidctnet.workers.isolate import Child, StartError
from tests.small import write_chest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    return write_chest(tmp_path_factory.mktemp("inbox") / "one", "one")


def shell(line, *arguments):
    """Exit code and lines of standard error of a line of the shell; $COVIDCTNET is the program."""
    program = f'"{sys.executable}" -m covidctnet'
    done = subprocess.run(
        ["bash", "-c", line.replace("$COVIDCTNET", f"exec {program}"), "-", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr.splitlines()


def test_a_deleted_working_folder_is_one_line(chest, tmp_path):
    line = 'mkdir "$2/gone"; cd "$2/gone"; rmdir "$2/gone"; $COVIDCTNET classify "$1" -o out'
    code, err = shell(line, chest, tmp_path)
    assert code == 2
    assert err == [
        "covidctnet: expected a working folder that exists, got one that was deleted or may not "
        "be entered. Change to another folder and run again."
    ]


@pytest.mark.parametrize(("command", "limit"), [("classify", 3_000_000), ("inspect", 300_000)])
def test_too_little_address_space_is_one_line_before_anything_is_loaded(
    chest, tmp_path, command, limit
):
    """With less, torch ends without a word, or waits for ever."""
    output = f'-o "{tmp_path}/out"' if command == "classify" else ""
    code, err = shell(f'ulimit -v {limit}; $COVIDCTNET {command} "$1" {output}', chest)
    assert code == 2
    assert len(err) == 1
    assert "MiB of address space or more, got" in err[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "{}", "-o", ""],
        ["classify", "{}", "--output="],
        ["preprocess", "{}", "-o", ""],
        ["phantom", "-o", ""],
        ["train-denoiser", "--work", ""],
        ["train-denoiser", "--work="],
    ],
    ids=lambda words: " ".join(words),
)
def test_an_empty_name_of_a_folder_is_not_the_current_one(
    chest, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(tmp_path)
    assert main([word.format(chest) for word in arguments]) == 2
    assert "got an empty name. Name one." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stack():
    """Sets the limit of the stack for what this process starts, and sets it back."""
    before = resource.getrlimit(resource.RLIMIT_STACK)
    yield lambda size: resource.setrlimit(resource.RLIMIT_STACK, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_STACK, before)


@pytest.mark.parametrize("mb", [1, 8, 4000])
def test_a_reading_process_has_the_usual_stack_and_one_thread(stack, mb):
    """Threads get as much stack as that limit says, and all of it counts against their memory."""
    stack(mb * 2**20)
    with Child("tests.poison:work") as child:
        told, _ = child.ask({"deed": "surroundings"})
    assert told == {"stack": 8 * 2**20, "threads": ["1", "1"]}


@pytest.mark.parametrize("limit", ["-S -s 128", "-s 4000000"])
def test_scans_are_read_whatever_the_limit_of_the_stack(chest, limit):
    assert shell(f'ulimit {limit}; $COVIDCTNET inspect "$1" >"$1/../out"', chest)[0] == 0


def test_a_stack_that_cannot_grow_is_one_line(chest):
    code, err = shell('ulimit -s 128; $COVIDCTNET inspect "$1"', chest)
    assert (code, len(err)) == (2, 1)
    assert "expected a stack of 1024 KiB or more, got 128 (ulimit -s)" in err[0]


def test_too_few_files_are_named_as_the_cause(chest):
    code, err = shell('ulimit -n 8; $COVIDCTNET inspect "$1"', chest)
    assert code == 1
    (line,) = [line for line in err if line.startswith("covidctnet: ")]
    assert "Raise ulimit -n" in line and "Install" not in line


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError("Unable to allocate 31.9 MiB"), "memory is short"),
        (ImportError("a.so: failed to map segment from shared object"), "memory is short"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "ulimit -u"),
    ],
)
def test_what_is_short_is_told_in_words(error, cause):
    assert cause in shortage(error)
    assert cause in str(StartError(f"{type(error).__name__}: {error}")).replace("Memory", "memory")


def test_other_errors_are_no_shortage():
    assert shortage(ValueError("memory of a bus")) is None
    assert "Install covidctnet again" in str(StartError("ImportError: no numpy"))


GROUPS = {
    "version 2": (
        "0::/job/task\n",
        {"job/task/cpu.max": "max 100000", "job/cpu.max": "150000 100000"},
    ),
    "version 1": (
        "3:cpu,cpuacct:/job\n2:memory:/job\n",
        {"cpu/job/cpu.cfs_quota_us": "200000", "cpu/job/cpu.cfs_period_us": "100000"},
    ),
    "a container": ("0::/\n", {"cpu.max": "50000 100000"}),
    "no limit": ("0::/\n", {"cpu.max": "max 100000"}),
    "damaged": ("0::/\n", {"cpu.max": "many"}),
    "another group": ("0::/../other\n", {"cpu.max": "max 100000"}),
}


@pytest.mark.parametrize(
    ("kind", "cores"),
    [
        ("version 2", 2),
        ("version 1", 2),
        ("a container", 1),
        ("no limit", 64),
        ("damaged", 64),
        ("another group", 64),
    ],
)
def test_a_quota_of_a_container_limits_threads(tmp_path, monkeypatch, kind, cores):
    told, files = GROUPS[kind]
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(told)
    quotas = surroundings._quotas(tmp_path / "fs", tmp_path / "own")
    monkeypatch.setattr(surroundings, "_quotas", lambda: quotas)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores() == cores
    environment = {}
    set_threads(environment)
    assert environment.get("OMP_NUM_THREADS") == (str(cores) if cores < 64 else None)


def test_threads_wait_for_work_without_burning_cores_unless_the_user_says_how():
    environment = {}
    set_threads(environment)
    assert environment["GOMP_SPINCOUNT"] == "1000"
    for own in ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        environment = dict(own)
        set_threads(environment)
        assert environment.items() >= own.items()
        assert environment.get("GOMP_SPINCOUNT") == own.get("GOMP_SPINCOUNT")
