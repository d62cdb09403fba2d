"""The pipeline that counts how often prediction sets hold the truth."""

import numpy as np
import pytest

from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.trust.calibration import soften
from pipelines.experiments.coverage.run import expected, main, render
from tests.small import tiny_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return CovidCTNet.load(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"), device="cpu")


def simulated(n, seed=0, temperature=1.0):
    """Answers that mean what they say, but for the temperature."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(3, 0.6), n)
    truth = [int(rng.choice(3, p=row)) for row in probabilities]
    spoiled = soften(probabilities, temperature)
    return [
        {"truth": t, "probabilities": row.tolist()} for t, row in zip(truth, spoiled, strict=True)
    ]


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_counts_what_the_sets_hold(model):
    text = render(simulated(700, temperature=0.4), 200, model)
    assert "fitted on 200 patients, tried on 500 others." in text
    for promised in ("0.80", "0.90", "0.95"):
        _, held, trials, *_ = cells(text, f"| {promised} ")
        low, high = map(float, trials.split(" to "))
        assert low <= float(held.split()[0]) <= high


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_such_trials_find_what_is_said_of_them(coverage):
    """Thresholds drawn again from 60, tried on 200, a thousand times."""
    rng = np.random.default_rng(0)
    threshold = np.sort(rng.random((1000, 60)), axis=1)[:, int(np.ceil(61 * coverage)) - 1]
    shares = (rng.random((1000, 200)) <= threshold[:, None]).mean(axis=1)
    low, high = expected(coverage, 60, 200)
    # Binomial of 1000 and 0.95 or a little more, since shares are steps.
    assert 925 <= ((shares >= low) & (shares <= high)).sum() <= 990


def test_refused_phantoms_are_counted_and_left_out(model):
    rows = [{"truth": 0, "refused": "NOT_CHEST"}, *simulated(80)]
    text = render(rows, 41, model)
    assert "fitted on 40 patients, tried on 40 others; 1 phantoms refused." in text


def test_nobody_to_try_on_is_told(model, tmp_path, capsys):
    arguments = [str(tmp_path / "w"), str(tmp_path / "out"), "--fit", "2", "--try", "0"]
    tiny_weights(tmp_path / "w")
    assert main([*arguments, "--matrix", "96", "--spacing-mm", "12"]) != 0
    assert "give more patients" in capsys.readouterr().err
