"""Ranking of one culture day of a plate: due days, scores, ranking, message and files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from daemon.alerts import Alerts
from daemon.assay_plates import PlateKind
from daemon.audit_trail import kept_final_notes, map_change_notes
from daemon.calibrations import Calibrations, Choice, digest_with_calibration
from daemon.due_days import DaySettings, Due, DueDays
from daemon.missing_readout import NO_IMAGE, ranking_without_readout
from daemon.ranking_alerts import (
    alert_about_methods,
    alert_about_refused_wells,
    alert_if_by_departure,
    alert_if_doubtful,
)
from daemon.reports.ranking_files import PictureReader
from daemon.reports.revision_files import NOTHING_WRITTEN, Written, after_written
from inference.departure.assembly import (
    AssembledPlate,
    assemble,
    refused_wells,
    select_images,
)
from inference.departure.crops import main_crop
from inference.departure.earlier_plates import EarlierPlates, earlier_plates
from inference.departure.measuring_methods import main_method, without_other_methods
from inference.departure.scales import has_scale, scale_notes, scale_problems
from inference.dose.dose_effects import dose_effects
from inference.ports import EarlierPlateReader
from inference.ranking.image_notes import image_notes, left_out_text
from inference.ranking.placement import ScoredPlate
from inference.ranking.plate_ranking import score_plate
from inference.ranking.reasons import reasons_by_treatment
from inference.ranking.rows import treatment_ranks, well_ranks
from inference.ranking.thesis_scale import thesis_scale
from inference.ranking.well_tissue import tissue_by_well
from schemas.embedding_id import embedding_id, encoder_of
from schemas.errors import MachineError, OutputError, ProfileError, SpheroRankError
from schemas.forecast import ForecastFrom
from schemas.messages import AlertKind, RankingData
from schemas.observation import Observation, VisitVersion
from schemas.ranking import Ranking
from schemas.trajectory import Representation
from store.ports import ObservationReader, PlateMapStore, RankingStore

log = structlog.get_logger()


class DayStore(EarlierPlateReader, ObservationReader, PlateMapStore, RankingStore, Protocol):
    """The parts of the store that the ranking of one day reads and writes."""


MeasureAgain = Callable[[str, Sequence[VisitVersion]], bool]
"""Measures images of a plate (id) by the present method and returns whether any was replaced.

