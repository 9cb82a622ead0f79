"""The part of a report in which wells are looked at: each with its picture, the outline of its tissue and what was measured."""

import base64
import math
from collections.abc import Mapping
from html import escape

from daemon.reports.deterioration_section import deterioration_in_words
from schemas.plate_map import Group
from schemas.ranking import Condition, Ranking, WellRank


def gallery(ranking: Ranking, pictures: Mapping[str, bytes]) -> str:
    """Return the section; treatments in the order of their rank, untreated wells last."""
    if not pictures:
        return ""
    wells = {row.well: row for row in ranking.wells}
    rows = [(row.treatment, [wells[well] for well in row.wells]) for row in ranking.treatments]
    rows.append(("untreated", [row for row in ranking.wells if row.group is Group.UNTREATED]))
    body = "\n".join(
        f'<h3>{escape(name)}</h3>\n<div class="gallery">{"".join(_well(row, pictures[row.well]) for row in of_row if row.well in pictures)}</div>'
        for name, of_row in rows
    )
    hint = "Orange: the outline that was measured. Blue: loose material outside it. Changes are since dosing."
    return f'<section>\n<h2>The wells</h2>\n<p class="hint">{hint}</p>\n{body}\n</section>'


def seen_in_words(measures: Mapping[str, float]) -> str:
    """Return size, circularity and darkness and how they changed since dosing, in a few words; nothing if nothing was measured."""
    return "<br>".join(
        filter(
            None,
            (
                _percent("size", _first(measures, "area_um2_change", "area_px_change")),
                _plain("circularity", measures.get("circularity")),
                _plain("optical density", measures.get("od_mean")),
            ),
        )
    )


def _well(row: WellRank, picture: bytes) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    score = (
        "" if row.score is None or row.deterioration_percent is not None else f" · {row.score:.1f}"
    )
    exploded = " · exploded" if row.condition is Condition.EXPLODED else ""
    lines = filter(None, (deterioration_in_words(row), seen_in_words(row.measures)))
    return (
        f'<figure><img src="{source}" alt="well {escape(row.well)}" loading="lazy">'
        f"<figcaption><b>{escape(row.well)}</b>{score}{exploded}<br>{'<br>'.join(lines)}</figcaption></figure>"
    )


def _first(measures: Mapping[str, float], *names: str) -> float | None:
    return next((measures[name] for name in names if name in measures), None)


def _percent(word: str, log_ratio: float | None) -> str:
    return "" if log_ratio is None else f"{word} {100 * math.expm1(log_ratio):+.0f} %"


def _plain(word: str, value: float | None) -> str:
    return "" if value is None else f"{word} {value:.2f}"
