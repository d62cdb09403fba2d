"""Faults of machine, disk, neighbour and user, each tried many times on a dozen small scans."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from covidctnet.cohort.pseudonyms import KEY_FILE, PRIVATE
from pipelines.experiments.resilience.program import Run, start
from pipelines.experiments.resilience.toll import Answers, Toll, records_in, table_of

__all__ = ["FAULTS", "Lab"]

ROOT = Path(__file__).parents[3]
STUDIES = 12
SHAPE = (24, 40, 48)
# Promised: every study has its answer, some have none, the disk is full, another run writes.
DONE, SOME, FULL, REFUSED = 0, 3, 1, 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass
class Lab:
    """Where faults are tried.

    Attributes:
        folder: Empty, for everything that is written.
        seed: Of all moments.
    """

    folder: Path
    seed: int = 0
    expected: Answers = field(init=False)
    usual_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.inbox = self.folder / "inbox"
        for number in range(STUDIES):
            write_scan(self.inbox / f"scan-{number:02d}.nii", number)
        self._made = 0
        began = time.monotonic()
        first = self.new()
        code = self.run(first).wait()
        self.usual_s = time.monotonic() - began
        self.expected = dict(table_of(first))
        # All runs make the same ids.
        shutil.copy(first / PRIVATE / KEY_FILE, self.folder / KEY_FILE)
        if code != DONE or len(self.expected) != STUDIES:
            raise RuntimeError(f"an undisturbed run ended with {code}")

    def new(self) -> Path:
        """A name for new results; those before the last few are removed."""
        self._made += 1
        shutil.rmtree(self.folder / f"results-{self._made - 4}", ignore_errors=True)
        return self.folder / f"results-{self._made}"

    def command(self, results: Path) -> list[str]:
        """Arguments of the program for the dozen."""
        arguments = ["classify", str(self.inbox), "-o", str(results), "--workers", "1"]
        key = self.folder / KEY_FILE
        return [*arguments, "--key", str(key)] if key.is_file() else arguments

    def run(self, results: Path, *options: str, before: Callable[[], None] | None = None) -> Run:
        """Start the program on the dozen."""
        arguments = [*self.command(results), *options]
        return start(arguments, self.folder / f"said-{self._made}{len(options)}", before)

    def moment(self) -> float:
        """Wait until some moment of a run; tells how long."""
        seconds = self.random.uniform(0, self.usual_s)
        time.sleep(seconds)
        return seconds

    def finish(self, results: Path, toll: Toll) -> None:
        """Run to the end, undisturbed, and compare."""
        run = self.run(results)
        toll.ended(run.wait(), (DONE,), run.output)
        toll.judge(results, self.expected)


def write_scan(path: Path, number: int) -> None:
    """A small scan that no other is like."""
    rng = np.random.default_rng(number)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    hu = np.full(SHAPE, -1000.0)
    hu[(y / 0.9) ** 2 + (x / 0.95) ** 2 < 1] = 40
    for side in (-0.45, 0.45):
        hu[((x - side) / 0.33) ** 2 + (y / 0.6) ** 2 + (z / 0.95) ** 2 < 1] = -850
    hu += rng.integers(-12, 13, SHAPE)
    image = nib.Nifti1Image(hu.astype(np.int16).transpose(2, 1, 0), np.diag([-7, -7, 10, 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def kills_of_the_driver(lab: Lab, times: int) -> Toll:
    """Kill -9 at any moment, again and again in one folder until it is done."""
    toll = Toll("driver killed by force")
    while toll.tried < times:
        results, before = lab.new(), {}
        while toll.tried < times and len(before) < STUDIES:
            run = lab.run(results)
            lab.moment()
            run.kill()
            toll.tried += 1
            toll.judge_records(results, lab.expected, before)
            before, _ = records_in(results)
        lab.finish(results, toll)
    return toll


def kills_of_readers(lab: Lab, times: int) -> Toll:
    """Kill -9 of the process that reads, while the driver goes on."""
    toll = Toll("reading process killed by force")
    while toll.tried < times:
        results = lab.new()
        run = lab.run(results)
        end = time.monotonic() + 4 * lab.usual_s
        while toll.tried < times and time.monotonic() < end:
            time.sleep(lab.random.uniform(0, lab.usual_s / 2))
            if os.waitid(os.P_PID, run.process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            for child in run.children():
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                toll.tried += 1
        # Killed while it starts, it looks as if it could not start; a run says so and ends.
        toll.ended(run.wait(), (DONE, SOME, FULL, 4), run.output)
        lab.finish(results, toll)
    return toll


def full_disks(lab: Lab, times: int) -> Toll:
    """Results on a disk that is full after some kB, then copied to a larger one."""
    toll = Toll("disk full", note="sizes of 4 to 160 KiB")
    outer = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = 'mount -t tmpfs -o size="$1"k tmpfs "$2"'
    there = lab.folder / "disk"
    there.mkdir(exist_ok=True)
    can = subprocess.run([*outer, "sh", "-c", mount, "-", "8", str(there)], check=False)
    if can.returncode:
        toll.note = "not tried: no rights to mount a small disk"
        return toll
    keep = '; shift 3; "$@"; code=$?; cp -a "$disk/." "$kept/"; exit $code'
    line = f'disk="$2"; kept="$3"; {mount} || exit 99{keep}'
    for number in range(times):
        results = lab.new()
        results.mkdir()
        size = round(4 + 156 * (number + 0.5) / times)
        command = [*outer, "sh", "-c", line, "-", str(size), str(there), str(results)]
        command += [*_program(), *lab.command(there)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain())
        toll.tried += 1
        if done.returncode not in (DONE, FULL):
            toll.ends += 1
            toll.examples.append(f"{size} KiB: {done.returncode} {done.stderr[-300:]}")
        toll.judge_records(results, lab.expected, {})
        lab.finish(results, toll)
    return toll


def pairs(lab: Lab, times: int) -> Toll:
    """Two runs in one folder at about the same moment; every second pair waits for each other."""
    toll = Toll("two runs in one folder")
    for number in range(times):
        results, waits = lab.new(), number % 2 == 1
        one = lab.run(results, *(["--wait"] * waits))
        time.sleep(lab.random.uniform(0, lab.usual_s / 4))
        other = lab.run(results, *(["--wait"] * waits), "--every-series")
        toll.tried += 1
        for run in (one, other):
            toll.ended(run.wait(), (DONE,) if waits else (DONE, REFUSED), run.output)
        lab.finish(results, toll)
    return toll


def signals(lab: Lab, times: int) -> Toll:
    """A signal that asks for an end: tables are whole at once, and nobody is left behind."""
    toll = Toll("signals (INT, TERM, HUP, QUIT)")
    for number in range(times):
        results, asked = lab.new(), SIGNALS[number % len(SIGNALS)]
        run = lab.run(results)
        lab.moment()
        os.kill(run.process, asked)
        code = run.wait()
        toll.tried += 1
        # Before the program has set its handlers, the system ends it.
        is_early = code == -asked and not results.exists()
        if not is_early:
            toll.ended(code, (DONE, 128 + asked), run.output)
        if not run.has_left_nobody():
            toll.ends += 1
            toll.examples.append("a child was left")
        found, torn = records_in(results)
        rows = {study for study, _ in table_of(results)}
        toll.wrong += torn
        toll.lost += len(found.keys() - rows)
        lab.finish(results, toll)
    return toll


# What people, scripts and attackers call files. Names that begin with a dot are passed over, as
# documented.
NAMES = (
    "plain", "with space", " in front", "behind ", "comma,here", 'quo"te', "it's", "semi;colon",
    "tab\there", "line\nbreak", "return\rhere", "both\r\nhere", "=1+1", "+1", "-1", "@SUM(A1)",
    "=HYPERLINK(\"http://x\",\"y\")", "＝1+1", "--output", "-o", "$(touch x)", "`touch x`", "a|b",
    "a>b", "a&b", "%s%n", "{0}", "\\", "a..b", "a.nii", "*", "?", "[a]", "<script>", "&amp;",
    "emoji😀", "\u202egnp", "é" * 60, "x" * 200, "\x1b[31mred", "\x7f", "\udcff",
)  # fmt: skip


def names(lab: Lab, times: int) -> Toll:
    """Scans with hostile names, all in one folder: the table has one whole row for each."""
    toll = Toll("hostile names of files")
    plain, hostile = lab.folder / "plain", lab.folder / "hostile"
    for number, name in enumerate(NAMES[:times]):
        write_scan(plain / f"{number}.nii", 1000 + number)
        try:
            shutil.copyfile(plain / f"{number}.nii", hostile_path(hostile, f"{name}.nii"))
        except OSError:
            (plain / f"{number}.nii").unlink()  # this file system has no such names
            continue
        toll.tried += 1
    found = []
    for inbox in (plain, hostile):
        results = lab.new()
        run = start(
            ["classify", str(inbox), "-o", str(results), "--workers", "1"], lab.folder / "said"
        )
        toll.ended(run.wait(), (DONE,), run.output)
        found.append(results)
    right, rows = (Counter(answer for _, answer in table_of(results)) for results in found)
    toll.lost += (right - rows).total()
    toll.wrong += (rows - right).total()
    toll.doubled += max(0, rows.total() - right.total())
    text = (found[1] / "results.csv").read_text(encoding="utf-8")
    toll.wrong += abs(len(text.splitlines()) - 1 - rows.total())
    return toll


def hostile_path(folder: Path, name: str) -> Path:
    """Where a scan of that name lies."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


