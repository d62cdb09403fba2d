"""Boxes, arrows and words as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

__all__ = ["LINE", "Drawing", "Point"]

Point = tuple[float, float]

LINE = 17.0
"""From one line of text to the next."""

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, FAINT, WIRE = "#1f2933", "#52606d", "#5b6b7f"
# Mean width of a letter over the font's size: generous, since the reader's font is not known.
_REGULAR, _BOLD = 0.56, 0.60


class Drawing:
    """A picture on a light ground of its own, so that it reads on a dark page too.

    Args:
        width: Of the picture.
        height: Of it.
        title: Read aloud by screen readers.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'role="img" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{WIRE}"/>'
            "</marker></defs>",
            f'<rect x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="14" '
            'fill="#f6f8fa" stroke="#d0d7de"/>',
        ]

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = 13,
        bold: bool = False,
        faint: bool = False,
        anchor: str = "middle",
        room: float | None = None,
    ) -> None:
        """Words on a base line; smaller when they would be wider than `room`."""
        if room is not None:
            size = min(size, room / (len(words) * (_BOLD if bold else _REGULAR)))
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{at[0]:g}" y="{at[1]:g}" font-size="{size:.3g}"{weight} '
            f'fill="{FAINT if faint else INK}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def box(
        self,
        name: str,
        corner: Point,
        size: Point,
        lines: Sequence[str],
        *,
        fill: str = "#ffffff",
        edge: str = "#b6c2cf",
    ) -> None:
        """A box with its first line bold and its last one faint, centred.

        Args:
            name: Id of the box, the module's name.
            corner: Left and top.
            size: Width and height.
            lines: What it says.
            fill: Colour inside.
            edge: Colour of the border.
        """
        (x, y), (w, h) = corner, size
        self._parts.append(
            f'<g id={quoteattr(name)}><rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" '
            f'rx="8" fill="{fill}" stroke="{edge}" stroke-width="1.5"/>'
        )
        first = y + h / 2 - (len(lines) - 1) * LINE / 2 + 4.5
        for number, words in enumerate(lines):
            last = number == len(lines) - 1
            self.text(
                (x + w / 2, first + number * LINE),
                words,
                bold=number == 0,
                faint=last and number > 0,
                room=w - 14,
            )
        self._parts.append("</g>")

    def frame(self, corner: Point, size: Point) -> None:
        """A dashed frame, around boxes that belong together."""
        self._parts.append(
            f'<rect x="{corner[0]:g}" y="{corner[1]:g}" width="{size[0]:g}" height="{size[1]:g}" '
            'rx="10" fill="none" stroke="#5d9b68" stroke-dasharray="5 4"/>'
        )

    def cuboid(self, name: str, corner: Point, side: float, depth: float, *, fill: str) -> None:
        """A block seen from the front, `side` wide and high; its back lies off, up right."""
        (x, y), d = corner, depth
        faces = (
            (f"M{x:g} {y:g} h{side:g} v{side:g} h{-side:g} z", 1.0),
            (f"M{x:g} {y:g} l{d:g} {-d:g} h{side:g} l{-d:g} {d:g} z", 0.55),
            (f"M{x + side:g} {y:g} l{d:g} {-d:g} v{side:g} l{-d:g} {d:g} z", 0.75),
        )
        self._parts.append(f"<g id={quoteattr(name)}>")
        for path, strength in faces:
            self._parts.append(
                f'<path d="{path}" fill="{fill}" fill-opacity="{strength:g}" stroke="#ffffff" '
                'stroke-linejoin="round"/>'
            )
        self._parts.append("</g>")

    def arrow(self, *points: Point) -> None:
        """A line through points, with a tip at the last."""
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        self._parts.append(
            f'<path d="M{path}" fill="none" stroke="{WIRE}" stroke-width="1.8" '
            'marker-end="url(#tip)"/>'
        )

    def line(self, points: Sequence[Point], colour: str) -> None:
        """A line through points, as of a curve."""
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6" '
            'stroke-linejoin="round"/>'
        )

    def rule(self, y: float, left: float, right: float) -> None:
        """A thin line across."""
        self._parts.append(
            f'<path d="M{left:g} {y:g} H{right:g}" stroke="#d0d7de" stroke-width="1"/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
