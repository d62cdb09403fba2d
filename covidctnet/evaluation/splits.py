"""Who is trained on and who is tested on: by patient, seeded, written down."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from covidctnet.errors import CohortError, UsageError
from covidctnet.files import write_whole
from covidctnet.io.store import Store, StoredStudy
from covidctnet.results import Label

__all__ = [
    "SPLITS",
    "Member",
    "SplitSettings",
    "Splits",
    "make_splits",
    "studies_of_split",
]

# In the order in which a small cohort fills them: everybody needs the first two.
SPLITS = ("denoiser_train", "train", "denoiser_val", "val", "test")
_SPELLINGS = {"validation": "val", "denoiser": "denoiser_train"}


@dataclass(frozen=True)
class SplitSettings:
    """How a cohort is divided.

    Attributes:
        denoiser_controls: Share of the Control patients set aside for the denoiser; they take part
            in nothing later. (The paper: 67 of 97.)
        validation: Share of the patients of either part that choose the best checkpoint.
        test: Share of the remaining patients that nothing is trained or chosen on.
        seed: Of the shuffling.
    """

    denoiser_controls: float = 0.6
    validation: float = 0.15
    test: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.denoiser_controls < 1 and self.validation > 0 and self.test >= 0):
            raise UsageError(
                "shares must be positive (test may be 0) and denoiser_controls below 1, got "
                f"{self.denoiser_controls}, {self.validation}, {self.test}"
            )
        if self.validation + self.test >= 1:
            raise UsageError(
                f"validation ({self.validation}) + test ({self.test}) must stay below 1"
            )

    def shares(self, label: Label) -> Mapping[str, float]:
        """Share of a label's patients in each split that it takes part in."""
        denoiser = self.denoiser_controls if label is Label.CONTROL else 0.0
        shares = {
            "denoiser_train": denoiser * (1 - self.validation),
            "denoiser_val": denoiser * self.validation,
            "train": (1 - denoiser) * (1 - self.validation - self.test),
            "val": (1 - denoiser) * self.validation,
            "test": (1 - denoiser) * self.test,
        }
        return {name: shares[name] for name in SPLITS if shares[name] > 0}


@dataclass(frozen=True)
class Member:
    """One study of a cohort.

    Attributes:
        study: Short study id.
        patient: Pseudonym; studies of one patient stay together.
        label: Its class.
        wanted: Split that the cohort file demands, if any.
    """

    study: str
    patient: str
    label: Label
    wanted: str | None = None


