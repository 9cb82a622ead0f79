"""Plate map as inline SVG: one circle per well, coloured by its score."""

from collections.abc import Mapping
from html import escape

import numpy as np

from daemon.reports.deterioration_section import format_deterioration
from daemon.reports.doubt_words import format_doubts
from schemas.plate_map import Group
from schemas.ranking import WellRank
from schemas.well import parse_well, plate_shape, row_column, row_label

_PITCH = 44  # pixels from well to well; all lengths are in pixels of the picture
_LEFT, _TOP, _RADIUS = 30, 30, 18  # margins of the plate and radius of a well
_LEGEND_HEIGHT = 132
_LEGEND_STEPS, _LEGEND_WIDTH = 41, 220  # coloured rectangles of the scale, and their total width

# Purple below zero, orange above zero: these colours differ for all common colour vision
# deficiencies. On a grey print, lightness shows the distance from zero.
_COLOUR_STOPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_COLOURS = ((84, 39, 136), (153, 142, 195), (247, 247, 247), (241, 163, 64), (127, 59, 8))

_OUTLINES: Mapping[Group, tuple[str, str]] = {
    Group.UNTREATED: ('stroke="#1f6f8b" stroke-width="3"', "untreated"),
    Group.SINGLE_DOSE: ('stroke="#111" stroke-width="3.5"', "single dose"),
    Group.SCREENING: ('stroke="#999" stroke-width="1"', "screening"),
    Group.BLANK: ('stroke="#999" stroke-width="1.5" stroke-dasharray="2 3"', "blank"),
}

_DOUBT_MARK = '<path d="M0-6 6 0 0 6-6 0Z" fill="#ffd54f" stroke="#333"/>'  # a diamond

_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
    '<line x1="0" y1="0" x2="0" y2="6" stroke="#999" stroke-width="2"/></pattern></defs>'
)


def have_plate_positions(wells: tuple[WellRank, ...]) -> bool:
    """Return whether the name of every well is a position on a plate, such as B02.

    A profile table may have other names.
    """
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
    """Return an SVG plate map of ranked wells by score, and of excluded wells with their reasons.

    ``why_not`` has the reason, by well, why a well is excluded from the ranking; such wells are
    hatched. ``unit`` is the unit of a score. The colours go from zero to ``highest``; if it is
    None, from minus to plus the largest absolute score.
    """
    rows, columns = plate_shape([well.well for well in wells])
    width, height = _LEFT + columns * _PITCH, _TOP + rows * _PITCH
    limit = (
        highest
        or max((abs(well.score) for well in wells if well.score is not None), default=0.0)
        or 1.0
    )
    by_position = {row_column(well.well): well for well in wells}
    view_box = f"0 0 {width} {height + _LEGEND_HEIGHT}"
    label = 'role="img" aria-label="Plate map coloured by score"'
    parts = [
        f'<svg class="plate" viewBox="{view_box}" {label} xmlns="http://www.w3.org/2000/svg">',
        _HATCH,
    ]
    parts += [
        f'<text class="axis" x="{_x(column)}" y="18">{column}</text>'
        for column in range(1, columns + 1)
    ]
    parts += [
        f'<text class="axis" x="12" y="{_y(row) + 5}">{row_label(row)}</text>'
        for row in range(1, rows + 1)
    ]
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            well = by_position.get((row, column))
            if well is None:
                parts.append(f'<circle cx="{_x(column)}" cy="{_y(row)}" r="3" fill="#ddd"/>')
            else:
                parts.append(_well(well, why_not.get(well.well), limit, _x(column), _y(row)))
    return "".join(
        [*parts, _legend(-limit if highest is None else 0.0, limit, unit, height), "</svg>"]
    )


def _x(column: int) -> int:
    """Return the horizontal centre of a column, 1 = first, in pixels."""
    return _LEFT + (column - 1) * _PITCH + _PITCH // 2


def _y(row: int) -> int:
    """Return the vertical centre of a row, 1 = first, in pixels."""
    return _TOP + (row - 1) * _PITCH + _PITCH // 2


