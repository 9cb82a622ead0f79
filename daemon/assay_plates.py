"""The assay plates that a calibration is learned from: their selection, and their measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from inference.departure.assembly import assemble, select_images
from inference.departure.scales import has_scale
from inference.deterioration.calibration import AssayPlate
from schemas.calibration import CalibrationPlate
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import OUTSIDE
from schemas.trajectory import Representation
from store.ports import AssayStore, ObservationReader, PlateMapStore

FULL_EMBEDDING_WEIGHT = 1.0  # the model learns its own weights

OTHERS_WITHOUT_SCALE = (
    "{count} assay plates are not used, because their images have no scale and those of this plate "
    "have one: {plates}."
)
OTHERS_WITH_SCALE = (
    "{count} assay plates are not used, because their images have a scale and those of this plate "
    "have none: {plates}."
)


class CalibrationStore(AssayStore, PlateMapStore, ObservationReader, Protocol):
    """The parts of the store that calibrations are learned from."""


@dataclass(frozen=True)
class FoundPlates:
    """The assay plates of a line, sorted by whether their images have a scale."""

    with_scale: list[CalibrationPlate]
    without_scale: list[CalibrationPlate]

    def of_scale(self, *, with_scale: bool) -> list[CalibrationPlate]:
        """Return the plates whose images have a scale, or those whose images have none."""
        return self.with_scale if with_scale else self.without_scale

    def notes(self, *, with_scale: bool) -> tuple[str, ...]:
        """Return a note on the plates that a plate with or without a scale cannot use, if any."""
        others = self.of_scale(with_scale=not with_scale)
        if not others:
            return ()
        note = OTHERS_WITHOUT_SCALE if with_scale else OTHERS_WITH_SCALE
        return (note.format(count=len(others), plates=", ".join(each.plate for each in others)),)


@dataclass(frozen=True, eq=False)
class ReadPlates:
    """The measures of assay plates, and whether all their images have a scale."""

    plates: list[AssayPlate]
    with_scale: bool | None  # None: some have one


def find_assay_plates(
    store: CalibrationStore, encoder_id: str, line: str | None, without: PlateMap | None = None
) -> FoundPlates:
    """Return the newest assay, map and images of each other plate of a line with an assay.

    Each run of a plate id is a plate of its own, with its own labels. A plate needs images from
    before dosing and of its readout day.
    """
    left_out = (without.plate, without.run) if without else None
    found = FoundPlates([], [])
    for assay in store.assays():
        plate_map = store.plate_map(assay.plate, run=assay.run)
        if (
            plate_map is None
            or plate_map.line != line
            or (plate_map.plate, plate_map.run) == left_out
        ):
            continue
        images = _both_days(
            select_images(store.imaged(plate_map.plate, encoder_id), plate_map),
            plate_map,
        )
        if images:
            by_content = tuple((image.key.well, image.key.visit, image.digest) for image in images)
            alike = found.with_scale if has_scale(images) else found.without_scale
            alike.append(
                CalibrationPlate(
                    plate=plate_map.plate,
                    assay_digest=assay.digest,
                    map_digest=plate_map.digest,
                    images=by_content,
                )
            )
    return found


def read_assay_plates(
    store: CalibrationStore,
    encoder_id: str,
    plates: Sequence[CalibrationPlate],
    representation: Representation,
) -> ReadPlates | None:
    """Return the assay plates with measures; None if the store no longer has the same data."""
    read: list[AssayPlate] = []
    scales: set[bool] = set()
    for plate in plates:
        assay, plate_map = (
            store.assay(plate.plate, plate.assay_digest),
            store.plate_map(plate.plate, plate.map_digest),
        )
        if assay is None or plate_map is None:
            return None
        wanted = set(plate.images)
        images = [
            each
            for each in store.imaged(plate.plate, encoder_id)
            if (each.key.well, each.key.visit, each.digest) in wanted
            and each.key.run in (plate_map.run, OUTSIDE)
        ]
        if len(images) < len(wanted):
            return None
        scales.add(has_scale(images))
        trajectories = assemble(
            store.observations(images, encoder_id),
            plate_map,
            through_day=plate_map.readout_day,
        ).trajectories(representation, FULL_EMBEDDING_WEIGHT)
        if trajectories.representation == representation:
            percent = {
                well: 100 - viability
                for well, viability in assay.viability_percent.items()
                if well in plate_map.wells_with_tissue
            }
            read.append(
                AssayPlate(trajectories, percent, plate_map.dosed_on_day, plate_map.readout_day)
            )
    return ReadPlates(read, scales.pop() if len(scales) == 1 else None)


def _both_days(images: Sequence[VisitVersion], plate_map: PlateMap) -> list[VisitVersion]:
    """Return the last pre-dose image and the readout image of each well with both."""
    of_wells: dict[str, list[VisitVersion]] = {}
    for image in images:  # by well and day
        if image.day <= plate_map.dosed_on_day or image.day == plate_map.readout_day:
            of_wells.setdefault(image.key.well, []).append(image)
    both = [
        seen[-2:]
        for seen in of_wells.values()
        if len(seen) > 1 and seen[-1].day == plate_map.readout_day
    ]
    return [image for pair in both for image in pair]
