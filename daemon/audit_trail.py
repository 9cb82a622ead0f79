"""Notes of a ranking on the decisions of persons: changed plate maps, and rankings made final."""

from datetime import datetime
from itertools import pairwise

from schemas.plate_map import PlateMap
from schemas.plate_map_changes import describe_changes
from schemas.ranking import Ranking
from store.ports import PlateMapStore

_MADE_FINAL = "The ranking was made final by a person"


def map_change_notes(store: PlateMapStore, plate_map: PlateMap) -> tuple[str, ...]:
    """Return one note for each change of the map of a run of a plate, with its time, oldest first.

    Parameters
    ----------
    store
        Has every version of the map.
    plate_map
        The version that is ranked; changes after it are not returned.
    """
    versions = store.map_versions(plate_map.plate, plate_map.run)
    used = [number for number, each in enumerate(versions) if each.digest == plate_map.digest]
    until = versions[: used[-1] + 1] if used else versions
    return tuple(
        f"The plate map was changed at {after.saved_at.isoformat(timespec='minutes')}: {changes}."
        for before, after in pairwise(until)
        if (changes := describe_changes(before.plate_map, after.plate_map))
    )


def final_note(now: datetime) -> str:
    """Return the note of a ranking that a person makes final at a time, and not the service."""
    at = now.isoformat(timespec="minutes")
    return f"{_MADE_FINAL} at {at}, with spherorank rank plate --final."


def kept_final_notes(previous: Ranking | None) -> tuple[str, ...]:
    """Return the notes of the previous ranking of a day that say that a person made it final."""
    notes = previous.notes if previous else ()
    return tuple(note for note in notes if note.startswith(_MADE_FINAL))
