"""HTML section of a report with dose-response curves and the excess of combinations."""

from collections.abc import Sequence
from html import escape

import numpy as np

from daemon.reports.html_parts import format_p_value, table_row
from inference.dose.logistic import Logistic
from schemas.dose_response import (
    Bound,
    Combination,
    DosePoint,
    DoseResponse,
    Effect,
    Estimate,
    Excess,
    InhibitoryDose,
    Response,
)
from schemas.ranking import TreatmentTable

_EFFECT_NAMES = {
    Effect.DETERIORATION: "deterioration (fraction)",
    Effect.DEPARTURE: "score (untreated spreads)",
    Effect.GROWTH_RATE: "1 − GR of the volume",
}
_ABSOLUTE_IC50_NAMES = {Effect.DETERIORATION: "IC50 (effect 0.5)", Effect.GROWTH_RATE: "GR50"}
_WIDTH, _HEIGHT = 330, 210  # of a plot, in pixels; so are the following positions
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 318, 10, 168
_UNTREATED_X, _LOWEST_X = 62, 100  # of the untreated wells and of the lowest dose
_CURVE_POINTS = 80
_CURVES_HINT = (
    "Each dot is a well; blue dots are untreated wells. The line is a four-parameter logistic "
    "curve. The band is the 90 % interval of the relative IC50, the dose of half of the curve's "
    "rise. A compound whose curve fits no better than a flat line (F test, p > 0.05) has no IC50. "
    "Doses are not extrapolated beyond the tested range."
)
_COMBINATIONS_HINT = (
    "Excess is the measured effect minus the effect that is expected from the single agents, as a "
    "fraction of effect, with its 90 % interval and the p-value for no excess; above 0 is synergy. "
    "The p-values are not adjusted for the number of combinations."
)
_COMBINATION_HEADS = (
    "Combination",
    "Wells",
    "Effect (fraction)",
    "Bliss excess",
    "Highest single agent excess",
    "Loewe excess",
    "Missing data",
)


def dose_section(table: TreatmentTable) -> str:
    """Return the HTML section of a ranked plate's dose responses and combinations.

    The result is empty if no compound has two doses and there is no combination.
    """
    shown = sorted(
        (
            each
            for each in table.dose_responses
            if each.verdict in (Response.RESPONDS, Response.NO_RESPONSE)
        ),
        key=lambda each: each.compound,
    )
    short = [
        each
        for each in table.dose_responses
        if each not in shown and sum(point.amount > 0 for point in each.doses) > 1
    ]
    if not shown and not short and not table.combinations:
        return ""
    figures = "\n".join(map(_figure, shown))
    return "\n".join(
        [
            f'<section>\n<h2>Dose and response</h2>\n<p class="hint">{_CURVES_HINT}</p>',
            f'<div class="doses">\n{figures}\n</div>' if shown else "",
            _too_few_doses(short),
            _combinations(table.combinations),
            "</section>",
        ]
    )


def _too_few_doses(short: Sequence[DoseResponse]) -> str:
    """Return a sentence that names the compounds without a curve; empty without any."""
    if not short:
        return ""
    names = ", ".join(
        f"{each.compound} ({sum(point.amount > 0 for point in each.doses)} doses)" for each in short
    )
    return (
        '<p class="hint">Too few doses or wells for a curve of four parameters: '
        f"{escape(names)}.</p>"
    )


def _figure(response: DoseResponse) -> str:
    """Return the plot of a compound with its verdict, IC50 and slope as an HTML figure."""
    facts = []
    if response.curve is not None and response.relative_ic50 is not None:
        facts.append(f"relative IC50 {_dose(response.relative_ic50, response.unit)}")
        if response.absolute_ic50:
            name = _ABSOLUTE_IC50_NAMES[response.effect]
            facts.append(f"{name} {_dose(response.absolute_ic50, response.unit)}")
        facts.append(f"top {_estimate(response.curve.top)}; hill {_estimate(response.curve.hill)}")
    verdict = "responds" if response.verdict is Response.RESPONDS else "no response"
    lines = [
        f"{verdict}, p {format_p_value(1.0 if response.p_value is None else response.p_value)}",
        *map(escape, facts),
    ]
    title = f"<b>{escape(response.compound)}</b> · {_EFFECT_NAMES[response.effect]}"
    return (
        f"<figure>{_plot(response)}<figcaption>{'<br>'.join([title, *lines])}</figcaption></figure>"
    )


