"""Crops of the images of a plate: the part of each image that the encoder embedded.

Embeddings of different crops are never compared: a plate uses the embeddings of one crop.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from inference.departure.measuring_methods import DatedImage, deciding_images
from schemas.plate_map import PlateMap

EMBED_COMMAND = "`spherorank embed --store --again`"
"""Command that embeds stored images again, as notes and reasons name it."""
OTHER_CROPS_NOTE = (
    "The encoder embedded different parts of the images ({crops}), because their widths differ or "
    "an earlier version embedded some of them: wells are compared by measures alone. {command} "
    "embeds the stored images again if their files exist."
)
DIFFERENT_CROPS = (
    "in most wells, the encoder embedded different parts of the images ({crops}); expected one "
    "part: {command} embeds the stored images again"
)
OTHER_CROP = "embedded part of the image of day {day} is {crop}; expected {usual} as of most images"


class CroppedImage(DatedImage, Protocol):
    """A dated image with the name of the part that an encoder embedded."""

    @property
    def crop(self) -> str | None:
        """Name of the embedded part; None for the whole field of the encoder."""


def main_crop(images: Iterable[CroppedImage], plate_map: PlateMap, readout_day: int) -> str | None:
    """Return the crop of most deciding images of a plate map; None for the whole field.

    Parameters
    ----------
    images
        The selected image of each well and day.
    """
    wells = plate_map.by_well
    used = [each for each in images if each.key.well in wells]
    counts = Counter(each.crop for each in deciding_images(used, plate_map, readout_day))
    return max(counts, key=lambda crop: (counts[crop], crop or ""), default=None)


def other_crops(
    images: Iterable[CroppedImage], plate_map: PlateMap, readout_day: int
) -> dict[str, str]:
    """Return the reason for each well with a deciding image of another crop than most images.

    Parameters
    ----------
    images
        The selected image of each well and day.
    """
    wells = plate_map.by_well
    used = [each for each in images if each.key.well in wells]
    usual = main_crop(used, plate_map, readout_day)
    return {
        seen.key.well: OTHER_CROP.format(
            day=seen.day, crop=name_crop(seen.crop), usual=name_crop(usual)
        )
        for seen in deciding_images(used, plate_map, readout_day)
        if seen.crop != usual
    }


def name_crop(crop: str | None) -> str:
    """Return a crop as text."""
    return crop or "the encoder's whole field"


def name_crops(crops: Iterable[str | None]) -> str:
    """Return the different crops as text, in alphabetical order."""
    return ", ".join(map(name_crop, sorted(set(crops), key=lambda each: each or "")))


def other_crops_note(crops: Iterable[str | None]) -> str:
    """Return the note on a plate whose deciding images have different crops."""
    return OTHER_CROPS_NOTE.format(crops=name_crops(crops), command=EMBED_COMMAND)


def different_crops(crops: Iterable[str | None]) -> str:
    """Return the problem of a plate in which the deciding images of most wells have two crops."""
    return DIFFERENT_CROPS.format(crops=name_crops(crops), command=EMBED_COMMAND)
