"""Checklists of reporting, filled as far as a run knows; the other slots are named for the author.

Only what the run itself shows is filled in, with the place that shows it. An item of which the run
knows a part counts as such and not as filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import escape

from covidctnet.files import table_text
from covidctnet.report.checklist_fillers import FILLERS
from covidctnet.report.checklist_items import CHECKLISTS, REFERENCES, Item
from covidctnet.report.checklist_known import Known
from covidctnet.report.run_facts import RunFacts

__all__ = ["Filled", "as_csv", "as_html", "as_markdown", "fill", "share_filled"]

Status = Literal["filled", "partly", "author"]
AUTHOR = "TO DO by the author"


@dataclass(frozen=True)
class Filled:
    """An item of a checklist with what is known.

    Attributes:
        item: What is asked.
        status: ``filled``, ``partly`` or ``author``.
        answer: What the run knows; empty for the author's items.
        where: File that shows it, relative to the paper folder.
    """

    item: Item
    status: Status
    answer: str
    where: str


Lists = Mapping[str, tuple[Filled, ...]]


def fill(plain: Mapping[str, Any], card: Mapping[str, Any], files: Iterable[str]) -> Lists:
    """Fill the checklists.

    Args:
        plain: What ``evaluation.json`` holds.
        card: What ``model-card.json`` holds; empty for answers made elsewhere.
        files: Names of the files in the paper folder.

    Returns:
        By name of the checklist.
    """
    known = Known(plain, card, frozenset(files))
    return {name: tuple(_fill(item, known) for item in items) for name, items in CHECKLISTS.items()}


def _fill(item: Item, known: Known) -> Filled:
    found = FILLERS[item.known](known) if item.known else None
    if found is None:
        return Filled(item, "author", "", "")
    return Filled(item, "partly" if item.is_partly else "filled", *found)


def share_filled(filled: Iterable[Filled]) -> str:
    """How much of a checklist is filled, in words."""
    items = list(filled)
    count = {s: sum(one.status == s for one in items) for s in ("filled", "partly", "author")}
    return (
        f"{count['filled']} of {len(items)} items filled, {count['partly']} in part, "
        f"{count['author']} for the author"
    )


def as_markdown(name: str, filled: Iterable[Filled], run: RunFacts) -> str:
    """A checklist for reading."""
    items = list(filled)
    lines = [
        f"# {name}",
        _line(run.in_words),
        f"{share_filled(items)}. {_whose_words(name)}",
        "| item | asks for | status | what the run knows | where |",
    ]
    rows = ["|---|---|---|---|---|"]
    for one in items:
        cells = (one.item.number, one.item.words, one.status, _answer(one), one.where)
        rows.append("| " + " | ".join(map(_line, cells)) + " |")
    return "\n\n".join(lines) + "\n" + "\n".join(rows) + "\n"


def _whose_words(name: str) -> str:
    """Where the checklist itself is: what stands here are not its words."""
    return (
        "The wording of the items is ours and was not compared with the published list: read that "
        f"too, and hand in the form of the journal. {name}: {REFERENCES[name]}."
    )


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _answer(one: Filled) -> str:
    if one.status == "author":
        return AUTHOR
    return f"{one.answer} {AUTHOR}: the rest." if one.status == "partly" else one.answer


def as_csv(lists: Lists) -> str:
    """All checklists in one table."""
    rows: list[tuple[str, ...]] = [("checklist", "item", "asks_for", "status", "answer", "where")]
    for name, items in lists.items():
        for one in items:
            rows.append((name, one.item.number, one.item.words, one.status, one.answer, one.where))
    return table_text(rows)


def as_html(lists: Lists, run: RunFacts) -> str:
    """All checklists on one page, with links to what shows the answers."""
    parts = [_HEAD, f"<h1>Checklists</h1><p>{escape(run.in_words)}</p>"]
    for name, items in lists.items():
        parts.append(f"<h2>{escape(name)}</h2><p>{escape(share_filled(items))}. ")
        parts.append(f"{escape(_whose_words(name))}</p><table>")
        parts.append("<tr><th>Item</th><th>Asks for</th><th>Answer</th><th>Where</th></tr>")
        for one in items:
            link = f'<a href="{escape(one.where)}">{escape(one.where)}</a>' if one.where else ""
            parts.append(
                f'<tr class="{one.status}"><td>{escape(one.item.number)}</td>'
                f"<td>{escape(one.item.words)}</td><td>{escape(_answer(one))}</td>"
                f"<td>{link}</td></tr>"
            )
        parts.append("</table>")
    return "\n".join([*parts, "</body></html>", ""])


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Checklists</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.45 system-ui, Helvetica, Arial, sans-serif; max-width: 72rem;
  margin: 1.5rem auto; padding: 0 1rem; color: #16191d; background: #fff; }
table { border-collapse: collapse; width: 100%; } tr { break-inside: avoid; }
th, td { border: 1px solid #d0d4d9; padding: .3rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { white-space: nowrap; }
td:first-child { white-space: nowrap; } td:nth-child(4) { width: 22%; }
.author td:nth-child(3) { background: #fff3d6; font-weight: 600; }
.partly td:nth-child(3) { background: #fffaf0; }
@media print { body { font-size: 9pt; margin: 0; max-width: none; } }
</style></head><body>"""
