"""The page a person reads: everything in one file that opens offline."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from covidctnet.classes import CHEST_CT, Label
from covidctnet.report.charts import colour_of
from covidctnet.report.evidence import HEATMAP, draw
from covidctnet.report.pictures import RESIDUAL_LIMIT, attention_stops, residual_stops
from covidctnet.report.record import Record, labels_in
from covidctnet.report.words import STATUS_WORDS, flag_words
from covidctnet.results import INFORMATION, reservations
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE

__all__ = ["EMBEDDED_BYTES", "render_page"]

EMBEDDED_BYTES = 32_000_000
"""Pictures are inside the page up to this many bytes, then lie next to it: pages must open."""


def render_page(
    records: Sequence[Record],
    *,
    runs: Mapping[str, Mapping[str, Any]],
    picture_of: Callable[[Record], bytes | None],
) -> Iterator[bytes]:
    """The page in pieces of UTF-8.

    Args:
        records: In the order of the page.
        runs: Provenance by the key that the records name.
        picture_of: The WebP of a record, asked for one at a time so that memory stays flat.

    Returns:
        Pieces; none holds a path, a name or a date.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        files("covidctnet.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    answered = [record for record in records if record.probabilities]
    unanswered = sorted(
        (record for record in records if not record.probabilities),
        key=lambda record: (record.status, record.code, record.order),
    )
    statuses = Counter(record.status for record in records)
    labels = Counter(record.label for record in answered)
    used = {record.run: runs[record.run] for record in records if record.run in runs}
    classes = answered[0].classes if answered else CHEST_CT
    words = classes.in_words
    stream = template.stream(
        total=len(records),
        title=f"Chest imaging: {words}",
        words=words,
        note=classes.note,
        statuses=[(name, statuses[name], words) for name, words in STATUS_WORDS.items()],
        labels=[
            {
                "title": x.title,
                "key": x.key,
                "count": labels[x],
                "share": _share(labels[x], answered),
                "colour": colour_of(x),
            }
            for x in sorted(labels_in(answered), key=lambda label: (label.rank == 0, label.rank))
        ],
        answered_total=len(answered),
        flagged_total=sum(bool(reservations(record.flags)) for record in answered),
        abstained_total=statuses["abstained"],
        rows=_rows(answered, picture_of),
        unanswered=unanswered,
        several_weights=len({record.weights for record in answered}) > 1,
        caveats=sorted({run["caveat"] for run in used.values() if run.get("caveat")}),
        has_lesions=any(e["type"] == "lesion_volume" for r in answered for e in r.evidence),
        attention=attention_stops() if any(HEATMAP in r.kinds for r in answered) else (),
        stops=residual_stops(),
        windows=[
            (round(RESIDUAL_LIMIT * (high - low)), round(high - low), _signed(low), _signed(high))
            for low, high in _windows_hu(answered)
        ],
        runs=[_run_facts(run) for run in used.values()],
    )
    stream.enable_buffering(64)
    return (piece.encode() for piece in stream)


def _label_words(record: Record, label: Label) -> str:
    """The answer in words: the classes that are left, where there are several."""
    if record.status != "abstained":
        return label.title
    left = (x.title for x in record.classes.reading_order if x.key in record.labels_left)
    return " or ".join(left)


def _rows(
    records: Sequence[Record], picture_of: Callable[[Record], bytes | None]
) -> Iterator[dict[str, Any]]:
    room = EMBEDDED_BYTES
    for record in records:
        label = record.label
        assert label is not None
        source = None
        if record.picture:
            picture = picture_of(record)
            if picture is not None:
                source = f"studies/{record.picture}"
                if len(picture) * 4 / 3 <= room:
                    text = base64.b64encode(picture).decode()
                    source = f"data:image/webp;base64,{text}"
                    room -= len(text)
        heights = ", ".join(f"{height:.0f}" for height in record.slice_mm)
        yield {
            "study": record.study,
            "status": record.status,
            "origin": next((n for n in record.notes if n in (SYNTHETIC_NOTE, PAINTED_NOTE)), ""),
            "label": _label_words(record, label),
            "key": label.key,
            "evidence": [lines for e in record.restored if (lines := draw(e).lines)],
            "picture": source,
            "heights": heights.replace("-", "−"),
            "kinds": record.kinds,
            "slices": max(1, len(record.slice_mm)),
            "bars": [
                {
                    "title": x.title,
                    "key": x.key,
                    "top": x is label,
                    "width": round(100 * record.probabilities[x.key], 2),
                    "text": _percent(record.probabilities[x.key]),
                }
                for x in record.classes.reading_order
            ],
            "flags": [flag_words(flag) for flag in reservations(record.flags)],
            "known": [flag_words(flag) for flag in record.flags if flag in INFORMATION],
            "seconds": f"{record.total_seconds:.1f}",
            "stages": ", ".join(f"{stage} {value:.2f}" for stage, value in record.seconds.items()),
            "weights": record.weights,
        }


def _windows_hu(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Of the residuals in the pictures."""
    shown = [e for record in records if record.picture for e in record.evidence]
    windows = [e["window_hu"] for e in shown if "residual" in e.get("units", ())]
    return sorted({(float(low), float(high)) for low, high in windows})


def _signed(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")


def _percent(probability: float) -> str:
    """A percentage that never claims certainty by rounding."""
    percent = 100 * probability
    if percent > 99.9:
        return "> 99.9 %"
    if percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %"


def _share(count: int, among: Sequence[Record]) -> float:
    return round(100 * count / len(among), 2) if among else 0.0


def _run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of a run's provenance a reader of the page may want."""
    model = run.get("model", {})
    facts = [
        ("covidctnet", run.get("covidctnet", "")),
        ("weights", model.get("weights", "")),
        ("digest of weights and settings", run.get("weights_digest", "")),
        ("device", model.get("device", "")),
        ("precision", model.get("precision", "")),
        *((name, version) for name, version in run.get("libraries", {}).items()),
    ]
    return [(name, str(value)) for name, value in facts if value]
