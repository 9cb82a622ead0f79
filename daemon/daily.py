"""The path of one day, from "is a ranking due?" to message and files, top to bottom."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from daemon.alerts import Alerts
from daemon.calibrations import Calibrations, Placed, resting_on
from daemon.reports.ranking_files import Pictures
from inference.departure.assembly import AssembledPlate, assemble, counting, dosing_notes
from inference.departure.earlier_plates import EarlierPlates, earlier_plates
from inference.dose.dose_table import with_doses
from inference.ports import Store
from inference.ranking.plate_ranking import ONE_BLOCK, RankSettings, rank_plate
from inference.ranking.reasons import with_reasons
from inference.ranking.tissue_table import with_tissue
from inference.tissue.condition import ConditionSettings
from schemas.errors import ProfileError, SpheroRankError
from schemas.forecast import ForecastFrom
from schemas.messages import AlertKind, RankingData
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.ranking import Gate, Ranking, TreatmentTable
from schemas.trajectory import Representation

log = structlog.get_logger()


@dataclass(frozen=True)
class RankingSettings:
    """When and how a day is ranked."""

    readout_deadline: (
        timedelta  # after the first image of a day was received, its ranking waits no longer
    )
    correction_quiet: (
        timedelta  # a ranked day is corrected once its plate had no new image for this long
    )
    representation: Representation
    condition: ConditionSettings
    embedding_weight: float  # of the embedding beside measures, as its bundle says
    rank: RankSettings
    seed: int
    config_digest: str
    code_version: str


@dataclass(frozen=True)
class Due:
    """A day of a plate that has to be ranked now."""

    plate_map: PlateMap
    day: int
    final: bool
    images: Sequence[VisitVersion]  # the ones that count, of all days
    inputs_digest: str  # of all that it rests on but a calibration
    previous: Ranking | None
    follows: (
        Ranking | None
    )  # the ranking of the plate whose method this one takes; None: the method is chosen now
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DailyPath:
    """What one day passes through."""

    store: Store
    encoder_id: str
    settings: RankingSettings
    calibrations: Calibrations
    write: Callable[
        [Ranking, Pictures], Sequence[Path]
    ]  # the files of a ranking; those that exist already are left as they are
    alerts: Alerts
    clock: Callable[[], datetime]

    def run_due(self, plate: str, *, is_waiting: bool, all_is_in: bool = False) -> list[Ranking]:
        """Rank every day of a plate that is due, and return the rankings made.

        Parameters
        ----------
        plate
            The plate to look at.
        is_waiting
            Images of this plate were seen and not yet taken: no deadline passes while the service itself is behind.
        all_is_in
            No more images are expected now (``run --once``): incomplete days are ranked as provisional, and corrections do not wait.
        """
        plate_map = self.store.plate_map(plate)
        if plate_map is None:
            return []
        due = self._due(plate_map, is_waiting=is_waiting, all_is_in=all_is_in)
        return [ranking for day in due if (ranking := self.rank_day(day)) is not None]

    def rank_day(self, due: Due) -> Ranking | None:
        """Rank one day, commit the ranking with its message, write its files. A day that cannot be ranked raises an alert and gives None."""
        plate_map = due.plate_map
        if self.alerts.stands(AlertKind.QUALITY_GATE, due.inputs_digest):
            return None  # these very inputs could not be ranked, and a person has been told
        observations = self.store.observations(due.images, self.encoder_id)
        try:
            plate = self._assemble(due, observations, self.settings.representation)
            earlier = self._earlier(due, plate)
            table = self._by_departure(due, plate, earlier)
        except ProfileError as error:
            self.alerts.raise_once(
                AlertKind.QUALITY_GATE,
                due.inputs_digest,
                f"day {due.day} cannot be ranked: {error}",
                plate_map.plate,
            )
            return None
        table = with_tissue(
            table,
            observations,
            dosing_day=plate_map.dosed_on_day,
            readout_day=due.day,
            settings=self.settings.condition,
        )
        choice = self.calibrations.choose(plate_map, due.follows)
        placed = self.calibrations.place(table, choice, plate_map, observations, day=due.day)
        measured = self._assemble(due, observations, "measures").trajectories
        table = with_reasons(
            placed.table, measured, dosing_day=plate_map.dosed_on_day, readout_day=due.day
        )
        table = with_doses(table, self.settings.seed)
        ranking = self._ranking(due, table, plate, earlier, placed)
        self.store.add_ranking(ranking, RankingData(**ranking.model_dump()))
        log.info(
            "ranking.published",
            plate=ranking.plate,
            day=ranking.day,
            revision=ranking.revision,
            final=ranking.final,
            gate=ranking.quality.gate,
        )
        self._alert_if_doubtful(ranking)
        self._alert_if_not_as_asked(ranking, placed)
        self.write_files(ranking)
        return ranking

    def _by_departure(
        self, due: Due, plate: AssembledPlate, earlier: EarlierPlates
    ) -> TreatmentTable:
        return rank_plate(
            plate.trajectories,
            dosing_day=due.plate_map.dosed_on_day,
            readout_day=due.day,
            seed=self.settings.seed,
            flags=plate.flags,
            notes=(*due.notes, *plate.notes),
            others=earlier.trajectories,
            settings=self.settings.rank,
        )

    def _ranking(
        self,
        due: Due,
        table: TreatmentTable,
        plate: AssembledPlate,
        earlier: EarlierPlates,
        placed: Placed,
    ) -> Ranking:
        return Ranking(
            **table.model_dump(),
            plate=due.plate_map.plate,
            day=due.day,
            revision=due.previous.revision + 1 if due.previous else 1,
            final=due.final,
            replaces=due.previous.revision if due.previous else None,
            created_at=self.clock(),
            method=placed.method,
            representation=plate.trajectories.representation,
            encoder_id=self.encoder_id,
            code_version=self.settings.code_version,
            config_digest=self.settings.config_digest,
            inputs_digest=resting_on(due.inputs_digest, placed.calibration),
            specimen=due.plate_map.specimen,
            earlier_plates=earlier.plates,
            earlier_digest=earlier.digest,
            calibration=placed.calibration,
            drift=placed.drift,
        )

    def stands(self, due: Due) -> bool:
        """Return whether the last ranking of this day rests on all that a new one would rest on, and would not become final by it."""
        previous = due.previous
        if previous is None or due.final > previous.final:
            return False
        if previous.inputs_digest != resting_on(
            due.inputs_digest, self.calibrations.choose(due.plate_map, due.follows).card
        ):
            return False
        plate = self._assemble(
            due, self.store.observations(due.images, self.encoder_id), self.settings.representation
        )
        return previous.earlier_digest == self._earlier(due, plate).digest

    def _assemble(
        self, due: Due, observations: Sequence[Observation], representation: Representation
    ) -> AssembledPlate:
        weight = self.settings.embedding_weight
        return assemble(
            observations,
            due.plate_map,
            through_day=due.day,
            representation=representation,
            embedding_weight=weight,
        )

    def _earlier(self, due: Due, plate: AssembledPlate) -> EarlierPlates:
        """Return what is taken along. The ranking records it, but a change of it alone is no reason to correct one."""
        departure = self.settings.rank.departure
        if departure.forecast_from is not ForecastFrom.DOSING:
            return EarlierPlates()
        return earlier_plates(
            self.store,
            due.plate_map,
            plate.trajectories,
            day=due.day,
            encoder_id=self.encoder_id,
            sequence_model=departure.sequence_model,
        )

    def write_files(self, ranking: Ranking) -> None:
        """Write the files of a ranking where they are missing. The store has the ranking, so a failure raises an alert and is tried again later."""
        cause = f"{ranking.plate} {ranking.name}"
        try:
            self.write(ranking, partial(self._pictures, ranking))
        except SpheroRankError as error:
            self.alerts.raise_once(
                AlertKind.DISK,
                cause,
                f"the files of {cause} cannot be written: {error}",
                ranking.plate,
            )
        else:
            self.alerts.clear(AlertKind.DISK, cause)

    def _pictures(self, ranking: Ranking) -> dict[str, bytes]:
        """Return the picture of each well on the ranking's day, as far as there is one."""
        plate_map = self.store.plate_map(ranking.plate)
        if plate_map is None:
            return {}
        of_day = [
            image
            for image in counting(self.store.imaged(ranking.plate, ranking.encoder_id), plate_map)
            if image.day == ranking.day
        ]
        pictures = self.store.pictures(of_day)
        return {
            image.key.well: pictures[image.observation_id]
            for image in of_day
            if image.observation_id in pictures
        }

    def asked_for(self, plate_map: PlateMap, day: int, *, final: bool) -> Due:
        """Return what a person's wish to rank this day comes to: its method is chosen anew, and what was final stays so.

        Raises
        ------
        ProfileError
            If no image of this day is stored.
        """
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        images = counting(seen, plate_map)
        if not any(image.day == day for image in images):
            days = sorted({image.day for image in images})
            raise ProfileError(
                f"plate {plate_map.plate}, day {day}",
                f"no image of this day is stored; images are there of days {days}",
            )
        previous = _last(self.store.rankings(plate_map.plate), day)
        final = final or (previous is not None and previous.final)
        return Due(
            plate_map,
            day,
            final,
            images,
            self._inputs_digest(plate_map, images, day),
            previous,
            None,
            dosing_notes(seen, plate_map),
        )

    def _due(self, plate_map: PlateMap, *, is_waiting: bool, all_is_in: bool) -> list[Due]:
        now = self.clock()
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        images = counting(seen, plate_map)
        rankings = self.store.rankings(plate_map.plate)
        is_quiet = all_is_in or (
            not is_waiting
            and bool(images)
            and now - max(image.received_at for image in images) >= self.settings.correction_quiet
        )
        due = []
        for day in range(plate_map.dosed_on_day + 1, plate_map.readout_day + 1):
            of_day = {image.key.well: image for image in images if image.day == day}
            if not of_day:
                continue
            complete = of_day.keys() >= set(plate_map.wells_with_tissue)
            late = (
                not is_waiting
                and now - min(image.received_at for image in of_day.values())
                >= self.settings.readout_deadline
            )
            final = day == plate_map.readout_day and (complete or late)
            previous, inputs_digest = (
                _last(rankings, day),
                self._inputs_digest(plate_map, images, day),
            )
            first = previous is None and (complete or late or all_is_in)
            corrected = (
                previous is not None
                and is_quiet
                and previous.inputs_digest != resting_on(inputs_digest, previous.calibration)
            )
            settled = previous is not None and final and not previous.final
            if first or corrected or settled:
                final = final or (previous is not None and previous.final)
                follows = previous or max(
                    rankings, key=lambda ranking: ranking.created_at, default=None
                )
                due.append(
                    Due(
                        plate_map,
                        day,
                        final,
                        images,
                        inputs_digest,
                        previous,
                        follows,
                        dosing_notes(seen, plate_map),
                    )
                )
        return due

    def _inputs_digest(self, plate_map: PlateMap, images: Sequence[VisitVersion], day: int) -> str:
        """Return SHA-256 of all of this plate that a ranking of this day rests on: pixels, plate map, models, settings."""
        departure = self.settings.rank.departure
        used = [
            image
            for image in images
            if departure.rests_on(image.day, dosing_day=plate_map.dosed_on_day, day=day)
        ]
        pixels = sorted((image.key.well, image.day, image.digest) for image in used)
        models = [
            self.encoder_id,
            self.settings.embedding_weight,
            departure.sequence_model.name if departure.sequence_model else "",
        ]
        rests_on = [pixels, day, plate_map.digest, *models, self.settings.config_digest]
        return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()

    def _alert_if_doubtful(self, ranking: Ranking) -> None:
        quality = ranking.quality
        if quality.gate is Gate.FAILED:
            cause = f"{ranking.plate} {ranking.name}"  # not its inputs: they can be ranked, and are once more when they become final
            self.alerts.raise_once(
                AlertKind.QUALITY_GATE,
                cause,
                f"{ranking.name} fails its quality gate: {'; '.join(quality.reasons)}",
                ranking.plate,
            )
        if quality.untreated_in_one_block and not any(
            each.quality.untreated_in_one_block for each in self._others_of(ranking)
        ):
            self.alerts.raise_once(
                AlertKind.LAYOUT,
                ranking.plate,
                f"plate {ranking.plate}: {ONE_BLOCK}",
                ranking.plate,
            )
        if ranking.final and quality.missing_images:
            missing = ", ".join(quality.missing_images)
            self.alerts.raise_once(
                AlertKind.IMAGES_MISSING,
                ranking.inputs_digest,
                f"{ranking.name} is final without images of {missing}",
                ranking.plate,
            )

    def _alert_if_not_as_asked(self, ranking: Ranking, placed: Placed) -> None:
        if self.calibrations.method == "deterioration" and placed.method == "departure":
            message = f"{ranking.name} is ranked by departure, and ranking.method asks for deterioration: {placed.why_departure}"
            self.alerts.raise_once(
                AlertKind.ASSAY, f"{ranking.plate}: {placed.why_departure}", message, ranking.plate
            )

    def _others_of(self, ranking: Ranking) -> list[Ranking]:
        """Return every other ranking of the plate."""
        return [
            each
            for each in self.store.rankings(ranking.plate)
            if (each.day, each.revision) != (ranking.day, ranking.revision)
        ]


def _last(rankings: Sequence[Ranking], day: int) -> Ranking | None:
    return max(
        (ranking for ranking in rankings if ranking.day == day),
        key=lambda ranking: ranking.revision,
        default=None,
    )
