"""From the observations of a plate and its map to the trajectories that are ranked."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.errors import ProfileError
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.trajectory import Representation, Trajectories

DOSED_AT_UNKNOWN = "The plate map has no dosed_at: images of the dosing day (day {day}) were taken to be from before dosing."
AFTER_DOSING = "{count} images of the dosing day (day {day}) were taken after dosed_at and not used as images from before dosing."
NOT_MEASURED = "The tissue of {count} of {all} images was not measured: all wells are compared by their embedding alone."
NO_WEIGHT = "The embedding has no weight beside the measures: wells are compared by measures alone."


@dataclass(frozen=True, eq=False)
class AssembledPlate:
    """What a ranking needs of a plate."""

    trajectories: Trajectories
    flags: dict[str, tuple[Flag, ...]]  # well: what quality says of any image used
    notes: tuple[str, ...]  # why wells are not compared by what was asked for


def counting(images: Iterable[VisitVersion], plate_map: PlateMap) -> list[VisitVersion]:
    """Return the images that count: for each well of the map and each day the newest complete one, or the newest if none is complete.

    Images of the dosing day that were taken after ``dosed_at`` never count: they are no longer from before dosing.
    """
    newest: dict[tuple[str, int], VisitVersion] = {}
    for image in sorted(images, key=lambda each: (each.complete, each.key.visit, each.version)):
        if image.key.well in plate_map.by_well and not _taken_after_dosing(image, plate_map):
            newest[image.key.well, image.day] = image
    return [newest[place] for place in sorted(newest)]


def dosing_notes(images: Iterable[VisitVersion], plate_map: PlateMap) -> tuple[str, ...]:
    """Return what a reader has to know of the dosing day's images."""
    day = plate_map.dosed_on_day
    if plate_map.dosed_at is None:
        return (DOSED_AT_UNKNOWN.format(day=day),)
    after = sum(_taken_after_dosing(image, plate_map) for image in images)
    return (AFTER_DOSING.format(count=after, day=day),) if after else ()


def feature_names(representation: Representation, dimension: int) -> tuple[str, ...]:
    """Return the names of a row of features, of an embedding of so many values."""
    embedded = (
        ()
        if representation == "measures"
        else tuple(f"embedding_{number}" for number in range(dimension))
    )
    return embedded if representation == "embedding" else (*embedded, *RANKED_MEASURES)


def assemble(
    observations: Iterable[Observation],
    plate_map: PlateMap,
    *,
    through_day: int,
    representation: Representation,
    embedding_weight: float,
) -> AssembledPlate:
    """Lay the features of the map's wells out as wells × days, up to a day; wells that the map does not name take no part.

    The observations are those that :func:`counting` chose. Flags are carried and no well is dropped for them: tissue that dies can look
    blurred, cut or empty, and is then the one that matters. Where an image that decides a score was not measured (measuring came later than the
    image), all wells are compared by their embedding, whatever was asked for.

    Parameters
    ----------
    embedding_weight
        Of the whole embedding beside all measures, where the representation is both.

    Raises
    ------
    ProfileError
        If the embeddings come from more than one encoder.
    """
    used = [
        seen
        for seen in observations
        if seen.key.well in plate_map.by_well and seen.day <= through_day
    ]
    encoders = sorted({seen.encoder_id for seen in used})
    if len(encoders) > 1:
        raise ProfileError(
            plate_map.plate,
            f"embeddings of {len(encoders)} encoders: {', '.join(encoders)}; expected one, embed the images again",
        )
    deciding = _deciding(used, plate_map, through_day)
    representation, notes = _possible(representation, deciding, embedding_weight)
    laid_out = used if representation == "embedding" else [seen for seen in used if seen.measures]
    dimension = len(used[0].embedding) if used and representation != "measures" else 0
    names = feature_names(representation, dimension)
    rows = {entry.well: row for row, entry in enumerate(plate_map.entries)}
    days = sorted({seen.day for seen in laid_out})
    features = np.full((len(rows), len(days), len(names)), np.nan)
    for seen in laid_out:
        well = features[rows[seen.key.well], days.index(seen.day)]
        well[:dimension] = seen.embedding[:dimension]
        if representation != "embedding":
            well[dimension:] = ranked_values(seen.measures)
    trajectories = Trajectories(
        plate=plate_map.plate,
        wells=tuple(rows),
        groups=tuple(entry.group for entry in plate_map.entries),
        treatments=tuple(entry.treatment for entry in plate_map.entries),
        days=tuple(days),
        features=features,
        feature_names=names,
        embedding_dimension=dimension,
        embedding_weight=embedding_weight,
        encoder_id=encoders[0] if encoders else "",
    )
    return AssembledPlate(trajectories, _flags(deciding), notes)


def _possible(
    representation: Representation, deciding: list[Observation], embedding_weight: float
) -> tuple[Representation, tuple[str, ...]]:
    """Return what wells can be compared by, and why it is not what was asked for."""
    if representation == "embedding":
        return representation, ()
    if unmeasured := sum(not seen.measures for seen in deciding):
        return "embedding", (NOT_MEASURED.format(count=unmeasured, all=len(deciding)),)
    return (
        ("measures", (NO_WEIGHT,))
        if representation == "both" and embedding_weight == 0
        else (representation, ())
    )


def _taken_after_dosing(seen: VisitVersion, plate_map: PlateMap) -> bool:
    if plate_map.dosed_at is None or seen.taken_at is None or seen.day != plate_map.dosed_on_day:
        return False
    taken_at = (
        seen.taken_at
        if seen.taken_at.tzinfo
        else seen.taken_at.replace(tzinfo=plate_map.seeded_at.tzinfo)
    )
    return taken_at > plate_map.dosed_at


def _deciding(used: list[Observation], plate_map: PlateMap, readout_day: int) -> list[Observation]:
    """Return each well's last image from before dosing and its readout image: the two that decide its score."""
    last_before: dict[str, Observation] = {}
    readout: dict[str, Observation] = {}
    for seen in sorted(used, key=lambda each: each.day):
        if seen.day <= plate_map.dosed_on_day:
            last_before[seen.key.well] = seen
        elif seen.day == readout_day:
            readout[seen.key.well] = seen
    return [*last_before.values(), *readout.values()]


def _flags(deciding: list[Observation]) -> dict[str, tuple[Flag, ...]]:
    flags: dict[str, set[Flag]] = {}
    for seen in deciding:
        flags.setdefault(seen.key.well, set()).update(seen.quality.flags)
    return {
        well: tuple(flag for flag in Flag if flag in found)
        for well, found in flags.items()
        if found
    }
