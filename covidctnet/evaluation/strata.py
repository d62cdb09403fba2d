"""How the figures hold from one kind of scan to the next, and from known sites to unseen ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from covidctnet.evaluation.cases import Case, classes_of
from covidctnet.evaluation.intervals import Estimate, auc, bootstrap, redraw, wilson
from covidctnet.evidence import LesionVolume
from covidctnet.results import Prediction

__all__ = [
    "GeneralisationGap",
    "Stratum",
    "generalisation_gap",
    "known_sites",
    "newcombe",
    "strata",
]

# Where readers of CT draw the line between thin, routine and thick slices; years of life.
_EDGES: Mapping[str, tuple[float, ...]] = {
    "slice_mm": (1.5, 3.0, 5.0),
    "age": (40.0, 60.0, 80.0),
}
# A share of fewer patients says nothing of their group, and much of each of them.
MIN_PATIENTS = 5
# More values than these of one trait make a table that nobody reads; the rarest are put together.
_MOST_VALUES = 12
_UNKNOWN, _OTHERS = "not told", "all others"

Key = Callable[[Case], str | float | None]


@dataclass(frozen=True)
class Stratum:
    """The figures of the patients who share a trait.

    A figure over fewer than five patients is NaN. Where patients have several studies, intervals
    are a bootstrap over patients.

    Attributes:
        trait: Its name, such as ``slice_mm`` or ``site``.
        value: Text, or the band of numbers.
        n: Studies with an answer.
        accuracy: Three classes.
        macro_auc: Mean over classes; of a band of affected lung, with all Controls added.
        sensitivity: For Covid-19 by the label given.
        specificity: For Covid-19.
    """

    trait: str
    value: str
    n: int
    accuracy: Estimate
    macro_auc: Estimate
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True)
class GeneralisationGap:
    """What is lost from the sites that the weights have seen to those that they have not.

    Attributes:
        accuracy: At known sites, and at unseen ones.
        macro_auc: At known sites, and at unseen ones.
        accuracy_lost: Known minus unseen; above 0 when unseen sites fare worse.
        macro_auc_lost: Known minus unseen.
    """

    accuracy: tuple[Estimate, Estimate]
    macro_auc: tuple[Estimate, Estimate]
    accuracy_lost: Estimate
    macro_auc_lost: Estimate


def known_sites(card: Mapping[str, Any]) -> frozenset[str]:
    """Sites of the training data, of any stage, as far as the card of the weights tells."""
    stages = card.get("training", {}).values()
    return frozenset(site for stage in stages for site in stage.get("data", {}).get("sites", ()))


def strata(
    cases: Sequence[Case], *, rng: np.random.Generator, known_sites: Set[str] = frozenset()
) -> tuple[Stratum, ...]:
    """Figures by site, by every trait the cases tell, and by affected lung of the infected.

    Args:
        cases: With and without an answer; only the former count.
        rng: Of the bootstrap over patients.
        known_sites: Sites of the training data; with them, known sites and unseen ones are apart.

    Returns:
        By trait, then value. Text by its value, numbers in bands: slice spacing at 1.5, 3
        and 5 mm, anything else in thirds. A trait with one value for all tells nothing and is left
        out, as is one that divides the patients as an earlier one does.
    """
    there = [case for case in cases if isinstance(case.outcome, Prediction)]
    keys: dict[str, Key] = {"site": lambda case: case.site or None}
    if known_sites:
        keys["site seen in training"] = lambda case: _is_known(case, known_sites)
    for name in sorted({name for case in there for name in case.traits}):
        keys[name] = lambda case, name=name: case.traits.get(name)  # type: ignore[misc]
    groups_of: list[Stratum] = []
    divisions: set[frozenset[frozenset[str]]] = set()
    for name, key in keys.items():
        groups = _groups(name, there, key)
        division = frozenset(frozenset(case.study for case in group) for _, group in groups)
        if division not in divisions:
            groups_of += [_stratum(name, value, group, group, rng) for value, group in groups]
        divisions.add(division)
    normal = classes_of(there).normal_label if there else None
    controls = [case for case in there if case.truth is normal]
    infected = [case for case in there if case.truth is not normal and _affected_lung(case) >= 0]
    groups_of += [
        _stratum("affected lung, %", value, group, [*group, *controls], rng)
        for value, group in _groups(
            "affected lung", infected, lambda case: 100 * _affected_lung(case)
        )
    ]
    return tuple(groups_of)


def generalisation_gap(
    cases: Sequence[Case], *, known_sites: Set[str], rng: np.random.Generator
) -> GeneralisationGap | None:
    """Compare the sites of the training data with the others.

    Args:
        cases: See `strata`; those without a site are left out.
        known_sites: Sites of the training data.
        rng: Of the bootstrap over patients.

    Returns:
        None when there are no cases of one of the two kinds.

    Patients differ between sites in more than the scanner: the gap has many causes.
    """
    there = [c for c in cases if isinstance(c.outcome, Prediction) and c.site]
    known = [case for case in there if case.site in known_sites]
    unseen = [case for case in there if case.site not in known_sites]
    if not known or not unseen or not known_sites:
        return None
    truth, probabilities = _arrays([*known, *unseen])
    patients = np.unique(_owners([*known, *unseen]), return_inverse=True)[1]
    new = np.arange(len(truth)) >= len(known)

    def lost(index: np.ndarray) -> dict[str, float]:
        old, other = index[~new[index]], index[new[index]]
        return {
            "lost": _macro_auc(truth[old], probabilities[old])
            - _macro_auc(truth[other], probabilities[other])
        }

    accuracy = (_accuracy(known, rng), _accuracy(unseen, rng))
    return GeneralisationGap(
        accuracy=accuracy,
        macro_auc=(_macro_auc_of(known, rng), _macro_auc_of(unseen, rng)),
        accuracy_lost=newcombe(*accuracy),
        macro_auc_lost=bootstrap(lost, redraw(2 * truth + new, rng, patients=patients))["lost"],
    )


def newcombe(first: Estimate, second: Estimate) -> Estimate:
    """Difference of two proportions of different patients, first minus second.

    Args:
        first: With its Wilson interval.
        second: Likewise, of other patients.

    Source: Newcombe, Statistics in Medicine 17:873 (1998), method 10.
    """
    gap = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(gap, gap - below, gap + above, first.n + second.n)


def _stratum(
    trait: str,
    value: str,
    cases: Sequence[Case],
    ranked: Sequence[Case],
    rng: np.random.Generator,
) -> Stratum:
    truth, probabilities = _arrays(cases)
    target = classes_of(cases).target
    answer, owners = probabilities.argmax(axis=1), _owners(cases)
    ill = truth == target
    return Stratum(
        trait,
        value,
        len(cases),
        accuracy=_share(answer == truth, owners, rng),
        macro_auc=_macro_auc_of(ranked, rng, least=MIN_PATIENTS),
        sensitivity=_share(answer[ill] == target, owners[ill], rng),
        specificity=_share(answer[~ill] != target, owners[~ill], rng),
    )


def _owners(cases: Sequence[Case]) -> np.ndarray:
    """Whose each case is."""
    return np.array([case.patient or case.study for case in cases])


def _share(
    hits: np.ndarray, owners: np.ndarray, rng: np.random.Generator, *, least: int = MIN_PATIENTS
) -> Estimate:
    """A proportion, with an interval by patient.

    Args:
        hits: One bool a case.
        owners: Whose each case is.
        rng: Of the bootstrap over patients, where some have several cases.
        least: Patients that it takes.
    """
    n, patients = len(hits), len(np.unique(owners))
    if patients < least:
        return Estimate(math.nan, math.nan, math.nan, n)
    if patients == n:
        return wilson(int(hits.sum()), n)
    draws = redraw(np.zeros(n, int), rng, patients=np.unique(owners, return_inverse=True)[1])
    return bootstrap(lambda index: {"share": float(hits[index].mean())}, draws)["share"]


def _groups(name: str, cases: Sequence[Case], key: Key) -> list[tuple[str, list[Case]]]:
    """Cases by what a key says of them, in the order of a table; nothing when it says one thing."""
    traits = [(case, _clean(key(case))) for case in cases]
    values = [value for _, value in traits if value is not None]
    if values and not any(isinstance(value, str) for value in values):
        numbers = np.array(values, dtype=float)
        edges = _EDGES.get(name) or np.quantile(numbers, [1 / 3, 2 / 3]).tolist()
        # An edge at the top, or the same one twice, would make an empty band.
        edges = [edge for edge in dict.fromkeys(edges) if numbers.min() <= edge < numbers.max()]
        names = _bands(edges)
        number = {value: int(np.searchsorted(edges, value)) for value in values}
        labels = [None if v is None else names[number[v]] for _, v in traits]
        order = names
    else:
        labels = [None if v is None else str(v) for _, v in traits]
        often = [text for text, _ in Counter(filter(None, labels)).most_common()]
        order = sorted(often)
        if len(often) > _MOST_VALUES:
            order = [*sorted(often[: _MOST_VALUES - 1]), _OTHERS]
            labels = [_OTHERS if t and t not in order else t for t in labels]
    groups = {value: [] for value in [*order, _UNKNOWN]}  # type: dict[str, list[Case]]
    for (case, _), label in zip(traits, labels, strict=True):
        groups[label or _UNKNOWN].append(case)
    filled = [(value, group) for value, group in groups.items() if group]
    return filled if len(filled) > 1 else []


def _bands(edges: Sequence[float]) -> list[str]:
    """Names of the bands that edges make; each holds its upper edge."""
    numbers = [f"{edge:.3g}" for edge in edges]
    if not numbers:
        return ["all"]
    between = [f"{low} to {high}" for low, high in pairwise(numbers)]
    return [f"≤ {numbers[0]}", *between, f"> {numbers[-1]}"]


def _clean(value: str | float | None) -> str | float | None:
    if isinstance(value, str):
        return value.strip() or None
    return None if value is None or not math.isfinite(value) else float(value)


def _is_known(case: Case, known: Set[str]) -> str | None:
    if not case.site:
        return None
    return "yes" if case.site in known else "no"


def _affected_lung(case: Case) -> float:
    """Lesion over lung; NaN when it is not known."""
    assert isinstance(case.outcome, Prediction)
    lesions = case.outcome.find(LesionVolume)
    return lesions.share if lesions else math.nan


def _arrays(cases: Sequence[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of cases with an answer."""
    truth = np.array([int(case.truth) for case in cases])
    probabilities = [
        list(case.outcome.probabilities.values())
        for case in cases
        if isinstance(case.outcome, Prediction)
    ]
    return truth, np.array(probabilities)


def _accuracy(cases: Sequence[Case], rng: np.random.Generator) -> Estimate:
    truth, probabilities = _arrays(cases)
    return _share(probabilities.argmax(axis=1) == truth, _owners(cases), rng, least=1)


def _macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(
        np.mean([auc(truth == k, probabilities[:, k]) for k in range(probabilities.shape[1])])
    )


def _macro_auc_of(cases: Sequence[Case], rng: np.random.Generator, *, least: int = 1) -> Estimate:
    truth, probabilities = _arrays(cases)
    patients = np.unique(_owners(cases), return_inverse=True)[1]

    def figures(index: np.ndarray) -> dict[str, float]:
        return {"auc": _macro_auc(truth[index], probabilities[index])}

    is_small = len(np.unique(patients)) < least
    if is_small or len(np.unique(truth)) < probabilities.shape[1]:
        return Estimate(math.nan, math.nan, math.nan, len(truth))
    return bootstrap(figures, redraw(truth, rng, patients=patients))["auc"]
