"""The page of an evaluation: every figure in one file that opens offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.flow import Flow
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.output import (
    BY_LABEL,
    LOCALISATION,
    WORST_CASE,
    calibration_words,
    gap_words,
    patients_words,
)
from covidctnet.evaluation.published import FIGURES, PUBLISHED, READERS
from covidctnet.evaluation.supplement import Supplement
from covidctnet.evaluation.use import CALIBRATION, OPERATING, operating_words, useful_words
from covidctnet.published import PublishedFigures
from covidctnet.report import charts, use_charts
from covidctnet.report.evaluation_words import LIMITS, trait_words
from covidctnet.report.flow_chart import flow_chart
from covidctnet.report.published import COUNTED, published_rows
from covidctnet.report.supplement_page import render_supplement

__all__ = ["render_evaluation"]

_UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)

_PUBLISHED_TITLES = {
    "accuracy": "Accuracy, all classes",
    "covid_accuracy": "Accuracy, Covid-19 v. rest",
    "sensitivity": "Covid-19 sensitivity",
    "specificity": "Covid-19 specificity",
}


def render_evaluation(
    found: Assessment,
    *,
    provenance: Mapping[str, Any],
    caveat: str,
    seen: str = "",
    beside_published: bool = True,
    published: Sequence[PublishedFigures] = (),
    made_elsewhere: bool = False,
    run: str = "",
    flow: Flow | None = None,
    told_apart: str = "",
    supplement: Supplement | None = None,
) -> bytes:
    """The page in UTF-8: no scripts, nothing fetched, no path, date or name of a patient.

    Args:
        found: What it shows.
        provenance: Of `covidctnet.report.provenance.provenance_of`.
        caveat: What must be said beside every answer of these weights; may be empty.
        seen: What the weights were trained on, in words.
        beside_published: Put the figures of the paper beside ours.
        published: What the paper of the system reports; for CovidCTNet the package knows it.
        made_elsewhere: The answers come from a file, not from weights of this package.
        run: What the run is called, whose it is and when it was; in one line.
        flow: From all studies to those with an answer.
        told_apart: How patients were told apart, in words.
        supplement: What stands next to the figures.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("covidctnet.report").joinpath("evaluation.html").read_text(encoding="utf-8")
    )
    model = provenance.get("model", {})
    sites = any(s.trait == "site" for s in found.strata)
    text = template.render(
        weights=model.get("weights", ""),
        digest=provenance.get("weights_digest", ""),
        words=found.classes.in_words,
        note=found.classes.note,
        target=found.classes.target.title,
        seen=seen,
        caveat=caveat,
        n=found.n,
        patients=patients_words(found),
        answered=[(label.title, count) for label, count in found.answered.items()],
        absent=[label.title for label, count in found.answered.items() if not count],
        failures=sorted(found.failures, key=lambda f: (f.code, f.study)),
        worst_case=_worst_case(found),
        flow=Markup(flow_chart(flow)) if flow else "",
        told_apart=told_apart,
        main_figures=_main_figures(found),
        beside=_beside(found, made_elsewhere, published) if beside_published else None,
        made_elsewhere=made_elsewhere,
        run=run,
        class_titles=[title[0].upper() + title[1:] for title in BY_LABEL.values()],
        classes=[
            (label.title, [_shown(figures[name]) for name in BY_LABEL])
            for label, figures in found.scores.by_label.items()
        ],
        charts=_charts(found),
        supplement=render_supplement(supplement, target=found.classes.target.title),
        calibration=calibration_words(found),
        calibrated=[
            (label.title, [_shown(one.figures[name]) for name in CALIBRATION])
            for label, one in found.use.calibration.items()
        ],
        calibrated_titles=[title[0].upper() + title[1:] for title in CALIBRATION.values()],
        useful=useful_words(found.use),
        operating_words=operating_words(found.use),
        operating=[
            (point.name, f"{point.threshold:.3g}", [_shown(point.figures[k]) for k in OPERATING])
            for point in found.use.operating
        ],
        operating_titles=[title[0].upper() + title[1:] for title in OPERATING.values()],
        sets=_sets(found),
        out_of_distribution=[
            (label.title, _shown(e)) for label, e in found.out_of_distribution.items()
        ],
        localisation=[
            (LOCALISATION[name][0].upper() + LOCALISATION[name][1:], _shown(estimate))
            for name, estimate in found.localisation.items()
        ],
        strata=_strata(found),
        generalisation_gap=gap_words(found.generalisation_gap) if found.generalisation_gap else "",
        why_no_gap="the cases do not come from both known and unseen sites."
        if sites
        else "the sites of these studies, or of the training data, do not tell known from unseen.",
        limits=LIMITS,
        facts=_facts(provenance, made_elsewhere),
    )
    return text.encode()


def _main_figures(found: Assessment) -> list[tuple[str, dict[str, Any]]]:
    overall, target = found.scores.overall, found.scores.target
    name = found.classes.target.title
    return [
        ("Accuracy, all classes", _shown(overall["accuracy"])),
        ("AUC, mean over classes", _shown(overall["macro_auc"])),
        (f"{name} sensitivity", _shown(target["sensitivity"])),
        (f"{name} specificity", _shown(target["specificity"])),
    ]


def _worst_case(found: Assessment) -> list[tuple[str, list[dict[str, Any]]]]:
    """The main figures over those with an answer, and with every missing answer taken as wrong."""
    if not found.worst_case:
        return []
    target = found.scores.target
    answered = (found.scores.overall["accuracy"], *(target[n.split()[-1]] for n in WORST_CASE[1:]))
    return [
        ("Studies with an answer", [_shown(e) for e in answered]),
        (
            "Worst case: every missing answer wrong",
            [_shown(found.worst_case[name]) for name in WORST_CASE],
        ),
    ]


