"""Corrects the flags of a well image by its tissue: many bodies, or an image that is refused."""

from collections.abc import Mapping

from schemas.quality import Flag, Quality

MIN_BODIES = 8
"""Lowest number of bodies of a crowded image; up to seven bodies can be named one by one."""

MAX_LARGEST_SHARE = 1 / 3
"""Highest share of the area of all bodies that the largest body of a crowded image has.

On real images, the largest of many organoids has up to 0.24 of the area. A spheroid with fragments
around it has 0.58 and more.
"""


def is_crowded(measures: Mapping[str, float]) -> bool:
    """Return whether an image contains many bodies and none stands out, from measures by name.

    An empty well and an image without measures are not crowded.
    """
    return measures.get("pieces", 0) >= MIN_BODIES and no_body_stands_out(measures)


def no_body_stands_out(measures: Mapping[str, float]) -> bool:
    """Return whether the largest body has at most a third of the tissue, from measures by name."""
    return measures.get("largest_piece_share", 1.0) <= MAX_LARGEST_SHARE


def correct_flags(quality: Quality, measures: Mapping[str, float]) -> Quality:
    """Return the quality of an image with the flags that agree with the measures of its tissue.

    An image whose measures show many bodies is flagged as crowded. It is not flagged as empty: its
    bodies are tissue, although each of them may be too small for the flag ``empty`` to notice it.

    An image without measures was refused, because no background is in view. It is flagged neither
    as blurred nor as empty: both flags compare the tissue with the background beside it.
    """
    wrong, right = set[Flag](), tuple[Flag, ...]()
    if not measures:
        wrong = {Flag.BLURRED, Flag.EMPTY}
    elif is_crowded(measures):
        wrong, right = {Flag.EMPTY, Flag.CROWDED}, (Flag.CROWDED,)
    kept = tuple(flag for flag in quality.flags if flag not in wrong)
    return quality.model_copy(update={"flags": (*kept, *right)})
