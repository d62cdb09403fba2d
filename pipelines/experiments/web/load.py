"""The web page under load: many uploads at once, one worker, thousands of requests, a full disk.

    python -m pipelines.experiments.web.load --weights compact --output docs/measured/web-load.md

Browsers upload at once, and ask for the state of their uploads while one process answers. The
trial fails unless every upload is answered, in the order in which they were queued, while memory
stays flat and the page answers in time. On a disk that fills, files must be refused with 507 and a
reason, and nothing of a refused file may stay.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidctnet.errors import CovidCTNetError
from pipelines.experiments.command import tell

__all__ = ["LoadError", "Loaded", "Server", "main", "under_load"]

WAIT_S = 4 * 3600.0
# What the second half of the uploads may cost more than the first, of memory.
_GROWTH, _GROWTH_KB = 1.1, 32 * 1024
# Free space below which the page takes no file, and what is left above it, in bytes.
_KEPT_FREE, _ROOM = 2**30, 48 * 2**20


class LoadError(CovidCTNetError):
    """An upload was lost or out of order, or the page was slow or grew."""


@dataclass
class Loaded:
    """What was seen.

    Attributes:
        jobs: Uploads by state at the end.
        order: Whether they were answered in the order in which they were queued.
        status_ms: Milliseconds of every request for a state.
        refused: Requests for a state without an answer of 200.
        memory_kb: KiB of the page and of the process that answers, by uploads that were done.
    """

    jobs: Counter[str] = field(default_factory=Counter)
    order: bool = False
    status_ms: list[float] = field(default_factory=list)
    refused: int = 0
    memory_kb: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def percentile_ms(self, share: float) -> float:
        """Milliseconds that a share of the requests did not exceed."""
        times = sorted(self.status_ms)
        return times[max(0, math.ceil(share * len(times)) - 1)]

    def is_flat(self, name: str) -> bool:
        """Whether a process needed no more memory in the second half than in the first."""
        samples = self.memory_kb[name]
        middle = max(done for done, _ in samples) / 2
        # The first upload loads what all others use.
        first = [kb for done, kb in samples if 1 <= done <= middle] or [samples[0][1]]
        second = [kb for done, kb in samples if done > middle]
        return max(second) <= _GROWTH * max(first) + _GROWTH_KB


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trial and print its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--spacing-mm", type=float, default=5.0)
    parser.add_argument("--p95-ms", type=float, default=200.0, help="of a request for a state")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        with tempfile.TemporaryDirectory(prefix="web-") as folder:
            scan = _phantom(Path(folder), options.matrix, options.spacing_mm)
            loaded = under_load(
                Path(folder) / "state",
                options.weights,
                scan,
                uploads=options.uploads,
                requests=options.requests,
            )
            faults = _faults(loaded, options)
            disk = full_disk(Path(folder) / "full", options.weights)
        if faults:
            raise LoadError(f"the trial failed: {'; '.join(faults)}")
        return _page(loaded, options, disk)

    return tell(make, options.output)


def _phantom(folder: Path, matrix: int, spacing_mm: float) -> bytes:
    """A synthetic patient as a zip archive."""
    command = [sys.executable, "-P", "-m", "covidctnet", "phantom", "-o", str(folder / "phantom")]
    command += ["--patients", "1", "--matrix", str(matrix), "--spacing-mm", str(spacing_mm)]
    subprocess.run(command, check=True, capture_output=True)
    first = sorted((folder / "phantom").rglob("*.dcm"))[0].parent
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(first.glob("*.dcm")):
            archive.write(path, path.name)
    return content.getvalue()


class Server:
    """A web page that runs, and its processes.

    Attributes:
        port: Where it listens, on the loopback address.
        process: Of the page.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    @classmethod
    @contextmanager
    def started(cls, state: Path, weights: str, before: Sequence[str] = ()) -> Iterator[Server]:
        """Start it, and end it afterwards.

        Args:
            state: Its folder.
            weights: Shipped name, or a folder.
            before: Command that starts it.

        Raises:
            LoadError: If it does not start.
        """
        command = [*before, sys.executable, "-P", "-m", "covidctnet", "serve", "web", "--port", "0"]
        command += ["--state", str(state), "--weights", weights]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                found = re.search(r":(\d+)/", process.stdout.readline())
                if found is None:
                    raise LoadError("expected a page that starts, it ended")
                yield cls(process, int(found[1]))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(120)

    def memory_kb(self) -> dict[str, int]:
        """KiB of memory of the page, and of all processes below it."""
        parents: dict[int, int] = {}
        sizes: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError, AttributeError):
                    text = (entry / "status").read_text()
                    kb = re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)
                    parent = re.search(r"^PPid:\s+(\d+)", text, re.MULTILINE)
                    assert parent is not None
                    parents[int(entry.name)] = int(parent[1])
                    sizes[int(entry.name)] = int(kb[1]) if kb else 0
        page = self.process.pid
        below = {page}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        answering = [pid for pid in below if parents.get(pid) == page]
        return {
            "page": sizes.get(page, 0),
            "answers": sum(sizes.get(pid, 0) for pid in answering),
        }


