"""What the machine gives a program: a folder to work in, address space, stack, files and cores."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, MutableMapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from covidctnet.errors import UsageError

__all__ = [
    "ONE_THREAD",
    "check_surroundings",
    "expect_packages",
    "raise_stack",
    "set_threads",
    "shortage",
    "usable_cores",
]

# As systems set it. Threads of libraries get as much each, so more is no better.
_STACK_BYTES = 8 * 2**20
_LEAST_STACK_KB = 1024
# torch maps its libraries, those of a GPU as well where it was built for one. With less than this
# it ends without a word, or never.
_NETWORKS_MB = 3700
_READING_MB = 500
# How long threads of torch's OpenMP look for work before they sleep, in turns. They wait for each
# other some thousand times a study; where other programs use the cores, they would burn them.
_SPIN_COUNT = "1000"

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables that keep a process which does one thing at a time from starting a thread a core."""


def check_surroundings(*, networks: bool) -> None:
    """Refuse to start where nothing could work.

    Args:
        networks: Whether torch will be loaded.

    Raises:
        UsageError: If the working folder is gone, or stack or address space are too small.
    """
    try:
        Path.cwd()
    except OSError:
        raise UsageError(
            "expected a working folder that exists, got one that was deleted or may not be "
            "entered. Change to another folder and run again."
        ) from None
    stack_kb = _limit("RLIMIT_STACK", 2**10)
    if stack_kb is not None and stack_kb < _LEAST_STACK_KB:
        raise UsageError(
            f"expected a stack of {_LEAST_STACK_KB} KiB or more, got {stack_kb} (ulimit -s). Raise "
            f"the limit; {_STACK_BYTES // 2**10} is usual."
        )
    needed_mb, given_mb = _NETWORKS_MB if networks else _READING_MB, _limit("RLIMIT_AS", 2**20)
    if given_mb is not None and given_mb < needed_mb:
        raise UsageError(
            f"expected {needed_mb} MiB of address space or more, got {given_mb} (ulimit -v). Raise "
            "the limit or ask for more memory; the memory that is really used is far less."
        )


def expect_packages(names: Sequence[str], *, extra: str, purpose: str) -> None:
    """Say which packages are missing before work ends in it.

    Args:
        names: Of the modules, as they are imported.
        extra: Of this package, which installs them.
        purpose: What needs them, in words.

    Raises:
        UsageError: If one of them is not installed.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        one = "package" if len(names) == 1 else "packages"
        raise UsageError(
            f"expected the {one} {' and '.join(names)} for {purpose}, {' and '.join(missing)} "
            f"{are} missing. Run pip install 'covidctnet[{extra}]'."
        )


def shortage(error: BaseException | str) -> str | None:
    """What the machine has too little of, in words, and what to do; None for other errors.

    Args:
        error: As it was raised, or what a process said of it.
    """
    message = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    if re.search("Too many open files", message):
        return "more files must be open than the system allows. Raise ulimit -n; 1024 is usual."
    if re.search("can't start new thread|Resource temporarily unavailable", message):
        return "more processes or threads are needed than the system allows. Raise ulimit -u."
    short = "failed to map segment|[Cc]annot allocate memory|bad_alloc|MemoryError|Out of memory"
    if not re.search(short, message):
        return None
    given_mb = _limit("RLIMIT_AS", 2**20)
    if given_mb is None:
        return "memory is short. Close other programs, or ask for more."
    return (
        f"the address space of {given_mb} MiB is too small (ulimit -v). Raise the limit or ask for "
        "more memory."
    )


def _limit(name: str, unit: int) -> int | None:
    """What the system limits this process to, in some unit; None where it does not."""
    try:
        import resource

        soft, _ = resource.getrlimit(getattr(resource, name))
    except (ImportError, AttributeError, OSError):
        return None
    return None if soft == resource.RLIM_INFINITY else soft // unit


def raise_stack() -> None:
    """Let the stack of the main thread grow as far as is usual, where it was limited to less."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        most = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_STACK, (most, hard))


def usable_cores() -> int:
    """Cores that this process may use: of its affinity, and of the quota of its container."""
    # A quota of half a core is one thread that waits.
    return max(1, min([_affine_cores(), *(round(quota) for quota in _quotas())]))


def _affine_cores() -> int:
    """Cores that this process may run on, where the system tells; else those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(environment: MutableMapping[str, str]) -> None:
    """Set how libraries of this process use cores; before torch is loaded. What is set stays.

    Args:
        environment: Of this process.
    """
    cores = usable_cores()
    # Libraries see the affinity, and not the quota of a container.
    if cores < _affine_cores():
        environment.setdefault("OMP_NUM_THREADS", str(cores))
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def _quotas(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[float]:
    """Cores that the control groups of this process allow, where they limit them.

    Args:
        root: Where the system shows control groups.
        own: Which of them this process is in, a line a hierarchy.
    """
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[float] = []
    for line in lines:
        _, kinds, group = [*line.split(":", 2), "", ""][:3]
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = root / "cpu" if kinds else root
        place = top / group.lstrip("/")
        for folder in (place, *place.parents):
            if folder != top and not folder.is_relative_to(top):
                break
            found += _quota_of(folder)
    return found


def _quota_of(folder: Path) -> Iterator[float]:
    """What one control group allows, in version 2 or 1."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError, IndexError):
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        if quota != "max":
            yield int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota = (folder / "cpu.cfs_quota_us").read_text()
        if int(quota) > 0:
            yield int(quota) / int((folder / "cpu.cfs_period_us").read_text())
