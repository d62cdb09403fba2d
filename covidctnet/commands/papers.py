"""What is made of an evaluation for a paper."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from pathlib import Path

from covidctnet.commands.common import NOTICE, Output, existing

__all__ = ["paper"]


def paper(
    evaluation: str,
    *,
    output: Output = "paper",
    name: str | None = None,
    contact: str | None = None,
    weights: str | None = None,
) -> None:
    """Make figures, tables and checklists for a paper from an evaluation.

    Args:
        evaluation: Output of covidctnet evaluate, or of compare --readers.
        output: Folder for figures (SVG, PDF, PNG of 300 dots an inch), tables (CSV, LaTeX, XLSX),
            checklists, the model card.
        name: Of the run; that of the evaluation by default.
        contact: Whom to ask about it; likewise.
        weights: Folder of the weights that were evaluated, to be copied with the model card.
    """
    from covidctnet.run.paper import write_paper

    made = write_paper(
        existing(evaluation),
        Path(output),
        name=name,
        contact=contact,
        weights=existing(weights) if weights else None,
    )
    sys.stdout.write(f"{made}\n{NOTICE}\n")
