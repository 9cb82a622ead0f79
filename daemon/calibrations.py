"""Learning, storage and choice of the calibration by which a plate is ranked.

A calibration is learned once from the assay plates of a line. Its digest identifies the data.
After a restart the model is fitted again to the same data.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from inference.departure.assembly import AssembledPlate, assemble, select_images
from inference.deterioration.calibration import (
    CALIBRATION_VERSION,
    AssayPlate,
    Calibration,
    calibrate,
    refit,
)
from inference.deterioration.well_order import by_deterioration, drift_sentence
from inference.ranking.placement import Placement, ScoredPlate
from inference.ranking.well_tissue import WellTissue
from schemas.calibration import CalibrationCard, CalibrationPlate, Drift, MethodChoice
from schemas.errors import ProfileError
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import OUTSIDE
from schemas.ranking import Ranking
from schemas.trajectory import Representation
from store.ports import AssayStore, ObservationReader, PlateMapStore

log = structlog.get_logger()

MAX_MODELS_IN_MEMORY = 4  # models in memory; one of eight plates takes about 10 MB
FULL_EMBEDDING_WEIGHT = 1.0  # the model learns its own weights

PREDICTED_NOTE = (
    "Ranked by predicted deterioration, learned from {plates} assay plates; its mean error on "
    "left-out plates is {error:.1f} percentage points."
)
DEPARTURE_NOTE = "Ranked by departure, because {why}."
NO_ASSAY = "no other plate of its line in the store has an assay"
INVALID_CALIBRATION = "deterioration is not calibrated: {why}"
FIRST_BY_DEPARTURE = (
    "the plate's first ranking was by departure; `spherorank rank plate {plate}` chooses the "
    "method again"
)
MISSING_MEASURES = (
    "the tissue of some images was not measured, and the calibration needs all measures"
)
OUTSIDE_CALIBRATION = "the calibration does not apply to this plate: {sentence}"
REPLACED_CALIBRATION_NOTE = (
    "The calibration of the plate's last ranking cannot be repeated from the store: the "
    "newest calibration was used."
)


@dataclass(frozen=True)
class Choice:
    """The calibration by which a plate is to be ranked."""

    card: CalibrationCard | None  # None: by departure
    why_departure: str = ""  # empty where departure is the expected method
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibrated:
    """The placement of a plate's wells and treatments, and the calibration that was considered."""

    placement: Placement
    calibration: CalibrationCard | None = None  # also where it does not apply to the plate
    drift: Drift | None = None
    why_departure: str = ""


class CalibrationStore(AssayStore, PlateMapStore, ObservationReader, Protocol):
    """The parts of the store that calibrations are learned from."""


