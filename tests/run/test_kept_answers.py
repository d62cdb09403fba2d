"""An evaluation that is stopped keeps its answers, and goes on where it was."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.splits import Splits, studies_of_split
from covidctnet.errors import UsageError
from covidctnet.evaluation.localise import Localisation
from covidctnet.evidence import LesionVolume, Region
from covidctnet.io import find_studies
from covidctnet.results import Failure, Prediction
from covidctnet.run.evaluate import evaluate_data, evaluate_work
from covidctnet.run.kept_answers import ANSWERS, KeptAnswers
from covidctnet.run.runner import Answered
from covidctnet.volume import Source
from covidctnet.writer import SoleWriter
from tests.evaluation.few_draws import few_draws
from tests.io.series import a_scan, write
from tests.little_work import fill
from tests.run.test_classify import Oracle

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
NAMES = {f"{label.key}{n}": label for label in CHEST_CT for n in range(2)}


def archive_of(root):
    for number, (name, label) in enumerate(NAMES.items()):
        skip = (5,) if number == 3 else ()
        scan = a_scan()
        scan[:, 0, 2] = number
        write(root / label.title / name, scan, study=name, patient=name, skip=skip)
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return archive_of(tmp_path_factory.mktemp("archive"))


class Told(Oracle):
    """Tells patients apart by their id, so that each answer is its own."""

    def __call__(self, volume, *, keep="numbers"):
        plain = super().__call__(volume, keep=keep)
        weight = int(volume.source.digest[:4], 16) / 2**16
        values = dict(zip(CHEST_CT, (weight / 3, 1 / 3, (2 - weight) / 3), strict=True))
        return replace(plain, probabilities=values)


def stop_at(number):
    return lambda asked: KeyboardInterrupt() if asked == number else None


def files_of(folder):
    left = (ANSWERS, "do-not-share")
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not set(left) & set(path.parts) and path.name != ".writer.lock"
    }


def test_a_second_run_asks_only_the_rest_and_writes_what_one_run_writes(archive, tmp_path):
    whole = Told()
    evaluate_data(archive, whole, tmp_path / "whole", limits=None)
    assert len(whole.asked) == 5
    stopped = Told(stop_at(4))
    with pytest.raises(KeyboardInterrupt):
        evaluate_data(archive, stopped, tmp_path / "out", limits=None, key=tmp_path / "whole")
    assert len(list((tmp_path / "out" / ANSWERS).glob("*.json"))) >= 3
    rest = Told()
    evaluate_data(archive, rest, tmp_path / "out", limits=None)
    assert len(rest.asked) == 2
    assert not set(rest.asked) & set(stopped.asked[:3])
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    again = Told()
    evaluate_data(archive, again, tmp_path / "out", limits=None)
    assert again.asked == []


KILLED = """
import os, signal, sys
from pathlib import Path
from covidctnet.run.evaluate import evaluate_data
from tests.run.test_kept_answers import Told

def trouble(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)

evaluate_data(Path(sys.argv[1]), Told(trouble), Path(sys.argv[2]), limits=None)
"""


def test_what_was_answered_before_kill_9_is_not_asked_again(archive, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(archive), str(tmp_path / "out")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "out" / "evaluation.json").exists()
    kept = {path.stem for path in (tmp_path / "out" / ANSWERS).glob("*.json")}
    assert len(kept) >= 2
    rest = Told()
    found = evaluate_data(archive, rest, tmp_path / "out", limits=None)
    assert (found.answered, found.failed) == (5, 1)
    assert len(rest.asked) == 3 and not set(rest.asked) & kept


def test_answers_by_other_weights_are_not_mixed_with_those_there(archive, tmp_path):
    evaluate_data(archive, Oracle(), tmp_path / "out", limits=None)
    before = files_of(tmp_path / "out")
    other = Oracle()
    other.info = replace(Oracle.info, weights="other", digest="ba9876543210")
    with pytest.raises(UsageError, match=r"answers by the weights other .* by oracle \(0123"):
        evaluate_data(archive, other, tmp_path / "out", limits=None)
    assert other.asked == [] and files_of(tmp_path / "out") == before


def test_a_folder_that_another_run_writes_into_is_left_alone(archive, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        SoleWriter(tmp_path / "out"),
        pytest.raises(UsageError, match="another run writes into this folder"),
    ):
        evaluate_data(archive, Oracle(), tmp_path / "out", limits=None)


def test_a_damaged_record_a_changed_file_and_a_failure_of_ours_are_asked_again(tmp_path):
    data = archive_of(tmp_path / "data")
    first = Oracle(lambda number: RuntimeError("ours") if number == 1 else None)
    evaluate_data(data, first, tmp_path / "out", limits=None)
    records = {p.stem: p for p in (tmp_path / "out" / ANSWERS).glob("*.json")}
    assert len(records) == 6
    damaged = next(s for s in records if s in first.asked[1:])
    records[damaged].write_text(records[damaged].read_text()[:-40])
    second = Oracle()
    evaluate_data(data, second, tmp_path / "out", limits=None)
    assert set(second.asked) == {first.asked[0], damaged}
    touched = next((data / "CAP" / "cap0").glob("*.dcm"))
    os.utime(touched, ns=(1, 1))
    third = Oracle()
    evaluate_data(data, third, tmp_path / "out", limits=None)
    assert len(third.asked) == 1


def test_an_evaluation_of_a_work_folder_goes_on_too(tmp_path):
    work = fill(tmp_path / "work")
    stored = studies_of_split(work, "test")
    model = Oracle()
    model.info = replace(Oracle.info, preprocessing=stored[0].settings_digest)
    model.prepare = lambda study: study.volume()
    evaluate_work(work, model, tmp_path / "out")
    assert sorted(model.asked) == sorted(Splits.load(work / "splits.json").studies("test"))
    evaluate_work(work, model, tmp_path / "out")
    assert len(model.asked) == len(stored)


def test_a_record_gives_back_all_that_an_evaluation_uses(tmp_path):
    regions = (Region("left", "upper", 100.5, 3.25),)
    answer = Prediction(
        "s1",
        dict(zip(CHEST_CT, (0.1, 0.3, 0.6), strict=True)),
        flags=("thick_slices",),
        prediction_set=(CHEST_CT.CAP,),
        ood_score=0.1234567890123,
        evidence=(LesionVolume(0.5, regions, (1.0,)),),
        acquisition=(("slice_mm", 1.25), ("kernel", "B30f"), ("kvp", np.float64(120))),
        weights="0123456789ab",
        notes=("a note",),
    )
    write(tmp_path / "scan")
    (study,) = find_studies(tmp_path / "scan")
    local = Localisation(0.5, float("nan"), 1.0, 1.0, 2.0, 0.5, 0.25)
    source = Source("s1", "ab" * 32, "dicom", notes=("n",), acquisition=(("slice_mm", 1.25),))
    for outcome, found in ((answer, local), (Failure(study.id, "SLICE_GAP", "a gap"), None)):
        given = Answered(study, outcome, {"read": 0.5}, "mark", source, found)

        class Once:
            info = Oracle.info

            def answers(self, studies, *, given=given, **_):
                yield from [given for _ in studies]

        for _ in range(2):
            with KeptAnswers(tmp_path / type(outcome).__name__, Oracle.info) as kept:
                (back,) = kept.answers(Once(), [study], lesions={})
        assert json.dumps(repr(back.outcome)) == json.dumps(repr(outcome))
        assert back.outcome == outcome
        assert back.source == source and back.seconds == {"read": 0.5}
        assert repr(back.localisation) == repr(found)
