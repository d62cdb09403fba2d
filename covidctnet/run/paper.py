"""From the folder of an evaluation to a folder for a paper: figures, tables, checklists."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from covidctnet.cohort.pseudonyms import IDS_FILE
from covidctnet.errors import UsageError
from covidctnet.evaluation.external import EXTERNAL as _EXTERNAL_FOLDER
from covidctnet.files import make_folder, table_text, write_whole
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
_COPIED = ("model-card.md", "model-card.json")
_ANSWERS = "predictions.csv"
# What tells most of a single patient, such as age and sex, stays with the evaluation.
_TRAIT = "trait_"
# Pages link to one another and to the model card.
_PAGES = (".html", ".json", ".svg", ".md")
_FILES = "files.json"
"""What the command wrote, so that a later run knows what is no longer of the evaluation."""


class _Folder:
    """The folder of a paper; files of an earlier run that are not written again are removed.

    Args:
        root: The folder; files in it that the command did not write stay.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before = _names_in(root / _FILES)
        self.files: set[str] = set()

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file, whole or not at all."""
        make_folder((self._root / name).parent)
        write_whole(self._root / name, content)
        self.files.add(name)

    def copy(self, source: Path, name: str) -> None:
        """Copy a file."""
        try:
            content = source.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{source.name} cannot be read ({error.strerror}). Check its rights, or evaluate "
                "again."
            ) from None
        self.write(name, content)

    def copy_answers(self, source: Path, name: str) -> None:
        """Copy a table of answers without the traits of single patients."""
        names, *rows = read_rows(source.read_text(encoding="utf-8")) or [[]]
        kept = [place for place, title in enumerate(names) if not title.startswith(_TRAIT)]
        self.write(name, table_text([[row[k] for k in kept] for row in (names, *rows)]))

    def finish(self) -> None:
        """Remove what an earlier run wrote and this one did not, and keep the list."""
        for name in sorted(self._before - self.files):
            with contextlib.suppress(OSError):
                (self._root / name).unlink()
        files = sorted({*self.files, _FILES})
        write_whole(self._root / _FILES, json.dumps({"files": files}, indent=1) + "\n")


def _names_in(file: Path) -> set[str]:
    """Names of an earlier run, none of them outside of the folder."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["files"]
        paths = [PurePosixPath(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {
        path.as_posix()
        for path in paths
        if not path.is_absolute() and ".." not in path.parts and path.name != _FILES
    }


class Paper(NamedTuple):
    """What a paper folder got.

    Attributes:
        figures: Names of the figures.
        tables: Names of the tables.
        checklists: How much of each is filled, in words.
        has_answers: Whether there is a table of every answer.
    """

    figures: tuple[str, ...]
    tables: tuple[str, ...]
    checklists: Mapping[str, str]
    has_answers: bool = False

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
            evaluation's pages, those of an external test among them, its answers without traits of
            single patients, and ``README.md`` with the captions. What an earlier run wrote into it
            and this one does not is removed.
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
    folder = _Folder(output)
    if weights is not None:
        _copy_weights(weights, folder, plain.get("weights_digest"))
    figures = draw_all(plain, _affected(evaluation / _ANSWERS))
    # Without figures of an external test the folder is one of an earlier evaluation.
    external, apart = plain.get("external"), evaluation / _EXTERNAL_FOLDER
    if external:
        drawn = draw_all(external, _affected(apart / _ANSWERS)).items()
        figures |= {f"{EXTERNAL}{figure}": picture for figure, picture in drawn}
    for figure, picture in figures.items():
        for kind, content in files_of(picture).items():
            folder.write(f"figures/{figure}.{kind}", content)
    tables = _tables_of(evaluation / "tables", "")
    _copy_pages(evaluation, folder, "evaluation")
    for name in _COPIED:
        if (evaluation / name).is_file():
            folder.copy(evaluation / name, name)
    if (evaluation / _ANSWERS).is_file():
        folder.copy_answers(evaluation / _ANSWERS, _ANSWERS)
    if external:
        tables |= _tables_of(apart / "tables", EXTERNAL)
        _copy_pages(apart, folder, f"evaluation/{_EXTERNAL_FOLDER}")
        if (apart / _ANSWERS).is_file():
            folder.copy_answers(apart / _ANSWERS, f"{EXTERNAL}{_ANSWERS}")
    _write_tables(tables, folder, run)
    lists: Mapping[str, Any] = {}
    if "overall" in plain:
        # Its links are to the captions too, which are written last.
        lists = fill(plain, card, {*folder.files, "README.md"})
        for title, filled in lists.items():
            folder.write(f"checklists/{_slug(title)}.md", as_markdown(title, filled, run))
        folder.write("checklists/checklists.csv", as_csv(lists))
        folder.write("checklists.html", as_html(lists, run))
    if weights is not None and card:
        folder.copy(evaluation / MODEL_CARD, f"weights/{MODEL_CARD}")
    shares = {title: share_filled(filled) for title, filled in lists.items()}
    made = Paper(tuple(figures), tuple(tables), shares, _ANSWERS in folder.files)
    folder.write("README.md", _readme(made, plain, run, has_weights=weights is not None))
    folder.finish()
    return made


def _copy_pages(evaluation: Path, folder: _Folder, name: str) -> None:
    for file in sorted(evaluation.iterdir()) if evaluation.is_dir() else ():
        if file.is_file() and file.suffix in _PAGES and file.name != IDS_FILE:
            folder.copy(file, f"{name}/{file.name}")


def _copy_weights(weights: Path, folder: _Folder, digest: object) -> None:
    """Weights with their card; those that were not evaluated are refused."""
    from covidctnet.weights import load_weights

    found = load_weights(weights)
    if found.digest != digest:
        raise UsageError(
            f"expected the weights that were evaluated ({digest}), {weights.name!r} are others "
            f"({found.digest}). Give their folder."
        )
    names = [entry.get("file", file) for file, entry in found.card["files"].items()]
    for file in (*names, MODEL_CARD, CARD):
        if (weights / file).is_file():
            folder.copy(weights / file, f"weights/{file}")


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


def _tables_of(source: Path, prefix: str) -> dict[str, str]:
    """Text of the tables of an evaluation, by name."""
    files = sorted(source.glob("*.csv"))
    return {f"{prefix}{file.stem}": file.read_text(encoding="utf-8") for file in files}


def _write_tables(tables: Mapping[str, str], folder: _Folder, run: RunFacts) -> None:
    found = {name: read_rows(text) for name, text in tables.items()}
    for name, rows in found.items():
        folder.write(f"tables/{name}.csv", tables[name])
        made = latex(rows, caption=table_caption(name), label=_slug(name))
        folder.write(f"tables/{name}.tex", made)
    folder.write("tables/tables.xlsx", workbook(found, title=run.name or "covidctnet"))


def _whose(plain: Mapping[str, Any]) -> str:
    """Whose answers they are."""
    name, digest = plain.get("weights", ""), plain.get("weights_digest", "")
    return f"Weights: `{name}`, digest {digest}." if digest else f"Answers: `{name}`."


def _readme(made: Paper, plain: Mapping[str, Any], run: RunFacts, *, has_weights: bool) -> str:
    title = " ".join((run.name or "Evaluation").split())
    lines = [
        f"# {title}",
        f"{run.in_words}. {NOTICE}",
        _whose(plain),
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
    if made.has_answers:
        lines.append(
            "`predictions.csv` has every answer by pseudonym, without age, sex and the other "
            "traits of single patients, which stay with the evaluation."
        )
    if has_weights:
        lines.append("The weights with their model card are in `weights/`.")
    lines.append(
        "The pages of the evaluation are in `evaluation/`; `evaluation/reviewers.html` answers "
        "what reviewers ask first."
    )
    return "\n\n".join(lines) + "\n"
