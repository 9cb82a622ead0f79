"""HTML report of a plate's ranking: one file for screens of any size and for print."""

from collections import defaultdict
from collections.abc import Mapping
from html import escape

from daemon.reports.deterioration_section import (
    HIGHEST_SCORES,
    SCORE_MEANINGS,
    deterioration_facts,
)
from daemon.reports.dose_section import dose_section
from daemon.reports.doubt_words import DOUBT_HINT, DOUBT_WORDS
from daemon.reports.gallery import format_measures, gallery_section
from daemon.reports.html_parts import (
    SCORE_UNITS,
    bullet_list,
    format_p_value,
    format_rank_range,
    html_page,
    interval_bar,
    notes_section,
    provenance_section,
    table_row,
    verdict_mark,
)
from daemon.reports.plate_svg import have_plate_positions, plate_svg
from daemon.reports.scale_section import scale_section
from schemas.plate_map import Group
from schemas.ranking import Direction, Gate, Ranking, RankingQuality, TreatmentRank

FAR_UNTREATED_SPREADS = 4.0
"""Departure, in untreated spreads, above which the report asks to check an untreated well."""

_GATE_VERDICTS = {
    Gate.PASSED: "Quality gate passed",
    Gate.FAILED: "Quality gate FAILED: do not rely on this ranking",
    Gate.NO_READOUT: "NO READOUT: no treatment is ranked",
}
"""Heading of the quality section by the result of the gate."""
_INFLUENCES: Mapping[str, str] = {
    "measures": "; its embedding has no influence",
    "both": "; its embedding is compared beside the measures (ranking_weight above 0)",
    "embedding": "; its embedding alone is compared",
}
"""Influence of the encoder on the ranking by the representation."""


def ranking_html(ranking: Ranking, pictures: Mapping[str, bytes]) -> str:
    """Return the HTML report of a plate's ranking with the JPEG pictures of its wells."""
    return html_page(
        f"{ranking.plate} · day {ranking.day}",
        revision=ranking.revision,
        state="Final" if ranking.final else "PROVISIONAL",
        subtitle=_subtitle(ranking),
        notice=ranking.notice,
        sections=(
            _quality_section(ranking.quality),
            notes_section("Read this first", ranking.notes),
            _treatments_section(ranking),
            dose_section(ranking),
            _plate_section(ranking),
            scale_section(ranking),
            _wells_to_check_section(ranking),
            gallery_section(ranking, pictures),
            provenance_section(_provenance(ranking)),
        ),
    )


def _subtitle(ranking: Ranking) -> str:
    """Return revision, time of computation, run and specimen as plain text."""
    parts = [
        "Efficacy ranking",
        f"revision {ranking.revision}",
        f"made {ranking.created_at:%Y-%m-%d %H:%M %Z}".strip(),
    ]
    if ranking.seeded_at is not None:
        parts.append(f"run {ranking.run}, seeded {ranking.seeded_at:%Y-%m-%d %H:%M}")
    if ranking.replaces is not None:
        parts.insert(2, f"replaces revision {ranking.replaces}")
    if ranking.specimen:
        parts.append(f"specimen {ranking.specimen}")
    return " · ".join(parts)


def _quality_section(quality: RankingQuality) -> str:
    """Return the HTML section with the result of the quality gate and its statistics."""
    verdict = _GATE_VERDICTS[quality.gate]
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
    corrected = (
        f'<p class="hint">Corrected for: {escape(", ".join(quality.corrected_for))}.</p>'
        if quality.corrected_for
        else ""
    )
    return (
        f'<section class="gate {quality.gate}">\n<h2>{verdict}</h2>\n'
        f"{bullet_list(quality.reasons)}<dl>{cells}</dl>\n{corrected}</section>"
    )


def _treatments_section(ranking: Ranking) -> str:
    """Return the HTML section with the table of treatments, ordered by rank."""
    unit = SCORE_UNITS[ranking.method]
    low = min([0.0, *(row.score_low for row in ranking.treatments)])
    high = max([0.0, *(row.score_high for row in ranking.treatments)])
    heads = (
        "Rank",
        "Treatment",
        "Group",
        "Wells",
        "Observed changes",
        f"Score ({unit}, with interval)",
        "Possible ranks",
        "p",
        "q and effect size",
        "Verdict",
    )
    body = (
        "\n".join(_treatment_row(row, low, high) for row in ranking.treatments)
        or f'<tr><td colspan="{len(heads)}">No treatment could be ranked.</td></tr>'
    )
    return (
        "<section>\n<h2>Treatments, strongest effect first</h2>\n"
        f'<p class="hint">{SCORE_MEANINGS[ranking.method]} '
        "The dot is the score and the bar is its interval. "
        "Observed changes are changes since dosing, in untreated spreads. "
        "The effect size is the distance of the wells' mean from the untreated wells; "
        "p and q test this distance.</p>\n"
        f"<table>\n<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n</section>"
    )