class Browser:
    """Somebody with a session of their own.

    Args:
        port: Of the page.
    """

    def __init__(self, port: int) -> None:
        self._port, self._cookie = port, ""
        head = self.ask("GET", "/")[2]
        self._cookie = head["set-cookie"].split(";")[0]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, Any]:
        """Status, content and head of an answer."""
        head = {"Origin": f"http://127.0.0.1:{self._port}", "X-Covidctnet": "1"}
        if self._cookie:
            head["Cookie"] = self._cookie
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)) as line:
            line.request(method, path, body, head)
            answer = line.getresponse()
            content = answer.read()
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(content) if is_json else content, answer.headers

    def upload(self, content: bytes) -> str:
        """Upload a file and queue it; the id of the upload.

        Raises:
            LoadError: If it is refused.
        """
        told = self.ask("POST", "/jobs")[1]
        job = str(told["id"])
        for method, path, body in (("PUT", "files", content), ("POST", "start", None)):
            status, told, _ = self.ask(method, f"/jobs/{job}/{path}", body)
            if status >= 300:
                raise LoadError(f"expected an upload that is taken, got {status}")
        return job


def under_load(
    state: Path, weights: str, scan: bytes, *, uploads: int, requests: int, askers: int = 4
) -> Loaded:
    """Upload at once, ask all the time, and look until all is answered.

    Args:
        state: Folder of the page.
        weights: Shipped name, or a folder.
        scan: A file to upload.
        uploads: Browsers, each with one upload.
        requests: For the states of uploads, together.
        askers: Browsers that ask at once.

    Raises:
        LoadError: If the page ends, or does not end in hours.
    """
    loaded = Loaded()
    with Server.started(state, weights) as server:
        browsers = [Browser(server.port) for _ in range(uploads)]
        with ThreadPoolExecutor(uploads) as pool:
            jobs = list(pool.map(lambda browser: browser.upload(scan), browsers))
        left = list(range(requests))
        turn = threading.Lock()

        def ask() -> None:
            while True:
                with turn:
                    if not left:
                        return
                    number = left.pop() % uploads
                start = time.perf_counter()
                status, *_ = browsers[number].ask("GET", f"/jobs/{jobs[number]}")
                took_ms = 1000 * (time.perf_counter() - start)
                with turn:
                    loaded.status_ms.append(took_ms)
                    loaded.refused += status != 200

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(askers)]
        for thread in asking:
            thread.start()
        end = time.monotonic() + WAIT_S
        while True:
            rows = _rows(state)
            done = sum(ended > 0 for _, _, _, ended in rows)
            for name, kb in server.memory_kb().items():
                loaded.memory_kb.setdefault(name, []).append((done, kb))
            if done == uploads:
                break
            if server.process.poll() is not None or time.monotonic() > end:
                raise LoadError(f"expected {uploads} answers, got {done} when the page ended")
            time.sleep(0.2)
        for thread in asking:
            thread.join()
    loaded.jobs = Counter(state for _, state, _, _ in rows)
    queued = [job for job, *_ in sorted(rows, key=lambda row: row[2])]
    loaded.order = queued == [job for job, *_ in sorted(rows, key=lambda row: row[3])]
    return loaded


