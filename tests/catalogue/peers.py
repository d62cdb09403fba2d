"""What other packages do on the same inputs, and how that is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from covidctnet.io.canonical import canonical
from tests.catalogue import peer_worker
from tests.catalogue.cases import Case, Expected, Refusal, Truth

__all__ = ["LIMITS", "PEERS", "Peer", "Verdict", "judged", "takes"]

PEERS = tuple(peer_worker.PEERS)
# An interpreter that has the packages, when this one has not.
PYTHON_VARIABLE = "COVIDCTNET_PEERS_PYTHON"
# Corners of a volume may lie this far from where they belong.
CORNER_TOLERANCE_MM = 0.1
# Numbers that went through other floats may differ by this.
FLOAT_TOLERANCE_HU = 1e-3
# What a scanner marks as outside, and everything thinner than air, is air.
AIR_HU = -1024


class _Limits(NamedTuple):
    """What the page tells of the comparison."""

    corner_mm: float
    seconds: int
    gib: int


LIMITS = _Limits(CORNER_TOLERANCE_MM, peer_worker.LIMIT_S, peer_worker.LIMIT_BYTES // 2**30)
Verdict = Literal["right", "refused", "wrong", "crashed", "hung", "-"]


def takes(peer: str, case: Case) -> bool:
    """Whether a case is any business of a package."""
    if case.options or case.format == "zip":
        return False
    return case.format == "dicom" or peer == "SimpleITK"


class Peer:
    """A process that reads with another package.

    Attributes:
        name: Of the package.
        version: None when it is not installed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [
                os.environ.get(PYTHON_VARIABLE, sys.executable),
                str(Path(peer_worker.__file__)),
                name,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        word, _, number = self._answer().partition(" ")
        self.version = number if word == "ready" else None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def read(self, case: Case, folder: Path, expected: Expected, work: Path) -> Verdict:
        """What the package makes of a case that was built.

        Args:
            case: The case.
            folder: Where it was built.
            expected: What its `build` returned.
            work: An existing folder for the answer.
        """
        if not takes(self.name, case):
            return "-"
        answer = work / f"{self.name}.npz"
        job = {
            "format": case.format,
            "path": str(case.input_in(folder)),
            "answer": str(answer),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        how = self._answer()
        if how == "hung":
            return "hung"
        if how == "ended" and answer.with_suffix(".txt").is_file():
            return "refused"
        if how != "ended" or not answer.is_file():
            return "crashed"
        with np.load(answer) as found:
            return judged(found["array"], found["affine"], expected)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def judged(array: np.ndarray, affine: np.ndarray, expected: Expected) -> Verdict:
    """Whether a volume is the true one, or one that does no harm."""
    if isinstance(expected, Refusal):
        return "right" if _is_any(array, affine, expected.harmless) else "wrong"
    return "right" if _is_any(array, affine, [expected]) else "wrong"


def _is_any(array: np.ndarray, affine: np.ndarray, truths: Sequence[Truth]) -> bool:
    if array.ndim != 3 or array.dtype.kind not in "iuf" or not np.isfinite(affine).all():
        return False
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return False
    turned = canonical(array, affine)
    return any(_is_like(turned.array, turned.affine, truth) for truth in truths)


def _is_like(array: np.ndarray, affine: np.ndarray, truth: Truth) -> bool:
    if array.shape != truth.array.shape:
        return False
    size = np.array([*array.shape]) - 1
    corners = np.array([[*(size * corner), 1] for corner in np.ndindex(2, 2, 2)]).T
    apart_mm = np.linalg.norm(((affine - truth.affine) @ corners)[:3], axis=0).max()
    apart_hu = np.abs(np.maximum(array.astype(np.float64), AIR_HU) - truth.array).max()
    return bool(
        apart_mm <= CORNER_TOLERANCE_MM and apart_hu <= truth.tolerance_hu + FLOAT_TOLERANCE_HU
    )
