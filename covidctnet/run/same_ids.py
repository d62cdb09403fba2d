"""Two evaluations of the same patients whose ids were made with two keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from covidctnet.cohort.key_table import read_key_table
from covidctnet.evaluation.predictions import Predicted

__all__ = ["under_ids_of"]


def under_ids_of(first: Path, second: Path, own: Predicted, other: Predicted) -> Predicted:
    """Answers under the ids of another evaluation, as far as the key tables of both tell them.

    Args:
        first: Folder of the evaluation whose ids are kept.
        second: Folder of the other one.
        own: Answers of the first.
        other: Answers of the second.

    Returns:
        `other` as it is where the two share ids, or a table is not there.
    """
    if set(own.studies) & set(other.studies):
        return other
    id_of = {row.given_id: study for study, row in read_key_table(first).items() if row.given_id}
    given = {study: row.given_id for study, row in read_key_table(second).items()}
    names = {s: id_of.get(given.get(s, ""), s) for s in (*other.studies, *other.unanswered)}
    if len(set(names.values())) < len(names):
        return other
    order = sorted(range(len(other.studies)), key=lambda k: names[other.studies[k]])
    return replace(
        other,
        studies=tuple(names[other.studies[k]] for k in order),
        truth=other.truth[order],
        probabilities=other.probabilities[order],
        patients=tuple(other.patients[k] for k in order) if other.patients else (),
        unanswered=tuple(sorted(names[s] for s in other.unanswered)),
    )
