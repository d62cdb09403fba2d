"""What stands next to the figures of an assessment: who the patients are, an external test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.characteristics import Characteristics, Patient, characteristics
from covidctnet.evaluation.external import ExternalTest
from covidctnet.evaluation.fairness import Disparity, disparities
from covidctnet.evaluation.output import plain_estimate
from covidctnet.evaluation.precision import WIDTHS, Precision, precision
from covidctnet.results import Prediction

__all__ = ["Supplement", "by_class", "supplement"]

Rows = list[Sequence[object]]


@dataclass(frozen=True, eq=False)
class Supplement:
    """What a report shows besides.

    Attributes:
        precision: What so many patients can show.
        disparities: How far groups lie apart.
        tables: Who the patients are: by split, by class.
        external: The external test next to the internal one, which the assessment is; or None.
        is_external: Whether the assessment is of an external test itself.
        is_checked: See `covidctnet.evaluation.external.ExternalTest`.
        notes: Sentences on how the figures came about.
        facts: What else JSON holds, by name.
    """

    precision: tuple[Precision, ...]
    disparities: tuple[Disparity, ...]
    tables: tuple[Characteristics, ...] = ()
    external: ExternalTest | None = None
    is_external: bool = False
    is_checked: bool = True
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "is_external": self.is_external,
            "notes": list(self.notes),
            "patients_described": {table.by: table.as_plain() for table in self.tables},
            "precision": [
                {
                    "figure": one.figure,
                    "counted": one.counted,
                    **plain_estimate(one.estimate),
                    "needed": {f"{width:g}": n for width, n in one.needed.items()},
                }
                for one in self.precision
            ],
            "disparities": [
                {
                    "trait": one.trait,
                    "figure": one.figure,
                    "lowest": one.lowest,
                    "highest": one.highest,
                    "gap": plain_estimate(one.gap),
                    "groups": one.groups,
                    "not_estimable": one.not_estimable,
                }
                for one in self.disparities
            ],
            "external": self.external.as_plain() if self.external else None,
            **self.facts,
        }

    def sheets(self) -> dict[str, Rows]:
        """By the name of its file."""
        out: dict[str, Rows] = {f"patients-by-{t.by}.csv": _long(t) for t in self.tables}
        needed = [f"n_for_width_{width:g}" for width in WIDTHS]
        out["precision.csv"] = [
            ("figure", "counted", "value", "low", "high", "n", "width", *needed),
            *(
                (
                    one.figure,
                    one.counted,
                    *_numbers(one.estimate.value, one.estimate.low, one.estimate.high),
                    one.estimate.n,
                    *_numbers(one.width),
                    *("" if n is None else n for n in one.needed.values()),
                )
                for one in self.precision
            ),
        ]
        out["disparities.csv"] = [
            ("trait", "figure", "lowest", "highest", "gap", "low", "high", "n", "groups",
             "not_estimable"),
            *(
                (
                    one.trait,
                    one.figure,
                    one.lowest,
                    one.highest,
                    *_numbers(one.gap.value, one.gap.low, one.gap.high),
                    one.gap.n,
                    one.groups,
                    one.not_estimable,
                )
                for one in self.disparities
            ),
        ]  # fmt: skip
        if self.external:
            out["external.csv"] = self.external.table()
        return out

    def markdown(self) -> str:
        """The parts that a terminal shows."""
        parts = list(self.notes)
        if self.external:
            parts.append(self.external.markdown())
        for table in self.tables:
            heads, *rows = table.rows()
            lines = [
                f"Patients by {table.by} (numbers: mean (standard deviation); median [quartiles])",
                "",
                f"| {' | '.join(heads)} |",
                "|---" * len(heads) + "|",
            ]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
            parts.append("\n".join(lines))
        lines = [
            f"| figure | width of the interval | {' | '.join(f'n for {w:g}' for w in WIDTHS)} |",
            "|---" * (2 + len(WIDTHS)) + "|",
        ]
        for one in self.precision:
            cells = [in_words(n) for n in one.needed.values()]
            lines.append(f"| {one.figure} | {width_words(one)} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
        return "\n\n".join(parts)


def supplement(
    assessment: Assessment,
    cases: Sequence[Case],
    *,
    patients: Iterable[Patient] = (),
    splits: Sequence[str] = (),
    **rest: Any,
) -> Supplement:
    """What a report shows besides the figures of an assessment.

    Args:
        assessment: The figures.
        cases: That they are of.
        patients: Of the whole cohort, by split; of one split only they are left out.
        splits: In the order of the columns.
        rest: Further fields of `Supplement`.
    """
    tables = [by_class(assessment, cases)]
    by_split = characteristics(patients, by="split", groups=splits)
    if len(by_split.groups) > 1:
        tables.insert(0, by_split)
    return Supplement(precision(assessment), disparities(assessment.strata), tuple(tables), **rest)


def by_class(assessment: Assessment, cases: Iterable[Case]) -> Characteristics:
    """The patients of an assessment, by what they have; those without an answer too."""
    normal = assessment.classes.normal_label
    order = [normal, *(label for label in assessment.classes if label is not normal)]
    cases, patients = list(cases), []
    some_failed = not all(isinstance(case.outcome, Prediction) for case in cases)
    for case in cases:
        traits: dict[str, str | float] = {"site": case.site, **case.traits}
        if some_failed:
            is_answered = isinstance(case.outcome, Prediction)
            traits["answer"] = "given" if is_answered else "none"
        title = assessment.classes.parse(case.truth.title).title
        patients.append(Patient(case.patient or case.study, title, traits))
    return characteristics(patients, by="class", groups=[label.title for label in order])


def width_words(one: Precision) -> str:
    """The width of an interval with its n."""
    if one.width != one.width:
        return f"not estimable (n={one.estimate.n})"
    return f"{one.width:.3f} (n={one.estimate.n} {one.counted})"


def in_words(needed: int | None) -> str:
    """How many patients it takes."""
    return "not estimable" if needed is None else str(needed)


def _long(table: Characteristics) -> Rows:
    """A row a line and a group."""
    rows: Rows = [
        ("trait", "value", "group", "patients", "n", "of", "mean", "standard_deviation",
         "lower_quartile", "median", "upper_quartile", "standardised_difference")
    ]  # fmt: skip
    for line in table.lines:
        for place, (group, cell) in enumerate(zip(table.groups, line.cells, strict=True)):
            gaps = line.differences[place : place + 1] if place else ()
            rows.append(
                (
                    line.trait,
                    line.value,
                    group,
                    table.patients[place],
                    cell.n,
                    cell.of,
                    *_numbers(cell.mean, cell.deviation, *cell.quartiles),
                    *(_numbers(*gaps) or ("",)),
                )
            )
    return rows


def _numbers(*values: float) -> tuple[str, ...]:
    return tuple("" if value != value else f"{value:.6g}" for value in values)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
