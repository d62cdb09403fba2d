"""Studies that could not be used: where they would be, so that evaluations count them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from covidctnet.cohort.members import EXTERNAL, Member, Refused, split_named
from covidctnet.cohort.splits import Splits, SplitSettings, draw, placed_in
from covidctnet.errors import CohortError

__all__ = ["place_refused", "refused_in_folds"]


def place_refused(
    splits: Splits, refused: Iterable[Refused], *, previous: Splits | None = None
) -> Splits:
    """The splits with those who could not be used, each where it would be.

    Studies stay with their patient. Patients of whom nothing could be used are drawn like
    newcomers, behind all others: they move nobody, and every split has its share of them. So an
    evaluation can tell how many of the patients held back got no answer.

    Args:
        splits: Of those who could be used.
        refused: The others, with `Refused.split` as the cohort file requests it.
        previous: Splits of an earlier run: nobody moves.
    """
    refused = tuple(refused)
    fixed = placed_in(previous)
    for one in refused:
        if one.split:
            fixed[one.patient] = split_named(one.split)
    fixed |= {m.patient: str(m.split) for m in splits.members}
    settings = splits.settings or SplitSettings(seed=splits.seed)
    rng = np.random.default_rng([settings.seed, 1])
    # In the order in which they came, whatever their ids, and behind all digests.
    unused = [
        Member(one.study, one.patient, one.label, site=one.site, content=f"z{number:09d}")
        for number, one in enumerate(refused)
    ]
    for label in splits.classes:
        if any(one.label is label and one.patient not in fixed for one in refused):
            # Where a label has fewer patients than splits, nothing says where they would be.
            with suppress(CohortError):
                fixed |= draw([*splits.members, *unused], label, settings.shares(label), fixed, rng)
    placed = tuple(
        replace(one, split=fixed.get(one.patient), is_requested=one.split is not None)
        for one in refused
    )
    return replace(splits, refused=placed)


def refused_in_folds(
    refused: Iterable[Refused],
    drawn: Mapping[str, Splits],
    *,
    by_site: bool,
    earlier: Mapping[str, Splits],
) -> dict[str, Splits]:
    """The folds with those who could not be used, each tested on in one fold, as all others are.

    Args:
        refused: Of the whole cohort, as `place_refused` placed them.
        drawn: Folds of those who could be used, by name.
        by_site: Whether a fold is a site.
        earlier: The same folds of an earlier run: nobody moves.
    """
    home: dict[str, str] = {}
    for folds in (earlier, drawn):
        for name, splits in folds.items():
            home |= {r.patient: name for r in splits.refused if r.split == "test"}
            home |= {m.patient: name for m in splits.members if m.split == "test"}
    sites = {m.site: name for name, s in drawn.items() for m in s.members if m.split == "test"}
    waiting: Counter[tuple[str, str]] = Counter()
    out: dict[str, list[Refused]] = {name: [] for name in drawn}
    for one in refused:
        is_set_aside = str(one.split).startswith(("denoiser", EXTERNAL))
        fold = sites.get(one.site) if by_site else home.get(one.patient)
        if fold is None and not by_site and not is_set_aside:
            fold = min(drawn, key=lambda name: (waiting[name, one.label.key], name))
            home[one.patient] = fold
            waiting[fold, one.label.key] += 1
        for name, rows in out.items():
            split = "test" if name == fold else one.split if is_set_aside else "train"
            rows.append(replace(one, split=split))
    return {name: replace(splits, refused=tuple(out[name])) for name, splits in drawn.items()}
