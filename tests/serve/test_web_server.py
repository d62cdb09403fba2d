"""The web page as a program: a signal, a broken process, hostile connections."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from covidctnet.serve.web.jobs import Jobs
from tests.small import tiny_weights, write_chest

WAIT_S = 120


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"))


@contextmanager
def served(state, weights):
    command = [sys.executable, "-P", "-m", "covidctnet", "serve", "web", "--port", "0"]
    command += ["--state", str(state), "--weights", weights]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            yield it, int(re.search(r":(\d+)/", it.stdout.readline())[1])
        finally:
            if it.poll() is None:
                it.terminate()
            it.communicate(timeout=WAIT_S)


class Browser:
    def __init__(self, port):
        self.port = port
        self.cookie = ""
        told = self.ask("GET", "/")[1]
        self.cookie = told["set-cookie"].split(";")[0]

    def ask(self, method, path, body=None):
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        head = {"Origin": f"http://127.0.0.1:{self.port}", "X-Covidctnet": "1"}
        if self.cookie:
            head["Cookie"] = self.cookie
        line.request(method, path, body, head)
        answer = line.getresponse()
        content = answer.read()
        line.close()
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status, answer.headers, json.loads(content) if is_json else content

    def upload(self, files):
        job = self.ask("POST", "/jobs")[2]["id"]
        for file in files:
            assert self.ask("PUT", f"/jobs/{job}/files", file.read_bytes())[0] == 201
        assert self.ask("POST", f"/jobs/{job}/start")[0] == 200
        return job

    def wait(self, job, *states):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            shown = self.ask("GET", f"/jobs/{job}")[2]
            if shown["state"] in states:
                return shown
            time.sleep(0.1)
        raise AssertionError(shown)


def children(process):
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == process:
                    pids.append(int(entry.name))
    return pids


def test_an_upload_outlives_its_process_and_a_restart_and_a_signal_ends_all(weights, tmp_path):
    files = sorted(write_chest(tmp_path / "chest", "one").rglob("*.dcm"))
    state = tmp_path / "state"
    with served(state, weights) as (program, port):
        browser = Browser(port)
        (worker,) = children(program.pid)
        os.kill(worker, signal.SIGKILL)
        job = browser.upload(files)
        shown = browser.wait(job, "done", "failed")
        assert shown["state"] == "done" and len(shown["answers"]) == 1
        workers = children(program.pid)
        assert workers and worker not in workers
        program.send_signal(signal.SIGTERM)
        assert program.wait(WAIT_S) == 128 + signal.SIGTERM
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    jobs = Jobs(state)
    session = jobs.session_of(browser.cookie.partition("=")[2])
    waiting = jobs.make(session)
    (jobs.uploads(waiting) / "1").write_bytes(files[0].read_bytes())
    jobs.add_file(waiting, 1)
    jobs.submit(waiting)
    jobs.close()
    with served(state, weights) as (_, port):
        browser.port = port
        assert browser.wait(waiting.id, "done")["message"]
        # The earlier answer is there as well.
        assert browser.ask("GET", f"/jobs/{job}")[2]["answers"] == shown["answers"]
        # A second server of this folder, an oversized head, and half a request that never ends.
        command = [sys.executable, "-P", "-m", "covidctnet", "serve", "web", "--port", "0"]
        second = subprocess.run(
            [*command, "--state", str(state), "--weights", weights],
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert second.returncode == 2 and "another run" in second.stderr
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000)
            try:
                answer = line.recv(100)
            except ConnectionResetError:
                answer = b""
        assert not answer or answer.startswith(b"HTTP/1.1 4")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as half:
            half.sendall(b"PUT /jobs/x/files HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert browser.ask("GET", "/jobs")[0] == 200
        smuggled = b"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\n c\r\n\nX: y\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(smuggled)
            assert line.recv(100).startswith(b"HTTP/1.1 4")
