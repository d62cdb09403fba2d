"""The figures if every answer that is missing were wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from covidctnet.classes import Classes
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.intervals import Estimate, bootstrap, redraw, wilson
from covidctnet.results import Prediction

__all__ = ["worst_case"]


def worst_case(
    cases: Sequence[Case], classes: Classes, rng: np.random.Generator
) -> Mapping[str, Estimate]:
    """Every study counts, and one without an answer counts as a wrong one.

    A study of the target class (Covid-19) without an answer counts as missed, one of another class
    as a false alarm.

    Args:
        cases: All studies, their truth in the classes of the answers.
        classes: Of the answers.
        rng: Of the bootstrap, where patients have several studies.

    Returns:
        ``accuracy`` over all classes; ``target accuracy``, ``target sensitivity`` and ``target
        specificity`` of the target class against the rest; ``<title> sensitivity`` of every class.
        Wilson's intervals; where patients have several studies, those of resampled patients.
    """
    truth = np.array([int(case.truth) for case in cases])
    is_target = truth == classes.target
    answers = [c.outcome.label if isinstance(c.outcome, Prediction) else None for c in cases]
    right = np.array([a is not None and int(a) == t for a, t in zip(answers, truth, strict=True)])
    sides = [a is not None and int(a) == int(classes.target) for a in answers]
    told = np.array([a is not None for a in answers])
    right_side = told & (np.array(sides) == is_target)
    shares = {
        "accuracy": (right, np.ones_like(right)),
        "target accuracy": (right_side, np.ones_like(right)),
        "target sensitivity": (right_side, is_target),
        "target specificity": (right_side, ~is_target),
        **{f"{label.title} sensitivity": (right, truth == label) for label in classes},
    }
    closed = {
        name: wilson(int((hit & among).sum()), int(among.sum()))
        for name, (hit, among) in shares.items()
    }
    owners = np.unique([case.patient or case.study for case in cases], return_inverse=True)[1]
    draws = redraw(truth, rng, patients=owners)
    if not draws.is_clustered:
        return closed

    def figures(index: np.ndarray) -> dict[str, float]:
        values = {}
        for name, (hit, among) in shares.items():
            count = int(among[index].sum())
            values[name] = (hit & among)[index].sum() / count if count else math.nan
        return values

    drawn = bootstrap(figures, draws)
    return {name: replace(drawn[name], n=estimate.n) for name, estimate in closed.items()}
