"""The web page: uploads, a queue, answers; and what attackers try."""

import json
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from covidctnet.errors import UsageError
from covidctnet.run.load import load
from covidctnet.run.runner import LocalRunner
from covidctnet.serve.web import app as web
from covidctnet.serve.web.app import COOKIE, Limits, make_app
from covidctnet.serve.web.jobs import ANSWERING, DONE, FAILED, QUEUED, Jobs
from covidctnet.serve.web.server import WebServer
from covidctnet.serve.web.worker import answer
from tests.small import tiny_weights, write_chest

HOME = "http://127.0.0.1:8000"
OURS = {"Origin": HOME, "X-Covidctnet": "1"}
TOKEN = "a long token of this test"
LITTLE = Limits(file_bytes=2000, job_bytes=3000, job_files=4, waiting_jobs=2, free_bytes=0)


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(tmp_path, clock):
    jobs = Jobs(tmp_path / "state", clock=clock)
    yield jobs
    jobs.close()


@pytest.fixture
def browse(jobs, monkeypatch):
    """Opens the page in a browser of its own."""
    monkeypatch.setattr(web, "GUESS_S", 0.0)

    def browse(**more):
        client = TestClient(make_app(jobs, **more), base_url=HOME, headers=OURS)
        client.get("/")
        return client

    return browse


def make(client):
    return client.post("/jobs").json()["id"]


def stored(jobs):
    return [path for path in (jobs._folder).rglob("*") if path.is_file()]


def test_a_file_is_uploaded_queued_and_seen_by_the_one_who_sent_it_alone(browse, jobs):
    one, other = browse(), browse()
    job = make(one)
    assert one.put(f"/jobs/{job}/files", content=b"x" * 100).json() == {"bytes": 100}
    assert one.post(f"/jobs/{job}/start").status_code == 200
    shown = one.get(f"/jobs/{job}").json()
    assert (shown["state"], shown["files"], shown["bytes"]) == ("queued", 1, 100)
    assert [item["id"] for item in one.get("/jobs").json()] == [job]
    assert other.get("/jobs").json() == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("PUT", "/files")):
        assert other.request(method, f"/jobs/{job}{path}").status_code == 404
    assert jobs.count(QUEUED) == 1


def test_jobs_are_answered_in_the_order_in_which_they_came(browse, jobs, clock):
    clients = [browse() for _ in range(3)]
    made = []
    for client in clients:
        job = make(client)
        client.put(f"/jobs/{job}/files", content=b"x")
        clock.now += 1
        client.post(f"/jobs/{job}/start")
        made.append(job)
    assert [
        client.get(f"/jobs/{job}").json()["before"]
        for client, job in zip(clients, made, strict=True)
    ] == [0, 1, 2]
    assert [jobs.take().id for _ in made] == made
    assert jobs.take() is None


def test_an_upload_is_answered_and_its_files_are_gone(browse, jobs, tmp_path):
    folder = write_chest(tmp_path / "chest", "one")
    archive = shutil.make_archive(str(tmp_path / "chest"), "zip", folder)
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=Path(archive).read_bytes())
    client.post(f"/jobs/{job}/start")
    runner = LocalRunner(load(str(tiny_weights(tmp_path / "weights"))))
    answer(jobs, jobs.take(), runner)
    shown = client.get(f"/jobs/{job}").json()
    assert shown["state"] == DONE and "1 study" in shown["message"]
    (study,) = shown["answers"]
    assert sum(study["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    picture = client.get(f"/jobs/{job}/pictures/{study['study']}")
    assert picture.headers["content-type"] == "image/webp" and picture.content[8:12] == b"WEBP"
    table = client.get(f"/jobs/{job}/results.csv")
    assert study["study"] in table.text
    everything = json.dumps(shown) + table.text + client.get(f"/jobs/{job}/results.json").text
    assert str(tmp_path) not in everything
    assert not any("uploads" in path.parts for path in stored(jobs))


def test_what_cannot_be_read_is_answered_with_the_reason(browse, jobs, tmp_path):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"no scan at all" * 1000)
    client.post(f"/jobs/{job}/start")
    runner = LocalRunner(load(str(tiny_weights(tmp_path / "weights"))))
    answer(jobs, jobs.take(), runner)
    shown = client.get(f"/jobs/{job}").json()
    assert shown["state"] == DONE
    assert "no study found" in shown["message"] or "refused" in shown["message"]


def test_a_job_whose_process_ended_is_answered_by_the_next_one_and_given_up_at_last(browse, jobs):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    assert jobs.take().tries == 1
    jobs.take_up()
    assert jobs.take().tries == 2
    jobs.take_up()
    assert jobs.take() is None
    shown = client.get(f"/jobs/{job}").json()
    assert shown["state"] == FAILED and "ended twice" in shown["message"]


def test_the_queue_survives_a_restart(browse, jobs, tmp_path):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    again = Jobs(tmp_path / "state")
    assert again.take().id == job
    assert again.session_of("one") == jobs.session_of("one")
    again.close()


def test_uploads_and_results_go_after_their_time_and_others_stay(browse, jobs, clock):
    client = browse()
    old, waiting = make(client), make(client)
    for job in (old, waiting):
        client.put(f"/jobs/{job}/files", content=b"x")
        client.post(f"/jobs/{job}/start")
    taken = jobs.take()
    jobs.end(taken, DONE, "")
    (jobs._folder / "nobody").mkdir()
    clock.now += 101
    assert jobs.remove_old(100) == 1
    assert {path.name for path in jobs._folder.iterdir()} == {old, waiting} - {taken.id}


def test_a_job_that_is_being_answered_is_not_removed(browse, jobs):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    jobs.take()
    assert client.delete(f"/jobs/{job}").status_code == 409
    assert jobs.count(ANSWERING) == 1


@pytest.mark.parametrize("name", ["ct.example", "ct.example:443"])
def test_a_name_is_known_with_and_without_the_port_of_https(name, browse):
    client = browse(hosts=(name,))
    told = {"Host": "ct.example", "Origin": "https://ct.example"}
    client.get("/", headers=told)
    assert client.post("/jobs", headers=told).status_code == 201
    assert client.get("/jobs", headers={"Host": "ct.example:8443"}).status_code == 421


# What attackers try.


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
    ],
)
def test_a_request_to_another_name_is_refused(host, browse):
    answered = browse().get("/jobs", headers={"Host": host})
    assert answered.status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:8001"},
        {"X-Covidctnet": ""},
        {"Origin": f"{HOME}.evil.example"},
        {"Origin": "http://evil.example/127.0.0.1:8000"},
    ],
)
def test_a_change_from_another_page_is_refused(headers, browse, jobs):
    client = browse()
    assert client.post("/jobs", headers=headers).status_code == 403
    assert jobs.of(jobs.session_of(client.cookies[COOKIE])) == []


