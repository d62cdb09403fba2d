"""The parts of an evaluation's page that stand next to its figures."""

from __future__ import annotations

from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from covidctnet.evaluation.characteristics import Characteristics, Line, shown
from covidctnet.evaluation.external import external_words
from covidctnet.evaluation.precision import WIDTHS
from covidctnet.evaluation.supplement import Supplement
from covidctnet.report.evaluation_words import trait_words

__all__ = ["render_supplement"]


def render_supplement(found: Supplement | None, *, target: str) -> dict[str, Markup]:
    """Pieces of a page, all text escaped.

    Args:
        found: What they show; None gives empty pieces.
        target: The class that sensitivity and specificity are of.

    Returns:
        ``head``: notes, the external test, the patients, the sample size; ``fairness``.
    """
    if found is None:
        return {"head": Markup(""), "fairness": Markup("")}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("covidctnet.report").joinpath("supplement.html").read_text(encoding="utf-8")
    )
    return {
        part: Markup(
            template.render(
                part=part,
                found=found,
                target=target,
                widths=[f"{width:g}" for width in WIDTHS],
                words=trait_words,
                breakable=_breakable,
                grouped=_grouped,
                gap=shown,
                external_words=external_words,
            )
        )
        for part in ("head", "fairness")
    }


def _grouped(table: Characteristics) -> list[tuple[str, list[Line]]]:
    return [(trait, list(lines)) for trait, lines in groupby(table.lines, key=lambda x: x.trait)]


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line behind an underscore."""
    return Markup("_<wbr>").join(name.split("_"))
