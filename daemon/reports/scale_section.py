"""HTML section of a report with the wells in the order of the two scales of the thesis."""

from collections.abc import Iterable
from html import escape

from schemas.ranking import Condition, Ranking, Scale, WellRank

_BY = {"departure": "departure", "deterioration": "predicted deterioration"}


def scale_section(ranking: Ranking) -> str:
    """Return the HTML section of a ranking's scales; empty if no well has a score."""
    if not ranking.scale.wells:
        return ""
    by_score = sorted(
        (well for well in ranking.wells if well.scale_position is not None),
        key=lambda well: well.scale_position or 0,
    )
    by_condition = sorted(
        (well for well in ranking.wells if well.condition_position is not None),
        key=lambda well: well.condition_position or 0,
    )
    return (
        "<section>\n<h2>Wells in order, weakest effect first</h2>\n"
        f'<p class="hint">{all_wells_text(ranking.scale)} '
        "Blue: untreated. Black border: single dose. Orange: exploded.</p>\n"
        f"{_chips(by_score)}"
        f'<p class="hint">{escape(conditions_text(ranking))}</p>\n'
        f"{_chips(by_condition)}</section>"
    )


def all_wells_text(scale: Scale) -> str:
    """Return a sentence about the scale of all wells and its untreated wells."""
    places = f"All wells by score, 1…{scale.wells}."
    if scale.untreated_first is None:
        return places
    return (
        f"{places} Of the untreated wells, {scale.untreated_first:.0%} are among the first places "
        "of their number; 100 % means that no treated well is among them."
    )


def conditions_text(ranking: Ranking) -> str:
    """Return a sentence about the scale of the treated wells by condition."""
    scale, method = ranking.scale, _BY[ranking.method]
    if scale.x is None:
        return "The condition of the tissue (intact or exploded) is not known."
    intact = f"1…{scale.x} intact by {method}" if scale.x else "none intact"
    exploded = (
        f"{scale.x + 1}…{scale.n} exploded by degree of explosion"
        if scale.x < scale.n
        else "none exploded"
    )
    return f"Treated wells by condition: {intact}, {exploded}."


def _chips(wells: Iterable[WellRank]) -> str:
    """Return an HTML list of wells in order; an empty string without wells."""
    items = "".join(
        f'<li class="{well.group}{" exploded" if well.condition is Condition.EXPLODED else ""}" '
        f'title="{escape(_tooltip(well))}">{escape(well.well)}</li>'
        for well in wells
    )
    return f'<ol class="scale">{items}</ol>\n' if items else ""


def _tooltip(well: WellRank) -> str:
    """Return treatment, positions and score of a well as text."""
    by_condition = (
        "" if well.condition_position is None else f", by condition {well.condition_position}"
    )
    score = "" if well.score is None else f" · score {well.score:.2f}"
    return (
        f"{well.treatment or str(well.group).replace('_', ' ')} · "
        f"place {well.scale_position}{by_condition}{score}"
    )
