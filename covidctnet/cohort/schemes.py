"""The ways to divide a cohort: once by shares, in k folds, or one site after the other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.members import EXTERNAL, Member, check_requested_splits, split_named
from covidctnet.cohort.splits import Splits, SplitSettings, draw, make_splits
from covidctnet.errors import CohortError, UsageError

__all__ = ["NAMED", "SCHEMES", "kfold", "leave_one_site_out", "settings_of"]

# The presets' own numbers, so that preprocess and split agree on who is where.
NAMED: Mapping[str, SplitSettings] = MappingProxyType(
    {
        # CovidCTNet: 67 of 97 Controls for the denoiser, a tenth of the rest held back. The paper
        # names no patients that choose the checkpoint; here another tenth does, so that those held
        # back choose nothing.
        "paper": SplitSettings(denoiser_controls=0.69, validation=0.1, test=0.1),
        # DeepPneumonia: 60/10/30 by patient, here of those whom the denoiser leaves.
        "60/10/30": SplitSettings(denoiser_controls=0.6, validation=0.1, test=0.3),
    }
)
SCHEMES = (*NAMED, "shares", "kfold", "leave-one-site-out")
_CLASSIFIER = ("train", "val")


def settings_of(
    scheme: str,
    *,
    folds: int | None = None,
    denoiser_controls: float | None = None,
    validation: float | None = None,
    test: float | None = None,
    seed: int = 0,
) -> SplitSettings:
    """The settings that a scheme's name stands for, with those that were given.

    Args:
        scheme: One of `SCHEMES`.
        folds: Of ``kfold``, which needs it; its test share is one of them.
        denoiser_controls: See `SplitSettings`; the scheme's own by default.
        validation: The same.
        test: The same.
        seed: Of the shuffling.

    Raises:
        UsageError: If there is no such scheme, it has no folds, or it decides a share itself.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"unknown scheme {scheme!r}; schemes are {', '.join(SCHEMES)}")
    options = {
        name: share
        for name, share in (
            ("denoiser_controls", denoiser_controls),
            ("validation", validation),
            ("test", test),
        )
        if share is not None
    }
    decided = {"paper": ("denoiser_controls", "validation", "test")}.get(
        scheme, ("validation", "test") if scheme in NAMED else ("test",)
    )
    if scheme != "shares" and (clash := [name for name in decided if name in options]):
        raise UsageError(
            f"the scheme {scheme} decides {' and '.join(clash)} itself. Leave it out, or choose "
            "the scheme shares."
        )
    base = NAMED.get(scheme, SplitSettings())
    if scheme == "kfold":
        if folds is None or folds < 2:
            raise UsageError(f"kfold expects 2 folds or more, got {folds or 'none'}")
        base = replace(base, test=1 / folds)
    elif folds is not None:
        raise UsageError(f"folds are of the scheme kfold, {scheme} has none. Leave them out.")
    elif scheme == "leave-one-site-out":
        base = replace(base, test=0.0)
    return replace(base, seed=seed, **options)


def kfold(
    members: Iterable[Member],
    settings: SplitSettings,
    folds: int,
    *,
    previous: Splits | None = None,
    earlier: Mapping[str, Splits] = MappingProxyType({}),
    classes: Classes = CHEST_CT,
) -> dict[str, Splits]:
    """Divide a cohort `folds` times, so that every patient is tested on once.

    The denoiser's Controls are the same in all folds and tested on in none, so that one denoiser
    serves all folds. In every fold, the patients of ``val`` come from those not in ``test``.

    Args:
        members: The studies; the cohort file may ask for the denoiser's splits and ``external``
            only, where they are in all folds.
        settings: Shares and seed; the test share becomes one fold's.
        folds: How many, 2 or more.
        previous: Splits of the whole cohort; their Controls stay the denoiser's.
        earlier: What this function gave for a part of the cohort; nobody moves.
        classes: Of the labels.

    Returns:
        By name, ``0`` to ``folds - 1``; stratified by label and site.

    Raises:
        CohortError: If a label has too few patients, or the cohort file places some in splits that
            change from fold to fold.
    """
    members = tuple(sorted(members, key=lambda m: m.study))
    settings = replace(settings, test=1 / folds)
    tests = [f"fold {number}" for number in range(folds)]
    assigned = _requested(members)
    for name, splits in earlier.items():
        tested = {m.patient: f"fold {name}" for m in splits.members if m.split == "test"}
        assigned |= {p: fold for p, fold in tested.items() if p not in assigned}
    for splits in (*earlier.values(), *([previous] if previous else [])):
        assigned = _denoisers(splits) | assigned
    # Whom the whole gave to the classifier stays there; newcomers may become the denoiser's.
    known = {m.patient for m in previous.members} if previous else set()
    rotating = known.union(tests)
    rest = [m for m in members if assigned.get(m.patient, m.patient) in rotating]
    rng = np.random.default_rng(settings.seed)
    for label in classes:
        shares = settings.shares(label)
        apart = {name: share for name, share in shares.items() if name.startswith("denoiser")}
        of_each = dict.fromkeys(tests, (1 - sum(apart.values())) / folds)
        try:
            if known:
                assigned |= draw(rest, label, of_each, assigned, rng)
            assigned |= draw(members, label, {**apart, **of_each}, assigned, rng)
        except CohortError as error:
            raise CohortError(f"{error} Or take fewer folds.") from None
    return {
        str(number): _fold(
            members, assigned, number, folds, settings, earlier.get(str(number)), classes
        )
        for number in range(folds)
    }


