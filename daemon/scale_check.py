"""Checks of the scales of stored images: alerts, and images that have to be measured again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from acquisition.ports import Source
from daemon.alerts import Alerts
from inference.departure.assembly import select_images
from inference.departure.scales import ScaleProblem, image_problem, scale_problems
from schemas.messages import AlertKind
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from store.ports import ObservationReader, PlateMapStore

log = structlog.get_logger()


class ScaleStore(ObservationReader, PlateMapStore, Protocol):
    """Store with the scales of images and with the plate maps and their runs."""


@dataclass
class ScaleCheck:
    """Compares the scales of the stored images of a plate with its plate map.

    A plate is noted when its map or its images change. When none of its images is pending, images
    that were measured with another scale than the map decides are requested again from the source,
    and contradictions are raised as alerts.
    """

    source: Source
    store: ScaleStore
    encoder_id: str
    alerts: Alerts
    reading: set[str] = field(default_factory=set)  # plates whose files are read again
    _noted: set[str] = field(default_factory=set)
    _requested: set[tuple[int, str]] = field(default_factory=set)  # observation id, map digest
    _raised: dict[str, set[str]] = field(default_factory=dict)  # by plate: causes of alerts

    def note(self, plate: str) -> None:
        """Record that the plate map or the images of a plate changed."""
        self._noted.add(plate)

    def is_checking(self, plate: str) -> bool:
        """Return whether the scales of a plate (id) have still to be checked or read again."""
        return plate in self._noted or plate in self.reading

    def check_noted(self, pending: Mapping[str, int]) -> bool:
        """Check the noted plates without ``pending`` images; return whether files are read again.

        A plate whose map is invalid is checked when it has a valid map again.
        """
        maps = self.source.plate_maps()
        due = sorted(plate for plate in self._noted & maps.keys() if not pending.get(plate))
        for plate in due:
            plate_map = self.store.plate_map(plate)
            if plate_map is not None and self._check(plate_map):
                self.reading.add(plate)  # it stays noted: alerts are due when the files are read
            else:
                self.reading.discard(plate)
                self._noted.discard(plate)
        return any(plate in self.reading for plate in due)

    def _check(self, plate_map: PlateMap) -> bool:
        """Check one plate; return whether some of its files are read again."""
        stored = self.store.imaged(plate_map.plate, self.encoder_id)
        images = select_images(stored, plate_map)
        outdated = [
            image
            for image in images
            if (problem := image_problem(image, plate_map)) is not None and problem.is_outdated
        ]
        if self._read_again(outdated, plate_map):
            return True
        self._raise_alerts(plate_map.plate, scale_problems(images, plate_map).values())
        return False

    def _read_again(self, outdated: list[VisitVersion], plate_map: PlateMap) -> bool:
        """Request images again that were not yet requested for this map; return whether any was."""
        requests = {(image.observation_id, plate_map.digest): image for image in outdated}
        new = [image for request, image in requests.items() if request not in self._requested]
        if not new:
            return False
        observations = self.store.observations(new, self.encoder_id)
        self.source.read_again(file for each in observations for file in each.files)
        self._requested |= requests.keys()
        log.info("images.read_again", plate=plate_map.plate, images=len(new))
        return True

    def _raise_alerts(self, plate: str, problems: Iterable[ScaleProblem]) -> None:
        """Raise one alert for each kind of contradiction of a plate, and clear earlier ones."""
        wells: dict[str, list[ScaleProblem]] = {}
        for problem in problems:
            wells.setdefault(problem.sentence, []).append(problem)
        raised = set()
        for sentence, alike in wells.items():
            cause = f"{plate}: {sentence}"
            raised.add(cause)
            first = alike[0]
            self.alerts.raise_once(
                AlertKind.SCALE_DISAGREES,
                cause,
                f"plate {plate}, {first.well} on day {first.day}: {sentence}; "
                "until then such wells take no part in rankings",
                plate,
            )
        for cause in self._raised.get(plate, set()) - raised:
            self.alerts.clear(AlertKind.SCALE_DISAGREES, cause)
        self._raised[plate] = raised
