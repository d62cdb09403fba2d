"""All systems on the same phantoms: trained on one division of patients, compared on one page.

    python -m pipelines.experiments.systems.run FOLDER [--preset tiny | paper] [--output PAGE.md]

Draws patients with a CT and a radiograph each, over several sites of which one teaches nothing,
trains every entrant of the plan (`tiny.yaml`, `paper.yaml`), has each answer the patients held
back, measures time and memory, fits the shortcut baselines, and writes the page. What is there is
kept: a run that was stopped or killed goes on where it was, within a training at its last
checkpoint. All are phantoms: the figures say that the systems run and learn, and nothing about
patients.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from covidctnet.cli import main as covidctnet
from covidctnet.errors import UsageError
from covidctnet.files import claim_folder, make_folder, write_whole
from pipelines.experiments.command import tell
from pipelines.experiments.systems.answers import read_answers
from pipelines.experiments.systems.archives import make_archives, read_patients
from pipelines.experiments.systems.page import page
from pipelines.experiments.systems.plan import Entrant, Plan, read_plan
from pipelines.experiments.systems.shortcuts import SHORTCUTS, read_shortcut, write_shortcuts

_HOME = Path(__file__).parent
# Some studies refused is no reason to stop: the page counts them.
_SOME_FAILED = 3


@dataclass(frozen=True)
class Benchmark:
    """A plan in its folder.

    Attributes:
        plan: What is to be done.
        folder: Where it is done.
    """

    plan: Plan
    folder: Path

    def run(self) -> str:
        """Do what is missing, and make the page."""
        claim_folder(self.folder, "plan.json", self.plan.cohort_key(), what="benchmark of systems")
        self._step("phantoms", [], self._phantoms)
        self._step("archives", [], self._archives)
        self._step("shortcuts", [], self._shortcuts)
        for entrant in self.plan.entrants:
            self._train(entrant)
            self._step(
                f"{entrant.name}-answers", self._how(entrant), lambda e=entrant: self._ask(e)
            )
            self._step(
                f"{entrant.name}-cost",
                [self._how(entrant), self.plan.timed],
                lambda e=entrant: self._cost(e),
            )
        return self._page()

    def _step(self, name: str, how: object, do: Callable[[], None]) -> None:
        """Do something unless it was done the same way; its file says how and for how long."""
        file = self.folder / "steps" / f"{name}.json"
        key = self.plan.digest(how)
        if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["key"] == key:
            return
        sys.stderr.write(f"== {name}\n")
        start = time.monotonic()
        do()
        make_folder(file.parent)
        told = {"key": key, "seconds": round(time.monotonic() - start, 1)}
        write_whole(file, json.dumps(told) + "\n")

    def _phantoms(self) -> None:
        cohort = self.plan.cohort
        words = ["phantom", "-o", str(self._phantom_folder), "--radiographs"]
        words += [f"--patients={cohort.patients}", f"--seed={cohort.seed}"]
        words += [f"--scanners=[{', '.join(cohort.scanners)}]"]
        words += [f"--radiograph-size={cohort.radiograph_size}"]
        words += [f"--matrix={cohort.matrix}"] if cohort.matrix is not None else []
        words += [f"--spacing-mm={cohort.spacing_mm}"] if cohort.spacing_mm is not None else []
        _call(words)

    def _archives(self) -> None:
        make_archives(self.plan, self._phantom_folder, self.folder / "archives")

    def _shortcuts(self) -> None:
        patients = read_patients(self.folder / "archives")
        write_shortcuts(self._phantom_folder, patients, self.folder / "shortcuts.json")

    def _train(self, entrant: Entrant) -> None:
        """The commands of an entrant, each a step of its own."""
        work = self._work(entrant)
        self._claim(entrant)
        if entrant.sister_of:
            self._step(f"{entrant.name}-scans", self._how(entrant), partial(self._share, entrant))
        archives = self.folder / "archives"
        names = ("scans", "scans_denoiser", "radiographs")
        places = {name: shlex.quote(str(archives / name)) for name in names}
        for number, step in enumerate(entrant.steps, start=1):
            words = shlex.split(step.format(work=shlex.quote(str(work)), **places))
            how = [self._how(entrant), number]
            self._step(f"{entrant.name}-{number}", how, partial(_call, words))

    def _claim(self, entrant: Entrant) -> None:
        """Begin again where an earlier run trained otherwise: its checkpoints are of no use."""
        file = self.folder / "claims" / f"{entrant.name}.json"
        told = json.dumps(self._how(entrant), indent=1) + "\n"
        if file.is_file() and file.read_text(encoding="utf-8") == told:
            return
        shutil.rmtree(self._work(entrant), ignore_errors=True)
        for step in (self.folder / "steps").glob(f"{entrant.name}-*.json"):
            step.unlink()
        make_folder(file.parent)
        write_whole(file, told)

    def _share(self, entrant: Entrant) -> None:
        """The preprocessed scans of the sister, as links."""
        work, sister = self._work(entrant), self.folder / "work" / entrant.sister_of
        make_folder(work)
        link = work / "preprocessed"
        link.unlink(missing_ok=True)
        link.symlink_to((sister / "preprocessed").resolve())
        shutil.copyfile(sister / "splits.json", work / "splits.json")

    def _ask(self, entrant: Entrant) -> None:
        is_ct = entrant.known.modality == "ct"
        data = self.folder / "archives" / ("scans_test" if is_ct else "radiographs_test")
        words = ["evaluate", "--data", str(data), "--weights", str(self._weights(entrant))]
        _call([*words, "-o", str(self._answers(entrant))])

    def _cost(self, entrant: Entrant) -> None:
        patients = read_patients(self.folder / "archives")
        tested = [p for p in patients.values() if p.split == "test"][: self.plan.timed + 1]
        home = self._phantom_folder
        if entrant.known.modality == "ct":
            paths = [home / p.label.title / p.name for p in tested]
        else:
            places = [home / "radiographs" / p.label.title for p in tested]
            paths = [next(f.glob(f"{p.name}.*")) for f, p in zip(places, tested, strict=True)]
        command = [sys.executable, "-m", "pipelines.experiments.systems.cost"]
        command += [str(self._weights(entrant)), *map(str, paths)]
        command += ["--output", str(self.folder / "cost" / f"{entrant.name}.json")]
        make_folder(self.folder / "cost")
        if subprocess.run(command, check=False, cwd=_HOME.parents[2]).returncode:
            raise UsageError(f"measuring what {entrant.name} costs failed; see the lines above")

    def _page(self) -> str:
        patients = read_patients(self.folder / "archives")
        answers = {
            e.name: read_answers(e.name, self._answers(e), self._weights(e), patients)
            for e in self.plan.entrants
        }
        shortcuts = {
            kind: read_shortcut(self.folder / "shortcuts.json", kind, patients)
            for kind in SHORTCUTS
        }
        costs = {
            e.name: json.loads((self.folder / "cost" / f"{e.name}.json").read_text())
            for e in self.plan.entrants
        }
        seconds = {
            file.stem: json.loads(file.read_text())["seconds"]
            for file in sorted((self.folder / "steps").glob("*.json"))
        }
        lines = page(self.plan, patients, answers, shortcuts, costs, seconds)
        return "".join(f"{line}\n" for line in lines)

    def _how(self, entrant: Entrant) -> list[str]:
        """What decides the weights of an entrant."""
        sister = next((e for e in self.plan.entrants if e.name == entrant.sister_of), None)
        return [entrant.system, *(sister.steps if sister else ()), *entrant.steps]

    @property
    def _phantom_folder(self) -> Path:
        return self.folder / "phantoms"

    def _work(self, entrant: Entrant) -> Path:
        return self.folder / "work" / entrant.name

    def _weights(self, entrant: Entrant) -> Path:
        return self._work(entrant) / "weights"

    def _answers(self, entrant: Entrant) -> Path:
        return self.folder / "evaluations" / entrant.name


class _StoppedError(Exception):
    """A command was stopped, and so is the benchmark.

    Attributes:
        code: Exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _call(words: Sequence[str]) -> None:
    code = covidctnet(list(words))
    if code >= 128:
        raise _StoppedError(code)
    if code not in (0, _SOME_FAILED):
        raise UsageError(f"covidctnet {words[0]} ended with {code}; see the lines above")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.experiments.systems.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", choices=["tiny", "paper"], default="tiny")
    parser.add_argument("--plan", type=Path, help="a plan of one's own instead of a preset")
    parser.add_argument("--entrants", nargs="+", help="some of the plan; all by default")
    parser.add_argument("--patients", type=int, help="of each class")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--scanners", nargs="+")
    parser.add_argument("--unseen", nargs="+", help="scanners whose patients are all held back")
    parser.add_argument("--matrix", type=int)
    parser.add_argument("--spacing-mm", type=float)
    parser.add_argument("--radiograph-size", type=int)
    parser.add_argument("--output", type=Path, help="file for the page beside standard output")
    given = parser.parse_args(arguments)
    names = ("patients", "seed", "scanners", "unseen", "matrix", "spacing_mm", "radiograph_size")

    def make() -> str:
        file = given.plan or _HOME / f"{given.preset}.yaml"
        plan = read_plan(file, {name: getattr(given, name) for name in names})
        plan = plan.only(given.entrants) if given.entrants else plan
        # Commands start elsewhere.
        return Benchmark(plan, given.folder.absolute()).run()

    try:
        return tell(make, given.output)
    except _StoppedError as error:
        return error.code


if __name__ == "__main__":
    sys.exit(main())
