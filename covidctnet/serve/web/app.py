"""The web page: uploads, a queue, answers. It reads no scan itself.

It answers only to the names that it was given (against DNS rebinding), takes changes only from its
own pages (against forged requests), and is used beyond the loopback address only with a token. A
file is named by the server, counted as it comes, and never opened here.
"""

from __future__ import annotations

import asyncio
import csv
import hmac
import io
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from covidctnet.errors import StorageError
from covidctnet.files import table_text
from covidctnet.serve.web.jobs import ANSWERING, DONE, QUEUED, UPLOADING, Job, Jobs

__all__ = ["LIMITS", "Limits", "make_app"]

COOKIE, TOKEN_COOKIE = "covidctnet_session", "covidctnet_token"
_STATIC = Path(__file__).with_name("static")
_VIEWER = Path(str(files("covidctnet.report"))) / "viewer"
_KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_PICTURES = {".png": "image/png", ".webp": "image/webp"}
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_POLICY = (
    # The viewer keeps its colours and letters as pictures in its own text.
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WEEK_S = 7 * 24 * 3600
# Of a request with no file in it.
_SHORT_BODY = 4096
# A wrong token is answered so long after the wrong one before it: nobody tries many.
GUESS_S = 1.0
# Wrong tokens that wait for that; more are refused at once.
_GUESSES = 10
_PATH = "source_path"


@dataclass(frozen=True)
class Limits:
    """How much may be uploaded.

    Attributes:
        file_bytes: Of one file.
        job_bytes: Of one job.
        job_files: Of one job.
        waiting_jobs: That wait or are answered at once, of one session.
        all_bytes: Of all uploads that are not answered.
        free_bytes: That must stay free on the disk.
        idle_s: Without a byte after which an upload is broken off.
        least_rate: Bytes a second that an upload has on average, after its first `idle_s`.
    """

    file_bytes: int = 2 * 2**30
    job_bytes: int = 4 * 2**30
    job_files: int = 20_000
    waiting_jobs: int = 20
    all_bytes: int = 50 * 2**30
    free_bytes: int = 2**30
    idle_s: float = 60.0
    least_rate: float = 1024.0


LIMITS = Limits()


class _Refusal(Exception):  # noqa: N818 - an answer, no error of the program
    """What a browser is told instead of an answer."""

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def make_app(
    jobs: Jobs,
    *,
    hosts: tuple[str, ...] = (),
    is_behind_https: bool = False,
    token: str = "",
    limits: Limits = LIMITS,
) -> FastAPI:
    """The application.

    Args:
        jobs: The queue.
        hosts: Names under which it is reached besides the loopback address, with port.
        is_behind_https: These names are those of a proxy that speaks https.
        token: That a browser must show; empty for none, on the loopback address alone.
        limits: How much may be uploaded.
    """
    app = FastAPI(title="covidctnet", docs_url=None, redoc_url=None, openapi_url=None)
    # Browsers leave out the port that a scheme has anyway.
    named = [host.lower() for host in hosts]
    known_hosts = frozenset([*named, *(host.removesuffix(":443") for host in named)])
    guesses = _Guesses()
    # Bytes so far of files that come, by upload.
    coming: dict[str, int] = {}

    def set_cookie(answer: Response, name: str, value: str, request: Request) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=_WEEK_S,
            httponly=True,
            samesite="strict",
            secure=is_behind_https and _host(request) in known_hosts,
        )

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            _check(request, known_hosts)
            if token and not _shows(request, token) and not _is_open(request):
                if request.cookies.get(TOKEN_COOKIE):
                    await guesses.slow_down()
                raise _Refusal(401, "expected the token of this page. Ask who runs it for it.")
            answer = await call_next(request)
        except _Refusal as refusal:
            answer = _refused(refusal)
        for name, value in _HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Content-Security-Policy", _POLICY)
        return answer

    @app.exception_handler(_Refusal)
    async def refuse(request: Request, refusal: _Refusal) -> Response:
        return _refused(refusal)

    @app.exception_handler(StorageError)
    async def full(request: Request, error: StorageError) -> Response:
        return _refused(_Refusal(507, "the disk of this page is full. Try again later."))

    @app.get("/")
    async def page(request: Request) -> Response:
        answer = _static("index.html")
        if not request.cookies.get(COOKIE):
            set_cookie(answer, COOKIE, secrets.token_urlsafe(32), request)
        return answer

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return _static(name)

    @app.get("/alive")
    async def alive() -> Response:
        return JSONResponse({"waiting": await run_in_threadpool(jobs.count, QUEUED, ANSWERING)})

    @app.post("/token")
    async def show_token(request: Request) -> Response:
        shown = (await _short_body(request)).get("token")
        if not token or not isinstance(shown, str) or not _same(shown, token):
            await guesses.slow_down()
            raise _Refusal(401, "expected the token of this page, got another. Check it.")
        answer = JSONResponse({})
        set_cookie(answer, TOKEN_COOKIE, token, request)
        return answer

    @app.get("/jobs")
    async def own_jobs(request: Request) -> Response:
        session = _session(request, jobs)
        own = await run_in_threadpool(jobs.of, session)
        return JSONResponse([await run_in_threadpool(_shown, jobs, job) for job in own])

    @app.post("/jobs")
    async def make(request: Request) -> Response:
        session = _session(request, jobs)
        waiting = await run_in_threadpool(
            lambda: jobs.count(UPLOADING, QUEUED, ANSWERING, session=session)
        )
        if waiting >= limits.waiting_jobs:
            raise _Refusal(
                429,
                f"expected at most {limits.waiting_jobs} uploads that wait, got one more. Wait for "
                "an answer, or remove one.",
                {"Retry-After": "60"},
            )
        job = await run_in_threadpool(jobs.make, session)
        return JSONResponse(_shown(jobs, job), 201)

    @app.get("/jobs/{job_id}")
    async def one(request: Request, job_id: str) -> Response:
        job = await _job(request, jobs, job_id)
        return JSONResponse(await run_in_threadpool(_shown, jobs, job, with_answers=True))

    @app.delete("/jobs/{job_id}")
    async def remove(request: Request, job_id: str) -> Response:
        job = await _job(request, jobs, job_id)
        if job.state == ANSWERING:
            raise _Refusal(409, "this upload is being answered. Remove it when that has ended.")
        await run_in_threadpool(jobs.remove, job)
        return JSONResponse({})

    @app.put("/jobs/{job_id}/files")
    async def upload(request: Request, job_id: str) -> Response:
        job = await _job(request, jobs, job_id)
        if job.id in coming:
            raise _Refusal(409, "expected one file of an upload after the other, got two at once.")
        coming[job.id] = 0
        try:
            # As it is now that no other file of it comes.
            job = await _job(request, jobs, job_id)
            size = await _receive(request, jobs, job, limits, coming)
        finally:
            del coming[job.id]
        return JSONResponse({"bytes": size}, 201)

    @app.post("/jobs/{job_id}/start")
    async def start(request: Request, job_id: str) -> Response:
        job = await _job(request, jobs, job_id)
        if not await run_in_threadpool(jobs.submit, job):
            raise _Refusal(409, "expected an upload with a file in it that is not started yet.")
        return JSONResponse({})

    @app.get("/jobs/{job_id}/{name}")
    async def result(request: Request, job_id: str, name: str) -> Response:
        job = await _job(request, jobs, job_id)
        made = _TABLES.get(name)
        path = jobs.results(job) / name
        if job.state != DONE or made is None or not path.is_file():
            raise _Refusal(404, "there is no such result.")
        kind, without_paths = made
        content = await run_in_threadpool(lambda: without_paths(path.read_text()))
        saved = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=kind, headers=saved)

    @app.get("/jobs/{job_id}/volumes/{study}/{name}")
    async def volume(request: Request, job_id: str, study: str, name: str) -> Response:
        # As a file, without an encoding that a browser would undo: its viewer does.
        return await file_of(request, job_id, study, name)

    @app.get("/jobs/{job_id}/files/{study}/{name}")
    async def file_of(request: Request, job_id: str, study: str, name: str) -> Response:
        job = await _job(request, jobs, job_id)
        for record in await run_in_threadpool(_records, jobs, job):
            if record["study"] == study and (path := _paths(jobs, job, record).get(name)):
                return FileResponse(path, media_type="application/octet-stream", filename=name)
        raise _Refusal(404, "there is no such result.")

    @app.get("/jobs/{job_id}/pictures/{study}")
    async def picture(request: Request, job_id: str, study: str) -> Response:
        job = await _job(request, jobs, job_id)
        for record in await run_in_threadpool(_records, jobs, job):
            named = record.get("picture")
            if record.get("study") == study and isinstance(named, str) and named:
                folder = jobs.results(job) / "studies"
                path = folder / named
                kind = _PICTURES.get(path.suffix)
                if kind and path.parent == folder and path.is_file() and not path.is_symlink():
                    return FileResponse(path, media_type=kind)
        raise _Refusal(404, "there is no such picture.")

    return app


