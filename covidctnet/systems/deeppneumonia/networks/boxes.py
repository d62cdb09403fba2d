"""The square boxes that DRE-Net proposes, and the choice among them.

Source: Song et al. 2021, IEEE/ACM TCBB 18(6):2775, and Yang et al. 2018 (NTS-Net), which it
follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LARGE", "LEVELS", "SMALL", "Level", "anchors", "choose", "overlaps"]


@dataclass(frozen=True)
class Level:
    """Boxes of one size, one for each cell of a map.

    Attributes:
        stride: Distance of their middles, pixels.
        size: Of a side, pixels.
    """

    stride: int
    size: int

    def cells(self, picture: int) -> int:
        """Boxes a row for a picture of so many pixels; the last may reach beyond it."""
        return -(-picture // self.stride)


LEVELS = (Level(32, 48), Level(64, 96), Level(128, 192))
# Of each call of a picture: so many details of the first two levels, and so many of the last one.
SMALL, LARGE = 3, 3
# Boxes that share more than this with a better one are left out.
_OVERLAP = 0.1


def anchors(picture: int) -> tuple[Tensor, Tensor]:
    """All boxes of a square picture.

    Args:
        picture: Rows and columns.

    Returns:
        Those of the first two levels and those of the last level, each (box, 4): first row, first
        column, end row, end column, in pixels; boxes may reach beyond the picture.
    """
    made = []
    for level in LEVELS:
        middles = (torch.arange(level.cells(picture)) + 0.5) * level.stride
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        centres = torch.stack([rows.flatten(), columns.flatten()], 1)
        made.append(torch.cat([centres - level.size / 2, centres + level.size / 2], 1))
    return torch.cat(made[:-1]), made[-1]


def overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Shared area over joint area of one box (..., 4) and others (..., n, 4): (..., n)."""
    box = box[..., None, :]
    first = torch.maximum(box[..., :2], others[..., :2])
    end = torch.minimum(box[..., 2:], others[..., 2:])
    shared = (end - first).clamp_min(0).prod(-1)
    areas = (others[..., 2:] - others[..., :2]).prod(-1)
    return shared / (areas + (box[..., 2:] - box[..., :2]).prod(-1) - shared)


def choose(scores: Tensor, boxes: Tensor, count: int) -> Tensor:
    """The best boxes that hardly overlap.

    The number of steps does not depend on the scores, so that the choice can be exported.

    Args:
        scores: Shape (..., box).
        boxes: Shape (box, 4).
        count: How many.

    Returns:
        Their places, the best first, int64 (..., count). Where fewer boxes are apart, the best of
        the others follow: a small picture has few large boxes.

    Raises:
        ValueError: If there are fewer boxes than asked for.
    """
    total = len(boxes)
    if total < count:
        raise ValueError(f"expected {count} boxes or more, got {total}")
    places = torch.arange(total, device=scores.device)
    # Ranks by counting: what sorts in a stable way has no counterpart in ONNX.
    mine, others = scores[..., :, None], scores[..., None, :]
    is_first = places[None, :] < places[:, None]
    rank = ((others > mine) | ((others == mine) & is_first)).sum(-1)  # (..., box)
    # The smallest is taken next: ranks of boxes that are apart, then, `total` later, those of
    # boxes that overlap a better one, and far behind what is taken.
    turn = rank
    chosen: list[Tensor] = []
    for _ in range(count):
        best = turn.argmin(-1)  # (...)
        chosen.append(best)
        apart = overlaps(boxes[best], boxes) < _OVERLAP
        turn = torch.where(apart | (turn >= total), turn, turn + total)
        turn = torch.where(places == best[..., None], 2 * total, turn)
    return torch.stack(chosen, -1)
