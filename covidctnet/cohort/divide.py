"""The cohort of a work folder divided: its splits.json, or a folder for every fold."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from covidctnet.classes import Classes
from covidctnet.cohort.members import Member
from covidctnet.cohort.refused import place_refused, refused_in_folds
from covidctnet.cohort.schemes import kfold, leave_one_site_out
from covidctnet.cohort.splits import Splits, SplitSettings, make_splits
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import make_folder, unwritable

__all__ = ["divide", "divide_in_folds", "members_of"]

# What training leaves in a work folder.
_TRAINED = ("lungs", "denoiser", "classifier", "residuals", "weights")
_REDRAW = "Add --redraw to draw all again and set aside what was trained."


def members_of(work: Path) -> tuple[tuple[Member, ...], Splits | None]:
    """The preprocessed studies of a work folder, and how they are divided so far.

    Args:
        work: Folder that `covidctnet preprocess` filled.

    Returns:
        The studies, with `Member.split` as the cohort file has it; the splits, if there are any.

    Raises:
        UsageError: If there are no studies, one has gone missing, or the folder is a fold.
        CohortError: If its splits are damaged, or a study has no label or patient.
    """
    stored = {study.id: study for study in Store(work / "preprocessed").index()}
    if not stored:
        raise UsageError(f"the work folder {work.name!r} has no studies; run preprocess first")
    file = work / "splits.json"
    if not file.exists():
        members = []
        for study in stored.values():
            if study.label is None or not study.patient:
                raise CohortError(
                    f"study {study.id} is stored without label or patient. Run preprocess again."
                )
            content, host = study.source.digest, study.source.host
            members.append(
                Member(
                    study.id,
                    study.patient,
                    study.label,
                    site=study.site,
                    content=content,
                    host=host,
                )
            )
        return tuple(members), None
    previous = Splits.load(file)
    if previous.fold is not None:
        raise UsageError(
            f"the work folder {work.name!r} is itself a fold ({previous.fold}); divide the one "
            "that it was made from"
        )
    missing = sorted({m.study for m in previous.members} - stored.keys())
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(previous.members)} studies are not preprocessed (first: "
            f"{missing[0]}). Run preprocess again."
        )
    return tuple(
        replace(
            m,
            split=m.split if m.is_requested else None,
            site=m.site or stored[m.study].site,
            content=stored[m.study].source.digest or m.content,
            host=stored[m.study].source.host or m.host,
        )
        for m in previous.members
    ), previous


def divide(work: Path, settings: SplitSettings, *, redraw: bool = False) -> Splits:
    """Divide the cohort of a work folder once, and write ``splits.json``.

    Patients whom the cohort file or an earlier run gave a split keep it.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        settings: Shares and seed.
        redraw: Forget the earlier run. What was trained from it goes into ``former-<digest>/``
            within the work folder, a work folder of its own: next to the new splits it would be
            tested on patients that it has seen.

    Raises:
        UsageError: If an earlier run drew by other settings, or networks were trained from splits
            that would change, and `redraw` is false.
        CohortError: As `make_splits`.
    """
    members, previous = members_of(work)
    settings = _without_denoiser(settings, previous)
    if previous and not redraw and previous.settings != settings:
        raise UsageError(
            f"expected the settings that splits.json was drawn with ({_words(previous.settings)}), "
            f"got {_words(settings)}: patients keep their split. {_REDRAW}"
        )
    splits = make_splits(
        members,
        settings,
        previous=None if redraw else previous,
        classes=_classes_of(work, previous),
    )
    if previous:
        requested = [
            replace(r, split=r.split if r.is_requested else None) for r in previous.refused
        ]
        splits = replace(splits, told_apart=previous.told_apart)
        splits = place_refused(splits, requested, previous=None if redraw else previous)
    _check_moves(work, previous, splits, redraw)
    if redraw and (previous is None or _moved(previous, splits)):
        _set_aside(work, previous)
    splits.save(work / "splits.json")
    return splits


def divide_in_folds(
    work: Path, settings: SplitSettings, *, folds: int | None = None, redraw: bool = False
) -> dict[str, Splits]:
    """Divide the cohort of a work folder in folds, and make a work folder of each.

    A fold lies in ``folds/<name>/``, with its own ``splits.json`` and a link to the preprocessed
    studies; training and evaluation take it like any other work folder. The work folder's own
    splits stay as they are.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        settings: Shares and seed.
        folds: Number of folds; None leaves out one site after the other.
        redraw: Forget earlier folds; the whole folder of them becomes ``folds-former-<digest>/``.

    Returns:
        Splits by the fold's name.

    Raises:
        UsageError: If earlier folds were drawn otherwise, or networks were trained from splits
            that would change, and `redraw` is false.
        CohortError: As `kfold` and `leave_one_site_out`.
        StorageError: If the folders cannot be written.
    """
    members, previous = members_of(work)
    settings, classes = _without_denoiser(settings, previous), _classes_of(work, previous)
    root = work / "folds"
    there = {f.parent.name: Splits.load(f) for f in sorted(root.glob("*/splits.json"))}
    earlier = {} if redraw else there
    if folds is None:
        drawn = leave_one_site_out(members, settings, earlier=earlier, classes=classes)
    else:
        start = None if redraw else previous
        drawn = kfold(members, settings, folds, previous=start, earlier=earlier, classes=classes)
    if previous:
        drawn = refused_in_folds(previous.refused, drawn, by_site=folds is None, earlier=earlier)
        drawn = {n: replace(s, told_apart=previous.told_apart) for n, s in drawn.items()}
    for name, old in earlier.items():
        new = drawn.get(name)
        if new is None or (old.settings, old.fold) != (new.settings, new.fold):
            raise UsageError(
                f"folds/{name} was drawn otherwise ({old.fold}, {_words(old.settings)}). {_REDRAW}"
            )
    for name, new in drawn.items():
        _check_moves(root / name, there.get(name), new, redraw)
    if redraw and root.exists():
        digests = "".join(splits.digest for splits in there.values())
        digest = hashlib.sha256(digests.encode()).hexdigest()[:12]
        _rename(root, _unused(work / f"folds-former-{digest}"))
    for name, splits in drawn.items():
        make_folder(root / name)
        _link(root / name, Path("../../preprocessed"))
        splits.save(root / name / "splits.json")
    return drawn


def _classes_of(work: Path, previous: Splits | None) -> Classes:
    """The classes of a work folder, which holds studies."""
    return previous.classes if previous else Store(work / "preprocessed").index()[0].classes


def _without_denoiser(settings: SplitSettings, previous: Splits | None) -> SplitSettings:
    """Shares that set no Controls aside, where the cohort was prepared for no denoiser."""
    if previous and previous.settings and not previous.settings.denoiser_controls:
        return replace(settings, denoiser_controls=0.0)
    return settings


def _moved(old: Splits, new: Splits) -> list[str]:
    """Studies that stood elsewhere, sorted."""
    return sorted(s for s, split in new.assignment.items() if old.assignment.get(s, split) != split)


def _check_moves(folder: Path, old: Splits | None, new: Splits, redraw: bool) -> None:
    """Nobody moves under networks that were trained already."""
    if redraw or not any((folder / name).exists() for name in _TRAINED):
        return
    if old is None:
        raise UsageError(
            f"the folder {folder.name!r} holds networks trained from splits that are gone; they "
            "may have seen anybody. Restore splits.json, or move the networks away."
        )
    if moved := _moved(old, new):
        raise UsageError(
            f"networks in the folder {folder.name!r} were trained from its splits, and "
            f"{len(moved)} studies would move (first: {moved[0]}). {_REDRAW}"
        )


def _set_aside(work: Path, old: Splits | None) -> None:
    """What was trained becomes a work folder of its own, with the splits it was trained from."""
    trained = [work / name for name in _TRAINED if (work / name).exists()]
    if not trained:
        return
    former = _unused(work / f"former-{old.digest if old else 'unknown'}")
    make_folder(former)
    _link(former, Path("../preprocessed"))
    if old:
        old.save(former / "splits.json")
    for path in trained:
        _rename(path, former / path.name)


def _unused(path: Path) -> Path:
    names = (f"{path.name}-{number}" for number in itertools.count(2))
    while path.exists():
        path = path.with_name(next(names))
    return path


def _rename(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        raise unwritable(f"the folder {target.name!r}", error) from error


def _link(folder: Path, target: Path) -> None:
    """Relative, so that the whole work folder can be moved."""
    link = folder / "preprocessed"
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_symlink() or link.exists():
        raise UsageError(
            f"the folder {folder.name!r} holds other preprocessed studies. Move it away."
        )
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise unwritable("a link to the preprocessed studies", error) from error


def _words(settings: SplitSettings | None) -> str:
    if settings is None:
        return "unknown shares"
    shares: Mapping[str, float] = {
        "denoiser_controls": settings.denoiser_controls,
        "validation": settings.validation,
        "test": settings.test,
    }
    return ", ".join(f"{k} {v:g}" for k, v in shares.items()) + f", seed {settings.seed}"