def _check(request: Request, hosts: frozenset[str]) -> None:
    """Refuse requests to other names, and changes from other pages."""
    host = _host(request)
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name not in _LOOPBACK and host not in hosts:
        raise _Refusal(421, "this page is not reached under that name. Use the one it was given.")
    if request.method in ("GET", "HEAD"):
        return
    origin = urlsplit(request.headers.get("origin", ""))
    # A form of another page can send no header of its own.
    if origin.netloc.lower() != host or request.headers.get("x-covidctnet") != "1":
        raise _Refusal(403, "changes are taken from this page alone. Load it again.")


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower()


def _is_open(request: Request) -> bool:
    """Whether a request is answered before a token is shown."""
    path = request.url.path
    return path in ("/", "/token", "/alive") or path.startswith("/static/")


def _shows(request: Request, token: str) -> bool:
    return _same(request.cookies.get(TOKEN_COOKIE, ""), token)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class _Guesses:
    """Wrong tokens, answered one after the other and slowly; a right one never waits."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def slow_down(self) -> None:
        if self._waiting >= _GUESSES:
            raise _Refusal(
                429, "expected fewer wrong tokens. Wait a minute.", {"Retry-After": "60"}
            )
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(GUESS_S)
        finally:
            self._waiting -= 1


def _session(request: Request, jobs: Jobs) -> str:
    secret = request.cookies.get(COOKIE, "")
    if not 40 <= len(secret) <= 64:
        raise _Refusal(401, "expected the session of this page. Load it again.")
    return jobs.session_of(secret)


async def _job(request: Request, jobs: Jobs, job_id: str) -> Job:
    session = _session(request, jobs)
    job = await run_in_threadpool(jobs.get, job_id, session)
    if job is None:
        raise _Refusal(404, "there is no such upload, or it was removed.")
    return job


def _refused(refusal: _Refusal) -> Response:
    return JSONResponse({"message": refusal.message}, refusal.status, dict(refusal.headers))


def _static(name: str) -> Response:
    for folder in (_STATIC, _VIEWER):
        path = folder / name
        kind = _KINDS.get(path.suffix)
        if kind is not None and path.parent == folder and path.is_file():
            return Response(path.read_bytes(), media_type=kind)
    raise _Refusal(404, "there is no such page.")


async def _short_body(request: Request) -> dict[str, Any]:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > _SHORT_BODY:
            raise _Refusal(413, f"expected at most {_SHORT_BODY} bytes.")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise _Refusal(400, "expected JSON.") from None
    return found if isinstance(found, dict) else {}


async def _receive(
    request: Request, jobs: Jobs, job: Job, limits: Limits, coming: dict[str, int]
) -> int:
    """Write a file of a request to the disk as it comes; nothing is left of one that breaks off."""
    if job.state != UPLOADING:
        raise _Refusal(409, "this upload is started already. Begin a new one.")
    if job.files >= limits.job_files:
        raise _Refusal(413, f"expected at most {limits.job_files} files. Put them into a zip.")
    taken = await run_in_threadpool(jobs.total_bytes)

    def most() -> int:
        others = sum(coming.values()) - coming[job.id]
        return min(
            limits.file_bytes, limits.job_bytes - job.bytes, limits.all_bytes - taken - others
        )

    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit():
        _check_room(int(told), most(), jobs.uploads(job), limits)
    # Named by the server alone: what a client calls its files never reaches the disk.
    path = jobs.uploads(job) / f"{job.files:06d}-{secrets.token_hex(4)}"
    size = 0
    try:
        with path.open("xb") as file:
            async for piece in _in_time(request, limits):
                size += len(piece)
                coming[job.id] = size
                _check_room(size, most(), path.parent, limits, coming=len(piece))
                await run_in_threadpool(file.write, piece)
        if not size:
            raise _Refusal(400, "expected a file, got an empty one. Leave it out.")
        await run_in_threadpool(jobs.add_file, job, size)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _full() from None
        raise
    return size


def _check_room(size: int, most: int, folder: Path, limits: Limits, *, coming: int = 0) -> None:
    if size > most:
        raise _Refusal(
            413,
            f"expected at most {max(0, most) // 2**20} MiB here, got more. Upload one study at a "
            "time, or use covidctnet classify.",
        )
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize - (coming or size) < limits.free_bytes:
        raise _full()


def _full() -> _Refusal:
    return _Refusal(507, "the disk of this page is full. Try again later.")


async def _in_time(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body of a request, broken off when nothing or hardly anything comes."""
    pieces = request.stream().__aiter__()
    began_s, size = time.monotonic(), 0
    while True:
        try:
            piece = await asyncio.wait_for(pieces.__anext__(), limits.idle_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        size += len(piece)
        took_s = time.monotonic() - began_s
        if took_s > limits.idle_s and size < took_s * limits.least_rate:
            raise _too_slow()
        yield piece


def _too_slow() -> _Refusal:
    return _Refusal(408, "expected the file to come faster. Upload it again.")


def _shown(jobs: Jobs, job: Job, *, with_answers: bool = False) -> dict[str, Any]:
    """What its owner sees of a job."""
    shown: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "made_s": job.made_s,
        "files": job.files,
        "bytes": job.bytes,
        "before": jobs.before(job),
        "message": job.message,
    }
    if with_answers and job.state == DONE:
        shown["answers"] = _records(jobs, job)
        for record in shown["answers"]:
            names = sorted(_paths(jobs, job, record))
            end = ".nii.gz"
            record["files"] = names
            record["volumes"] = [name.removesuffix(end) for name in names if name.endswith(end)]
    return shown