# Name, change of the environment (None takes a variable away), what the shell does before.
Surroundings = tuple[str, Mapping[str, str | None], str]
ENVIRONMENTS: Sequence[Surroundings] = (
    ("no HOME", {"HOME": None}, ""),
    ("a HOME that is not there", {"HOME": "/nonexistent"}, ""),
    ("C locale", {"LC_ALL": "C", "LANG": "C"}, ""),
    ("POSIX locale", {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}, ""),
    ("another temporary folder", {"TMPDIR": "$LAB/other"}, 'mkdir -p "$LAB/other"'),
    ("a temporary folder that is not there", {"TMPDIR": "/nonexistent"}, ""),
    ("no space in the temporary folder", {"TMPDIR": "/dev/full"}, ""),
    ("no PATH", {"PATH": ""}, ""),
    ("64 files", {}, "ulimit -n 64"),
    ("4 GB of address space", {}, "ulimit -v 4000000"),
    ("a small stack", {}, "ulimit -s 1024"),
    ("a stack without limit", {}, "ulimit -s unlimited"),
    ("a stack of 4 GB", {}, "ulimit -s 4000000"),
    ("umask 077", {}, "umask 077"),
    ("low priority", {}, "renice -n 5 $$ >/dev/null"),
    ("input closed", {}, "exec <&-"),
    ("output closed", {}, "exec >&-"),
    ("errors closed", {}, "exec 2>&-"),
    ("all three closed", {}, "exec <&- >&- 2>&-"),
    ("errors on a full disk", {}, "exec 2>/dev/full"),
    # Of the process that reads: this way to start the program looks for modules nowhere else.
    ("hostile modules in the working folder", {}, "cd \"$LAB/modules\""),
    ("hostile modules in PYTHONPATH", {"PYTHONPATH": "$LAB/modules:$ROOT"}, ""),
    ("a time zone that is none", {"TZ": "Nowhere/Land"}, ""),
    ("no terminal, no columns", {"TERM": None, "COLUMNS": "0"}, ""),
    ("32 threads asked for", {"OMP_NUM_THREADS": "32", "OPENBLAS_NUM_THREADS": "32"}, ""),
)  # fmt: skip


