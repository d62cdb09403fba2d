"""The table of fast paths beside the plain one."""

import re

from covidctnet.classes import CHEST_CT
from covidctnet.results import Prediction
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from pipelines.experiments.exactness import run
from tests.small import calibrated_weights, write_chest


def answer(*probabilities):
    return Prediction("0", dict(zip(CHEST_CT, probabilities, strict=True)), weights="0123456789ab")


def test_every_study_is_answered_in_every_way(tmp_path, capsys):
    weights = calibrated_weights(tmp_path / "calibrated")
    for name in ("1", "2"):
        write_chest(tmp_path / "inbox" / name, name)
    (tmp_path / "inbox" / "broken.dcm").write_bytes(b"DICM")
    page = tmp_path / "page.md"
    arguments = [str(tmp_path / "inbox"), "--weights", str(weights), "--output", str(page)]
    assert run.main([*arguments, "--device", "cpu"]) == 0
    text = page.read_text()
    assert "2 studies, 0 of them phantoms, 1 more refused" in text
    rows = re.findall(r"^\| rewritten, (\w+) \| (\S+) \|", text, re.MULTILINE)
    assert [kind for kind, _ in rows] == ["float32", "bfloat16"]
    assert float(rows[0][1]) < 1e-4
    assert float(rows[1][1]) < 0.01
    assert capsys.readouterr().err.count("CORRUPT_SLICE") == 1


def test_what_differs_is_counted(tmp_path):
    model = CovidCTNet.load(calibrated_weights(tmp_path / "calibrated"), device="cpu")
    plain = [answer(0.5, 0.3, 0.2), answer(0.1, 0.8, 0.1)]
    other = [answer(0.3, 0.5, 0.2), answer(0.1, 0.805, 0.095)]
    text = run.render({run.PLAIN: plain, "fast": other}, model, 0)
    assert "| fast | 2.0e-01 | 6.8e-02 | 0.50 (0.09-0.91) | 1 | 0 |" in text


def test_no_study_is_an_error(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear colleague")
    assert run.main([str(tmp_path)]) == 2
    assert "no study" in capsys.readouterr().err
