"""What every report has: one HTML file that needs nothing else, and the pieces its tables are made of."""

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
UNITS = {"departure": "untreated spreads", "deterioration": "percent of predicted deterioration"}


def page(
    title: str, *, revision: int, state: str, subtitle: str, notice: str, sections: Iterable[str]
) -> str:
    """Return the whole page; ``state`` stands as a mark beside the title."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)} · r{revision} · {state}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>",
            f'<p class="notice">{escape(notice)}</p>',
            f'<header>\n<h1>{escape(title)} <span class="state {state.lower()}">{state}</span></h1>\n<p>{escape(subtitle)}</p>\n</header>',
            *sections,
            f"<footer>{escape(notice)}</footer>\n</body>\n</html>\n",
        ]
    )


def bullets(title: str, lines: tuple[str, ...]) -> str:
    """Return a section of notes; nothing where there are none."""
    return (
        f'<section class="notes">\n<h2>{title}</h2>\n{bullet_list(lines)}</section>'
        if lines
        else ""
    )


def bullet_list(lines: Iterable[str]) -> str:
    """Return a list; nothing where there are no lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def table_row(cells: Iterable[tuple[str, str, str]]) -> str:
    """Return a row of ``(class, label on a phone, HTML)``."""
    tds = "".join(
        f'<td class="{kind}" data-label="{label}">{text}</td>' for kind, label, text in cells
    )
    return f"<tr>{tds}</tr>"


def interval_bar(
    score: float, low: float, high: float, left: float, right: float, marks: Iterable[float] = ()
) -> str:
    """Return a score and its interval on a scale from left to right, with a line at nought; ``marks`` are what single plates say."""
    span = (right - left) or 1.0
    zero, start, end, at, *ticks = (
        4 + 192 * (value - left) / span for value in (0.0, low, high, score, *marks)
    )
    return (
        '<svg class="bar" viewBox="0 0 200 16" aria-hidden="true">'
        f'<line x1="{zero:.1f}" y1="0" x2="{zero:.1f}" y2="16" stroke="#888" stroke-dasharray="2 2"/>'
        f'<rect x="{start:.1f}" y="5" width="{end - start:.1f}" height="6" rx="3" fill="#f1a340" opacity="0.65"/>'
        f'<circle cx="{at:.1f}" cy="8" r="4" fill="#7f3b08"/>'
        + "".join(
            f'<line x1="{tick:.1f}" y1="1" x2="{tick:.1f}" y2="15" stroke="#1f6f8b" stroke-width="2"/>'
            for tick in ticks
        )
        + "</svg>"
    )


def probability(value: float) -> str:
    """Return a p-value as text."""
    return "&lt;0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - finer than any plate can tell


def ranks(low: int, high: int) -> str:
    """Return a range of ranks as text."""
    return f"{low}–{high}" if low != high else str(low)


def verdict_mark(verdict: Verdict) -> str:
    """Return the verdict in its colour."""
    return f'<span class="verdict {verdict}">{_VERDICTS[verdict]}</span>'


def how_it_was_made(facts: Mapping[str, str]) -> str:
    """Return the section from which a ranking can be made again."""
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()
    )
    return f'<section>\n<h2>How it was made</h2>\n<dl class="lines">{rows}</dl>\n</section>'
