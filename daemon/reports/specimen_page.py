"""The ranking of a specimen as one HTML file: each treatment with what all plates say together, and each plate's own word beside it."""

from html import escape

from daemon.reports.page import (
    UNITS,
    bullets,
    how_it_was_made,
    interval_bar,
    page,
    probability,
    ranks,
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
    "Ranks possible",
    "Score ({unit}, with interval)",
    "Each plate alone",
    "p",
    "q",
    "Verdict",
)


def specimen_html(ranking: SpecimenRanking) -> str:
    """Return the page."""
    made = f"made {ranking.created_at:%Y-%m-%d %H:%M %Z}".strip()
    replaces = [] if ranking.replaces is None else [f"replaces revision {ranking.replaces}"]
    used = sum(plate.left_out is None for plate in ranking.plates)
    return page(
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
            bullets("Read this first", ranking.notes),
            _plates(ranking),
            _treatments(ranking),
            _how(ranking),
        ),
    )


def _plates(ranking: SpecimenRanking) -> str:
    hint = "Gain and offset: how many times as far, and how much further, everything goes on this plate than on the mean plate. Both are taken out of the scores."
    rows = "".join(
        f"<div><dt>{escape(plate.plate)}</dt><dd>{escape(_plate(plate))}</dd></div>"
        for plate in ranking.plates
    )
    return f'<section>\n<h2>Plates</h2>\n<p class="hint">{hint}</p>\n<dl class="lines">{rows}</dl>\n</section>'


def _plate(plate: PlateOfSpecimen) -> str:
    used = (
        f"LEFT OUT: {plate.left_out}"
        if plate.gain is None or plate.offset is None
        else f"gain × {plate.gain:.2f}, offset {plate.offset:+.2f}"
    )
    return f"{used} · day {plate.day}, revision {plate.revision}, {plate.untreated_wells} untreated wells"


def _treatments(ranking: SpecimenRanking) -> str:
    plates = {
        plate.plate: (plate.gain, plate.offset)
        for plate in ranking.plates
        if plate.gain is not None and plate.offset is not None
    }
    ends = [
        value
        for row in ranking.treatments
        for value in (row.score_low, row.score_high, *_levelled(row, plates))
    ]
    left, right = min([0.0, *ends]), max([0.0, *ends])
    body = "\n".join(_treatment(row, plates, left, right) for row in ranking.treatments)
    body = body or f'<tr><td colspan="{len(_HEADS)}">No treatment could be ranked.</td></tr>'
    heads = "".join(f"<th>{head.format(unit=UNITS[ranking.method])}</th>" for head in _HEADS)
    return (
        "<section>\n<h2>Treatments, strongest effect first</h2>\n"
        '<p class="hint">0 = like untreated; larger = further towards deterioration. The dot is the score of all plates together, the bar its 90 % interval, '
        "each blue line one plate with its gain and offset taken out. “Each plate alone” is what that plate's own ranking says, nothing taken out.</p>\n"
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</section>"
    )


def _levelled(row: SpecimenTreatment, plates: dict[str, tuple[float, float]]) -> list[float]:
    return [alone.score / plates[alone.plate][0] - plates[alone.plate][1] for alone in row.plates]


def _treatment(
    row: SpecimenTreatment, plates: dict[str, tuple[float, float]], left: float, right: float
) -> str:
    bar = interval_bar(
        row.score, row.score_low, row.score_high, left, right, _levelled(row, plates)
    )
    name = escape(row.treatment) + (
        " <small>(single dose)</small>" if row.group is Group.SINGLE_DOSE else ""
    )
    cells = (
        ("rank", "", str(row.efficacy_rank)),
        ("treatment", "", name),
        ("number", "Wells", str(row.wells)),
        ("number", "Ranks possible", ranks(row.rank_low, row.rank_high)),
        (
            "score",
            "Score",
            f"<span>{row.score:.2f} <small>{row.score_low:.2f} … {row.score_high:.2f}</small></span>{bar}",
        ),
        ("seen", "", "<br>".join([*map(_alone, row.plates), _agreement(row)])),
        ("number", "p", probability(row.p_value)),
        ("number", "q", probability(row.q_value)),
        ("", "Verdict", verdict_mark(row.verdict)),
    )
    return table_row(cells)


def _alone(plate: OnPlate) -> str:
    title = f"{plate.score_low:.2f} … {plate.score_high:.2f}, p {plate.p_value:.3g}, wells {', '.join(plate.wells)}"
    verdict = plate.verdict.replace("_", " ")
    return f'<span title="{escape(title)}">{escape(plate.plate)}: <b>{plate.score:.2f}</b>, rank {plate.efficacy_rank}, {verdict}</span>'


def _agreement(row: SpecimenTreatment) -> str:
    text = _AGREEMENT[row.agreement]
    return (
        text
        if row.heterogeneity_p is None
        else f"{text} (p {probability(row.heterogeneity_p)}, I² {row.i_squared or 0:.0%})"
    )


def _how(ranking: SpecimenRanking) -> str:
    return how_it_was_made(
        {
            "Method": f"{ranking.method}, from {'embedding and measures' if ranking.representation == 'both' else ranking.representation}",
            "From plate to plate": f"an effect varies by {ranking.between_plates:.0%} of its size, beyond its wells and the plates' gains and offsets",
            "Encoder": ranking.encoder_id or "none (a table of features)",
            "Code version": ranking.code_version,
            "Settings digest": ranking.config_digest,
            "Inputs digest": ranking.inputs_digest,
        }
    )
