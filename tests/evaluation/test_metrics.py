import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.intervals import auc, redraw, wilson
from covidctnet.evaluation.metrics import score

# Enough for what is asked here; `evaluate` takes 2000.
DRAWS = 400


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(21, 24, 0.690, 0.957), (17, 20, 0.640, 0.948), (0, 10, 0, 0.278)],
)
def test_wilson_gives_the_published_intervals(right, n, low, high):
    estimate = wilson(right, n)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-4)


def test_nothing_of_nothing_is_not_estimable():
    assert str(wilson(0, 0)) == "not estimable (n=0)"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=25))
def test_auc_is_the_share_of_pairs_in_order(cases):
    positive = np.array([p for p, _ in cases])
    scores = np.array([s for _, s in cases], float)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    value = auc(positive, scores)
    assert np.isnan(value) if not pairs else value == pytest.approx(np.mean(pairs))


def test_perfect_answers_score_one():
    truth = np.repeat([0, 1, 2], 5)
    scores = score(truth, np.eye(3)[truth], redraw(truth, rng(), count=DRAWS))
    assert scores.overall["accuracy"].value == 1
    assert scores.overall["macro_auc"].value == 1
    assert np.array_equal(scores.confusion, 5 * np.eye(3))


def test_rows_of_the_confusion_are_the_truth():
    truth = np.array([CHEST_CT.COVID19, CHEST_CT.COVID19, CHEST_CT.CAP])
    answers = np.eye(3)[[CHEST_CT.CAP, CHEST_CT.COVID19, CHEST_CT.CAP]]
    scores = score(truth, answers, redraw(truth, rng(), count=DRAWS))
    assert scores.confusion[CHEST_CT.COVID19].tolist() == [0, 1, 1]
    assert scores.by_label[CHEST_CT.COVID19]["sensitivity"].value == 0.5
    assert scores.by_label[CHEST_CT.CAP]["specificity"].value == 0.5
    assert scores.by_label[CHEST_CT.CONTROL]["sensitivity"].n == 0


def test_a_missing_class_has_no_auc():
    scores = score(
        np.array([0, 0, 1, 1]), np.full((4, 3), 1 / 3), redraw(np.array([0, 0, 1, 1]), rng())
    )
    assert str(scores.by_label[CHEST_CT.CAP]["auc"]).startswith("not estimable")
    assert str(scores.overall["macro_auc"]).startswith("not estimable")


def test_one_patient_a_class_gives_no_interval():
    scores = score(np.array([0, 1, 2]), np.eye(3), redraw(np.array([0, 1, 2]), rng()))
    assert "interval not estimable" in str(scores.overall["macro_auc"])


def test_the_bootstrap_interval_holds_the_figure_and_repeats():
    truth = np.tile([0, 1, 2], 15)
    probabilities = np.random.default_rng(5).dirichlet(np.ones(3), 45) + 0.4 * np.eye(3)[truth]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    one, two = (
        score(truth, probabilities, redraw(truth, rng(), count=DRAWS)).overall["macro_auc"]
        for _ in range(2)
    )
    assert one.low < one.value < one.high
    assert one == two


def test_probabilities_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        score(np.array([0, 1]), np.full((2, 3), 0.5), redraw(np.array([0, 1]), rng()))
    with pytest.raises(ValueError, match="shape"):
        score(np.array([0, 1]), np.full((2, 2), 0.5), redraw(np.array([0, 1]), rng()))


@pytest.fixture(scope="module")
def cohort():
    generator = np.random.default_rng(11)
    truth = generator.choice(3, 60, p=[0.5, 0.3, 0.2])
    probabilities = generator.dirichlet(np.ones(3), 60) + 0.5 * np.eye(3)[truth]
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_every_figure_is_that_of_scikit_learn(cohort):
    truth, probabilities = cohort
    answer, scores = (
        probabilities.argmax(axis=1),
        score(truth, probabilities, redraw(truth, rng(), count=DRAWS)),
    )
    overall = {name: estimate.value for name, estimate in scores.overall.items()}
    assert overall == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, answer),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, answer),
            "macro_f1": sk.f1_score(truth, answer, average="macro"),
            "macro_auc": sk.roc_auc_score(truth, probabilities, multi_class="ovr"),
        }
    )
    assert np.array_equal(scores.confusion, sk.confusion_matrix(truth, answer))
    for label in CHEST_CT:
        here, answered = truth == label, answer == label
        assert {name: e.value for name, e in scores.by_label[label].items()} == pytest.approx(
            {
                "sensitivity": sk.recall_score(here, answered),
                "specificity": sk.recall_score(~here, ~answered),
                "ppv": sk.precision_score(here, answered),
                "npv": sk.precision_score(~here, ~answered),
                "f1": sk.f1_score(here, answered),
                "auc": sk.roc_auc_score(here, probabilities[:, label]),
                "average_precision": sk.average_precision_score(here, probabilities[:, label]),
            }
        )
    covid = scores.by_label[CHEST_CT.COVID19]
    assert scores.target["sensitivity"] == covid["sensitivity"]
    assert scores.target["accuracy"].value == pytest.approx(
        ((truth == CHEST_CT.COVID19) == (answer == CHEST_CT.COVID19)).mean()
    )


def test_every_figure_lies_in_its_interval(cohort):
    scores = score(*cohort, redraw(cohort[0], rng(), count=DRAWS))
    figures = [scores.overall, scores.target, *scores.by_label.values()]
    for estimate in (e for group in figures for e in group.values()):
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n > 0


@pytest.mark.parametrize("given", [[0, 0, 1, 1], [0, 2, 1, 1]])
def test_a_class_that_nobody_has_has_no_figures_nor_have_means_over_classes(given):
    scores = score(np.array([0, 0, 1, 1]), np.eye(3)[given], redraw(np.array([0, 0, 1, 1]), rng()))
    cap = scores.by_label[CHEST_CT.CAP]
    for name in ("sensitivity", "f1", "auc", "average_precision"):
        assert str(cap[name]).startswith("not estimable")
    for name in ("balanced_accuracy", "macro_f1", "macro_auc"):
        assert str(scores.overall[name]).startswith("not estimable")


def test_studies_of_the_same_patients_widen_every_interval(cohort):
    truth, probabilities = (np.repeat(part, 4, axis=0) for part in cohort)
    patients = np.arange(len(truth)) // 4
    alone = score(*cohort, redraw(cohort[0], rng(), count=DRAWS))
    claimed = score(truth, probabilities, redraw(truth, rng(), count=DRAWS))
    honest = score(truth, probabilities, redraw(truth, rng(), patients=patients, count=DRAWS))
    for name in ("accuracy", "macro_auc", "balanced_accuracy"):
        widths = [e.overall[name].high - e.overall[name].low for e in (alone, claimed, honest)]
        assert widths[2] == pytest.approx(widths[0], rel=0.25)
        assert widths[1] < 0.7 * widths[2]
    for label in CHEST_CT:
        for name, estimate in honest.by_label[label].items():
            assert estimate.value == pytest.approx(claimed.by_label[label][name].value)
            assert estimate.n == claimed.by_label[label][name].n


def test_where_everybody_has_a_class_nothing_can_be_ranked():
    scores = score(np.zeros(4, int), np.eye(3)[[0, 0, 1, 2]], redraw(np.zeros(4, int), rng()))
    for name in ("auc", "average_precision"):
        assert str(scores.by_label[CHEST_CT.CONTROL][name]).startswith("not estimable")
