"""Examples for a classifier: scans of Controls, varied, with findings of any class drawn into them.

No file comes in between: an example is drawn at the depth that the classifier reads, in half a
second, so thousands of them can be made from a few scans.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from covidctnet.chest.lungs import AIR_BELOW_HU, close_lungs
from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.store import StoredStudy
from covidctnet.errors import UsageError
from covidctnet.phantom.painter import paint_lesions
from covidctnet.training.augment import VariationSettings, vary_slices
from covidctnet.volume import Volume

__all__ = ["Example", "ExampleSettings", "draw_example"]


@dataclass(frozen=True)
class ExampleSettings:
    """How examples are drawn.

    Attributes:
        variation: How far a scan is varied before findings are drawn.
        stretch: How far the slices read may reach over or fall short of the scan's ends, a share of
            its length: breath, and where a scan was begun.
        plain: Share of the Control examples that show the scan's own findings alone. The others get
            drawn findings that Controls have: nodules, bands, dependent lung, emphysema.
        missed: Share of the examples that are seen within the lungs that density alone finds, as if
            the lung network had added nothing.
    """

    variation: VariationSettings = field(default_factory=VariationSettings)
    stretch: float = 0.06
    plain: float = 0.6
    missed: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.stretch < 0.5:
            raise UsageError(f"stretch must lie in 0..0.5, got {self.stretch}")
        for name in ("plain", "missed"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")


class Example(NamedTuple):
    """A scan at the classifier's depth, with findings whose place is known.

    Attributes:
        unit: In ``unit``, shape (depth, row, column).
        lungs: Lung mask before any finding was drawn, bool, the same shape.
        lesions: Codes of what was drawn, uint8, the same shape; see `Phantom.lesions`.
        label: The class.
        is_missed: Whether the classifier is to see the lungs that density finds alone.
    """

    unit: Volume
    lungs: np.ndarray
    lesions: np.ndarray
    label: Label
    is_missed: bool = False

    @property
    def mask(self) -> np.ndarray:
        """The lungs that the classifier is to see, bool."""
        return self.found_by_density if self.is_missed else self.lungs

    @property
    def found_by_density(self) -> np.ndarray:
        """The lungs that density alone finds, bool: without most of what is consolidated.

        Air, closed and filled as `covidctnet.chest.lungs.lung_mask` does, but slice by slice: at
        the classifier's depth slices lie too far apart for more.
        """
        low, high = self.unit.scale_hu
        air = self.unit.array < (AIR_BELOW_HU - low) / (high - low)
        return close_lungs(self.lungs & air, self.unit.spacing) & self.lungs


def draw_example(
    study: StoredStudy,
    label: Label,
    seed: int,
    *,
    depth: int,
    settings: ExampleSettings,
    lungs: np.ndarray | None = None,
) -> Example:
    """Vary a stored scan and, where it is a Control, draw findings into it.

    Args:
        study: A scan with its lung mask. Ill patients keep the findings that they have, and are
            varied only.
        label: Class of the example.
        seed: Of everything random, 0 or more.
        depth: Slices of the example.
        settings: How.
        lungs: Its lungs, bool, the study's shape; by default the mask that is stored with it.

    Raises:
        UsageError: If the study has no lung mask, or another label that it keeps.
        StudyError: ``NOT_CHEST`` when it has no two lungs to draw in.
    """
    lungs = study.lungs if lungs is None else lungs
    if lungs is None:
        raise UsageError(f"study {study.id} is stored without its lungs. Run preprocess again.")
    is_kept = study.label is not CHEST_CT.CONTROL
    if is_kept and study.label is not label:
        raise UsageError(
            f"expected examples of {study.label} from study {study.id}, which keeps its findings, "
            f"got {label}"
        )
    rng = np.random.default_rng([seed, int(label)])
    volume = study.volume()
    chosen, step = _choose_slices(volume.shape[0], depth, settings.stretch, rng)
    clean = torch.from_numpy(np.array(volume.array[chosen], dtype=np.float32))[None]
    mask = torch.from_numpy(np.array(lungs[chosen], dtype=np.float32))[None]
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    clean, mask = vary_slices(clean, mask, generator=generator, settings=settings.variation)
    unit, inside = clean[0].numpy(), mask[0].numpy() > 0.5

    affine = volume.affine.copy()
    affine[:3, 0] *= step
    lesions = np.zeros(inside.shape, dtype=np.uint8)
    is_plain = label is CHEST_CT.CONTROL and rng.random() < settings.plain
    if not (is_kept or is_plain):
        low, high = volume.scale_hu
        hu = np.round(unit * (high - low) + low).astype(np.int16)
        painted = paint_lesions(
            volume.then("varied", hu, affine=affine, units="HU", window_hu=None),
            label,
            int(rng.integers(2**31)),
            lungs=inside,
        )
        lesions = painted.lesions
        unit = np.clip((painted.volume.array.astype(np.float32) - low) / (high - low), 0, 1)
    is_missed = bool(rng.random() < settings.missed)
    drawn = volume.then("varied, with drawn findings", unit, affine=affine)
    return Example(drawn, inside, lesions, label, is_missed)


def _choose_slices(
    count: int, depth: int, stretch: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Slices of a scan to read, and their distance, in slices of the scan."""
    first, last = rng.uniform(-stretch, stretch, 2) * count
    step = (count + last - first) / depth
    centres = first + (np.arange(depth) + 0.5) * step - 0.5
    return np.clip(np.round(centres), 0, count - 1).astype(np.int64), float(step)
