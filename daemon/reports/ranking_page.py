"""A ranking as one HTML file that needs nothing else: readable on a screen, a phone and paper."""

from collections import defaultdict
from collections.abc import Mapping
from html import escape

from daemon.reports.deterioration_section import HIGHEST, SCORES, deterioration_facts
from daemon.reports.dose_section import dose_section
from daemon.reports.gallery import gallery, seen_in_words
from daemon.reports.page import (
    UNITS,
    bullet_list,
    bullets,
    how_it_was_made,
    interval_bar,
    page,
    probability,
    ranks,
    table_row,
    verdict_mark,
)
from daemon.reports.plate_svg import has_positions, plate_svg
from schemas.plate_map import Group
from schemas.ranking import Direction, Gate, Ranking, RankingQuality, TreatmentRank

ODD_CONTROL = 4.0
"""Untreated spreads: an untreated well farther out counts as that far in the scale, and a person should look at it."""


def report_html(ranking: Ranking, pictures: Mapping[str, bytes]) -> str:
    """Return the page; ``pictures`` are the JPEGs of wells that have one."""
    return page(
        f"{ranking.plate} · day {ranking.day}",
        revision=ranking.revision,
        state="Final" if ranking.final else "PROVISIONAL",
        subtitle=_subtitle(ranking),
        notice=ranking.notice,
        sections=(
            _gate(ranking.quality),
            bullets("Read this first", ranking.notes),
            _treatments(ranking),
            dose_section(ranking),
            _plate(ranking),
            _wells_to_look_at(ranking),
            gallery(ranking, pictures),
            _how(ranking),
        ),
    )


def _subtitle(ranking: Ranking) -> str:
    parts = [
        "Efficacy ranking",
        f"revision {ranking.revision}",
        f"made {ranking.created_at:%Y-%m-%d %H:%M %Z}".strip(),
    ]
    if ranking.replaces is not None:
        parts.insert(2, f"replaces revision {ranking.replaces}")
    if ranking.specimen:
        parts.append(f"specimen {ranking.specimen}")
    return " · ".join(parts)


def _gate(quality: RankingQuality) -> str:
    passed = quality.gate is Gate.PASSED
    verdict = (
        "Quality gate passed" if passed else "Quality gate FAILED: do not rely on this ranking"
    )
    figures = [
        ("Z′", quality.z_prime),
        ("robust Z′", quality.robust_z_prime),
        ("SSMD", quality.ssmd),
        ("edge effect", quality.edge_effect),
        ("row effect", quality.row_effect),
        ("column effect", quality.column_effect),
    ]
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{'–' if value is None else f'{value:.2f}'}</dd></div>"
        for name, value in figures
    )
    taken = (
        f'<p class="hint">Taken into account: {escape(", ".join(quality.corrected_for))}.</p>'
        if quality.corrected_for
        else ""
    )
    return f'<section class="gate {quality.gate}">\n<h2>{verdict}</h2>\n{bullet_list(quality.reasons)}<dl>{cells}</dl>\n{taken}</section>'


def _treatments(ranking: Ranking) -> str:
    unit = UNITS[ranking.method]
    low = min([0.0, *(row.score_low for row in ranking.treatments)])
    high = max([0.0, *(row.score_high for row in ranking.treatments)])
    heads = (
        "Rank",
        "Treatment",
        "Group",
        "Wells",
        "What is seen",
        f"Score ({unit}, with interval)",
        "Ranks possible",
        "p",
        "q and effect size",
        "Verdict",
    )
    body = (
        "\n".join(_treatment(row, low, high) for row in ranking.treatments)
        or f'<tr><td colspan="{len(heads)}">No treatment could be ranked.</td></tr>'
    )
    return (
        "<section>\n<h2>Treatments, strongest effect first</h2>\n"
        f'<p class="hint">{SCORES[ranking.method]} The bar is the interval of the score, the dot the score. '
        "Changes are since dosing, in untreated spreads. The effect size is how far their mean is from untreated wells, which p and q test.</p>\n"
        f"<table>\n<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</section>"
    )


