"""Work in a child process that may die: a crash, a hang or memory without end harms one task only.

A child is a fresh interpreter that is asked through pipes, one request at a time, in JSON and raw
voxels: nothing that it sends is ever executed, and the caller's program is not imported again, as
``multiprocessing`` would. The child limits itself, so that it ends even when its parent is gone.

The interpreter starts isolated: neither the working folder nor PYTHONPATH nor the user's own
packages come before Python's library, so no file that lies where the program is run is executed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from covidctnet.errors import CovidCTNetError, StorageError, StudyError
from covidctnet.stopping import ignore_stops
from covidctnet.surroundings import ONE_THREAD, shortage

__all__ = ["Child", "ChildError", "Limits", "Reply", "StartError", "start"]

_LOG = logging.getLogger(__name__)

_LENGTHS = struct.Struct(">QQ")
# The child stops itself this long after its parent would have stopped it.
_GRACE_S = 5.0
# Importing may be slow on a shared disk; a start that takes longer than this hangs.
_START_S = 300.0
_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031

# What the interpreter of a child does first. This package comes from where the parent has it; its
# folder goes behind everything that Python itself puts on the path, and so do those of packages
# that Python alone does not find.
_START = """
import os, sys
try:
    # The stack that threads get is decided when a program starts, so it starts again.
    import resource
    given, most = resource.getrlimit(resource.RLIMIT_STACK)
    usual = 8 * 2**20 if most == resource.RLIM_INFINITY else min(8 * 2**20, most)
    if given != usual:
        resource.setrlimit(resource.RLIMIT_STACK, (usual, most))
        os.execv(sys.executable, sys.orig_argv)
except (ImportError, OSError, ValueError):
    pass
out = os.dup(1)
try:
    from importlib.util import find_spec, module_from_spec, spec_from_file_location
    task, memory_mb, home, *others = sys.argv[1:]
    sys.path.append(home)
    for other in others:
        name, _, folder = other.partition("=")
        if find_spec(name) is None:
            sys.path.append(folder)
    spec = spec_from_file_location("covidctnet", os.path.join(home, "covidctnet", "__init__.py"))
    sys.modules["covidctnet"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["covidctnet"])
    from covidctnet.workers.isolate import start
    serve = start(task, int(memory_mb))
except BaseException as error:
    os.write(out, f"{type(error).__name__}: {error}".encode(errors="replace"))
    os._exit(1)
