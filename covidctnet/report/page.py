"""The page a person reads: everything in one file that opens offline."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from covidctnet.classes import CHEST_CT, Label
from covidctnet.report.charts import colour_of
from covidctnet.report.evidence import HEATMAP, draw
from covidctnet.report.pictures import RESIDUAL_LIMIT, attention_stops, residual_stops
from covidctnet.report.record import Record, labels_in
from covidctnet.report.words import STATUS_WORDS, flag_words
from covidctnet.results import INFORMATION, reservations
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE

__all__ = [
    "EMBEDDED_BYTES",
    "STUDIES_A_PAGE",
    "VIEWER",
    "pages_of",
    "render_page",
    "view_of",
    "viewer_files",
]

STUDIES_A_PAGE = 100
"""Cards and reasons on one page; the first one lists all studies beside."""

EMBEDDED_BYTES = 32_000_000
"""Pictures are inside the page up to this many bytes, then lie next to it: pages must open."""

VIEWER = "viewer"
"""Folder of what draws scans."""


def pages_of(records: Sequence[Record]) -> tuple[tuple[Record, ...], ...]:
    """Records by page: those with an answer first, in their order, then the others by reason.

    Returns:
        One page or more; the first may be empty.
    """
    answered = [record for record in records if record.probabilities]
    unanswered = sorted(
        (record for record in records if not record.probabilities),
        key=lambda record: (record.status, record.code, record.order),
    )
    ordered = (*answered, *unanswered)
    starts = range(0, max(1, len(ordered)), STUDIES_A_PAGE)
    return tuple(ordered[start : start + STUDIES_A_PAGE] for start in starts)


def render_page(
    records: Sequence[Record],
    *,
    runs: Mapping[str, Mapping[str, Any]],
    picture_of: Callable[[Record], bytes | None],
    number: int = 1,
) -> Iterator[bytes]:
    """A page in pieces of UTF-8.

    Args:
        records: Of all pages, in their order.
        runs: Provenance by the key that the records name.
        picture_of: The WebP of a record, asked for one at a time so that memory stays flat.
        number: Of the page, from 1; the others lie in a folder ``pages`` beside the first.

    Returns:
        Pieces; none holds a path, a name or a date.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_resource("page.html"))
    pages = pages_of(records)
    here = pages[number - 1]
    answered = [record for record in records if record.probabilities]
    answered_here = [record for record in here if record.probabilities]
    statuses = Counter(record.status for record in records)
    labels = Counter(record.label for record in answered)
    used = {record.run: runs[record.run] for record in records if record.run in runs}
    classes = answered[0].classes if answered else CHEST_CT
    words = classes.in_words
    first_reasons = len(answered) // STUDIES_A_PAGE + 1
    is_listed = number == 1 and len(pages) > 1
    has_views = any(view_of(record) for record in answered_here)
    names = [name for name, is_on in {"list.js": is_listed, "view.js": has_views}.items() if is_on]
    scripts = [_resource(name) for name in names]
    # A selection on a page counts the studies of this page.
    labels_here = Counter(record.label for record in answered_here)
    stream = template.stream(
        number=number,
        pages=len(pages),
        links=Markup(_links(number, len(pages))),
        listed=Markup(_list_data(pages)) if is_listed else "",
        scripts=[Markup(script) for script in scripts],
        script_sources=_script_sources(scripts, has_views=has_views),
        viewer=f"{'../' * (number > 1)}{VIEWER}/" if has_views else "",
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
                "here": labels_here[x],
                "share": _share(labels[x], answered),
                "colour": colour_of(x),
            }
            for x in sorted(labels_in(answered), key=lambda label: (label.rank == 0, label.rank))
        ],
        answered_total=len(answered),
        answered_here=len(answered_here),
        flagged_here=sum(bool(reservations(record.flags)) for record in answered_here),
        abstained_here=sum(record.status == "abstained" for record in answered_here),
        rows=_rows(answered_here, picture_of, is_first=number == 1),
        unanswered=[record for record in here if not record.probabilities],
        unanswered_total=len(records) - len(answered),
        reasons_page="" if first_reasons == number else _address(first_reasons, number),
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


