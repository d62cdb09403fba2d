"""Stages of transfer: data sets that a network learns from one after the other, under one split.

Source: arXiv:2006.13212 (radiographs, then consolidation on CT, then Covid-19 v healthy, then v
non-Covid). Differs in: the paper does not say how patients were divided; here all stages share one
division, so that no patient changes sides between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from covidctnet.errors import CohortError, UsageError

__all__ = ["SIDES", "Shares", "TransferPlan", "TransferStage", "divide_stages", "read_plan"]

SIDES = ("train", "val", "test")
# A plan is a page; a larger file is something else.
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Shares:
    """How patients without a side are divided.

    Attributes:
        validation: Share of the patients that choose the best epoch.
        test: Share of the patients that nothing is trained or chosen on.
        seed: Of the division.
    """

    validation: float = 0.1
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.validation > 0 and self.test >= 0 and self.validation + self.test < 1):
            raise UsageError(
                "expected a validation share above 0, a test share from 0, and less than 1 "
                f"together, got {self.validation} and {self.test}"
            )

    def side(self, patient: str) -> str:
        """The side of a patient, whatever other patients there are.

        A list that grows moves nobody, and a patient of two data sets is on one side in both.
        """
        text = f"{self.seed} {patient}".encode()
        number = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
        if number < self.test:
            return "test"
        return "val" if number < self.test + self.validation else "train"


@dataclass(frozen=True)
class TransferStage:
    """One data set of a plan, and how long the network learns from it.

    Attributes:
        name: Of the stage.
        images: Table or folder of its pictures, relative to the plan's file.
        epochs: At most.
        learning_rate: Of a new optimiser.
    """

    name: str
    images: str
    epochs: int = 50
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if not self.name or not self.images or self.epochs < 1 or not self.learning_rate > 0:
            raise UsageError(
                "expected a stage with a name, images, at least one epoch and a learning rate "
                f"above 0, got {self.name!r:.80} with {self.epochs} epochs and "
                f"{self.learning_rate}"
            )


@dataclass(frozen=True)
class TransferPlan:
    """Stages in their order. Each starts from the best network of the one before.

    Attributes:
        stages: At least one, with names of their own.
        shares: For patients without a side of their own.
    """

    stages: tuple[TransferStage, ...]
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise UsageError(
                f"expected stages with names of their own, got {', '.join(names) or 'none'}"
            )


def read_plan(path: Path) -> TransferPlan:
    """A plan from a YAML file.

    Args:
        path: Holds ``stages``, a list of the attributes of `TransferStage`, and optionally
            ``shares``, those of `Shares`.

    Raises:
        UsageError: If the file cannot be read or says something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(
                f"expected a plan of at most {_MAX_BYTES} bytes, {path.name!r:.80} is larger"
            )
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = tuple(TransferStage(**_named(entry)) for entry in _named(content)["stages"])
        plan = TransferPlan(stages, Shares(**_named(content.get("shares", {}))))
        if content.keys() - {"stages", "shares"}:
            raise KeyError(min(content.keys() - {"stages", "shares"}))
    except OSError as error:
        raise UsageError(
            f"the plan {path.name!r:.80} cannot be read ({type(error).__name__}). Give the path "
            "of a YAML file with stages."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UsageError(
            f"expected the plan {path.name!r:.80} to have stages with name, images, epochs and "
            f"learning_rate, and shares, got: {type(error).__name__} {line}"
        ) from None
    return plan


def _named(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} where names with values are expected")
    return value


def divide_stages(
    stages: Mapping[str, Iterable[tuple[str, str]]], shares: Shares
) -> Mapping[str, str]:
    """The side of every patient, the same in all stages.

    Args:
        stages: For each stage by its name, patients with the sides that their data set gives
            them; an empty side leaves it to the shares.
        shares: Divide the patients without a side.

    Returns:
        ``train``, ``val`` or ``test`` by patient.

    Raises:
        CohortError: If a patient has no name, an unknown side, or two sides.
    """
    sides: dict[str, str] = {}
    first_in: dict[str, str] = {}
    open_patients: set[str] = set()
    leaking: dict[tuple[str, str], set[str]] = {}
    for stage, rows in stages.items():
        for patient, side in rows:
            if not patient:
                raise CohortError(
                    f"expected a patient for every picture of the stage {stage!r:.80}, got one "
                    "without. Add the column patient."
                )
            if side and side not in SIDES:
                raise CohortError(
                    f"expected train, val or test as split in the stage {stage!r:.80}, got "
                    f"{side!r:.80}"
                )
            if not side:
                open_patients.add(patient)
            elif sides.setdefault(patient, side) != side:
                leaking.setdefault((first_in[patient], stage), set()).add(patient)
            else:
                first_in.setdefault(patient, stage)
    if leaking:
        (one, other), patients = next(iter(leaking.items()))
        where = f"within {one}" if one == other else f"between {one} and {other}"
        raise CohortError(
            f"expected each patient on one side in all stages, got {len(patients)} who change "
            f"sides {where}: what was tested would have been learned before. Give each patient one "
            "split."
        )
    for patient in open_patients - sides.keys():
        sides[patient] = shares.side(patient)
    return sides
