"""Quality checks of every picture under a folder: a log, a table, and grey copies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from covidctnet.errors import StudyError, UsageError
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.io.discover import Study
from covidctnet.logs import about
from covidctnet.radiograph.child import RadiographChild
from covidctnet.radiograph.convert import save_png
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import Radiograph
from covidctnet.workers.isolate import ChildError, Limits

__all__ = ["QualityCounts", "check_quality"]

_LOG = logging.getLogger(__name__)
TABLE, LOG, GREY = "quality.csv", "quality.log", "grey"
HEAD = ("number", "study", "file", "status", "format", "rows", "columns", "code", "value", "text")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class QualityCounts:
    """What became of the pictures of a folder.

    Attributes:
        plain: Pictures without a finding.
        remarkable: Pictures with one or more.
        refused: Files that are no radiograph, or cannot be read.
        converted: Grey copies that were written.
        there: Grey copies that were there already, and stay as they are.
        passed_over: Files that are no pictures, by reason.
    """

    plain: int
    remarkable: int
    refused: int
    converted: int
    there: int
    passed_over: Mapping[str, int]

    @property
    def exit_code(self) -> int:
        """0 all could be read, 3 some could not, 4 none could."""
        if not self.plain + self.remarkable:
            return 4
        return 3 if self.refused else 0

    def __str__(self) -> str:
        total = self.plain + self.remarkable + self.refused
        text = (
            f"{total} {'picture' if total == 1 else 'pictures'}: {self.plain} without a finding, "
            f"{self.remarkable} with findings, {self.refused} refused"
        )
        if self.converted or self.there:
            text += f"; {self.converted} converted"
            text += f", {self.there} grey copies were there" if self.there else ""
        if self.passed_over:
            reasons = ", ".join(f"{n} {why}" for why, n in sorted(self.passed_over.items()))
            text += f"; files passed over: {reasons}"
        return text


def check_quality(
    paths: Sequence[Path],
    output: Path,
    *,
    convert: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> QualityCounts:
    """Check every picture under some paths.

    Args:
        paths: Folders and files.
        output: Receives ``quality.csv``, a row for each finding and for each picture without one,
            and ``quality.log``, a line for each, without names of files.
        convert: Write a grey PNG of 8 bits of every picture to ``grey`` in the output. Its name is
            that of the file with ``.grey.png`` behind it; no file is ever replaced.
        limits: What reading a picture may cost.
        progress: Called with (done, total).

    Raises:
        UsageError: If a path does not exist, or the output is one of the folders.
        StorageError: If the output cannot be written.
    """
    roots = [path.resolve() for path in paths]
    if output.resolve() in roots:
        raise UsageError(
            "expected another folder for the output than the one that is checked, got the same. "
            "Give another -o FOLDER."
        )
    inside = output.resolve()
    found = find_radiographs(paths)
    studies = [study for study in found if not study.path.resolve().is_relative_to(inside)]
    make_folder(output)
    rows: list[Sequence[object]] = [HEAD]
    lines: list[str] = []
    counts = {"plain": 0, "remarkable": 0, "refused": 0, "converted": 0, "there": 0}
    with closing(RadiographChild(limits)) as read:
        for number, study in enumerate(studies, start=1):
            try:
                radiograph = read(study)
            except (StudyError, ChildError) as error:
                counts["refused"] += 1
                rows.append(_row(number, study, roots, "refused", error.code, "", error.message))
                lines.append(f"{number} {study.id} refused {error.code}: {error.message}")
                _LOG.warning(
                    "picture %d (%s) refused: %s: %s",
                    number,
                    study.id,
                    error.code,
                    error.message,
                    extra=about(study.id, {"status": "refused", "code": error.code}),
                )
            else:
                counts["remarkable" if radiograph.findings else "plain"] += 1
                rows += _rows_of(number, study, roots, radiograph)
                lines += [
                    f"{number} {study.id} {one.code} {one.value}: {one.text}"
                    for one in radiograph.findings
                ] or [f"{number} {study.id} no finding"]
                if convert:
                    is_new = _converted(radiograph, output / GREY / _relative(study, roots))
                    counts["converted" if is_new else "there"] += 1
            if progress:
                progress(number, len(studies))
    write_whole(output / TABLE, table_text(rows))
    write_whole(output / LOG, "".join(f"{line}\n" for line in lines))
    return QualityCounts(**counts, passed_over=found.reasons)


def _converted(radiograph: Radiograph, named: Path) -> bool:
    """Whether the grey copy was written now."""
    make_folder(named.parent)
    try:
        save_png(radiograph.pixels, named.with_name(f"{named.name}.grey.png"))
    except FileExistsError:
        return False
    return True


def _relative(study: Study, roots: Sequence[Path]) -> Path:
    path = study.path.resolve()
    for root in roots:
        if path != root and path.is_relative_to(root):
            return path.relative_to(root)
    return Path(path.name)


def _rows_of(
    number: int, study: Study, roots: Sequence[Path], radiograph: Radiograph
) -> list[Sequence[object]]:
    what = (radiograph.format, *radiograph.shape)
    if not radiograph.findings:
        return [_row(number, study, roots, "read", "", "", "", what)]
    return [
        _row(number, study, roots, "read", one.code, one.value, one.text, what)
        for one in radiograph.findings
    ]


def _row(
    number: int,
    study: Study,
    roots: Sequence[Path],
    status: str,
    code: str,
    value: object,
    text: str,
    what: Sequence[object] = ("", "", ""),
) -> Sequence[object]:
    file = str(_relative(study, roots))
    return (number, study.id, file, status, *what, code, value, text)
