"""Who is trained on and who is tested on: by patient, seeded, written down."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.apportion import assign
from covidctnet.cohort.members import (
    DRAWN,
    EXTERNAL,
    SPLITS,
    Member,
    Refused,
    check_hosts,
    check_leaks,
    check_members,
    check_requested_splits,
    split_named,
)
from covidctnet.cohort.persons import ToldApart
from covidctnet.cohort.rows import (
    ASSIGNMENT,
    member_from,
    member_row,
    refused_from,
    refused_row,
)
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import write_whole

__all__ = [
    "SPLITS",
    "Member",
    "SplitSettings",
    "Splits",
    "draw",
    "make_splits",
    "placed_in",
    "studies_of_split",
]


@dataclass(frozen=True)
class SplitSettings:
    """How a cohort is divided.

    Attributes:
        denoiser_controls: Share of the Control patients set aside for the denoiser; they take part
            in nothing later. (The paper: 67 of 97.) 0 for a system without a denoiser.
        validation: Share of the patients of either part that choose the best checkpoint.
        test: Share of the remaining patients that nothing is trained or chosen on.
        seed: Of the shuffling.
    """

    denoiser_controls: float = 0.6
    validation: float = 0.15
    test: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.denoiser_controls < 1 and self.validation > 0 and self.test >= 0):
            raise UsageError(
                "shares must be positive (test and denoiser_controls may be 0), "
                "denoiser_controls below 1, got "
                f"{self.denoiser_controls}, {self.validation}, {self.test}"
            )
        if self.validation + self.test >= 1:
            raise UsageError(
                f"validation ({self.validation}) + test ({self.test}) must stay below 1"
            )
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, got {self.seed}")

    def shares(self, label: Label) -> Mapping[str, float]:
        """Share of a label's patients in each split that it takes part in."""
        denoiser = 0.0 if label.rank else self.denoiser_controls
        shares = {
            "denoiser_train": denoiser * (1 - self.validation),
            "denoiser_val": denoiser * self.validation,
            "train": (1 - denoiser) * (1 - self.validation - self.test),
            "val": (1 - denoiser) * self.validation,
            "test": (1 - denoiser) * self.test,
        }
        return {name: shares[name] for name in DRAWN if shares[name] > 0}


@dataclass(frozen=True)
class Splits:
    """Which split every study is in.

    Attributes:
        members: The studies, with their split in `Member.split`.
        seed: Of the shuffling.
        settings: What they were drawn by; None if that is not known.
        fold: Which one of several divisions of the same cohort, such as ``2 of 5``.
        classes: Of the labels.
        refused: Studies that could not be used, with the split where each would be.
        told_apart: How the patients were told apart; None where an earlier version divided them.
    """

    members: tuple[Member, ...]
    seed: int = 0
    settings: SplitSettings | None = None
    fold: str | None = None
    classes: Classes = CHEST_CT
    refused: tuple[Refused, ...] = ()
    told_apart: ToldApart | None = None

    def __post_init__(self) -> None:
        check_members(self.members)

    def studies(self, split: str) -> tuple[str, ...]:
        """Study ids of a split, sorted."""
        return tuple(sorted(m.study for m in self.members if m.split == split))

    @property
    def assignment(self) -> Mapping[str, str]:
        """Split of every study id."""
        return MappingProxyType({m.study: str(m.split) for m in self.members})

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any assignment."""
        # Not over sites and contents: a folder that learns of them later is divided as before.
        rows = [{k: member_row(m)[k] for k in ASSIGNMENT} for m in self._sorted()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Patients by split and label title."""
        patients = {(m.patient, m.split, m.label) for m in self.members}
        return {
            name: {
                label.title: sum(s[1:] == (name, label) for s in patients) for label in self.classes
            }
            for name in SPLITS
            if name != EXTERNAL or any(split == name for _, split, _ in patients)
        }

    def save(self, path: Path) -> None:
        """Write them as JSON, atomically."""
        text = json.dumps(
            {
                "digest": self.digest,
                "seed": self.seed,
                "drawn_by": asdict(self.settings) if self.settings else None,
                "fold": self.fold,
                # Named where they are not those of all cohorts before: older files stay the same.
                **({} if self.classes == CHEST_CT else {"classes": self.classes.to_dict()}),
                **({"told_apart": self.told_apart.to_dict()} if self.told_apart else {}),
                "patients": self.counts(),
                "studies": [member_row(m) for m in self._sorted()],
                # In their order, by which they are drawn.
                **({"refused": [refused_row(r) for r in self.refused]} if self.refused else {}),
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
            classes = Classes.from_dict(data["classes"]) if "classes" in data else CHEST_CT
            members = tuple(member_from(row, classes) for row in data["studies"])
            drawn = data.get("drawn_by")
            settings = SplitSettings(**drawn) if drawn else None
            refused = tuple(refused_from(row, classes) for row in data.get("refused", ()))
            told = ToldApart.from_dict(data["told_apart"]) if data.get("told_apart") else None
            splits = cls(
                members, int(data["seed"]), settings, data.get("fold"), classes, refused, told
            )
        except FileNotFoundError:
            raise UsageError(f"no {path.name} in the work folder; run preprocess first") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CohortError(
                f"{path.name} is damaged ({type(error).__name__}). Restore it; or remove it, and "
                "what was trained from it, and run preprocess again."
            ) from None
        if splits.digest != data.get("digest"):
            raise CohortError(
                f"{path.name} was changed after it was written (digest {splits.digest}, "
                f"file says {data.get('digest')}). Undo that. To set splits, fill the column split "
                "in cohort.csv; covidctnet split --redraw draws them again."
            )
        return splits

    def _sorted(self) -> list[Member]:
        return sorted(self.members, key=lambda m: m.study)


def studies_of_split(work: Path, split: str) -> list[StoredStudy]:
    """Preprocessed studies of a split, with the labels of the splits.

    Splits are written again by every run of preprocess, stored volumes only when the images change:
    a corrected label is in the former.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        split: One of `SPLITS`.

    Raises:
        UsageError: If one has gone missing: figures over the rest would look like figures over all.
        CohortError: If the splits are damaged, an image is under two patients, or the same lungs
            are on both sides.
    """
    splits = Splits.load(work / "splits.json")
    members = splits.members
    chosen = {m.study: m for m in members if m.split == split}
    stored = {study.id: study for study in Store(work / "preprocessed").index()}
    # The splits may have been written before the contents were known.
    sources = {study.id: study.source for study in stored.values()}
    members = tuple(
        replace(m, content=s.digest or m.content, host=s.host or m.host)
        if (s := sources.get(m.study))
        else m
        for m in members
    )
    check_leaks(members)
    check_hosts(members)
    missing = sorted(chosen.keys() - stored.keys())
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(chosen)} studies of split {split} are not preprocessed "
            f"(first: {missing[0]}). Run preprocess again."
        )
    return [
        replace(stored[study], label=chosen[study].label, classes=splits.classes)
        for study in sorted(chosen, key=lambda study: stored[study].rank)
    ]


