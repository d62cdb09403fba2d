import math

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.compare import compare, holm, mcnemar, score_readers
from covidctnet.evaluation.intervals import auc_difference, wilson
from covidctnet.evaluation.predictions import Predicted, read_predictions
from covidctnet.evaluation.reader_table import read_readings


def rng():
    return np.random.default_rng(0)


def predicted(truth, answers, sure=0.8):
    probabilities = np.full((len(truth), 3), (1 - sure) / 2)
    probabilities[np.arange(len(truth)), answers] = sure
    studies = tuple(f"{n:012d}" for n in range(len(truth)))
    return Predicted(studies, np.array(truth), probabilities, ())


def test_mcnemar_gives_the_exact_binomial_value():
    """Of ten discordant pairs one, two-sided: 22 of 1024."""
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1


def test_a_model_does_not_differ_from_itself():
    one = predicted([0, 1, 2] * 8, [0, 1, 2, 0, 2, 1] * 4)
    comparison = compare(one, one, rng=rng())
    assert (comparison.n, comparison.discordant, comparison.p_accuracy) == (24, (0, 0), 1)
    assert all(d.value == 0 and p == 1 for d, p in comparison.auc.values())
    assert comparison.macro_auc.value == 0
    assert np.isnan(comparison.macro_auc.low)


def test_the_better_model_is_told_and_by_how_much():
    truth = [0, 1, 2] * 12
    right = predicted(truth, truth)
    wrong = predicted(truth, [1, 1, 1] * 12)
    comparison = compare(right, wrong, rng=rng())
    assert comparison.discordant == (24, 0)
    assert comparison.p_accuracy < 1e-6
    assert comparison.macro_auc.value == pytest.approx(0.5)
    assert comparison.accuracy[0].value == 1 > comparison.accuracy[1].value


def test_only_studies_that_both_answered_are_compared():
    whole = predicted([0, 1, 2, 0], [0, 1, 2, 0])
    part = whole.only(whole.studies[1:])
    comparison = compare(whole, part, rng=rng())
    assert (comparison.n, comparison.left_out) == (3, 1)


def test_answers_to_other_patients_are_not_compared():
    one, other = predicted([0], [0]), Predicted(("f" * 12,), np.array([0]), np.eye(3)[:1], ())
    with pytest.raises(CohortError, match="share no study"):
        compare(one, other, rng=rng())
    with pytest.raises(CohortError, match="one true label here and another there"):
        compare(predicted([0], [0]), predicted([1], [0]), rng=rng())


def a_table(folder, text):
    path = folder / "predictions.csv"
    path.write_text(text)
    return path


HEAD = "study,truth,label,p_control,p_covid19,p_cap,flags,code\n"


def test_predictions_are_read_as_they_were_written(tmp_path):
    path = a_table(
        tmp_path,
        HEAD + "b,CAP,CAP,0.1,0.2,0.7,,\na,Covid-19,Control,0.6,0.3,0.1,,\nc,CAP,,,,,,NOT_CHEST\n",
    )
    answers = read_predictions(path)
    assert answers.studies == ("a", "b")
    assert answers.truth.tolist() == [CHEST_CT.COVID19, CHEST_CT.CAP]
    assert answers.answer.tolist() == [CHEST_CT.CONTROL, CHEST_CT.CAP]
    assert answers.unanswered == ("c",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("study,truth\n", "lacks the columns p_control"),
        (HEAD, "holds no answer"),
        (HEAD + "a,CAP,CAP,0.1,0.2,0.7,,\n" * 2, "names a study twice"),
        (HEAD + "a,CAP,CAP,0.5,0.5,0.7,,\n", "study a sum to 1.700, expected 1"),
        (HEAD + "a,CAP,CAP,x,0.5,0.5,,\n", "no number"),
        (HEAD + "a,CAP,CAP,nan,0.5,0.5,,\n", "expected 1"),
        (HEAD + "a,Flu,CAP,0,0.5,0.5,,\n", r"predictions.csv, study a: unknown label 'Flu'"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, told):
    with pytest.raises(CohortError, match=told):
        read_predictions(a_table(tmp_path, text))


def test_a_table_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"no file predictions.csv"):
        read_predictions(tmp_path / "predictions.csv")


def readers_of(folder, text):
    path = folder / "readers.csv"
    path.write_text("study,reader,label\n" + text)
    return read_readings(path).labels()


