"""The page of the benchmark of systems: every number from files that the run wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.compare import Comparison, compare, holm
from covidctnet.evaluation.intervals import Estimate, auc_interval
from covidctnet.evaluation.published import PUBLISHED
from covidctnet.evaluation.strata import strata
from covidctnet.report.published import COUNTED, published_rows
from pipelines.experiments.systems.answers import COVID_OR_REST, Answers
from pipelines.experiments.systems.archives import Patient
from pipelines.experiments.systems.plan import Entrant, Plan

__all__ = ["page", "verdicts"]

COVID = COVID_OR_REST.target
CHANCE = 0.5
# Of a family of tests, after correction.
LEVEL = 0.05
_SHOWN_TRAITS = {
    "site": "site",
    "site seen in training": "site seen in training",
    "slice_mm": "slice distance, mm",
    "kernel": "kernel",
}


def page(
    plan: Plan,
    patients: Mapping[str, Patient],
    answers: Mapping[str, Answers],
    shortcuts: Mapping[str, Answers],
    costs: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> Iterator[str]:
    """The page, line by line.

    Args:
        plan: That was carried out.
        patients: By pseudonym.
        answers: Of each entrant, by its name.
        shortcuts: The baselines of ``ct`` and ``radiograph``.
        costs: What `cost.py` measured, by entrant.
        seconds: Of each step, by its name.
    """
    kinds = {entrant.name: entrant.known.modality for entrant in plan.entrants}
    pairs = _pairs(plan, answers, shortcuts, kinds)
    yield from verdicts(plan, answers, pairs)
    yield from _people(plan, patients, answers)
    yield from _three_classes(answers)
    yield from _covid_or_rest({**answers, **{one.name: one for one in shortcuts.values()}})
    yield from _tests(pairs)
    yield from _by_lesions(answers)
    yield from _by_traits(plan, answers)
    yield from _costs(plan, costs, seconds)
    yield from _published(plan)


def verdicts(
    plan: Plan, answers: Mapping[str, Answers], pairs: Mapping[tuple[str, str], Comparison]
) -> Iterator[str]:
    """The first lines: what was not reached is said before any figure."""
    missed, reached = [], []
    for entrant in (e for e in plan.entrants if e.sister_of):
        own, sister = (_auc(answers[n]) for n in (entrant.sister_of, entrant.name))
        # Not estimable is not reached.
        is_good = own.value >= sister.value
        words = (
            f"{entrant.sister_of} (AUC {own}) is {'at least' if is_good else 'not'} as good as its "
            f"sister {entrant.name} (AUC {sister}) for Covid-19 against the rest."
        )
        (reached if is_good else missed).append(words)
    for name, one in answers.items():
        found = _auc(one)
        is_good = found.low > CHANCE
        words = f"{name} {'beats' if is_good else 'does not beat'} chance: AUC {found}."
        (reached if is_good else missed).append(words)
    for (first, second), compared in pairs.items():
        if second in answers:
            continue
        difference, _ = compared.auc[COVID]
        is_good = difference.low > 0
        words = (
            f"{first} {'beats' if is_good else 'does not beat'} the {second}: difference of the "
            f"AUCs {difference}."
        )
        (reached if is_good else missed).append(words)
    yield from (f"- **Not reached:** {words}" for words in missed)
    yield from (f"- {words}" for words in reached)
    yield ""
    yield "# One benchmark of all systems, on phantoms"
    yield ""
    yield (
        "All patients are phantoms (synthetic): the figures say that the systems run and learn, "
        "and nothing about patients. Research use only."
    )
    yield ""


def _people(
    plan: Plan, patients: Mapping[str, Patient], answers: Mapping[str, Answers]
) -> Iterator[str]:
    cohort = plan.cohort
    yield (
        f"{cohort.patients} patients of each class over {len(cohort.scanners)} sites, seed "
        f"{cohort.seed}; each has a CT and a chest radiograph of the same body. Patients of "
        f"{', '.join(cohort.unseen) or 'no site'} are all held back. The same patients teach, "
        "choose the epoch of, and test every entrant; a denoiser takes its Controls from those "
        "that teach."
    )
    yield ""
    yield from _table(
        ["patients", *CHEST_CT.titles],
        [
            [split, *(_count(patients, split, title) for title in CHEST_CT.titles)]
            for split in ("train", "val", "test")
        ],
    )
    refused = {name: one.failed for name, one in answers.items() if one.failed}
    for name, failed in refused.items():
        codes = ", ".join(sorted(set(failed.values())))
        yield f"{name} gave no answer to {len(failed)} patients ({codes}): in no figure of it."
        yield ""


def _count(patients: Mapping[str, Patient], split: str, title: str) -> int:
    return sum(p.split == split and p.label.title == title for p in patients.values())


def _three_classes(answers: Mapping[str, Answers]) -> Iterator[str]:
    yield "## Three classes"
    yield ""
    yield (
        "Of entrants that tell them apart. Intervals of 95 % by patient: Wilson for accuracy, "
        "Newcombe for AUC of a class against the others, bootstrap for their mean."
    )
    yield ""
    rows = []
    for name, one in answers.items():
        if one.has_three and len(one.patients):
            scores = assess(one.cases(CHEST_CT), rng=np.random.default_rng(0)).scores
            rows.append(
                [
                    name,
                    scores.overall["accuracy"],
                    scores.overall["macro_auc"],
                    *(scores.by_label[label]["auc"] for label in CHEST_CT),
                ]
            )
    titles = [f"AUC {label.title}" for label in CHEST_CT]
    yield from _table(["entrant", "accuracy", "mean AUC", *titles], rows)


def _covid_or_rest(all_answers: Mapping[str, Answers]) -> Iterator[str]:
    yield "## Covid-19 against the rest"
    yield ""
    yield (
        "By declared mappings: the probability of Covid-19 against the sum of all other classes, "
        "called above one half."
    )
    yield ""
    rows = []
    for name, one in all_answers.items():
        if not len(one.patients):
            continue
        scores = assess(one.cases(COVID_OR_REST), rng=np.random.default_rng(0)).scores
        figures = scores.by_label[COVID]
        rows.append(
            [
                name,
                ", ".join(one.classes.titles),
                figures["auc"],
                figures["sensitivity"],
                figures["specificity"],
                scores.overall["accuracy"],
            ]
        )
    head = ["entrant", "its classes", "AUC", "sensitivity", "specificity", "accuracy"]
    yield from _table(head, rows)


def _pairs(
    plan: Plan,
    answers: Mapping[str, Answers],
    shortcuts: Mapping[str, Answers],
    kinds: Mapping[str, str],
) -> dict[tuple[str, str], Comparison]:
    """Every two entrants, and each with the baseline of what it reads."""
    sides = [(answers[a.name], answers[b.name]) for a, b in combinations(plan.entrants, 2)]
    sides += [(one, shortcuts[kinds[name]]) for name, one in answers.items()]
    return {
        (first.name, second.name): compare(
            first.predicted(), second.predicted(), rng=np.random.default_rng(0)
        )
        for first, second in sides
        if set(first.patients) & set(second.patients)
    }


def _tests(pairs: Mapping[tuple[str, str], Comparison]) -> Iterator[str]:
    yield "## Paired tests"
    yield ""
    yield (
        f"Covid-19 against the rest on the same patients. p of DeLong for AUC and of McNemar for "
        f"right answers, each corrected for {len(pairs)} tests (Holm)."
    )
    yield ""
    by_auc = [compared.auc[COVID][1] for compared in pairs.values()]
    by_answers = [compared.p_accuracy for compared in pairs.values()]
    rows = [
        [
            f"{first} - {second}",
            compared.auc[COVID][0],
            _p(p_auc),
            _p(auc_of_all),
            f"{compared.discordant[0]} / {compared.discordant[1]}",
            _p(p_answers),
            _p(answers_of_all),
        ]
        for ((first, second), compared), p_auc, auc_of_all, p_answers, answers_of_all in zip(
            pairs.items(), by_auc, holm(by_auc), by_answers, holm(by_answers), strict=True
        )
    ]
    head = ["pair", "difference of AUC", "p", "p (Holm)", "only one right", "p", "p (Holm)"]
    yield from _table(head, rows)
    found = sum(p < LEVEL for p in holm(by_auc))
    yield f"{found} of {len(pairs)} differences of AUC are below {LEVEL} after the correction."
    yield ""


def _by_lesions(answers: Mapping[str, Answers]) -> Iterator[str]:
    yield "## By lesion volume"
    yield ""
    yield (
        "AUC of Covid-19 patients of a band against all of the rest; bands are thirds of the share "
        "of lung that ground glass and consolidation fill, by the truth of the phantoms."
    )
    yield ""
    tested = {p: one for a in answers.values() for p, one in a.patients.items()}
    shares = [one.lesions_percent for one in tested.values() if one.label is CHEST_CT.COVID19]
    if len(shares) < 3:
        yield f"Fewer than three patients with Covid-19 ({len(shares)}): no bands."
        yield ""
        return
    low, high = np.quantile(shares, [1 / 3, 2 / 3]).tolist()
    bands = {
        f"≤ {low:.3g} %": (-math.inf, low),
        f"{low:.3g} to {high:.3g} %": (low, high),
        f"> {high:.3g} %": (high, math.inf),
    }
    rows = []
    for name, one in answers.items():
        own = np.array([p.lesions_percent for p in one.patients.values()])
        row: list[object] = [name]
        for above, up_to in bands.values():
            kept = ~one.is_covid | ((own > above) & (own <= up_to))
            row.append(auc_interval(one.is_covid[kept], one.covid[kept]))
        rows.append(row)
    yield from _table(["entrant", *bands], rows)


def _by_traits(plan: Plan, answers: Mapping[str, Answers]) -> Iterator[str]:
    yield "## By slice distance, kernel and site"
    yield ""
    yield (
        "AUC for Covid-19 against the rest. Slice distance and kernel are those of the CT; of a "
        "radiograph they say no more than its site. Each site has one kernel and one distance: a "
        "kernel that only one site has is that site's row."
    )
    yield ""
    known = frozenset(set(plan.cohort.scanners) - set(plan.cohort.unseen))
    cells: dict[tuple[str, str], dict[str, Estimate]] = {}
    for name, one in answers.items():
        if not len(one.patients):
            continue
        cases = one.cases(COVID_OR_REST)
        for found in strata(cases, rng=np.random.default_rng(0), known_sites=known):
            if found.trait in _SHOWN_TRAITS:
                cells.setdefault((found.trait, found.value), {})[name] = found.macro_auc
    told = {
        p.site: f"{p.site}: {p.traits['kernel']}, {p.traits['slice_mm']:g} mm"
        for one in answers.values()
        for p in one.patients.values()
    }
    rows = [
        [
            _SHOWN_TRAITS[trait],
            told.get(value, value) if trait == "site" else value,
            *(of.get(name, "-") for name in answers),
        ]
        for (trait, value), of in cells.items()
    ]
    yield from _table(["trait", "value", *answers], rows)


def _costs(
    plan: Plan, costs: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]
) -> Iterator[str]:
    yield "## Time, memory, parameters"
    yield ""
    yield (
        "A patient from files to answer, alone, on a CPU: the median without the first, which sets "
        "the networks up. Memory is the peak of the process. Training is what the steps took, on "
        "the machine as it was; of a run that was resumed, since its last start."
    )
    yield ""
    rows = []
    for entrant in plan.entrants:
        cost = costs[entrant.name]
        steps = range(1, len(entrant.steps) + 1)
        trained = sum(seconds[f"{entrant.name}-{number}"] for number in steps)
        timed = "-" if cost["seconds"] is None else f"{cost['seconds']:.2f}"
        rows.append(
            [
                entrant.name,
                f"{cost['parameters']:,}",
                f"{timed} (n={cost['patients']}, {cost['threads']} threads)",
                f"{cost['peak_mib']:.0f}",
                f"{trained / 60:.1f}",
            ]
        )
    head = ["entrant", "parameters", "s a patient", "peak MiB", "training, min"]
    yield from _table(head, rows)
    yield f"Phantoms took {seconds['phantoms'] / 60:.1f} min."
    yield ""


def _published(plan: Plan) -> Iterator[str]:
    yield "## What the papers claim"
    yield ""
    yield (
        "On their own patients, or pictures, with their n: nothing here is on the same patients. "
        "Wilson intervals from counts."
    )
    yield ""
    rows = []
    for entrant in _first_of_each(plan.entrants):
        for name, figures in published_rows(entrant.known.published):
            rows.append([entrant.name, name, *(figures.get(key, "-") for key in COUNTED)])
        if entrant.system == "covidctnet":
            for name, figures in PUBLISHED.items():
                rows.append([entrant.name, name, *(figures.get(key, "-") for key in COUNTED)])
    yield from _table(["system", "test", *COUNTED.values()], rows)


def _first_of_each(entrants: Sequence[Entrant]) -> list[Entrant]:
    first: dict[str, Entrant] = {}
    for entrant in entrants:
        first.setdefault(entrant.system, entrant)
    return list(first.values())


def _auc(one: Answers) -> Estimate:
    return auc_interval(one.is_covid, one.covid)


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    yield ""
