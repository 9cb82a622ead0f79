"""HTML section of a report with the picture of each well and the measures of its tissue."""

import base64
import math
from collections.abc import Mapping
from html import escape

from daemon.reports.deterioration_section import format_deterioration
from daemon.reports.doubt_words import format_doubts
from schemas.plate_map import Group
from schemas.ranking import Condition, Ranking, WellRank


def gallery_section(ranking: Ranking, pictures: Mapping[str, bytes]) -> str:
    """Return the HTML section of a ranking with the JPEG pictures, bytes by well name.

    Treatments are in the order of their rank and untreated wells follow. Without pictures the
    result is empty.
    """
    if not pictures:
        return ""
    wells = {row.well: row for row in ranking.wells}
    groups = [(row.treatment, [wells[well] for well in row.wells]) for row in ranking.treatments]
    groups.append(("untreated", [row for row in ranking.wells if row.group is Group.UNTREATED]))
    body = "\n".join(_group(name, rows, pictures) for name, rows in groups)
    hint = (
        "Orange: the measured outline of the tissue. Blue: loose material outside the tissue. "
        "Changes are relative to the dosing day. Red: reasons to doubt the outline."
    )
    return f'<section>\n<h2>Well images</h2>\n<p class="hint">{hint}</p>\n{body}\n</section>'


def format_measures(measures: Mapping[str, float]) -> str:
    """Return size change, circularity, density and predicted stain of measures, as HTML text.

    Measures that are missing are left out; without any the result is empty.
    """
    return "<br>".join(
        filter(
            None,
            (
                _percent("size", _first(measures, "area_um2_change", "area_px_change")),
                _plain("circularity", measures.get("circularity")),
                _plain("optical density", measures.get("od_mean")),
                _predicted(measures),
            ),
        )
    )


def _group(name: str, rows: list[WellRank], pictures: Mapping[str, bytes]) -> str:
    """Return the HTML of a treatment's name and of its wells that have a picture."""
    figures = "".join(_well(row, pictures[row.well]) for row in rows if row.well in pictures)
    return f'<h3>{escape(name)}</h3>\n<div class="gallery">{figures}</div>'


def _well(row: WellRank, picture: bytes) -> str:
    """Return the HTML figure of a well: its JPEG picture, name, score, measures and doubts."""
    source = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    score = (
        "" if row.score is None or row.deterioration_percent is not None else f" · {row.score:.1f}"
    )
    exploded = " · exploded" if row.condition is Condition.EXPLODED else ""
    doubts = f'<span class="apart">{format_doubts(row.unsure)}</span>' if row.unsure else ""
    lines = filter(None, (format_deterioration(row), format_measures(row.measures), doubts))
    return (
        f'<figure><img src="{source}" alt="well {escape(row.well)}" loading="lazy">'
        f"<figcaption><b>{escape(row.well)}</b>{score}{exploded}<br>"
        f"{'<br>'.join(lines)}</figcaption></figure>"
    )


def _predicted(measures: Mapping[str, float]) -> str:
    """Return the predicted dead share of the core with its deviation; empty without it."""
    share, deviation = (measures.get(f"predicted_dead_share_core{kind}") for kind in ("", "_sd"))
    if share is None or deviation is None:
        return ""
    return (
        '<span title="Predicted from the bright-field image, not measured. ± is the standard '
        'deviation over eight orientations of the image, a lower bound of the error.">'
        f"predicted dead share of the core {100 * share:.0f} ± {100 * deviation:.0f} %</span>"
    )


def _first(measures: Mapping[str, float], *names: str) -> float | None:
    """Return the measure of the first name that occurs; None if none occurs."""
    return next((measures[name] for name in names if name in measures), None)


def _percent(word: str, log_ratio: float | None) -> str:
    """Return a word and a natural log ratio as a signed percentage; empty without a value."""
    return "" if log_ratio is None else f"{word} {100 * math.expm1(log_ratio):+.0f} %"


def _plain(word: str, value: float | None) -> str:
    """Return a word and a value with two decimals; empty without a value."""
    return "" if value is None else f"{word} {value:.2f}"
