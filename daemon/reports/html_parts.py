"""HTML fragments that the reports of plates and of specimens share; a report is one HTML file."""

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from schemas.ranking import Verdict

_STYLE = files("daemon.reports").joinpath("report.css").read_text(encoding="utf-8")

_VERDICTS = {
    Verdict.EFFECTIVE: "effective",
    Verdict.NO_EVIDENCE: "no evidence",
    Verdict.GROWTH: "growth",
    Verdict.TOO_FEW_WELLS: "too few wells",
}
SCORE_UNITS = {
    "departure": "untreated spreads",
    "deterioration": "percent of predicted deterioration",
}
"""Unit of a score, by ranking method."""


def html_page(
    title: str, *, revision: int, state: str, subtitle: str, notice: str, sections: Iterable[str]
) -> str:
    """Return a complete HTML document from its title, state mark, notice and HTML sections.

    Parameters
    ----------
    title
        Plain text of the heading.
    revision
        Number of the ranking's revision; it is shown in the window title.
    state
        ``Final`` or ``PROVISIONAL``; it is shown beside the heading.
    subtitle, notice
        Plain text below the heading, and above and below the page.
    sections
        HTML of the sections, in order.
    """
    meta = (
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    window_title = f"<title>{escape(title)} · r{revision} · {state}</title>"
    heading = f'<h1>{escape(title)} <span class="state {state.lower()}">{state}</span></h1>'
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="en">\n<head>\n{meta}\n{window_title}',
            f"<style>\n{_STYLE}</style>\n</head>\n<body>",
            f'<p class="notice">{escape(notice)}</p>',
            f"<header>\n{heading}\n<p>{escape(subtitle)}</p>\n</header>",
            *sections,
            f"<footer>{escape(notice)}</footer>\n</body>\n</html>\n",
        ]
    )


def notes_section(title: str, lines: tuple[str, ...]) -> str:
    """Return an HTML section that lists notes below a title; an empty string without notes."""
    return (
        f'<section class="notes">\n<h2>{title}</h2>\n{bullet_list(lines)}</section>'
        if lines
        else ""
    )


def bullet_list(lines: Iterable[str]) -> str:
    """Return an HTML list of plain-text lines; an empty string without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def table_row(cells: Iterable[tuple[str, str, str]]) -> str:
    """Return an HTML table row from cells of (CSS class, label on a narrow screen, HTML)."""
    tds = "".join(
        f'<td class="{kind}" data-label="{label}">{text}</td>' for kind, label, text in cells
    )
    return f"<tr>{tds}</tr>"


def interval_bar(
    score: float, low: float, high: float, left: float, right: float, marks: Iterable[float] = ()
) -> str:
    """Return an SVG bar of a score and its interval on a scale from ``left`` to ``right``.

    A dashed line is at zero; ``marks`` are the scores of single plates, drawn as lines.
    """
    span = (right - left) or 1.0
    zero, start, end, at, *ticks = (
        4 + 192 * (value - left) / span for value in (0.0, low, high, score, *marks)
    )
    return (
        '<svg class="bar" viewBox="0 0 200 16" aria-hidden="true">'
        f'<line x1="{zero:.1f}" y1="0" x2="{zero:.1f}" y2="16" stroke="#888" '
        'stroke-dasharray="2 2"/>'
        f'<rect x="{start:.1f}" y="5" width="{end - start:.1f}" height="6" rx="3" fill="#f1a340" '
        'opacity="0.65"/>'
        f'<circle cx="{at:.1f}" cy="8" r="4" fill="#7f3b08"/>'
        + "".join(
            f'<line x1="{tick:.1f}" y1="1" x2="{tick:.1f}" y2="15" stroke="#1f6f8b" '
            'stroke-width="2"/>'
            for tick in ticks
        )
        + "</svg>"
    )


def format_p_value(value: float) -> str:
    """Return a p-value as HTML text with three decimals, or ``<0.001``, with ``<`` escaped."""
    return "&lt;0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - the last decimal shown


def format_rank_range(low: int, high: int) -> str:
    """Return the range from the lowest to the highest rank as text, such as ``2–4`` or ``3``."""
    return f"{low}–{high}" if low != high else str(low)


def verdict_mark(verdict: Verdict) -> str:
    """Return the verdict as an HTML mark in its colour."""
    return f'<span class="verdict {verdict}">{_VERDICTS[verdict]}</span>'


def provenance_section(facts: Mapping[str, str]) -> str:
    """Return an HTML section of facts by name, from which the ranking can be computed again."""
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    return (
        "<section>\n<h2>How this ranking was computed</h2>\n"
        f'<dl class="lines">{rows}</dl>\n</section>'
    )
