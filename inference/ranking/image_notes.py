"""Notes of a ranking about images that were refused, and about wells with many objects."""

from collections.abc import Collection, Mapping

from inference.departure.assembly import AssembledPlate
from schemas.quality import Flag
from schemas.trajectory import Representation

MAX_LISTED = 6
"""Largest number of wells that a note names; of more wells it names the first ones."""

REFUSED_NOTE = (
    "No background is in view in images of {wells}. These images were refused and their tissue is "
    "not measured. {consequence}"
)
LEFT_OUT = (
    "Such wells are left out of the order: they count neither as deteriorated nor as unharmed."
)
BY_EMBEDDING = "Such wells are compared by their embedding alone, as all other wells are."

CROWDED_NOTE = (
    "Many objects are in the images of {wells} (flag crowded). {used} The number and the sizes of "
    "the bodies are shown. They change the order only if the tissue is exploded and the order is "
    "by deterioration."
)
MEASURES_USED = (
    "Of their measures, the order uses the area, which is the sum of all bodies, the shape of the "
    "largest body, and darkness, texture and debris of all bodies together."
)
EMBEDDING_USED = (
    "The order uses the embedding of the whole image and no measures of the bodies: area, the sum "
    "of all bodies, and shape, that of the largest body, are shown only."
)


def image_notes(plate: AssembledPlate, representation: Representation) -> tuple[str, ...]:
    """Return the notes on refused images and on crowded wells of a plate, as sentences.

    Parameters
    ----------
    representation
        The features that are compared.
    """
    by_embedding = representation == "embedding"
    with_tissue = plate.plate_map.wells_with_tissue
    crowded = [well for well in with_tissue if Flag.CROWDED in plate.flags.get(well, ())]
    notes = []
    if plate.refused:
        consequence = BY_EMBEDDING if by_embedding else LEFT_OUT
        notes.append(REFUSED_NOTE.format(wells=name_wells(plate.refused), consequence=consequence))
    if crowded:
        used = EMBEDDING_USED if by_embedding else MEASURES_USED
        notes.append(CROWDED_NOTE.format(wells=name_wells(crowded), used=used))
    return tuple(notes)


def left_out_text(reasons: Mapping[str, str]) -> str:
    """Return the end of a sentence on wells that are left out, by well; empty without any."""
    return "".join(
        f"; {name_wells(reasons)} left out, such as {well}: {reason}"
        for well, reason in list(reasons.items())[:1]
    )


def name_wells(wells: Collection[str]) -> str:
    """Return the number of wells and their names, such as ``2 wells (B02, B03)``."""
    named = ", ".join([*list(wells)[:MAX_LISTED], *(["…"] if len(wells) > MAX_LISTED else [])])
    return f"{len(wells)} {'well' if len(wells) == 1 else 'wells'} ({named})"
