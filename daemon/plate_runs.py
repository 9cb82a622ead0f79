"""Decides which run of its plate id a plate map and a well image belong to, and reports changes.

See ``docs/decisions/0011-runs-of-a-plate.md``.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from daemon.alerts import Alerts
from schemas.messages import AlertKind
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import (
    OUTSIDE,
    agree_with_seeding,
    is_after_run,
    is_in_run,
    readout_deadline,
)
from schemas.well_image import VisitKey, WellImage
from store.ports import ObservationReader, ObservationWriter, PlateMapStore

log = structlog.get_logger()

LATE = timedelta(days=1)
"""Time after the readout deadline from which an image without its own time is not of the run."""


class RunStore(ObservationReader, ObservationWriter, PlateMapStore, Protocol):
    """Store with the plate maps of each run of a plate and the images of each run."""


@dataclass(frozen=True)
class _Arrival:
    """A well image with the times that decide its run."""

    key: VisitKey
    day: int
    taken_at: datetime | None
    saved_at: datetime | None
    received_at: datetime


@dataclass(frozen=True)
class PlateRuns:
    """Finds the run of each plate map and well image from a store, and raises alerts of changes.

    Parameters
    ----------
    readout_wait
        The longest wait for missing images after the first readout image.
    """

    store: RunStore
    readout_wait: timedelta
    alerts: Alerts

    def with_run_of_map(self, given: PlateMap, newest: PlateMap | None) -> PlateMap:
        """Return a plate map with its run, and raise an alert about a change of ``seeded_at``.

        Parameters
        ----------
        given
            A new or changed map, whose run is not known.
        newest
            The newest stored map of the plate, with its run.
        """
        if newest is None:
            return given
        if given.seeded_at == newest.seeded_at:
            return given.model_copy(update={"run": newest.run})
        run, what = self._changed_run(given, newest)
        self.alerts.raise_once(
            AlertKind.PLATE_MAP,
            f"{given.plate} {newest.digest} {given.digest}",
            f"plate {given.plate}: seeded_at changed from {newest.seeded_at.isoformat()} to "
            f"{given.seeded_at.isoformat()}: {what}",
            given.plate,
        )
        log.info("plate_map.run", plate=given.plate, run=run, seeded_at=given.seeded_at.isoformat())
        return given.model_copy(update={"run": run})

    def with_run(
        self, image: WellImage, digest: str, plate_map: PlateMap | None, now: datetime
    ) -> WellImage:
        """Return a well image with its run and its culture day in that run.

        An image that was taken outside every run has the run 0; an alert names the first one of
        each run.

        Parameters
        ----------
        digest
            SHA-256 of its pixels.
        plate_map
            The current map of the plate, with its run.
        """
        if plate_map is None:
            return image
        of_run = self._map_of(image, digest, plate_map, now)
        if of_run is None:
            self._warn_outside(image, plate_map)
        elif of_run.run > 1 and image.taken_at is None:
            self._warn_if_copied(image, digest, of_run)
        return replace(
            image,
            key=replace(image.key, run=of_run.run if of_run else OUTSIDE),
            day=_culture_day(image, of_run or plate_map),
        )

    def has_readout(self, plate_map: PlateMap) -> bool:
        """Return whether the run of a map has an image of its readout day."""
        return any(each.day == plate_map.readout_day for each in self._images(plate_map))

    def _changed_run(self, given: PlateMap, newest: PlateMap) -> tuple[int, str]:
        """Return the run of a map with another ``seeded_at``, and the change as text."""
        deadline = self._deadline(newest)
        if given.seeded_at > deadline and not agree_with_seeding(self._images(newest), given):
            return newest.run + 1, (
                f"this is later than the readout deadline of run {newest.run} "
                f"({deadline.isoformat(timespec='minutes')}), so run {newest.run + 1} starts. "
                f"Images of run {newest.run} take no part in it"
            )
        before = self.store.plate_map(given.plate, run=newest.run - 1)
        if (
            before is not None
            and given.seeded_at <= self._deadline(before)
            and (given.seeded_at == before.seeded_at or not any(self._images(newest)))
        ):
            return before.run, (
                f"this is not later than the readout deadline of run {before.run}, and run "
                f"{newest.run} is withdrawn. Run {before.run} continues with this map"
            )
        return newest.run, (
            f"run {newest.run} is corrected. Culture days that follow from times are computed "
            "again; images that were refused for their culture day are read again when their "
            "files change"
        )

    def _deadline(self, plate_map: PlateMap) -> datetime:
        return readout_deadline(plate_map, self._images(plate_map), self.readout_wait)

    def _images(self, plate_map: PlateMap) -> list[VisitVersion]:
        """Return the stored images of the run of a map."""
        return [each for each in self.store.arrived(plate_map.plate) if is_in_run(each, plate_map)]

    def _map_of(
        self, image: WellImage, digest: str, current: PlateMap, now: datetime
    ) -> PlateMap | None:
        """Return the map of the run in which an image was taken; None outside every run."""
        if self._belongs(image, current, now):
            return current
        for earlier in reversed(self.store.run_maps(current.plate)):
            is_same = self.store.version_of(replace(image.key, run=earlier.run), digest) is not None
            if is_same or (image.taken_at is not None and self._belongs(image, earlier, now)):
                return earlier
        return None

    def _belongs(self, image: WellImage, plate_map: PlateMap, now: datetime) -> bool:
        """Return whether an image that arrives now belongs to the run of a map."""
        arrival = _Arrival(
            replace(image.key, run=plate_map.run),
            _culture_day(image, plate_map),
            image.taken_at,
            image.files[0].modified_at if image.files else None,
            now,
        )
        if not is_in_run(arrival, plate_map):
            return False
        if image.taken_at is not None or not is_after_run(arrival, plate_map):
            return True
        images = self._images(plate_map)
        readout = [each.received_at for each in images if each.day == plate_map.readout_day]
        return not readout or now - min(readout) <= self.readout_wait + LATE

    def _warn_outside(self, image: WellImage, plate_map: PlateMap) -> None:
        """Raise an alert about an image outside the run, unless it is of a day after the readout.

        An alert about a run is raised once.
        """
        if not 1 <= image.day <= plate_map.readout_day:
            return
        at = image.taken_at or image.files[0].modified_at
        self.alerts.raise_once(
            AlertKind.PLATE_MAP,
            f"{plate_map.plate} {plate_map.seeded_at.isoformat()} outside",
            f"plate {plate_map.plate}: {image.files[0].path} is of day {image.day}, but "
            f"{at.isoformat(timespec='seconds')} is outside run {plate_map.run}, which was seeded "
            f"at {plate_map.seeded_at.isoformat()} and read out on day {plate_map.readout_day}. "
            "Such images are stored and take no part in rankings; check seeded_at and the clock "
            "of the instrument",
            plate_map.plate,
        )

    def _warn_if_copied(self, image: WellImage, digest: str, plate_map: PlateMap) -> None:
        """Raise an alert if an image without a time has the pixels of an earlier run's image."""
        for run in range(1, plate_map.run):
            if self.store.version_of(replace(image.key, run=run), digest) is not None:
                self.alerts.raise_once(
                    AlertKind.PLATE_MAP,
                    f"{plate_map.plate} {plate_map.run} copied",
                    f"plate {plate_map.plate}: {image.files[0].path} has the pixels of an image of "
                    f"run {run} and no time of its own, and takes part in run {plate_map.run}; "
                    "expected new images: were old files copied again?",
                    plate_map.plate,
                )


def _culture_day(image: WellImage, plate_map: PlateMap) -> int:
    """Return the culture day of an image in the run of a map; a day in its name is unchanged."""
    if not image.day_from_time:
        return image.day
    return plate_map.culture_day(image.taken_at or image.files[0].modified_at)
