"""Damaged inputs by the thousand: each must be refused by name or read right.

    python -m tests.fuzz --n 20000 --seed 0

Exits with 1 when one crashed, hung or ate the memory of its process, raised an error that is none
of this package's, or gave a wrong volume. What was damaged in the pixels alone of a stream that
nothing vouches for cannot be noticed; it is counted by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from covidctnet.progress import bar
from covidctnet.workers.isolate import Child, ChildError, Limits
from tests.fuzz.trial import FORMATS

TASK = "tests.fuzz.trial:work"
LIMITS = Limits(memory_mb=2048, seconds=30.0)
COLUMNS = ("refused", "unchanged", "pixels", "header", "wrong", "untyped", "died")
FAULTS = ("wrong", "untyped", "died")
WORKERS = 2


def main() -> int:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="trials, over all formats")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--format", choices=FORMATS, help="one format alone")
    parser.add_argument("--only", type=int, help="one seed alone; needs --format")
    given = parser.parse_args()
    kinds = [given.format] if given.format else list(FORMATS)
    if given.only is not None:
        jobs = [(given.format or FORMATS[0], given.only)]
    else:
        jobs = [(kinds[k % len(kinds)], given.seed + k // len(kinds)) for k in range(given.n)]
    tally, faults = run(jobs)
    sys.stdout.write(table(tally) + "\n")
    for kind, seed, verdict, detail in faults:
        sys.stdout.write(f"{verdict}: --format {kind} --only {seed}: {detail}\n")
    return 1 if faults else 0


def run(
    jobs: list[tuple[str, int]], limits: Limits = LIMITS
) -> tuple[dict[str, Counter[str]], list[tuple[str, int, str, str]]]:
    """Try every job in child processes.

    Returns:
        Verdicts by format, and the faults: format, seed, verdict, detail.
    """
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    faults: list[tuple[str, int, str, str]] = []
    children: SimpleQueue[Child] = SimpleQueue()
    made = [Child(TASK, limits=limits) for _ in range(WORKERS)]
    for child in made:
        children.put(child)

    def attempt(job: tuple[str, int]) -> tuple[str, str]:
        child = children.get()
        try:
            told, _ = child.ask({"kind": job[0], "seed": job[1]})
            return told["verdict"], told["detail"]
        except ChildError as error:
            return "died", error.code
        finally:
            children.put(child)

    try:
        with ThreadPoolExecutor(WORKERS) as pool, bar("fuzz") as progress:
            for done, (job, (verdict, detail)) in enumerate(
                zip(jobs, pool.map(attempt, jobs), strict=True), start=1
            ):
                tally[job[0]][verdict] += 1
                if verdict in FAULTS:
                    faults.append((*job, verdict, detail))
                progress(done, len(jobs))
    finally:
        for child in made:
            child.close()
    return tally, faults


def table(tally: dict[str, Counter[str]]) -> str:
    """Verdicts by format in Markdown, with a sum."""
    total: Counter[str] = Counter()
    for counts in tally.values():
        total += counts
    lines = [f"| format | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, counts in [*tally.items(), ("all", total)]:
        lines.append(f"| {name} | " + " | ".join(str(counts[c]) for c in COLUMNS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
