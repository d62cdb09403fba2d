"""The page of a comparison with human readers: points in the ROC, tables, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from covidctnet.classes import Label
from covidctnet.evaluation.reader_study import ReaderStudy
from covidctnet.evaluation.tables import against_words, agreement_words, condition_words
from covidctnet.report.charts import INK, Plot, colour_of, no_band
from covidctnet.report.evaluation_words import NOTICE
from covidctnet.report.paper_tables import for_print
from covidctnet.report.run_facts import RunFacts

__all__ = ["reader_points", "render_readers"]

_RADIUS = 8.0


def reader_points(study: ReaderStudy) -> tuple[str, list[str]]:
    """The ROC curve of the model with a numbered dot for each reader.

    Returns:
        The chart as SVG, and who is who, in the order of the numbers. A reader without cases of
        both kinds has no dot.
    """
    target: Label = study.classes.target
    curve = study.roc
    told = [(part, one) for part in study.conditions for one in part.scores]
    names, dots = [], []
    for part, one in told:
        if one.sensitivity.n and one.specificity.n:
            dots.append((1 - one.specificity.value, one.sensitivity.value))
            condition = f", {part.condition}" if part.condition else ""
            names.append(
                f"{one.name}{condition}: sensitivity {one.sensitivity}, specificity "
                f"{one.specificity}"
            )
    plot = Plot(
        f"{target}: model and readers",
        f"ROC curve of the model for {target} with {len(dots)} readers"
        + (no_band(curve) if curve else ""),
        x_title="1 − specificity",
        y_title="sensitivity",
        subtitle="curve: the model; numbered dots: readers",
        size=(430.0, 420.0),
    )
    plot.diagonal()
    if curve:
        plot.curve(curve, colour_of(target))
    taken: dict[tuple[float, float], int] = {}
    for number, dot in enumerate(dots, start=1):
        x, y = plot.at(*dot)
        # Readers at the same place lie side by side.
        same = taken.setdefault((round(x), round(y)), 0)
        taken[round(x), round(y)] += 1
        x += same * 2 * _RADIUS
        plot.drawing.dot((x, y), _RADIUS, INK)
        plot.drawing.text(
            (x, y + 4), str(number), size=11, bold=True, colour="var(--card, #ffffff)"
        )
    return str(plot), names


def render_readers(
    study: ReaderStudy,
    tables: Mapping[str, Sequence[Sequence[object]]],
    run: RunFacts,
    *,
    comparison: str = "",
) -> bytes:
    """The page in UTF-8: no scripts, nothing fetched.

    Args:
        study: What it shows.
        tables: By name of their file, the line of names first.
        run: What is said of the run.
        comparison: Of two sets of answers, as text.
    """
    chart, names = reader_points(study)
    words = []
    for one in study.conditions:
        title = f"{one.condition}: " if one.condition else ""
        words += [f"{title}{agreement_words(one)}", f"{title}{against_words(one)}"]
    words += [condition_words(pair, found) for pair, found in study.compared.items()]
    words += [f"{first} against {second}: {why}." for (first, second), why in study.why_not.items()]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = environment.from_string(_TEMPLATE).render(
        run=run.in_words,
        notice=NOTICE,
        chart=Markup(chart),  # our own drawing, whose words are escaped already
        names=names,
        words=words,
        comparison=comparison,
        n=study.n,
        patients=study.patients,
        tables=[
            (name, for_print([[str(cell) for cell in row] for row in rows]))
            for name, rows in tables.items()
            if len(rows) > 1
        ],
    )
    return text.encode()


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Model and readers</title>
<style>
:root { --card: #ffffff; --line: #d9dde2; --class-0: #0072b2; --class-1: #c85000;
  --class-2: #3b0f53; --class-3: #7a7a7a; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: #16191d; background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.soft { color: #545c66; } svg { width: 28rem; max-width: 100%; height: auto; }
.both { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: center; }
.both ol { flex: 1; min-width: 18rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { border: 1px solid var(--line); padding: .3rem .5rem; text-align: left;
  overflow-wrap: anywhere; }
tr { break-inside: avoid; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { font-size: 9.5pt; padding: 0; max-width: none; } table { font-size: 8pt; } }
</style>
</head>
<body>
<h1>Model and readers</h1>
<p class="soft">{{ run }}</p>
<p class="soft">{{ notice }} {{ n }} cases of {{ patients }} patients with an
answer of the model.</p>
<div class="both">
<div>{{ chart }}</div>
<ol>{% for name in names %}<li>{{ name }}</li>{% endfor %}</ol>
</div>
<h2>Agreement and differences</h2>
{% for line in words %}
<p>{{ line }}</p>
{% endfor %}
{% if comparison %}
<h2>Two sets of answers</h2>
<pre>{{ comparison }}</pre>
{% endif %}
{% for name, rows in tables %}
<h2>{{ name }}</h2>
<table><tr>{% for cell in rows[0] %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows[1:] %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
<p class="soft">The same tables are in tables/ as CSV. covidctnet paper makes figures of this
folder. Intervals are 95 %; no correction for the number of comparisons.</p>
</body>
</html>
"""
