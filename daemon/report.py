"""A ranking as one HTML file that needs nothing else: readable on a screen, a phone and paper."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from daemon.gallery import gallery, seen_in_words
from daemon.plate_svg import has_positions, plate_svg
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking, RankingQuality, TreatmentRank, Verdict

_STYLE = files("daemon").joinpath("report.css").read_text(encoding="utf-8")

_VERDICTS = {
    Verdict.EFFECTIVE: "effective",
    Verdict.NO_EVIDENCE: "no evidence",
    Verdict.GROWTH: "growth",
    Verdict.TOO_FEW_WELLS: "too few wells",
}
_UNITS = {"departure": "untreated spreads", "deterioration": "percent of predicted deterioration"}


def report_html(ranking: Ranking, pictures: Mapping[str, bytes]) -> str:
    """Return the page; ``pictures`` are the JPEGs of wells that have one."""
    state = "Final" if ranking.final else "PROVISIONAL"
    title = f"{ranking.plate} · day {ranking.day}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)} · r{ranking.revision} · {state}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>",
            f'<p class="notice">{escape(ranking.notice)}</p>',
            f'<header>\n<h1>{escape(title)} <span class="state {state.lower()}">{state}</span></h1>\n<p>{escape(_subtitle(ranking))}</p>\n</header>',
            _gate(ranking.quality),
            _notes(ranking.notes),
            _treatments(ranking),
            _plate(ranking),
            _wells_to_look_at(ranking),
            gallery(ranking, pictures),
            _how(ranking),
            f"<footer>{escape(ranking.notice)}</footer>\n</body>\n</html>\n",
        ]
    )


def _subtitle(ranking: Ranking) -> str:
    parts = ["Efficacy ranking", f"revision {ranking.revision}", f"made {ranking.created_at:%Y-%m-%d %H:%M %Z}".strip()]
    if ranking.replaces is not None:
        parts.insert(2, f"replaces revision {ranking.replaces}")
    if ranking.specimen:
        parts.append(f"specimen {ranking.specimen}")
    return " · ".join(parts)


def _gate(quality: RankingQuality) -> str:
    passed = quality.gate is Gate.PASSED
    verdict = "Quality gate passed" if passed else "Quality gate FAILED: do not rely on this ranking"
    figures = [
        ("Z′", quality.z_prime),
        ("SSMD", quality.ssmd),
        ("edge effect", quality.edge_effect),
        ("row effect", quality.row_effect),
        ("column effect", quality.column_effect),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{'–' if value is None else f'{value:.2f}'}</dd></div>" for name, value in figures)
    return f'<section class="gate {quality.gate}">\n<h2>{verdict}</h2>\n{_list(quality.reasons)}<dl>{cells}</dl>\n</section>'


def _notes(notes: tuple[str, ...]) -> str:
    return f'<section class="notes">\n<h2>Read this first</h2>\n{_list(notes)}</section>' if notes else ""


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def _treatments(ranking: Ranking) -> str:
    unit = _UNITS[ranking.method]
    low = min([0.0, *(row.score_low for row in ranking.treatments)])
    high = max([0.0, *(row.score_high for row in ranking.treatments)])
    heads = ("Rank", "Treatment", "Group", "Wells", "What is seen", f"Score ({unit}, with interval)", "Ranks possible", "p", "q", "Verdict")
    body = "\n".join(_treatment(row, low, high) for row in ranking.treatments) or f'<tr><td colspan="{len(heads)}">No treatment could be ranked.</td></tr>'
    return (
        "<section>\n<h2>Treatments, strongest effect first</h2>\n"
        '<p class="hint">0 = like untreated; larger = further towards deterioration. The bar is the interval of the score, the dot the score.</p>\n'
        f"<table>\n<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</section>"
    )


def _treatment(row: TreatmentRank, low: float, high: float) -> str:
    cells = (
        ("rank", "", str(row.efficacy_rank)),
        ("treatment", "", escape(row.treatment or "untreated")),
        ("", "Group", row.group.replace("_", " ")),
        ("number", "Wells", f'<span title="{escape(", ".join(row.wells))}">{len(row.wells)}</span>'),
        ("seen", "", seen_in_words(row.measures)),
        ("score", "Score", f"<span>{row.score:.2f} <small>{row.score_low:.2f} … {row.score_high:.2f}</small></span>{_bar(row, low, high)}"),
        ("number", "Ranks possible", f"{row.rank_low}–{row.rank_high}" if row.rank_low != row.rank_high else str(row.rank_low)),
        ("number", "p", _probability(row.p_value)),
        ("number", "q", _probability(row.q_value)),
        ("", "Verdict", f'<span class="verdict {row.verdict}">{_VERDICTS[row.verdict]}</span>'),
    )
    tds = "".join(f'<td class="{kind}" data-label="{label}">{text}</td>' for kind, label, text in cells)
    return f"<tr>{tds}</tr>"


def _bar(row: TreatmentRank, low: float, high: float) -> str:
    """Return the score and its interval on one scale for all rows, with a line at nought."""
    span = (high - low) or 1.0
    zero, start, end, at = (4 + 192 * (value - low) / span for value in (0.0, row.score_low, row.score_high, row.score))
    return (
        '<svg class="bar" viewBox="0 0 200 16" aria-hidden="true">'
        f'<line x1="{zero:.1f}" y1="0" x2="{zero:.1f}" y2="16" stroke="#888" stroke-dasharray="2 2"/>'
        f'<rect x="{start:.1f}" y="5" width="{end - start:.1f}" height="6" rx="3" fill="#f1a340" opacity="0.65"/>'
        f'<circle cx="{at:.1f}" cy="8" r="4" fill="#7f3b08"/></svg>'
    )


def _probability(value: float) -> str:
    return "&lt;0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - finer than any plate can tell


def _plate(ranking: Ranking) -> str:
    if not has_positions(ranking.wells):
        picture = '<p class="hint">The names of these wells are no positions on a plate (such as B02), so there is no map.</p>'
    else:
        quality = ranking.quality
        why_not = dict.fromkeys(quality.missing_images, "no image") | {left.well: left.reason for left in quality.left_out}
        picture = plate_svg(ranking.wells, why_not, unit=_UNITS[ranking.method])
    return f"<section>\n<h2>Plate</h2>\n{picture}\n</section>"


def _wells_to_look_at(ranking: Ranking) -> str:
    flagged: dict[str, list[str]] = defaultdict(list)
    for well in ranking.wells:
        for flag in well.flags:
            flagged[flag.replace("_", " ")].append(well.well)
    for left in ranking.quality.left_out:
        flagged[f"left out: {left.reason}"].append(left.well)
    if ranking.quality.missing_images:
        flagged["no image of this day"] += ranking.quality.missing_images
    rows = "".join(f"<div><dt>{escape(why)} ({len(wells)})</dt><dd>{escape(', '.join(wells))}</dd></div>" for why, wells in flagged.items())
    content = f'<dl class="lines">{rows}</dl>' if rows else '<p class="hint">None: no well was flagged, left out or without an image.</p>'
    return f"<section>\n<h2>Wells to look at</h2>\n{content}\n</section>"


def _how(ranking: Ranking) -> str:
    scale = ranking.scale
    facts = {
        "Method": f"{ranking.method}, from {'embedding and measures' if ranking.representation == 'both' else ranking.representation}",
        "Wells": f"{sum(well.group is Group.UNTREATED for well in ranking.wells)} untreated of {len(ranking.wells)} on the map; {scale.n} ranked"
        + ("" if scale.x is None else f", {scale.x} of them intact"),
        "Encoder": ranking.encoder_id or "none (a table of features)",
        "Code version": ranking.code_version,
        "Settings digest": ranking.config_digest,
        "Inputs digest": ranking.inputs_digest,
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<section>\n<h2>How it was made</h2>\n<dl class="lines">{rows}</dl>\n</section>'