class Calibrations:
    """The calibrations of one store and encoder.

    Parameters
    ----------
    representation
        The features that a model may use: embedding, measures, or both.
    tick
        Called every few seconds while a model is learned, which may take a minute.
    """

    def __init__(
        self,
        store: CalibrationStore,
        encoder_id: str,
        *,
        method: MethodChoice,
        representation: Representation,
        seed: int,
        clock: Callable[[], datetime],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._encoder_id = encoder_id
        self._representation = representation
        self._seed = seed
        self._clock = clock
        self._fitted: OrderedDict[str, Calibration] = OrderedDict()  # by digest
        self._noted: set[str] = set()  # plates whose assay is new
        self._tick = tick
        self.method: MethodChoice = method

    def note(self, plate: str) -> None:
        """Record that a plate (id) has a new assay, for :meth:`learn_noted`."""
        self._noted.add(plate)

    def learn_noted(self) -> None:
        """Learn the calibrations of all lines with a new assay, before a ranking needs them."""
        for line in {
            plate_map.line
            for plate in sorted(self._noted)
            if (plate_map := self._store.plate_map(plate)) is not None
        }:
            if self.method != "departure":
                self._newest(line)
        self._noted.clear()

    def awaited_lines(
        self, pending: Collection[str], unread_assays: Collection[str]
    ) -> frozenset[str | None]:
        """Return the lines whose calibration needs pending images or assays.

        Parameters
        ----------
        pending
            The plates (ids) with images that were found and not yet ingested.
        unread_assays
            The plates whose first assay is still being written.
        """
        if self.method == "departure" or not (pending or unread_assays):
            return frozenset()
        assayed = {(assay.plate, assay.run) for assay in self._store.assays()}
        maps = [self._store.plate_map(plate) for plate in {*pending, *unread_assays}]
        return frozenset(
            plate_map.line
            for plate_map in maps
            if plate_map is not None
            and (plate_map.plate in unread_assays or (plate_map.plate, plate_map.run) in assayed)
        )

    def choose(self, plate_map: PlateMap, follows: Ranking | None) -> Choice:
        """Return the Choice of calibration for a plate map, as in the ranking it follows, if any.

        Parameters
        ----------
        follows
            The earlier ranking whose method is kept; None chooses the newest calibration.
        """
        if self.method == "departure":
            return Choice(None)
        if follows is None:
            return self._choose_newest(plate_map)
        if follows.calibration is None:
            others = self._plates(plate_map.line, plate_map)
            return Choice(
                None,
                FIRST_BY_DEPARTURE.format(plate=plate_map.plate)
                if others or self.method == "deterioration"
                else "",
            )
        if self._fit(follows.calibration.digest) is not None:
            return Choice(follows.calibration)
        newest = self._choose_newest(plate_map)
        return Choice(
            newest.card, newest.why_departure, (REPLACED_CALIBRATION_NOTE,) if newest.card else ()
        )

    def place(
        self,
        scored: ScoredPlate,
        tissue: Mapping[str, WellTissue],
        plate: AssembledPlate,
        choice: Choice,
        *,
        day: int,
    ) -> Calibrated:
        """Return a scored plate's wells and treatments as Calibrated, placed by deterioration.

        The placement is by departure where no calibration applies.
        """
        if choice.card is None:
            return _by_departure(scored.placement, choice.why_departure)
        card = choice.card.summary()
        calibration = self._fit(card.digest)
        trajectories = plate.trajectories(self._representation, FULL_EMBEDDING_WEIGHT)
        if calibration is None or trajectories.representation != self._representation:
            return _by_departure(scored.placement, MISSING_MEASURES, card)
        try:
            placement, drift = by_deterioration(
                scored,
                tissue,
                trajectories,
                calibration,
                dosing_day=plate.plate_map.dosed_on_day,
                readout_day=day,
                seed=self._seed,
            )
        except ProfileError as error:
            return _by_departure(scored.placement, str(error), card)
        if drift.outside:
            why = OUTSIDE_CALIBRATION.format(sentence=drift_sentence(drift))
            return _by_departure(scored.placement, why, card, drift)
        predicted = PREDICTED_NOTE.format(
            plates=len(card.plates), error=card.mean_error_points or 0.0
        )
        notes = (predicted, *placement.notes, *choice.notes)
        return Calibrated(replace(placement, notes=notes), card, drift)

    def _choose_newest(self, plate_map: PlateMap) -> Choice:
        card = self._newest(plate_map.line, plate_map)
        if card is None:
            return Choice(None, NO_ASSAY if self.method == "deterioration" else "")
        return (
            Choice(card)
            if card.valid
            else Choice(None, INVALID_CALIBRATION.format(why="; ".join(card.why_not)))
        )

    def _newest(self, line: str | None, without: PlateMap | None = None) -> CalibrationCard | None:
        """Return the newest calibration of a line, learned without one plate.

        None without assay plates.
        """
        plates = self._plates(line, without)
        if not plates:
            return None
        digest = self._digest(plates)
        kept = self._store.calibration(digest)
        if kept is not None:
            return kept[0]
        log.info("calibration.started", plates=[each.plate for each in plates], line=line)
        card = calibrate(self._read(plates) or [], digest=digest, seed=self._seed, tick=self._tick)
        self._store.add_calibration(card, plates, self._clock())
        log.info(
            "calibration.learned",
            plates=card.plates,
            valid=card.valid,
            model=card.model,
            error=card.mean_error_points,
            why_not=card.why_not,
        )
        return card

    def _plates(self, line: str | None, without: PlateMap | None) -> list[CalibrationPlate]:
        """Return the newest assay, map and images of each other plate of a line with an assay.

        Each run of a plate id is a plate of its own, with its own labels. A plate needs images from
        before dosing and of its readout day.
        """
        left_out = (without.plate, without.run) if without else None
        found = []
        for assay in self._store.assays():
            plate_map = self._store.plate_map(assay.plate, run=assay.run)
            if (
                plate_map is None
                or plate_map.line != line
                or (plate_map.plate, plate_map.run) == left_out
            ):
                continue
            images = _both_days(
                select_images(self._store.imaged(plate_map.plate, self._encoder_id), plate_map),
                plate_map,
            )
            if images:
                by_content = tuple(
                    (image.key.well, image.key.visit, image.digest) for image in images
                )
                found.append(
                    CalibrationPlate(
                        plate=plate_map.plate,
                        assay_digest=assay.digest,
                        map_digest=plate_map.digest,
                        images=by_content,
                    )
                )
        return found

    def _digest(self, plates: Sequence[CalibrationPlate]) -> str:
        """Return SHA-256 of all data and settings that a calibration depends on."""
        rests_on = [
            CALIBRATION_VERSION,
            self._encoder_id,
            self._representation,
            self._seed,
            [plate.model_dump(mode="json") for plate in plates],
        ]
        return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()

    def _fit(self, digest: str) -> Calibration | None:
        """Return the fitted model of a calibration; None if its data are no longer in the store."""
        if digest not in self._fitted:
            kept = self._store.calibration(digest)
            if (
                kept is None
                or self._digest(kept[1]) != digest
                or (plates := self._read(kept[1])) is None
            ):
                return None
            self._fitted[digest] = refit(plates, kept[0], seed=self._seed)
        self._fitted.move_to_end(digest)
        while len(self._fitted) > MAX_MODELS_IN_MEMORY:
            self._fitted.popitem(last=False)
        return self._fitted[digest]

    def _read(self, plates: Sequence[CalibrationPlate]) -> list[AssayPlate] | None:
        """Return the assay plates with measures; None if the store no longer has the same data."""
        read = []
        for plate in plates:
            assay, plate_map = (
                self._store.assay(plate.plate, plate.assay_digest),
                self._store.plate_map(plate.plate, plate.map_digest),
            )
            if assay is None or plate_map is None:
                return None
            wanted = set(plate.images)
            images = [
                each
                for each in self._store.imaged(plate.plate, self._encoder_id)
                if (each.key.well, each.key.visit, each.digest) in wanted
                and each.key.run in (plate_map.run, OUTSIDE)
            ]
            if len(images) < len(wanted):
                return None
            trajectories = assemble(
                self._store.observations(images, self._encoder_id),
                plate_map,
                through_day=plate_map.readout_day,
            ).trajectories(self._representation, FULL_EMBEDDING_WEIGHT)
            if trajectories.representation == self._representation:
                percent = {
                    well: 100 - viability
                    for well, viability in assay.viability_percent.items()
                    if well in plate_map.wells_with_tissue
                }
                read.append(
                    AssayPlate(trajectories, percent, plate_map.dosed_on_day, plate_map.readout_day)
                )
        return read


def digest_with_calibration(inputs_digest: str, calibration: CalibrationCard | None) -> str:
    """Return the digest of the inputs of a ranking, including its calibration, if any."""
    return (
        inputs_digest
        if calibration is None
        else hashlib.sha256(f"{inputs_digest} {calibration.digest}".encode()).hexdigest()
    )


def _by_departure(
    placement: Placement, why: str, card: CalibrationCard | None = None, drift: Drift | None = None
) -> Calibrated:
    """Return the order by departure, with a note on the reason where there is one."""
    notes = (DEPARTURE_NOTE.format(why=why.rstrip(".")),) if why else ()
    return Calibrated(replace(placement, notes=(*placement.notes, *notes)), card, drift, why)


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
