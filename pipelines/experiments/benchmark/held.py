"""Memory that a process and its children hold."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

__all__ = ["watch"]

INTERVAL_S = 0.05


def watch(process: subprocess.Popen[bytes], *, every_s: float = INTERVAL_S) -> list[int]:
    """Bytes held by a process and its children, asked again and again until it ends.

    Pages that several processes share are divided among them.
    """
    curve = [0]
    while process.poll() is None:
        curve.append(sum(_held(pid) for pid in _family(process.pid)))
        time.sleep(every_s)
    return curve


def _family(pid: int) -> list[int]:
    pids = [pid]
    for parent in pids:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # gone in the meantime
            continue
    return pids


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # gone in the meantime
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
