"""What attackers send to the web page and to the worker of a PACS, and that nothing comes of it.

The table of `docs/reference/security.md` names these tests and others.
"""

import asyncio
import base64
import gzip
import io
import json
import logging
import re
import socket
import stat
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from starlette.requests import ClientDisconnect

from covidctnet.run.runner import DEFAULT_LIMITS, LocalRunner
from covidctnet.serve.answers import FolderAnswers
from covidctnet.serve.dicomweb import Access, Pacs
from covidctnet.serve.pacs import PacsWorker, Watching
from covidctnet.serve.web import app as web
from covidctnet.serve.web import server
from covidctnet.serve.web.app import COOKIE, TOKEN_COOKIE, Limits, make_app
from covidctnet.serve.web.jobs import DONE
from covidctnet.serve.web.worker import answer
from tests.dicom_out.answers import INFO, an_answer
from tests.io import series
from tests.serve.fake_pacs import FakePacs
from tests.serve.test_pacs import QUIET_S, Clock, add, settled
from tests.serve.test_web import HOME, OURS, TOKEN, browse, clock, jobs, make, stored
from tests.test_privacy import SECRETS, mark

__all__ = ["browse", "clock", "jobs"]


class Seer:
    """Answers at once, with seeded evidence."""

    info = INFO

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        return an_answer(volume)


def answered(client, jobs, *contents, limits=None):
    """What the page shows of some files."""
    job = make(client)
    for content in contents:
        assert client.put(f"/jobs/{job}/files", content=content).status_code == 201
    assert client.post(f"/jobs/{job}/start").status_code == 200
    answer(jobs, jobs.take(), LocalRunner(Seer(), limits=limits))
    return client.get(f"/jobs/{job}").json()


def a_zip(**entries):
    """An archive of some names and contents."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return held.getvalue()


@contextmanager
def overheard():
    """An address that nobody may ask, and who did."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        done = threading.Event()

        def listen():
            while not done.is_set():
                try:
                    came.append(listening.accept()[1])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/secret", came
        finally:
            done.set()
            thread.join()


# ---- Archives ----


def test_a_bomb_in_an_upload_is_refused_and_the_disk_does_not_fill(browse, jobs):
    bomb = a_zip(**{"scan.dcm": bytes(300_000_000)})
    assert len(bomb) < 1_000_000
    shown = answered(browse(), jobs, bomb, limits=DEFAULT_LIMITS)
    assert shown["state"] == DONE
    assert not any(one["probabilities"] for one in shown["answers"])
    assert sum(path.stat().st_size for path in stored(jobs)) < 5_000_000


def test_an_archive_in_an_archive_in_an_upload_is_not_opened(browse, jobs):
    inner = a_zip(**{"scan.dcm": bytes(1000)})
    shown = answered(browse(), jobs, a_zip(**{"inner.zip": inner}))
    assert not any(one["probabilities"] for one in shown["answers"])


@pytest.mark.parametrize("name", ["../../evil.dcm", "/etc/cron.d/evil", "..\\..\\evil.dcm"])
def test_names_in_an_archive_lead_nowhere(name, browse, jobs, tmp_path):
    scan = next(iter(series.write(tmp_path / "scan"))).read_bytes()
    shown = answered(browse(), jobs, a_zip(**{name: scan}))
    assert not any(one["probabilities"] for one in shown["answers"])
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_an_archive_is_not_followed(browse, jobs, tmp_path):
    secret = tmp_path / "secret.dcm"
    secret.write_bytes(next(iter(series.write(tmp_path / "scan"))).read_bytes())
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(secret))
    shown = answered(browse(), jobs, held.getvalue())
    assert not any(one["probabilities"] for one in shown["answers"])
    assert series.uid("study") not in json.dumps(shown)


# ---- Uploads ----


async def put(app, client, job, pieces, wait_s=0.0, *, ends=True):
    """Send a file piece by piece, as a slow line does; the status."""
    told = {}
    left = list(pieces)

    async def receive():
        await asyncio.sleep(wait_s)
        if not left and not ends:
            return {"type": "http.disconnect"}
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left) or not ends}

    async def send(message):
        told.setdefault("status", message.get("status"))

    headers = {**OURS, "Host": HOME.removeprefix("http://")}
    headers["Cookie"] = f"{COOKIE}={client.cookies[COOKIE]}"
    path = f"/jobs/{job}/files"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    return told.get("status")


def test_an_upload_that_sends_nothing_is_broken_off_and_leaves_nothing(browse, jobs):
    app = make_app(jobs, limits=Limits(idle_s=0.05, free_bytes=0))
    client = browse()
    job = make(client)
    assert asyncio.run(put(app, client, job, [b"x"] * 3, 0.5)) == 408
    assert stored(jobs) == []


