"""From the observations of a plate and its map to the trajectories that are ranked."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schemas.errors import ProfileError
from schemas.observation import Imaged, Observation
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.trajectory import Trajectories

DOSED_AT_UNKNOWN = "The plate map has no dosed_at: images of the dosing day (day {day}) were taken to be from before dosing."
AFTER_DOSING = "{count} images of the dosing day (day {day}) were taken after dosed_at and not used as images from before dosing."


@dataclass(frozen=True, eq=False)
class AssembledPlate:
    """What a ranking needs of a plate."""

    trajectories: Trajectories
    flags: dict[str, tuple[Flag, ...]]  # well: what quality says of any image used


def counting(images: Iterable[Imaged], plate_map: PlateMap) -> list[Imaged]:
    """Return the images that count: for each well of the map and each day the newest complete one, or the newest if none is complete.

    Images of the dosing day that were taken after ``dosed_at`` never count: they are no longer from before dosing.
    """
    newest: dict[tuple[str, int], Imaged] = {}
    for image in sorted(images, key=lambda each: (each.complete, each.key.visit, each.version)):
        if image.key.well in plate_map.by_well and not _taken_after_dosing(image, plate_map):
            newest[image.key.well, image.day] = image
    return [newest[place] for place in sorted(newest)]


def dosing_notes(images: Iterable[Imaged], plate_map: PlateMap) -> tuple[str, ...]:
    """Return what a reader has to know of the dosing day's images."""
    day = plate_map.dosed_on_day
    if plate_map.dosed_at is None:
        return (DOSED_AT_UNKNOWN.format(day=day),)
    after = sum(_taken_after_dosing(image, plate_map) for image in images)
    return (AFTER_DOSING.format(count=after, day=day),) if after else ()


def assemble(observations: Iterable[Observation], plate_map: PlateMap, *, through_day: int) -> AssembledPlate:
    """Lay the embeddings of the map's wells out as wells × days, up to a day; wells that the map does not name take no part.

    The observations are those that :func:`counting` chose. Flags are carried and no well is dropped for them: tissue that dies can look
    blurred, cut or empty, and is then the one that matters.

    Raises
    ------
    ProfileError
        If the embeddings come from more than one encoder.
    """
    used = [seen for seen in observations if seen.key.well in plate_map.by_well and seen.day <= through_day]
    encoders = sorted({seen.encoder_id for seen in used})
    if len(encoders) > 1:
        raise ProfileError(plate_map.plate, f"embeddings of {len(encoders)} encoders: {', '.join(encoders)}; expected one, embed the images again")
    rows = {entry.well: row for row, entry in enumerate(plate_map.entries)}
    days = sorted({seen.day for seen in used})
    dimension = len(used[0].embedding) if used else 0
    features = np.full((len(rows), len(days), dimension), np.nan)
    for seen in used:
        features[rows[seen.key.well], days.index(seen.day)] = seen.embedding
    trajectories = Trajectories(
        plate=plate_map.plate,
        wells=tuple(rows),
        groups=tuple(entry.group for entry in plate_map.entries),
        treatments=tuple(entry.treatment for entry in plate_map.entries),
        days=tuple(days),
        features=features,
        feature_names=tuple(f"embedding_{number}" for number in range(dimension)),
        encoder_id=encoders[0] if encoders else "",
    )
    return AssembledPlate(trajectories, _flags(used, plate_map, through_day))


def _taken_after_dosing(seen: Imaged, plate_map: PlateMap) -> bool:
    if plate_map.dosed_at is None or seen.taken_at is None or seen.day != plate_map.dosed_on_day:
        return False
    taken_at = seen.taken_at if seen.taken_at.tzinfo else seen.taken_at.replace(tzinfo=plate_map.seeded_at.tzinfo)
    return taken_at > plate_map.dosed_at


def _flags(used: list[Observation], plate_map: PlateMap, readout_day: int) -> dict[str, tuple[Flag, ...]]:
    """Return the flags of each well's readout image and of its last image from before dosing: the two that decide its score."""
    last_before: dict[str, Observation] = {}
    readout: dict[str, Observation] = {}
    for seen in sorted(used, key=lambda each: each.day):
        if seen.day <= plate_map.dosed_on_day:
            last_before[seen.key.well] = seen
        elif seen.day == readout_day:
            readout[seen.key.well] = seen
    flags: dict[str, set[Flag]] = {}
    for seen in (*last_before.values(), *readout.values()):
        flags.setdefault(seen.key.well, set()).update(seen.quality.flags)
    return {well: tuple(flag for flag in Flag if flag in found) for well, found in flags.items() if found}