@dataclass(frozen=True)
class Splits:
    """Which split every study is in.

    Attributes:
        members: The studies, with their split in `Member.wanted`.
        seed: Of the shuffling.
    """

    members: tuple[Member, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        homes: dict[str, str] = {}
        labels: dict[str, Label] = {}
        for member in self.members:
            if member.wanted not in SPLITS:
                raise CohortError(
                    f"study {member.study}: split must be one of {', '.join(SPLITS)}, "
                    f"got {member.wanted!r}"
                )
            if homes.setdefault(member.patient, member.wanted) != member.wanted:
                raise CohortError(
                    f"patient {member.patient} stands in two splits, {homes[member.patient]} and "
                    f"{member.wanted}. Give all studies of a patient one split."
                )
            if labels.setdefault(member.patient, member.label) != member.label:
                raise CohortError(
                    f"patient {member.patient} has two labels, {labels[member.patient]} and "
                    f"{member.label}. Give a patient one label."
                )
            if member.wanted.startswith("denoiser") and member.label is not Label.CONTROL:
                raise CohortError(
                    f"study {member.study} is {member.label}; the denoiser learns from Control "
                    "patients only. Choose train, val or test."
                )
        repeated = [s for s, n in Counter(m.study for m in self.members).items() if n > 1]
        if repeated:
            raise CohortError(
                f"study {repeated[0]} stands in the cohort {len(repeated) + 1} times or more. "
                "Remove the copies."
            )

    def studies(self, split: str) -> tuple[str, ...]:
        """Study ids of a split, sorted."""
        return tuple(sorted(m.study for m in self.members if m.wanted == split))

    @property
    def assignment(self) -> Mapping[str, str]:
        """Split of every study id."""
        return MappingProxyType({m.study: str(m.wanted) for m in self.members})

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any assignment."""
        return hashlib.sha256(json.dumps(self._rows()).encode()).hexdigest()[:12]

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Patients by split and label title."""
        seen = {(m.patient, m.wanted, m.label) for m in self.members}
        return {
            name: {label.title: sum(s[1:] == (name, label) for s in seen) for label in Label}
            for name in SPLITS
        }

    def save(self, path: Path) -> None:
        """Write them as JSON, atomically."""
        text = json.dumps(
            {
                "digest": self.digest,
                "seed": self.seed,
                "patients": self.counts(),
                "studies": self._rows(),
            },
            indent=1,
        )
        write_whole(path, text + "\n")

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Read them back, and check that nobody edited a patient across a border.

        Raises:
            UsageError: If there is no such file.
            CohortError: If it is not what `save` wrote, or contradicts itself.
        """
        try:
            data = json.loads(path.read_text())
            members = tuple(
                Member(r["study"], r["patient"], Label.parse(r["label"]), r["split"])
                for r in data["studies"]
            )
            splits = cls(members, seed=int(data["seed"]))
        except FileNotFoundError:
            raise UsageError(f"no {path.name} in the work folder; run preprocess first") from None
        except (KeyError, TypeError, ValueError) as error:
            raise CohortError(
                f"{path.name} is damaged ({type(error).__name__}). Run preprocess again."
            ) from None
        if splits.digest != data.get("digest"):
            raise CohortError(
                f"{path.name} was changed after it was written (digest {splits.digest}, "
                f"file says {data.get('digest')}). Set splits in cohort.csv and preprocess again."
            )
        return splits

    def _rows(self) -> list[dict[str, str]]:
        return [
            {"study": m.study, "patient": m.patient, "label": m.label.title, "split": str(m.wanted)}
            for m in sorted(self.members, key=lambda m: m.study)
        ]


def studies_of_split(work: Path, split: str) -> list[StoredStudy]:
    """Preprocessed studies of a split, with the labels that the splits tell.

    Splits are written anew by every run of preprocess, stored volumes only when the images change:
    a corrected label is in the former.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        split: One of `SPLITS`.

    Raises:
        UsageError: If there are none, or one has gone missing: figures over the rest would look
            like figures over all.
        CohortError: If the splits are damaged.
    """
    wanted = {m.study: m for m in Splits.load(work / "splits.json").members if m.wanted == split}
    stored = {study.id: study for study in Store(work / "preprocessed").index()}
    missing = sorted(wanted.keys() - stored.keys())
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(wanted)} studies of split {split} are not preprocessed "
            f"(first: {missing[0]}). Run preprocess again."
        )
    return [replace(stored[study], label=wanted[study].label) for study in sorted(wanted)]


def make_splits(
    members: Iterable[Member], settings: SplitSettings, *, previous: Splits | None = None
) -> Splits:
    """Divide a cohort by patient, stratified by label.

    A patient whom the cohort file or an earlier run has placed stays there: adding patients to an
    archive never moves anybody from training to test.

    Args:
        members: The studies; `Member.wanted` is obeyed where given.
        settings: Shares and seed.
        previous: Splits of an earlier run on a part of the cohort.

    Raises:
        CohortError: If a label has too few patients for its splits, or the wishes contradict.
    """
    members = tuple(sorted(members, key=lambda m: m.study))
    _check_wishes(members)
    fixed: dict[str, str] = {m.patient: str(m.wanted) for m in previous.members} if previous else {}
    for member in members:
        if member.wanted:
            wanted = _spelled(member.wanted)
            if fixed.setdefault(member.patient, wanted) != wanted:
                raise CohortError(
                    f"patient {member.patient} stands in two splits, {fixed[member.patient]} and "
                    f"{wanted}. Give all studies of a patient one split."
                )
    rng = np.random.default_rng(settings.seed)
    for label in Label:
        patients = sorted({m.patient for m in members if m.label is label})
        shares = settings.shares(label)
        counts = Counter(fixed[p] for p in patients if p in fixed)
        free_count = len(patients) - counts.total()
        # Who places every patient may go without a test.
        lacking = [n for n in shares if not counts[n] and (free_count or n != "test")]
        if len(patients) < len(shares) and free_count < len(lacking):
            raise CohortError(
                f"{label} needs at least {len(shares)} patients (one each for "
                f"{', '.join(shares)}), got {len(patients)}; none is left for "
                f"{', '.join(lacking)}. Add patients"
                + (", or set the test share to 0." if "test" in shares else ".")
            )
        free = [p for p in rng.permutation(patients).tolist() if p not in fixed]
        for patient in free:
            empty = [name for name in shares if not counts[name]]
            deficit = {n: share * len(patients) - counts[n] for n, share in shares.items()}
            home = empty[0] if empty else max(deficit, key=lambda n: deficit[n])
            fixed[patient] = home
            counts[home] += 1
    placed = tuple(Member(m.study, m.patient, m.label, fixed[m.patient]) for m in members)
    return Splits(placed, seed=settings.seed)


def _spelled(wanted: str) -> str:
    return _SPELLINGS.get(wanted.strip().casefold(), wanted.strip())


def _check_wishes(members: Iterable[Member]) -> None:
    """Splits that a cohort file asks for exist, and take patients of that class."""
    for member in members:
        if not member.wanted:
            continue
        wanted = _spelled(member.wanted)
        if wanted not in SPLITS:
            raise CohortError(
                f"a {member.label} patient is wanted in split {member.wanted!r}; splits are "
                f"{', '.join(SPLITS)}"
            )
        if wanted.startswith("denoiser") and member.label is not Label.CONTROL:
            raise CohortError(
                f"a {member.label} patient is wanted in split {wanted}; the denoiser learns from "
                "Control patients only. Choose train, val or test."
            )
