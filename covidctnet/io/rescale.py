"""Whether slices that were rescaled each in its own way belong to one scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.frame import Frame
from covidctnet.io.hu import AIR_HU

__all__ = ["check_rescale"]

# A scan has one rescaling when so many of its slices share it.
ODD_ONE_SHARE = 0.75
# A rescaling of its own must bring a slice this much nearer to its neighbour than the neighbour's.
BETTER_FIT = 0.8
# Where every slice has its own, the least alike neighbours may differ this much more than usual.
MAX_UNLIKE = 3.0


def check_rescale(frames: Sequence[Frame], hu: np.ndarray) -> None:
    """Slices may have a rescaling each; one that was changed makes its slice unlike the next.

    Where nearly all slices agree, one that does not must fit its neighbour clearly better than it
    would with the neighbour's rescaling. Where they all differ, none may be much less alike its
    neighbour than is usual.

    Raises:
        StudyError: ``NO_RESCALE``.
    """
    scales = [(float(f.slope or 0), float(f.intercept or 0)) for f in frames]
    if len(set(scales)) == 1:
        return
    most = max(scales.count(scale) for scale in set(scales))
    is_odd_one = most >= ODD_ONE_SHARE * len(scales)
    unlike: list[float] = []
    for i in range(len(frames) - 1):
        here, there = hu[i].astype(np.float32), hu[i + 1].astype(np.float32)
        if scales[i] == scales[i + 1]:
            continue
        measured = (here > AIR_HU) & (there > AIR_HU)
        if 2 * measured.sum() < max((here > AIR_HU).sum(), (there > AIR_HU).sum()):
            # What a wrong scale pushes below all HU counts as padding.
            raise _contradiction(i + 2, len(frames))
        if not measured.any():
            continue
        here, there = here[measured], there[measured]
        own = float(np.abs(there - here).mean())
        unlike.append(own)
        (slope, intercept), (next_slope, next_intercept) = scales[i], scales[i + 1]
        swapped = (there - next_intercept) / next_slope * slope + intercept
        if is_odd_one and own > BETTER_FIT * float(np.abs(swapped - here).mean()):
            raise _contradiction(i + 2, len(frames))
    if not is_odd_one and unlike and max(unlike) > MAX_UNLIKE * np.median(unlike):
        raise _contradiction(int(np.argmax(unlike)) + 2, len(frames))


def _contradiction(number: int, count: int) -> StudyError:
    return StudyError(
        "NO_RESCALE",
        f"wanted slope and intercept that fit the pixels, those of slice {number} of {count} or of "
        "the one below contradict the other. Export the original series.",
    )
