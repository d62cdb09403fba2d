import numpy as np
import pytest

from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.intervals import auc
from covidctnet.io.picture import Picture
from covidctnet.slicewise.folds import make_folds
from covidctnet.slicewise.shortcut import (
    FEATURES,
    fit_shortcut,
    lungs_blacked_out,
    shortcut_features,
    shortcut_scores,
)
from covidctnet.slicewise.table import Images, LabelledImage
from tests.slicewise.pictures import CLASSES, a_slice


def a_picture(seed=0, shape=(96, 128), form="PNG", mode="L", brighter=0):
    pixels = np.clip(a_slice(seed, shape).astype(int) + brighter, 0, 255).astype(np.uint8)
    return Picture(pixels, "grey", form, mode, 8)


def images_of(labels):
    return Images(
        tuple(LabelledImage(f"{n}", CLASSES[int(k)], f"{n}") for n, k in enumerate(labels)),
        CLASSES,
    )


def scores_of(pictures, labels):
    folds = make_folds(labels, range(len(labels)), 5)
    return shortcut_scores(shortcut_features(pictures), images_of(labels), folds)


LABELS = np.arange(60) % 2


@pytest.mark.parametrize(
    "change",
    [
        lambda k, n: {"shape": (96, 128 + 24 * k + n % 7)},
        lambda k, n: {"shape": (96 + 16 * k, 128 + 16 * k)},
        lambda k, n: {"form": ("PNG", "JPEG")[k]},
        lambda k, n: {"mode": ("L", "RGBA")[k]},
        lambda k, n: {"brighter": 40 * k},
    ],
    ids=["width", "size", "format", "mode", "brightness"],
)
def test_what_differs_between_the_classes_without_lungs_is_found(change):
    pictures = [a_picture(n, **change(k, n)) for n, k in enumerate(LABELS)]
    found = scores_of(pictures, LABELS)
    assert auc(LABELS == 1, found.positive) > 0.95
    assert np.allclose(found.probabilities.sum(axis=1), 1)


def test_where_nothing_differs_the_baseline_knows_nothing():
    pictures = [a_picture(n) for n in range(60)]
    areas = []
    for seed in range(8):
        labels = np.random.default_rng(seed).permutation(LABELS)
        areas.append(auc(labels == 1, scores_of(pictures, labels).positive))
    assert abs(np.mean(areas) - 0.5) < 0.1


def test_no_picture_is_scored_by_a_model_that_saw_its_fold():
    # A feature that is the class in all folds but one, and its opposite there.
    labels = LABELS
    features = np.zeros((60, len(FEATURES)))
    folds = np.arange(60) // 12
    features[:, 0] = np.where(folds == 2, 1 - labels, labels)
    found = shortcut_scores(features, images_of(labels), folds)
    assert auc((labels == 1)[folds == 2], found.positive[folds == 2]) == 0


def test_features_have_names_and_do_not_depend_on_the_lungs():
    (values,) = shortcut_features([a_picture(form="JPEG")])
    named = dict(zip(FEATURES, values, strict=True))
    assert named["format JPEG"] == 1 and named["format PNG"] == 0
    assert named["height, log"] == np.log(96)
    assert shortcut_features([]).shape == (0, len(FEATURES))


def test_a_fitted_baseline_scores_another_set():
    pictures = [a_picture(n, brighter=40 * k) for n, k in enumerate(LABELS)]
    model = fit_shortcut(shortcut_features(pictures), LABELS)
    others = [a_picture(100 + n, brighter=40 * k) for n, k in enumerate(LABELS)]
    assert auc(LABELS == 1, model.predict_proba(shortcut_features(others))[:, 1]) > 0.95


def test_folds_that_do_not_fit_are_refused():
    features = shortcut_features([a_picture(n) for n in range(4)])
    with pytest.raises(UsageError, match="of 4 pictures, got 4 and 3"):
        shortcut_scores(features, images_of([0, 1, 0, 1]), np.array([0, 0, 1]))
    with pytest.raises(CohortError, match="every class outside of fold 0, got 1 of 2"):
        shortcut_scores(features, images_of([0, 1, 0, 0]), np.array([0, 0, 1, 1]))


def test_blacked_out_lungs_are_0_and_all_else_is_as_it_was():
    grey = a_slice(0)
    lungs = np.zeros(grey.shape, np.uint8)
    lungs[30:60, 20:50] = 7
    out = lungs_blacked_out(grey, lungs)
    assert not out[lungs > 0].any() and out.dtype == grey.dtype
    np.testing.assert_array_equal(out[lungs == 0], grey[lungs == 0])
    assert grey[lungs > 0].any()
    with pytest.raises(UsageError, match=r"96 x 128 pixels .* got 95 x 128"):
        lungs_blacked_out(grey, lungs[1:])