def test_an_upload_that_drips_is_broken_off_and_leaves_nothing(browse, jobs):
    app = make_app(jobs, limits=Limits(idle_s=0.1, least_rate=1000, free_bytes=0))
    client = browse()
    job = make(client)
    assert asyncio.run(put(app, client, job, [b"x"] * 100, 0.02)) == 408
    assert stored(jobs) == []


def test_an_upload_that_is_broken_off_leaves_nothing(browse, jobs):
    app = make_app(jobs, limits=Limits(free_bytes=0))
    client = browse()
    job = make(client)
    with suppress(ClientDisconnect):
        asyncio.run(put(app, client, job, [b"x" * 1000] * 3, ends=False))
    assert stored(jobs) == []
    assert client.get(f"/jobs/{job}").json()["bytes"] == 0


def test_files_at_once_do_not_get_round_the_limit_of_an_upload(browse, jobs):
    limits = Limits(file_bytes=2000, job_bytes=2000, free_bytes=0)
    app = make_app(jobs, limits=limits)
    client = browse()
    job = make(client)

    async def both():
        return await asyncio.gather(
            *(put(app, client, job, [b"x" * 500] * 4, 0.02) for _ in range(8))
        )

    assert sorted(asyncio.run(both())) == [201] + [409] * 7
    assert sum(path.stat().st_size for path in stored(jobs)) == 2000


def test_many_browsers_at_once_do_not_get_round_the_limit_of_all_uploads(browse, jobs):
    app = make_app(jobs, limits=Limits(all_bytes=5000, free_bytes=0))
    clients = [browse() for _ in range(6)]
    made = [make(client) for client in clients]

    async def all_of_them():
        return await asyncio.gather(
            *(
                put(app, client, job, [b"x" * 500] * 4, 0.02)
                for client, job in zip(clients, made, strict=True)
            )
        )

    codes = asyncio.run(all_of_them())
    assert codes.count(201) <= 2 and codes.count(413) >= 4
    assert sum(path.stat().st_size for path in stored(jobs)) <= 5000


# ---- Headers, paths and methods ----


@pytest.mark.parametrize("text", ["%0d%0aSet-Cookie:%20a=b", "%00", "%0aX: y", "'%20OR%20'1'='1"])
def test_what_stands_in_a_path_becomes_no_header_and_no_query(text, browse, jobs):
    client = browse()
    make(client)
    for path in (f"/jobs/{text}", f"/jobs/{text}/results.csv", f"/static/{text}"):
        came = client.get(path)
        assert came.status_code == 404
        assert "set-cookie" not in came.headers and "x" not in came.headers


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "CONNECT"])
def test_other_methods_are_refused(method, browse):
    came = browse().request(method, "/jobs")
    assert came.status_code in (403, 405) and "OURS" not in came.text


def test_a_result_is_saved_and_never_opened_as_a_page(browse, jobs, tmp_path):
    client = browse()
    shown = answered(client, jobs, *(p.read_bytes() for p in series.write(tmp_path / "scan")))
    (study,) = shown["answers"]
    assert "scan.nii.gz" in study["files"] and "sr.dcm" in study["files"]
    for name in study["files"]:
        came = client.get(f"/jobs/{shown['id']}/files/{study['study']}/{name}")
        assert came.headers["content-disposition"].startswith("attachment")
        assert came.headers["content-type"] == "application/octet-stream"
    ranges = ",".join(f"{k}-{k}" for k in range(0, 2000, 2))
    came = client.get(
        f"/jobs/{shown['id']}/files/{study['study']}/sr.dcm", headers={"Range": f"bytes={ranges}"}
    )
    assert came.status_code in (200, 206, 400, 416) and len(came.content) < 1_000_000


# ---- Tokens ----


def test_wrong_tokens_are_answered_slowly_and_the_right_one_at_once(browse, monkeypatch):
    monkeypatch.setattr(web, "GUESS_S", 0.3)
    client = browse(token=TOKEN)
    start = time.monotonic()
    assert client.post("/token", json={"token": "wrong"}).status_code == 401
    client.cookies.set(TOKEN_COOKIE, "wrong")
    assert client.get("/jobs").status_code == 401
    assert time.monotonic() - start >= 0.6


def test_many_wrong_tokens_at_once_are_refused(monkeypatch):
    monkeypatch.setattr(web, "GUESS_S", 0.01)

    async def many():
        guesses = web._Guesses()
        came = await asyncio.gather(
            *(guesses.slow_down() for _ in range(100)), return_exceptions=True
        )
        return [one.status for one in came if one is not None]

    assert asyncio.run(many()) == [429] * 90


