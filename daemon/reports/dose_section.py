"""The part of a report that shows how effect follows dose, and what combinations do beyond their parts."""

from collections.abc import Sequence
from html import escape

import numpy as np

from daemon.reports.page import probability, table_row
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

_AXES = {
    Effect.DETERIORATION: "deterioration (fraction)",
    Effect.DEPARTURE: "score (untreated spreads)",
    Effect.GROWTH_RATE: "1 − GR of the volume",
}
_HALF = {Effect.DETERIORATION: "IC50 (effect 0.5)", Effect.GROWTH_RATE: "GR50"}
_WIDTH, _HEIGHT = 330, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 318, 10, 168
_UNTREATED_X, _LOWEST_X = 62, 100
_CURVE_POINTS = 80
_HEADS = (
    "Combination",
    "Wells",
    "Effect (fraction)",
    "Bliss excess",
    "Highest single agent excess",
    "Loewe excess",
    "What is missing",
)


def dose_section(table: TreatmentTable) -> str:
    """Return the section; nothing where no compound has two doses and there is no combination."""
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
    hint = (
        "Each dot is a well, blue ones are untreated. The line is a four-parameter logistic; the band is the 90 % interval of the dose of half its rise. "
        "A compound whose curve is no better than a flat line (F test, p > 0.05) has no IC50. Doses beyond those tested are not extrapolated."
    )
    figures = "\n".join(map(_figure, shown))
    return "\n".join(
        [
            f'<section>\n<h2>Dose and response</h2>\n<p class="hint">{hint}</p>',
            f'<div class="doses">\n{figures}\n</div>' if shown else "",
            _too_short(short),
            _combinations(table.combinations),
            "</section>",
        ]
    )


def _too_short(short: Sequence[DoseResponse]) -> str:
    if not short:
        return ""
    names = ", ".join(
        f"{each.compound} ({sum(point.amount > 0 for point in each.doses)} doses)" for each in short
    )
    return f'<p class="hint">Too few doses or wells for a curve of four parameters: {escape(names)}.</p>'


def _figure(response: DoseResponse) -> str:
    facts = []
    if response.curve is not None and response.relative_ic50 is not None:
        facts.append(f"half of its rise at {_dose(response.relative_ic50, response.unit)}")
        facts += (
            [f"{_HALF[response.effect]} {_dose(response.absolute_ic50, response.unit)}"]
            if response.absolute_ic50
            else []
        )
        facts.append(f"top {_estimate(response.curve.top)}; hill {_estimate(response.curve.hill)}")
    verdict = "responds" if response.verdict is Response.RESPONDS else "no response"
    lines = [
        f"{verdict}, p {probability(1.0 if response.p_value is None else response.p_value)}",
        *map(escape, facts),
    ]
    title = f"<b>{escape(response.compound)}</b> · {_AXES[response.effect]}"
    return (
        f"<figure>{_plot(response)}<figcaption>{'<br>'.join([title, *lines])}</figcaption></figure>"
    )


def _dose(dose: InhibitoryDose, unit: str) -> str:
    if dose.bound is Bound.ABOVE_HIGHEST:
        return f"> {_number(dose.amount)} {unit}, the highest dose tested" + (
            f" ({_number(dose.low)} or more)" if dose.low is not None else ""
        )
    if dose.bound is Bound.BELOW_LOWEST:
        return f"< {_number(dose.amount)} {unit}, the lowest dose tested" + (
            f" ({_number(dose.high)} or less)" if dose.high is not None else ""
        )
    return f"{_number(dose.amount)} {unit} ({_end(dose.low, 'below the doses tested')} … {_end(dose.high, 'above the doses tested')})"


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({_end(estimate.low, 'no limit')} … {_end(estimate.high, 'no limit')})"


def _end(value: float | None, without: str) -> str:
    return without if value is None else _number(value)


