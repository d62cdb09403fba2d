"""Images, services and units: what they start is there, and what they promise is set."""

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from covidctnet.cli import main
from covidctnet.serve.dicomweb import Access, Pacs
from pipelines.experiments.pacs.orthanc import WHY_NOT, Orthanc

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "pipelines" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture
def options(capsys):
    """The options of a command."""

    def options(*command):
        assert main([*command, "--help"]) == 0
        return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))

    return options


def instructions(path):
    """The instructions of a Dockerfile, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in lines]


def of(found, name):
    return [rest for one, rest in found if one == name]


KNOWN = {"ARG", "FROM", "COPY", "WORKDIR", "RUN", "ENV", "USER", "VOLUME", "EXPOSE"}
KNOWN |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.orthanc"])
def test_an_image_runs_as_nobody_of_weight_and_says_whether_it_is_well(name):
    found = instructions(DEPLOY / name)
    assert {one for one, _ in found} <= KNOWN
    last = max(k for k, (one, _) in enumerate(found) if one == "FROM")
    final = found[last:]
    (user,) = of(final, "USER")
    assert user.split(":")[0] not in ("", "root", "0")
    assert of(final, "HEALTHCHECK") and of(final, "VOLUME")
    for form in ("ENTRYPOINT", "CMD"):
        # As a list: signals reach the program and no shell.
        assert isinstance(json.loads(of(final, form)[0]), list)
    assert not re.search(
        r"https?://(?!127\.0\.0\.1)|ADD |curl [^|]*\|", (DEPLOY / name).read_text()
    )
    for _, source in (one for one in found if one[0] == "COPY"):
        where = source.split()[0]
        if not where.startswith(("--from", "dist/")):
            assert (ROOT / where).is_file()


def test_the_image_has_one_argument_for_cpu_and_cuda_and_checks_its_wheels():
    found = instructions(DEPLOY / "Dockerfile")
    assert "KIND=cpu" in of(found, "ARG")
    assert any("dist/wheelhouse/${KIND}" in one for one in of(found, "COPY"))
    assert any("sha256sum --check" in one and "--no-index" in one for one in of(found, "RUN"))
    kept = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in kept and "!dist/wheelhouse" in kept and "!pipelines/deploy" in kept


def test_every_service_is_closed_but_for_its_state(compose):
    assert set(compose["services"]) == {"orthanc", "pacs", "web"}
    named = set(compose["volumes"])
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "network_mode", "pid"} & set(service)
        assert {volume.split(":")[0] for volume in service["volumes"]} <= named
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:") or port == "4242:4242"
        for name, value in service["environment"].items():
            # Nothing secret stands in the file, and nothing starts without it.
            assert re.fullmatch(rf"\$\{{{name}:\?.+\}}", value)
        build = service["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()


def test_the_worker_and_the_page_share_no_network_and_no_volume(compose):
    pacs, web = compose["services"]["pacs"], compose["services"]["web"]
    assert not set(pacs["networks"]) & set(web["networks"])
    assert not {one.split(":")[0] for one in pacs["volumes"]} & {
        one.split(":")[0] for one in web["volumes"]
    }


def test_services_of_the_image_start_commands_that_are_there(compose, options):
    commands = [compose["services"][name]["command"] for name in ("pacs", "web")]
    commands.append(json.loads(of(instructions(DEPLOY / "Dockerfile"), "CMD")[0]))
    for command in commands:
        given = {part.split("=")[0] for part in command if part.startswith("--")}
        assert given and given <= options(*command[:2])


def a_unit(path):
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str
    unit.read_string(path.read_text())
    return unit


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_is_there_for_a_user_without_rights(path, options):
    service = a_unit(path)["Service"]
    program, *command = service["ExecStart"].split()
    assert program.endswith("/bin/covidctnet")
    given = {part.split("=")[0] for part in command if part.startswith("--")}
    assert given <= options(*command[:2])
    assert service["User"] not in ("", "root")
    assert service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    state = f"--state=/var/lib/{service['StateDirectory']}"
    assert state in command and service["StateDirectoryMode"] == "0700"
    # Wrong options end a command with 2.
    assert service["Restart"] == "on-failure" and service["RestartPreventExitStatus"] == "2"
    assert "PASSWORD" not in service["ExecStart"] and "TOKEN" not in service["ExecStart"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_understands_a_unit(path, tmp_path):
    text = path.read_text()
    program = re.search(r"ExecStart=(\S+)", text)[1]
    # The program is checked for too: any that is here will do.
    copy = tmp_path / path.name
    copy.write_text(
        text.replace(program, shutil.which("true")).replace("covidctnet\nGroup", "x\nGroup")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert "Unknown" not in done.stderr and "Failed to parse" not in done.stderr, done.stderr


def test_the_settings_of_orthanc_open_nothing_without_a_password():
    told = json.loads((DEPLOY / "orthanc.json").read_text())
    assert told["AuthenticationEnabled"] is True and told["ExecuteLuaEnabled"] is False
    assert set(told["RegisteredUsers"].values()) == {"${COVIDCTNET_PACS_PASSWORD}"}
    assert told["DicomWeb"]["Root"] == "/dicom-web/"


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_orthanc_starts_with_these_settings_and_takes_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("COVIDCTNET_PACS_PASSWORD", "for this test")
    told = json.loads((DEPLOY / "orthanc.json").read_text())
    server = Orthanc(tmp_path, told, password="for this test")
    server.start()
    try:
        pacs = Pacs(Access(server.url, "covidctnet", os.environ["COVIDCTNET_PACS_PASSWORD"]))
        assert list(pacs.studies(["CT"])) == []
    finally:
        server.stop()
