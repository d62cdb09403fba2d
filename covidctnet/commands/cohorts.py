"""Commands that make cohorts: drawn, painted or preprocessed."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from covidctnet.commands.common import Exit, Output, StudyLimits, cluster_of, existing
from covidctnet.progress import bar

if TYPE_CHECKING:
    from covidctnet.cohort.splits import Splits, SplitSettings
    from covidctnet.preprocess import PreprocessSettings

__all__ = ["paint", "phantom", "preprocess", "split"]


def phantom(
    *,
    output: Output,
    patients: int = 4,
    controls: int | None = None,
    seed: int = 0,
    scanners: Sequence[str] = (),
    matrix: int | None = None,
    spacing_mm: float | None = None,
    radiographs: bool = False,
    radiograph_size: int = 1024,
    workers: int = 2,
) -> None:
    """Write a cohort of phantoms, CT and radiographs, with their true labels and lesions.

    Args:
        output: Folder for the cohort.
        patients: Patients of each class.
        controls: Control patients, if another number.
        seed: 0 or more; the same seed draws the same patients.
        scanners: Of amber, birch, cobalt, dune, ember, fjord, granite (these seven by default),
            harbour, ivory, unseen-a, unseen-b.
        matrix: Rows and columns, 16 to 2048; the scanner's 512 or 768 by default.
        spacing_mm: Slice distance in mm, 0.3 to 20; the scanner's by default.
        radiographs: Write a chest radiograph of every patient too, by the X-ray unit of the same
            site: DICOM (DX) or PNG, 8 to 16 bits, in OUTPUT/radiographs.
        radiograph_size: Its rows and columns at most, 32 to 4096.
        workers: Processes, about 1 GB of memory each.
    """
    from covidctnet.classes import CHEST_CT
    from covidctnet.phantom import TRAINING_SCANNERS, CohortPlan, write_cohort

    counts = {label.title: patients for label in CHEST_CT}
    if controls is not None:
        counts[CHEST_CT.CONTROL.title] = controls
    plan = CohortPlan(
        counts,
        seed=seed,
        scanners=_names(scanners) or TRAINING_SCANNERS,
        matrix=matrix,
        spacing_mm=spacing_mm,
        radiographs=radiograph_size if radiographs else None,
    )
    with bar("phantoms") as progress:
        write_cohort(Path(output), plan, workers=workers, progress=progress)
    sys.stdout.write(f"{sum(counts.values())} synthetic patients (phantoms)\n")


def _names(words: Sequence[str]) -> tuple[str, ...]:
    """Names that stand apart, or as a list in brackets in one word, which was the only way once."""
    return tuple(name for word in words for name in word.strip("[] ").replace(",", " ").split())


def paint(archive: str, *, output: Output, copies: int = 8, val: int = 1, seed: int = 0) -> None:
    """Paint lesions into the Control scans of an archive: a cohort.

    Args:
        archive: Folder with Control/ or cohort.csv.
        output: Folder for the cohort.
        copies: Painted patients of each class from every scan.
        val: Scans whose copies go to the split val.
        seed: 0 or more; the same seed, the same.
    """
    from covidctnet.phantom import PaintPlan, paint_cohort

    plan = PaintPlan(copies=copies, validation=val, seed=seed)
    with bar("painting") as progress:
        count = paint_cohort(Path(archive), Path(output), plan, progress=progress)
    sys.stdout.write(f"{count} painted patients (real lungs, drawn lesions)\n")


def preprocess(
    data: Sequence[str],
    *,
    work: Output,
    system: str | None = None,
    settings: "PreprocessSettings",
    split: "SplitSettings",
    workers: int = 2,
    wait: bool = False,
    study_limits: StudyLimits,
    runner: str = "local",
    key: str = "",
) -> int:
    """Turn a labelled archive into network input, and divide its patients.

    Args:
        data: Folders with Control/ Covid-19/ CAP/, or other classes of a system, or cohort.csv.
        work: Work folder of this training.
        system: Whose classes the labels are, and who is set aside for a denoiser; by default the
            classes of the work folder, or Control, Covid-19 and CAP.
        settings: What happens to a scan.
        split: How the patients are divided.
        workers: Processes of this machine.
        wait: Wait for the end of another run that preprocesses into the same folder.
        study_limits: What reading and preprocessing a study may cost.
        runner: Where studies are preprocessed: local; ray, ray://HOST:PORT, HOST:PORT or auto, by
            workers of Ray, one on every CPU; this machine alone writes.
        key: Folder of an earlier run whose ids of studies and patients are taken; a new key by
            default, in do-not-share/ of the work folder.
    """
    from covidctnet.run.prepare import prepare

    classes = None
    if system is not None:
        from covidctnet.registry import find_system

        chosen = find_system(system)
        classes = chosen.classes
        if not chosen.has_denoiser:
            split = replace(split, denoiser_controls=0.0)
    with cluster_of(runner) as cluster, bar("preprocessing") as progress:
        done = prepare(
            [Path(folder) for folder in data],
            Path(work),
            settings=settings,
            split=split,
            workers=workers,
            progress=progress,
            wait=wait,
            limits=study_limits.limits,
            classes=classes,
            cluster=cluster,
            key=existing(key) if key else None,
        )
    sys.stdout.write(
        f"{done.made} studies preprocessed, {done.reused} were there, "
        f"{len(done.failures)} refused\n"
    )
    for warning in done.warnings:
        sys.stdout.write(f"WARNING: {warning}\n")
    if done.splits.told_apart:
        sys.stdout.write(f"{done.splits.told_apart.words}\n")
    _print_counts(done.splits)
    return Exit.SOME_FAILED if done.failures else Exit.OK


def split(
    work: str,
    *,
    scheme: str = "paper",
    folds: int | None = None,
    denoiser_controls: float | None = None,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    redraw: bool = False,
) -> None:
    """Divide a preprocessed cohort by patient: by shares, in folds, site by site.

    Args:
        work: Work folder that preprocess filled.
        scheme: paper (90/10), 60/10/30 or shares: once; kfold or leave-one-site-out: several folds.
        folds: Of kfold, 2 or more; 5 by default.
        denoiser_controls: Share of the Control patients that only the denoiser sees; the scheme's
            by default.
        val: Share of the patients that choose the best checkpoint; the scheme's by default.
        test: Of the scheme shares: share of the patients held back; 0.15 by default.
        seed: 0 or more; the same seed, the same.
        redraw: Draw again whom an earlier run placed, and set aside what was trained from it.
    """
    from covidctnet.cohort.divide import divide, divide_in_folds
    from covidctnet.cohort.schemes import settings_of

    folder = existing(work)
    if folds is None and scheme == "kfold":
        folds = 5
    settings = settings_of(
        scheme,
        folds=folds,
        denoiser_controls=denoiser_controls,
        validation=val,
        test=test,
        seed=seed,
    )
    if scheme in ("kfold", "leave-one-site-out"):
        folds_of = divide_in_folds(folder, settings, folds=folds, redraw=redraw)
        titles = {f"folds/{name}  {s.digest}  {s.fold}": s for name, s in folds_of.items()}
    else:
        splits = divide(folder, settings, redraw=redraw)
        titles = {f"splits.json  {splits.digest}": splits}
    for title, splits in titles.items():
        sys.stdout.write(f"{title}\n")
        _print_counts(splits)


def _print_counts(splits: "Splits") -> None:
    """Patients by split and label, and by site where sites are known."""
    for name, counts in splits.counts().items():
        site_of = {m.patient: m.site for m in splits.members if m.split == name and m.site}
        sites = ", ".join(f"{n} {site}" for site, n in sorted(Counter(site_of.values()).items()))
        labels = ", ".join(f"{n} {label}" for label, n in counts.items())
        sys.stdout.write(f"  {name}: {labels}{f' ({sites})' if sites else ''}\n")
