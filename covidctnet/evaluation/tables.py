"""Comparisons in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.evaluation.compare import Comparison, ReaderMean, ReaderScores
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.multireader import Conditions
from covidctnet.evaluation.published import FIGURES, PUBLISHED, READERS, READERS_CASES
from covidctnet.evaluation.reader_study import ConditionStudy, ReaderStudy

__all__ = [
    "against_words",
    "agreement_words",
    "comparison_table",
    "condition_words",
    "difference_words",
    "readers_table",
    "study_tables",
]

_ACCURACY = "accuracy, all classes"


def comparison_table(result: Comparison) -> str:
    """The first set of answers against the second."""
    first, second = result.accuracy
    lines = [
        f"{_whom(result.n, result.patients)} answered by both"
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
        "comparisons." + _by_patient(result.n, result.patients),
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
    lines += ["", "The mean's interval is over resampled patients, with the same readers."]
    lines += [
        f"{one.name} labels {one.unknown} studies that were not evaluated: other "
        "cases, or ids misspelt."
        for one in readers
        if one.unknown
    ]
    return "\n".join(lines)


def study_tables(study: ReaderStudy) -> str:
    """Readers of every condition, their agreement, and the comparisons."""
    parts = [f"{_whom(study.n, study.patients)}.{_by_patient(study.n, study.patients)}"]
    for one in study.conditions:
        if one.condition:
            parts.append(f"Condition: {one.condition}")
        parts += [readers_table(one.scores, one.means, study.model, study.classes)]
        parts += [agreement_words(one), against_words(one)]
    parts += [condition_words(pair, found) for pair, found in study.compared.items()]
    parts += [f"{first} against {second}: {why}." for (first, second), why in study.why_not.items()]
    return "\n\n".join(part for part in parts if part)


def agreement_words(one: ConditionStudy) -> str:
    """Kappa of every two readers and of all."""
    if one.agreement.readers < 2:
        return "Agreement of readers is not estimable: there is one reader."
    pairs = "; ".join(f"{p.first} and {p.second} {p.kappa}" for p in one.agreement.pairs)
    return (
        f"Agreement beyond chance, on cases that both read (Cohen's kappa): {pairs}. All "
        f"{one.agreement.readers} readers, on cases that all of them read (Fleiss' kappa): "
        f"{one.agreement.all_readers}."
    )


def against_words(one: ConditionStudy) -> str:
    """The model minus the readers."""
    told = "; ".join(
        f"{name} {difference_words(gap)}, p {_p(p)}" for name, (gap, p) in one.differences.items()
    )
    return (
        f"Model minus mean of the readers, for other readers and cases like these (bootstrap over "
        f"readers and cases): {told}."
    )


def condition_words(pair: tuple[str, str], found: Conditions) -> str:
    """One condition against another."""
    first, second = pair
    return (
        f"Area under the ROC curve, mean of {found.readers} readers on {found.n} cases that all of "
        f"them read in both conditions: {first} {found.first}, {second} {found.second}; difference "
        f"{difference_words(found.difference)}, p {_p(found.p)} (Obuchowski-Rockette)."
    )


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
    return f"| {cell(name)} | {' | '.join(cells)} | {skipped} | {p_value} |"


def cell(text: str) -> str:
    """Text that does not end a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _whom(studies: int, patients: int) -> str:
    if studies == patients:
        return f"{studies} patients"
    return f"{studies} studies of {patients} patients"


def _by_patient(studies: int, patients: int) -> str:
    """What became of patients with several studies, behind a blank; or nothing."""
    if studies == patients:
        return ""
    return " Intervals and tests are by patient: all studies of a patient count together."


def _p(value: float) -> str:
    return "not estimable" if value != value else f"{value:.3g}"


def difference_words(gap: Estimate) -> str:
    """A difference with its sign and its interval."""
    if gap.low != gap.low:
        return "not estimable" if gap.value != gap.value else f"{gap.value:+.3f} (no interval)"
    return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