def _treatment(row: TreatmentRank, low: float, high: float) -> str:
    bar = interval_bar(row.score, row.score_low, row.score_high, low, high)
    cells = (
        ("rank", "", str(row.efficacy_rank)),
        ("treatment", "", escape(row.treatment or "untreated")),
        ("", "Group", row.group.replace("_", " ")),
        (
            "number",
            "Wells",
            f'<span title="{escape(", ".join(row.wells))}">{len(row.wells)}</span>',
        ),
        ("seen", "", "<br>".join(filter(None, (_reasons(row), seen_in_words(row.measures))))),
        (
            "score",
            "Score",
            f"<span>{row.score:.2f} <small>{row.score_low:.2f} … {row.score_high:.2f}</small></span>{bar}",
        ),
        (
            "number",
            "Ranks possible",
            f"{ranks(row.rank_low, row.rank_high)}<br><small>best: {row.chance_best:.0%}</small>",
        ),
        ("number", "p", probability(row.p_value)),
        (
            "number",
            "q and effect size",
            f"{probability(row.q_value)}<br><small>{row.effect_size:.1f} ({row.effect_low:.1f} … {row.effect_high:.1f})</small>",
        ),
        ("", "Verdict", f"{verdict_mark(row.verdict)}{_doubt(row)}"),
    )
    return table_row(cells)


def _reasons(row: TreatmentRank) -> str:
    """Return what sets the wells apart, in words; which wells share it is behind them."""
    return ", ".join(
        f'<b title="{escape(", ".join(reason.wells))}">{escape(reason.seen)}</b> <small>{reason.spreads:+.1f} from day {reason.from_day}</small>'
        for reason in row.reasons
    )


def _doubt(row: TreatmentRank) -> str:
    return "<br><small>or growth: undecided</small>" if row.direction is Direction.UNDECIDED else ""


def _plate(ranking: Ranking) -> str:
    if not has_positions(ranking.wells):
        picture = '<p class="hint">The names of these wells are no positions on a plate (such as B02), so there is no map.</p>'
    else:
        quality = ranking.quality
        why_not = dict.fromkeys(quality.missing_images, "no image") | {
            left.well: left.reason for left in quality.left_out
        }
        picture = plate_svg(
            ranking.wells, why_not, unit=UNITS[ranking.method], highest=HIGHEST[ranking.method]
        )
    return f"<section>\n<h2>Plate</h2>\n{picture}\n</section>"


def _wells_to_look_at(ranking: Ranking) -> str:
    flagged: dict[str, list[str]] = defaultdict(list)
    for well in ranking.wells:
        for flag in well.flags:
            flagged[flag.replace("_", " ")].append(well.well)
        if well.group is Group.UNTREATED and well.departures.get("mahalanobis", 0.0) > ODD_CONTROL:
            flagged["untreated, yet far from the other untreated wells"].append(well.well)
    for left in ranking.quality.left_out:
        flagged[f"left out: {left.reason}"].append(left.well)
    if ranking.quality.missing_images:
        flagged["no image of this day"] += ranking.quality.missing_images
    for doubt in ranking.label_doubts:
        flagged[
            f"label in doubt, probability {min(doubt.probability, 0.99):.2f}: {doubt.said}, seems {doubt.seems}"
        ] += doubt.wells
    rows = "".join(
        f"<div><dt>{escape(why)} ({len(wells)})</dt><dd>{escape(', '.join(wells))}</dd></div>"
        for why, wells in flagged.items()
    )
    content = (
        f'<dl class="lines">{rows}</dl>'
        if rows
        else '<p class="hint">None: no well was flagged, left out or without an image.</p>'
    )
    return f"<section>\n<h2>Wells to look at</h2>\n{content}\n</section>"


def _how(ranking: Ranking) -> str:
    scale = ranking.scale
    facts = {
        "Method": f"{ranking.method}, from {'embedding and measures' if ranking.representation == 'both' else ranking.representation}",
        "Wells": f"{sum(well.group is Group.UNTREATED for well in ranking.wells)} untreated of {len(ranking.wells)} on the map; {scale.n} ranked"
        + ("" if scale.x is None else f", {scale.x} of them intact"),
        **deterioration_facts(ranking),
        "Encoder": ranking.encoder_id or "none (a table of features)",
        "Earlier plates": ", ".join(ranking.earlier_plates) or "none",
        "Code version": ranking.code_version,
        "Settings digest": ranking.config_digest,
        "Inputs digest": ranking.inputs_digest,
    }
    return how_it_was_made(facts)
