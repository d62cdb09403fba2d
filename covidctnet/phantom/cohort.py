"""Cohorts of synthetic patients on disk, with their truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.classes import CHEST_CT, Label
from covidctnet.errors import UsageError
from covidctnet.files import claim_folder, make_folder, table_text, unwritable, write_whole
from covidctnet.phantom.detector import XRAY_UNITS
from covidctnet.phantom.patient import check_request, make_phantom
from covidctnet.phantom.radiograph import check_size, make_radiograph
from covidctnet.phantom.radiograph_file import radiograph_bytes, suffix_of
from covidctnet.phantom.scanner import SCANNERS, TRAINING_SCANNERS
from covidctnet.phantom.series import write_series, write_truth
from covidctnet.stopping import ignore_stops

__all__ = ["CohortPlan", "PlannedPatient", "write_cohort"]

PLAN_FILE = "phantoms.json"
RADIOGRAPHS = "radiographs"


@dataclass(frozen=True)
class PlannedPatient:
    """One patient to be made.

    Attributes:
        name: Name of its folder, and its Patient ID.
        label: What it has.
        seed: Of its body, lesions and scan.
        scanner: Name of its scanner.
    """

    name: str
    label: Label
    seed: int
    scanner: str


@dataclass(frozen=True)
class CohortPlan:
    """Everything that decides what a cohort looks like.

    Attributes:
        patients: How many of each class, by the class's title.
        seed: The same seed draws the same patients; another seed, none of them.
        scanners: Names from `SCANNERS`; each patient is scanned by one of them, drawn.
        matrix: Rows and columns instead of the scanner's.
        spacing_mm: Slice distance instead of the scanner's.
        radiographs: Rows of a chest radiograph of each patient; None makes none.
    """

    patients: Mapping[str, int]
    seed: int = 0
    scanners: tuple[str, ...] = TRAINING_SCANNERS
    matrix: int | None = None
    spacing_mm: float | None = None
    radiographs: int | None = None

    def __post_init__(self) -> None:
        check_request(self.seed, self.matrix, self.spacing_mm)
        if self.radiographs is not None:
            check_size(self.radiographs)
        unknown = sorted(set(self.scanners) - set(SCANNERS))
        if unknown or not self.scanners:
            raise UsageError(
                f"expected names of scanners, got {', '.join(unknown) or 'none'}; scanners are "
                f"{', '.join(SCANNERS)}"
            )
        if any(count < 0 for count in self.patients.values()) or not sum(self.patients.values()):
            raise UsageError("expected at least one patient and no negative number of them")
        labels = [CHEST_CT.parse(title) for title in self.patients]
        if len(set(labels)) < len(labels):
            raise UsageError(f"expected every class once, got {', '.join(self.patients)}")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without radiographs as it was before there were any."""
        plan = asdict(self)
        if self.radiographs is None:
            del plan["radiographs"]
        return plan

    def __iter__(self) -> Iterator[PlannedPatient]:
        for title, count in self.patients.items():
            label = CHEST_CT.parse(title)
            for number in range(count):
                # A patient does not depend on how many others there are.
                rng = np.random.default_rng([self.seed, int(label), number])
                yield PlannedPatient(
                    name=f"{label.key}-{self.seed}-{number:04d}",
                    label=label,
                    seed=int(rng.integers(2**31)),
                    scanner=self.scanners[rng.integers(len(self.scanners))],
                )


def write_cohort(
    root: Path,
    plan: CohortPlan,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a cohort that `covidctnet.cohort.archive.read_cohort` reads.

    A folder a class with a DICOM folder a patient, ``truth/`` with a folder a patient (see
    `covidctnet.phantom.series.write_truth`), and ``cohort.csv`` with the scanner as site and the
    mask of the lesions. With radiographs also ``radiographs/`` with a folder a class, a file a
    patient, and ``images.csv``: training and evaluation of radiographs take that folder. A patient
    has one name and one site in both. Patients that are there are kept, so an interrupted run goes
    on where it was.

    Args:
        root: A new or empty folder, or one of an earlier run with the same plan.
        plan: Who is in it.
        workers: Processes.
        progress: Called with (done, total).

    Raises:
        UsageError: If the folder holds something else, or cannot be made.
        StorageError: If the disk is full or refuses; whole patients are kept.
    """
    claim_folder(root, PLAN_FILE, plan.to_dict(), what="cohort of phantoms")
    patients = list(plan)
    todo = [p for p in patients if not _is_there(root, plan, p)]
    done = len(patients) - len(todo)
    for finished in _made(root, plan, todo, workers):
        if progress:
            progress(done + finished, len(patients))
    rows = [
        (f"{p.label.title}/{p.name}", p.name, p.label, p.scanner, f"truth/{p.name}/lesions.nii.gz")
        for p in patients
    ]
    head = ("study", "patient", "label", "site", "lesions")
    write_whole(root / "cohort.csv", table_text([head, *rows]))
    if plan.radiographs is not None:
        table: list[Sequence[object]] = [("file", "patient", "label", "source")]
        for p in patients:
            file = _radiograph(root, p).relative_to(root / RADIOGRAPHS)
            table.append((file.as_posix(), p.name, p.label, p.scanner))
        write_whole(root / RADIOGRAPHS / "images.csv", table_text(table))


def _made(
    root: Path, plan: CohortPlan, todo: Sequence[PlannedPatient], workers: int
) -> Iterator[int]:
    if workers <= 1 or len(todo) <= 1:
        for count, patient in enumerate(todo, start=1):
            _make(root, plan, patient)
            yield count
        return
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=ignore_stops) as pool:
        futures = [pool.submit(_make, root, plan, patient) for patient in todo]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                future.result()
                yield count
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _make(root: Path, plan: CohortPlan, patient: PlannedPatient) -> None:
    phantom = make_phantom(
        patient.label,
        patient.seed,
        scanner=SCANNERS[patient.scanner],
        matrix=plan.matrix,
        spacing_mm=plan.spacing_mm,
    )
    scan, truth = _folders(root, patient)
    if plan.radiographs is not None and not _radiograph(root, patient).is_file():
        _write_radiograph(root, plan.radiographs, patient)
    # The truth first: a scan in its place says that both are whole.
    try:
        _write_folder(truth, lambda folder: write_truth(phantom, folder))
        _write_folder(scan, lambda folder: write_series(phantom, folder, patient=patient.name))
    except OSError as error:
        shutil.rmtree(truth, ignore_errors=True)
        raise unwritable("a synthetic patient", error) from error


def _write_radiograph(root: Path, size: int, patient: PlannedPatient) -> None:
    unit = XRAY_UNITS[patient.scanner]
    made = make_radiograph(patient.label, patient.seed, unit=unit, size=size)
    file = _radiograph(root, patient)
    make_folder(file.parent)
    write_whole(file, radiograph_bytes(made, patient=patient.name))


def _radiograph(root: Path, patient: PlannedPatient) -> Path:
    suffix = suffix_of(XRAY_UNITS[patient.scanner])
    return root / RADIOGRAPHS / patient.label.title / f"{patient.name}{suffix}"


def _is_there(root: Path, plan: CohortPlan, patient: PlannedPatient) -> bool:
    if plan.radiographs is not None and not _radiograph(root, patient).is_file():
        return False
    return all(folder.is_dir() for folder in _folders(root, patient))


def _folders(root: Path, patient: PlannedPatient) -> tuple[Path, Path]:
    return root / patient.label.title / patient.name, root / "truth" / patient.name


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """A folder that is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        write(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
