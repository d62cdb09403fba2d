"""The evaluation on real patients: who is counted."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import StudyError
from covidctnet.results import Prediction
from covidctnet.volume import Source, Volume
from pipelines.strangers import run
from pipelines.strangers.run import AGAIN, Answered, answer_archive


def entry(name: str, patient: str) -> SimpleNamespace:
    return SimpleNamespace(study=name, patient=patient, label=CHEST_CT.CONTROL, site="north")


@pytest.fixture
def model(monkeypatch):
    """Answers every study with Control; the study ``broken`` cannot be read."""
    probabilities = {CHEST_CT.CONTROL: 1.0, CHEST_CT.COVID19: 0.0, CHEST_CT.CAP: 0.0}

    def read(study):
        if study == "broken":
            raise StudyError("CORRUPT_FILE", "file 1 is damaged")
        return Volume(np.zeros((2, 2, 2), np.int16), np.eye(4), "HU", Source(study))

    def answer(model, prepared, truth, site, networks):
        return Answered(prepared, truth, site, Prediction(prepared, probabilities), networks, {})

    monkeypatch.setattr(run, "read_study", read)
    monkeypatch.setattr(run, "answer", answer)
    weights = SimpleNamespace(card={}, name="w")
    return SimpleNamespace(weights=weights, prepare=lambda volume: volume.source.study)


def test_a_patient_of_several_studies_is_counted_once(model, monkeypatch):
    archive = [entry("a", "one"), entry("b", "one"), entry("c", "two"), entry("d", "one")]
    monkeypatch.setattr(run, "read_cohort", lambda *data: archive)
    answered = answer_archive([Path("x")], model)
    assert [p.study for p in answered.patients] == ["a", "c"]
    assert answered.left_out == {AGAIN: 2}


def test_the_next_study_takes_the_place_of_one_that_cannot_be_read(model, monkeypatch):
    archive = [entry("broken", "one"), entry("b", "one")]
    monkeypatch.setattr(run, "read_cohort", lambda *data: archive)
    answered = answer_archive([Path("x")], model)
    assert [p.study for p in answered.patients] == ["b"]
    assert answered.left_out == {"CORRUPT_FILE": 1}
