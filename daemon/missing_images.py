"""Alerts about culture days without any image of a plate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.alerts import Alerts
from daemon.due_days import DueDays
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.plate_run import end_of_day
from store.ports import PlateMapStore, RankingStore


class MissingImageStore(PlateMapStore, RankingStore, Protocol):
    """The parts of the store that tell which days of a plate have images."""


def missing_day_cause(plate: str, run: int, day: int) -> str:
    """Return the cause of the alert about a culture day without images of a run of a plate."""
    return f"{plate} run {run} day {day}"


@dataclass(frozen=True)
class MissingImages:
    """Raises ``images_missing`` for each day of a plate that has no image at its deadline.

    The days are those that a ranking needs: the dosing day, and the days after it up to the readout
    day. A day between dosing and readout counts only if the plate was imaged before. After the
    final ranking of the readout day no alert is raised.
    """

    store: MissingImageStore
    due_days: DueDays
    alerts: Alerts
    imaging_days: Sequence[int] | None = None  # of the microscope; None: every day

    def check(self, plate: str, *, is_waiting: bool, all_is_in: bool = False) -> None:
        """Raise the alerts about a plate (id), and clear those about days that have images now.

        Parameters
        ----------
        is_waiting
            Whether images of this plate are queued; then no deadline passes.
        all_is_in
            Whether no more images are expected now.
        """
        plate_map = self.store.plate_map(plate)
        if plate_map is None:
            return
        self._clear(plate_map)
        if self._is_finished(plate_map):
            return
        missing = self.due_days.missing_days(plate_map, is_waiting=is_waiting, all_is_in=all_is_in)
        for day in filter(lambda day: self._is_expected(plate_map, day), missing):
            deadline = end_of_day(plate_map, day) + self.due_days.settings.readout_deadline
            self.alerts.raise_once(
                AlertKind.IMAGES_MISSING,
                missing_day_cause(plate, plate_map.run, day),
                f"plate {plate}: no image of day {day} was stored by its deadline "
                f"({deadline.isoformat(timespec='minutes')}); expected images of each well",
                plate,
            )

    def _clear(self, plate_map: PlateMap) -> None:
        """Clear the alerts about days of a plate map that have an image now."""
        causes = {
            day: missing_day_cause(plate_map.plate, plate_map.run, day)
            for day in range(plate_map.dosed_on_day, plate_map.readout_day + 1)
        }
        if not any(
            self.alerts.is_active(AlertKind.IMAGES_MISSING, each) for each in causes.values()
        ):
            return
        for day in self._imaged_days(plate_map) & causes.keys():
            self.alerts.clear(AlertKind.IMAGES_MISSING, causes[day])

    def _is_finished(self, plate_map: PlateMap) -> bool:
        return any(
            ranking.final and (ranking.run, ranking.day) == (plate_map.run, plate_map.readout_day)
            for ranking in self.store.rankings(plate_map.plate)
        )

    def _is_expected(self, plate_map: PlateMap, day: int) -> bool:
        """Return whether a missing day of a plate map should have been imaged."""
        if day == plate_map.readout_day:
            return True
        planned = plate_map.acquire_days or self.imaging_days
        if planned is not None and day not in planned:
            return False
        return day == plate_map.dosed_on_day or any(
            imaged < day for imaged in self._imaged_days(plate_map)
        )

    def _imaged_days(self, plate_map: PlateMap) -> set[int]:
        """Return the culture days of a run with an image of a well of its plate map."""
        return {image.day for image in self.due_days.arrived(plate_map)}