def _treatment_row(row: TreatmentRank, low: float, high: float) -> str:
    """Return the HTML table row of a treatment; its score bar goes from ``low`` to ``high``."""
    bar = interval_bar(row.score, row.score_low, row.score_high, low, high)
    wells = f'<span title="{escape(", ".join(row.wells))}">{len(row.wells)}</span>'
    score = f"{row.score:.2f} <small>{row.score_low:.2f} … {row.score_high:.2f}</small>"
    if row.percent_basis == "prior":
        bar += "<small>driven by the prior</small>"
    if row.embedding_share is not None:
        bar += f"<small>embedding: {row.embedding_share:.0%}</small>"
    possible = format_rank_range(row.rank_low, row.rank_high)
    effect = f"{row.effect_size:.1f} ({row.effect_low:.1f} … {row.effect_high:.1f})"
    undecided = row.direction is Direction.UNDECIDED
    doubt = "<br><small>or growth: undecided</small>" if undecided else ""
    cells = (
        ("rank", "", str(row.efficacy_rank)),
        ("treatment", "", escape(row.treatment or "untreated")),
        ("", "Group", row.group.replace("_", " ")),
        ("number", "Wells", wells),
        ("seen", "", "<br>".join(filter(None, (_reasons(row), format_measures(row.measures))))),
        ("score", "Score", f"<span>{score}</span>{bar}"),
        ("number", "Possible ranks", f"{possible}<br><small>best: {row.chance_best:.0%}</small>"),
        ("number", "p", format_p_value(row.p_value)),
        (
            "number",
            "q and effect size",
            f"{format_p_value(row.q_value)}<br><small>{effect}</small>",
        ),
        ("", "Verdict", f"{verdict_mark(row.verdict)}{doubt}"),
    )
    return table_row(cells)


def _reasons(row: TreatmentRank) -> str:
    """Return the changes that distinguish a treatment from untreated wells as HTML text.

    The wells with the change are in the tooltip.
    """
    return ", ".join(
        f'<b title="{escape(", ".join(reason.wells))}">{escape(reason.seen)}</b> '
        f"<small>{reason.spreads:+.1f} from day {reason.from_day}</small>"
        for reason in row.reasons
    )


def _plate_section(ranking: Ranking) -> str:
    """Return the HTML section with the plate map, or with the reason why there is none."""
    if not have_plate_positions(ranking.wells):
        picture = (
            '<p class="hint">There is no plate map: these well names are not positions '
            "on a plate (such as B02).</p>"
        )
    else:
        quality = ranking.quality
        why_not = dict.fromkeys(quality.missing_images, "no image") | {
            left.well: left.reason for left in quality.left_out
        }
        picture = plate_svg(
            ranking.wells,
            why_not,
            unit=SCORE_UNITS[ranking.method],
            highest=HIGHEST_SCORES[ranking.method],
        )
    return f"<section>\n<h2>Plate</h2>\n{picture}\n</section>"


def _wells_to_check_section(ranking: Ranking) -> str:
    """Return the HTML section that lists the wells to check, by reason."""
    rows = "".join(
        f"<div><dt>{escape(why)} ({len(wells)})</dt><dd>{escape(', '.join(wells))}</dd></div>"
        for why, wells in _wells_to_check(ranking).items()
    )
    in_doubt = any(well.unsure for well in ranking.wells)
    hint = f'<p class="hint">{DOUBT_HINT}</p>\n' if in_doubt else ""
    content = (
        f'{hint}<dl class="lines">{rows}</dl>'
        if rows
        else '<p class="hint">None: no well is flagged, in doubt, left out or without an image.</p>'
    )
    return f"<section>\n<h2>Wells to check</h2>\n{content}\n</section>"


def _wells_to_check(ranking: Ranking) -> dict[str, list[str]]:
    """Return the wells that a person should check, by reason."""
    wells: dict[str, list[str]] = defaultdict(list)
    for well in ranking.wells:
        for flag in well.flags:
            wells[flag.replace("_", " ")].append(well.well)
        for reason_to_doubt in well.unsure:
            wells[f"outline in doubt: {DOUBT_WORDS[reason_to_doubt]}"].append(well.well)
        departure = well.departures.get("mahalanobis", 0.0)
        if well.group is Group.UNTREATED and departure > FAR_UNTREATED_SPREADS:
            wells["untreated, but far from the other untreated wells"].append(well.well)
    for left in ranking.quality.left_out:
        wells[f"left out: {left.reason}"].append(left.well)
    if ranking.quality.missing_images:
        wells["no image of this day"] += ranking.quality.missing_images
    for doubt in ranking.label_doubts:
        probability = min(doubt.probability, 0.99)
        reason = f"label in doubt, probability {probability:.2f}: {doubt.said}, seems {doubt.seems}"
        wells[reason] += doubt.wells
    return wells


def _provenance(ranking: Ranking) -> dict[str, str]:
    """Return the method, versions and digests from which a ranking can be computed again."""
    both = ranking.representation == "both"
    features = "embedding and measures" if both else ranking.representation
    untreated = sum(well.group is Group.UNTREATED for well in ranking.wells)
    scale = ranking.scale
    intact = "" if scale.x is None else f", {scale.x} of them intact"
    return {
        "Method": f"{ranking.method}, from {features}",
        "Wells": f"{untreated} untreated of {len(ranking.wells)} on the map; "
        f"{scale.n} ranked{intact}",
        **deterioration_facts(ranking),
        "Encoder": f"{ranking.encoder_id}{_INFLUENCES[ranking.representation]}"
        if ranking.encoder_id
        else "none (a table of features)",
        "Measured by": ranking.measured_by or "not recorded",
        "Earlier plates": ", ".join(ranking.earlier_plates) or "none",
        "Code version": ranking.code_version,
        "Settings digest": ranking.config_digest,
        "Inputs digest": ranking.inputs_digest,
    }