def _rows(state: Path) -> list[tuple[str, str, float, float]]:
    """Id, state, and the moments in which they were queued and ended, of all uploads."""
    address = f"file:{state / 'jobs.sqlite'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=30)) as base:
        return base.execute("SELECT id, state, queued_s, ended_s FROM jobs").fetchall()


def full_disk(state: Path, weights: str) -> str:
    """Upload to a small disk until it is full; one line on what came of it.

    Raises:
        LoadError: If a file is refused without 507 and a reason, or leaves something.
    """
    state.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "not tried: no rights to mount a small disk"
    # The disk is seen by the page alone.
    line = f'mount -t tmpfs -o size={(_KEPT_FREE + _ROOM) // 1024}k tmpfs "$1"; shift; exec "$@"'
    before = ["unshare", "-m", "sh", "-c", line, "sh", str(state)]
    with Server.started(state, weights, before) as server:
        browser = Browser(server.port)
        job = browser.ask("POST", "/jobs")[1]["id"]
        taken = 0
        piece = bytes(4 * 2**20)
        while taken <= 2 * _ROOM:
            status, told, _ = browser.ask("PUT", f"/jobs/{job}/files", piece)
            if status != 201:
                break
            taken += len(piece)
        if status != 507 or "disk" not in told.get("message", ""):
            raise LoadError(f"expected 507 and a reason of a full disk, got {status}")
        uploads = Path(f"/proc/{server.process.pid}/root{state}") / "jobs" / job / "uploads"
        held = sum(path.stat().st_size for path in uploads.iterdir())
        if held != taken:
            raise LoadError(f"expected {taken} bytes of taken files, the disk has {held}")
        if browser.ask("GET", "/jobs")[0] != 200:
            raise LoadError("expected a page that answers on a full disk, it does not")
    return f"507 after {taken // 2**20} MiB, nothing kept of the refused file, the page answers"


def _faults(loaded: Loaded, options: argparse.Namespace) -> list[str]:
    faults = []
    if loaded.jobs != Counter(done=options.uploads):
        faults.append(f"uploads by state: {dict(loaded.jobs)}")
    if not loaded.order:
        faults.append("uploads were answered out of order")
    if loaded.refused:
        faults.append(f"{loaded.refused} requests for a state were refused")
    faults += [f"the memory of the {name} grew" for name in loaded.memory_kb
               if not loaded.is_flat(name)]  # fmt: skip
    if (p95 := loaded.percentile_ms(0.95)) > options.p95_ms:
        faults.append(f"95 of 100 requests took up to {p95:.0f} ms")
    return faults


def _page(loaded: Loaded, options: argparse.Namespace, disk: str) -> str:
    most = {name: max(kb for _, kb in samples) for name, samples in loaded.memory_kb.items()}
    lines = [
        "# The web page under load",
        "",
        f"Made by `make web-load` (weights `{Path(options.weights).name}`) on "
        f"{os.cpu_count()} cores: {options.uploads} browsers that upload one phantom, a synthetic "
        f"patient, at once, one process that answers, and {len(loaded.status_ms)} requests for the "
        "state of an upload meanwhile.",
        "",
        "| what | value |",
        "|---|---|",
        f"| uploads answered, in the order in which they were queued | {loaded.jobs['done']} of "
        f"{options.uploads} |",
        f"| request for a state, median | {loaded.percentile_ms(0.5):.0f} ms |",
        f"| request for a state, 95 of 100 | {loaded.percentile_ms(0.95):.0f} ms |",
        f"| request for a state, slowest | {max(loaded.status_ms):.0f} ms |",
        f"| memory of the page, most | {most['page'] / 1024:.0f} MiB |",
        f"| memory of the process that answers, most | {most['answers'] / 1024:.0f} MiB |",
        f"| a full disk | {disk} |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