def _paths(jobs: Jobs, job: Job, record: Mapping[str, Any]) -> dict[str, Path]:
    """Files of an answer that a browser may have, by name."""
    folder = jobs.results(job)
    found = {}
    for written in record.get("outputs", {}).values():
        for place in {(folder / name).parent for name in written["files"]}:
            if place.parent.parent == folder and place.is_dir() and not place.is_symlink():
                for path in place.iterdir():
                    if path.is_file() and not path.is_symlink():
                        found[path.name] = path
    return found


def _records(jobs: Jobs, job: Job) -> list[dict[str, Any]]:
    try:
        told = json.loads(_json_without_paths((jobs.results(job) / "results.json").read_text()))
    except (OSError, ValueError):
        return []
    return list(told["studies"])


# Where files lay on this machine is nothing for a browser.


def _json_without_paths(text: str) -> str:
    told = json.loads(text)
    for study in told["studies"]:
        study.pop(_PATH, None)
    return json.dumps(told, indent=1)


def _csv_without_paths(text: str) -> str:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    place = rows[0].index(_PATH)
    return table_text([*row[:place], *row[place + 1 :]] for row in rows)


# Tables of a results folder that a browser may have: their media type, and what is left out.
_TABLES: Mapping[str, tuple[str, Callable[[str], str]]] = MappingProxyType(
    {
        "results.csv": ("text/csv", _csv_without_paths),
        "results.json": ("application/json", _json_without_paths),
    }
)
