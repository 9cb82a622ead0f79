"""Describe the differences between two versions of the plate map of a plate."""

from collections.abc import Iterator

from schemas.plate_map import PlateFile, PlateMap, WellEntry

WELLS_NAMED = 8
"""Most wells that a description names; the others are counted."""

_UNIMPORTANT = frozenset({"plate", "acquire_at", "acquire_days"})  # without influence on a ranking


def describe_changes(before: PlateMap, after: PlateMap) -> str:
    """Return the changed keys and wells of a plate map as text; empty if nothing changed.

    Keys that do not influence a ranking are left out.

    Parameters
    ----------
    before
        The earlier version.
    after
        The later version of the map of the same plate.
    """
    return "; ".join([*_changed_keys(before, after), *_changed_wells(before, after)])


def _changed_keys(before: PlateMap, after: PlateMap) -> Iterator[str]:
    for key in PlateFile.model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if key not in _UNIMPORTANT and old != new:
            yield f"{key} from {_as_text(old)} to {_as_text(new)}"


def _changed_wells(before: PlateMap, after: PlateMap) -> Iterator[str]:
    old, new = before.by_well, after.by_well
    changed = [well for well in sorted(old | new) if old.get(well) != new.get(well)]
    for well in changed[:WELLS_NAMED]:
        yield f"well {well} from {_label(old.get(well))} to {_label(new.get(well))}"
    if len(changed) > WELLS_NAMED:
        yield f"{len(changed) - WELLS_NAMED} more wells"


def _label(entry: WellEntry | None) -> str:
    """Return group and treatment of a well, or that the map does not name it."""
    if entry is None:
        return "not in the map"
    return f"{entry.group} {entry.treatment}".strip()


def _as_text(value: object) -> str:
    if value is None:
        return "none"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