def _well(well: WellRank, why_not: str | None, limit: float, x: int, y: int) -> str:
    """Return the SVG of a well centred at (x, y): its circle, rank, marks of flags and doubts.

    A score of ``limit`` has the darkest colour; a well with a reason in ``why_not`` is hatched.
    """
    fill, ink = ("none" if well.group is Group.BLANK else "url(#hatch)"), "#333"
    if well.score is not None and why_not is None:
        rgb = _colour(well.score / limit)
        luma = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]
        fill = "rgb({},{},{})".format(*rgb)
        ink = "#fff" if luma < 128 else "#222"  # noqa: PLR2004 - half of white
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
    doubt = f'<g transform="translate({x + 14} {y + 14})">{_DOUBT_MARK}</g>' if well.unsure else ""
    outline, _ = _OUTLINES[well.group]
    return (
        f"<g><title>{escape(_tooltip(well, why_not))}</title>"
        f'<circle cx="{x}" cy="{y}" r="{_RADIUS}" fill="{fill}" {outline}/>{label}{flag}{doubt}</g>'
    )


def _tooltip(well: WellRank, why_not: str | None) -> str:
    """Return the lines of text about a well: treatment, score, exclusion, flags and doubts."""
    lines = [f"{well.well} · {well.treatment or _OUTLINES[well.group][1]}"]
    if well.score is not None:
        rank = f", rank {well.efficacy_rank}" if well.efficacy_rank is not None else ""
        lines.append(f"score {well.score:.2f}{rank}")
    lines.append(format_deterioration(well))
    lines.append(f"left out: {why_not}" if why_not else "")
    lines.append(f"flags: {', '.join(well.flags)}" if well.flags else "")
    lines.append(f"outline in doubt: {format_doubts(well.unsure)}" if well.unsure else "")
    return "\n".join(filter(None, lines))


def _colour(value: float) -> tuple[int, int, int]:
    """Return red, green and blue, 0…255, of a value between -1 and 1."""
    red, green, blue = (
        round(float(np.interp(value, _COLOUR_STOPS, channel)))
        for channel in zip(*_COLOURS, strict=True)
    )
    return red, green, blue


def _legend(lowest: float, highest: float, unit: str, top: int) -> str:
    """Return the SVG of the colour scale and the key of marks, below ``top`` pixels."""
    x, y, step = _LEFT, top + 14, _LEGEND_WIDTH / _LEGEND_STEPS
    parts = []
    for index in range(_LEGEND_STEPS):
        value = float(np.interp(index, (0, _LEGEND_STEPS - 1), (lowest / highest, 1.0)))
        parts.append(
            '<rect x="{:.1f}" y="{}" width="{:.1f}" height="12" fill="rgb({},{},{})"/>'.format(
                x + index * step, y, step + 0.5, *_colour(value)
            )
        )
    for at, text in (
        (x, f"{lowest:.3g}"),
        (x + _LEGEND_WIDTH / 2, f"{(lowest + highest) / 2:.3g}"),
        (x + _LEGEND_WIDTH, f"{highest:.3g}"),
    ):
        parts.append(f'<text class="axis" x="{at:.0f}" y="{y + 27}">{text}</text>')
    unit_x = x + _LEGEND_WIDTH + 24
    parts.append(f'<text class="key" x="{unit_x}" y="{y + 11}">score in {escape(unit)}</text>')
    outlines = [
        (f'<circle r="8" fill="#fff" {outline}/>', name) for outline, name in _OUTLINES.values()
    ]
    marks = [
        ('<circle r="8" fill="url(#hatch)" stroke="#999"/>', "left out or no image"),
        ('<circle r="5" fill="#c2185b"/>', "flagged"),
        ('<text class="rank" y="5">7</text>', "rank among the wells"),
    ]
    doubts = [(_DOUBT_MARK, "outline of the tissue in doubt")]
    return "".join([*parts, _keys(outlines, y + 52), _keys(marks, y + 78), _keys(doubts, y + 104)])


def _keys(keys: list[tuple[str, str]], y: int) -> str:
    """Return the SVG of one line of (mark, name) pairs at ``y`` pixels."""
    parts, x = [], _LEFT + 8
    for mark, name in keys:
        parts.append(
            f'<g transform="translate({x} {y})">{mark}'
            f'<text class="key" x="14" y="5">{name}</text></g>'
        )
        x += 42 + 7 * len(name)  # about 7 pixels per character
    return "".join(parts)
