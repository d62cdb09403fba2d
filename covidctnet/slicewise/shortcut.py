"""What can be reached without looking at the lungs.

Pictures of different sources differ in size, brightness, borders and format, and in many data sets
each class has sources of its own. A model that does not beat one logistic regression on these has
shown nothing about lungs: both figures belong side by side.

Sources: DeGrave 2021 (Nat Mach Intell 3:610); Maguolo and Nanni 2021 (Inf Fusion 76:1), who had the
same accuracy with the lungs blacked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from covidctnet.errors import CohortError, UsageError
from covidctnet.io.picture import Picture
from covidctnet.slicewise.table import Images
from covidctnet.slicewise.window import grey_8_bit

__all__ = [
    "FEATURES",
    "ShortcutScores",
    "fit_shortcut",
    "lungs_blacked_out",
    "shortcut_features",
    "shortcut_scores",
]

_FORMATS = ("PNG", "JPEG", "TIFF", "DICOM")
_MODES = ("L", "RGB", "RGBA", "P")
# In the order of the columns of `shortcut_features`.
FEATURES = (
    "height, log",
    "width, log",
    "height over width, log",
    "mean",
    "spread",
    "mean of the border",
    "spread of the border",
    "share of black",
    "share of white",
    "more than 8 bits",
    *(f"format {name}" for name in _FORMATS),
    *(f"mode {name}" for name in _MODES),
)
# The border is this part of each side, and one pixel at least.
_BORDER = 0.05
# Greys of 8 bits that count as black and as white: compression moves them by some.
_BLACK, _WHITE = 8, 247
_MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class ShortcutScores:
    """Scores of the shortcut baseline, each by a model that has not seen the picture's fold.

    Attributes:
        images: That were scored; with their patients where these are known.
        probabilities: Shape (picture, class), in the order of the classes.
        folds: Fold of each picture.
    """

    images: Images
    probabilities: np.ndarray
    folds: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """Probability that a picture is of another class than the normal one, shape (picture,)."""
        found: np.ndarray = 1 - self.probabilities[:, int(self.images.classes.normal_label)]
        return found


def shortcut_features(pictures: Iterable[Picture]) -> np.ndarray:
    """How a picture was made: size, brightness, border and format.

    Args:
        pictures: As they were read, before any change of size.

    Returns:
        Shape (picture, feature), float64; see `FEATURES`.
    """
    return np.array([_features(picture) for picture in pictures]).reshape(-1, len(FEATURES))


def _features(picture: Picture) -> list[float]:
    grey = grey_8_bit(picture).astype(np.float32)
    rows, columns = picture.shape
    deep_rows, deep_columns = max(1, round(_BORDER * rows)), max(1, round(_BORDER * columns))
    is_border = np.ones(grey.shape, dtype=bool)
    is_border[deep_rows:-deep_rows, deep_columns:-deep_columns] = False
    border = grey[is_border]
    return [
        float(np.log(rows)),
        float(np.log(columns)),
        float(np.log(rows / columns)),
        float(grey.mean()),
        float(grey.std()),
        float(border.mean()),
        float(border.std()),
        float((grey <= _BLACK).mean()),
        float((grey >= _WHITE).mean()),
        float(picture.bits > 8),
        *(float(picture.format == name) for name in _FORMATS),
        *(float(picture.mode == name) for name in _MODES),
    ]


def fit_shortcut(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Fit the baseline: standardised features, one logistic regression.

    Args:
        features: From `shortcut_features`.
        labels: Class of each picture, int.

    Returns:
        With ``predict_proba``, whose columns are the classes that `labels` has, rising.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MOST_STEPS))
    return model.fit(features, labels)


def shortcut_scores(features: np.ndarray, images: Images, folds: np.ndarray) -> ShortcutScores:
    """Score every picture by a baseline that was fitted on the other folds.

    Args:
        features: From `shortcut_features`, of these pictures.
        images: With their labels.
        folds: Fold of each picture: those of the model that is compared.

    Raises:
        UsageError: If the three are not of the same pictures.
        CohortError: If the other folds of one lack a class.
    """
    if not len(features) == len(images) == len(folds):
        raise UsageError(
            f"expected features and folds of {len(images)} pictures, got {len(features)} and "
            f"{len(folds)}. Give all of the same pictures."
        )
    probabilities = np.zeros((len(images), len(images.classes)))
    for fold in np.unique(folds):
        is_tested = folds == fold
        labels = images.labels[~is_tested]
        if len(np.unique(labels)) < len(images.classes):
            raise CohortError(
                f"expected every class outside of fold {int(fold)}, got "
                f"{len(np.unique(labels))} of {len(images.classes)}. Take other folds."
            )
        model = fit_shortcut(features[~is_tested], labels)
        probabilities[is_tested] = model.predict_proba(features[is_tested])
    return ShortcutScores(images, probabilities, folds)


def lungs_blacked_out(grey: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """A picture without its lungs: a model that is as good on these has not used them.

    Args:
        grey: Shape (row, column).
        lungs: Mask of the same shape; anything but 0 is lung.

    Returns:
        A copy, 0 where the lungs are.
    """
    if grey.shape != lungs.shape:
        raise UsageError(
            f"expected a lung mask of {grey.shape[0]} x {grey.shape[1]} pixels like the picture, "
            f"got {' x '.join(map(str, lungs.shape))}. Give the mask of this picture."
        )
    return np.where(lungs != 0, grey.dtype.type(0), grey)