def test_a_connection_that_never_asks_is_closed(monkeypatch, jobs):
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(server, "HEAD_S", 0.4)
    config = uvicorn.Config(make_app(jobs), http=server._protocol(), log_level="error")
    serving = uvicorn.Server(config)
    serving.config.load()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(serving.serve([listening])))
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=30) as line:
                line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
                assert line.recv(100) == b""  # it ends
        finally:
            serving.should_exit = True
            thread.join()


# ---- Addresses in what comes ----


def with_addresses(address):
    def change(data, index):
        data.RetrieveURL = data.RetrieveURI = address
        data.add_new(0x00287FE0, "UR", address)  # where pixels would be
        item = Dataset()
        item.RetrieveURL = address
        data.ReferencedImageSequence = Sequence([item])

    return change


def test_addresses_in_a_header_are_not_asked(browse, jobs, tmp_path):
    with overheard() as (address, came):
        files = series.write(tmp_path / "scan", change=with_addresses(address))
        shown = answered(browse(), jobs, *(path.read_bytes() for path in files))
        assert shown["state"] == DONE
    assert came == []


def test_addresses_in_answers_of_a_pacs_are_not_asked(tmp_path):
    with overheard() as (address, came):
        pacs, clock = FakePacs(), Clock()
        pacs.elsewhere = address
        add(pacs, series.write(tmp_path / "scan", change=with_addresses(address)))
        with pacs.served() as url:
            answers = FolderAnswers(Seer(), tmp_path / "state" / "results", limits=None)
            watching = Watching(quiet_s=QUIET_S)
            worker = PacsWorker(
                Pacs(Access(url)), tmp_path / "state", answers, watching, clock=clock
            )
            assert settled(worker, clock) == 1
            worker.close()
            answers.close()
        assert pacs.asked["store"] == 3
    assert came == []


# ---- Sixty marked fields ----


def texts_of(folder):
    """All that lies below a folder, unpacked, but for DICOM and what may not be shared."""
    for path in sorted(folder.rglob("*")):
        apart = {"dicom", "do-not-share", "uploads"} & set(path.relative_to(folder).parts)
        if not path.is_file() or apart:
            continue
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if path.name == "volumes.js":
            packed = re.findall(rb'"([A-Za-z0-9+/=]{40,})"', content)
            content += b"".join(gzip.decompress(base64.b64decode(one)) for one in packed)
        yield path, content


def check_unmarked(folder, *texts):
    # Shorter numbers may be among random digits by chance.
    secrets = [one for one in SECRETS if not one.isdigit() or len(one) >= 8]
    seen = 0
    for path, content in texts_of(folder):
        seen += 1
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, path.name
    assert seen > 3
    for text in texts:
        assert not [secret for secret in secrets if secret in text]


def test_marked_fields_of_an_upload_are_in_its_dicom_results_alone(browse, jobs, tmp_path, caplog):
    files = series.write(tmp_path / "scan", change=mark)
    client = browse()
    with caplog.at_level(logging.DEBUG):
        shown = answered(client, jobs, *(path.read_bytes() for path in files))
    (study,) = shown["answers"]
    table = client.get(f"/jobs/{shown['id']}/results.csv").text
    told = client.get(f"/jobs/{shown['id']}/results.json").text
    check_unmarked(jobs._folder, json.dumps(shown), table, told, caplog.text)
    report = client.get(f"/jobs/{shown['id']}/files/{study['study']}/sr.dcm").content
    assert "Canary" in str(pydicom.dcmread(io.BytesIO(report)).PatientName)


def test_marked_fields_of_a_pacs_are_in_its_dicom_results_alone(tmp_path, caplog):
    pacs, clock = FakePacs(), Clock()
    add(pacs, series.write(tmp_path / "scan", change=mark))
    state = tmp_path / "state"
    with caplog.at_level(logging.INFO), pacs.served() as url:
        answers = FolderAnswers(Seer(), state / "results", limits=None)
        watching = Watching(quiet_s=QUIET_S)
        worker = PacsWorker(Pacs(Access(url)), state, answers, watching, clock=clock)
        assert settled(worker, clock) == 1
        worker.close()
        answers.close()
    ours = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("covidctnet")
    )
    check_unmarked(state, ours)
    assert pacs.asked["store"] == 3


# ---- The table ----


def test_the_table_of_attacks_names_tests_that_are_there_and_is_long_enough():
    root = Path(__file__).parents[2]
    text = (root / "docs" / "reference" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!attack|---)(.+?) \| (.+?) \| `(tests/\S+?)::(\w+)` \|$", text, re.M)
    assert len(rows) >= 40
    assert len({(attack, test) for attack, _, _, test in rows}) == len(rows)
    for _, _, file, test in rows:
        module = import_module(file.removesuffix(".py").replace("/", "."))
        assert callable(getattr(module, test)), f"{file}::{test}"
