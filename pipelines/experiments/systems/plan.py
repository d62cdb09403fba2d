"""What a benchmark of systems is made of: a cohort, who is held back, and how each is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from covidctnet.classes import CHEST_CT
from covidctnet.contract import System
from covidctnet.errors import UsageError
from covidctnet.registry import find_system

__all__ = ["Cohort", "Division", "Entrant", "Plan", "read_plan"]


@dataclass(frozen=True)
class Cohort:
    """The phantoms.

    Attributes:
        patients: Of each class.
        seed: Of all of them.
        scanners: Sites; each patient is of one, drawn.
        unseen: Sites whose patients are all held back.
        matrix: Rows and columns of a scan; the scanner's own by default.
        spacing_mm: Of the slices; the scanner's own by default.
        radiograph_size: Rows and columns of a radiograph at most.
    """

    patients: int
    seed: int
    scanners: tuple[str, ...]
    unseen: tuple[str, ...]
    matrix: int | None
    spacing_mm: float | None
    radiograph_size: int

    def __post_init__(self) -> None:
        strange = set(self.unseen) - set(self.scanners)
        if strange or not set(self.scanners) - set(self.unseen):
            raise UsageError(
                f"expected unseen scanners out of {', '.join(self.scanners)}, and others to learn "
                f"from, got {', '.join(self.unseen) or 'none'}. Change scanners or unseen."
            )


@dataclass(frozen=True)
class Division:
    """Who learns from whom, of the patients of known scanners.

    Attributes:
        validation: Share that chooses the epoch.
        test: Share that is held back.
        denoiser_controls: Share of the other Controls that a denoiser alone learns from.
        seed: Of the draw.
    """

    validation: float
    test: float
    denoiser_controls: float
    seed: int

    def __post_init__(self) -> None:
        shares = (self.validation, self.test, self.denoiser_controls)
        if not all(0 < share < 1 for share in shares) or self.validation + self.test >= 1:
            raise UsageError(
                "expected shares between 0 and 1, of which validation and test leave some patients "
                f"to learn from, got {', '.join(f'{share:g}' for share in shares)}"
            )

    def splits(self, patients: Sequence[str]) -> dict[str, str]:
        """The split of each patient of one class, by the patient's name and the seed alone."""
        ranked = sorted(patients, key=self._place)
        tested = _some(self.test, len(ranked))
        validated = _some(self.validation, len(ranked))
        if tested + validated >= len(ranked):
            raise UsageError(
                f"expected patients of each class to learn from beside {tested} to test and "
                f"{validated} to choose, got {len(ranked)} of one class at known scanners. Draw "
                "more."
            )
        names = ["test"] * tested + ["val"] * validated
        names += ["train"] * (len(ranked) - len(names))
        return dict(zip(ranked, names, strict=True))

    def denoisers(self, learning: Sequence[str]) -> dict[str, str]:
        """Controls that the denoiser takes from those to learn from; one chooses its epoch."""
        ranked = sorted(learning, key=self._place)
        taken = min(max(2, round(self.denoiser_controls * len(ranked))), len(ranked) - 1)
        if taken < 2:
            raise UsageError(
                f"expected three Controls to learn from, two of them for a denoiser, got "
                f"{len(ranked)}. Draw more patients."
            )
        chosen = max(1, round(taken / 5))
        return {
            name: "denoiser_val" if place < chosen else "denoiser_train"
            for place, name in enumerate(ranked[:taken])
        }

    def _place(self, patient: str) -> str:
        return hashlib.sha256(f"{self.seed} {patient}".encode()).hexdigest()


@dataclass(frozen=True)
class Entrant:
    """One network of the benchmark.

    Attributes:
        name: On the page.
        system: Of the registry.
        steps: Command lines of ``covidctnet`` that train it, in their order.
        sister_of: The entrant whose preprocessed scans it shares, and to which it is compared.
    """

    name: str
    system: str
    steps: tuple[str, ...]
    sister_of: str = ""

    @property
    def known(self) -> System:
        """Its system."""
        return find_system(self.system)


@dataclass(frozen=True)
class Plan:
    """All that decides a benchmark.

    Attributes:
        cohort: See the class.
        division: See the class.
        timed: Patients that are answered alone, for time and memory.
        entrants: In the order of the page.
    """

    cohort: Cohort
    division: Division
    timed: int
    entrants: tuple[Entrant, ...]

    def only(self, names: Sequence[str]) -> Plan:
        """The same with some of the entrants.

        Raises:
            UsageError: If there is none of a name.
        """
        there = {entrant.name: entrant for entrant in self.entrants}
        if unknown := [name for name in names if name not in there]:
            raise UsageError(
                f"expected entrants out of {', '.join(there)}, got {', '.join(unknown)}"
            )
        chosen = tuple(there[name] for name in there if name in names)
        return replace(self, entrants=chosen)

    def __post_init__(self) -> None:
        there = [entrant.name for entrant in self.entrants]
        for place, entrant in enumerate(self.entrants):
            if entrant.sister_of and entrant.sister_of not in there[:place]:
                raise UsageError(
                    f"expected {entrant.sister_of} before its sister {entrant.name}, got "
                    f"{', '.join(there)}. Add it."
                )
        if not there or self.timed < 1:
            raise UsageError(
                f"expected an entrant or more and a patient or more to time, got {len(there)} and "
                f"{self.timed}"
            )

    def patients(self) -> Mapping[str, int]:
        """Of each class, by its title."""
        return {label.title: self.cohort.patients for label in CHEST_CT}

    def cohort_key(self) -> dict[str, Any]:
        """What decides patients and division, ready for JSON: the claim of the folder."""
        return {"cohort": asdict(self.cohort), "division": asdict(self.division)}

    def digest(self, *parts: object) -> str:
        """Twelve digits that change with the cohort, its division, and some more."""
        text = json.dumps([self.cohort_key(), *parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_plan(file: Path, changes: Mapping[str, Any]) -> Plan:
    """Read a plan.

    Args:
        file: YAML, as ``tiny.yaml``.
        changes: Of the cohort, by the names of `Cohort`; None changes nothing.

    Raises:
        UsageError: If it is no plan.
    """
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        cohort = told["cohort"] | {k: v for k, v in changes.items() if v is not None}
        for name in ("scanners", "unseen"):
            cohort[name] = tuple(cohort[name])
        return Plan(
            Cohort(**cohort),
            Division(**told["division"]),
            int(told["timed"]),
            tuple(
                Entrant(name, e["system"], tuple(e["steps"]), e.get("sister_of", ""))
                for name, e in told["entrants"].items()
            ),
        )
    except OSError as error:
        raise UsageError(
            f"expected a plan as tiny.yaml, {file.name!r} cannot be read ({error.strerror})"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise UsageError(
            f"expected a plan as tiny.yaml, {file.name!r} is none ({type(error).__name__}: "
            f"{line:.200})"
        ) from None


def _some(share: float, count: int) -> int:
    return max(1, round(share * count))
