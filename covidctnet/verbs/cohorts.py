"""Verbs that make cohorts, drawn, painted or preprocessed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from covidctnet.progress import bar
from covidctnet.verbs.common import EXIT_OK, EXIT_SOME_FAILED, existing, parser_of

if TYPE_CHECKING:
    from covidctnet.cohort.splits import Splits

__all__ = ["paint", "phantom", "preprocess", "split"]


def phantom(arguments: list[str]) -> int:
    """``covidctnet phantom``; returns the exit code."""
    parser = parser_of("phantom")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder for the cohort")
    parser.add_argument("--patients", type=int, default=4, help="patients of each class")
    parser.add_argument(
        "--controls", type=int | None, default=None, help="Control patients, if another number"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="0 or more; the same seed draws the same patients"
    )
    parser.add_argument(
        "--scanners",
        type=list[str] | None,
        default=None,
        help="names, as [amber, dune]; an unknown one lists all; the training scanners by default",
    )
    parser.add_argument(
        "--matrix",
        type=int | None,
        default=None,
        help="rows and columns, 16 to 2048; the scanner's 512 or 768 by default",
    )
    parser.add_argument(
        "--spacing-mm",
        type=float | None,
        default=None,
        help="slice distance in mm, 0.3 to 20; the scanner's by default",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="processes, about 1 GB of memory each"
    )
    given = parser.parse_args(arguments)

    from covidctnet.classes import CHEST_CT
    from covidctnet.phantom import TRAINING_SCANNERS, CohortPlan, write_cohort

    patients = {label.title: given.patients for label in CHEST_CT}
    if given.controls is not None:
        patients[CHEST_CT.CONTROL.title] = given.controls
    plan = CohortPlan(
        patients,
        seed=given.seed,
        scanners=tuple(given.scanners or TRAINING_SCANNERS),
        matrix=given.matrix,
        spacing_mm=given.spacing_mm,
    )
    with bar("phantoms") as progress:
        write_cohort(Path(given.output), plan, workers=given.workers, progress=progress)
    sys.stdout.write(f"{sum(patients.values())} synthetic patients (phantoms)\n")
    return EXIT_OK


def paint(arguments: list[str]) -> int:
    """``covidctnet paint``; returns the exit code."""
    parser = parser_of("paint")
    parser.add_argument("archive", type=str, help="folder with Control/ or cohort.csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder for the cohort")
    parser.add_argument(
        "--copies", type=int, default=8, help="painted patients of each class from every scan"
    )
    parser.add_argument(
        "--validation", type=int, default=1, help="scans whose copies go to the split val"
    )
    parser.add_argument("--seed", type=int, default=0, help="0 or more; the same seed, the same")
    given = parser.parse_args(arguments)

    from covidctnet.phantom import PaintPlan, paint_cohort

    plan = PaintPlan(copies=given.copies, validation=given.validation, seed=given.seed)
    with bar("painting") as progress:
        count = paint_cohort(Path(given.archive), Path(given.output), plan, progress=progress)
    sys.stdout.write(f"{count} painted patients (real lungs, drawn lesions)\n")
    return EXIT_OK


def preprocess(arguments: list[str]) -> int:
    """``covidctnet preprocess``; returns the exit code."""
    from covidctnet.cohort.splits import SplitSettings
    from covidctnet.preprocess import PreprocessSettings

    parser = parser_of("preprocess")
    parser.add_argument(
        "data", nargs="+", type=str, help="folders with Control/ Covid-19/ CAP/ or cohort.csv"
    )
    parser.add_argument(
        "-o", "--work", type=str, required=True, help="work folder of this training"
    )
    parser.add_class_arguments(PreprocessSettings, "settings")
    parser.add_class_arguments(SplitSettings, "split")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)

    from covidctnet.run.prepare import prepare

    made = parser.instantiate(given)
    with bar("preprocessing") as progress:
        done = prepare(
            [Path(data) for data in given.data],
            Path(given.work),
            settings=made.settings,
            split=made.split,
            workers=given.workers,
            progress=progress,
        )
    sys.stdout.write(
        f"{done.made} studies preprocessed, {done.kept} were there, {len(done.failures)} refused\n"
    )
    _tell(done.splits)
    return EXIT_SOME_FAILED if done.failures else EXIT_OK


def split(arguments: list[str]) -> int:
    """``covidctnet split``; returns the exit code."""
    from covidctnet.cohort.schemes import SCHEMES, settings_of

    parser = parser_of("split")
    parser.add_argument("work", type=str, help="work folder that preprocess filled")
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default="paper",
        help="paper (90/10), 60/10/30 or shares: once; kfold or leave-one-site-out: several folds",
    )
    parser.add_argument(
        "--folds", type=int | None, default=None, help="of kfold, 2 or more; 5 by default"
    )
    parser.add_argument(
        "--denoiser-controls",
        type=float | None,
        default=None,
        help="share of the Control patients that only the denoiser sees; the scheme's by default",
    )
    parser.add_argument(
        "--validation",
        type=float | None,
        default=None,
        help="share of the patients that choose the best checkpoint; the scheme's by default",
    )
    parser.add_argument(
        "--test",
        type=float | None,
        default=None,
        help="of the scheme shares: share of the patients held back; 0.15 by default",
    )
    parser.add_argument("--seed", type=int, default=0, help="0 or more; the same seed, the same")
    parser.add_argument(
        "--anew",
        action="store_true",
        help="draw again whom an earlier run placed, and set aside what was trained from it",
    )
    given = parser.parse_args(arguments)
    work = existing(given.work)
    folds = given.folds
    if folds is None and given.scheme == "kfold":
        folds = 5
    settings = settings_of(
        given.scheme,
        folds=folds,
        denoiser_controls=given.denoiser_controls,
        validation=given.validation,
        test=given.test,
        seed=given.seed,
    )

    from covidctnet.cohort.divide import divide, divide_in_folds

    if given.scheme not in ("kfold", "leave-one-site-out"):
        splits = divide(work, settings, anew=given.anew)
        sys.stdout.write(f"splits.json  {splits.digest}\n")
        _tell(splits)
        return EXIT_OK
    for name, splits in divide_in_folds(work, settings, folds=folds, anew=given.anew).items():
        sys.stdout.write(f"folds/{name}  {splits.digest}  {splits.fold}\n")
        _tell(splits)
    return EXIT_OK


def _tell(splits: Splits) -> None:
    """Patients by split and label, and by site where sites are known."""
    for name, counts in splits.counts().items():
        there = {m.patient: m.site for m in splits.members if m.split == name and m.site}
        sites = Counter(there.values())
        sys.stdout.write(f"  {name}: " + ", ".join(f"{n} {k}" for k, n in counts.items()))
        told = ", ".join(f"{n} {site}" for site, n in sorted(sites.items()))
        sys.stdout.write(f" ({told})\n" if told else "\n")