def _number(value: float) -> str:
    """Return three digits, and thousands as they are read."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"  # noqa: PLR2004 - where %g changes to powers of ten


class _Axes:
    """Where doses and effects lie in a plot."""

    def __init__(self, points: Sequence[DosePoint]) -> None:
        effects = [effect for point in points for effect in point.effects]
        amounts = [point.amount for point in points if point.amount > 0]
        self.low, self.high = min([0.0, *effects]), max([0.0, *effects])
        self.lowest, self.highest = min(amounts), max(amounts)

    def x(self, amount: float) -> float:
        if amount <= 0:
            return _UNTREATED_X
        span = np.log(self.highest / self.lowest) or 1.0
        return float(_LOWEST_X + (_RIGHT - 12 - _LOWEST_X) * np.log(amount / self.lowest) / span)

    def y(self, effect: float) -> float:
        return float(
            _BOTTOM
            - 6
            - (_BOTTOM - _TOP - 12) * (effect - self.low) / ((self.high - self.low) or 1.0)
        )


def _plot(response: DoseResponse) -> str:
    axes = _Axes(response.doses)
    marks = [
        f'<circle cx="{axes.x(point.amount):.1f}" cy="{axes.y(effect):.1f}" r="3" fill="{"#1f6f8b" if point.amount == 0 else "#7f3b08"}" opacity="0.7"/>'
        for point in response.doses
        for effect in point.effects
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="effect against dose of {escape(response.compound)}">'
        f"{_interval(response, axes)}{_frame(response, axes)}{''.join(marks)}{_line(response, axes)}</svg>"
    )


def _frame(response: DoseResponse, axes: _Axes) -> str:
    zero = axes.y(0.0)
    parts = [
        f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#888"/>',
        f'<line x1="{_LEFT}" y1="{zero:.1f}" x2="{_RIGHT}" y2="{zero:.1f}" stroke="#888" stroke-dasharray="2 3"/>',
    ]
    parts += [
        f'<text x="{_LEFT - 5}" y="{axes.y(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        for value in {axes.low, 0.0, axes.high}
    ]
    parts += [
        f'<line x1="{axes.x(point.amount):.1f}" y1="{_BOTTOM}" x2="{axes.x(point.amount):.1f}" y2="{_BOTTOM + 4}" stroke="#888"/>'
        for point in response.doses
    ]
    labels = {
        _UNTREATED_X: "0",
        axes.x(axes.lowest): _number(axes.lowest),
        axes.x(axes.highest): _number(axes.highest),
    }
    parts += [
        f'<text x="{x:.1f}" y="{_BOTTOM + 17}" text-anchor="middle">{label}</text>'
        for x, label in labels.items()
    ]
    parts.append(
        f'<text x="{(_LOWEST_X + _RIGHT) / 2:.1f}" y="{_BOTTOM + 34}" text-anchor="middle">{escape(response.unit)}, logarithmic</text>'
    )
    return "".join(parts)


def _line(response: DoseResponse, axes: _Axes) -> str:
    if response.curve is None:
        effects = [effect for point in response.doses for effect in point.effects]
        y = axes.y(sum(effects) / len(effects))
        return f'<line x1="{_UNTREATED_X}" y1="{y:.1f}" x2="{_RIGHT - 12}" y2="{y:.1f}" stroke="#666" stroke-width="1.5" stroke-dasharray="6 4"/>'
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


def _interval(response: DoseResponse, axes: _Axes) -> str:
    """Return the band of the relative IC50; it ends where the doses tested end."""
    half = response.relative_ic50
    if half is None:
        return ""
    start, end = axes.x(half.low or axes.lowest), axes.x(half.high or axes.highest)
    band = f'<rect x="{start:.1f}" y="{_TOP}" width="{max(end - start, 1.0):.1f}" height="{_BOTTOM - _TOP}" fill="#f1a340" opacity="0.25"/>'
    if half.bound is not Bound.WITHIN:
        return band
    return f'{band}<line x1="{axes.x(half.amount):.1f}" y1="{_TOP}" x2="{axes.x(half.amount):.1f}" y2="{_BOTTOM}" stroke="#b35806" stroke-dasharray="4 3"/>'


def _combinations(combinations: Sequence[Combination]) -> str:
    if not combinations:
        return ""
    body = "\n".join(map(_combination, combinations))
    return (
        "<h3>Combinations beside their parts</h3>\n"
        '<p class="hint">Excess over what the single agents lead to expect, as a fraction of effect, with its 90 % interval and the p-value of no excess; '
        "above 0 is synergy. p-values are not adjusted for the number of combinations.</p>\n"
        f"<table>\n<thead><tr>{''.join(f'<th>{head}</th>' for head in _HEADS)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def _combination(row: Combination) -> str:
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
    if excess is None:
        return "–"
    return f"{excess.excess:+.2f} <small>{excess.low:+.2f} … {excess.high:+.2f}</small><br><small>p {probability(excess.p_value)}</small>"
