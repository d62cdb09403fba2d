"""The verbs of the command line: their options, and what each one calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from covidctnet.verbs import answers, cohorts, training

__all__ = ["VERBS", "Verb"]


class Verb(NamedTuple):
    """One verb of the command line.

    Attributes:
        summary: What it does, in a line.
        run: Does it with the arguments behind the verb; returns the exit code.
    """

    summary: str
    run: Callable[[list[str]], int]


VERBS: Mapping[str, Verb] = {
    "classify": Verb("Covid-19, CAP or Control for every study under some paths", answers.classify),
    "inspect": Verb("what was found under a path and what would be done with it", answers.inspect),
    "phantom": Verb("write a cohort of phantoms as DICOM, with their truth", cohorts.phantom),
    "paint": Verb("paint lesions into the Control scans of an archive: a cohort", cohorts.paint),
    "preprocess": Verb("a labelled archive to network input, and its splits", cohorts.preprocess),
    "split": Verb(
        "divide a preprocessed cohort by patient: by shares, in folds, site by site", cohorts.split
    ),
    "train": Verb("train a stage of any system", training.train),
    "train-lungs": Verb(
        "train the BCDU-Net on lungs, to start a denoiser from", training.train_lungs
    ),
    "train-denoiser": Verb(
        "train the BCDU-Net on the Controls set aside for it", training.train_denoiser
    ),
    "train-classifier": Verb(
        "train the 3D CNN on the denoiser's residuals", training.train_classifier
    ),
    "cross-fit": Verb(
        "train networks for every fold of sites, from drawn examples, and for all",
        training.cross_fit,
    ),
    "evaluate": Verb("accuracy and AUC with intervals on labelled patients", answers.evaluate),
    "compare": Verb("two evaluations of the same patients, or one beside readers", answers.compare),
    "weights": Verb(
        "list the shipped weights, verify hashes, or import Keras weights", training.weights
    ),
}
