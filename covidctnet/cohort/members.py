"""The studies of a cohort, and what may not leak from one split into another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from covidctnet.classes import Label
from covidctnet.errors import CohortError

__all__ = [
    "DRAWN",
    "EXTERNAL",
    "SPLITS",
    "Leak",
    "Member",
    "Refused",
    "check_hosts",
    "check_leaks",
    "check_members",
    "check_requested_splits",
    "find_leaks",
    "split_named",
]

# In the order in which a small cohort fills them: everybody needs the first two.
DRAWN = ("denoiser_train", "train", "denoiser_val", "val", "test")
# Nobody is drawn into it: it is of those whom the cohort file names.
EXTERNAL = "external"
SPLITS = (*DRAWN, EXTERNAL)
_SPELLINGS = {"validation": "val", "denoiser": "denoiser_train"}
_MOST_NAMED = 3
# A series UID of so many patients, and of one in so many, is no series.
_CONSTANT = 10


@dataclass(frozen=True)
class Member:
    """One study of a cohort.

    Attributes:
        study: Short study id.
        patient: Pseudonym; studies of one patient stay together.
        label: Its class.
        split: That the cohort file requests, if any; in `Splits`, the one it is in.
        site: Where it was scanned, if known.
        content: SHA-256 of its voxels and place, see `covidctnet.volume.Source`; empty when it has
            not been read yet.
        series: Opaque keys of its DICOM series.
        host: First twelve digits of the `content` of the scan that lesions were painted into.
        is_requested: In `Splits`: whether the cohort file requested the split.
        traits: What the cohort file says besides, by name; figures may be grouped by it.
    """

    study: str
    patient: str
    label: Label
    split: str | None = None
    site: str | None = None
    content: str = ""
    series: tuple[str, ...] = ()
    is_requested: bool = False
    host: str = ""
    traits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Refused:
    """One study of a cohort that could not be used.

    Attributes:
        study: Short study id.
        patient: Pseudonym.
        label: Its class.
        code: Why, as in docs/reference/errors.md.
        split: Where it would be, so that an evaluation can tell of it; that of its patient's other
            studies where there are some. None where nothing says it.
        site: Where it was scanned, if known.
        is_requested: Whether the cohort file requested the split.
    """

    study: str
    patient: str
    label: Label
    code: str
    split: str | None = None
    site: str | None = None
    is_requested: bool = False


class Leak(NamedTuple):
    """One scan under several patients: data of one split may leak into another.

    Attributes:
        what: ``an identical volume`` or ``one series``.
        members: A study of every patient, sorted by study.
    """

    what: str
    members: tuple[Member, ...]


def split_named(requested: str) -> str:
    """The split that a cohort file means, whatever its spelling; unknown words stay."""
    folded = requested.strip().casefold()
    return _SPELLINGS.get(folded, folded)


def check_requested_splits(members: Iterable[Member]) -> None:
    """Splits that a cohort file requests exist, and take patients of that class.

    Raises:
        CohortError: If not.
    """
    for member in members:
        if not member.split:
            continue
        split = split_named(member.split)
        if split not in SPLITS:
            raise CohortError(
                f"expected one of the splits {', '.join(SPLITS)} for a {member.label} patient, got "
                f"{member.split!r}. Correct the column split in cohort.csv."
            )
        if split.startswith("denoiser") and member.label.rank:
            raise CohortError(
                f"expected a Control patient in split {split}, got one with {member.label}: the "
                "denoiser learns from Controls only. Choose train, val or test."
            )


def check_members(members: Sequence[Member]) -> None:
    """Nothing of a divided cohort is in two splits: no patient, study, series or volume.

    Args:
        members: The studies, with the split that each is in.

    Raises:
        CohortError: If one does; it tells short study ids and pseudonyms.
    """
    assigned: dict[str, Member] = {}
    for member in members:
        if member.split not in SPLITS:
            raise CohortError(
                f"study {member.study}: split must be one of {', '.join(SPLITS)}, "
                f"got {member.split!r}"
            )
        first = assigned.setdefault(member.patient, member)
        if first.split != member.split:
            raise CohortError(
                f"patient {member.patient} is in two splits, {first.split} (study "
                f"{first.study}) and {member.split} (study {member.study}). Give all studies of a "
                "patient one split."
            )
        if first.label != member.label:
            raise CohortError(
                f"patient {member.patient} has two labels, {first.label} and {member.label}. "
                "Give a patient one label."
            )
        if member.split.startswith("denoiser") and member.label.rank:
            raise CohortError(
                f"study {member.study} is {member.label}; the denoiser learns from Control "
                "patients only. Choose train, val or test."
            )
    times = Counter(member.study for member in members)
    study, most = max(times.items(), key=lambda item: item[1], default=("", 1))
    if most > 1:
        raise CohortError(f"study {study} is in the cohort {most} times. Remove the copies.")
    check_leaks(members)
    check_hosts(members)


def check_hosts(members: Iterable[Member]) -> None:
    """Lungs that lesions were painted into are in one split, all copies; or the denoiser's too.

    Raises:
        CohortError: If they are not; it tells short study ids.
    """
    first: dict[str, Member] = {}
    for member in members:
        lungs = member.host or member.content[:12]
        if not lungs or str(member.split).startswith("denoiser"):
            continue
        other = first.setdefault(lungs, member)
        if other.split != member.split and (other.host or member.host):
            raise CohortError(
                f"study {member.study} in {member.split} and study {other.study} in "
                f"{other.split} are the same lungs with other lesions painted into them: they "
                "would be on both sides. Give them the same split in cohort.csv; their Control may "
                "have the split denoiser_train instead."
            )


def check_leaks(members: Iterable[Member]) -> None:
    """No volume and no series is under two patients.

    Raises:
        CohortError: If one is; it tells short study ids and pseudonyms.
    """
    leaks = find_leaks(members)
    if not leaks:
        return
    named = "; ".join(
        f"{leak.what} is "
        + " and ".join(
            f"study {m.study} (patient {m.patient}" + (f", {m.split})" if m.split else ")")
            for m in leak.members
        )
        for leak in leaks[:_MOST_NAMED]
    )
    more = f"; and {len(leaks) - _MOST_NAMED} more" if len(leaks) > _MOST_NAMED else ""
    raise CohortError(
        f"the same scan is under two patients: {named}{more}. If they are one person, give them "
        "one name in cohort.csv; if not, remove the wrong study. Then preprocess again, which "
        "lists the paths in leaks.csv."
    )


def find_leaks(members: Iterable[Member]) -> list[Leak]:
    """Volumes and series that are under more than one patient.

    Patients in one split count too: the next draw may part them. Copies under one patient stay
    together and do no harm. Studies whose content is unknown are passed.

    Returns:
        Sorted by study, volumes first. A series that ten patients or more share, a tenth of all,
        is none: it is a constant that an anonymiser wrote, and true copies are the same volume.
    """
    volumes: dict[str, list[Member]] = {}
    series: dict[str, list[Member]] = {}
    members = sorted(members, key=lambda m: m.study)
    constant = max(_CONSTANT, len({m.patient for m in members}) / _CONSTANT)
    for member in members:
        if member.content:
            volumes.setdefault(member.content, []).append(member)
        for key in member.series:
            series.setdefault(key, []).append(member)
    identical = [c for c in map(_by_patient, volumes.values()) if len(c) > 1]
    known = set(identical)
    shared = [c for c in map(_by_patient, series.values()) if 1 < len(c) < constant]
    shared = [c for c in shared if c not in known]
    return [
        *(Leak("an identical volume", c) for c in identical),
        *(Leak("one series", c) for c in dict.fromkeys(shared)),
    ]


def _by_patient(members: Sequence[Member]) -> tuple[Member, ...]:
    """The first study of every patient."""
    firsts = {m.patient: m for m in reversed(members)}
    return tuple(sorted(firsts.values(), key=lambda m: m.study))
