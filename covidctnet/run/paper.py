"""From the folder of an evaluation to a folder for a paper: figures, tables, checklists."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from covidctnet.errors import UsageError
from covidctnet.files import make_folder, write_whole
from covidctnet.report.checklists import as_csv, as_html, as_markdown, fill, share_filled
from covidctnet.report.evaluation_words import NOTICE
from covidctnet.report.paper_figures import FORMATS, draw_all, files_of
from covidctnet.report.paper_tables import latex, read_rows, workbook
from covidctnet.report.paper_words import EXTERNAL, figure_caption, table_caption
from covidctnet.report.run_facts import RunFacts
from covidctnet.surroundings import expect_packages
from covidctnet.weights.card import CARD
from covidctnet.weights.model_card import MODEL_CARD

__all__ = ["Paper", "check_packages", "write_paper"]

_MAX_BYTES = 2**28
_NEEDED = ("matplotlib", "openpyxl")
_COPIED = ("model-card.md", "model-card.json", "predictions.csv")


class Paper(NamedTuple):
    """What a paper folder got.

    Attributes:
        figures: Names of the figures.
        tables: Names of the tables.
        checklists: How much of each is filled, in words.
    """

    figures: tuple[str, ...]
    tables: tuple[str, ...]
    checklists: Mapping[str, str]

    def __str__(self) -> str:
        lines = [
            f"Figures as {', '.join(f.upper() for f in FORMATS)}: {len(self.figures)}. "
            f"Tables as CSV, LaTeX and XLSX: {len(self.tables)}.",
            *(f"{name}: {words}" for name, words in self.checklists.items()),
        ]
        return "\n".join(lines)


def check_packages() -> None:
    """Say which packages are missing before hours of work end in it.

    Raises:
        UsageError: If the extra ``paper`` is not installed.
    """
    expect_packages(_NEEDED, extra="paper", purpose="figures and workbooks")


def write_paper(
    evaluation: Path,
    output: Path,
    *,
    name: str | None = None,
    contact: str | None = None,
    weights: Path | None = None,
) -> Paper:
    """Make the files that a paper needs of an evaluation.

    Args:
        evaluation: Folder that ``covidctnet evaluate`` or ``compare --readers -o`` filled.
        output: Receives ``figures/``, ``tables/``, ``checklists/``, the model card, a copy of the
            evaluation's pages, and ``README.md`` with the captions.
        name: Of the run; that of the evaluation by default.
        contact: Whom to ask; likewise.
        weights: Folder of the weights that were evaluated, to go into ``weights/`` with the model
            card.

    Raises:
        UsageError: If packages are missing, the folder is no evaluation, or the weights are others.
        StorageError: If the disk is full or refuses.
    """
    check_packages()
    plain = _json(evaluation / "evaluation.json", needed=True)
    card = _json(evaluation / "model-card.json", needed=False)
    run = RunFacts.of_plain(plain.get("run") or {})
    run = replace(
        run,
        name=run.name if name is None else name,
        contact=run.contact if contact is None else contact,
    )
    if output.resolve() == evaluation.resolve():
        raise UsageError(
            "expected a folder of its own for the paper, got that of the evaluation. Give another "
            "name, such as paper."
        )
    if weights is not None:
        _copy_weights(weights, output / "weights", plain.get("weights_digest"))
    for part in ("figures", "tables", "checklists", "evaluation"):
        make_folder(output / part)
    figures = draw_all(plain, _affected(evaluation / "predictions.csv"))
    if external := plain.get("external"):
        drawn = draw_all(external).items()
        figures |= {f"{EXTERNAL}{figure}": picture for figure, picture in drawn}
    for figure, picture in figures.items():
        for kind, content in files_of(picture).items():
            write_whole(output / "figures" / f"{figure}.{kind}", content)
    tables = _write_tables(evaluation / "tables", output / "tables", run)
    for file in sorted(evaluation.iterdir()):
        if file.is_file() and file.name in _COPIED:
            shutil.copyfile(file, output / file.name)
        # The pages link to one another and to the model card.
        if file.is_file() and file.suffix in (".html", ".json", ".svg", ".md"):
            shutil.copyfile(file, output / "evaluation" / file.name)
    there = [p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file()]
    lists: Mapping[str, Any] = {}
    if "overall" in plain:
        lists = fill(plain, card, there)
        folder = output / "checklists"
        for title, filled in lists.items():
            write_whole(folder / f"{_slug(title)}.md", as_markdown(title, filled, run))
        write_whole(folder / "checklists.csv", as_csv(lists))
        write_whole(output / "checklists.html", as_html(lists, run))
    if weights is not None and card:
        shutil.copyfile(evaluation / MODEL_CARD, output / "weights" / MODEL_CARD)
    shares = {title: share_filled(filled) for title, filled in lists.items()}
    made = Paper(tuple(figures), tuple(tables), shares)
    write_whole(output / "README.md", _readme(made, plain, run, output))
    return made


def _copy_weights(weights: Path, output: Path, digest: object) -> None:
    """Weights with their card; those that were not evaluated are refused."""
    from covidctnet.weights import load_weights

    found = load_weights(weights)
    if found.digest != digest:
        raise UsageError(
            f"expected the weights that were evaluated ({digest}), {weights.name!r} are others "
            f"({found.digest}). Give their folder."
        )
    make_folder(output)
    names = [entry.get("file", file) for file, entry in found.card["files"].items()]
    for file in (*names, MODEL_CARD, CARD):
        if (weights / file).is_file():
            shutil.copyfile(weights / file, output / file)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _json(file: Path, *, needed: bool) -> dict[str, Any]:
    try:
        if not file.is_file():
            raise FileNotFoundError
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        if not needed:
            return {}
        raise UsageError(
            f"expected the folder of an evaluation, {file.parent.name!r} has no {file.name}. Run "
            "covidctnet evaluate first and give its output."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{file.name} of the evaluation cannot be read ({type(error).__name__}). Evaluate "
            "again."
        ) from None
    return value


def _affected(file: Path) -> dict[str, list[float]]:
    """Affected lung in per cent by true class; nothing where no study tells it."""
    if not file.is_file():
        return {}
    names, *rows = read_rows(file.read_text(encoding="utf-8")) or [[]]
    if not {"truth", "affected_lung"} <= set(names):
        return {}
    truth, share = names.index("truth"), names.index("affected_lung")
    found: dict[str, list[float]] = {row[truth]: [] for row in rows}
    for row in rows:
        if row[share]:
            found[row[truth]].append(100 * float(row[share]))
    return found if any(found.values()) else {}


def _write_tables(source: Path, output: Path, run: RunFacts) -> list[str]:
    tables: dict[str, list[list[str]]] = {}
    for file in sorted(source.glob("*.csv")):
        text = file.read_text(encoding="utf-8")
        rows = read_rows(text)
        name = file.stem
        tables[name] = rows
        write_whole(output / file.name, text)
        made = latex(rows, caption=table_caption(name), label=_slug(name))
        write_whole(output / f"{name}.tex", made)
    write_whole(output / "tables.xlsx", workbook(tables, title=run.name or "covidctnet"))
    return list(tables)


def _readme(made: Paper, plain: Mapping[str, Any], run: RunFacts, output: Path) -> str:
    title = " ".join((run.name or "Evaluation").split())
    lines = [
        f"# {title}",
        f"{run.in_words}. {NOTICE}",
        f"Weights or answers: {plain.get('weights', '')} ({plain.get('weights_digest', '')}).",
        "## Figures",
        "\n".join(f"- `figures/{name}`: {figure_caption(name)}" for name in made.figures),
        "## Tables",
        "Each as `.csv` and `.tex` (booktabs; longtable where it is long), all in "
        "`tables/tables.xlsx`.",
        "\n".join(f"- `tables/{name}`: {table_caption(name)}" for name in made.tables),
    ]
    if made.checklists:
        lines += [
            "## Checklists",
            "In `checklists.html` and `checklists/`. Slots of the author are named there.",
            "\n".join(f"- {name}: {words}" for name, words in made.checklists.items()),
        ]
    if (output / "weights").is_dir():
        lines.append("The weights with their model card are in `weights/`.")
    lines.append(
        "The pages of the evaluation are in `evaluation/`; `evaluation/reviewers.html` answers "
        "what reviewers ask first."
    )
    return "\n\n".join(lines) + "\n"
