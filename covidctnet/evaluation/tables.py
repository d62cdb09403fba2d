"""Comparisons in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.evaluation.compare import Comparison, ReaderMean, ReaderScores
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.published import FIGURES, PUBLISHED, READERS, READERS_CASES

__all__ = ["comparison_table", "difference_words", "readers_table"]

_ACCURACY = "accuracy, all classes"


def comparison_table(result: Comparison) -> str:
    """The first set of answers against the second."""
    first, second = result.accuracy
    lines = [
        f"{result.n} patients answered by both"
        + (f"; {result.left_out} answered by one only, left out." if result.left_out else "."),
        "",
        "| figure | first | second | difference | p |",
        "|---|---|---|---|---|",
        f"| {_ACCURACY} | {first} | {second} | right where the other is wrong: "
        f"{result.discordant[0]} v. {result.discordant[1]} | {_p(result.p_accuracy)} (McNemar) |",
        *(
            f"| AUC {label} | | | {difference_words(gap)} | {_p(p_value)} (DeLong) |"
            for label, (gap, p_value) in result.auc.items()
        ),
        f"| AUC, mean over classes | | | {difference_words(result.macro_auc)} | "
        "(bootstrap interval) |",
        "",
        "Differences are first minus second, with 95 % intervals. No correction for the number of "
        "comparisons.",
    ]
    return "\n".join(lines)


def readers_table(
    readers: Sequence[ReaderScores],
    means: Mapping[str, ReaderMean],
    model: ReaderScores,
    classes: Classes = CHEST_CT,
) -> str:
    """The model and readers, a row each; and the paper, where its classes are distinguished."""
    target = classes.target
    titles = (
        _ACCURACY,
        f"accuracy, {target} v. rest",
        f"sensitivity, {target}",
        f"specificity, {target}",
    )
    lines = [
        f"| who | {' | '.join(titles)} | cases skipped | p, accuracy v. model |",
        "|---" * (3 + len(FIGURES)) + "|",
        _reader_row("model", model, "", ""),
    ]
    for one in readers:
        lines.append(
            _reader_row(one.name, one, str(one.skipped), f"{_p(one.p_accuracy)} (McNemar)")
        )
        if one.skipped and one.model:
            lines.append(_reader_row(f"model, on the cases of {one.name}", one.model, "", ""))
    cells = [
        f"{means[name].figure}"
        + (f", {means[name].readers} of them" if means[name].readers < len(readers) else "")
        for name in FIGURES
    ]
    lines.append(f"| mean of {len(readers)} readers | {' | '.join(cells)} | | |")
    if classes == CHEST_CT:
        lines += _paper_rows()
    lines += ["", "The mean's interval is over resampled cases, with the same readers."]
    lines += [
        f"{one.name.capitalize()} labels {one.unknown} studies that were not evaluated: other "
        "cases, or ids misspelt."
        for one in readers
        if one.unknown
    ]
    return "\n".join(lines)


def _paper_rows() -> list[str]:
    rows = []
    for name, figures in PUBLISHED.items():
        cells = [str(figures[figure]) for figure in FIGURES]
        rows.append(f"| {name} (its cases, not these) | {' | '.join(cells)} | | |")
    cells = [f"{READERS[figure]:.3f}" for figure in FIGURES]
    rows.append(
        f"| CovidCTNet paper, mean of 4 radiologists (its {READERS_CASES} cases) | "
        f"{' | '.join(cells)} | | |"
    )
    return rows


def _reader_row(name: str, one: ReaderScores, skipped: str, p_value: str) -> str:
    cells = [str(getattr(one, figure)) for figure in FIGURES]
    return f"| {name} | {' | '.join(cells)} | {skipped} | {p_value} |"


def _p(value: float) -> str:
    return "not estimable" if value != value else f"{value:.3g}"


def difference_words(gap: Estimate) -> str:
    """A difference with its sign and its interval."""
    if gap.low != gap.low:
        return "not estimable" if gap.value != gap.value else f"{gap.value:+.3f} (no interval)"
    return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
