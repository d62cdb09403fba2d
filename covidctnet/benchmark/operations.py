"""Where the time of the networks goes: every operation's share, as torch's profiler counts it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
from torch.autograd.profiler import profile as profile_cpu
from torch.profiler import ProfilerActivity, profile

from covidctnet.benchmark.around import step_of
from covidctnet.benchmark.stages import Scan
from covidctnet.benchmark.timing import Row
from covidctnet.denoise import denoise_slices

__all__ = ["operations"]

# Operations told by name; the rest is small.
TOLD = 7


def operations(scan: Scan) -> list[Row]:
    """Of the denoiser's slices of one scan, and of a step of its training."""
    device = scan.model.device
    denoise = partial(denoise_slices, scan.model.denoiser, scan.needed)
    group = f"where the time of denoising a scan goes, {len(scan.needed)} slices, base {scan.base}"
    rows = _shares(group, denoise, scan.repeats, device)
    name, step = step_of(scan)
    return [*rows, *_shares(f"where the time of {name} goes", step, scan.repeats, device)]


def _shares(
    group: str, work: Callable[[], object], repeats: int, device: torch.device
) -> list[Row]:
    """All of it first, then the operations that take most, and what is left."""
    work()
    whole: list[float] = []
    taken: dict[str, list[float]] = defaultdict(list)
    for run in range(max(1, repeats)):
        seconds, found = _profiled(work, device)
        whole.append(seconds)
        for name, own in found.items():
            # An operation may be missing in some runs.
            taken[name] += [0.0] * (run - len(taken[name])) + [own]
    most = sorted(taken, key=lambda name: -sum(taken[name]))[:TOLD]
    rest = [
        seconds - sum(taken[name][run] for name in most if run < len(taken[name]))
        for run, seconds in enumerate(whole)
    ]
    return [
        Row(group, "all of it", tuple(whole), "as long as the profiler watches"),
        *(Row(group, name, tuple(taken[name])) for name in most),
        Row(group, "all else", tuple(max(0.0, one) for one in rest)),
    ]


def _profiled(work: Callable[[], object], device: torch.device) -> tuple[float, dict[str, float]]:
    """Seconds of the work, and of every operation in it itself, without those that it calls."""
    start = time.perf_counter()
    if device.type != "cuda":
        with profile_cpu(use_kineto=False) as seen:
            work()
            seconds = time.perf_counter() - start
        return seconds, {e.key: e.self_cpu_time_total / 1e6 for e in seen.key_averages()}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        work()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    averages = watched.key_averages()
    return seconds, {
        e.key: e.self_device_time_total / 1e6 for e in averages if e.self_device_time_total
    }