It raises MachineError if their files cannot be read now.
"""


def measure_nothing(plate: str, images: Sequence[VisitVersion]) -> bool:  # noqa: ARG001 - the signature of MeasureAgain
    """Return False: no image is measured again."""
    return False


@dataclass(frozen=True)
class DailyPath:
    """The steps that one day passes through, with their settings and ports."""

    store: DayStore
    due_days: DueDays
    encoder_id: str
    settings: DaySettings
    calibrations: Calibrations
    write: Callable[
        [Ranking, PictureReader], Sequence[Path]
    ]  # writes the missing files of a ranking
    alerts: Alerts
    clock: Callable[[], datetime]
    measure_again: MeasureAgain = measure_nothing
    newest_written: Callable[[Ranking], Written] = lambda _ranking: NOTHING_WRITTEN
    _unwritten: dict[str, Ranking] = field(default_factory=dict)  # by plate and name

    def run_due(
        self,
        plate: str,
        *,
        is_waiting: bool,
        all_is_in: bool = False,
        is_source_gone: bool = False,
        catching_up_since: datetime | None = None,
    ) -> list[Ranking]:
        """Rank every day of a plate (id) that is due, and return the new rankings.

        Parameters
        ----------
        plate
            Id of the plate.
        is_waiting
            Whether images of this plate are queued: no deadline passes while the service is behind.
        all_is_in
            Whether no more images are expected now (``run --once``): incomplete days get a
            provisional ranking, and corrections do not wait.
        is_source_gone
            Whether the images cannot be read now; then no image is missing.
        catching_up_since
            Start of the service, while the calibration of the plate's line needs pending images;
            then the plate gets no first ranking until the deadline. None: it does not wait.
        """
        plate_map = self.store.plate_map(plate)
        if plate_map is None:
            return []
        due = self._with_one_method(
            plate,
            partial(
                self.due_days.of_plate,
                plate_map,
                is_waiting=is_waiting,
                all_is_in=all_is_in,
                is_source_gone=is_source_gone,
                catching_up_since=catching_up_since,
            ),
        )
        return [ranking for day in due if (ranking := self.rank_day(day)) is not None]

    def _with_one_method(self, plate: str, find_due: Callable[[], list[Due]]) -> list[Due]:
        """Return the due days of a plate after its images are measured by the present method.

        While their files cannot be read, only days past the readout deadline are returned.
        """
        due = find_due()
        try:
            is_changed = bool(due) and self.measure_again(plate, due[0].images)
        except MachineError as error:
            self.alerts.raise_once(
                AlertKind.MEASURES,
                f"{plate} postponed",
                f"plate {plate}: its images cannot be measured again by the present method: "
                f"{error}; they are tried again until the readout deadline",
                plate,
            )
            return [day for day in due if day.is_past_deadline]
        self.alerts.clear(AlertKind.MEASURES, f"{plate} postponed")
        return find_due() if is_changed else due

    def rank_day(self, due: Due) -> Ranking | None:
        """Rank a due day and commit and write the ranking; return it, or None if it cannot be made.

        If the day cannot be ranked, raise an alert and return None. If its readout deadline has
        passed then, or if it has no image, the ranking is a final ``no_readout``.
        """
        if not due.has_images:
            return self._publish(self._without_readout(due, NO_IMAGE.format(day=due.day)))
        if (
            self.alerts.is_active(AlertKind.QUALITY_GATE, due.inputs_digest)
            and not due.ends_without_readout
        ):
            return None  # an alert has reported that these inputs cannot be ranked
        observations = self.store.observations(due.images, self.encoder_id)
        try:
            plate = assemble(observations, due.plate_map, through_day=due.day)
            earlier = self._earlier(due, plate)
            scored = self._score(due, plate, earlier)
        except ProfileError as error:
            refused = refused_wells(observations, due.plate_map, due.day)
            reason = f"{error}{left_out_text({**refused, **due.excluded})}"
            self._alert_that_day_cannot_be_ranked(due, reason)
            if due.ends_without_readout:
                return self._publish(self._without_readout(due, reason, observations))
            return None
        return self._publish(self._ranking(due, observations, plate, earlier, scored))

    def _without_readout(
        self, due: Due, reason: str, observations: Sequence[Observation] = ()
    ) -> Ranking:
        """Return the final Ranking without treatments of a readout day, with the reason."""
        return ranking_without_readout(
            due,
            reason,
            observations,
            representation=self.settings.representation,
            encoder_id=self.encoder_id,
            code_version=self.settings.code_version,
            config_digest=self.settings.config_digest,
            created_at=self.clock(),
        )

    def _publish(self, ranking: Ranking) -> Ranking:
        """Commit, log and write a new ranking, raise its alerts, and return it.

        A revision that has files is not used again.
        """
        ranking = after_written(ranking, self.newest_written(ranking))
        self.store.add_ranking(ranking, RankingData(**ranking.model_dump()))
        log.info(
            "ranking.published",
            plate=ranking.plate,
            day=ranking.day,
            revision=ranking.revision,
            final=ranking.final,
            gate=ranking.quality.gate,
        )
        alert_if_doubtful(ranking, partial(self._others_of, ranking), self.alerts)
        self.write_files(ranking)
        return ranking

    def _score(self, due: Due, plate: AssembledPlate, earlier: EarlierPlates) -> ScoredPlate:
        """Score the wells and treatments of a plate by departure."""
        compared_by = self.settings.representation, self.settings.embedding_weight
        representation, representation_notes = plate.allowed_representation(*compared_by)
        return score_plate(
            plate.trajectories(*compared_by),
            dosing_day=due.plate_map.dosed_on_day,
            readout_day=due.day,
            seed=self.settings.seed,
            flags=plate.flags,
            unsure=plate.unsure,
            left_out={**plate.reasons_left_out(*compared_by), **due.excluded},
            notes=(
                *due.plate_map.notes,
                *map_change_notes(self.store, due.plate_map),
                *kept_final_notes(due.previous),
                *due.notes,
                *self._scale_notes(due, representation),
                *representation_notes,
                *image_notes(plate, representation),
                *earlier.notes,
            ),
            others=earlier.trajectories,
            settings=self.settings.departure,
        )

    def _scale_notes(self, due: Due, representation: Representation) -> tuple[str, ...]:
        """Return notes on the values that cannot be computed from images without a scale."""
        field_um = None if representation == "measures" else self.settings.field_um
        return scale_notes([image for image in due.images if image.day <= due.day], field_um)

    def _ranking(
        self,
        due: Due,
        observations: Sequence[Observation],
        plate: AssembledPlate,
        earlier: EarlierPlates,
        scored: ScoredPlate,
    ) -> Ranking:
        """Build the ranking of a day, and raise an alert if its method is not the requested one."""
        days = {"dosing_day": due.plate_map.dosed_on_day, "readout_day": due.day}
        of_method = without_other_methods(observations, plate.measured_by)
        tissue = tissue_by_well(of_method, **days, settings=self.settings.condition)
        choice = self._choose(due)
        calibrated = self.calibrations.place(scored, tissue, plate, choice, day=due.day)
        placement = calibrated.placement
        if due.request is not None and due.request.method != placement.method:
            raise ProfileError(
                due.plate_map.plate,
                f"cannot be ranked by {due.request.method}: {calibrated.why_departure}; expected "
                "a plate like the calibration plates",
            )
        measured = plate.trajectories("measures", self.settings.embedding_weight)
        reasons = reasons_by_treatment(placement.treatments, measured, **days)
        wells = well_ranks(scored, placement, tissue)
        left_out = {each.well for each in scored.quality.left_out}
        doses = dose_effects(wells, left_out, self.settings.seed)
        representation, _ = plate.allowed_representation(
            self.settings.representation, self.settings.embedding_weight
        )
        ranking = Ranking(
            treatments=treatment_ranks(placement, tissue, reasons),
            wells=wells,
            scale=thesis_scale(scored, placement, tissue),
            quality=scored.quality,
            notes=(*placement.notes, *doses.notes),
            dose_responses=doses.dose_responses,
            combinations=doses.combinations,
            label_doubts=scored.label_doubts,
            plate=due.plate_map.plate,
            day=due.day,
            seeded_at=due.plate_map.seeded_at,
            run=due.plate_map.run,
            revision=due.revision,
            final=due.final,
            replaces=due.previous.revision if due.previous else None,
            created_at=self.clock(),
            method=placement.method,
            requested_method=due.requested_method,
            representation=representation,
            encoder_id=embedding_id(
                self.encoder_id, None if representation == "measures" else plate.crop
            ),
            measured_by=plate.measured_by,
            code_version=self.settings.code_version,
            config_digest=self.settings.config_digest,
            inputs_digest=digest_with_calibration(due.inputs_digest, calibrated.calibration),
            specimen=due.plate_map.specimen,
            earlier_plates=earlier.plates,
            earlier_digest=earlier.digest,
            calibration=calibrated.calibration,
            drift=calibrated.drift,
        )
        alert_about_refused_wells(ranking, plate, self.alerts)
        alert_about_methods(ranking, plate, self.alerts)
        if self.calibrations.method == "deterioration":
            alert_if_by_departure(ranking, calibrated.why_departure, self.alerts)
        return ranking

    def is_current(self, due: Due) -> bool:
        """Return whether a due day's newest ranking equals a new one in inputs and finality."""
        previous = due.previous
        if previous is None or due.final > previous.final:
            return False
        if due.requested_method != previous.requested_method:
            return False
        card = self._choose(due).card
        if previous.inputs_digest != digest_with_calibration(due.inputs_digest, card):
            return False
        observations = self.store.observations(due.images, self.encoder_id)
        plate = assemble(observations, due.plate_map, through_day=due.day)
        return previous.earlier_digest == self._earlier(due, plate).digest

    def _choose(self, due: Due) -> Choice:
        """Return the calibration by which a due day is to be ranked."""
        method = main_method(due.images, due.plate_map, due.day)
        return self.calibrations.choose(
            due.plate_map,
            due.follows,
            PlateKind(has_scale(due.images), method, main_crop(due.images, due.plate_map, due.day)),
            due.request,
        )

    def _earlier(self, due: Due, plate: AssembledPlate) -> EarlierPlates:
        """Return the earlier plates whose untreated wells a ranking uses.

        A change of these plates alone causes no correction.
        """
        departure = self.settings.departure
        if departure.forecast_from is not ForecastFrom.DOSING:
            return EarlierPlates()
        return earlier_plates(
            self.store,
            due.plate_map,
            plate.trajectories(self.settings.representation, self.settings.embedding_weight),
            with_scale=has_scale(due.images),
            day=due.day,
            encoder_id=self.encoder_id,
            sequence_model=departure.sequence_model,
        )

    def write_missing_files(self) -> None:
        """Write the files that could not be written before."""
        for ranking in list(self._unwritten.values()):
            self.write_files(ranking)

    def has_unwritten(self, plate: str) -> bool:
        """Return whether files of a ranking of a plate (id) could not be written yet."""
        return any(ranking.plate == plate for ranking in self._unwritten.values())

    def write_files(self, ranking: Ranking) -> None:
        """Write the missing files of a ranking.

        The ranking is in the store, so a failure raises an alert. It is tried again by
        :meth:`write_missing_files` and at the next start, and does not stop other plates.
        """
        cause = f"{ranking.plate} {ranking.name}"
        try:
            self.write(ranking, partial(self._pictures, ranking))
        except Exception as error:
            if not isinstance(error, SpheroRankError) and cause not in self._unwritten:
                log.exception("ranking.not_written", plate=ranking.plate, ranking=ranking.name)
            self._unwritten[cause] = ranking
            self.alerts.raise_once(
                AlertKind.DISK,
                cause,
                f"the files of {cause} cannot be written: {error}",
                ranking.plate,
                blocks=isinstance(error, OutputError),
            )
        else:
            self._unwritten.pop(cause, None)
            self.alerts.clear(AlertKind.DISK, cause)

    def _pictures(self, ranking: Ranking) -> dict[str, bytes]:
        """Return the JPEG pictures of the ranked day by well.

        Wells without a picture are missing.
        """
        plate_map = self.store.plate_map(ranking.plate, run=ranking.run)
        if plate_map is None:
            return {}
        of_day = [
            image
            for image in select_images(
                self.store.imaged(ranking.plate, encoder_of(ranking.encoder_id)), plate_map
            )
            if image.day == ranking.day
        ]
        pictures = self.store.pictures(of_day)
        return {
            image.key.well: pictures[image.observation_id]
            for image in of_day
            if image.observation_id in pictures
        }

    def _alert_that_day_cannot_be_ranked(self, due: Due, reason: str) -> None:
        images = [image for image in due.images if image.day <= due.day]
        problems = scale_problems(images, due.plate_map)
        without = left_out_text({well: each.reason for well, each in problems.items()})
        self.alerts.raise_once(
            AlertKind.QUALITY_GATE,
            due.inputs_digest,
            f"day {due.day} cannot be ranked: {reason}{without}",
            due.plate_map.plate,
        )

    def _others_of(self, ranking: Ranking) -> list[Ranking]:
        """Return all rankings of a ranking's plate and run except the ranking itself."""
        return [
            each
            for each in self.store.rankings(ranking.plate)
            if each.run == ranking.run
            and (each.day, each.revision) != (ranking.day, ranking.revision)
        ]
