"""Commands that answer: from scans to results and figures."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from covidctnet.commands.common import (
    NOTICE,
    Exit,
    Network,
    Output,
    StudyLimits,
    cluster_of,
    existing,
)
from covidctnet.errors import UsageError
from covidctnet.progress import bar

if TYPE_CHECKING:
    from covidctnet.contract import Predictor
    from covidctnet.run.runner import Runner

__all__ = ["classify", "compare", "evaluate", "inspect", "merge"]


def classify(
    paths: Sequence[str],
    *,
    output: Output = "results",
    network: Network,
    every_series: bool = False,
    series: str = "",
    workers: int = 0,
    settle: float = 0.0,
    wait: bool = False,
    part: str = "",
    study_limits: StudyLimits,
    metrics_file: str = "",
    runner: str = "local",
    dicom: bool = False,
    nifti: bool = False,
    key: str = "",
) -> int:
    """Answer every CT study, or every radiograph, under some paths: Covid-19, CAP or Control.

    Args:
        paths: DICOM folders, NIfTI, MHA, NRRD; nested. For weights of a system that reads
            radiographs: DICOM of CR and DX, PNG, JPEG, TIFF.
        output: Folder for the results.
        network: Weights, and where they run.
        every_series: An answer for every series, not only for the best one of a study.
        series: Answer this series alone, by the key that covidctnet inspect shows.
        workers: Processes that read studies, each some 0.5 GB; 0 takes two on a CPU of two cores
            and more, with a GPU two fewer than cores, sixteen at most; on a cluster for every
            worker of Ray, two on a CPU and eight with a GPU.
        settle: Leave a study for the next run when a file of it was written less than so many
            seconds ago; for folders that are being filled.
        wait: Wait for the end of another run that writes into the same folder.
        part: Only the studies of part K/N, as 3/20, into a folder of its own; slurm takes the task
            of an array of SLURM; covidctnet merge makes the tables of all.
        study_limits: What reading a study may cost.
        metrics_file: File for figures of the run in the text format of Prometheus.
        runner: Where studies are answered: local; ray, workers of Ray on this machine; or
            ray://HOST:PORT, HOST:PORT or auto, a cluster of Ray.
        dicom: Write DICOM results of every answer: SEG, SR and a picture that lie in its study.
        nifti: Write NIfTI of every answer in the geometry of its source: lungs, lesions, residual;
            the page then draws them over the scan.
        key: Folder of an earlier run whose ids of studies are taken; a new key by default, in
            do-not-share/ of the results.
    """
    if workers < 0:
        raise UsageError(f"expected --workers of 0 or more, got {workers}. 0 chooses.")
    if not 0 <= settle < math.inf:
        raise UsageError(f"expected --settle SECONDS of 0 or more, got {settle:g}")

    from covidctnet.devices import pick_device
    from covidctnet.report import Results
    from covidctnet.run.classify import classify_into, default_readers, ids_of_results
    from covidctnet.run.metrics import Metrics
    from covidctnet.run.outputs import OutputKind, check_packages
    from covidctnet.run.parts import Part

    outputs: list[OutputKind] = []
    if dicom:
        outputs.append("dicom")
    if nifti:
        outputs += ["nifti", "view"]
    check_packages(outputs)
    scans = [existing(path) for path in paths]
    share = Part.parse(part, os.environ) if part else None
    results = Results(share.folder(Path(output)) if share else Path(output), wait=wait)
    ids = ids_of_results(Path(output), existing(key) if key else None)
    limits = study_limits.limits
    metrics = Metrics(Path(metrics_file)) if metrics_file else None
    with cluster_of(runner) as cluster, bar("classifying") as progress, ExitStack() as ending:
        answering: Predictor | Runner
        if cluster:
            answering = network.runner(cluster, limits, readers=workers)
        else:
            answering = network.load()
            workers = workers or default_readers(pick_device(network.device).type)
        if metrics:
            ending.callback(metrics.ended)
        counts = classify_into(
            results,
            scans,
            answering,
            every_series=every_series,
            series=series or None,
            progress=progress,
            readers=max(1, workers),
            settle_s=settle,
            part=share,
            limits=limits,
            metrics=metrics,
            outputs=outputs,
            ids=ids,
            ids_folder=Path(output),
        )
    sys.stdout.write(f"{counts}\n{NOTICE}\n")
    return counts.exit_code


def merge(folder: str, *, partial: bool = False, wait: bool = False) -> int:
    """Make one table of the parts that classify --part answered.

    Args:
        folder: The output of all parts.
        partial: Merge although parts are missing or have not ended.
        wait: Wait for runs that still write into a part.
    """
    from covidctnet.run.classify import Counts
    from covidctnet.run.parts import merge_parts

    merged = merge_parts(existing(folder), partial=partial, wait=wait)
    counts = Counts(merged.counts)
    sys.stdout.write(f"{counts}\n{NOTICE}\n")
    return counts.exit_code


def inspect(
    paths: Sequence[str], *, json: bool = False, quick: bool = False, show_ids: bool = False
) -> int:
    """Show what was found under some paths and what would be done with it.

    Args:
        paths: Folders or files.
        json: Print JSON.
        quick: Headers of DICOM only; without the gates that need voxels or pixels.
        show_ids: Show patient and accession of every study, on a terminal and nowhere else.
    """
    if show_ids and (json or not sys.stdout.isatty()):
        raise UsageError(
            "--show-ids shows names and numbers of patients on a terminal alone, got "
            f"{'--json' if json else 'a file or a pipe'}. Leave it out."
        )

    from covidctnet.io.discover import Study
    from covidctnet.run.inspect import ids_of, inspect_paths, render

    def add_ids(study: Study, entry: dict[str, Any]) -> None:
        entry["ids"] = ids_of(study, every_file=entry["code"] in ("MIXED_PATIENT", "MIXED_STUDY"))

    with bar("inspecting") as progress:
        report = inspect_paths(
            [existing(path) for path in paths],
            voxels=not quick,
            progress=progress,
            note=add_ids if show_ids else None,
        )
    sys.stdout.write((dumps(report, indent=1) if json else render(report)) + "\n")
    outcomes = {study["outcome"] for study in report["studies"]}
    if "readable" not in outcomes:
        return Exit.NONE_CLASSIFIED
    return Exit.OK if outcomes == {"readable"} else Exit.SOME_FAILED


def evaluate(
    *,
    data: Sequence[str] | None = None,
    work: str | None = None,
    predictions: str | None = None,
    folds: Sequence[str] | None = None,
    classes: str = "",
    output: Output = "evaluation",
    network: Network,
    seed: int = 0,
    runner: str = "local",
    name: str = "",
    contact: str = "",
    paper: str = "",
    key: str = "",
) -> int:
    """Measure accuracy and AUC with intervals on labelled patients.

    Args:
        data: Labelled folders to classify.
        work: Work folder: its held-back test split, and its split external apart from it.
        predictions: Answers made elsewhere: a .csv with study, patient, truth, p_control,
            p_covid19, p_cap, or .jsonl; with --work only those of its test split are taken.
        folds: Results of evaluate for several folds or sites, or work folders of folds with their
            weights: one report over all.
        classes: Of these answers, the normal one first: "Control, Ill"; by default those of the
            work folder, else Control, Covid-19, CAP. A column p_ for each.
        output: Folder for the tables.
        network: Weights, and where they run.
        seed: Of the bootstrap.
        runner: See classify: local, ray, ray://HOST:PORT, HOST:PORT or auto.
        name: Of the run, for the pages.
        contact: Whom to ask about it, for the pages.
        paper: Folder for figures as SVG, PDF and PNG, tables as CSV, LaTeX and XLSX, and
            checklists; the extra paper is needed. See covidctnet paper.
        key: Folder of an earlier evaluation whose ids are taken, to compare the two; a new key by
            default, in do-not-share/ of the output. With --work the ids are those of its folder.
    """
    if folds is not None and any(one is not None for one in (data, work, predictions)):
        raise UsageError(
            "expected --folds alone, got --data, --work or --predictions too. Leave them out."
        )
    if predictions is not None and data is not None:
        raise UsageError(
            "expected --predictions FILE alone or with --work FOLDER, got --data too. The "
            "file brings its true labels, or --work does; leave --data out."
        )
    if classes and predictions is None:
        raise UsageError(
            "expected --classes with --predictions FILE alone: weights name their own classes. "
            "Leave it out."
        )
    if predictions is None and folds is None and (data is None) == (work is None):
        raise UsageError(
            "expected one of --data FOLDER, --work FOLDER, --predictions FILE or --folds, got "
            f"{'none' if data is None else 'both --data and --work'}."
        )

    if key and work is not None and predictions is None:
        raise UsageError("expected --key without --work, whose ids are its own. Leave it out.")

    from covidctnet.classes import Classes
    from covidctnet.report.run_facts import RunFacts
    from covidctnet.run.elsewhere import evaluate_predictions
    from covidctnet.run.evaluate import evaluate_data, evaluate_work
    from covidctnet.run.paper import check_packages, write_paper
    from covidctnet.workers.isolate import Limits

    run = RunFacts(name, contact)
    if paper:
        check_packages()

    target = Path(output)
    folder = existing(work) if work is not None else None
    if folds is not None:
        from covidctnet.run.folds import evaluate_folds

        with bar("evaluating") as progress:
            done = evaluate_folds(
                [existing(fold) for fold in folds],
                target,
                load=lambda weights: replace(network, weights=str(weights)).load(),
                seed=seed,
                progress=progress,
                run=run,
            )
    elif predictions is not None:
        done = evaluate_predictions(
            existing(predictions),
            target,
            work=folder,
            classes=Classes.from_titles(classes) if classes else None,
            seed=seed,
            run=run,
            key=existing(key) if key else None,
        )
    else:
        folders = [existing(path) for path in data or ()]
        with cluster_of(runner) as cluster, bar("evaluating") as progress:
            model = network.runner(cluster, Limits()) if cluster else network.load()
            if folder is not None:
                done = evaluate_work(folder, model, target, seed=seed, progress=progress, run=run)
            else:
                done = evaluate_data(
                    folders,
                    model,
                    target,
                    seed=seed,
                    progress=progress,
                    run=run,
                    key=existing(key) if key else None,
                )
    sys.stdout.write(f"{done.table}\n\nThe page is {target / 'index.html'}.\n")
    if paper:
        sys.stdout.write(f"\n{write_paper(target, Path(paper))}\n")
    sys.stdout.write(f"{NOTICE}\n")
    return Exit.SOME_FAILED if done.failed else Exit.OK


def compare(
    first: str,
    second: str | None = None,
    *,
    readers: str | None = None,
    keys: str | None = None,
    classes: str = "Control, Covid-19, CAP",
    seed: int = 0,
    output: Annotated[str | None, "-o"] = None,
    name: str = "",
    contact: str = "",
) -> None:
    """Compare two evaluations of the same patients, or one with human readers.

    Args:
        first: The predictions.csv of an evaluation.
        second: Another, on the same patients.
        readers: Table with reader, label and one of study, accession, id: human readers of the same
            studies; score (how sure of the first positive class) and condition may be there.
        keys: Table with the column study and columns of own ids, such as accession; by default the
            key table in do-not-share/ beside the first predictions.csv, or of the work folder
            around it.
        classes: Of the answers, the normal one first.
        seed: Of the bootstrap.
        output: Folder for a page and tables of the comparison with readers.
        name: Of the run, for the page.
        contact: Whom to ask about it, for the page.
    """
    if (output is not None or keys) and not readers:
        raise UsageError(
            "expected --readers FILE with -o FOLDER or --keys TABLE, got none. Add it."
        )
    if not second and not readers:
        raise UsageError(
            "expected a second predictions.csv, --readers FILE or both, got one predictions.csv. "
            "Add one of them."
        )

    import numpy as np

    from covidctnet.classes import Classes
    from covidctnet.cohort.pseudonyms import ids_of_work
    from covidctnet.evaluation.compare import compare as against
    from covidctnet.evaluation.predictions import read_predictions
    from covidctnet.evaluation.tables import comparison_table, study_tables
    from covidctnet.report.run_facts import RunFacts
    from covidctnet.run.readers import own_keys, study_of, write_study
    from covidctnet.run.same_ids import under_ids_of

    run = RunFacts(name, contact)
    known = Classes.from_titles(classes)
    own = read_predictions(Path(first), known)
    rng = np.random.default_rng(seed)
    tables = []
    if second:
        other = under_ids_of(
            Path(first).parent, Path(second).parent, own, read_predictions(Path(second), known)
        )
        tables.append(comparison_table(against(own, other, rng=rng)))
    if readers:
        own_ids = existing(keys) if keys else own_keys(Path(first), own.studies)
        ids = ids_of_work(Path(first).parent)
        study = study_of(
            own,
            existing(readers),
            known,
            keys=own_ids,
            pseudonym=ids.study if ids.secret else ids.patient,
            rng=rng,
        )
        if output is not None:
            write_study(Path(output), study, Path(first).stem, run, comparison="\n\n".join(tables))
        tables.append(study_tables(study))
        if output is not None:
            tables.append(f"The page is {Path(output) / 'index.html'}.")
    sys.stdout.write("\n\n".join(tables) + f"\n\n{NOTICE}\n")