def environments(lab: Lab, times: int) -> Toll:
    """The program started as shells, services and containers do."""
    modules = lab.folder / "modules"
    modules.mkdir(exist_ok=True)
    for name in ("json", "numpy", "logging", "csv", "nibabel"):
        (modules / f"{name}.py").write_text("raise SystemExit(77)\n")
    toll = Toll("environments")
    chosen = list(ENVIRONMENTS[:times])
    if times >= len(ENVIRONMENTS) and _can_be_nobody():
        # Who may neither write among the scans nor at home.
        lab.folder.chmod(0o777)
        chosen.append(("another user", {}, f'set -- {" ".join(NOBODY)} "$@"'))
    for name, changes, first in chosen:
        results = lab.new()
        environment = _plain()
        environment["LAB"] = str(lab.folder)
        for key, value in changes.items():
            if value is None:
                environment.pop(key, None)
            else:
                filled = value.replace("$LAB", str(lab.folder)).replace("$ROOT", str(ROOT))
                environment[key] = filled
        line = f'{first or "true"}; exec "$@"'
        command = ["/bin/bash", "-c", line, "-", *_program(), *lab.command(results)]
        toll.tried += 1
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=environment,
                timeout=600,
            )
        except subprocess.TimeoutExpired:
            toll.ends += 1
            toll.examples.append(f"{name}: no end within ten minutes")
            lab.finish(results, toll)
            continue
        if done.returncode != DONE:
            toll.ends += 1
            toll.examples.append(f"{name}: {done.returncode} {done.stderr[-300:]}")
        toll.judge(results, lab.expected)
    return toll


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def _can_be_nobody() -> bool:
    """Whether this process may become another user, and that one can start Python."""
    if os.geteuid() != 0 or shutil.which(NOBODY[0]) is None:
        return False
    # In the second process: the first is still started with the rights of this one.
    again = (
        "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import numpy']))"
    )
    tried = subprocess.run([*NOBODY, sys.executable, "-c", again], capture_output=True, check=False)
    return tried.returncode == 0


def _program() -> list[str]:
    """The command of the program with the stand-in, found from any working folder."""
    start_it = (
        f"import sys; sys.path.append({str(ROOT)!r}); import runpy; "
        "runpy.run_module('pipelines.experiments.resilience.program', run_name='__main__', "
        "alter_sys=True)"
    )
    return [sys.executable, "-I", "-c", start_it]


def _plain() -> dict[str, str]:
    """The environment of this process, without what tests put in."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}


class Trial(NamedTuple):
    """How a fault is tried.

    Attributes:
        attempt: Tries it so many times.
        full: Times in the full form.
        short: Times in the short form.
        is_list: Whether each time is another case, so that a share of them leaves cases out.
    """

    attempt: Callable[[Lab, int], Toll]
    full: int
    short: int
    is_list: bool = False


FAULTS: Mapping[str, Trial] = {
    "driver": Trial(kills_of_the_driver, 150, 3),
    "readers": Trial(kills_of_readers, 50, 2),
    "disk": Trial(full_disks, 20, 1),
    "pairs": Trial(pairs, 100, 2),
    "signals": Trial(signals, 50, 1),
    "names": Trial(names, len(NAMES), len(NAMES), is_list=True),
    "environments": Trial(environments, len(ENVIRONMENTS), 2, is_list=True),
}
"""By name, in the order of the table."""
