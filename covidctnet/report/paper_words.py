"""Captions of the figures and tables of a paper folder."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXTERNAL", "figure_caption", "table_caption"]

EXTERNAL = "external-"
"""In front of the names of figures and tables of an external test."""

_FIGURES: Mapping[str, str] = {
    "flow": "Flow of studies, as STARD and CLAIM ask for it: who was there at each step, and who "
    "was left out and why.",
    "roc": "ROC curves of each class against the rest. Bands: pointwise 95 % intervals.",
    "precision-recall": "Precision-recall curves of each class against the rest. Dotted: share of "
    "the class. Bands: pointwise 95 % intervals.",
    "calibration": "Calibration of each class: share of patients with the class over the "
    "probability that was told, in groups of about one size. Bars: 95 % intervals.",
    "decision": "Decision curves: net benefit of acting on the model (coloured), on all patients "
    "(dashed) and on none (dotted), over the threshold probability. Bands: pointwise 95 % "
    "intervals.",
    "confusion": "True class and answer, with the share of the true class.",
    "reliability": "How often the answer was right over how sure it was. Bars: 95 % intervals.",
    "risk-coverage": "Share of wrong answers when only the surest patients are answered. Band: "
    "pointwise 95 % interval.",
    "affected-lung": "Share of the lungs that differs from healthy ones, by true class: a dot a "
    "patient, the line the median, the box the middle half.",
    "readers": "Readers and model: sensitivity over 1 - specificity of each reader, and the ROC "
    "curve of the model with its pointwise 95 % interval.",
}

_TABLES: Mapping[str, str] = {
    "affected-lung": "Affected lung by true class, per cent of the lungs.",
    "disparities": "Groups with the lowest and the highest figure of each trait.",
    "external": "Internal and external test.",
    "flow": "From all studies to those with an answer.",
    "patients-by-class": "The patients, by true class.",
    "patients-by-split": "The patients, by split.",
    "precision": "Widths of the intervals, and patients that narrower ones take.",
    "calibration": "Calibration of each class against the rest.",
    "calibration-curve": "Points of the calibration curves.",
    "confusion": "True class and answer.",
    "decision-curve": "Net benefit over the threshold probability.",
    "failures": "Studies without an answer.",
    "figures": "Figures of the evaluation with 95 % intervals.",
    "operating-points": "Figures at the thresholds that the validation data of the training chose.",
    "precision-recall": "Points of the precision-recall curves.",
    "readers": "Readers and model on the same cases.",
    "reliability": "How often answers were right, by how sure they were.",
    "risk-coverage": "Wrong answers among the surest.",
    "roc": "Points of the ROC curves.",
    "strata": "Figures by trait.",
}


def figure_caption(name: str) -> str:
    """What a figure shows."""
    if name.startswith(EXTERNAL):
        return f"External test. {_FIGURES[name.removeprefix(EXTERNAL)]}"
    return _FIGURES[name]


def table_caption(name: str) -> str:
    """What a table holds; one that is not known is called by its name."""
    if name.startswith(EXTERNAL):
        return f"External test. {table_caption(name.removeprefix(EXTERNAL))}"
    return _TABLES.get(name, f"{name.replace('-', ' ').capitalize()}.")