def _fold(
    members: tuple[Member, ...],
    assigned: Mapping[str, str],
    number: int,
    folds: int,
    settings: SplitSettings,
    earlier: Splits | None,
    classes: Classes,
) -> Splits:
    apart = {p: split for p, split in assigned.items() if _is_apart(split)}
    placed = {**apart, **{p: "test" for p, split in assigned.items() if split == f"fold {number}"}}
    for member in earlier.members if earlier else ():
        if member.split in _CLASSIFIER:
            placed.setdefault(member.patient, member.split)
    others = [m for m in members if placed.get(m.patient, "train") in _CLASSIFIER]
    shares = {"train": 1 - settings.test - settings.validation, "val": settings.validation}
    rng = np.random.default_rng([settings.seed, number])
    for label in classes:
        placed |= draw(others, label, shares, placed, rng)
    return _as_splits(members, placed, settings, f"{number} of {folds}", classes)


def leave_one_site_out(
    members: Iterable[Member],
    settings: SplitSettings,
    *,
    earlier: Mapping[str, Splits] = MappingProxyType({}),
    classes: Classes = CHEST_CT,
) -> dict[str, Splits]:
    """Divide a cohort once for every site, with all of that site's patients in ``test``.

    That takes in the site's Controls, so that its denoiser has not seen the site either. Who was
    scanned at several sites is tested on with each of them.

    Args:
        members: The studies, all with their site; the cohort file may ask for the denoiser's
            splits and ``external`` only. Patients of the latter are so in all folds, and their
            sites are left out in none.
        settings: Shares and seed for the other sites; a test share is not looked at.
        earlier: What this function gave for a part of the cohort; nobody moves but those whose
            site has changed.
        classes: Of the labels.

    Returns:
        By the site's name, made fit for a folder; stratified by label and site.

    Raises:
        CohortError: If sites are unknown, there is one only, or the others lack a label.
    """
    members = tuple(sorted(members, key=lambda m: m.study))
    requested = _requested(members)
    divided = [m for m in members if requested.get(m.patient) != EXTERNAL]
    unknown = [m.study for m in divided if not m.site]
    if unknown:
        raise CohortError(
            f"leave-one-site-out expects the site of every study, {len(unknown)} of {len(divided)} "
            f"have none (studies {', '.join(unknown[:3])}{' ...' if len(unknown) > 3 else ''}). "
            "Fill the column site in cohort.csv and preprocess again."
        )
    sites = sorted({str(m.site) for m in divided})
    if len(sites) < 2:
        raise CohortError("leave-one-site-out expects two sites or more, all studies are of one")
    settings = replace(settings, test=0.0)
    folds: dict[str, Splits] = {}
    for site in sites:
        name = _folder_name(site)
        there = {m.patient for m in divided if m.site == site}
        others = [
            replace(m, split=requested.get(m.patient)) for m in members if m.patient not in there
        ]
        try:
            rest = make_splits(
                others, settings, previous=_but_test(earlier.get(name)), classes=classes
            )
        except CohortError as error:
            raise CohortError(f"without site {site!r}: {error}") from None
        assigned = {m.patient: str(m.split) for m in rest.members} | dict.fromkeys(there, "test")
        folds[name] = _as_splits(members, assigned, settings, f"site {site}", classes)
    return folds


def _folder_name(site: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", site.casefold()).strip("-")
    # Two sites never share a folder, whatever was left out of their names.
    return plain if plain == site else f"{plain}-{hashlib.sha256(site.encode()).hexdigest()[:6]}"


def _requested(members: Iterable[Member]) -> dict[str, str]:
    """Split of those whom the cohort file gives to the denoiser or to an external test.

    Raises:
        CohortError: If it gives others one.
    """
    members = tuple(members)
    check_requested_splits(members)
    requested = {m.patient: (m.study, split_named(m.split)) for m in members if m.split}
    others = [study for study, split in requested.values() if not _is_apart(split)]
    if others:
        raise CohortError(
            f"cohort.csv places {len(others)} patients in train, val or test (first: study "
            f"{others[0]}), which change from fold to fold. Empty these cells and preprocess "
            "again, or choose a scheme without folds."
        )
    return {patient: split for patient, (_, split) in requested.items()}


def _is_apart(split: str) -> bool:
    """Whether a split is the same in all folds."""
    return split == EXTERNAL or split.startswith("denoiser")


def _denoisers(splits: Splits) -> dict[str, str]:
    splits_of = {m.patient: str(m.split) for m in splits.members}
    return {p: split for p, split in splits_of.items() if split.startswith("denoiser")}


def _but_test(splits: Splits | None) -> Splits | None:
    if splits is None:
        return None
    return replace(splits, members=tuple(m for m in splits.members if m.split != "test"))


def _as_splits(
    members: Iterable[Member],
    assigned: Mapping[str, str],
    settings: SplitSettings,
    fold: str,
    classes: Classes,
) -> Splits:
    placed = tuple(
        replace(m, split=assigned[m.patient], is_requested=m.split is not None) for m in members
    )
    return Splits(placed, settings.seed, settings, fold, classes)
