"""What the service wants imaged again because of what it saw. Policies only say it; :class:`Reactions` writes it into the durable list of imaging requests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from acquisition.microscope.imaging_requests import ImagingRequest, ImagingRequests
from daemon.alerts import Alerts
from inference.departure.assembly import counting
from inference.ports import Store
from schemas.errors import OutputError, StoreError
from schemas.messages import AlertKind
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.quality import Flag
from schemas.ranking import Ranking, Verdict
from schemas.well_image import VisitKey

log = structlog.get_logger()

TOO_LATE = timedelta(hours=12)  # after an image was saved, its well is no longer what it was
CAUSE = "imaging_requests"  # of the alert


class ImagingPolicy(Protocol):
    """Says what is to be imaged again. Called after the commit, with images and rankings of today only; asked twice, it requests the same."""

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Return what a stored image asks for."""
        ...

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Return what a ranking asks for."""
        ...


class ImageAgainIfUnclear:
    """A well that is out of focus, cut off or seems empty is imaged once more that day: with a wider scan for focus, or its tissue brought into the middle."""

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Request the well of an image that shows too little."""
        flags = set(observation.quality.flags)
        wide, recentre = bool(flags & {Flag.BLURRED, Flag.EMPTY}), Flag.CUT in flags
        if not (wide or recentre):
            return ()
        key = observation.key
        return (
            ImagingRequest(
                plate=key.plate,
                day=observation.day,
                wells=(key.well,),
                reason="unclear",
                wide=wide,
                recentre=recentre,
                made_at=now,
            ),
        )

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Request nothing."""
        del ranking, now
        return ()


@dataclass(frozen=True)
class MoreOftenIfUncertain:
    """Once a provisional ranking is there, wells of treatments of which it cannot say yet whether they work are imaged a second time that day."""

    most: int  # wells a day

    def after_image(self, observation: Observation, now: datetime) -> Sequence[ImagingRequest]:
        """Request nothing."""
        del observation, now
        return ()

    def after_ranking(self, ranking: Ranking, now: datetime) -> Sequence[ImagingRequest]:
        """Request the wells of undecided treatments, those that may be strongest first. A corrected ranking requests nothing more."""
        if ranking.final or ranking.revision > 1:
            return ()
        weakest_effect = min(
            (each.score for each in ranking.treatments if each.verdict is Verdict.EFFECTIVE),
            default=0.0,
        )
        undecided = [
            each
            for each in ranking.treatments
            if each.verdict is Verdict.NO_EVIDENCE and each.score_high > weakest_effect
        ]
        undecided.sort(key=lambda each: each.score_high, reverse=True)
        wells = [well for each in undecided for well in each.wells][: self.most]
        if not wells:
            return ()
        return (
            ImagingRequest(
                plate=ranking.plate,
                day=ranking.day,
                wells=tuple(wells),
                reason="uncertain",
                made_at=now,
            ),
        )


@dataclass(frozen=True)
class Reactions:
    """Asks the policies about what was just committed, and writes down what they request. A list that cannot be written is an alert, no more."""

    policies: Sequence[ImagingPolicy]
    requests: ImagingRequests
    store: Store
    encoder_id: str
    alerts: Alerts
    clock: Callable[[], datetime]

    def catch_up(self) -> None:
        """React to what was committed before the service ended and may not have been reacted to."""
        for plate in self.store.plates():
            plate_map = self.store.plate_map(plate)
            if plate_map is not None:
                with self._trouble_told(plate):
                    self._look_at(self._newest(plate_map), plate_map)
                for ranking in self.store.rankings(plate):
                    self.after_ranking(ranking)

    def after_image(self, key: VisitKey, plate_map: PlateMap) -> None:
        """React to the image of a visit that was stored."""
        with self._trouble_told(key.plate):
            self._look_at(
                [image for image in self._newest(plate_map) if image.key == key], plate_map
            )

    def after_ranking(self, ranking: Ranking) -> None:
        """React to a ranking."""
        with self._trouble_told(ranking.plate):
            plate_map = self.store.plate_map(ranking.plate)
            images = (
                [image for image in self._newest(plate_map) if image.day == ranking.day]
                if plate_map
                else []
            )
            if plate_map and self._of_today(images[-1:], plate_map):
                self._write(
                    [
                        request
                        for policy in self.policies
                        for request in policy.after_ranking(ranking, self.clock())
                    ]
                )

    def _look_at(self, images: Sequence[VisitVersion], plate_map: PlateMap) -> None:
        for observation in self._of_today(
            [image for image in images if image.key.well in plate_map.wells_with_tissue], plate_map
        ):
            self._write(
                [
                    request
                    for policy in self.policies
                    for request in policy.after_image(observation, self.clock())
                ]
            )

    def _newest(self, plate_map: PlateMap) -> list[VisitVersion]:
        """Return the images that count of the last day that was imaged."""
        images = counting(self.store.imaged(plate_map.plate, self.encoder_id), plate_map)
        newest_day = max((image.day for image in images), default=None)
        return [image for image in images if image.day == newest_day]

    def _of_today(self, images: Sequence[VisitVersion], plate_map: PlateMap) -> list[Observation]:
        """Return those of which the plate can be imaged once more as on that day; the microscope's clock may be another than ours, as in a simulation."""
        now = self.clock()
        recent = [image for image in images if now - image.received_at < TOO_LATE]
        of_today = []
        for observation in self.store.observations(recent, self.encoder_id) if recent else ():
            saved_at = datetime.fromtimestamp(
                max(file.mtime_ns for file in observation.files) / 1e9, tz=UTC
            )
            by_our_clock = (
                observation.taken_at is not None and abs(saved_at - observation.taken_at) < TOO_LATE
            )
            if now - saved_at < TOO_LATE and not (
                by_our_clock and plate_map.culture_day(now) != observation.day
            ):
                of_today.append(observation)
        return of_today

    def _write(self, requests: Sequence[ImagingRequest]) -> None:
        for request in requests:
            if self.requests.add(request):
                log.info(
                    "image.requested",
                    plate=request.plate,
                    day=request.day,
                    wells=request.wells,
                    reason=request.reason,
                )
            self.alerts.clear(AlertKind.MICROSCOPE, CAUSE)

    @contextmanager
    def _trouble_told(self, plate: str) -> Iterator[None]:
        try:
            yield
        except (OutputError, StoreError) as error:
            self.alerts.raise_once(
                AlertKind.MICROSCOPE,
                CAUSE,
                f"what plate {plate} needs imaged again is not asked for: {error}",
                plate,
            )
