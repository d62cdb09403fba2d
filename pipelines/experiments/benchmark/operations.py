"""Where the time of the networks goes: every operation's share, as torch's profiler counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.autograd.profiler import profile as profile_cpu
from torch.profiler import DeviceType, ProfilerActivity, profile

from covidctnet.systems.covidctnet.denoise import denoise_slices
from pipelines.experiments.benchmark.around import step_of
from pipelines.experiments.benchmark.stages import Scan
from pipelines.experiments.benchmark.timing import Row

__all__ = ["on_device", "operations", "shares"]

# Operations told by name; the rest is small.
LISTED = 7


def operations(scan: Scan) -> list[Row]:
    """Of the denoiser's slices of one scan, and of a step of its training."""
    device = scan.model.device
    denoise = partial(denoise_slices, scan.model.denoiser, scan.needed)
    group = f"where the time of denoising a scan goes, {len(scan.needed)} slices, base {scan.base}"
    rows = shares(group, denoise, scan.repeats, device)
    name, step = step_of(scan)
    return [*rows, *shares(f"where the time of {name} goes", step, scan.repeats, device)]


def shares(group: str, work: Callable[[], object], repeats: int, device: torch.device) -> list[Row]:
    """All of it first, then the operations that take most, and what is left."""
    work()
    runs = [_profiled(work, device) for _ in range(max(1, repeats))]
    # An operation may be missing in some runs.
    taken = {
        name: tuple(seconds_of.get(name, 0.0) for _, seconds_of in runs)
        for name in dict.fromkeys(name for _, seconds_of in runs for name in seconds_of)
    }
    most = sorted(taken, key=lambda name: -sum(taken[name]))[:LISTED]
    whole = tuple(seconds for seconds, _ in runs)
    rest = tuple(every - sum(taken[name][run] for name in most) for run, every in enumerate(whole))
    rows = {"all of it, under a profiler": whole, **{name: taken[name] for name in most}}
    rows["all else"] = rest
    return [Row(group, by, seconds, compared="share") for by, seconds in rows.items()]


def _profiled(work: Callable[[], object], device: torch.device) -> tuple[float, dict[str, float]]:
    """Seconds of the work, and of every operation in it itself, without those that it calls."""
    if device.type != "cuda":
        with profile_cpu(use_kineto=False) as profiler:
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
        return seconds, {e.key: e.self_cpu_time_total / 1e6 for e in profiler.key_averages()}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds, on_device(watched.key_averages())


def on_device(averages: Iterable[Any]) -> dict[str, float]:
    """Seconds that a GPU worked for each operation.

    Args:
        averages: What the profiler saw: operations, and once more the kernels they started.
    """
    return {
        e.key: e.self_device_time_total / 1e6
        for e in averages
        if e.device_type == DeviceType.CPU and e.self_device_time_total
    }