def test_readers_are_scored_on_what_they_labelled_and_averaged(tmp_path):
    model = predicted([1, 1, 0, 2], [1, 0, 0, 2])
    ids = model.studies
    rows = [(ids[0], "x", "Covid-19"), (ids[1], "x", "Covid-19"), (ids[2], "x", "Control")]
    rows += [(ids[3], "x", ""), (ids[0], "y", "CAP"), (ids[1], "y", "Covid-19")]
    rows += [(ids[2], "y", "Control"), (ids[3], "y", "CAP")]
    readers = readers_of(tmp_path, "\n".join(",".join(row) for row in rows))
    scores, means, own = score_readers(model, readers, rng=rng())
    assert [r.name for r in scores] == ["x", "y"]
    assert [r.skipped for r in scores] == [1, 0]
    assert (scores[0].accuracy.value, scores[0].accuracy.n) == (1.0, 3)
    assert scores[1].accuracy.value == 0.75
    assert means["accuracy"].figure.value == pytest.approx(0.875)
    assert means["sensitivity"].figure.value == pytest.approx(0.75)
    assert means["sensitivity"].readers == 2
    assert own.accuracy.value == 0.75
    assert own.sensitivity.value == 0.5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a row for every study of a reader"),
        ("a,x,\n", "no label of any reader"),
        ("a,x,CAP\na,x,CAP\n", "one label of a reader for a study, line 2 has one"),
        ("a,x,Flu\n", r"readers.csv: line 2: unknown label 'Flu'"),
    ],
)
def test_a_table_of_readers_that_is_none_is_refused(tmp_path, text, told):
    with pytest.raises(CohortError, match=told):
        readers_of(tmp_path, text)


def test_a_reader_of_other_cases_is_refused(tmp_path):
    with pytest.raises(CohortError, match="reader 'x' labels none"):
        score_readers(predicted([0], [0]), readers_of(tmp_path, "zz,x,CAP\n"), rng=rng())


def test_beside_a_reader_stands_the_model_on_that_readers_cases(tmp_path):
    """The reader skips the one case that the model gets wrong, and labels one of others."""
    model = predicted([1, 1, 0, 2], [1, 0, 0, 2])
    a, _, c, d = model.studies
    readers = readers_of(tmp_path, f"{a},x,CAP\n{c},x,Control\n{d},x,CAP\nzz,x,CAP\n")
    ([scores], _, own) = score_readers(model, readers, rng=rng())
    assert own.accuracy.value == 0.75
    assert (scores.model.accuracy.value, scores.model.accuracy.n) == (1.0, 3)
    assert (scores.skipped, scores.unknown, scores.p_accuracy) == (1, 1, 1.0)


def test_the_mean_of_readers_has_an_interval_over_cases_and_tells_who_counts(tmp_path):
    truth = [0, 1, 2] * 10
    model = predicted(truth, truth)
    readings = [CHEST_CT[t].title if i % 3 or i % 2 else "CAP" for i, t in enumerate(truth)]
    rows = [f"{s},x,{label}" for s, label in zip(model.studies, readings, strict=True)]
    rows += [f"{s},y,Control" for s, t in zip(model.studies, truth, strict=True) if t == 0]
    _, means, _ = score_readers(model, readers_of(tmp_path, "\n".join(rows)), rng=rng())
    accuracy = means["accuracy"].figure
    assert accuracy.low < accuracy.value < accuracy.high
    assert (means["accuracy"].readers, means["sensitivity"].readers) == (2, 1)


