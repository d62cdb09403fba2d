import json

import numpy as np
import pytest

from covidctnet.evaluation.assess import assess
from covidctnet.report.model_card import model_card
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
CARD = {
    "architecture": {"denoiser": {}, "classifier": {}},
    "licence": "Apache-2.0",
    "training": {
        "denoiser": {
            "command": "covidctnet train-denoiser --work work",
            "data": {
                "studies_by_kind": {"patients": 6, "synthetic patients (phantoms)": 40},
                "attribution": "Some Archive, CC BY 3.0",
                "sites": ["amber"],
            },
        },
        "classifier": {"command": "covidctnet train-classifier --work work", "data": {}},
    },
}


def card(cases=None, weights=CARD):
    assessment = assess(cases or simulated(24), rng=np.random.default_rng(0))
    text, plain = model_card(
        assessment,
        weights,
        name="mine",
        digest="0123456789ab",
        trained_on="phantoms",
        caveat="Be warned.",
    )
    return assessment, text, plain


def test_the_numbers_are_those_of_the_assessment():
    assessment, text, _ = card()
    for figure in assessment.scores.overall.values():
        assert str(figure) in text


def test_data_commands_and_thanks_come_from_the_card_of_the_weights():
    _, text, _ = card()
    assert "covidctnet train-denoiser --work work" in text
    assert "40 synthetic patients (phantoms)" in text
    assert "Some Archive, CC BY 3.0" in text
    assert "Licence: Apache-2.0" in text


def test_it_says_what_it_is_for_and_what_not():
    _, text, _ = card()
    for words in ("## Intended use", "## Not for", "Not a medical device", "Be warned."):
        assert words in text


def test_the_json_says_the_same_and_has_no_nan():
    assessment, _, plain = card(simulated(1, failures=0))
    data = json.loads(json.dumps(plain, allow_nan=False))
    assert "0123456789ab" in json.dumps(data)
    assert str(assessment.scores.overall["accuracy"].n) in json.dumps(data)


def test_a_card_that_tells_nothing_of_its_training_is_said_to():
    _, text, _ = card(weights={"architecture": {}})
    assert "0123456789ab" in text
    assert "By which commands, " in text
