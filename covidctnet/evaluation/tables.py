"""Comparisons in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covidctnet.evaluation.compare import Comparison, ReaderScores
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.published import FIGURES, PUBLISHED, READERS

__all__ = ["comparison_table", "readers_table"]

_TITLES = {
    "accuracy": "accuracy, three classes",
    "covid_accuracy": "accuracy, Covid-19 v. rest",
    "sensitivity": "sensitivity, Covid-19",
    "specificity": "specificity, Covid-19",
}


def comparison_table(found: Comparison) -> str:
    """The first set of answers against the second."""
    first, second = found.accuracy
    lines = [
        f"{found.n} patients answered by both"
        + (f"; {found.left_out} answered by one only, left out." if found.left_out else "."),
        "",
        "| figure | first | second | difference | p |",
        "|---|---|---|---|---|",
        f"| accuracy, three classes | {first} | {second} | right where the other is wrong: "
        f"{found.discordant[0]} v. {found.discordant[1]} | {found.p_accuracy:.3g} (McNemar) |",
        *(
            f"| AUC {label} | | | {_difference(gap)} | {p_value:.3g} (DeLong) |"
            for label, (gap, p_value) in found.auc.items()
        ),
        f"| AUC, mean over classes | | | {_difference(found.macro_auc)} | (bootstrap interval) |",
        "",
        "Differences are first minus second, with 95 % intervals. No correction for the number of "
        "comparisons.",
    ]
    return "\n".join(lines)


def readers_table(
    readers: Sequence[ReaderScores], means: Mapping[str, float], model: ReaderScores
) -> str:
    """The model, readers and the paper, a row each."""
    lines = [
        f"| who | {' | '.join(_TITLES.values())} | cases skipped |",
        "|---" * (2 + len(FIGURES)) + "|",
    ]
    for one in (model, *readers):
        cells = [str(getattr(one, name)) for name in FIGURES]
        lines.append(f"| {one.name} | {' | '.join(cells)} | {one.skipped} |")
    if readers:
        cells = [f"{means[n]:.3f}" if n in means else "not estimable" for n in FIGURES]
        lines.append(f"| mean of {len(readers)} readers | {' | '.join(cells)} | |")
    for name, figures in PUBLISHED.items():
        cells = [str(figures[figure]) for figure in FIGURES]
        lines.append(f"| {name} (its cases, not these) | {' | '.join(cells)} | |")
    cells = [f"{READERS[figure]:.3f}" for figure in FIGURES]
    lines.append(f"| CovidCTNet paper, mean of 4 radiologists | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _difference(gap: Estimate) -> str:
    if gap.low != gap.low:
        return "not estimable" if gap.value != gap.value else f"{gap.value:+.3f} (no interval)"
    return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
