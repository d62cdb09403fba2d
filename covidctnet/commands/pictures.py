"""Commands about picture files."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from collections.abc import Sequence
from pathlib import Path

from covidctnet.commands.common import Output, StudyLimits, existing
from covidctnet.progress import bar

__all__ = ["quality"]


def quality(
    paths: Sequence[str],
    *,
    output: Output = "quality",
    convert: bool = False,
    study_limits: StudyLimits,
) -> int:
    """Check how picture files of radiographs were made: compression, marks, borders and more.

    Args:
        paths: Folders and files: PNG, JPEG, TIFF, DICOM.
        output: Folder for quality.csv, a row a finding, and quality.log.
        convert: Write a grey PNG of 8 bits of every picture into the folder grey of the output,
            under another name; no file is replaced.
        study_limits: What reading a picture may cost.
    """
    from covidctnet.run.quality import check_quality

    with bar("checking pictures") as progress:
        counts = check_quality(
            [existing(path) for path in paths],
            Path(output),
            convert=convert,
            limits=study_limits.limits,
            progress=progress,
        )
    sys.stdout.write(f"{counts}\n")
    return counts.exit_code
