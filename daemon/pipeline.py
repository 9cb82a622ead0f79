"""Processing of one well image, from the source to the store and the outbox."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from daemon.plate_runs import PlateRuns
from daemon.rolling_view import RollingView
from inference.ports import Encoder, Segmenter
from inference.tissue.condition import ConditionSettings, classify_condition
from inference.tissue.measures import measure_tissue
from inference.tissue.picture import draw_outline_picture
from schemas.errors import ImageError
from schemas.messages import DayDeparture, ObservationData, RejectedData
from schemas.observation import Observation, Outcome
from schemas.plate_map import PlateMap
from schemas.quality import Quality
from schemas.ranking import Condition
from schemas.well_image import Rejected, WellImage
from store.ports import ObservationWriter


@dataclass(frozen=True)
class ImagePath:
    """The steps that one well image passes through, with their settings and ports."""

    encoder: Encoder
    segmenter: Segmenter
    condition_settings: ConditionSettings
    store: ObservationWriter
    rolling_view: RollingView
    runs: PlateRuns
    clock: Callable[[], datetime]

    def process(self, item: WellImage | Rejected, plate_map: PlateMap | None) -> Outcome:
        """Process one well image, commit its outcome and message, and return the outcome.

        Raises
        ------
        StoreError
            If nothing could be committed; the same item may be processed again.
        """
        if isinstance(item, Rejected):
            return self._refuse(item)
        digest = item.digest
        item = self.runs.with_run(item, digest, plate_map, self.clock())
        if self.store.version_of(item.key, digest) is not None:
            self.store.add_duplicate(item, self.clock())
            return Outcome.DUPLICATE
        quality = assess(item.planes, item.flags)
        try:
            embedding = self.encoder.embed(item, quality.sharpest_plane)
        except ImageError as error:
            return self._refuse(
                Rejected(
                    files=item.files, reason=error.problem, plate=item.key.plate, well=item.key.well
                )
            )
        sharpest = item.planes[quality.sharpest_plane]
        tissue = self.segmenter.segment(sharpest, item.um_per_px)
        measures = measure_tissue(sharpest, tissue, item.um_per_px)
        observation = observation_of(
            item,
            digest,
            quality,
            self.encoder.encoder_id,
            embedding,
            measures,
            received_at=self.clock(),
        )
        departures = self.rolling_view.departures(observation, plate_map)
        message = observation_message(
            observation,
            self.store.next_version(item.key),
            classify_condition(measures, self.condition_settings),
            departures,
        )
        self.store.add_observation(observation, message, draw_outline_picture(sharpest, tissue))
        return Outcome.STORED

    def _refuse(self, rejected: Rejected) -> Outcome:
        message = RejectedData(
            plate=rejected.plate,
            well=rejected.well,
            files=tuple(file.path for file in rejected.files),
            reason=rejected.reason,
        )
        self.store.add_rejected(rejected, message, self.clock())
        return Outcome.REJECTED


def observation_of(
    image: WellImage,
    digest: str,
    quality: Quality,
    encoder_id: str,
    embedding: npt.NDArray[np.float32],
    measures: dict[str, float],
    *,
    received_at: datetime,
) -> Observation:
    """Build the observation of a well image from its quality, embedding and measures."""
    return Observation(
        key=image.key,
        digest=digest,
        day=image.day,
        day_from_time=image.day_from_time,
        taken_at=image.taken_at,
        received_at=received_at,
        complete=image.complete,
        files=image.files,
        um_per_px=image.um_per_px,
        quality=quality,
        encoder_id=encoder_id,
        embedding=embedding,
        measures=measures,
    )


def observation_message(
    observation: Observation,
    version: int,
    condition: tuple[Condition, float] | None,
    departures: tuple[DayDeparture, ...],
) -> ObservationData:
    """Build the message about a stored observation."""
    return ObservationData(
        plate=observation.key.plate,
        well=observation.key.well,
        day=observation.day,
        visit=observation.key.visit,
        run=observation.key.run,
        version=version,
        taken_at=observation.taken_at,
        received_at=observation.received_at,
        um_per_px=observation.um_per_px,
        complete=observation.complete,
        encoder_id=observation.encoder_id,
        quality=observation.quality,
        flags=observation.quality.flags,
        measures=observation.measures,
        condition=condition and condition[0],
        explosion_degree=condition and condition[1],
        departures=departures,
    )
