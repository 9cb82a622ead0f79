"""Tables and notes of a ranking, to print on a terminal with rich."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from daemon.reports.html_parts import SCORE_UNITS
from inference.profiles import ProfileRanking
from schemas.ranking import Ranking, TreatmentRank, TreatmentTable
from schemas.specimen import SpecimenRanking, SpecimenTreatment

WELLS_LISTED = 2  # a doubt about more wells is about the whole plate and shows their number
NO_DOUBT = (
    "{plate}: no label is in doubt. (Treatments of one well, and plates with fewer than "
    "6 untreated wells, cannot be audited.)"
)


def title_of(ranking: Ranking) -> str:
    """Return the title of a ranking: plate, revision, final or provisional, unit of the score."""
    state = "final" if ranking.final else "provisional"
    return f"{ranking.plate} {ranking.name}, {state}, score in {SCORE_UNITS[ranking.method]}"


def treatments_table(
    ranking: TreatmentTable, title: str, extra: Mapping[str, Mapping[str, str]] | None = None
) -> Table:
    """Return a rich Table with one row per treatment, strongest effect first, and extra columns.

    Parameters
    ----------
    extra
        More columns: header → treatment → text.
    """
    columns = extra or {}
    table = _empty_table(title, columns)
    for row in ranking.treatments:
        table.add_row(
            *_cells(row, len(row.wells)), *(texts[row.treatment] for texts in columns.values())
        )
    return table


def label_doubts_table(ranking: TreatmentTable, plate: str) -> Table | str:
    """Return a rich Table with one row per label in doubt on a plate, or a sentence if none is."""
    if not ranking.label_doubts:
        return NO_DOUBT.format(plate=plate)
    table = Table(title=f"{plate}: labels in doubt", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("probability", "wells", "labelled", "seems"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for doubt in ranking.label_doubts:
        is_short = len(doubt.wells) <= WELLS_LISTED
        wells = " ".join(doubt.wells) if is_short else f"{len(doubt.wells)} wells"
        table.add_row(f"{min(doubt.probability, 0.99):.2f}", wells, doubt.said, doubt.seems)
    return table


def profile_notes(ranked: ProfileRanking, *, audit: bool) -> list[Table | str]:
    """Return notes on a ProfileRanking as texts and, for an audit, tables of labels in doubt.

    They name treatments that are written in several ways, and each plate that is ranked by
    departure in spite of an assay. With ``audit``, the labels in doubt of each plate follow.
    """
    by_departure = [
        f"{plate} is ranked by departure, not by deterioration: {why_not}."
        for plate, why_not in ranked.by_departure.items()
    ]
    doubts = [label_doubts_table(table, plate) for plate, table in ranked.tables.items() if audit]
    return [*ranked.notes, *by_departure, *doubts]


def specimen_table(ranking: SpecimenRanking) -> Table:
    """Return a rich Table with one row per treatment of a specimen, strongest effect first.

    A column for each plate shows the score on that plate alone; the last column shows whether the
    plates agree.
    """
    plates = [plate.plate for plate in ranking.plates if plate.left_out is None]
    table = _empty_table(
        f"specimen {ranking.specimen} {ranking.name}, "
        f"{len(plates)} of {len(ranking.plates)} plates",
        [*plates, "plates"],
    )
    for row in ranking.treatments:
        alone = {each.plate: f"{each.score:.2f}" for each in row.plates}
        table.add_row(
            *_cells(row, row.wells), *(alone.get(plate, "") for plate in plates), row.agreement
        )
    return table


def specimen_notes(ranking: SpecimenRanking) -> list[str]:
    """Return the notes of a specimen's ranking and a sentence for each plate that is left out."""
    left_out = [
        f"{plate.plate} is left out: {plate.left_out}"
        for plate in ranking.plates
        if plate.left_out is not None
    ]
    return [*ranking.notes, *left_out]


def _empty_table(title: str, extra: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("rank", "treatment", "wells", "score", "90 % interval", "ranks", "q", "verdict"):
        table.add_column(
            name,
            justify="left" if name in ("treatment", "verdict") else "right",
            no_wrap=name != "treatment",
        )
    for name in extra:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(row: TreatmentRank | SpecimenTreatment, wells: int) -> tuple[str, ...]:
    return (
        str(row.efficacy_rank),
        row.treatment,
        str(wells),
        f"{row.score:.2f}",
        f"{row.score_low:.2f} … {row.score_high:.2f}",
        f"{row.rank_low}-{row.rank_high}",
        f"{row.q_value:.3f}",
        row.verdict,
    )
