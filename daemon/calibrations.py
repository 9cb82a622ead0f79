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

import structlog

from daemon.assay_plates import (
    FULL_EMBEDDING_WEIGHT,
    CalibrationStore,
    FoundPlates,
    PlateKind,
    find_assay_plates,
    read_assay_plates,
)
from inference.departure.assembly import AssembledPlate
from inference.deterioration.calibration import (
    CALIBRATION_VERSION,
    Calibration,
    calibrate,
    refit,
)
from inference.deterioration.calibration_limits import OTHER_TREATMENTS
from inference.deterioration.well_order import by_deterioration, drift_sentence
from inference.ranking.placement import Placement, ScoredPlate
from inference.ranking.well_tissue import WellTissue
from schemas.calibration import (
    CalibrationCard,
    CalibrationPlate,
    Drift,
    MethodChoice,
    MethodRequest,
)
from schemas.errors import ProfileError
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.trajectory import Representation

log = structlog.get_logger()

MAX_MODELS_IN_MEMORY = 4  # models in memory; one of eight plates takes about 10 MB


PREDICTED_NOTE = (
    "Ranked by predicted deterioration, learned from {plates}; its mean error on {left_out} is "
    "{error:.1f} percentage points."
)
DEPARTURE_NOTE = "Ranked by departure, because {why}."
NO_ASSAY = "no other plate of its line in the store has an assay"
ASSAYS_OF_OTHER_CROP = "the encoder embedded other parts of the images of its line's assay plates"
ASSAYS_OF_OTHER_METHOD = "the assay plates of its line were measured by another method"
INVALID_CALIBRATION = "deterioration is not calibrated: {why}"
FIRST_BY_DEPARTURE = (
    "the plate's first ranking was by departure; `spherorank rank plate {plate}` chooses the "
    "method again"
)
MISSING_MEASURES = (
    "the tissue of some images was not measured, and the calibration needs all measures"
)
SEVERAL_CROPS = (
    "the encoder embedded different parts of the images, and the calibration needs embeddings of "
    "one part"
)
OUTSIDE_CALIBRATION = "the calibration does not apply to this plate: {sentence}"
REQUESTED_DEPARTURE = "a person requested departure for this plate"
REQUESTED_NOTE = "A person requested deterioration for this plate."
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


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A fitted calibration, and the kind of its plates."""

    calibration: Calibration
    kind: PlateKind | None  # None: they are of several kinds


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
        self._fitted: OrderedDict[str, _Fitted] = OrderedDict()  # by digest
        self._noted: set[str] = set()  # plates whose assay is new
        self._tick = tick
        self.method: MethodChoice = method

    def note(self, plate: str) -> None:
        """Record that a plate (id) has a new assay, for :meth:`learn_noted`."""
        self._noted.add(plate)

    def learn_noted(self) -> list[tuple[str | None, CalibrationCard]]:
        """Learn the calibrations of all lines with a new assay, before a ranking needs them.

        Return each line with the card of each valid calibration. A line that raises an unexpected
        exception does not stop the others. The rankings of its plates then raise an alert.
        """
        valid: list[tuple[str | None, CalibrationCard]] = []
        for line in {
            plate_map.line
            for plate in sorted(self._noted)
            if (plate_map := self._store.plate_map(plate)) is not None
        }:
            if self.method == "departure":
                continue
            try:
                for plates in self._find(line).by_kind.values():
                    card = self._newest(plates, line)
                    if card is not None and card.valid:
                        valid.append((line, card))
            except (ArithmeticError, LookupError, TypeError, ValueError):
                log.exception("calibration.failed", line=line)
        self._noted.clear()
        return valid

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

    def choose(
        self,
        plate_map: PlateMap,
        follows: Ranking | None,
        kind: PlateKind,
        request: MethodRequest | None = None,
    ) -> Choice:
        """Return the Choice of calibration for a plate map, as in the ranking it follows, if any.

        Parameters
        ----------
        follows
            The earlier ranking whose method is kept; None chooses the newest calibration.
        kind
            Kind of the plate. A calibration whose plates are of another kind is not used.
        request
            The method, and possibly the calibration, that a person requested.

        Raises
        ------
        ProfileError
            If a requested calibration cannot be used for this plate.
        """
        kind = kind.of(self._representation)
        if request is not None:
            return self._choose_requested(plate_map, kind, request)
        requested = follows.requested_method if follows is not None else None
        if requested == "departure":
            return Choice(None, REQUESTED_DEPARTURE)
        if self.method == "departure" and requested is None:
            return Choice(None)
        if follows is None:
            return self._choose_newest(plate_map, kind, known_only=True)
        return self._choose_again(plate_map, follows, kind)

    def _choose_again(self, plate_map: PlateMap, follows: Ranking, kind: PlateKind) -> Choice:
        """Return the Choice by which an earlier ranking of a plate map's plate was made."""
        if follows.calibration is None:
            others = self._find(plate_map.line, plate_map).of_kind(kind)
            return Choice(
                None,
                FIRST_BY_DEPARTURE.format(plate=plate_map.plate)
                if others or self.method == "deterioration"
                else "",
            )
        kept = self._fit(follows.calibration.digest)
        if kept is not None and kept.kind == kind:
            return Choice(follows.calibration)
        newest = self._choose_newest(plate_map, kind, known_only=True)
        return Choice(
            newest.card,
            newest.why_departure,
            (*newest.notes, *((REPLACED_CALIBRATION_NOTE,) if newest.card else ())),
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
            return _by_departure(scored.placement, choice, choice.why_departure)
        card = choice.card.summary()
        fitted = self._fit(card.digest)
        trajectories = plate.calibration_trajectories(self._representation, FULL_EMBEDDING_WEIGHT)
        if fitted is None or trajectories.representation != self._representation:
            why = SEVERAL_CROPS if fitted and plate.other_crops else MISSING_MEASURES
            return _by_departure(scored.placement, choice, why, card)
        try:
            placement, drift = by_deterioration(
                scored,
                tissue,
                trajectories,
                fitted.calibration,
                dosing_day=plate.plate_map.dosed_on_day,
                readout_day=day,
                seed=self._seed,
            )
        except ProfileError as error:
            return _by_departure(scored.placement, choice, str(error), card)
        if drift is not None and drift.outside:
            why = OUTSIDE_CALIBRATION.format(sentence=drift_sentence(drift))
            return _by_departure(scored.placement, choice, why, card, drift)
        notes = (_predicted_note(card), *placement.notes, *choice.notes)
        return Calibrated(replace(placement, notes=notes), card, drift)

    def _choose_requested(
        self, plate_map: PlateMap, kind: PlateKind, request: MethodRequest
    ) -> Choice:
        """Return the Choice that a person requested; raise ProfileError if it is not possible."""
        if request.method == "departure":
            return Choice(None, REQUESTED_DEPARTURE)
        if request.calibration is None:
            newest = self._choose_newest(plate_map, kind, known_only=False)
            if newest.card is None:
                why = newest.why_departure or NO_ASSAY
                raise ProfileError(
                    plate_map.plate,
                    f"cannot be ranked by deterioration: {why}; expected a valid calibration of "
                    f"the line {plate_map.line or '(none)'}",
                )
            return replace(newest, notes=(REQUESTED_NOTE, *newest.notes))
        kept = self._store.calibration(request.calibration)
        fitted = self._fit(request.calibration)
        if kept is None or fitted is None or fitted.kind != kind:
            raise ProfileError(
                plate_map.plate,
                f"cannot be ranked by the calibration {request.calibration}: it is not in the "
                "store, its images are no longer there, or they were measured by another method; "
                "expected the digest of a calibration in a ranking of this store",
            )
        if any(plate.plate == plate_map.plate for plate in kept[1]):
            raise ProfileError(
                plate_map.plate,
                f"cannot be ranked by the calibration {request.calibration}: it was learned from "
                "this plate; expected one of other plates",
            )
        return Choice(kept[0], notes=(REQUESTED_NOTE,))

    def _choose_newest(self, plate_map: PlateMap, kind: PlateKind, *, known_only: bool) -> Choice:
        """Return the newest calibration for a plate map's plate.

        With ``known_only``, a calibration of one treatment is not used for other treatments.
        """
        found = self._find(plate_map.line, plate_map)
        notes = found.notes(kind)
        card = self._newest(found.of_kind(kind), plate_map.line)
        if card is None:
            why = NO_ASSAY if self.method == "deterioration" else ""
            if found.of_other_crop(kind):
                why = ASSAYS_OF_OTHER_CROP
            if found.of_other_method(kind):
                why = ASSAYS_OF_OTHER_METHOD
            return Choice(None, why, notes)
        if not card.valid:
            why = INVALID_CALIBRATION.format(why="; ".join(card.why_not))
            return Choice(None, why, notes)
        known = card.single_treatment
        if known_only and known is not None and plate_map.treatments - {known}:
            return Choice(None, OTHER_TREATMENTS.format(treatment=known), notes)
        return Choice(card, notes=notes)

    def _newest(
        self, plates: Sequence[CalibrationPlate], line: str | None
    ) -> CalibrationCard | None:
        """Return the calibration of the assay plates of a line, learned if it is new.

        None without assay plates.
        """
        if not plates:
            return None
        digest = self._digest(plates)
        kept = self._store.calibration(digest)
        if kept is not None:
            return kept[0]
        log.info("calibration.started", plates=[each.plate for each in plates], line=line)
        read = read_assay_plates(self._store, self._encoder_id, plates, self._representation)
        assayed = read.plates if read else []
        card = calibrate(assayed, digest=digest, seed=self._seed, tick=self._tick)
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

    def _find(self, line: str | None, without: PlateMap | None = None) -> FoundPlates:
        """Return the assay plates of a line, without one plate."""
        return find_assay_plates(self._store, self._encoder_id, line, self._representation, without)

    def _digest(self, plates: Sequence[CalibrationPlate]) -> str:
        """Return SHA-256 of all data and settings that a calibration depends on."""
        rests_on = [
            CALIBRATION_VERSION,
            self._encoder_id,
            self._representation,
            self._seed,
            # A method that is not recorded is left out, as in the digests of earlier versions.
            [plate.model_dump(mode="json", exclude_none=True) for plate in plates],
        ]
        return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()

    def _fit(self, digest: str) -> _Fitted | None:
        """Return the fitted model of a calibration; None if its data are no longer in the store."""
        if digest not in self._fitted:
            kept = self._store.calibration(digest)
            if (
                kept is None
                or self._digest(kept[1]) != digest
                or (
                    read := read_assay_plates(
                        self._store, self._encoder_id, kept[1], self._representation
                    )
                )
                is None
            ):
                return None
            calibration = refit(read.plates, kept[0], seed=self._seed)
            self._fitted[digest] = _Fitted(calibration, read.kind)
        self._fitted.move_to_end(digest)
        while len(self._fitted) > MAX_MODELS_IN_MEMORY:
            self._fitted.popitem(last=False)
        return self._fitted[digest]


def digest_with_calibration(inputs_digest: str, calibration: CalibrationCard | None) -> str:
    """Return the digest of the inputs of a ranking, including its calibration, if any."""
    return (
        inputs_digest
        if calibration is None
        else hashlib.sha256(f"{inputs_digest} {calibration.digest}".encode()).hexdigest()
    )


def _predicted_note(card: CalibrationCard) -> str:
    """Return the note on the assay plates and the error of the calibration of a ranking."""
    is_single = len(card.plates) == 1
    return PREDICTED_NOTE.format(
        plates="1 assay plate" if is_single else f"{len(card.plates)} assay plates",
        left_out="left-out treatments" if is_single else "left-out plates",
        error=card.mean_error_points or 0.0,
    )


def _by_departure(
    placement: Placement,
    choice: Choice,
    why: str,
    card: CalibrationCard | None = None,
    drift: Drift | None = None,
) -> Calibrated:
    """Return the order by departure, with a note on the reason where there is one."""
    because = (DEPARTURE_NOTE.format(why=why.rstrip(".")),) if why else ()
    notes = (*placement.notes, *because, *choice.notes)
    return Calibrated(replace(placement, notes=notes), card, drift, why)
