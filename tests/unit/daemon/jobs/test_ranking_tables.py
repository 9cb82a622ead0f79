import io

from rich.console import Console
from rich.table import Table

from daemon.jobs.ranking_tables import (
    profile_notes,
    specimen_notes,
    specimen_table,
    title_of,
    treatments_table,
)
from inference.profiles import ProfileRanking
from tests.samples import ranking, specimen_ranking


def lines_of(table: Table | str) -> list[str]:
    screen = Console(file=io.StringIO(), width=200)
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return [line for line in screen.file.getvalue().splitlines() if line.strip()]


def test_each_treatment_is_a_row_with_the_extra_columns_at_the_end() -> None:
    table = ranking()
    kills = {row.treatment: f"kill {index}" for index, row in enumerate(table.treatments)}
    title, header, _, *rows = lines_of(
        treatments_table(table, title_of(table), {"true kill": kills})
    )
    assert title.strip().startswith(f"{table.plate} {table.name}, final, score in")
    assert header.split()[-2:] == ["true", "kill"]
    assert [row.split()[-2:] for row in rows] == [kill.split() for kill in kills.values()]


def test_a_specimen_has_a_column_for_each_plate_that_is_used() -> None:
    base = specimen_ranking()
    first, *others = base.plates
    left_out = base.model_copy(
        update={
            "plates": (first.model_copy(update={"left_out": "its gate failed"}), *others),
            "notes": ("One plate is used.",),
        }
    )
    used = [plate.plate for plate in others]
    title, header, *_ = lines_of(specimen_table(left_out))
    assert f"{len(used)} of {len(base.plates)} plates" in title
    assert header.split()[-len(used) - 1 :] == [*used, "plates"]
    assert specimen_notes(left_out) == [
        "One plate is used.",
        f"{first.plate} is left out: its gate failed",
    ]


def test_profile_notes_name_plates_that_are_ranked_by_departure_in_spite_of_an_assay() -> None:
    ranked = ProfileRanking({"P": ranking()}, {}, {"P": "fewer than 3 plates have an assay"}, ())
    (note,) = profile_notes(ranked, audit=False)
    assert note == (
        "P is ranked by departure, not by deterioration: fewer than 3 plates have an assay."
    )
    assert len(profile_notes(ranked, audit=True)) == 2
