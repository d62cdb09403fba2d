import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import auc
from covidctnet.evaluation.slicewise import patient_figures, slice_figures
from covidctnet.slicewise.table import Images, LabelledImage, PatientImages
from tests.evaluation.few_draws import few_draws
from tests.slicewise.pictures import CLASSES

pytestmark = pytest.mark.usefixtures(few_draws.__name__)


def images_of(patients, labels, kind=PatientImages, sources=None):
    sources = sources or [None] * len(labels)
    rows = zip(patients, labels, sources, strict=True)
    return kind(
        tuple(
            LabelledImage(f"{n}", CLASSES[int(k)], f"{n}", patient, source)
            for n, (patient, k, source) in enumerate(rows)
        ),
        CLASSES,
    )


def a_cohort(slices, seed=0, count=40):
    """Patients whose slices all have about one score, a little higher in the ill."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    level = rng.normal(0.5 + 0.2 * labels, 0.2)
    scores = np.repeat(level, slices) + rng.normal(0, 0.01, count * slices)
    patients = [f"p{n}" for n in range(count) for _ in range(slices)]
    return patients, np.repeat(labels, slices), scores


def width(estimate):
    return estimate.high - estimate.low


def test_more_slices_of_the_same_patients_make_no_narrower_interval():
    widths = []
    for slices in (1, 20):
        patients, labels, scores = a_cohort(slices)
        images = images_of(patients, labels)
        figures = slice_figures(images, scores, 0.6, np.random.default_rng(1))
        assert (figures.slices, figures.groups) == (40 * slices, 40)
        widths.append(width(figures.figures["auc"]))
    assert widths[1] > 0.9 * widths[0]


def test_sources_are_drawn_whole_where_patients_are_unknown():
    patients, labels, scores = a_cohort(20)
    rng = np.random.default_rng(1)
    unknown = slice_figures(images_of([None] * 800, labels, Images, patients), scores, 0.6, rng)
    known = slice_figures(images_of(patients, labels), scores, 0.6, rng)
    assert unknown.groups == known.groups == 40
    assert width(unknown.figures["auc"]) > 0.7 * width(known.figures["auc"])


def test_patients_of_one_source_are_drawn_one_by_one():
    patients, labels, scores = a_cohort(3)
    images = images_of(patients, labels, sources=["one site"] * 120)
    figures = slice_figures(images, scores, 0.6, np.random.default_rng(1))
    assert figures.groups == 40 and width(figures.figures["auc"]) > 0


def test_slices_of_nobody_knows_whom_have_figures_and_no_intervals():
    _, labels, scores = a_cohort(3)
    images = images_of([None] * 120, labels, Images)
    figures = slice_figures(images, scores, 0.6, np.random.default_rng(1))
    assert figures.groups is None and figures.figures["auc"].value > 0.5
    assert all(np.isnan(estimate.low) for estimate in figures.figures.values())


def test_the_published_counts_of_90_pictures_give_their_figures():
    # 38 of 45 and 42 of 45: Javor 2020, one picture a patient.
    labels = np.array([1] * 45 + [0] * 45)
    called = np.array([1] * 38 + [0] * 7 + [1] * 3 + [0] * 42)
    images = images_of([f"p{n}" for n in range(90)], labels)
    figures = patient_figures(images, called.astype(float), 0.5)
    rounded = {name: round(value.value, 3) for name, value in figures.items()}
    assert rounded["sensitivity"] == 0.844 and rounded["specificity"] == 0.933
    assert rounded["accuracy"] == 0.889
    assert (round(figures["sensitivity"].low, 3), round(figures["sensitivity"].high, 3)) == (
        0.712,
        0.923,
    )
    assert figures["ppv"].value == 38 / 41 and figures["npv"].value == 42 / 49
    by_slice = slice_figures(images, called.astype(float), 0.5, np.random.default_rng(0))
    assert {n: e.value for n, e in by_slice.figures.items()} == pytest.approx(
        {n: e.value for n, e in figures.items()}
    )


def test_figures_by_patient_count_patients():
    patients, labels, scores = a_cohort(7)
    figures = patient_figures(images_of(patients, labels), scores, 0.6)
    means = scores.reshape(40, 7).mean(axis=1)
    assert figures["auc"].n == figures["accuracy"].n == 40
    assert figures["auc"].value == pytest.approx(auc(np.arange(40) % 2 == 1, means))
    highest = patient_figures(images_of(patients, labels), scores, 0.6, rule=np.max)
    assert highest["sensitivity"].value >= figures["sensitivity"].value


def test_a_score_without_meaning_for_the_class_is_about_one_half_by_patient():
    patients, labels, _ = a_cohort(7)
    rng = np.random.default_rng(0)
    areas = [
        patient_figures(images_of(patients, labels), rng.random(280), 0.5)["auc"].value
        for _ in range(30)
    ]
    assert abs(np.mean(areas) - 0.5) < 0.06


def test_unknown_patients_give_no_figure_by_patient():
    patients, labels, scores = a_cohort(2)
    images = images_of(patients, labels, Images)
    with pytest.raises(UsageError, match=r"patients are unknown\. Name the patients"):
        patient_figures(images, scores, 0.5)


def test_scores_of_other_pictures_are_refused():
    patients, labels, scores = a_cohort(2)
    images = images_of(patients, labels)
    for wrong in (scores[1:], np.full(80, np.nan)):
        with pytest.raises(UsageError, match="for each of 80 pictures"):
            patient_figures(images, wrong, 0.5)
