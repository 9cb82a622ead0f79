"""Notes of a ranking about refused images, wells with many objects, and methods of measures."""

from collections.abc import Collection, Mapping

from inference.departure.assembly import AssembledPlate
from inference.departure.measuring_methods import MEASURE_COMMAND, name_method, name_methods
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

OTHER_METHODS_NOTE = (
    "The measures of {count} images are not used, because they were measured by {others} and the "
    "other images by {method}. {consequence} {command} measures them again if their files exist."
)
ALL_BY_EMBEDDING = "All wells are compared by their embedding alone."
REST_COMPARED = "They are no last images before dosing and no readout images."
UNRECORDED_NOTE = (
    "The images were measured by an earlier version of SpheroRank that did not record its method, "
    "so that it is unknown whether all of them were measured alike. {command} measures them again "
    "if their files exist."
)


def image_notes(plate: AssembledPlate, representation: Representation) -> tuple[str, ...]:
    """Return the notes on refused images, crowded wells and methods of a plate, as sentences.

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
    return (*notes, *_method_notes(plate))


def _method_notes(plate: AssembledPlate) -> tuple[str, ...]:
    """Return a note on images by another method than the plate's, or by an unknown method."""
    if plate.other_methods:
        note = OTHER_METHODS_NOTE.format(
            count=len(plate.other_methods),
            others=name_methods(plate.other_methods),
            method=name_method(plate.measured_by),
            consequence=ALL_BY_EMBEDDING if plate.deciding_other_methods else REST_COMPARED,
            command=MEASURE_COMMAND,
        )
        return (note,)
    if plate.measured_by is None and plate.is_measured.any():
        return (UNRECORDED_NOTE.format(command=MEASURE_COMMAND),)
    return ()


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
