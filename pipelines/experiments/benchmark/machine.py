"""What the numbers were measured on, and how fast it can be at all."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import covidctnet
from pipelines.experiments.benchmark.timing import by_turns

__all__ = ["ceilings", "describe"]

# Of the products, and how many a run: a GPU must have more to do than to be asked.
_SIDE, _PRODUCTS = {"cpu": 2048, "cuda": 8192}, {"cpu": 4, "cuda": 20}


def describe(device: torch.device) -> dict[str, str]:
    """Processor, cores, memory, versions and commit; nothing that names a user or a place."""
    facts = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "covidctnet": f"{covidctnet.__version__}{_commit()}",
    }
    if device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
    return facts


def ceilings(device: torch.device, repeats: int) -> dict[str, float]:
    """Large matrix products, FLOP/s, by the name of the format: the best of all runs.

    On a GPU float32 stands there twice: its convolutions are taken in TF32 unless torch is told
    otherwise, its products are not.
    """
    formats = {"float32": ("highest", torch.float32), "bfloat16": ("highest", torch.bfloat16)}
    if device.type == "cuda":
        formats["TF32"] = ("high", torch.float32)
    kind = device.type if device.type in _SIDE else "cpu"
    side, count = _SIDE[kind], _PRODUCTS[kind]
    rates = {}
    before = torch.get_float32_matmul_precision()
    for name, (precision, dtype) in formats.items():
        one = torch.rand(side, side, dtype=dtype, device=device)

        def work(one: torch.Tensor = one) -> None:
            for _ in range(count):
                one @ one

        torch.set_float32_matmul_precision(precision)
        try:
            [row] = by_turns("", {name: work}, max(5, repeats))
        finally:
            torch.set_float32_matmul_precision(before)
        rates[name] = count * 2 * side**3 / min(row.seconds)
    return rates


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit, where the package lies in its repository; a plus when files are changed."""
    here = Path(covidctnet.__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return ""
        changed = "+" if git("status", "--porcelain", "--", ".") else ""
        return f" (commit {git('rev-parse', '--short', 'HEAD')}{changed})"
    except (OSError, subprocess.CalledProcessError):
        return ""
