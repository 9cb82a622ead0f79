"""``spherorank rank``: from the store, or from a profile table; and a ranking as a table on a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from daemon import wiring
from daemon.config import Config
from inference.bundle import load_bundle
from inference.profiles import rank_profiles
from schemas.errors import ProfileError
from schemas.ranking import Ranking, TreatmentTable


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
            raise ProfileError(f"plate {plate}", f"is not in the store {config.store.url}; expected one of {', '.join(store.plates()) or '(none yet)'}")
        days = wiring.open_days(config, store, load_bundle(config.encoder.bundle).card)
        due = days.asked_for(plate_map, plate_map.readout_day if day is None else day, final=final)
        if due.previous is not None and due.previous.inputs_digest == due.inputs_digest and due.previous.final >= due.final:
            days.write_files(due.previous)
            return due.previous
        ranking = days.rank_day(due)
        if ranking is None:
            raise ProfileError(f"plate {plate}, day {due.day}", "was not ranked; the alert above says why")
        return ranking
    finally:
        store.close()


def rank_table(profiles: Path, *, baseline_day: int, readout_day: int, out: Path) -> Sequence[ProfileError]:
    """Rank every plate of a profile table, write the tables of treatments and wells, and return why a plate could not be ranked."""
    return list(rank_profiles(profiles, baseline_day=baseline_day, readout_day=readout_day, out=out).refused.values())


def as_table(ranking: TreatmentTable, title: str, beside: Mapping[str, Mapping[str, str]] | None = None) -> Table:
    """Return the treatments of a ranking for a terminal; ``beside`` adds columns, each with a text for every treatment."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("rank", "treatment", "wells", "score", "90 % interval", "ranks", "q", "verdict"):
        table.add_column(name, justify="left" if name in ("treatment", "verdict") else "right", no_wrap=name != "treatment")
    more = beside or {}
    for name in more:
        table.add_column(name, justify="right", no_wrap=True)
    for row in ranking.treatments:
        table.add_row(
            str(row.efficacy_rank),
            row.treatment,
            str(len(row.wells)),
            f"{row.score:.2f}",
            f"{row.score_low:.2f} … {row.score_high:.2f}",
            f"{row.rank_low}-{row.rank_high}",
            f"{row.q_value:.3f}",
            row.verdict,
            *(texts[row.treatment] for texts in more.values()),
        )
    return table
