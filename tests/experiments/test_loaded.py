"""The table of one scan beside busy programs."""

import os
import re
import sys

from pipelines.experiments.loaded import run
from pipelines.experiments.loaded.run import Cost


def test_every_way_is_measured_alone_and_beside_others(tmp_path, monkeypatch):
    asked = []

    def answer(scan, weights, environment):
        asked.append(dict(environment))
        return Cost(float(len(asked)), 2.0)

    monkeypatch.setattr(run, "answer", answer)
    page = tmp_path / "page.md"
    arguments = [str(tmp_path), "--any-load", "--busy=1", "--times=1", "--output", str(page)]
    assert run.main(arguments) == 0
    assert asked == 2 * [dict(way) for way in run.WAYS.values()]
    rows = re.findall(r"^\| .+ \| ([\d.]+) \| 2.0 \| ([\d.]+) \| 2.0 \|$", page.read_text(), re.M)
    assert [(float(one), float(other)) for one, other in rows] == [(n, n + 4) for n in range(1, 5)]


def test_a_busy_machine_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    assert run.main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "expected an idle machine (load below 1.5), got a load of 9.0" in told


def test_a_scan_without_an_answer_is_no_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "false")
    assert run.main([str(tmp_path), "--any-load", "--times=1"]) == 2
    assert "expected an answer, got the exit code" in capsys.readouterr().err