def _shown(estimate: Estimate) -> dict[str, Any]:
    """An estimate as the page's cells want it."""
    interval = ""
    if not math.isnan(estimate.low):
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
    known = not math.isnan(estimate.value)
    value = f"{estimate.value:.3f}" if known else ""
    return {"known": known, "value": value, "range": interval, "n": estimate.n}


_WHOSE_CASES = (
    "The paper’s figures are of its own patients, not of these: the rows tell what was reported, "
    "and do not say which system is better. Intervals of the paper’s rows are computed from its "
    "counts"
)


def _beside(
    found: Assessment, made_elsewhere: bool, published: Sequence[PublishedFigures]
) -> dict[str, Any] | None:
    whose = "These answers" if made_elsewhere else "These weights, on these cases"
    if published:
        return _beside_counts(found, whose, published)
    if found.classes != CHEST_CT:
        return None
    overall, covid = found.scores.overall, found.scores.target
    ours = {**covid, "covid_accuracy": covid["accuracy"], "accuracy": overall["accuracy"]}
    rows: list[dict[str, Any]] = [
        {"name": whose, "ours": True,
         "cells": [_shown(ours[name]) for name in FIGURES]}
    ]  # fmt: skip
    for name, figures in PUBLISHED.items():
        cells = [_shown(figures[figure]) for figure in FIGURES]
        rows.append({"name": f"{name}, on its cases", "ours": False, "cells": cells})
    means = [{"known": True, "value": f"{READERS[f]:.3f}", "range": "", "n": None} for f in FIGURES]
    rows.append(
        {"name": "Mean of its 4 radiologists, on its independent cases", "ours": False,
         "cells": means}
    )  # fmt: skip
    words = f"{_WHOSE_CASES}; the radiologists’ means come without counts."
    titles = [_PUBLISHED_TITLES[name] for name in FIGURES]
    return {"words": words, "titles": titles, "rows": rows}


def _beside_counts(
    found: Assessment, whose: str, published: Sequence[PublishedFigures]
) -> dict[str, Any]:
    """Rows of a paper that counts slices, scans or patients."""
    ours = {**found.scores.by_label[found.classes.target], **found.scores.target}
    rows = [
        (whose, True, ours),
        *((name, False, figures) for name, figures in published_rows(published)),
    ]
    return {
        "words": f"{_WHOSE_CASES}, by Wilson’s method. Our row is by patient.",
        "titles": list(COUNTED.values()),
        "rows": [
            {
                "name": name,
                "ours": mine,
                "cells": [_shown(figures.get(k, _UNKNOWN)) for k in COUNTED],
            }
            for name, mine, figures in rows
        ],
    }


def _charts(found: Assessment) -> dict[str, Any]:
    by_label = found.scores.by_label
    drawn: dict[str, Any] = {
        "confusion": charts.confusion(found.scores.confusion, found.classes),
        "affected_lung": charts.affected_lung(found.affected_lung) if found.affected_lung else "",
        "reliability": charts.reliability(found.reliability, n=found.n),
        "risk_coverage": charts.risk_coverage(found.risk_coverage),
    }
    # Our own drawings, whose every word is escaped already.
    safe: dict[str, Any] = {name: Markup(svg) for name, svg in drawn.items()}
    safe["roc"] = [
        Markup(charts.roc(curve, label=label, area=by_label[label]["auc"]))
        for label, curve in found.roc.items()
    ]
    safe["precision_recall"] = [
        Markup(
            charts.precision_recall(
                curve, label=label, precision=by_label[label]["average_precision"]
            )
        )
        for label, curve in found.precision_recall.items()
    ]
    safe["calibration_by_class"] = [
        Markup(use_charts.calibration_by_class(one, label=label))
        for label, one in found.use.calibration.items()
    ]
    safe["decision"] = [
        Markup(use_charts.decision(one, label=label)) for label, one in found.use.decisions.items()
    ]
    return safe


def _sets(found: Assessment) -> list[tuple[str, dict[str, Any]]]:
    if found.sets is None:
        return []
    return [
        ("Holds the true label", _shown(found.sets.coverage)),
        *((f"Of {label}", _shown(e)) for label, e in found.sets.by_label.items()),
        ("Labels in a set, mean", _shown(found.sets.size)),
        ("Abstained: more than one label", _shown(found.sets.abstained)),
    ]


def _strata(found: Assessment) -> list[tuple[str, list[dict[str, Any]]]]:
    return [
        (
            trait_words(trait),
            [
                {
                    "value": s.value,
                    "n": s.n,
                    "cells": [
                        _shown(e) for e in (s.accuracy, s.macro_auc, s.sensitivity, s.specificity)
                    ],
                }
                for s in group
            ],
        )
        for trait, group in groupby(found.strata, key=lambda s: s.trait)
    ]


def _facts(provenance: Mapping[str, Any], made_elsewhere: bool) -> Sequence[tuple[str, str]]:
    """What of the run's provenance a reader may want."""
    model = provenance.get("model", {})
    facts = [
        ("covidctnet", provenance.get("covidctnet", "")),
        ("file of answers" if made_elsewhere else "weights", model.get("weights", "")),
        (
            "digest of the file" if made_elsewhere else "digest of weights and settings",
            provenance.get("weights_digest", ""),
        ),
        ("device", model.get("device", "")),
        ("precision", model.get("precision", "")),
        *provenance.get("libraries", {}).items(),
    ]
    return [(name, str(value)) for name, value in facts if value]
