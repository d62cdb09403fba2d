"""The files of an evaluation: page, tables, answers, model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from covidctnet.contract import PredictorInfo
from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.output import as_plain
from covidctnet.evaluation.sheets import predictions_table, sheets
from covidctnet.evaluation.supplement import Supplement
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.report.evaluation_page import render_evaluation
from covidctnet.report.model_card import model_card
from covidctnet.report.provenance import provenance_of
from covidctnet.report.reviewers import leakage_of, render_reviewers
from covidctnet.report.run_facts import RunFacts
from covidctnet.weights.card import taught_by

__all__ = ["write_evaluation"]


def write_evaluation(
    output: Path,
    cases: Sequence[Case],
    assessment: Assessment,
    info: PredictorInfo,
    table: str,
    beside: Supplement,
    *,
    run: RunFacts | None = None,
) -> None:
    """Write the page, the tables, the answers, and the model card where there is a card.

    Args:
        output: See `evaluate_work`.
        cases: The answers.
        assessment: Their figures.
        info: Who gave them; without a card they were made elsewhere.
        table: The figures in Markdown.
        beside: What stands next to the figures.
        run: What the run is called, and whose it is.
    """
    run = run or RunFacts()
    whose = {
        "run": run.to_plain(),
        "weights": info.weights,
        "weights_digest": info.digest,
        "caveat": info.caveat,
        "modality": info.modality if info.card else None,
        "leakage": leakage_of(taught_by(info.card), made_elsewhere=not info.system),
    }
    plain = whose | as_plain(assessment) | beside.as_plain()
    make_folder(output / "tables")
    for name, rows in {**sheets(assessment), **beside.sheets()}.items():
        write_whole(output / "tables" / name, table_text(rows))
    write_whole(output / "predictions.csv", table_text(predictions_table(cases)))
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
        supplement=beside,
        run=run.in_words,
    )
    write_whole(output / "index.html", page)
