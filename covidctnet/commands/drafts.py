"""The command that drafts a cohort from an export and a table of labels."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from covidctnet.commands.common import Exit, existing
from covidctnet.errors import CohortError, UsageError
from covidctnet.progress import bar

__all__ = ["cohort"]


def cohort(
    export: str,
    *,
    output: Annotated[str, "-o"] = "cohort.csv",
    table: str | None = None,
    sheet: str = "",
    join: str = "",
    label_column: str = "",
    map: Sequence[str] = (),
    partial: bool = False,
    system: str | None = None,
) -> int:
    """Draft cohort.csv from an export and a table of labels.

    Args:
        export: Folder of DICOM, flat or nested; other scans are taken by their names.
        output: The table to write; it names patients as the headers do and stays on your machine.
        table: Labels as .csv or .xlsx; without them the column label stays empty.
        sheet: Sheet of an .xlsx that has several.
        join: Column that finds the study of a label: accession, patient or study (UID), with
            =COLUMN where its name does not tell; by default found by name and content.
        label_column: Column of the label; by default found by name and content.
        map: What other words stand for, such as "Pneumonia=CAP".
        partial: Leave out studies without a label, and labels without a study.
        system: Whose classes the labels are; by default Control, Covid-19 and CAP.
    """
    from covidctnet.classes import CHEST_CT
    from covidctnet.cohort.draft import draft_cohort
    from covidctnet.cohort.mistakes import listed

    classes = CHEST_CT
    if system is not None:
        from covidctnet.registry import find_system

        classes = find_system(system).classes
    target = Path(output)
    if target.is_dir():
        raise UsageError(f"expected the name of a table, {output!r} is a folder. Name a file.")
    if target.exists():
        raise UsageError(
            f"expected a new name for the table, {target.name!r} is there and may have been edited."
            " Move it away, or name another with -o."
        )
    with bar("reading headers") as progress:
        draft = draft_cohort(
            existing(export),
            target,
            table=existing(table) if table is not None else None,
            sheet=sheet,
            join=join,
            label_column=label_column,
            relabel=map,
            partial=partial,
            classes=classes,
            progress=progress,
        )
    if listed_mistakes := listed(draft.mistakes):
        sys.stdout.write(f"{listed_mistakes}\n")
    gaps = sum(one.kind == "gap" for one in draft.mistakes)
    if not draft.rows:
        wrong = gaps + sum(one.kind == "mistake" for one in draft.mistakes)
        hint = "; --partial leaves out what is missing on one side" if gaps and not partial else ""
        raise CohortError(
            f"{target.name} was not written: {_things(wrong)} to be corrected, see the list above"
            f"{hint}"
        )
    draft.write(target)
    labels = ", ".join(f"{draft.labels.get(t, 0)} {t}" for t in classes.titles)
    sys.stdout.write(
        f"{len(draft.rows) - 1} of {draft.studies} studies in {target.name}"
        + (f"; patients: {labels}" if table else "; fill the column label")
        + "\nIt names patients as the headers do: keep it on this machine.\n"
    )
    return Exit.SOME_FAILED if gaps else Exit.OK


def _things(count: int) -> str:
    return "1 thing is" if count == 1 else f"{count} things are"