def written(folder, name, answers):
    """A table of four patients as `evaluate` writes it."""
    rows = []
    for study, (truth, answer) in answers.items():
        probabilities = [0.8 if label.title == answer else 0.1 for label in CHEST_CT]
        rows.append(",".join([study, truth, answer, *map(str, probabilities), "", ""]))
    path = folder / name
    path.write_text(HEAD + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def evaluations(tmp_path):
    truth = dict(zip("abcd", ("Covid-19", "CAP", "Control", "Covid-19"), strict=True))
    first = written(tmp_path, "first.csv", {s: (t, t) for s, t in truth.items()})
    second = written(tmp_path, "second.csv", {s: (t, "CAP") for s, t in truth.items()})
    readers = tmp_path / "readers.csv"
    readers.write_text("study,reader,label\na,r,Covid-19\nb,r,Covid-19\n")
    return first, second, str(readers)


def test_the_command_tells_both_comparisons(evaluations, capsys):
    first, second, readers = evaluations
    assert main(["compare", first, second, "--readers", readers]) == 0
    text = capsys.readouterr().out
    assert "4 patients answered by both." in text
    assert "3 v. 0 | 0.25 (McNemar)" in text
    assert "| r | 0.500" in text
    assert "CovidCTNet paper, hold-out" in text
    assert "0.875 (0.690-0.957, n=24)" in text


def test_the_command_wants_something_to_compare_with(evaluations, capsys):
    assert main(["compare", evaluations[0]]) == 2
    assert "expected a second predictions.csv, --readers FILE or both" in capsys.readouterr().err


def test_p_values_are_corrected_for_their_number_as_holm_did():
    # By hand: 4 x .01, then 3 x .013 = .039 below it, then 2 x .03, then .5.
    assert holm([0.03, 0.01, 0.5, 0.013]) == pytest.approx([0.06, 0.04, 0.5, 0.04])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_test_that_says_nothing_counts_for_none():
    found = holm([math.nan, 0.04])
    assert math.isnan(found[0]) and found[1] == 0.04
    assert holm([]) == []


def of_patients(truth, answers, patients, seed=0):
    """Answers with probabilities that differ from study to study."""
    generator = np.random.default_rng(seed)
    p = generator.dirichlet([1, 1, 1], len(truth))
    p[np.arange(len(truth)), answers] += 1
    studies = tuple(f"{n:012d}" for n in range(len(truth)))
    return Predicted(studies, np.array(truth), p / 2, (), CHEST_CT, tuple(patients))


def repeated(one, times):
    """Every study of every patient as often as this, answered alike."""
    rows = np.repeat(np.arange(len(one.truth)), times)
    return Predicted(
        tuple(f"{n:012d}" for n in range(len(rows))),
        one.truth[rows],
        one.probabilities[rows],
        (),
        CHEST_CT,
        tuple(one.patients[k] for k in rows),
    )


def test_a_comparison_is_no_surer_where_every_patient_has_four_studies():
    truth = [0, 1, 2] * 10
    names = [f"p{n}" for n in range(30)]
    one = of_patients(truth, [0, 1, 2, 1, 2, 2] * 5, names)
    two = of_patients(truth, [0, 1, 1, 0, 2, 1] * 5, names, seed=1)
    once, often = (
        compare(one, two, rng=rng()),
        compare(repeated(one, 4), repeated(two, 4), rng=rng()),
    )
    assert (often.n, often.patients, once.patients) == (120, 30, 30)
    assert often.p_accuracy == pytest.approx(once.p_accuracy)
    for label, (gap, p_value) in once.auc.items():
        assert often.auc[label][1] == pytest.approx(p_value)
        assert often.auc[label][0].low == pytest.approx(gap.low)
    assert often.macro_auc.low == pytest.approx(once.macro_auc.low)
    assert often.accuracy[0].high - often.accuracy[0].low > 0.2


def test_mcnemars_test_of_unequal_patients_counts_all_signs():
    """Gains of 2, 1 and 1: of the eight ways of their signs two are as far out as all positive."""
    truth, right, wrong = [0] * 4, [0] * 4, [1] * 4
    names = ["a", "a", "b", "c"]
    one, two = of_patients(truth, right, names), of_patients(truth, wrong, names)
    assert compare(one, two, rng=rng()).p_accuracy == pytest.approx(2 / 8)


def test_the_variance_of_delong_by_patient_is_that_of_patients_drawn_again():
    generator = rng()
    patients = np.repeat(np.arange(60), 3)
    positive = np.repeat(generator.random(60) < 0.5, 3)
    of_patient = np.repeat(generator.normal(0, 1, (2, 60)), 3, axis=1)
    scores = positive + of_patient + generator.normal(0, 0.5, (2, 180))
    gap, _ = auc_difference(positive, *scores, patients=patients)
    drawn = []
    for _ in range(1500):
        kept = [generator.choice(np.flatnonzero(positive[::3] == k), (positive[::3] == k).sum())
                for k in (False, True)]  # fmt: skip
        rows = np.concatenate([3 * np.concatenate(kept) + k for k in range(3)])
        drawn.append(auc_difference(positive[rows], *scores[:, rows])[0].value)
    spread = (gap.high - gap.low) / (2 * 1.959964)
    assert spread == pytest.approx(np.std(drawn), rel=0.12)
    alone, _ = auc_difference(positive, *scores)
    assert gap.high - gap.low > 1.2 * (alone.high - alone.low)


def test_readers_of_several_studies_of_a_patient_are_no_surer():
    truth = [0, 1, 2] * 8
    one = repeated(of_patients(truth, truth, [f"p{n}" for n in range(24)]), 3)
    # Wrong about every fourth patient, in all three studies.
    said = [n % 3 if n % 4 else (n + 1) % 3 for n in range(24) for _ in range(3)]
    labels = {s: CHEST_CT[label] for s, label in zip(one.studies, said, strict=True)}
    (reader,), _, _ = score_readers(one, {"a": labels}, rng=rng())
    assert reader.accuracy.n == 72
    closed = wilson(round(reader.accuracy.value * 72), 72)
    assert reader.accuracy.high - reader.accuracy.low > 1.2 * (closed.high - closed.low)


def test_the_patients_of_predictions_are_read_and_told(tmp_path, capsys):
    head = HEAD.replace("study,", "study,patient,")
    rows = "".join(
        f"s{k},p{k // 2},{truth},,{'0.8,0.1,0.1' if truth == 'Control' else '0.1,0.8,0.1'},,\n"
        for k, truth in enumerate(["Control", "Control", "Covid-19", "Covid-19"] * 4)
    )
    path = a_table(tmp_path, head + rows)
    assert main(["compare", str(path), str(path)]) == 0
    told = capsys.readouterr().out
    assert "16 studies of 8 patients answered by both" in told
    assert "Intervals and tests are by patient" in told
