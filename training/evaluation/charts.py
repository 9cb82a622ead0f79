"""Small charts as SVG text."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT, MARGIN = 330, 250, 42
_COLOURS = ("#3b6ea8", "#c2603a", "#4c8f5b", "#8a5aa5", "#b38a1f", "#3f9aa0", "#a8486b", "#6b7280")
_PALE, _DARK = (
    np.array([222, 230, 240]),
    np.array([150, 20, 40]),
)  # of the smallest and the largest kill


@dataclass(frozen=True)
class Line:
    """One line of a chart; a value that is missing is left out."""

    name: str
    values: tuple[float | None, ...]
    dashed: bool = False


@dataclass(frozen=True)
class _Frame:
    """Where values lie in a chart."""

    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def around(cls, across: Sequence[float], up: Sequence[float]) -> "_Frame":
        low = float(np.min(across)), float(np.min(up))
        high = float(np.max(across)), float(np.max(up))
        return cls(low, (max(high[0], low[0] + 1e-9), max(high[1], low[1] + 1e-9)))

    def x(self, value: float) -> float:
        return MARGIN + (value - self.low[0]) / (self.high[0] - self.low[0]) * (WIDTH - MARGIN - 12)

    def y(self, value: float) -> float:
        return (
            HEIGHT
            - MARGIN
            - (value - self.low[1]) / (self.high[1] - self.low[1]) * (HEIGHT - MARGIN - 12)
        )

    def axes(self, across: str, up: str) -> str:
        """Return both axes with the values at their ends."""
        bottom, left, right = HEIGHT - MARGIN, MARGIN, WIDTH - 12
        numbers = (
            f'<text x="{left - 4}" y="{bottom - 2}" text-anchor="end">{self.low[1]:.3g}</text>'
            f'<text x="{left - 4}" y="20" text-anchor="end">{self.high[1]:.3g}</text>'
            f'<text x="{left + 2}" y="{bottom + 14}">{self.low[0]:.3g}</text><text x="{right}" y="{bottom + 14}" text-anchor="end">{self.high[0]:.3g}</text>'
        )
        return (
            f'<path d="M{left} 12V{bottom}H{right}" fill="none" stroke="#9aa4b1"/>{numbers}'
            f'<text x="{(left + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>'
            f'<text transform="translate(11 {bottom / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
        )


def scatter(
    across: Sequence[float],
    up: Sequence[float | None],
    *,
    across_name: str,
    up_name: str,
    diagonal: bool = False,
) -> str:
    """Return points; those without a value are left out. With ``diagonal`` both axes share a scale and the line of equal values is drawn."""
    pairs = [(x, y) for x, y in zip(across, up, strict=True) if y is not None]
    if not pairs:
        return ""
    xs, ys = zip(*pairs, strict=True)
    frame = _Frame.around((*xs, *ys), (*xs, *ys)) if diagonal else _Frame.around(xs, ys)
    line = ""
    if diagonal:
        low, high = frame.low[0], frame.high[0]
        line = f'<path d="M{frame.x(low):.1f} {frame.y(low):.1f}L{frame.x(high):.1f} {frame.y(high):.1f}" stroke="#9aa4b1" stroke-dasharray="4 3"/>'
    dots = "".join(
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.2" fill="#3b6ea8" fill-opacity=".55"/>'
        for x, y in pairs
    )
    return _svg(frame.axes(across_name, up_name) + line + dots)


def map_of_wells(
    across: Sequence[float], up: Sequence[float], kill_percent: Sequence[float]
) -> str:
    """Return wells at two coordinates, pale to dark by their kill."""
    frame = _Frame.around(across, up)
    dots = ""
    for x, y, kill in zip(across, up, kill_percent, strict=True):
        red, green, blue = np.round(_PALE + (_DARK - _PALE) * min(max(kill / 100, 0), 1)).astype(
            int
        )
        dots += f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.8" fill="rgb({red},{green},{blue})" stroke="#8b95a3" stroke-width=".3"/>'
    return _svg(frame.axes("first component", "second component") + dots)


def lines(
    drawn: Sequence[Line], ticks: Sequence[str], *, across_name: str, up_name: str, chance: float
) -> str:
    """Return lines over named ticks, with a legend beside them and the level of chance."""
    known = [value for line in drawn for value in line.values if value is not None]
    frame = _Frame(
        (0.0, min([chance, *known])), (float(len(ticks) - 1), max([chance + 0.1, *known]))
    )
    parts = f'<path d="M{MARGIN} {frame.y(chance):.1f}H{WIDTH - 12}" stroke="#c3cad3" stroke-dasharray="2 3"/>'
    bottom = HEIGHT - MARGIN
    parts += f'<path d="M{MARGIN} 12V{bottom}H{WIDTH - 12}" fill="none" stroke="#9aa4b1"/>'
    for level in (frame.low[1], frame.high[1]):
        parts += f'<text x="{MARGIN - 4}" y="{frame.y(level) + 4:.1f}" text-anchor="end">{level:.2f}</text>'
    parts += "".join(
        f'<text x="{frame.x(place):.1f}" y="{bottom + 14}" text-anchor="middle">{escape(tick)}</text>'
        for place, tick in enumerate(ticks)
    )
    parts += (
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across_name)}</text>'
    )
    parts += f'<text transform="translate(11 {bottom / 2}) rotate(-90)" text-anchor="middle">{escape(up_name)}</text>'
    for number, line in enumerate(drawn):
        colour, dashes = (
            _COLOURS[number % len(_COLOURS)],
            ' stroke-dasharray="6 3"' if line.dashed else "",
        )
        points = " ".join(
            f"{frame.x(place):.1f},{frame.y(value):.1f}"
            for place, value in enumerate(line.values)
            if value is not None
        )
        parts += (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        parts += f'<path d="M{WIDTH + 8} {22 + 18 * number}h22" stroke="{colour}" stroke-width="2"{dashes}/>'
        parts += f'<text x="{WIDTH + 36}" y="{26 + 18 * number}">{escape(line.name)}</text>'
    return _svg(parts, WIDTH + 330, max(HEIGHT, 30 + 18 * len(drawn)))


def _svg(content: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{content}</svg>'
