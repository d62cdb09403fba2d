"""One page for reviewers: five questions that decide whether to read on, each with its evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

from covidctnet.evaluation.external import external_words
from covidctnet.report.evaluation_words import NOTICE
from covidctnet.report.run_facts import RunFacts

__all__ = ["Answer", "answers", "leakage_of", "render_reviewers"]

_PAGE = "index.html"


@dataclass(frozen=True)
class Answer:
    """A question of a reviewer with its answer.

    Attributes:
        question: As it is asked.
        words: What the run knows; says so where it knows nothing.
        link: File in the folder of the evaluation that shows it, with its place.
        where: What the link is called.
    """

    question: str
    words: str
    link: str
    where: str


def leakage_of(taught: Mapping[str, str], *, made_elsewhere: bool) -> dict[str, Any]:
    """How an evaluation could tell patients of the training from those of the test, for JSON.

    Args:
        taught: Of `covidctnet.weights.card.taught_by`.
        made_elsewhere: Whether the answers are a file's.
    """
    return {"made_elsewhere": made_elsewhere, "scans_known_from_training": len(taught)}


def answers(plain: Mapping[str, Any]) -> tuple[Answer, ...]:
    """The questions with their answers.

    Args:
        plain: What ``evaluation.json`` holds.
    """
    return (
        _leakage(plain),
        _calibration(plain),
        _external(plain),
        _refused(plain),
        _threshold(plain),
    )


def _leakage(plain: Mapping[str, Any]) -> Answer:
    known = plain.get("leakage") or {}
    count = known.get("scans_known_from_training", 0)
    if known.get("made_elsewhere"):
        words = plain.get("caveat") or "The answers were made elsewhere; this was not checked."
        return Answer("Leakage?", words, _PAGE, "evaluation")
    if not count:
        words = (
            "Not checked: the card of the weights does not name the scans that they learned from."
        )
    else:
        words = (
            f"Checked scan by scan: the card of the weights names {count} scans that taught "
            "or chose them by a digest of their voxels, and none of them is among those evaluated: "
            "the run would have been refused. Not seen by this check: one patient under two names "
            "whose scans differ, and a scan that was resampled."
        )
    return Answer("Leakage?", words, "model-card.md", "training data in the model card")


def _calibration(plain: Mapping[str, Any]) -> Answer:
    found = plain.get("calibration_by_label", {})
    each = "; ".join(
        f"{label}: slope {_figure(one['slope'])}, intercept {_figure(one['intercept'])}, "
        f"Brier score {_figure(one['brier'])}"
        for label, one in found.items()
    )
    words = f"By class against the rest, with 95 % intervals by patient. {each}." if each else _NOT
    return Answer("Calibration?", words, f"{_PAGE}#calibration", "calibration by class")


_NOT = "The evaluation does not tell."


def _external(plain: Mapping[str, Any]) -> Answer:
    gap, external = plain.get("generalisation_gap"), plain.get("external")
    if external:
        words = (
            f"{sum(external['answered'].values())} studies of patients "
            f"{external_words(is_checked=external.get('is_checked', True))}, apart from the "
            f"internal test: accuracy {_figure(external['overall']['accuracy'])}, mean AUC "
            f"{_figure(external['overall']['macro_auc'])}."
        )
        return Answer("External?", words, f"{_PAGE}#external", "external test")
    if gap:
        words = (
            f"Accuracy at sites that the weights have not seen: "
            f"{_figure(gap['unseen']['accuracy'])}; at sites of the training: "
            f"{_figure(gap['known']['accuracy'])}."
        )
    else:
        sites = sorted({s["value"] for s in plain.get("strata", ()) if s["trait"] == "site"})
        told = f" Sites of these patients: {', '.join(sites)}." if sites else ""
        words = (
            "This evaluation does not tell known from unseen sites, so it shows nothing about "
            f"other hospitals.{told}"
        )
    return Answer("External?", words, f"{_PAGE}#robustness", "figures by site")


def _refused(plain: Mapping[str, Any]) -> Answer:
    external: Mapping[str, Any] = plain.get("external") or {}
    failures: Sequence[Mapping[str, Any]] = plain.get("failures", ())
    answered = sum(plain.get("answered", {}).values())
    apart = _refused_apart(external, plain.get("test_without_answers") or {})
    if not failures:
        words = f"None: all {answered} studies have an answer.{apart}"
        return Answer("How many refused?", words, f"{_PAGE}#classes", "evaluation")
    by_label: dict[str, int] = {}
    for one in failures:
        by_label[one["label"]] = by_label.get(one["label"], 0) + 1
    classes = ", ".join(f"{n} {label}" for label, n in sorted(by_label.items()))
    words = (
        f"{len(failures)} of {answered + len(failures)} studies have no answer ({classes}). They "
        f"are listed with the reason and counted in the worst case alone.{apart}"
    )
    return Answer("How many refused?", words, f"{_PAGE}#failures", "studies without an answer")


def _refused_apart(external: Mapping[str, Any], silent: Mapping[str, Any]) -> str:
    """The same of the other test, behind a blank; or nothing."""
    if silent:
        return f" Besides, the {silent['test']} test has no answer to any of {silent['studies']}."
    if not external:
        return ""
    failed = len(external.get("failures", ()))
    whole = failed + sum(external.get("answered", {}).values())
    if not failed:
        return f" All {whole} of the external test have one."
    return f" Of the external test, {failed} of {whole} have no answer."


def _threshold(plain: Mapping[str, Any]) -> Answer:
    points = plain.get("operating_points") or {}
    named = ", ".join(f"{p['name']} {p['threshold']:.3g}" for p in points.get("points", ()))
    words = (
        "The validation data of the training chose them, before these patients were looked at; "
        f"they stand in the card of the weights: {named}."
        if named
        else "Nobody: no threshold was chosen. The label is the most probable class, and the "
        "curves show all thresholds."
    )
    return Answer(
        "Who chose the threshold?", words, f"{_PAGE}#operating-points", "operating points"
    )


def _figure(estimate: Mapping[str, Any]) -> str:
    value, low = estimate["value"], estimate["low"]
    if value is None or math.isnan(value):
        return "not estimable"
    if low is None:
        return f"{value:.2f} (interval not estimable)"
    return f"{value:.2f} ({low:.2f} to {estimate['high']:.2f})"


def render_reviewers(plain: Mapping[str, Any], run: RunFacts) -> bytes:
    """The page in UTF-8; its links are to files of the same folder.

    Args:
        plain: What ``evaluation.json`` holds.
        run: What is said of the run.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = environment.from_string(_TEMPLATE).render(
        answers=answers(plain),
        run=run.in_words,
        notice=NOTICE,
        weights=plain.get("weights", ""),
        digest=plain.get("weights_digest", ""),
    )
    return text.encode()


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>For reviewers</title>
<style>
:root { --ink: #16191d; --soft: #545c66; --line: #d9dde2; --ground: #ffffff; --link: #0a58a6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9ecef; --soft: #a4adb7; --line: #343a41; --ground: #121417; --link: #7ab8f5; }
}
body { margin: 0 auto; max-width: 50rem; padding: 1.5rem; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 1.4rem 0 .2rem; }
section { border-top: 1px solid var(--line); break-inside: avoid; }
p { margin: 0 0 .5rem; } .soft { color: var(--soft); }
a { color: var(--link); } .id { font-family: monospace; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --ground: #fff; --soft: #444; --link: #000; } }
</style>
</head>
<body>
<h1>For reviewers</h1>
<p class="soft">{{ run }}</p>
<p class="soft">{{ notice }} Answers of <span class="id">{{ weights }}</span>
(<span class="id">{{ digest }}</span>).</p>
{% for one in answers %}
<section><h2>{{ one.question }}</h2>
<p>{{ one.words }}</p>
<p><a href="{{ one.link }}">Where it is shown: {{ one.where }}</a></p></section>
{% endfor %}
</body>
</html>
"""
