"""Many jobs, each with a part of the studies and a folder of its own, and one table of all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from covidctnet.cohort.key_table import add_to_key_table, read_key_table
from covidctnet.errors import UsageError
from covidctnet.writer import SoleWriter

if TYPE_CHECKING:
    from covidctnet.report import Results

__all__ = ["Part", "merge_parts", "parts_in"]

PARTS = "parts"
_FOLDER = re.compile(r"(\d+)-of-(\d+)")
MAX_PARTS = 100_000


@dataclass(frozen=True)
class Part:
    """One of several parts that the studies are divided into.

    A study's id alone says which one it is in: jobs that start at different moments, while studies
    are added, still have each study in one part and no study in two.

    Attributes:
        number: From 1.
        count: Of all parts.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MAX_PARTS:
            raise UsageError(
                f"expected --part K/N with K from 1 to N, got {self.number}/{self.count}. Start an "
                "array of jobs at 1, as --array=1-20."
            )

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """The part that an argument names.

        Args:
            text: ``3/20``, or ``slurm`` for the task of an array of SLURM.
            environment: Variables of the process.

        Raises:
            UsageError: If it names none.
        """
        if text == "slurm":
            return cls._of_slurm(environment)
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not found:
            raise UsageError(f"expected --part K/N, as 3/20, or --part slurm, got {text!r:.40}")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def _of_slurm(cls, environment: Mapping[str, str]) -> Self:
        names = ("ID", "MIN", "MAX", "COUNT")
        try:
            task, low, high, count = (int(environment[f"SLURM_ARRAY_TASK_{n}"]) for n in names)
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
        except (KeyError, ValueError):
            raise UsageError(
                "expected --part slurm in a task of an array of SLURM (sbatch --array=1-20), got "
                "no SLURM_ARRAY_TASK_ID, _MIN, _MAX and _COUNT. Give --part K/N."
            ) from None
        if count < 2 or step < 1 or low + step * (count - 1) != high or (task - low) % step:
            raise UsageError(
                "expected an array of several tasks at even steps (--array=1-20) for --part slurm, "
                f"got {count} from {low} to {high}. To run one of them again give --part K/N."
            )
        return cls((task - low) // step + 1, count)

    def has(self, study: str) -> bool:
        """Whether a study belongs to it.

        Args:
            study: Its id.
        """
        digest = hashlib.sha256(study.encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1

    def folder(self, output: Path) -> Path:
        """Where its answers go.

        Args:
            output: The folder of all parts.
        """
        width = len(str(self.count))
        return output / PARTS / f"{self.number:0{width}}-of-{self.count}"


def parts_in(output: Path) -> dict[Part, Path]:
    """The parts that have a folder, in their order.

    Raises:
        UsageError: If there is none, or there are parts of several divisions.
    """
    found: dict[Part, Path] = {}
    folder = output / PARTS
    for path in folder.iterdir() if folder.is_dir() else ():
        if (name := _FOLDER.fullmatch(path.name)) and path.is_dir():
            found[Part(int(name[1]), int(name[2]))] = path
    if not found:
        raise UsageError(
            f"expected answers of covidctnet classify --part K/N in {output.name!r}, got no part"
        )
    counts = sorted({part.count for part in found})
    if len(counts) > 1:
        raise UsageError(
            "expected parts of one division, got some of "
            f"{' and some of '.join(map(str, counts))}: studies would be there twice. Remove those "
            "of one of them."
        )
    return dict(sorted(found.items(), key=lambda item: item[0].number))


def merge_parts(output: Path, *, partial: bool = False, wait: bool = False) -> Results:
    """Make the tables and pages of all parts.

    Args:
        output: The folder of all parts, where the tables go.
        partial: Merge although parts are missing or have not ended.
        wait: Wait for runs that still write into a part, or merge, instead of refusing.

    Returns:
        The merged results.

    Raises:
        UsageError: If a part is missing, has not ended, is being written or was answered by other
            weights, or if the folder holds answers of its own.
    """
    from covidctnet.report import Results

    found = parts_in(output)
    count = next(iter(found)).count
    with ExitStack() as held:
        for path in found.values():
            held.enter_context(SoleWriter(path, wait=wait))
        parts = {part: Results(path) for part, path in found.items()}
        missing = sorted({*range(1, count + 1)} - {part.number for part in parts})
        missing += [part.number for part, results in parts.items() if not results.is_complete]
        if missing and not partial:
            raise UsageError(
                f"expected all of {count} parts, got none of, or not all of, "
                f"{_numbers(sorted(missing))}. Run classify with these --part again, or give "
                "--partial."
            )
        merged = Results(output, wait=wait)
        with merged:
            merged.take_over(list(parts.values()), is_complete=not missing)
            rows = [row for path in found.values() for row in read_key_table(path).values()]
            if rows:
                add_to_key_table(output, rows)
    return merged


def _numbers(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:20]))
    return f"{shown} and {len(values) - 20} more" if len(values) > 20 else shown
