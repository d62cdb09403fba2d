"""What is wrong in a lung: a plan of findings, drawn at random for a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from covidctnet.classes import CHEST_CT, Label
from covidctnet.phantom.thorax import LEFT, LOBES, LOWER_LOBES, RIGHT, Thorax

Kind = Literal["patch", "lobar", "nodule", "band", "emphysema", "dependent", "effusion", "buds"]


@dataclass(frozen=True)
class Lesion:
    """One finding.

    Attributes:
        kind: What it is.
        centre: Patient frame, (slice, row, column) in mm.
        radius_mm: Its reach from the centre.
        lobe: Lobe it started in, a key of `thorax.LOBES`.
        density: Part of the air it replaces, 0 to 1.
        core: Part of a patch that is consolidated, 0 to 1.
        paving: Strength of septal lines within a patch (crazy paving), 0 to 1.
        hugging: How much a patch keeps to the pleura, 0 (round) to 1 (a shell).
        crosses: Whether it crosses fissures.
    """

    kind: Kind
    centre: tuple[float, float, float]
    radius_mm: float
    lobe: int
    density: float
    core: float = 0.0
    paving: float = 0.0
    hugging: float = 0.0
    crosses: bool = False


def plan_lesions(
    label: Label, thorax: Thorax, rng: np.random.Generator
) -> tuple[tuple[Lesion, ...], str]:
    """Findings of a random patient with `label`, and the pattern's name.

    The classes overlap on purpose: some Covid-19 is one-sided or consolidated, some CAP is ground
    glass on both sides, and some controls lie on dense, dependent lung.
    """
    draw = {CHEST_CT.CONTROL: _control, CHEST_CT.COVID19: _covid19, CHEST_CT.CAP: _cap}[label]
    lesions, pattern = draw(thorax, rng)
    if label is not CHEST_CT.CONTROL and rng.random() < 0.35:  # the sick have scars as well
        lesions += _incidental(thorax, rng)
    return tuple(lesions), pattern


def _control(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["healthy", "nodules", "emphysema", "bands", "dependent", "scar"],
            p=[0.34, 0.16, 0.14, 0.12, 0.15, 0.09],
        )
    )
    lesions: list[Lesion] = []
    if pattern == "nodules":
        lesions += [_nodule(thorax, rng) for _ in range(rng.integers(1, 7))]
    elif pattern == "emphysema":
        lesions.append(_emphysema(thorax, rng))
    elif pattern == "bands":
        lesions += [_band(thorax, rng) for _ in range(rng.integers(1, 4))]
    elif pattern == "dependent":
        lesions.append(_dependent(thorax, rng, rng.uniform(0.10, 0.42)))
    elif pattern == "scar":  # a little old scarring: dense, small, ragged
        for _ in range(rng.integers(1, 3)):
            where = _pick(thorax, rng, thorax.wall_mm < 16.0)
            lesions.append(
                _patch(thorax, where, rng.uniform(6, 13), rng.uniform(0.25, 0.7), rng, core=0.2)
            )
    if pattern != "healthy" and rng.random() < 0.3:
        lesions += _incidental(thorax, rng)
    return lesions, pattern


def _covid19(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["early", "typical", "advanced", "one-sided", "consolidating"],
            p=[0.17, 0.46, 0.15, 0.10, 0.12],
        )
    )
    count, low, high, density = {
        "early": (rng.integers(1, 4), 9.0, 19.0, (0.16, 0.38)),
        "typical": (rng.integers(4, 13), 11.0, 32.0, (0.22, 0.52)),
        "advanced": (rng.integers(12, 24), 18.0, 46.0, (0.28, 0.62)),
        "one-sided": (rng.integers(2, 6), 12.0, 30.0, (0.20, 0.50)),
        "consolidating": (rng.integers(4, 12), 12.0, 32.0, (0.40, 0.75)),
    }[pattern]
    allowed = np.ones(len(thorax.lobes), dtype=bool)
    if pattern == "one-sided":
        allowed = np.sign(thorax.points[:, 2]) == rng.choice([RIGHT, LEFT])
    edge = np.exp(-np.maximum(thorax.wall_mm - 4.0, 0.0) / rng.uniform(6.0, 14.0))
    low_lobe = np.where(np.isin(thorax.lobes, LOWER_LOBES), rng.uniform(1.5, 4.0), 1.0)
    behind = np.exp(thorax.points[:, 1] / 60.0)
    paving = rng.uniform(0.4, 1.0) if rng.random() < 0.4 else 0.0
    core = rng.uniform(0.3, 0.7) if pattern == "consolidating" else rng.choice([0.0, 0.12, 0.3])
    lesions = []
    for _ in range(int(count)):
        where = _pick(thorax, rng, allowed, edge * low_lobe * behind)
        lesions.append(
            _patch(
                thorax,
                where,
                rng.uniform(low, high),
                rng.uniform(*density),
                rng,
                core=float(core) * rng.uniform(0.5, 1.3),
                paving=paving * rng.uniform(0.6, 1.0),
                hugging=rng.uniform(0.3, 1.0),
                crosses=True,
            )
        )
    return lesions, pattern


def _cap(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["lobar", "segmental", "small", "bronchopneumonia", "ground-glass"],
            p=[0.30, 0.30, 0.14, 0.17, 0.09],
        )
    )
    weight = np.choose(thorax.lobes, [0.0, 0.8, 1.2, 1.6, 0.7, 1.4])
    first = _pick(thorax, rng, thorax.surface_mm > 5.0, weight)
    lobe = int(thorax.lobes[first])
    lesions: list[Lesion] = []
    if pattern in ("lobar", "segmental", "small"):
        low, high = {"lobar": (48, 85), "segmental": (26, 48), "small": (12, 24)}[pattern]
        radius = rng.uniform(low, high)
        lesions.append(_lobar(thorax, first, radius, rng))
        if rng.random() < 0.25:  # a second focus, any lobe
            other = _pick(thorax, rng, thorax.surface_mm > 5.0, weight)
            lesions.append(_lobar(thorax, other, rng.uniform(0.3, 0.7) * radius, rng))
        if rng.random() < 0.45:
            lesions.append(_buds(thorax, lobe, rng))
        if rng.random() < 0.3:  # spill-over ground glass in the same lung
            same = np.sign(thorax.points[:, 2]) == np.sign(thorax.points[first, 2])
            where = _pick(thorax, rng, same)
            lesions.append(_patch(thorax, where, rng.uniform(10, 25), rng.uniform(0.15, 0.4), rng))
    elif pattern == "bronchopneumonia":
        for _ in range(rng.integers(3, 9)):
            where = _pick(thorax, rng, thorax.surface_mm > 4.0, weight)
            lesions.append(
                _patch(
                    thorax,
                    where,
                    rng.uniform(9, 26),
                    rng.uniform(0.35, 0.8),
                    rng,
                    core=rng.uniform(0.2, 0.7),
                )
            )
        lesions.append(_buds(thorax, lobe, rng))
        if rng.random() < 0.5:
            lesions.append(_buds(thorax, int(rng.integers(1, 6)), rng))
    else:  # atypical: ground glass, central as often as not
        for _ in range(rng.integers(2, 8)):
            where = _pick(thorax, rng, np.ones(len(thorax.lobes), dtype=bool), weight)
            lesions.append(
                _patch(
                    thorax,
                    where,
                    rng.uniform(14, 38),
                    rng.uniform(0.2, 0.5),
                    rng,
                    hugging=rng.uniform(0.0, 0.3),
                    crosses=rng.random() < 0.3,
                )
            )
    if pattern != "small" and rng.random() < 0.32:
        lesions.append(_effusion(thorax, lobe, rng))
    return lesions, pattern


def _incidental(thorax: Thorax, rng: np.random.Generator) -> list[Lesion]:
    """A finding that says nothing of the class."""
    kind = rng.choice(["nodule", "band", "dependent", "emphysema"], p=[0.3, 0.25, 0.3, 0.15])
    if kind == "nodule":
        return [_nodule(thorax, rng)]
    if kind == "band":
        return [_band(thorax, rng)]
    if kind == "dependent":
        return [_dependent(thorax, rng, rng.uniform(0.08, 0.3))]
    return [_emphysema(thorax, rng)]


def _pick(
    thorax: Thorax,
    rng: np.random.Generator,
    allowed: np.ndarray,
    weight: np.ndarray | float = 1.0,
) -> int:
    """Index of a random point of the lungs, of those allowed (of all, where none is)."""
    chance = allowed * np.broadcast_to(weight, allowed.shape).astype(float)
    if chance.sum() <= 0:
        chance = np.ones(len(allowed))
    return int(rng.choice(len(chance), p=chance / chance.sum()))


def _centre(thorax: Thorax, where: int) -> tuple[float, float, float]:
    z, y, x = thorax.points[where]
    return float(z), float(y), float(x)


def _patch(
    thorax: Thorax,
    where: int,
    radius_mm: float,
    density: float,
    rng: np.random.Generator,
    *,
    core: float = 0.0,
    paving: float = 0.0,
    hugging: float = 0.0,
    crosses: bool = False,
) -> Lesion:
    return Lesion(
        "patch",
        _centre(thorax, where),
        float(radius_mm),
        int(thorax.lobes[where]),
        float(density * rng.uniform(0.9, 1.1)),
        core=float(core),
        paving=float(paving),
        hugging=float(hugging),
        crosses=bool(crosses),
    )


def _lobar(thorax: Thorax, where: int, radius_mm: float, rng: np.random.Generator) -> Lesion:
    return Lesion(
        "lobar",
        _centre(thorax, where),
        float(radius_mm),
        int(thorax.lobes[where]),
        float(rng.uniform(0.84, 1.0)),
        core=float(rng.uniform(0.45, 0.95)),
    )


def _nodule(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    where = _pick(thorax, rng, thorax.surface_mm > 5.0)
    radius = float(np.clip(rng.lognormal(np.log(3.0), 0.45), 1.6, 11.0))
    density = 0.45 if rng.random() < 0.15 else rng.uniform(0.85, 1.05)
    return Lesion(
        "nodule", _centre(thorax, where), radius, int(thorax.lobes[where]), float(min(density, 1))
    )


def _band(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    low = (thorax.floor_mm < 55.0) & (thorax.wall_mm < 30.0)
    where = _pick(thorax, rng, low)
    return Lesion(
        "band",
        _centre(thorax, where),
        float(rng.uniform(18.0, 42.0)),
        int(thorax.lobes[where]),
        float(rng.uniform(0.45, 0.9)),
        core=float(rng.uniform(0.8, 2.0)),  # half the thickness in mm
    )


def _emphysema(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    top = float(thorax.points[:, 0].max())
    return Lesion("emphysema", (top, 0.0, 0.0), 400.0, 1, float(rng.uniform(0.3, 1.0)))


def _dependent(thorax: Thorax, rng: np.random.Generator, density: float) -> Lesion:
    depth = float(rng.uniform(7.0, 20.0))
    return Lesion("dependent", (-60.0, 80.0, 0.0), depth, 3, float(density))


def _effusion(thorax: Thorax, lobe: int, rng: np.random.Generator) -> Lesion:
    side = float(LEFT if LOBES[lobe].startswith("left") else RIGHT)
    return Lesion("effusion", (0.0, 0.0, side), float(rng.uniform(6.0, 32.0)), lobe, 1.0)


def _buds(thorax: Thorax, lobe: int, rng: np.random.Generator) -> Lesion:
    where = _pick(thorax, rng, thorax.lobes == lobe)
    return Lesion(
        "buds",
        _centre(thorax, where),
        float(rng.uniform(22.0, 50.0)),
        lobe,
        float(rng.uniform(0.4, 0.9)),
    )
