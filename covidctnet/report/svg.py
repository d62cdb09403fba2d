"""Boxes, lines and words as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

__all__ = ["LINE", "Drawing", "Point"]

Point = tuple[float, float]

LINE = 17.0
"""From one line of text to the next."""

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, FAINT, RULE = "#1f2933", "#52606d", "#d0d7de"
# Mean width of a letter over the font's size: generous, since the reader's font is not known.
_REGULAR, _BOLD = 0.56, 0.60


class Drawing:
    """A picture on a light ground of its own, so that it reads on a dark page too.

    Args:
        width: Of the picture.
        height: Of it.
        title: Read aloud by screen readers.
        ground: Without one, ink is the colour of the text around the picture, for pages that hold
            it and turn dark by themselves.
    """

    def __init__(self, width: float, height: float, title: str, *, ground: bool = True) -> None:
        self.width, self.height = width, height
        self._ink, self._faint, self._rule = (
            (INK, FAINT, RULE) if ground else ("currentColor", "currentColor", "currentColor")
        )
        if not ground:
            self._parts = [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
                f'role="img" aria-label={quoteattr(title)} font-family="{FONT}">'
            ]
            return
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'role="img" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            f'<rect x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="14" '
            f'fill="#f6f8fa" stroke="{RULE}"/>',
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
        colour: str = "",
        upwards: bool = False,
    ) -> None:
        """Words on a base line; smaller when they would be wider than `room`."""
        if room is not None:
            size = min(size, room / (len(words) * (_BOLD if bold else _REGULAR)))
        weight = ' font-weight="600"' if bold else ""
        turn = f' transform="rotate(-90 {at[0]:g} {at[1]:g})"' if upwards else ""
        self._parts.append(
            f'<text x="{at[0]:g}" y="{at[1]:g}" font-size="{size:.3g}"{weight}{turn} '
            f'fill="{colour or (self._faint if faint else self._ink)}" '
            f'text-anchor="{anchor}">{escape(words)}</text>'
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

    def line(
        self, points: Sequence[Point], colour: str, *, width: float = 1.6, dashes: str = ""
    ) -> None:
        """A line through points, as of a curve; `dashes` are lengths of ink and gap."""
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed} '
            'stroke-linejoin="round"/>'
        )

    def area(self, points: Sequence[Point], colour: str, *, opacity: float) -> None:
        """What points enclose, filled, as of the band around a curve."""
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._parts.append(f'<path d="M{path} z" fill="{colour}" fill-opacity="{opacity:.3g}"/>')

    def dot(self, at: Point, radius: float, colour: str, *, opacity: float = 1.0) -> None:
        """A filled circle."""
        self._parts.append(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" fill="{colour}" '
            f'fill-opacity="{opacity:.3g}"/>'
        )

    def rule(self, y: float, left: float, right: float) -> None:
        """A thin line across."""
        self._parts.append(
            f'<path d="M{left:g} {y:g} H{right:g}" stroke="{self._rule}" stroke-width="1"/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
