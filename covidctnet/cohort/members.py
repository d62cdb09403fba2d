"""The studies of a cohort, and what may not cross the border between two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from covidctnet.errors import CohortError
from covidctnet.results import Label

__all__ = [
    "SPLITS",
    "Crossing",
    "Member",
    "check_crossings",
    "check_hosts",
    "check_members",
    "check_wishes",
    "find_crossings",
    "split_named",
]

# In the order in which a small cohort fills them: everybody needs the first two.
SPLITS = ("denoiser_train", "train", "denoiser_val", "val", "test")
_SPELLINGS = {"validation": "val", "denoiser": "denoiser_train"}
_TOLD = 3
# A series UID of so many patients, and of one in so many, is no series.
_CONSTANT = 10


@dataclass(frozen=True)
class Member:
    """One study of a cohort.

    Attributes:
        study: Short study id.
        patient: Pseudonym; studies of one patient stay together.
        label: Its class.
        wanted: Split that the cohort file demands, if any; in `Splits`, the split it is in.
        site: Where it was scanned, if known.
        content: SHA-256 of its voxels and place, see `covidctnet.volume.Source`; empty when it has
            not been read yet.
        series: Opaque keys of its DICOM series.
        host: First twelve digits of the `content` of the scan that lesions were painted into.
        is_asked: In `Splits`: whether the cohort file demanded the split.
    """

    study: str
    patient: str
    label: Label
    wanted: str | None = None
    site: str | None = None
    content: str = ""
    series: tuple[str, ...] = ()
    is_asked: bool = False
    host: str = ""


class Crossing(NamedTuple):
    """One scan under several patients.

    Attributes:
        what: ``an identical volume`` or ``one series``.
        members: A study of every patient, sorted by study.
    """

    what: str
    members: tuple[Member, ...]


def split_named(wanted: str) -> str:
    """The split that a cohort file means, whatever its spelling; unknown words stay."""
    folded = wanted.strip().casefold()
    return _SPELLINGS.get(folded, folded)


def check_wishes(members: Iterable[Member]) -> None:
    """Splits that a cohort file asks for exist, and take patients of that class.

    Raises:
        CohortError: If not.
    """
    for member in members:
        if not member.wanted:
            continue
        wanted = split_named(member.wanted)
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


def check_members(members: Sequence[Member]) -> None:
    """Nothing of a divided cohort crosses a border: no patient, study, series or volume.

    Args:
        members: The studies, with the split that each is in.

    Raises:
        CohortError: If one does; it tells short study ids and pseudonyms.
    """
    homes: dict[str, Member] = {}
    for member in members:
        if member.wanted not in SPLITS:
            raise CohortError(
                f"study {member.study}: split must be one of {', '.join(SPLITS)}, "
                f"got {member.wanted!r}"
            )
        first = homes.setdefault(member.patient, member)
        if first.wanted != member.wanted:
            raise CohortError(
                f"patient {member.patient} stands in two splits, {first.wanted} (study "
                f"{first.study}) and {member.wanted} (study {member.study}). Give all studies of a "
                "patient one split."
            )
        if first.label != member.label:
            raise CohortError(
                f"patient {member.patient} has two labels, {first.label} and {member.label}. "
                "Give a patient one label."
            )
        if member.wanted.startswith("denoiser") and member.label is not Label.CONTROL:
            raise CohortError(
                f"study {member.study} is {member.label}; the denoiser learns from Control "
                "patients only. Choose train, val or test."
            )
    times = Counter(member.study for member in members)
    study, most = max(times.items(), key=lambda item: item[1], default=("", 1))
    if most > 1:
        raise CohortError(f"study {study} stands in the cohort {most} times. Remove the copies.")
    check_crossings(members)
    check_hosts(members)


def check_hosts(members: Iterable[Member]) -> None:
    """Lungs that lesions were painted into are in one split, all copies; or the denoiser's too.

    Raises:
        CohortError: If they are not; it tells short study ids.
    """
    first: dict[str, Member] = {}
    for member in members:
        lungs = member.host or member.content[:12]
        if not lungs or str(member.wanted).startswith("denoiser"):
            continue
        other = first.setdefault(lungs, member)
        if other.wanted != member.wanted and (other.host or member.host):
            raise CohortError(
                f"study {member.study} in {member.wanted} and study {other.study} in "
                f"{other.wanted} are the same lungs with other lesions painted into them: they "
                "would be on both sides. Give them the same split in cohort.csv; their Control may "
                "have the split denoiser_train instead."
            )


def check_crossings(members: Iterable[Member]) -> None:
    """No volume and no series is under two patients.

    Raises:
        CohortError: If one is; it tells short study ids and pseudonyms.
    """
    found = find_crossings(members)
    if not found:
        return
    told = "; ".join(
        f"{crossing.what} is "
        + " and ".join(
            f"study {m.study} (patient {m.patient}" + (f", {m.wanted})" if m.wanted else ")")
            for m in crossing.members
        )
        for crossing in found[:_TOLD]
    )
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    raise CohortError(
        f"the same scan stands under two patients: {told}{more}. If they are one person, give them "
        "one name in cohort.csv; if not, remove the wrong study. Then preprocess again, which "
        "lists the paths in crossings.csv."
    )


def find_crossings(members: Iterable[Member]) -> list[Crossing]:
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
        *(Crossing("an identical volume", c) for c in identical),
        *(Crossing("one series", c) for c in dict.fromkeys(shared)),
    ]


def _by_patient(found: Sequence[Member]) -> tuple[Member, ...]:
    """The first study of every patient."""
    firsts = {m.patient: m for m in reversed(found)}
    return tuple(sorted(firsts.values(), key=lambda m: m.study))
