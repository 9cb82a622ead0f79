"""A possible mistake in a folder or archive of images, and the images that it may concern."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.data.crops import PlateCrops

REPORTED_PROBABILITY = 0.1
"""Smallest probability of a mistake that is reported, as in the label audit."""


class DoubtKind(StrEnum):
    """The kinds of mistakes that are looked for."""

    LABEL = "label"  # a well seems to be untreated, or to have another treatment
    EXCHANGED_LABELS = "exchanged_labels"  # two wells seem to have each other's label
    TURNED_PLATE = "turned_plate"  # the plate map fits the plate better if it is turned
    DUPLICATE = "duplicate"  # two files seem to be the same photograph
    EXCHANGED_WELLS = "exchanged_wells"  # two wells of one day seem to have each other's image
    EXCHANGED_DAYS = "exchanged_days"  # two days of one well seem to have each other's image
    WRONG_DAY = "wrong_day"  # an image seems to be of a day on which its well has no image
    EXCHANGED_PLATES = "exchanged_plates"  # two plates seem to have each other's image
    FOREIGN = "foreign"  # an image seems to be of another well, plate or day that is not found


@dataclass(frozen=True, order=True)
class ImageName:
    """The plate, well and culture day that the name of an image states."""

    plate: str
    well: str
    day: int  # 0 if unknown

    def __str__(self) -> str:
        day = f" day {self.day}" if self.day else ""
        return f"{self.plate} {self.well}{day}"


@dataclass(frozen=True)
class DataDoubt:
    """A possible mistake, with its probability."""

    kind: DoubtKind
    probability: float  # 0…1
    images: tuple[ImageName, ...]  # sorted; for a doubt about a label, images of the readout day
    sentence: str  # asks a person to check


def image_names(plates: Sequence[PlateCrops]) -> list[ImageName]:
    """Return the name of each image of all plates, in their order."""
    return [
        ImageName(plate.plate, well, int(day))
        for plate in plates
        for well, day in zip(plate.wells, plate.days, strict=True)
    ]
