"""The path of one image, from the source to the outbox, top to bottom."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from acquisition.quality import assess
from inference.assemble import assemble, counting
from inference.departure import departures_on
from inference.ports import Encoder, Store
from schemas.errors import ImageError
from schemas.messages import DayDeparture, ObservationData, RejectedData
from schemas.observation import Observation, Outcome
from schemas.plate_map import PlateMap
from schemas.well_image import Rejected, WellImage


@dataclass(frozen=True)
class ImagePath:
    """What one image passes through."""

    encoder: Encoder
    store: Store
    clock: Callable[[], datetime]

    def process(self, item: WellImage | Rejected, plate_map: PlateMap | None) -> Outcome:
        """Take one well image to its outcome; when this returns, the outcome and the message about it are committed.

        Raises
        ------
        StoreError
            If nothing could be committed; the same item may be processed again.
        """
        if isinstance(item, Rejected):
            return self._refuse(item)
        if self.store.version_of(item.key, item.digest) is not None:
            self.store.add_duplicate(item, self.clock())
            return Outcome.DUPLICATE
        quality = assess(item.planes, item.flags)
        try:
            embedding = self.encoder.embed(item, quality.sharpest_plane)
        except ImageError as error:
            return self._refuse(Rejected(files=item.files, reason=error.problem, plate=item.key.plate, well=item.key.well))
        observation = Observation(
            key=item.key,
            digest=item.digest,
            day=item.day,
            taken_at=item.taken_at,
            received_at=self.clock(),
            complete=item.complete,
            files=item.files,
            um_per_px=item.um_per_px,
            quality=quality,
            encoder_id=self.encoder.encoder_id,
            embedding=embedding,
        )
        departures = self._rolling_view(observation, plate_map)
        message = observation_message(observation, self.store.next_version(item.key), departures)
        self.store.add_observation(observation, message)
        return Outcome.STORED

    def _refuse(self, rejected: Rejected) -> Outcome:
        message = RejectedData(plate=rejected.plate, well=rejected.well, files=tuple(file.path for file in rejected.files), reason=rejected.reason)
        self.store.add_rejected(rejected, message, self.clock())
        return Outcome.REJECTED

    def _rolling_view(self, observation: Observation, plate_map: PlateMap | None) -> tuple[DayDeparture, ...]:
        """Return how far this well has departed on each day seen since dosing; nothing before dosing or for a well that the map does not name."""
        well = observation.key.well
        if plate_map is None or well not in plate_map.wells_with_tissue or observation.day <= plate_map.dosed_on_day:
            return ()
        images = counting(self.store.imaged(observation.key.plate, observation.encoder_id), plate_map)
        others = [image for image in images if (image.key.well, image.day) != (well, observation.day)]
        plate = assemble([*self.store.observations(others, observation.encoder_id), observation], plate_map, through_day=observation.day)
        row = plate.trajectories.wells.index(well)
        days = [day for day in plate.trajectories.days if day > plate_map.dosed_on_day and plate.trajectories.has(day)[row]]
        return tuple(DayDeparture(day=day, departure=departures_on(plate.trajectories, dosing_day=plate_map.dosed_on_day, day=day).get(well)) for day in days)


def observation_message(observation: Observation, version: int, departures: tuple[DayDeparture, ...]) -> ObservationData:
    """Return what subscribers are told of a stored image."""
    return ObservationData(
        plate=observation.key.plate,
        well=observation.key.well,
        day=observation.day,
        visit=observation.key.visit,
        version=version,
        taken_at=observation.taken_at,
        received_at=observation.received_at,
        um_per_px=observation.um_per_px,
        complete=observation.complete,
        encoder_id=observation.encoder_id,
        quality=observation.quality,
        flags=observation.quality.flags,
        measures=observation.measures,
        departures=departures,
    )
