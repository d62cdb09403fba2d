"""Reads inputs with another package; run as a script, by an interpreter that has the package.

Every line of standard input is a job in JSON: the format, the input, and where the answer goes.
Each job runs in a forked child with limits on time and memory, so that a crash is an answer too.
It imports nothing of this project: the interpreter need not have it.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

# Seconds of the processor: those of the clock depend on what else the machine does.
LIMIT_S = 20
CLOCK_LIMIT_S = 30 * LIMIT_S
LIMIT_BYTES = 8 * 2**30
Answer = tuple[np.ndarray, np.ndarray]
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk(path: Path, kind: str) -> Answer:
    """The recipe of its documentation: all files of the first series, in the order it gives."""
    import SimpleITK

    if kind == "dicom":
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    affine = np.eye(4)
    if image.GetDimension() == 3:
        directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, :3] = directions[:, ::-1]
        affine[:3, 3] = image.GetOrigin()
    return array, affine


def highdicom(path: Path, kind: str) -> Answer:
    """All data sets of the folder that pydicom takes; a multi-frame one by itself."""
    import highdicom
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    datasets = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.is_symlink():
            try:
                datasets.append(dcmread(file))
            except InvalidDicomError:
                continue
    if len(datasets) == 1 and "PerFrameFunctionalGroupsSequence" in datasets[0]:
        volume = highdicom.Image.from_dataset(datasets[0]).get_volume()
    else:
        volume = highdicom.get_volume_from_series(datasets)
    return np.asarray(volume.array), np.asarray(volume.affine)


def dicom2nifti(path: Path, kind: str) -> Answer:
    """Its conversion of one series with default settings."""
    import dicom2nifti
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.nii.gz"
        dicom2nifti.dicom_series_to_nifti(str(path), str(target))
        image = nibabel.nifti1.load(target)
        return np.asarray(image.get_fdata()), _RAS @ image.affine


PEERS = MappingProxyType(
    {"SimpleITK": simpleitk, "highdicom": highdicom, "dicom2nifti": dicom2nifti}
)


def _child(peer: str, job: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 5))
    target = Path(job["answer"])
    try:
        array, affine = PEERS[peer](Path(job["path"]), job["format"])
    # Whatever it raises is its way to refuse.
    except Exception as error:
        target.with_suffix(".txt").write_text(type(error).__name__)
        return
    np.savez(target, array=array, affine=affine)


def main(peer: str) -> None:
    """Answer `ready` and the version, then each job by how it ended."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    # Codecs write to the terminal.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    __import__(peer)
    answers.write(f"ready {version(peer)}\n")
    answers.flush()
    context = multiprocessing.get_context("fork")
    for line in sys.stdin:
        child = context.Process(target=_child, args=(peer, json.loads(line)))
        child.start()
        child.join(CLOCK_LIMIT_S)
        if child.is_alive():
            child.kill()
            child.join()
            answers.write("hung\n")
        else:
            is_late = child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
            answers.write(
                "ended\n" if child.exitcode == 0 else "hung\n" if is_late else "crashed\n"
            )
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
