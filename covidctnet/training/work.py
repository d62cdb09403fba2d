"""The folder of a training run, and what the card says of the data and of the program."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from covidctnet._version import __version__
from covidctnet.classes import CHEST_CT
from covidctnet.cohort.splits import Splits, studies_of_split
from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import CohortError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE
from covidctnet.weights.model_card import NOT_STATED

__all__ = ["WorkFolder", "describe_data", "is_synthetic", "one_preprocessing", "origin"]


class WorkFolder:
    """Where a training run keeps what it makes.

    Args:
        path: Holds ``preprocessed/``, ``splits.json``, ``denoiser/``, ``residuals/``,
            ``classifier/`` and ``weights/``, as they come.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.preprocessed = self.path / "preprocessed"
        self.splits_file = self.path / "splits.json"
        self.weights = self.path / "weights"

    def studies(self, split: str) -> list[StoredStudy]:
        """Preprocessed studies of a split.

        Raises:
            UsageError: If there are none, or one has gone missing.
        """
        return studies_of_split(self.path, split)


def is_synthetic(study: StoredStudy) -> bool:
    """Whether a study is a phantom."""
    return SYNTHETIC_NOTE in study.notes


def one_preprocessing(studies: Sequence[StoredStudy]) -> Mapping[str, Any]:
    """The settings that all of these studies were preprocessed with.

    Raises:
        CohortError: If they were preprocessed in different ways.
    """
    settings = {study.settings_digest: study.settings for study in studies}
    if len(settings) != 1:
        raise CohortError(
            f"the studies were preprocessed in {len(settings)} different ways; training needs one "
            "way. Run preprocess again with one set of settings."
        )
    # Those of an earlier version tell fewer settings; the others had one value only.
    return asdict(PreprocessSettings(**next(iter(settings.values()))))


def origin(licence: str = "") -> dict[str, Any]:
    """Entries of a card: when, with what and from which commit (of a checkout) it was made.

    Args:
        licence: That the owner of the weights states; the package's own says nothing of them.
    """
    commit = None
    here = Path(__file__).resolve().parents[2]
    if (here / ".git").exists():
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
        )
        commit = found.stdout.strip() or None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "covidctnet": __version__,
        "torch": torch.__version__,
        "licence": licence or NOT_STATED,
    }


def describe_data(
    work: WorkFolder, studies: Sequence[StoredStudy], attribution: str, *, drawn: bool = False
) -> dict[str, Any]:
    """What a stage has learned from, for the card: evaluation refuses these studies.

    Args:
        work: With the splits.
        studies: That taught the stage, or chose its checkpoint.
        attribution: Whom the licence of the data requires to be named.
        drawn: Whether lesions were drawn into the Controls among them.
    """
    splits = Splits.load(work.splits_file)
    kinds = Counter(_kind(study, drawn=drawn) for study in studies)
    entry = {
        "studies": len(studies),
        "studies_by_kind": dict(sorted(kinds.items())),
        "splits_digest": splits.digest,
        # Lungs that lesions were painted into have been seen as well.
        "seen": " ".join(sorted({m for s in studies for m in (s.source.mark, s.source.host) if m})),
        **({"fold": splits.fold} if splits.fold else {}),
        "patients": {k: dict(v) for k, v in splits.counts().items()},
        "sites": sorted({study.site for study in studies if study.site}),
    }
    return {**entry, "attribution": attribution} if attribution else entry


def _kind(study: StoredStudy, *, drawn: bool) -> str:
    """What a study is to the networks; `drawn` where they saw it with findings drawn in."""
    if is_synthetic(study):
        return "synthetic patients (phantoms)"
    is_painted = PAINTED_NOTE in study.notes or (drawn and study.label is CHEST_CT.CONTROL)
    return "real lungs with painted lesions" if is_painted else "patients"