os.close(out)
serve()
"""
# What a child says once it can work; anything else is the reason why it cannot.
_READY = b"covidctnet reads\n"
# Packages that a child imports. An environment may provide them through PYTHONPATH.
_PACKAGES = (
    "numpy",
    "scipy",
    "pydicom",
    "nibabel",
    "imagecodecs",
    "PIL",
    "skimage",
    "torch",
    "h5py",
)

Reply = tuple[dict[str, Any], np.ndarray | None]
Task = Callable[..., Reply]


class ChildError(CovidCTNetError):
    """The child died, hung, or failed in a way that no `StudyError` names.

    Args:
        code: ``CRASHED``, ``TIMED_OUT``, ``OUT_OF_MEMORY`` or ``INTERNAL``.
        message: For a person; nothing of the input.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class StartError(CovidCTNetError):
    """No child can start: the installation is at fault, not the study that was asked for.

    Args:
        cause: Why, as far as the child could say.
    """

    def __init__(self, cause: str) -> None:
        # Paths name people.
        cause = " ".join(re.sub(r"\S*[/\\]\S*", "(path)", cause).split())[:300].rstrip(".")
        short = shortage(cause)
        remedy = (
            f"{short[:1].upper()}{short[1:]}"
            if short
            else "Install covidctnet again, into a new virtual environment, and run it from there."
        )
        super().__init__(
            "the program cannot start: expected a process that reads scans, got "
            f"{cause}. No scan is at fault. {remedy}"
        )


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes:
        memory_mb: Data of the child in MiB, where the system can limit it (Linux).
        seconds: Wall-clock time for a request, before any allowance for its size.
        seconds_per_mb: Allowance for every MiB of the files that it reads.
    """

    memory_mb: int = 6144
    seconds: float = 60.0
    seconds_per_mb: float = 0.25

    def seconds_for(self, files_bytes: int) -> float:
        """Wall-clock seconds for a request that reads so many bytes."""
        return self.seconds + self.seconds_per_mb * files_bytes / 2**20


class Child:
    """A child process that does one kind of task, one request at a time; started when asked.

    After a crash or a hang the next request gets a new process.

    Args:
        task: ``module:function`` of this package. The function takes the request's values by
            keyword and returns a dictionary fit for JSON and an array or None.
        limits: What a request may cost.
    """

    def __init__(self, task: str, *, limits: Limits | None = None) -> None:
        self.task = task
        self.limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def ask(self, request: Mapping[str, Any], *, files_bytes: int = 0) -> Reply:
        """Have a request done.

        Args:
            request: Values fit for JSON.
            files_bytes: Bytes that it will read, for the time it may take.

        Raises:
            StudyError: As the task raised it.
            StorageError: As the task raised it.
            StartError: If no child can start.
            ChildError: If the child died, hung or failed otherwise.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        seconds = self.limits.seconds_for(files_bytes)
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            process.kill()

        watch = threading.Timer(seconds, stop)
        watch.daemon = True
        watch.start()
        try:
            _send(process.stdin, {"request": dict(request), "seconds": seconds + _GRACE_S}, None)
            answer = _receive(process.stdout)
        except OSError:
            answer = None
        except BaseException:
            # Interrupted amid an answer: what comes next would be its rest.
            self.close()
            raise
        finally:
            watch.cancel()
        if answer is None or is_late.is_set():
            self.close()
            raise _death(process.returncode, is_late.is_set(), seconds)
        reply, array = answer
        if "done" in reply:
            return reply["done"], array
        if "unwritable" in reply:
            raise StorageError(reply["unwritable"])
        if "refused" in reply:
            code, message, study = reply["refused"]
            raise StudyError(code, message, study=study)
        # A process that was short of memory once may hold on to it.
        self.close()
        if reply.get("memory"):
            raise _too_large()
        _LOG.debug("in a child process: %s", reply.get("trace"))
        raise ChildError(
            "INTERNAL",
            f"the program failed with {reply.get('unexpected')}. Run again with --verbose and "
            "report what it says.",
        )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        try:
            process = self._process = subprocess.Popen(
                [*_isolated(), "-c", _START, self.task, str(self.limits.memory_mb), *_folders()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Libraries cite what they choke on, and headers hold names.
                stderr=subprocess.DEVNULL,
                # A thread a core, each with its stack and buffers, counts against its memory.
                env={**os.environ, **ONE_THREAD},
            )
        except OSError as error:
            raise StartError(f"{type(error).__name__}: {error.strerror}") from error
        assert process.stdout is not None
        watch = threading.Timer(_START_S, process.kill)
        watch.daemon = True
        watch.start()
        try:
            output = process.stdout.read(len(_READY))
            if output != _READY:
                output += process.stdout.read()
        except BaseException:
            self.close()
            raise
        finally:
            watch.cancel()
        if output != _READY:
            if self._process is None:
                # Another thread has closed this child, and asks for nothing any more.
                raise _death(process.returncode, False, 0)
            self.close()
            cause = output.decode(errors="replace")
            raise StartError(cause or f"an end with status {process.returncode} at its start")
        _widen(process.stdout)
        return process


def _isolated() -> list[str]:
    """The command of an interpreter that looks into no folder but its own installation."""
    # As -I ignores PYTHONUTF8, and the names of files must mean the same on both sides.
    encoding = ["-X", "utf8"] if sys.flags.utf8_mode else []
    return [sys.executable or "python3", "-I", *encoding]


def _folders() -> list[str]:
    """Where this package lies, and where the packages that it needs were found."""
    package_root = str(Path(__file__).resolve().parents[2])
    folders = [package_root]
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        # A single file that has the name of a package is another program's.
        for place in (spec and spec.submodule_search_locations) or ():
            folders.append(f"{name}={Path(place).absolute().parent}")
    return folders


def _death(returncode: int | None, is_late: bool, seconds: float) -> ChildError:
    if is_late or (returncode is not None and returncode == -getattr(signal, "SIGALRM", 0)):
        return ChildError(
            "TIMED_OUT",
            f"reading took more than {seconds:.0f} s and was stopped. Check the files; copy them "
            "to a faster disk.",
        )
    return ChildError(
        "CRASHED",
        "the process that read it broke down, which a damaged file can cause. Export it again.",
    )


def _too_large() -> ChildError:
    return ChildError(
        "OUT_OF_MEMORY",
        "the study does not fit into the memory that reading may take. Check the files.",
    )


def _widen(pipe: IO[bytes]) -> None:
    """Let the pipe hold more, where the system can: voxels come through it."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES)


def _send(pipe: IO[bytes], reply: Mapping[str, Any], array: np.ndarray | None) -> None:
    """Lengths, JSON, voxels."""
    head = dict(reply)
    content = memoryview(b"")
    if array is not None:
        array = np.ascontiguousarray(array)
        head["array"] = [array.dtype.str, *array.shape]
        content = array.reshape(-1).view(np.uint8).data
    text = json.dumps(head).encode()
    pipe.write(_LENGTHS.pack(len(text), content.nbytes))
    pipe.write(text)
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Reply | None:
    """What `_send` sent; None when the other side is gone."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    length, size = _LENGTHS.unpack(lengths)
    text = pipe.read(length)
    if len(text) < length:
        return None
    reply: dict[str, Any] = json.loads(text)
    if "array" not in reply:
        return reply, None
    dtype, *shape = reply.pop("array")
    array = np.empty(shape, dtype=np.dtype(dtype))
    content = array.reshape(-1).view(np.uint8).data
    place = 0
    while place < size:
        count = pipe.readinto(content[place:])  # type: ignore[attr-defined]
        if not count:
            return None
        place += count
    return reply, array


def start(task: str, memory_mb: int) -> Callable[[], None]:
    """Get ready in a child, and say so: what the child runs first.

    Args:
        task: See `Child`.
        memory_mb: See `Limits`.

    Returns:
        What answers requests until there are no more.
    """
    # Signals reach the whole group; the parent decides what becomes of its children.
    ignore_stops()
    incoming, outgoing = _pipes()
    _limit_memory(memory_mb)
    module, _, name = task.partition(":")
    work: Task = getattr(importlib.import_module(module), name)
    outgoing.write(_READY)
    outgoing.flush()
    return partial(serve, work, incoming, outgoing)


def serve(work: Task, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    while (asked := _receive(incoming)) is not None:
        message, _ = asked
        with _alarm(message["seconds"]):
            answer, array = _answer(work, message["request"])
        try:
            _send(outgoing, answer, array)
        except BrokenPipeError:
            return


def _answer(work: Task, request: dict[str, Any]) -> Reply:
    try:
        done, array = work(**request)
    except StudyError as error:
        return {"refused": [error.code, error.message, error.study]}, None
    except StorageError as error:
        return {"unwritable": str(error)}, None
    except MemoryError:
        return {"memory": True}, None
    except Exception as error:  # the parent says so, and goes on with the next study
        # Deep recursion leaves a trace of a thousand lines.
        trace = traceback.format_exc(limit=-8)
        return {"unexpected": type(error).__name__, "trace": trace}, None
    return {"done": done}, array


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Pipes of our own: whatever a library prints goes nowhere."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    return os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")


def _limit_memory(memory_mb: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        # A dump of memory would hold a patient's images.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """End this process when a request takes longer, also amid a library's C code."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
