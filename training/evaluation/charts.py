"""Small scatter and line charts as SVG text."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT, MARGIN = 330, 250, 42
_LEGEND_WIDTH = 330
_COLOURS = ("#3b6ea8", "#c2603a", "#4c8f5b", "#8a5aa5", "#b38a1f", "#3f9aa0", "#a8486b", "#6b7280")
_PALE, _DARK = np.array([222, 230, 240]), np.array([150, 20, 40])  # colours of kill 0 and 100 %


@dataclass(frozen=True)
class ChartLine:
    """One line of a chart; missing values (None) are left out."""

    name: str
    values: tuple[float | None, ...]
    dashed: bool = False


@dataclass(frozen=True)
class _PlotArea:
    """Ranges of values, and their place in the chart."""

    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def around(cls, across: Sequence[float], up: Sequence[float]) -> "_PlotArea":
        """Return the smallest area that shows all values of both axes."""
        low = float(np.min(across)), float(np.min(up))
        high = float(np.max(across)), float(np.max(up))
        return cls(low, (max(high[0], low[0] + 1e-9), max(high[1], low[1] + 1e-9)))

    def x(self, value: float) -> float:
        """Return the horizontal place of a value, in pixels from the left."""
        return MARGIN + (value - self.low[0]) / (self.high[0] - self.low[0]) * (WIDTH - MARGIN - 12)

    def y(self, value: float) -> float:
        """Return the vertical place of a value, in pixels from the top."""
        height = HEIGHT - MARGIN - 12
        return HEIGHT - MARGIN - (value - self.low[1]) / (self.high[1] - self.low[1]) * height

    def axes(self, across: str, up: str) -> str:
        """Return both axes with the values at their ends."""
        bottom, left, right = HEIGHT - MARGIN, MARGIN, WIDTH - 12
        return (
            _axis_lines()
            + _text(left - 4, bottom - 2, f"{self.low[1]:.3g}", "end")
            + _text(left - 4, 20, f"{self.high[1]:.3g}", "end")
            + f'<text x="{left + 2}" y="{bottom + 14}">{self.low[0]:.3g}</text>'
            + _text(right, bottom + 14, f"{self.high[0]:.3g}", "end")
            + _text((left + right) / 2, HEIGHT - 8, across, "middle")
            + _axis_title(up)
        )


def scatter_chart(
    across: Sequence[float],
    up: Sequence[float | None],
    *,
    across_name: str,
    up_name: str,
    diagonal: bool = False,
) -> str:
    """Return a scatter chart of value pairs as SVG text; pairs without a second value are left out.

    Parameters
    ----------
    diagonal
        Use one scale for both axes, and draw the line of equal values.
    """
    pairs = [(x, y) for x, y in zip(across, up, strict=True) if y is not None]
    if not pairs:
        return ""
    xs, ys = zip(*pairs, strict=True)
    area = _PlotArea.around((*xs, *ys), (*xs, *ys)) if diagonal else _PlotArea.around(xs, ys)
    line = ""
    if diagonal:
        low, high = area.low[0], area.high[0]
        line = (
            f'<path d="M{area.x(low):.1f} {area.y(low):.1f}L{area.x(high):.1f} {area.y(high):.1f}" '
            'stroke="#9aa4b1" stroke-dasharray="4 3"/>'
        )
    dots = "".join(
        f'<circle cx="{area.x(x):.1f}" cy="{area.y(y):.1f}" r="2.2" fill="#3b6ea8" '
        'fill-opacity=".55"/>'
        for x, y in pairs
    )
    return _svg(area.axes(across_name, up_name) + line + dots)


def kill_map(across: Sequence[float], up: Sequence[float], kill_percent: Sequence[float]) -> str:
    """Return a scatter chart of wells as SVG text, coloured by kill from 0 to 100 %.

    The colours go from pale (kill 0 %) to dark (100 %).
    """
    area = _PlotArea.around(across, up)
    dots = ""
    for x, y, kill in zip(across, up, kill_percent, strict=True):
        colour = np.round(_PALE + (_DARK - _PALE) * min(max(kill / 100, 0), 1)).astype(int)
        dots += (
            f'<circle cx="{area.x(x):.1f}" cy="{area.y(y):.1f}" r="2.8" '
            f'fill="rgb({",".join(map(str, colour))})" stroke="#8b95a3" stroke-width=".3"/>'
        )
    return _svg(area.axes("first component", "second component") + dots)


def line_chart(
    lines: Sequence[ChartLine],
    ticks: Sequence[str],
    *,
    across_name: str,
    up_name: str,
    chance: float,
) -> str:
    """Return a chart of lines over named ticks as SVG text, with a legend and the chance level."""
    known = [value for line in lines for value in line.values if value is not None]
    area = _PlotArea(
        (0.0, min([chance, *known])), (float(len(ticks) - 1), max([chance + 0.1, *known]))
    )
    parts = (
        f'<path d="M{MARGIN} {area.y(chance):.1f}H{WIDTH - 12}" stroke="#c3cad3" '
        'stroke-dasharray="2 3"/>'
    )
    parts += _axis_lines()
    for level in (area.low[1], area.high[1]):
        parts += _text(MARGIN - 4, f"{area.y(level) + 4:.1f}", f"{level:.2f}", "end")
    for place, tick in enumerate(ticks):
        parts += _text(f"{area.x(place):.1f}", HEIGHT - MARGIN + 14, tick, "middle")
    parts += _text(WIDTH / 2, HEIGHT - 8, across_name, "middle") + _axis_title(up_name)
    parts += "".join(_line_with_legend(area, line, number) for number, line in enumerate(lines))
    return _svg(parts, WIDTH + _LEGEND_WIDTH, max(HEIGHT, 30 + 18 * len(lines)))


def _line_with_legend(area: _PlotArea, line: ChartLine, number: int) -> str:
    dashes = ' stroke-dasharray="6 3"' if line.dashed else ""
    style = f'stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="2"{dashes}'
    points = " ".join(
        f"{area.x(place):.1f},{area.y(value):.1f}"
        for place, value in enumerate(line.values)
        if value is not None
    )
    return (
        f'<polyline points="{points}" fill="none" {style}/>'
        f'<path d="M{WIDTH + 8} {22 + 18 * number}h22" {style}/>'
        f'<text x="{WIDTH + 36}" y="{26 + 18 * number}">{escape(line.name)}</text>'
    )


def _axis_lines() -> str:
    return f'<path d="M{MARGIN} 12V{HEIGHT - MARGIN}H{WIDTH - 12}" fill="none" stroke="#9aa4b1"/>'


def _text(x: float | str, y: float | str, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _axis_title(text: str) -> str:
    middle = (HEIGHT - MARGIN) / 2
    return (
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(text)}</text>"
    )


def _svg(content: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">{content}</svg>'
    )
