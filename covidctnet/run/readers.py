"""A model against human readers: from two tables to figures, a page and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from covidctnet.classes import Classes
from covidctnet.cohort.key_table import read_key_table
from covidctnet.evaluation.predictions import Predicted
from covidctnet.evaluation.reader_study import (
    ReaderStudy,
    study_plain,
    study_readers,
    study_sheets,
)
from covidctnet.evaluation.reader_table import read_keys, read_readings
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.report.readers_page import render_readers
from covidctnet.report.run_facts import RunFacts

__all__ = ["own_keys", "study_of", "write_study"]


# An evaluation lies within the work folder that made its ids, its external test one deeper.
_LEVELS = 3


def own_keys(predictions: Path, studies: Collection[str]) -> Path | None:
    """The key table of answers: in the folder beside them that must not be shared, or further up.

    Args:
        predictions: The answers.
        studies: Their ids; a table further up that knows none of them is of other scans.
    """
    folder = predictions.absolute().parent
    for level, place in enumerate((folder, *folder.parents)[:_LEVELS]):
        for table in sorted(place.glob("do-not-share/*key-table*.csv")):
            if level == 0 or not read_key_table(place).keys().isdisjoint(studies):
                return table
    return None


def study_of(
    predicted: Predicted,
    readers: Path,
    classes: Classes,
    *,
    keys: Path | None,
    pseudonym: Callable[[str], str] | None = None,
    rng: np.random.Generator,
) -> ReaderStudy:
    """Compare answers with a table of readings.

    Args:
        predicted: The answers.
        readers: See `covidctnet.evaluation.reader_table.read_readings`.
        classes: Of both.
        keys: Table that names the study of own ids; see `read_keys`.
        pseudonym: Makes the id that answers have of an own id.
        rng: Of the bootstraps.

    Raises:
        UsageError: If a file is missing.
        CohortError: If a table is not as described, or a reader shares no case with the answers.
    """
    readings = read_readings(
        readers,
        classes,
        studies=predicted.studies,
        keys=read_keys(keys) if keys else None,
        pseudonym=pseudonym,
    )
    return study_readers(predicted, readings, rng=rng)


def write_study(
    output: Path, study: ReaderStudy, name: str, run: RunFacts, *, comparison: str = ""
) -> None:
    """Write the page ``index.html``, ``tables/*.csv``, and ``evaluation.json`` for figures.

    Args:
        output: Created when needed.
        study: What it shows.
        name: Of the answers.
        run: What the run is called, and whose it is.
        comparison: Of two sets of answers, as text.
    """
    make_folder(output / "tables")
    sheets = study_sheets(study)
    for file, rows in sheets.items():
        write_whole(output / "tables" / file, table_text(rows))
    plain = {
        "run": run.to_plain(),
        "weights": name,
        "weights_digest": "",
        "classes": list(study.classes.titles),
        "readers": study_plain(study),
    }
    write_whole(output / "evaluation.json", json.dumps(plain, indent=1) + "\n")
    page = render_readers(study, sheets, run, comparison=comparison)
    write_whole(output / "index.html", page)
