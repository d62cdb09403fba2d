"""A cohort of painted patients: the Control scans of an archive, each with many drawn diseases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from covidctnet.chest.lungs import lung_mask
from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.archive import CohortStudy, read_cohort
from covidctnet.errors import StudyError, UsageError
from covidctnet.files import claim_folder, table_text, unwritable, write_whole
from covidctnet.io.nifti import ras_to_lps
from covidctnet.io.read import read_study
from covidctnet.phantom.painter import Painted, paint_lesions
from covidctnet.volume import MASK_MARK, PAINTED_MARK, Volume

__all__ = ["PaintPlan", "paint_cohort"]

_LOG = logging.getLogger(__name__)
PLAN_FILE = "painted.json"


@dataclass(frozen=True)
class PaintPlan:
    """What is painted into every Control scan.

    Attributes:
        copies: Painted patients of each class from every scan.
        validation: Scans, of all, whose copies choose the best checkpoint; the others train. The
            copies of one scan never stand in two splits: they share their lungs.
        seed: Of everything random, 0 or more.
    """

    copies: int = 8
    validation: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1 or self.validation < 0 or self.seed < 0:
            raise UsageError(
                "copies must be 1 or more, validation and seed 0 or more, got "
                f"{self.copies}, {self.validation} and {self.seed}"
            )


def paint_cohort(
    archive: Path,
    output: Path,
    plan: PaintPlan,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Paint findings of all classes into the Control scans of an archive.

    Every painted patient is a NIfTI file in its class's folder; lesion codes lie in ``truth/``, and
    ``cohort.csv`` says which split each one is in. Patients that are there are kept, so that an
    interrupted run goes on where it was.

    Args:
        archive: See `covidctnet.cohort.archive.read_cohort`; only its Control studies are used.
        output: A new folder, or one of an earlier run with the same plan.
        plan: What is painted.
        progress: Called with (done, total).

    Returns:
        Painted patients.

    Raises:
        UsageError: If the folder holds something else, or the archive has too few Controls.
        StorageError: If the disk is full or refuses; whole files are kept.
    """
    controls = [entry for entry in read_cohort(archive) if entry.label is CHEST_CT.CONTROL]
    if len(controls) <= plan.validation:
        raise UsageError(
            f"expected more than {plan.validation} Control studies in the archive (validation "
            f"takes so many), got {len(controls)}"
        )
    settings = {**asdict(plan), "studies": [entry.study.id for entry in controls]}
    claim_folder(output, PLAN_FILE, settings, what="cohort of painted patients")
    order = np.random.default_rng(plan.seed).permutation(len(controls)).tolist()
    held_back = set(order[: plan.validation])
    total = len(controls) * len(CHEST_CT) * plan.copies
    rows: list[tuple[object, ...]] = []
    for number, entry in enumerate(controls):
        split = "val" if number in held_back else "train"
        tasks = [
            (label, copy, f"lungs{number:03d}-{label.title}-{copy:03d}")
            for label in CHEST_CT
            for copy in range(plan.copies)
        ]
        todo = [w for w in tasks if not _scan(output, w[0], w[2]).is_file()]
        try:
            _paint_into(entry, todo, output, seed=plan.seed + 1000 * number)
        except StudyError as error:
            _LOG.warning("Control study %s is left out: %s", error.study, error.message)
            tasks = []
        except OSError as error:
            raise unwritable("a painted patient", error) from error
        rows += [
            (_scan(output, label, name).relative_to(output).as_posix(), name, label.title,
             entry.site or "", split)
            for label, _, name in tasks
        ]  # fmt: skip
        if progress:
            progress((number + 1) * len(CHEST_CT) * plan.copies, total)
    write_whole(
        output / "cohort.csv", table_text([("study", "patient", "label", "site", "split"), *rows])
    )
    return len(rows)


def _paint_into(
    entry: CohortStudy, todo: Sequence[tuple[Label, int, str]], output: Path, *, seed: int
) -> None:
    if not todo:
        return
    volume = read_study(entry.study)
    lungs = lung_mask(volume)
    for label, copy, name in todo:
        painted = paint_lesions(volume, label, seed + copy, lungs=lungs)
        again = 0
        # The scan itself is a Control already; twice the same scan is one too many.
        while not painted.findings["count"]:
            again += 1
            painted = paint_lesions(volume, label, seed + copy + 500 * again, lungs=lungs)
        # The truth first: a scan in its place says that both are whole.
        truth = output / "truth" / f"{name}.lesions.nii.gz"
        _write(truth, painted.lesions, painted, f"{MASK_MARK} of lesions")
        # By which the scan is known again, by anyone who divides a cohort of both.
        mark = f"{PAINTED_MARK} {painted.volume.source.host}".strip()
        _write(_scan(output, label, name), painted.volume.array, painted, mark)


def _write(path: Path, array: np.ndarray, painted: Painted, description: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = ras_to_lps(_columns_first(painted.volume))
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description
    part = path.with_name(f".{path.name.replace('.nii.gz', '')}.part.nii.gz")
    try:
        nib.save(image, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _columns_first(volume: Volume) -> np.ndarray:
    """The affine for indices in the order (column, row, slice) of NIfTI."""
    return np.asarray(volume.affine[:, [2, 1, 0, 3]])


def _scan(output: Path, label: Label, name: str) -> Path:
    return output / label.title / f"{name}.nii.gz"