def _dose(dose: InhibitoryDose, unit: str) -> str:
    """Return an IC50 and its interval as text, with a sign if it is beyond the tested doses."""
    if dose.bound is Bound.ABOVE_HIGHEST:
        return f"> {_format_number(dose.amount)} {unit}, the highest dose tested" + (
            f" ({_format_number(dose.low)} or more)" if dose.low is not None else ""
        )
    if dose.bound is Bound.BELOW_LOWEST:
        return f"< {_format_number(dose.amount)} {unit}, the lowest dose tested" + (
            f" ({_format_number(dose.high)} or less)" if dose.high is not None else ""
        )
    low = _limit(dose.low, "below the doses tested")
    high = _limit(dose.high, "above the doses tested")
    return f"{_format_number(dose.amount)} {unit} ({low} … {high})"


def _estimate(estimate: Estimate) -> str:
    """Return a fitted parameter and its interval as text."""
    low, high = _limit(estimate.low, "no limit"), _limit(estimate.high, "no limit")
    return f"{estimate.value:.2f} ({low} … {high})"


def _limit(value: float | None, unlimited: str) -> str:
    """Return one end of an interval as text; ``unlimited`` if it has no end."""
    return unlimited if value is None else _format_number(value)


def _format_number(value: float) -> str:
    """Return a number with three significant digits, or as an integer from 1000 to a million."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"  # noqa: PLR2004 - %g would write powers of ten


class _Axes:
    """Pixel positions of doses (logarithmic) and effects (linear) in a plot."""

    def __init__(self, points: Sequence[DosePoint]) -> None:
        effects = [effect for point in points for effect in point.effects]
        amounts = [point.amount for point in points if point.amount > 0]
        self.low, self.high = min([0.0, *effects]), max([0.0, *effects])
        self.lowest, self.highest = min(amounts), max(amounts)

    def x(self, amount: float) -> float:
        """Return the horizontal position of a dose in pixels."""
        if amount <= 0:
            return _UNTREATED_X
        span = np.log(self.highest / self.lowest) or 1.0
        return float(_LOWEST_X + (_RIGHT - 12 - _LOWEST_X) * np.log(amount / self.lowest) / span)

    def y(self, effect: float) -> float:
        """Return the vertical position of an effect in pixels."""
        return float(
            _BOTTOM
            - 6
            - (_BOTTOM - _TOP - 12) * (effect - self.low) / ((self.high - self.low) or 1.0)
        )


def _plot(response: DoseResponse) -> str:
    """Return the SVG plot of a compound's wells and curve."""
    axes = _Axes(response.doses)
    marks = [
        f'<circle cx="{axes.x(point.amount):.1f}" cy="{axes.y(effect):.1f}" r="3" '
        f'fill="{"#1f6f8b" if point.amount == 0 else "#7f3b08"}" opacity="0.7"/>'
        for point in response.doses
        for effect in point.effects
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="effect against dose of {escape(response.compound)}">'
        f"{_interval_band(response, axes)}{_axis_marks(response, axes)}{''.join(marks)}"
        f"{_curve_line(response, axes)}</svg>"
    )


