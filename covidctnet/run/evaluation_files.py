"""The files of an evaluation: page, tables, answers, model card."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covidctnet.cohort.members import EXTERNAL
from covidctnet.cohort.persons import ToldApart
from covidctnet.cohort.pseudonyms import Pseudonyms, pseudonyms_of
from covidctnet.contract import PredictorInfo
from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.flow import FlowStep, flow_of
from covidctnet.evaluation.output import as_plain
from covidctnet.evaluation.sheets import predictions_table, sheets
from covidctnet.evaluation.supplement import Supplement
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.report.evaluation_page import render_evaluation
from covidctnet.report.flow_chart import flow_rows
from covidctnet.report.model_card import model_card
from covidctnet.report.provenance import provenance_of
from covidctnet.report.reviewers import leakage_of, render_reviewers
from covidctnet.report.run_facts import RunFacts
from covidctnet.weights.card import taught_by

__all__ = ["About", "ids_of_evaluation", "remove_evaluation", "write_evaluation"]

_FILES = (
    "index.html",
    "reviewers.html",
    "evaluation.json",
    "evaluation.md",
    "predictions.csv",
    "model-card.md",
    "model-card.json",
)


@dataclass(frozen=True)
class About:
    """Whose answers an evaluation is of.

    Attributes:
        steps: Of the flow of studies, before those that are evaluated.
        told_apart: How the patients were told apart; None where nothing is known of it.
        split: Of the cohort; empty where it is not divided.
        external_steps: The steps before an external test.
    """

    steps: tuple[FlowStep, ...] = ()
    told_apart: ToldApart | None = None
    split: str = ""
    external_steps: tuple[FlowStep, ...] = ()

    def of_external(self) -> About:
        """The same of the external test."""
        return replace(self, steps=self.external_steps, split=EXTERNAL if self.split else "")

    @property
    def words(self) -> str:
        """How the patients were told apart, behind a blank; or nothing."""
        return f" {self.told_apart.words}" if self.told_apart else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = self.told_apart.to_dict() if self.told_apart else None
        return {"split": self.split or None, "patients_told_apart": told}


def ids_of_evaluation(output: Path, key: Path | None) -> Pseudonyms:
    """How the ids of an evaluation are made: as before, in a folder of before keys."""
    return pseudonyms_of(output, has_former=(output / "predictions.csv").exists(), key=key)


def write_evaluation(
    output: Path,
    cases: Sequence[Case],
    assessment: Assessment,
    info: PredictorInfo,
    table: str,
    supplement: Supplement,
    about: About,
    *,
    run: RunFacts | None = None,
    predictions: Sequence[Case] | None = None,
) -> None:
    """Write the page, the tables, the answers, and the model card where there is a card.

    Args:
        output: See `evaluate_work`.
        cases: The answers.
        assessment: Their figures.
        info: Who gave them; without a card they were made elsewhere.
        table: The figures in Markdown.
        supplement: What stands next to the figures.
        about: Whose answers they are.
        run: What the run is called, and whose it is.
        predictions: What is listed with or without an answer; by default `cases`.
    """
    run = run or RunFacts()
    flow = flow_of(cases, before=about.steps)
    whose = {
        "run": run.to_plain(),
        "weights": info.weights,
        "weights_digest": info.digest,
        "caveat": info.caveat,
        "modality": info.modality if info.card else None,
        "leakage": leakage_of(taught_by(info.card), made_elsewhere=not info.system),
    }
    whose |= about.to_dict() | {"flow": flow.to_dict()}
    plain = whose | as_plain(assessment) | supplement.as_plain()
    make_folder(output / "tables")
    tables = {**sheets(assessment), **supplement.sheets(), "flow.csv": flow_rows(flow)}
    for name, rows in tables.items():
        write_whole(output / "tables" / name, table_text(rows))
    _remove_tables(output, keep=tables)
    write_whole(output / "predictions.csv", table_text(predictions_table(predictions or cases)))
    write_whole(output / "evaluation.json", json.dumps(plain, indent=1) + "\n")
    write_whole(output / "reviewers.html", render_reviewers(plain, run))
    write_whole(output / "evaluation.md", table + "\n")
    if info.card:
        card_text, card = model_card(
            assessment,
            info.card,
            name=info.weights,
            digest=info.digest,
            trained_on=info.trained_on,
            caveat=info.caveat,
        )
        write_whole(output / "model-card.md", card_text)
        write_whole(output / "model-card.json", json.dumps(card, indent=1) + "\n")
    page = render_evaluation(
        assessment,
        provenance=provenance_of(info),
        caveat=info.caveat,
        seen=info.trained_on,
        published=info.published,
        made_elsewhere=not info.system,
        supplement=supplement,
        run=run.in_words,
        flow=flow,
        told_apart=about.told_apart.words if about.told_apart else "",
    )
    write_whole(output / "index.html", page)


def remove_evaluation(output: Path) -> None:
    """Remove what `write_evaluation` wrote into a folder; anything else in it stays.

    Args:
        output: May not be there.
    """
    if not (output / "evaluation.json").is_file():
        return
    _remove_tables(output)
    with suppress(OSError):
        for name in _FILES:
            (output / name).unlink(missing_ok=True)
        (output / "tables").rmdir()
        output.rmdir()


def _remove_tables(output: Path, keep: Container[str] = ()) -> None:
    """Remove tables of an earlier evaluation, which a paper would take for those of this one."""
    for file in (output / "tables").glob("*.csv"):
        if file.name not in keep:
            with suppress(OSError):
                file.unlink()
