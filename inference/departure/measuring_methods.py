"""The method that measured the images of a plate: segmenter and version of the measures.

Measures by different methods are never compared: a plate uses the measures of one method.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from schemas.observation import Observation
from schemas.plate_map import PlateMap
from schemas.well_image import VisitKey

MEASURE_COMMAND = "`spherorank measure --store`"
"""Command that measures stored images again, as notes and alerts name it."""


class DatedImage(Protocol):
    """A stored image with its culture day and the method that measured it."""

    @property
    def key(self) -> VisitKey:
        """The VisitKey of the image."""

    @property
    def day(self) -> int:
        """The culture day of the image, from 1."""

    @property
    def measured_by(self) -> str | None:
        """Segmenter and version of its measures; None if they are not recorded."""


AnyImage = TypeVar("AnyImage", bound=DatedImage)


def deciding_images(
    used: Iterable[AnyImage], plate_map: PlateMap, readout_day: int
) -> list[AnyImage]:
    """Return the last pre-dose and the readout image of each well, which decide its score."""
    last_before: dict[str, AnyImage] = {}
    readout: dict[str, AnyImage] = {}
    for seen in sorted(used, key=lambda each: each.day):
        if seen.day <= plate_map.dosed_on_day:
            last_before[seen.key.well] = seen
        elif seen.day == readout_day:
            readout[seen.key.well] = seen
    return [*last_before.values(), *readout.values()]


def main_method(images: Iterable[DatedImage], plate_map: PlateMap, readout_day: int) -> str | None:
    """Return the method of most deciding images of a plate map; None if it is not recorded.

    Parameters
    ----------
    images
        The selected image of each well and day.
    """
    wells = plate_map.by_well
    used = [each for each in images if each.key.well in wells]
    deciding = deciding_images(used, plate_map, readout_day)
    counts = Counter(each.measured_by for each in deciding)
    return max(counts, key=lambda method: (counts[method], method or ""), default=None)


def without_other_methods(
    observations: Iterable[Observation], method: str | None
) -> list[Observation]:
    """Return Observations without the measures that another method than a given one made.

    Such an image counts as not measured. A refused image stays refused.
    """
    return [
        replace(seen, measures={}) if seen.measures and seen.measured_by != method else seen
        for seen in observations
    ]


def name_method(method: str | None) -> str:
    """Return a method as text; an earlier version of SpheroRank did not record it."""
    return method or "a method that an earlier version did not record"


def name_methods(methods: Sequence[str | None]) -> str:
    """Return the different methods as text, in alphabetical order."""
    return ", ".join(map(name_method, sorted(set(methods), key=lambda each: each or "")))
