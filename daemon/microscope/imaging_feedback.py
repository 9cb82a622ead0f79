"""Imaging feedback: make imaging requests from the images and rankings that the service stores."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from acquisition.microscope.imaging_journal import run_start
from acquisition.microscope.imaging_requests import ImagingRequest, ImagingRequests
from daemon.alerts import Alerts
from daemon.microscope.imaging_policies import ImagingPolicy
from inference.departure.assembly import select_images
from schemas.errors import OutputError, StoreError
from schemas.messages import AlertKind
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.well_image import VisitKey
from store.ports import ObservationReader, PlateMapStore, RankingStore

log = structlog.get_logger()

MAX_AGE = timedelta(hours=12)
"""The age from which on an image causes no request: its well has changed since."""

ALERT_CAUSE = "imaging_requests"


class FeedbackStore(PlateMapStore, ObservationReader, RankingStore, Protocol):
    """The parts of the store that the imaging feedback reads."""


@dataclass(frozen=True)
class ImagingFeedback:
    """Asks the policies about each new image and ranking, and stores their imaging requests.

    A request that cannot be stored raises an alert; the service continues.
    """

    policies: Sequence[ImagingPolicy]
    requests: ImagingRequests
    store: FeedbackStore
    encoder_id: str
    alerts: Alerts
    clock: Callable[[], datetime]

    def catch_up(self, plates: Iterable[str]) -> None:
        """Make the requests of the stored images and rankings of plates of the current day.

        The service calls this at its start, since it may have ended between commit and request.
        """
        for plate in plates:
            plate_map = self.store.plate_map(plate)
            if plate_map is not None:
                with self._errors_as_alert(plate):
                    self._request_after_images(self._images_of_last_day(plate_map), plate_map)
                for ranking in self.store.rankings(plate):
                    self.after_ranking(ranking)

    def after_image(self, key: VisitKey, plate_map: PlateMap) -> None:
        """Make the imaging requests that the stored image of a visit (key) causes."""
        with self._errors_as_alert(key.plate):
            images = [
                image
                for image in self._images_of_last_day(plate_map)
                if (image.key.well, image.key.visit) == (key.well, key.visit)
            ]
            self._request_after_images(images, plate_map)

    def after_ranking(self, ranking: Ranking) -> None:
        """Make the requests that a ranking causes."""
        with self._errors_as_alert(ranking.plate):
            plate_map = self.store.plate_map(ranking.plate)
            if plate_map is None or ranking.run != plate_map.run:
                return
            images = [
                image for image in self._images_of_last_day(plate_map) if image.day == ranking.day
            ]
            if self._current(images[-1:], plate_map):
                now = self.clock()
                for policy in self.policies:
                    self._add(policy.after_ranking(ranking, now), plate_map)

    def _request_after_images(self, images: Sequence[VisitVersion], plate_map: PlateMap) -> None:
        """Make the requests that images of wells with tissue cause."""
        of_tissue = [image for image in images if image.key.well in plate_map.wells_with_tissue]
        for observation in self._current(of_tissue, plate_map):
            now = self.clock()
            for policy in self.policies:
                self._add(policy.after_image(observation, now), plate_map)

    def _images_of_last_day(self, plate_map: PlateMap) -> list[VisitVersion]:
        """Return the selected images of the last culture day on which a plate was imaged."""
        images = select_images(self.store.imaged(plate_map.plate, self.encoder_id), plate_map)
        last_day = max((image.day for image in images), default=None)
        return [image for image in images if image.day == last_day]

    def _current(self, images: Sequence[VisitVersion], plate_map: PlateMap) -> list[Observation]:
        """Return the observations of images whose plate can still be imaged on the same day.

        The calendar decides only if the microscope's clock is the clock of this computer. In a
        simulation it is another one, and the age of the files decides alone.
        """
        now = self.clock()
        recent = [image for image in images if now - image.received_at < MAX_AGE]
        current = []
        for observation in self.store.observations(recent, self.encoder_id) if recent else ():
            saved_at = datetime.fromtimestamp(
                max(file.mtime_ns for file in observation.files) / 1e9, tz=UTC
            )
            has_our_clock = (
                observation.taken_at is not None and abs(saved_at - observation.taken_at) < MAX_AGE
            )
            is_other_day = has_our_clock and plate_map.culture_day(now) != observation.day
            if now - saved_at < MAX_AGE and not is_other_day:
                current.append(observation)
        return current

    def _add(self, requests: Sequence[ImagingRequest], plate_map: PlateMap) -> None:
        """Store requests and log the new ones."""
        since = run_start(plate_map.seeded_at, self.clock())
        for request in requests:
            if self.requests.add(request, since):
                log.info(
                    "image.requested",
                    plate=request.plate,
                    day=request.day,
                    wells=request.wells,
                    reason=request.reason,
                )
            self.alerts.clear(AlertKind.MICROSCOPE, ALERT_CAUSE)

    @contextmanager
    def _errors_as_alert(self, plate: str) -> Iterator[None]:
        """Raise an alert about a plate if the store or the folder of requests fails."""
        try:
            yield
        except (OutputError, StoreError) as error:
            self.alerts.raise_once(
                AlertKind.MICROSCOPE,
                ALERT_CAUSE,
                f"second images of plate {plate} cannot be requested: {error}",
                plate,
            )