def _axis_marks(response: DoseResponse, axes: _Axes) -> str:
    """Return the SVG of the axes with ticks and labels."""
    zero = axes.y(0.0)
    parts = [
        f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#888"/>',
        _line((_LEFT, zero), (_RIGHT, zero), 'stroke="#888" stroke-dasharray="2 3"'),
    ]
    parts += [
        f'<text x="{_LEFT - 5}" y="{axes.y(value) + 4:.1f}" text-anchor="end">'
        f"{_format_number(value)}</text>"
        for value in {axes.low, 0.0, axes.high}
    ]
    ticks = [axes.x(point.amount) for point in response.doses]
    parts += [_line((x, _BOTTOM), (x, _BOTTOM + 4), 'stroke="#888"') for x in ticks]
    labels = {
        _UNTREATED_X: "0",
        axes.x(axes.lowest): _format_number(axes.lowest),
        axes.x(axes.highest): _format_number(axes.highest),
    }
    parts += [
        f'<text x="{x:.1f}" y="{_BOTTOM + 17}" text-anchor="middle">{label}</text>'
        for x, label in labels.items()
    ]
    parts.append(
        f'<text x="{(_LOWEST_X + _RIGHT) / 2:.1f}" y="{_BOTTOM + 34}" text-anchor="middle">'
        f"{escape(response.unit)}, logarithmic</text>"
    )
    return "".join(parts)


def _line(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    """Return the SVG line between two (x, y) points in pixels."""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _curve_line(response: DoseResponse, axes: _Axes) -> str:
    """Return the SVG of the fitted curve; without a curve, of the mean effect."""
    if response.curve is None:
        effects = [effect for point in response.doses for effect in point.effects]
        y = axes.y(sum(effects) / len(effects))
        style = 'stroke="#666" stroke-width="1.5" stroke-dasharray="6 4"'
        return _line((_UNTREATED_X, y), (_RIGHT - 12, y), style)
    curve = Logistic(
        response.curve.bottom.value,
        response.curve.top.value,
        response.curve.midpoint,
        response.curve.hill.value,
    )
    doses = np.geomspace(axes.lowest, axes.highest, _CURVE_POINTS)
    points = " ".join(
        f"{axes.x(dose):.1f},{axes.y(effect):.1f}"
        for dose, effect in zip(doses, curve.effect_at(doses), strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="#b35806" stroke-width="2"/>'


def _interval_band(response: DoseResponse, axes: _Axes) -> str:
    """Return the SVG band of the relative IC50's interval, within the tested doses."""
    half = response.relative_ic50
    if half is None:
        return ""
    start, end = axes.x(half.low or axes.lowest), axes.x(half.high or axes.highest)
    band = (
        f'<rect x="{start:.1f}" y="{_TOP}" width="{max(end - start, 1.0):.1f}" '
        f'height="{_BOTTOM - _TOP}" fill="#f1a340" opacity="0.25"/>'
    )
    if half.bound is not Bound.WITHIN:
        return band
    x = axes.x(half.amount)
    return band + _line((x, _TOP), (x, _BOTTOM), 'stroke="#b35806" stroke-dasharray="4 3"')


def _combinations(combinations: Sequence[Combination]) -> str:
    """Return the HTML table of the combinations' excess; empty without combinations."""
    if not combinations:
        return ""
    body = "\n".join(map(_combination, combinations))
    heads = "".join(f"<th>{head}</th>" for head in _COMBINATION_HEADS)
    return (
        "<h3>Combinations compared with their single agents</h3>\n"
        f'<p class="hint">{_COMBINATIONS_HINT}</p>\n'
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def _combination(row: Combination) -> str:
    """Return the HTML table row of one combination."""
    fraction = "–" if row.fraction is None else f"{row.fraction:.2f}"
    return table_row(
        (
            ("treatment", "", escape(row.treatment)),
            (
                "number",
                "Wells",
                f'<span title="{escape(", ".join(row.wells))}">{len(row.wells)}</span>',
            ),
            ("number", "Effect", fraction),
            ("number", "Bliss", _excess(row.bliss)),
            ("number", "HSA", _excess(row.hsa)),
            ("number", "Loewe", _excess(row.loewe)),
            ("hint", "", "<br>".join(map(escape, row.missing))),
        )
    )


def _excess(excess: Excess | None) -> str:
    """Return an excess with its interval and p-value as HTML; a dash without one."""
    if excess is None:
        return "–"
    interval = f"<small>{excess.low:+.2f} … {excess.high:+.2f}</small>"
    return f"{excess.excess:+.2f} {interval}<br><small>p {format_p_value(excess.p_value)}</small>"
