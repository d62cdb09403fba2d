"""What a fault has cost: answers that are lost, doubled or wrong."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Answer", "Answers", "Toll", "records_in", "table_of"]

Answer = tuple[str, ...]
"""Status, label and probabilities of a row, as its table has them."""
Answers = Mapping[str, Answer]
"""By study."""

_COLUMNS = ("status", "label", "p_control", "p_covid19", "p_cap")


@dataclass
class Toll:
    """Of one kind of fault.

    Attributes:
        fault: In words.
        tried: How often.
        lost: Answers that were there, or had to be there in the end, and are not.
        doubled: Rows beyond one a study.
        wrong: Rows or records with another answer, or torn.
        ends: Runs that ended otherwise than promised.
        note: What is to be known.
        examples: What went wrong, for whoever looks into it.
    """

    fault: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    ends: int = 0
    note: str = ""
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or wrong, and every run ended as promised."""
        return not (self.lost or self.doubled or self.wrong or self.ends)

    def ended(
        self, code: int | None, promised: tuple[int, ...], output: Path | None = None
    ) -> None:
        """Count an end."""
        if code in promised:
            return
        self.ends += 1
        said = output.read_text(errors="replace")[-300:] if output and output.exists() else ""
        self.examples.append(f"ended with {code}, expected {promised}: {said}")

    def judge(self, folder: Path, expected: Answers) -> None:
        """Compare the table and the records of a finished run with what is right."""
        rows = table_of(folder)
        counts = Counter(study for study, _ in rows)
        self.lost += len(expected.keys() - counts.keys())
        self.doubled += sum(count - 1 for count in counts.values())
        self.wrong += sum(answer != expected.get(study) for study, answer in rows)
        self.judge_records(folder, expected, {study: expected[study] for study in expected})

    def judge_records(self, folder: Path, expected: Answers, before: Answers) -> None:
        """Compare the records of a run, finished or not.

        Args:
            folder: Of the results.
            expected: What is right.
            before: What was there already.
        """
        found, torn = records_in(folder)
        self.wrong += torn
        self.lost += len(before.keys() - found.keys())
        self.wrong += sum(answer[0] != expected[study][0] for study, answer in found.items())


def table_of(folder: Path) -> list[tuple[str, Answer]]:
    """The rows of the table, with their study; empty where there is none."""
    try:
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            return [
                (row["study"], tuple(row[name] for name in _COLUMNS))
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []


def records_in(folder: Path) -> tuple[dict[str, Answer], int]:
    """Status and label of the answers on the disk, and how many records are torn.

    Failures are no answers: they are asked again.
    """
    found, torn = {}, 0
    for path in (folder / "studies").glob("[!.]*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            status, label = record["status"], record["label"]
        except (ValueError, KeyError):
            torn += 1
            continue
        if status not in ("failed", "refused"):
            found[path.stem] = (str(status), str(label))
    return found, torn
