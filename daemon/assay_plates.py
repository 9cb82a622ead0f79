"""The assay plates that a calibration is learned from: their selection, and their measures."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from inference.departure.assembly import assemble, select_images
from inference.departure.crops import EMBED_COMMAND
from inference.departure.measuring_methods import MEASURE_COMMAND, name_method
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
OTHER_CROP = (
    "{count} assay plates are not used, because the encoder embedded other parts of their images "
    "than of the images of this plate: {plates}. {command} embeds the stored images again if their "
    "files exist."
)
OTHER_METHOD = (
    "{count} assay plates are not used, because their images were not measured by {method} as "
    "those of this plate were: {plates}. {command} measures them again if their files exist."
)


class CalibrationStore(AssayStore, PlateMapStore, ObservationReader, Protocol):
    """The parts of the store that calibrations are learned from."""


@dataclass(frozen=True)
class PlateKind:
    """Properties of a plate that must be equal to compare it with an assay plate."""

    with_scale: bool  # its images have a scale
    measured_by: str | None  # segmenter and version of its measures; None: not recorded
    crop: str | None = None  # part of its images that is embedded; None: the encoder's whole field

    def of(self, representation: Representation) -> "PlateKind":
        """Return the kind for a representation.

        The method is irrelevant without measures, and the crop without an embedding.
        """
        if representation == "embedding":
            return replace(self, measured_by=None)
        return replace(self, crop=None) if representation == "measures" else self


@dataclass(frozen=True)
class FoundPlates:
    """The assay plates of a line, sorted by kind."""

    by_kind: Mapping[PlateKind, list[CalibrationPlate]]
    mixed: list[CalibrationPlate]  # plates whose images were measured by several methods
    mixed_crops: list[CalibrationPlate]  # plates with embeddings of several crops

    def of_kind(self, kind: PlateKind) -> list[CalibrationPlate]:
        """Return the plates of a kind."""
        return self.by_kind.get(kind, [])

    def notes(self, kind: PlateKind) -> tuple[str, ...]:
        """Return notes on the plates that a plate of a kind cannot use, if any."""
        other_scale = [
            plate
            for other, plates in self.by_kind.items()
            if other.with_scale != kind.with_scale
            for plate in plates
        ]
        other_method = self.of_other_method(kind)
        notes = []
        if other_scale:
            note = OTHERS_WITHOUT_SCALE if kind.with_scale else OTHERS_WITH_SCALE
            notes.append(note.format(count=len(other_scale), plates=_names_of(other_scale)))
        if other_method:
            note = OTHER_METHOD.format(
                count=len(other_method),
                method=name_method(kind.measured_by),
                plates=_names_of(other_method),
                command=MEASURE_COMMAND,
            )
            notes.append(note)
        if other_crop := self.of_other_crop(kind):
            notes.append(
                OTHER_CROP.format(
                    count=len(other_crop), plates=_names_of(other_crop), command=EMBED_COMMAND
                )
            )
        return tuple(notes)

    def of_other_method(self, kind: PlateKind) -> list[CalibrationPlate]:
        """Return the plates that differ from a kind in the method of their measures alone."""
        others = [
            plate
            for other, plates in self.by_kind.items()
            if other.with_scale == kind.with_scale and other.measured_by != kind.measured_by
            for plate in plates
        ]
        return [*others, *self.mixed]

    def of_other_crop(self, kind: PlateKind) -> list[CalibrationPlate]:
        """Return the plates that differ from a kind in the crop of their embeddings alone."""
        others = [
            plate
            for other, plates in self.by_kind.items()
            if other != kind and replace(other, crop=kind.crop) == kind
            for plate in plates
        ]
        return [*others, *self.mixed_crops]


def _names_of(plates: Sequence[CalibrationPlate]) -> str:
    return ", ".join(each.plate for each in plates)


@dataclass(frozen=True, eq=False)
class ReadPlates:
    """The measures of assay plates, and their kind."""

    plates: list[AssayPlate]
    kind: PlateKind | None  # None: they are of several kinds


def find_assay_plates(
    store: CalibrationStore,
    encoder_id: str,
    line: str | None,
    representation: Representation,
    without: PlateMap | None = None,
) -> FoundPlates:
    """Return the newest assay, map and images of each other plate of a line with an assay.

    Each run of a plate id is a plate of its own, with its own labels. A plate needs images from
    before dosing and of its readout day.
    """
    left_out = (without.plate, without.run) if without else None
    by_kind: defaultdict[PlateKind, list[CalibrationPlate]] = defaultdict(list)
    mixed: list[CalibrationPlate] = []
    mixed_crops: list[CalibrationPlate] = []
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
        if not images:
            continue
        methods = {image.measured_by for image in images}
        crops = {image.crop for image in images}
        kind = PlateKind(has_scale(images), min(methods, key=str), min(crops, key=str)).of(
            representation
        )
        plate = CalibrationPlate(
            plate=plate_map.plate,
            assay_digest=assay.digest,
            map_digest=plate_map.digest,
            images=tuple((image.key.well, image.key.visit, image.digest) for image in images),
            measured_by=kind.measured_by,
            crop=kind.crop,
        )
        if len(crops) > 1 and representation != "measures":
            mixed_crops.append(plate)
        elif len(methods) > 1 and representation != "embedding":
            mixed.append(plate)
        else:
            by_kind[kind].append(plate)
    return FoundPlates(by_kind, mixed, mixed_crops)


def read_assay_plates(
    store: CalibrationStore,
    encoder_id: str,
    plates: Sequence[CalibrationPlate],
    representation: Representation,
) -> ReadPlates | None:
    """Return the assay plates with measures; None if the store no longer has the same data."""
    read: list[AssayPlate] = []
    kinds: set[PlateKind] = set()
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
            and (representation == "embedding" or each.measured_by == plate.measured_by)
            and (representation == "measures" or each.crop == plate.crop)
        ]
        if len(images) < len(wanted):
            return None
        kinds.add(PlateKind(has_scale(images), plate.measured_by, plate.crop))
        trajectories = assemble(
            store.observations(images, encoder_id),
            plate_map,
            through_day=plate_map.readout_day,
        ).calibration_trajectories(representation, FULL_EMBEDDING_WEIGHT)
        if trajectories.representation == representation:
            percent = {
                well: 100 - viability
                for well, viability in assay.viability_percent.items()
                if well in plate_map.wells_with_tissue
            }
            read.append(
                AssayPlate(trajectories, percent, plate_map.dosed_on_day, plate_map.readout_day)
            )
    return ReadPlates(read, kinds.pop() if len(kinds) == 1 else None)


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
