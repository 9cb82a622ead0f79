"""Selection of the days of a plate that have to be ranked now, and of their images."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from daemon.calibrations import digest_with_calibration
from inference.departure.assembly import dosing_notes, select_images
from inference.departure.departures import DepartureSettings
from inference.departure.scales import scale_problems
from inference.tissue.condition import ConditionSettings
from schemas.errors import ProfileError
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.trajectory import Representation
from store.ports import ObservationReader, RankingStore


class DueStore(ObservationReader, RankingStore, Protocol):
    """The parts of the store that decide whether a day is due."""


@dataclass(frozen=True)
class DaySettings:
    """Settings of the ranking of a day: time limits, method, seed and versions."""

    readout_deadline: timedelta  # longest wait for missing images, from the first received image
    correction_quiet: timedelta  # a ranked day is corrected after no new image for this long
    representation: Representation
    condition: ConditionSettings
    embedding_weight: float  # of the embedding against the measures, from the encoder bundle
    field_um: float | None  # width of the encoder's field, from the encoder bundle; None: no crop
    departure: DepartureSettings
    seed: int
    config_digest: str
    code_version: str


@dataclass(frozen=True)
class Due:
    """A day of a plate that has to be ranked now."""

    plate_map: PlateMap
    day: int
    final: bool
    images: Sequence[VisitVersion]  # the selected images of all days
    inputs_digest: str  # of everything that the ranking depends on, except a calibration
    previous: Ranking | None  # the newest ranking of this day and run
    revision: int  # number of the new ranking; a later run of the plate id continues the count
    follows: Ranking | None  # the ranking whose method is kept; None: the method is chosen now
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DueDays:
    """Finds the days of a plate that are due, from its stored images and rankings."""

    store: DueStore
    encoder_id: str
    settings: DaySettings
    clock: Callable[[], datetime]

    def of_plate(
        self,
        plate_map: PlateMap,
        *,
        is_waiting: bool,
        all_is_in: bool,
        catching_up_since: datetime | None = None,
    ) -> list[Due]:
        """Return each Due day of a plate map that has to be ranked now, in order.

        A day is due when it has no ranking and all its images or its deadline are there, when its
        inputs changed and the plate is quiet, or when its ranking becomes final.

        Parameters
        ----------
        is_waiting
            Whether images of this plate are queued; then no deadline passes.
        all_is_in
            Whether no more images are expected now.
        catching_up_since
            Start of the service, while the calibration of the plate's line needs pending images;
            then the plate gets no first ranking until the deadline.
        """
        now = self.clock()
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        images = select_images(seen, plate_map)
        all_rankings = self.store.rankings(plate_map.plate)
        rankings = [ranking for ranking in all_rankings if ranking.run == plate_map.run]
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
            # An image that was measured again is not new.
            first_at = min(
                image.received_at for image in seen if image.day == day and image.key.well in of_day
            )
            late = not is_waiting and now - first_at >= self.settings.readout_deadline
            final = day == plate_map.readout_day and (complete or late)
            previous = _newest(rankings, day)
            inputs_digest = self._inputs_digest(plate_map, images, day)
            waits = not rankings and self._waits_for_calibration(first_at, catching_up_since)
            first = previous is None and (all_is_in or ((complete or late) and not waits))
            corrected = (
                previous is not None
                and is_quiet
                and previous.inputs_digest
                != digest_with_calibration(inputs_digest, previous.calibration)
            )
            becomes_final = previous is not None and final and not previous.final
            if first or corrected or becomes_final:
                due.append(
                    Due(
                        plate_map=plate_map,
                        day=day,
                        final=final or (previous is not None and previous.final),
                        images=images,
                        inputs_digest=inputs_digest,
                        previous=previous,
                        revision=_next_revision(all_rankings, day),
                        follows=previous
                        or max(rankings, key=lambda ranking: ranking.created_at, default=None),
                        notes=dosing_notes(seen, plate_map),
                    )
                )
        return due

    def _waits_for_calibration(self, first_at: datetime, since: datetime | None) -> bool:
        """Return whether a first ranking waits for a calibration, given the day's first image.

        It waits until the readout deadline. If that had passed when the service started, the
        deadline is counted from the start.
        """
        if since is None:
            return False
        deadline = first_at + self.settings.readout_deadline
        if deadline <= since:
            deadline = since + self.settings.readout_deadline
        return self.clock() < deadline

    def requested(self, plate_map: PlateMap, day: int, *, final: bool) -> Due:
        """Return a requested culture day of a plate map as Due, provisional or final.

        The method is chosen again. A final day stays final.


        Raises
        ------
        ProfileError
            If no image of this day is stored.
        """
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        images = select_images(seen, plate_map)
        if not any(image.day == day for image in images):
            days = sorted({image.day for image in images})
            raise ProfileError(
                f"plate {plate_map.plate}, day {day}",
                f"no image of this day is stored; expected one of the days with images: {days}",
            )
        rankings = self.store.rankings(plate_map.plate)
        previous = _newest([each for each in rankings if each.run == plate_map.run], day)
        return Due(
            plate_map=plate_map,
            day=day,
            final=final or (previous is not None and previous.final),
            images=images,
            inputs_digest=self._inputs_digest(plate_map, images, day),
            previous=previous,
            revision=_next_revision(rankings, day),
            follows=None,
            notes=dosing_notes(seen, plate_map),
        )

    def _inputs_digest(self, plate_map: PlateMap, images: Sequence[VisitVersion], day: int) -> str:
        """Return SHA-256 of the inputs of a ranking: images, plate map, models and settings.

        The code version is not part of it: an upgrade makes no ranking stale.
        """
        departure = self.settings.departure
        used = [
            image
            for image in images
            if departure.uses_day(image.day, dosing_day=plate_map.dosed_on_day, day=day)
        ]
        contents = sorted((image.key.well, image.day, image.digest) for image in used)
        until_day = [image for image in images if image.day <= day]
        left_out = sorted(scale_problems(until_day, plate_map))
        models = [
            self.encoder_id,
            self.settings.embedding_weight,
            departure.sequence_model.name if departure.sequence_model else "",
        ]
        inputs = [contents, day, plate_map.digest, *models, self.settings.config_digest]
        if left_out:
            inputs.append(left_out)
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _newest(rankings: Sequence[Ranking], day: int) -> Ranking | None:
    """Return the newest revision of the rankings of one day, or None."""
    return max(
        (ranking for ranking in rankings if ranking.day == day),
        key=lambda ranking: ranking.revision,
        default=None,
    )


def _next_revision(rankings: Sequence[Ranking], day: int) -> int:
    """Return the revision that follows all rankings of one day, of any run."""
    return 1 + max((ranking.revision for ranking in rankings if ranking.day == day), default=0)
