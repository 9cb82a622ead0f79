"""Enumerations of the virtual plates: death mechanism, plate layout, optics and file delivery.

This module imports only the standard library, so that the command line can offer the values
without loading the renderer.
"""

from enum import StrEnum


class Mechanism(StrEnum):
    """Death mechanism: the way in which a treatment reduces the viable cells of a tissue."""

    SHRINKING = "shrinking"  # cells are lost and the remaining tissue condenses
    BURSTING = "bursting"  # the body breaks open and spills its cells
    IN_PLACE = "in_place"  # dead cells stay; opacity and texture change
    GROWTH_ARREST = "growth_arrest"  # the tissue stops growing and packs closely, without debris


class Layout(StrEnum):
    """Plate layout: the treatment groups of the 60 inner wells."""

    SCREEN = "screen"  # 18 untreated (6 of them vehicle), 6 with the single dose, 12 treatments × 3
    HALF = "half"  # 30 untreated, 3 with the single dose, 9 treatments × 3


class OpticsName(StrEnum):
    """Name of a virtual microscope's optics; the tissue is the same under each."""

    DEFAULT = "default"
    DIM = "dim"
    PHASE_RIM = "phase_rim"
    LOW_NA = "low_na"
    TILTED = "tilted"


class Delivery(StrEnum):
    """The way in which a virtual robot completes the image files that it writes."""

    IN_PLACE = "in_place"  # the first half of the bytes, later the rest
    RENAME = "rename"  # written under a hidden name and renamed when complete
    READY = "ready"  # as IN_PLACE, then <name>.ready is written beside the complete file
    DAY_DONE = "day_done"  # as IN_PLACE, then dayNN.done is written beside the complete day folder
