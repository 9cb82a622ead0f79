"""A plate as a picture: one circle a well, coloured by its score. Inline SVG, nothing from outside."""

import string
from collections.abc import Mapping
from html import escape

import numpy as np

from daemon.reports.deterioration_section import deterioration_in_words
from schemas.plate_map import Group
from schemas.ranking import WellRank
from schemas.well import parse_well, plate_shape, row_column

_PITCH = 44  # px between wells in the picture's own units
_LEFT, _TOP, _RADIUS = 30, 30, 18
_LEGEND = 106  # px of height below the plate

# Purple below nought, orange above: told apart with every common colour vision deficiency, and by lightness in grey.
_POSITIONS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_COLOURS = ((84, 39, 136), (153, 142, 195), (247, 247, 247), (241, 163, 64), (127, 59, 8))

_OUTLINES: Mapping[Group, tuple[str, str]] = {
    Group.UNTREATED: ('stroke="#1f6f8b" stroke-width="3"', "untreated"),
    Group.SINGLE_DOSE: ('stroke="#111" stroke-width="3.5"', "single dose"),
    Group.SCREENING: ('stroke="#999" stroke-width="1"', "screening"),
    Group.BLANK: ('stroke="#999" stroke-width="1.5" stroke-dasharray="2 3"', "blank"),
}

_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#fff"/><line x1="0" y1="0" x2="0" y2="6" stroke="#999" stroke-width="2"/></pattern></defs>'
)


def has_positions(wells: tuple[WellRank, ...]) -> bool:
    """Return whether every well's name is a position on a plate, such as B02; a profile table may name them otherwise."""
    try:
        return bool(wells) and all(parse_well(well.well) == well.well for well in wells)
    except ValueError:
        return False


def plate_svg(
    wells: tuple[WellRank, ...],
    why_not: Mapping[str, str],
    *,
    unit: str,
    highest: float | None = None,
) -> str:
    """Return the picture of a plate whose wells have positions.

    Parameters
    ----------
    why_not
        Wells that took no part, and why: they are hatched.
    unit
        What a score counts, for the legend.
    highest
        Of scores that begin at nought; None: as far below and above nought as any score goes.
    """
    rows, columns = plate_shape([well.well for well in wells])
    width, height = _LEFT + columns * _PITCH, _TOP + rows * _PITCH
    limit = (
        highest
        or max((abs(well.score) for well in wells if well.score is not None), default=0.0)
        or 1.0
    )
    named = {row_column(well.well): well for well in wells}
    parts = [
        f'<svg class="plate" viewBox="0 0 {width} {height + _LEGEND}" role="img" aria-label="Plate map coloured by score" xmlns="http://www.w3.org/2000/svg">',
        _HATCH,
    ]
    parts += [
        f'<text class="axis" x="{_x(column)}" y="18">{column}</text>'
        for column in range(1, columns + 1)
    ]
    parts += [
        f'<text class="axis" x="12" y="{_y(row) + 5}">{string.ascii_uppercase[row - 1]}</text>'
        for row in range(1, rows + 1)
    ]
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            well = named.get((row, column))
            if well is None:
                parts.append(f'<circle cx="{_x(column)}" cy="{_y(row)}" r="3" fill="#ddd"/>')
            else:
                parts.append(_well(well, why_not.get(well.well), limit, _x(column), _y(row)))
    return "".join(
        [*parts, _legend(-limit if highest is None else 0.0, limit, unit, height), "</svg>"]
    )


def _x(column: int) -> int:
    return _LEFT + (column - 1) * _PITCH + _PITCH // 2


def _y(row: int) -> int:
    return _TOP + (row - 1) * _PITCH + _PITCH // 2


def _well(well: WellRank, why_not: str | None, limit: float, x: int, y: int) -> str:
    outline, group = _OUTLINES[well.group]
    lines = [f"{well.well} · {well.treatment or group}"]
    if well.score is not None:
        lines.append(
            f"score {well.score:.2f}"
            + (f", rank {well.efficacy_rank}" if well.efficacy_rank is not None else "")
        )
    lines += [said] if (said := deterioration_in_words(well)) else []
    lines += [f"left out: {why_not}"] if why_not else []
    lines += [f"flags: {', '.join(well.flags)}"] if well.flags else []
    fill, ink = ("none" if well.group is Group.BLANK else "url(#hatch)"), "#333"
    if well.score is not None and why_not is None:
        rgb = _colour(well.score / limit)
        fill, ink = (
            "rgb({},{},{})".format(*rgb),
            "#fff" if 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 128 else "#222",  # noqa: PLR2004 - half way to white
        )
    label = (
        f'<text class="rank" x="{x}" y="{y + 5}" fill="{ink}">{well.efficacy_rank}</text>'
        if well.efficacy_rank is not None
        else ""
    )
    flag = (
        f'<circle cx="{x + 14}" cy="{y - 14}" r="5" fill="#c2185b" stroke="#fff"/>'
        if well.flags
        else ""
    )
    title = escape("\n".join(lines))
    return f'<g><title>{title}</title><circle cx="{x}" cy="{y}" r="{_RADIUS}" fill="{fill}" {outline}/>{label}{flag}</g>'


def _colour(value: float) -> tuple[int, int, int]:
    """Return red, green, blue for -1…1."""
    red, green, blue = (
        round(float(np.interp(value, _POSITIONS, channel)))
        for channel in zip(*_COLOURS, strict=True)
    )
    return red, green, blue


def _legend(lowest: float, highest: float, unit: str, top: int) -> str:
    steps, x, y, width = 41, _LEFT, top + 14, 220
    step = width / steps
    parts = [
        '<rect x="{:.1f}" y="{}" width="{:.1f}" height="12" fill="rgb({},{},{})"/>'.format(
            x + index * step,
            y,
            step + 0.5,
            *_colour(float(np.interp(index, (0, steps - 1), (lowest / highest, 1.0)))),
        )
        for index in range(steps)
    ]
    for at, text in (
        (x, f"{lowest:.3g}"),
        (x + width / 2, f"{(lowest + highest) / 2:.3g}"),
        (x + width, f"{highest:.3g}"),
    ):
        parts.append(f'<text class="axis" x="{at:.0f}" y="{y + 27}">{text}</text>')
    parts.append(
        f'<text class="key" x="{x + width + 24}" y="{y + 11}">score in {escape(unit)}</text>'
    )
    outlines = [
        (f'<circle r="8" fill="#fff" {outline}/>', name) for outline, name in _OUTLINES.values()
    ]
    marks = [
        ('<circle r="8" fill="url(#hatch)" stroke="#999"/>', "left out or no image"),
        ('<circle r="5" fill="#c2185b"/>', "flagged"),
        ('<text class="rank" y="5">7</text>', "rank among the wells"),
    ]
    return "".join([*parts, _keys(outlines, y + 52), _keys(marks, y + 78)])


def _keys(keys: list[tuple[str, str]], y: int) -> str:
    parts, x = [], _LEFT + 8
    for mark, name in keys:
        parts.append(
            f'<g transform="translate({x} {y})">{mark}<text class="key" x="14" y="5">{name}</text></g>'
        )
        x += 42 + 7 * len(name)
    return "".join(parts)
