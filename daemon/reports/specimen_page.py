"""HTML report of a specimen's ranking: the score of all plates and the score on each plate."""

from html import escape

from daemon.reports.html_parts import (
    SCORE_UNITS,
    format_p_value,
    format_rank_range,
    html_page,
    interval_bar,
    notes_section,
    provenance_section,
    table_row,
    verdict_mark,
)
from schemas.plate_map import Group
from schemas.specimen import Agreement, OnPlate, PlateOfSpecimen, SpecimenRanking, SpecimenTreatment

_AGREEMENT = {
    Agreement.ONE_PLATE: "on one plate only",
    Agreement.AGREE: "plates agree",
    Agreement.DISAGREE: '<b class="apart">plates disagree</b>',
    Agreement.CONTRADICT: '<b class="apart">plates contradict one another</b>',
}
_HEADS = (
    "Rank",
    "Treatment",
    "Wells",
    "Possible ranks",
    "Score ({unit}, with interval)",
    "Each plate alone",
    "p",
    "q",
    "Verdict",
)
_PLATES_HINT = (
    "All effects on a plate are multiplied by its gain and shifted by its offset, relative to the "
    "mean plate. The scores are corrected for both."
)
_TREATMENTS_HINT = (
    "0 = like untreated; larger = further towards deterioration. The dot is the score of all "
    "plates together and the bar is its 90 % interval. Each blue line is one plate, corrected for "
    "its gain and offset. “Each plate alone” is the uncorrected score in that plate's own ranking."
)


def specimen_html(ranking: SpecimenRanking) -> str:
    """Return the HTML report of a specimen's ranking over its plates."""
    made = f"made {ranking.created_at:%Y-%m-%d %H:%M %Z}".strip()
    replaces = [] if ranking.replaces is None else [f"replaces revision {ranking.replaces}"]
    used = sum(plate.left_out is None for plate in ranking.plates)
    return html_page(
        f"Specimen {ranking.specimen}",
        revision=ranking.revision,
        state="Final",
        subtitle=" · ".join(
            [
                f"Efficacy ranking of {used} of {len(ranking.plates)} plates",
                f"revision {ranking.revision}",
                *replaces,
                made,
            ]
        ),
        notice=ranking.notice,
        sections=(
            notes_section("Read this first", ranking.notes),
            _plates_section(ranking),
            _treatments_section(ranking),
            provenance_section(_provenance(ranking)),
        ),
    )


def _plates_section(ranking: SpecimenRanking) -> str:
    """Return the HTML section with gain, offset, day and revision of each plate."""
    rows = "".join(
        f"<div><dt>{escape(plate.label)}</dt><dd>{escape(_plate_line(plate))}</dd></div>"
        for plate in ranking.plates
    )
    return (
        f'<section>\n<h2>Plates</h2>\n<p class="hint">{_PLATES_HINT}</p>\n'
        f'<dl class="lines">{rows}</dl>\n</section>'
    )


def _plate_line(plate: PlateOfSpecimen) -> str:
    """Return a plate's gain and offset, or the reason why it is left out, as plain text."""
    used = (
        f"LEFT OUT: {plate.left_out}"
        if plate.gain is None or plate.offset is None
        else f"gain × {plate.gain:.2f}, offset {plate.offset:+.2f}"
    )
    return (
        f"{used} · day {plate.day}, revision {plate.revision}, "
        f"{plate.untreated_wells} untreated wells"
    )


def _treatments_section(ranking: SpecimenRanking) -> str:
    """Return the HTML section with the table of treatments, ordered by rank."""
    plates = {
        plate.label: (plate.gain, plate.offset)
        for plate in ranking.plates
        if plate.gain is not None and plate.offset is not None
    }
    ends = [
        value
        for row in ranking.treatments
        for value in (row.score_low, row.score_high, *_corrected_scores(row, plates))
    ]
    left, right = min([0.0, *ends]), max([0.0, *ends])
    body = "\n".join(_treatment_row(row, plates, left, right) for row in ranking.treatments)
    body = body or f'<tr><td colspan="{len(_HEADS)}">No treatment could be ranked.</td></tr>'
    unit = SCORE_UNITS[ranking.method]
    heads = "".join(f"<th>{head.format(unit=unit)}</th>" for head in _HEADS)
    return (
        "<section>\n<h2>Treatments, strongest effect first</h2>\n"
        f'<p class="hint">{_TREATMENTS_HINT}</p>\n'
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</section>"
    )


def _corrected_scores(
    row: SpecimenTreatment, plates: dict[str, tuple[float, float]]
) -> list[float]:
    """Return a treatment's score on each plate, corrected for the (gain, offset) of the plate."""
    return [alone.score / plates[alone.label][0] - plates[alone.label][1] for alone in row.plates]


def _treatment_row(
    row: SpecimenTreatment, plates: dict[str, tuple[float, float]], left: float, right: float
) -> str:
    """Return the HTML table row of a treatment; its score bar goes from ``left`` to ``right``."""
    marks = _corrected_scores(row, plates)
    bar = interval_bar(row.score, row.score_low, row.score_high, left, right, marks)
    score = f"{row.score:.2f} <small>{row.score_low:.2f} … {row.score_high:.2f}</small>"
    name = escape(row.treatment) + (
        " <small>(single dose)</small>" if row.group is Group.SINGLE_DOSE else ""
    )
    cells = (
        ("rank", "", str(row.efficacy_rank)),
        ("treatment", "", name),
        ("number", "Wells", str(row.wells)),
        ("number", "Possible ranks", format_rank_range(row.rank_low, row.rank_high)),
        ("score", "Score", f"<span>{score}</span>{bar}"),
        ("seen", "", "<br>".join([*map(_score_on_plate, row.plates), _agreement(row)])),
        ("number", "p", format_p_value(row.p_value)),
        ("number", "q", format_p_value(row.q_value)),
        ("", "Verdict", verdict_mark(row.verdict)),
    )
    return table_row(cells)


def _score_on_plate(plate: OnPlate) -> str:
    """Return score, rank and verdict of a treatment on one plate as HTML text."""
    title = (
        f"{plate.score_low:.2f} … {plate.score_high:.2f}, p {plate.p_value:.3g}, "
        f"wells {', '.join(plate.wells)}"
    )
    verdict = plate.verdict.replace("_", " ")
    return (
        f'<span title="{escape(title)}">{escape(plate.label)}: <b>{plate.score:.2f}</b>, '
        f"rank {plate.efficacy_rank}, {verdict}</span>"
    )


def _agreement(row: SpecimenTreatment) -> str:
    """Return the agreement of the plates about a treatment, with its test, as HTML text."""
    text = _AGREEMENT[row.agreement]
    if row.heterogeneity_p is None:
        return text
    return f"{text} (p {format_p_value(row.heterogeneity_p)}, I² {row.i_squared or 0:.0%})"


def _provenance(ranking: SpecimenRanking) -> dict[str, str]:
    """Return the method, versions and digests from which a ranking can be computed again."""
    both = ranking.representation == "both"
    features = "embedding and measures" if both else ranking.representation
    return {
        "Method": f"{ranking.method}, from {features}",
        "Between plates": f"an effect varies by {ranking.between_plates:.0%} of its size, in "
        "addition to the wells' variation and the plates' gains and offsets",
        "Encoder": ranking.encoder_id or "none (a table of features)",
        "Measured by": ranking.measured_by or "not recorded",
        "Code version": ranking.code_version,
        "Settings digest": ranking.config_digest,
        "Inputs digest": ranking.inputs_digest,
    }
