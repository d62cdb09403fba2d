"""Who teaches and who is held back in every fold of a cross-fitted work folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.members import EXTERNAL, Member
from covidctnet.cohort.splits import Splits
from covidctnet.devices import Precision
from covidctnet.errors import CohortError, UsageError
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.training.examples import ExampleSettings
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE

# Notes of scans that are no patient's as they are.
NO_PATIENT = frozenset({SYNTHETIC_NOTE, PAINTED_NOTE})
# The fold that holds nobody back.
ALL = "all"
# Synthetic Controls that choose a denoiser's checkpoint, and those that teach it; the others are
# the classifier's. Without any, one real Control in so many chooses.
VALIDATION_PHANTOMS, TEACHING_PHANTOMS = 8, 20
VALIDATION_EVERY = 8


@dataclass(frozen=True)
class CrossFitSettings:
    """How a work folder is cross-fitted.

    Attributes:
        folds: Groups of sites.
        examples: Drawn from every Control, of each class.
        copies: Varied copies of every synthetic patient.
        validation: Share of the examples that choose the classifier's checkpoint.
        drawing: How examples are drawn.
        residual: What the classifier reads.
        precision: Of the networks that look at examples.
        seed: Of everything random.
    """

    folds: int = 3
    examples: int = 40
    copies: int = 6
    validation: float = 0.1
    drawing: ExampleSettings = field(default_factory=ExampleSettings)
    residual: ResidualSettings = field(
        default_factory=lambda: ResidualSettings("nearest", within="lungs")
    )
    precision: Precision = "32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2 or self.examples < 1 or self.copies < 0:
            raise UsageError(
                "folds must be 2 or more, examples 1 or more and copies 0 or more, got "
                f"{self.folds}, {self.examples} and {self.copies}"
            )
        if not 0 < self.validation <= 0.5 or self.examples * self.validation < 1:
            raise UsageError(
                "validation must lie above 0 and up to 0.5, and take an example of every class "
                f"and scan, got {self.validation} of {self.examples} examples"
            )
        if self.residual.depth_resize != "nearest":
            # An example is one slice for each that the classifier reads.
            raise UsageError(
                f"residual.depth_resize must be nearest, got {self.residual.depth_resize}"
            )


def group_sites(sites: Iterable[str], folds: int) -> dict[str, tuple[str, ...]]:
    """Sites in groups of about as many patients each.

    Args:
        sites: Of every patient.
        folds: Groups.

    Returns:
        By the fold's name, ``1`` for the group of the largest site.

    Raises:
        CohortError: If there are fewer sites than folds.
    """
    counts = Counter(sites)
    if len(counts) < folds:
        raise CohortError(
            f"expected Controls of {folds} sites or more for {folds} folds, got {len(counts)}. "
            "Name sites in cohort.csv, or ask for fewer folds."
        )
    groups: list[list[str]] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for site, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(site)
        sizes[smallest] += count
    return {str(number): tuple(group) for number, group in enumerate(groups, start=1)}


def fold_splits(
    given: Sequence[Member],
    synthetic: frozenset[str],
    settings: CrossFitSettings,
    *,
    kept_out: frozenset[str] = frozenset(),
    earlier: Mapping[str, Splits] = MappingProxyType({}),
) -> dict[str, Splits]:
    """Who teaches and who is held back in every fold.

    Args:
        given: The studies of a work folder.
        synthetic: Ids of those that are phantoms.
        settings: How many folds.
        kept_out: Ids of those that may teach nothing, whatever they are.
        earlier: Splits by fold of an earlier run; nobody moves.

    Returns:
        Splits by fold: real Controls in ``denoiser_train``, or ``test`` in the fold of their site;
        real ill patients and those kept out always in ``test`` or ``external``;
        phantoms in ``denoiser_val`` and ``train``, some of the Controls among them in
        ``denoiser_train``.

    Raises:
        CohortError: If the Controls are of too few sites, or an earlier run would have to change.
    """
    members = [m for m in given if m.study not in kept_out]
    apart = [m for m in given if m.study in kept_out]
    real = [m for m in members if m.label is CHEST_CT.CONTROL and m.study not in synthetic]
    if nowhere := sum(not m.site for m in real):
        raise CohortError(
            f"expected the site of every Control, {nowhere} of {len(real)} have none. Name it in "
            "cohort.csv (column site) and run preprocess again."
        )
    groups = group_sites([str(m.site) for m in real], settings.folds)
    held_back = {m.study: name for name, sites in groups.items() for m in real if m.site in sites}
    phantoms = sorted(
        m.study for m in members if m.label is CHEST_CT.CONTROL and m.study in synthetic
    )
    last = VALIDATION_PHANTOMS + TEACHING_PHANTOMS
    drawn_splits = {
        **dict.fromkeys((m.study for m in members if m.study in synthetic), "train"),
        **dict.fromkeys(phantoms[VALIDATION_PHANTOMS:last], "denoiser_train"),
        **dict.fromkeys(phantoms[:VALIDATION_PHANTOMS], "denoiser_val"),
    }
    choosing: set[str] = set()
    if not phantoms:
        choosing = {m.study for m in sorted(real, key=lambda m: m.study)[::VALIDATION_EVERY]}
    found = {}
    for name in (*groups, ALL):
        before = earlier[name].assignment if name in earlier else {}
        assigned = [
            replace(m, split=EXTERNAL if m.split == EXTERNAL else "test", is_requested=True)
            for m in apart
        ]
        for member in members:
            if member.study in held_back:
                split = "test" if held_back[member.study] == name else "denoiser_train"
            elif member.study in synthetic:
                # Phantoms that came later are the classifier's: they change nobody's place.
                split = before.get(member.study, "train" if before else drawn_splits[member.study])
            else:
                split = "test"
            if member.study in choosing and split != "test":
                split = "denoiser_val"
            if before.get(member.study, split) != split:
                raise CohortError(
                    f"study {member.study} would move from {before[member.study]} to {split} in "
                    f"fold {name}: the sites are grouped otherwise than before. Start again in a "
                    "new work folder."
                )
            assigned.append(replace(member, split=split, is_requested=False))
        what = "everybody" if name == ALL else f"without {', '.join(groups[name])}"
        found[name] = Splits(tuple(assigned), settings.seed, None, what)
    return found
