"""``spherorank rank``: from the store, or from a profile table; and a ranking as a table on a terminal."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich import box
from rich.table import Table
from threadpoolctl import threadpool_limits

from daemon import wiring
from daemon.alerts import Alerts
from daemon.config import Config
from daemon.reports.page import UNITS
from inference.bundle import load_bundle
from inference.profiles import ProfileRanking, rank_profiles
from inference.ranking.plate_ranking import RankSettings
from schemas.errors import ProfileError
from schemas.ranking import Ranking, TreatmentRank, TreatmentTable
from schemas.specimen import SpecimenRanking, SpecimenTreatment

MOST_WELLS_NAMED = 2  # more are a whole plate
NO_DOUBT = "{plate}: no label is in doubt. (Treatments of one well, and plates with fewer than 6 untreated wells, cannot be audited.)"


@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]  # it has no types; arrays are small, threads would wait for one another
def rank_plate_again(config: Config, plate: str, day: int | None, *, final: bool) -> Ranking:
    """Rank a plate from the store: a new revision if its inputs differ from the last one's, else the last one with its files made whole.

    Raises
    ------
    ProfileError
        If the store has no map of this plate, no image of this day, or the day cannot be ranked.
    """
    store = wiring.open_store(config)
    try:
        plate_map = store.plate_map(plate)
        if plate_map is None:
            raise ProfileError(
                f"plate {plate}",
                f"is not in the store {config.store.url}; expected one of {', '.join(store.plates()) or '(none yet)'}",
            )
        days = wiring.open_days(config, store, load_bundle(config.encoder.bundle).card)
        due = days.asked_for(plate_map, plate_map.readout_day if day is None else day, final=final)
        if due.previous is not None and days.stands(due):
            days.write_files(due.previous)
            return due.previous
        ranking = days.rank_day(due)
        if ranking is None:
            raise ProfileError(
                f"plate {plate}, day {due.day}", "was not ranked; the alert above says why"
            )
        specimens = wiring.open_specimens(config, store, days.alerts)
        for each in store.rankings(plate):
            specimens.note(each)
        specimens.rank_noted()
        return ranking
    finally:
        store.close()


def rank_specimen_again(config: Config, specimen: str) -> SpecimenRanking:
    """Rank a specimen from the final rankings of its plates in the store, as :meth:`Specimens.rank_again`."""
    store = wiring.open_store(config)
    try:
        return wiring.open_specimens(config, store, Alerts(store, wiring.now)).rank_again(specimen)
    finally:
        store.close()


@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]  # as above
def rank_table(
    profiles: Path,
    *,
    baseline_day: int,
    readout_day: int,
    out: Path,
    settings: RankSettings,
    assay: Path | None,
) -> ProfileRanking:
    """Rank every plate of a profile table and write the tables of treatments and wells."""
    return rank_profiles(
        profiles,
        baseline_day=baseline_day,
        readout_day=readout_day,
        out=out,
        settings=settings,
        assay=assay,
    )


def said_of(ranked: ProfileRanking, *, audit: bool) -> list[Table | str]:
    """Return what a person should know of a ranked table: which plates are ranked by departure for all their assays, and labels in doubt."""
    by_departure = [
        f"{plate} is ranked by departure, not by deterioration: {why_not}."
        for plate, why_not in ranked.by_departure.items()
    ]
    return [
        *by_departure,
        *(doubts_table(table, plate) for plate, table in ranked.tables.items() if audit),
    ]


def title_of(ranking: Ranking) -> str:
    """Return what stands above a ranking on a terminal: which one it is, and what a score counts."""
    return f"{ranking.plate} {ranking.name}, {'final' if ranking.final else 'provisional'}, score in {UNITS[ranking.method]}"


def as_table(
    ranking: TreatmentTable, title: str, beside: Mapping[str, Mapping[str, str]] | None = None
) -> Table:
    """Return the treatments of a ranking for a terminal; ``beside`` adds columns, each with a text for every treatment."""
    more = beside or {}
    table = _table(title, more)
    for row in ranking.treatments:
        table.add_row(
            *_cells(row, len(row.wells)), *(texts[row.treatment] for texts in more.values())
        )
    return table


def doubts_table(ranking: TreatmentTable, plate: str) -> Table | str:
    """Return the labels that the wells of a plate contradict, for a terminal."""
    if not ranking.label_doubts:
        return NO_DOUBT.format(plate=plate)
    table = Table(title=f"{plate}: labels in doubt", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("probability", "wells", "labelled", "seems"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for doubt in ranking.label_doubts:
        wells = (
            " ".join(doubt.wells)
            if len(doubt.wells) <= MOST_WELLS_NAMED
            else f"{len(doubt.wells)} wells"
        )
        table.add_row(f"{min(doubt.probability, 0.99):.2f}", wells, doubt.said, doubt.seems)
    return table


def as_specimen_table(ranking: SpecimenRanking) -> Table:
    """Return the treatments of a specimen for a terminal; each plate's own score stands beside, with how well they agree."""
    plates = [plate.plate for plate in ranking.plates if plate.left_out is None]
    table = _table(
        f"specimen {ranking.specimen} {ranking.name}, {len(plates)} of {len(ranking.plates)} plates",
        [*plates, "plates"],
    )
    for row in ranking.treatments:
        alone = {each.plate: f"{each.score:.2f}" for each in row.plates}
        table.add_row(
            *_cells(row, row.wells), *(alone.get(plate, "") for plate in plates), row.agreement
        )
    return table


def _table(title: str, more: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("rank", "treatment", "wells", "score", "90 % interval", "ranks", "q", "verdict"):
        table.add_column(
            name,
            justify="left" if name in ("treatment", "verdict") else "right",
            no_wrap=name != "treatment",
        )
    for name in more:
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
