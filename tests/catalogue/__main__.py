"""Writes docs/robustness.md: every case of the catalogue, read here and by other packages."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from covidctnet import __version__, read_volume
from covidctnet.errors import StudyError
from covidctnet.progress import bar
from tests.catalogue.cases import Case, Expected, Refusal, Truth, every_case
from tests.catalogue.peers import LIMITS, PEERS, Peer, judged

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"
OURS = "covidctnet"
COMMAND = "make robustness"
OUTCOMES = (
    "right",
    "rightly refused",
    "wrong volume",
    "volume of what must be refused",
    "good input refused",
    "crashed or hung",
)
HEADER = f"""\
<!-- Written by `{COMMAND}`; edit the catalogue, not this page. -->

# Hard inputs

{{count}} small inputs that are odd, doubtful or broken in one way each, written with known voxels
at known places: unequal axes, no symmetry, a mark in every slice. Each has one expected outcome:
*read*, with every voxel equal and every corner in its place, or *refused* with an
[error code](reference/errors.md). The tests read them all; this page is made by

    {COMMAND}

which also reads them with other packages, where these are installed.
"""
HOW = f"""\
*Wrong volume*: other voxels, or the same at other places. *Volume of what must be refused*: a
volume from an input that says too little or contradicts itself, or that is broken; it may be right
by luck.

How the others are judged: voxels equal after turning to one orientation, values below -1024 HU
taken as air, corners within {LIMITS.corner_mm:g} mm. Raising any exception is a refusal. SimpleITK
reads a folder by its series reader (all files of the first series, in the order that it gives) and
a file by `ReadImage`; highdicom gets all data sets of the folder that pydicom takes
(`get_volume_from_series`); dicom2nifti converts the folder with its default settings
(`dicom_series_to_nifti`). Each has {LIMITS.seconds} s of a processor and {LIMITS.gib} GiB for a
case. None of them claims to check all that is checked here, and several series in one folder are a
task that some leave to their caller: the columns say what a program gets that calls them without
checks of its own.

The inputs were chosen by those who wrote this reader, and what they showed was mended here and
nowhere else: compare the columns with that in mind.

Where the expected outcome is *refused (rule)*, refusing is a rule of this package and not the only
right answer; a package that returns one of the volumes meant is right. `-` is no business of a
package: archives, files for the readers of DICOM, and readings that ask for repair.
"""


@dataclass(frozen=True)
class Row:
    """A case and what became of it, by package."""

    case: Case
    expected: Expected
    outcomes: Mapping[str, str]


def main() -> None:
    """Read everything and write the page."""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(name)) for name in PEERS]
        versions = {peer.name: peer.version for peer in peers}
        rows = list(_rows(every_case(), [peer for peer in peers if peer.version]))
    PAGE.write_text(_page(rows, versions), encoding="utf-8")


def _rows(cases: Sequence[Case], peers: Sequence[Peer]) -> Iterator[Row]:
    # Every package reads in a process of its own: at the same time.
    with ThreadPoolExecutor(len(peers) + 1) as pool, bar("robustness") as progress:
        for done, case in enumerate(cases, start=1):
            with tempfile.TemporaryDirectory() as work:
                folder = Path(work) / "input"
                folder.mkdir()
                expected = case.build(folder)
                asked = {
                    peer.name: pool.submit(peer.read, case, folder, expected, Path(work))
                    for peer in peers
                }
                outcomes = {OURS: _ours(case, folder, expected)}
                outcomes |= {name: _outcome(a.result(), expected) for name, a in asked.items()}
            progress(done, len(cases))
            yield Row(case, expected, outcomes)


def _ours(case: Case, folder: Path, expected: Expected) -> str:
    try:
        volume = read_volume(case.input_in(folder), **case.options)
    except StudyError:
        return _outcome("refused", expected)
    # Anything else is no answer at all.
    except Exception:
        return _outcome("crashed", expected)
    return _outcome(judged(volume.array, volume.affine, expected), expected)


def _outcome(verdict: str, expected: Expected) -> str:
    is_good = isinstance(expected, Truth)
    if verdict == "refused":
        return "good input refused" if is_good else "rightly refused"
    others = {
        "wrong": "wrong volume" if is_good else "volume of what must be refused",
        "crashed": "crashed or hung",
        "hung": "crashed or hung",
    }
    return others.get(verdict, verdict)


def _page(rows: Sequence[Row], versions: Mapping[str, str | None]) -> str:
    names = (OURS, *PEERS)
    titles = [f"{OURS} {__version__}"]
    titles += [f"{name} {versions[name]}" if versions[name] else name for name in PEERS]
    counts = {name: Counter(row.outcomes.get(name, "-") for row in rows) for name in names}
    parts = [HEADER.format(count=len(rows))]
    parts.append(_line("", *titles) + _line(*["---"] * (len(names) + 1)))
    for outcome in OUTCOMES:
        cells = [str(counts[name][outcome]) if _is_there(name, versions) else "" for name in names]
        parts[-1] += _line(outcome, *cells)
    tried = [
        str(len(rows) - counts[name]["-"]) if _is_there(name, versions) else "not installed"
        for name in names
    ]
    parts[-1] += _line("inputs tried", *tried)
    parts.append(HOW)
    parts.append("## Every input\n")
    parts.append(_line("case", "what", "expected", *names) + _line(*["---"] * (len(names) + 3)))
    for row in rows:
        cells = [
            _cell(row.outcomes.get(name, "-")) if _is_there(name, versions) else "not installed"
            for name in names
        ]
        parts[-1] += _line(f"`{row.case.name}`", row.case.what, _expected(row), *cells)
    return "\n".join(parts)


def _is_there(name: str, versions: Mapping[str, str | None]) -> bool:
    return name == OURS or bool(versions[name])


def _expected(row: Row) -> str:
    if isinstance(row.expected, Refusal):
        return f"refused{' (rule)' if row.case.policy else ''}: `{row.expected.code}`"
    flags = ", ".join(f"`{flag}`" for flag in row.expected.flags)
    asked = ", ".join(f"`{name}`" for name in row.case.options)
    return "read" + (f" with {asked}" if asked else "") + (f", flagged {flags}" if flags else "")


def _cell(outcome: str) -> str:
    short = {
        "rightly refused": "refused",
        "wrong volume": "**wrong volume**",
        "volume of what must be refused": "**volume**",
        "good input refused": "refused, though good",
    }
    return short.get(outcome, outcome)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
