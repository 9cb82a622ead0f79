"""Enumerations of virtual plates and images: mechanism, layout, optics, file delivery and case.

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


class HiddenMechanism(StrEnum):
    """Death mechanism that changes the order of the texture inside the tissue and nothing else.

    Size, outline, mean optical density, the amplitudes of fine and coarse grain, the darkness of
    core and edge, and debris are those of untreated tissue. ``docs/reference/virtual-plates.md``
    defines each mechanism.
    """

    ALIGNING = "aligning"  # grains become streaks in one direction
    INVERTING = "inverting"  # bright cells with dark borders become dark cells with bright borders
    GATHERING = "gathering"  # even texture gathers in patches; the tissue between them is smooth
    LAYERING = "layering"  # grains become streaks along circles around the centre


DeathMechanism = Mechanism | HiddenMechanism
"""Death mechanism of a compound: visible or hidden from the measures."""


class RendererName(StrEnum):
    """Name of the way in which a virtual laboratory's images are drawn."""

    SHADED_BALL = "shaded_ball"  # the renderer of the default virtual plates
    PACKED_CELLS = "packed_cells"  # cells packed in space, with absorption and refraction
    GROWING_FRONT = "growing_front"  # reaction and diffusion, a necrotic core and invasion


class Layout(StrEnum):
    """Plate layout: the treatment groups of the 60 inner wells."""

    SCREEN = "screen"  # 18 untreated (6 of them vehicle), 6 with the single dose, 12 treatments × 3
    HALF = "half"  # 30 untreated, 3 with the single dose, 9 treatments × 3
    DIVIDED = "divided"  # 30 untreated in one half, 30 with one combination in the other


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


class Case(StrEnum):
    """Kind of a well image in which tissue is difficult to find or to measure."""

    LARGE_BODY = "large_body"  # one body covers 30 to 80 % of the field
    TWO_TOUCHING = "two_touching"  # two dark bodies touch and cover more than half of the field
    TOUCHES_TWO_BORDERS = "touches_two_borders"
    SEVERAL_BODIES = "several_bodies"  # 2 to 5 separate bodies of similar size
    DISINTEGRATED = "disintegrated"  # 10 to 120 clumps of different sizes, no core
    BURST_WITH_CORE = "burst_with_core"  # a core and fragments around it
    FIBRE = "fibre"  # fibres touch or cross the body
    SCRATCHES = "scratches"
    BUBBLE = "bubble"  # an air bubble beside the body
    WELL_WALL = "well_wall"  # the dark wall of the well, whole or an arc
    BURNED_IN_TEXT = "burned_in_text"  # a scale bar and text, in black or white
    BLACK_BARS = "black_bars"  # dark padding on one or more sides
    CONDENSATION = "condensation"  # blurred droplets in the light path
    UNEVEN_LIGHT = "uneven_light"  # vignetting, a gradient or a shadow
    HOLE = "hole"  # the background is visible through the body
    BRIGHT_ON_DARK = "bright_on_dark"  # dark field or phase contrast
    ORGANOIDS = "organoids"  # 15 to 150 small round bodies all over the field
    BLURRED = "blurred"  # autofocus failure
    SHARP_SOFT_EDGE = "sharp_soft_edge"  # a sharp image of a body without a sharp outline
    NO_BACKGROUND = "no_background"  # tissue covers more than 95 % of the field
    EMPTY_WITH_DIRT = "empty_with_dirt"  # no tissue