def test_no_other_page_may_read_answers(browse):
    client = browse()
    answered = client.get("/jobs", headers={"Origin": "https://evil.example"})
    assert not [name for name in answered.headers if name.startswith("access-control")]
    assert client.options("/jobs", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/app.py",
        "/jobs/../../state/jobs.sqlite",
        "/jobs/%2e%2e/jobs.sqlite",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_leads_elsewhere(path, browse):
    answered = browse().get(path)
    assert answered.status_code in (401, 404)
    assert b"SQLite" not in answered.content and b"import" not in answered.content


@pytest.mark.parametrize("name", ["../jobs.sqlite", "..%2f..%2fjobs.sqlite", "studies", "uploads"])
def test_only_tables_and_pictures_of_a_result_are_given(name, browse, jobs):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    taken = jobs.take()
    jobs.results(taken).mkdir(parents=True)
    jobs.end(taken, DONE, "")
    assert client.get(f"/jobs/{job}/{name}").status_code == 404
    assert client.get(f"/jobs/{job}/pictures/{name}").status_code == 404


@pytest.mark.parametrize("named", ["../../../jobs.sqlite", "/etc/passwd", "link.png"])
def test_a_result_that_names_a_picture_elsewhere_shows_none(named, browse, jobs, tmp_path):
    client = browse()
    job = make(client)
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    taken = jobs.take()
    studies = jobs.results(taken) / "studies"
    studies.mkdir(parents=True)
    (studies / "link.png").symlink_to("/etc/passwd")
    told = {"studies": [{"study": "s", "picture": named}]}
    (jobs.results(taken) / "results.json").write_text(json.dumps(told))
    jobs.end(taken, DONE, "")
    assert client.get(f"/jobs/{job}/pictures/s").status_code == 404


@pytest.mark.parametrize("told", [True, False])
def test_a_file_that_is_too_large_leaves_nothing(told, browse, jobs):
    client = browse(limits=LITTLE)
    job = make(client)
    body = b"x" * 2001
    content = body if told else iter([body[:1000], body[1000:]])
    answered = client.put(f"/jobs/{job}/files", content=content)
    assert answered.status_code == 413 and "covidctnet classify" in answered.json()["message"]
    assert stored(jobs) == []
    assert client.get(f"/jobs/{job}").json()["files"] == 0


def test_many_files_together_are_no_larger_than_one_upload_may_be(browse, jobs):
    client = browse(limits=LITTLE)
    job = make(client)
    codes = [client.put(f"/jobs/{job}/files", content=b"x" * 1500).status_code for _ in range(3)]
    assert codes == [201, 201, 413]
    codes = [client.put(f"/jobs/{job}/files", content=b"").status_code for _ in range(2)]
    assert codes == [400, 400]


def test_so_many_files_and_so_many_waiting_uploads_are_taken(browse, jobs):
    client = browse(limits=LITTLE)
    job = make(client)
    codes = [client.put(f"/jobs/{job}/files", content=b"x").status_code for _ in range(5)]
    assert codes == [201] * 4 + [413]
    make(client)
    answered = client.post("/jobs")
    assert answered.status_code == 429 and answered.headers["retry-after"] == "60"


def test_a_full_disk_is_said_so_and_leaves_nothing(browse, jobs):
    client = browse(limits=Limits(free_bytes=2**60))
    job = make(client)
    answered = client.put(f"/jobs/{job}/files", content=b"x" * 10)
    assert answered.status_code == 507 and "full" in answered.json()["message"]
    assert stored(jobs) == []


def test_a_disk_that_is_full_while_a_file_comes_leaves_nothing(browse, jobs, monkeypatch):
    client = browse()
    job = make(client)

    async def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(web, "run_in_threadpool", broken_after(2, web.run_in_threadpool, broken))
    answered = client.put(f"/jobs/{job}/files", content=b"x" * 10)
    assert answered.status_code == 507
    assert stored(jobs) == []


def broken_after(calls, work, broken):
    count = 0

    async def call(*arguments, **more):
        nonlocal count
        count += 1
        if count > calls + 1:
            return await broken()
        return await work(*arguments, **more)

    return call


def test_a_started_upload_takes_no_more_files(browse, jobs):
    client = browse()
    job = make(client)
    assert client.post(f"/jobs/{job}/start").status_code == 409  # nothing in it yet
    client.put(f"/jobs/{job}/files", content=b"x")
    client.post(f"/jobs/{job}/start")
    assert client.put(f"/jobs/{job}/files", content=b"y").status_code == 409
    assert client.post(f"/jobs/{job}/start").status_code == 409


def test_names_of_the_client_never_reach_the_disk(browse, jobs):
    client = browse()
    job = make(client)
    client.put(
        f"/jobs/{job}/files?name=../../evil",
        content=b"x",
        headers={"Content-Disposition": 'attachment; filename="../../evil.py"'},
    )
    (path,) = stored(jobs)
    assert path.parent == jobs.uploads(jobs.of(jobs.session_of(client.cookies[COOKIE]))[0])
    assert "evil" not in path.name


@pytest.mark.parametrize("cookie", ["", "short", "x" * 1000, "' OR 1=1 --" + "x" * 40])
def test_a_session_that_is_none_sees_nothing(cookie, browse, jobs):
    owner = browse()
    job = make(owner)
    thief = browse()
    thief.cookies.clear()
    thief.cookies.set(COOKIE, cookie)
    assert thief.get(f"/jobs/{job}").status_code in (401, 404)
    assert thief.get("/jobs").status_code in (200, 401)
    assert job not in thief.get("/jobs").text


def test_no_number_of_a_job_can_be_guessed(browse):
    client = browse(limits=Limits(waiting_jobs=50))
    ids = {make(client) for _ in range(20)}
    assert len(ids) == 20 and {len(job) for job in ids} == {32}


def test_without_the_token_only_the_page_that_asks_for_it_is_shown(browse):
    client = browse(token=TOKEN)
    assert client.get("/").status_code == 200
    for path in ("/jobs", "/jobs/" + "0" * 32):
        assert client.get(path).status_code == 401
    assert client.post("/jobs").status_code == 401
    for wrong in ("", TOKEN[:-1], TOKEN + "x", None, ["x"], 1):
        assert client.post("/token", json={"token": wrong}).status_code == 401
    assert client.post("/token", content=b"[" * 3000).status_code in (400, 401)
    assert client.post("/token", content=b"x" * 5000).status_code == 413
    assert client.get("/jobs").status_code == 401
    assert client.post("/token", json={"token": TOKEN}).status_code == 200
    assert client.get("/jobs").status_code == 200


def test_cookies_are_no_business_of_scripts_and_other_pages(browse):
    client = browse(token=TOKEN)
    client.cookies.clear()
    told = client.get("/").headers["set-cookie"].lower()
    assert "httponly" in told and "samesite=strict" in told
    told = client.post("/token", json={"token": TOKEN}).headers["set-cookie"].lower()
    assert "httponly" in told and "samesite=strict" in told


def test_cookies_of_a_proxy_that_speaks_https_never_travel_without_it(browse):
    client = browse(token=TOKEN, hosts=("ct.example",), is_behind_https=True)
    client.cookies.clear()
    assert "secure" in client.get("/", headers={"Host": "ct.example"}).headers["set-cookie"].lower()
    # The loopback address has none.
    assert "secure" not in client.get("/").headers["set-cookie"].lower()


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/jobs", "/nothing"])
def test_every_answer_forbids_what_it_does_not_need(path, browse):
    answered = browse().get(path)
    policy = answered.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answered.headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_script_and_no_style_of_its_own_and_loads_nothing_from_elsewhere(browse):
    page = browse().get("/").text
    assert "<script>" not in page and "<style" not in page and "style=" not in page
    assert "onclick" not in page and "://" not in page
    assert "Research use only" in page
    script = browse().get("/static/page.js").text
    assert "innerHTML" not in script and "://" not in script


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "ct.hospital.example"])
@pytest.mark.parametrize("token", ["", "short"])
def test_nothing_listens_beyond_this_machine_without_a_long_token(host, token, tmp_path):
    with pytest.raises(UsageError, match="token of 20 characters"):
        WebServer(tmp_path, weights="compact", address=(host, 0), token=token)
