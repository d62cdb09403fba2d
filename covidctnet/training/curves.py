"""Learning curves that travel with the weights: one table a stage, whatever runs it took."""

from __future__ import annotations

import csv
from pathlib import Path

from covidctnet.files import make_folder, table_text, write_whole

__all__ = ["write_curve"]


def write_curve(stage_folder: Path, output: Path, stage: str) -> None:
    """Join the logs of a stage's runs into one table, by step.

    A resumed run repeats what came after its checkpoint: the later run is the one that counts.

    Args:
        stage_folder: Of the work folder; has ``log/run1/metrics.csv`` and so on.
        output: Receives ``STAGE.csv``; nothing is written where nothing was logged.
        stage: ``denoiser``, ``classifier`` or ``lungs``.
    """
    rows: list[dict[str, str]] = []
    names: dict[str, None] = {"epoch": None, "step": None}
    logs = (stage_folder / "log").glob("run*/metrics.csv")
    for log in sorted(logs, key=lambda path: int(path.parent.name.removeprefix("run"))):
        # A run that was killed may have left a part of its last line.
        whole, _, _ = log.read_text(encoding="utf-8").rpartition("\n")
        found = [row for row in csv.DictReader(whole.splitlines()) if row.get("step")]
        if not found:
            continue
        first = min(int(row["step"]) for row in found)
        rows = [row for row in rows if int(row["step"]) < first] + found
        names |= dict.fromkeys(name for row in found for name in row if name)
    if rows:
        make_folder(output)
        table = [[row.get(name) or "" for name in names] for row in rows]
        write_whole(output / f"{stage}.csv", table_text([tuple(names), *table]))