def make_splits(
    members: Iterable[Member],
    settings: SplitSettings,
    *,
    previous: Splits | None = None,
    classes: Classes = CHEST_CT,
) -> Splits:
    """Divide a cohort by patient, stratified by label and site.

    A patient whom the cohort file or an earlier run gave a split keeps it: adding patients to an
    archive never moves anybody from training to test.

    Args:
        members: The studies; `Member.split` is obeyed where given.
        settings: Shares and seed.
        previous: Splits of an earlier run on a part of the cohort.
        classes: Of the labels; each needs patients.

    Raises:
        CohortError: If a label has too few patients for its splits, requested splits contradict
            each other, or a scan is under two patients.
    """
    members = tuple(sorted(members, key=lambda m: m.study))
    check_requested_splits(members)
    fixed: dict[str, str] = placed_in(previous)
    for member in members:
        if member.split:
            requested = split_named(member.split)
            if fixed.setdefault(member.patient, requested) != requested:
                raise CohortError(
                    f"patient {member.patient} is in two splits, {fixed[member.patient]} and "
                    f"{requested}. Give all studies of a patient one split."
                )
    rng = np.random.default_rng(settings.seed)
    # A cohort file that gives every patient a split may leave a stage without patients on purpose.
    for label in classes if not all(m.split for m in members) else ():
        fixed |= draw(members, label, settings.shares(label), fixed, rng)
    assigned = (
        replace(m, split=fixed[m.patient], is_requested=m.split is not None) for m in members
    )
    return Splits(tuple(assigned), settings.seed, settings, classes=classes)


def placed_in(previous: Splits | None) -> dict[str, str]:
    """Split of every patient whom an earlier run placed, those without a usable study too."""
    if previous is None:
        return {}
    placed = {r.patient: r.split for r in previous.refused if r.split}
    return placed | {m.patient: str(m.split) for m in previous.members}


def draw(
    members: Iterable[Member],
    label: Label,
    shares: Mapping[str, float],
    fixed: Mapping[str, str],
    rng: np.random.Generator,
) -> dict[str, str]:
    """Draw splits for the patients of a label who have none, stratified by site.

    Args:
        members: The studies.
        label: Of the patients.
        shares: Of each split.
        fixed: Splits of those who have one.
        rng: Draws who goes where.

    Returns:
        Split of each of the others.

    Raises:
        CohortError: If there are too few for one in each split.
    """
    sites: dict[str, str] = {}
    # By what the scans hold: ids are of a key, and the same seed draws the same patients.
    for member in sorted(members, key=lambda m: (m.content or m.patient, m.study)):
        if member.label is label and fixed.get(member.patient) != EXTERNAL:
            # Who was scanned at several sites counts where the first study is.
            sites.setdefault(member.patient, member.site or "")
    counts = Counter(fixed[p] for p in sites if p in fixed)
    free_count = len(sites) - counts.total()
    # A cohort file that gives every patient a split may do without a test.
    lacking = [n for n in shares if not counts[n] and (free_count or n != "test")]
    if len(sites) < len(shares) and free_count < len(lacking):
        raise CohortError(
            f"{label} needs at least {len(shares)} patients (one each for "
            f"{', '.join(shares)}), got {len(sites)}; none is left for "
            f"{', '.join(lacking)}. Add patients"
            + (", or set the test share to 0." if "test" in shares else ".")
        )
    return assign(sites, shares, fixed, rng)