def view_of(record: Record) -> str:
    """The script with what a page draws of a study, below the results folder; empty for none."""
    written: Mapping[str, Any] = record.outputs.get("view", {})
    return next((str(name) for name in written.get("files", ())), "")


def viewer_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of what draws scans, in a folder next to the first page."""
    for file in files("covidctnet.report").joinpath("viewer").iterdir():
        yield file.name, file.read_bytes()


def _script_sources(scripts: Sequence[str], *, has_views: bool) -> str:
    """What a page may run: its own scripts by their digests, and files next to it."""
    digests = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    sources = [f"'sha256-{digest}'" for digest in digests]
    return " ".join([*sources, *(("'self'", "file:") if has_views else ())])


def _resource(name: str) -> str:
    return files("covidctnet.report").joinpath(name).read_text(encoding="utf-8")


def _address(number: int, seen_from: int) -> str:
    """Where a page lies, seen from another."""
    if number == 1:
        return "../index.html"
    return f"pages/{number}.html" if seen_from == 1 else f"{number}.html"


def _links(number: int, pages: int) -> str:
    """Links to the pages around one; they change only where a page is added behind it."""
    links = [f"<span>page {number}</span>"]
    if number > 1:
        before = _address(number - 1, number)
        links.insert(0, f'<a href="{before}" rel="prev">page {number - 1}</a>')
        links.insert(0, '<a href="../index.html#list">all studies</a>')
    if number < pages:
        links.append(f'<a href="{_address(number + 1, number)}" rel="next">page {number + 1}</a>')
    return f'<nav class="pages" aria-label="Pages">{"".join(links)}</nav>'


def _list_data(pages: Sequence[Sequence[Record]]) -> str:
    """The list of all studies, for the script of the page: JSON that cannot end its element."""
    rows = [
        [
            record.study,
            record.status,
            _label_words(record, label) if (label := record.label) is not None else "",
            round(100 * record.probabilities[label.key], 1) if label is not None else None,
            record.code,
            round(record.total_seconds, 1),
            number,
        ]
        for number, page in enumerate(pages, 1)
        for record in page
    ]
    text = json.dumps(rows, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _label_words(record: Record, label: Label) -> str:
    """The answer in words: the classes that are left, where there are several."""
    if record.status != "abstained":
        return label.title
    left = (x.title for x in record.classes.reading_order if x.key in record.labels_left)
    return " or ".join(left)


def _rows(
    records: Sequence[Record],
    picture_of: Callable[[Record], bytes | None],
    *,
    is_first: bool,
) -> Iterator[dict[str, Any]]:
    room = EMBEDDED_BYTES if is_first else 0
    above = "" if is_first else "../"
    for record in records:
        label = record.label
        assert label is not None
        source = None
        if record.picture:
            picture = picture_of(record)
            if picture is not None:
                source = f"{above}studies/{record.picture}"
                if len(picture) * 4 / 3 <= room:
                    text = base64.b64encode(picture).decode()
                    source = f"data:image/webp;base64,{text}"
                    room -= len(text)
        heights = [(height, f"{height:.0f}".replace("-", "−")) for height in record.slice_mm]
        view = view_of(record)
        yield {
            "study": record.study,
            "status": record.status,
            "origin": next((n for n in record.notes if n in (SYNTHETIC_NOTE, PAINTED_NOTE)), ""),
            "label": _label_words(record, label),
            "key": label.key,
            "evidence": [lines for e in record.restored if (lines := draw(e).lines)],
            "picture": source,
            "heights": heights,
            "heights_text": ", ".join(text for _, text in heights),
            "view": f"{above}{view}" if view else "",
            "file_stem": record.file_stem,
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
