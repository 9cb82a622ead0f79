"""Processing of one well image, from the source to the store and the outbox.

A worker thread makes the analysis, and the main loop makes all other steps in order of arrival.
Images of one plate and day that are ready at the same time are committed together.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
import numpy.typing as npt
import structlog

from acquisition.quality import assess
from daemon.plate_runs import PlateRuns
from daemon.rolling_view import RollingView
from daemon.tissue_analysis import TissueMethod, measure_sharpest_plane
from inference.departure.scales import differs_from_plate
from inference.ports import Encoder
from inference.tissue.condition import ConditionSettings, classify_condition
from inference.tissue.picture import draw_outline_picture
from schemas.errors import DamagedRowError, ImageError, MachineError, StoreError
from schemas.machine_faults import is_machine_fault, reason_of
from schemas.messages import DayDeparture, ObservationData, RejectedData
from schemas.observation import Observation, Outcome
from schemas.plate_map import PlateMap
from schemas.quality import Flag, Quality
from schemas.ranking import Condition
from schemas.tissue import Unsure
from schemas.well_image import Rejected, WellImage
from store.ports import NewObservation, ObservationWriter

log = structlog.get_logger()

MIN_SIDE_PX = 16
"""Shortest side of an image in pixels; in fewer pixels nothing can be measured."""


@dataclass(frozen=True)
class ImagePath:
    """The steps that one well image passes through, with their settings and ports."""

    encoder: Encoder
    tissue: TissueMethod
    condition_settings: ConditionSettings
    store: ObservationWriter
    rolling_view: RollingView
    runs: PlateRuns
    clock: Callable[[], datetime]

    def analyse(self, image: WellImage, pool: Executor | None = None) -> "Analysis":
        """Return the Analysis of a well image; several threads may call it.

        A free thread of ``pool`` computes the embedding, if there is one.

        Raises
        ------
        ImageError
            If the image cannot be measured or embedded.
        """
        return analyse(image, self.encoder, self.tissue, pool)

    def process(
        self,
        item: WellImage | Rejected,
        analysis: Callable[[], "Analysis"],
        plate_map: PlateMap | None,
    ) -> Outcome | Rejected:
        """Process one well image, commit its outcome and message, and return the outcome.

        This is the boundary of one image: an image that raises an exception is refused. The refusal
        is returned if the image is refused.

        Parameters
        ----------
        analysis
            Waits for the result of :meth:`analyse` for a well image, and returns it.

        Raises
        ------
        StoreError
            If nothing could be committed; the same item may be processed again.
        MachineError
            If memory, disk or network failed; the same item may be processed again.
        """
        if isinstance(item, Rejected):
            return self._refuse(item)
        try:
            [outcome] = self.process_together([(item, analysis)], plate_map)
        except (StoreError, MachineError):
            raise
        except Exception as error:
            if is_machine_fault(error):
                raise MachineError(item.files[0].path, reason_of(error)) from error
            if not isinstance(error, ImageError):
                log.exception("image.failed", files=[file.path for file in item.files])
            return self._refuse(
                Rejected(item.files, reason_of(error), item.key.plate, item.key.well)
            )
        return outcome

    def process_together(
        self,
        images: Sequence[tuple[WellImage, Callable[[], "Analysis"]]],
        plate_map: PlateMap | None,
    ) -> list[Outcome]:
        """Process well images, commit them in one transaction, and return their outcomes.

        Nothing is committed if an exception is raised, except duplicates.

        Parameters
        ----------
        images
            Images of different wells of one plate on one day, each with its analysis.
        """
        outcomes = []
        new: list[Observation] = []
        pictures: list[bytes] = []
        scales: dict[int, Counter[float | None]] = {}  # number of images by scale, for each run
        for image, analysis in images:
            digest, pixel_digest = image.digest, image.pixel_digest
            of_run = self.runs.with_run(image, digest, plate_map, self.clock())
            plate, run = of_run.key.plate, of_run.key.run
            if run not in scales:
                scales[run] = Counter(self.store.scales(plate, run))
            flagged = _with_plate_flags(of_run, plate_map, scales[run])
            if self.store.version_of(flagged.key, digest) is not None:
                self.store.add_duplicate(flagged, self.clock())
                outcomes.append(Outcome.DUPLICATE)
                continue
            found = analysis()
            observation = observation_of(
                flagged,
                digest,
                pixel_digest,
                found,
                encoder_id=self.encoder.encoder_id,
                crop=self.encoder.crop(flagged),
                received_at=self.clock(),
            )
            new.append(observation)
            scales[run][observation.um_per_px] += 1
            pictures.append(found.picture)
            outcomes.append(Outcome.STORED)
        departures = self._departures(new, plate_map)
        messages = [self._message(*each) for each in zip(new, departures, strict=True)]
        self.store.add_observations(
            [NewObservation(*each) for each in zip(new, messages, pictures, strict=True)]
        )
        return outcomes

    def _message(
        self, observation: Observation, departures: tuple[DayDeparture, ...]
    ) -> ObservationData:
        """Return the message of an observation that is stored next."""
        return observation_message(
            observation,
            self.store.next_version(observation.key),
            classify_condition(observation.measures, self.condition_settings),
            departures,
        )

    def _departures(
        self, new: Sequence[Observation], plate_map: PlateMap | None
    ) -> list[tuple[DayDeparture, ...]]:
        """Return the departures to publish; none if other images of the plate cause an error."""
        try:
            return self.rolling_view.departures(new, plate_map)
        except DamagedRowError as error:
            log.error("departures.failed", plate=new[0].key.plate, reason=str(error))
        except StoreError:
            raise
        except Exception as error:
            if is_machine_fault(error):
                raise
            log.exception("departures.failed", plate=new[0].key.plate)
        return [()] * len(new)

    def _refuse(self, rejected: Rejected) -> Rejected:
        message = RejectedData(
            plate=rejected.plate,
            well=rejected.well,
            files=tuple(file.path for file in rejected.files),
            reason=rejected.reason,
        )
        self.store.add_rejected(rejected, message, self.clock())
        return rejected


def _with_plate_flags(
    image: WellImage, plate_map: PlateMap | None, scales: Counter[float | None]
) -> WellImage:
    """Return a well image flagged if its scale differs from that of its plate's images.

    ``scales`` has the number of other images of the run by scale in µm per pixel.
    """
    if (
        plate_map is None
        or Flag.SCALE_DISAGREES in image.flags
        or not differs_from_plate(image.um_per_px, scales, plate_map)
    ):
        return image
    return replace(image, flags=(*image.flags, Flag.SCALE_DISAGREES))


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results of the analysis of one well image: quality, embedding, tissue and picture."""

    quality: Quality
    embedding: npt.NDArray[np.float32]  # (dimension,)
    measures: dict[str, float]  # empty if the segmenter refuses the image
    measured_by: str  # segmenter and version of the measures
    unsure: tuple[Unsure, ...]  # doubts about the outline of the tissue
    picture: bytes  # JPEG of the sharpest plane with the outline of the tissue


def analyse(
    image: WellImage, encoder: Encoder, tissue: TissueMethod, pool: Executor | None = None
) -> Analysis:
    """Return the quality, embedding, measures and picture of a well image.

    The image computes and keeps its digest here, so that the main loop does not wait for it.

    Parameters
    ----------
    pool
        Its threads also call this function. If one of them is free, it computes the embedding while
        this thread measures the tissue.

    Raises
    ------
    ImageError
        If a side has fewer than ``MIN_SIDE_PX`` pixels, or the encoder cannot embed the image.
    """
    height, width = image.planes.shape[1:]
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(
            image.key.well, f"{width}×{height} pixels; expected at least {MIN_SIDE_PX} a side"
        )
    quality = assess(image.planes, image.flags)
    embed = partial(encoder.embed, image, quality.sharpest_plane)
    elsewhere = pool.submit(embed) if pool else None
    found = measure_sharpest_plane(image.planes, quality, image.um_per_px, tissue)
    picture = draw_outline_picture(found.plane, found.tissue)
    _ = image.digest
    return Analysis(
        quality=found.quality,
        embedding=embed() if elsewhere is None or elsewhere.cancel() else elsewhere.result(),
        measures=found.measures,
        measured_by=found.measured_by,
        unsure=found.tissue.unsure,
        picture=picture,
    )


def observation_of(
    image: WellImage,
    digest: str,
    pixel_digest: str,
    found: Analysis,
    *,
    encoder_id: str,
    crop: str | None,
    received_at: datetime,
) -> Observation:
    """Build the observation of a well image from its digests and its analysis.

    Flags that the image got after its analysis are added to its quality.
    """
    flags = tuple(dict.fromkeys((*image.flags, *found.quality.flags)))
    return Observation(
        key=image.key,
        digest=digest,
        pixel_digest=pixel_digest,
        day=image.day,
        day_from_time=image.day_from_time,
        taken_at=image.taken_at,
        received_at=received_at,
        complete=image.complete,
        files=image.files,
        um_per_px=image.um_per_px,
        file_scales=image.file_scales,
        quality=found.quality.model_copy(update={"flags": flags}),
        encoder_id=encoder_id,
        crop=crop,
        embedding=found.embedding,
        measures=found.measures,
        measured_by=found.measured_by,
        unsure=found.unsure,
    )


def observation_message(
    observation: Observation,
    version: int,
    condition: tuple[Condition, float | None] | None,
    departures: tuple[DayDeparture, ...],
) -> ObservationData:
    """Build the message of a stored observation, its version, condition and departures."""
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
        encoder_id=observation.embedding_id,
        measured_by=observation.measured_by,
        quality=observation.quality,
        flags=observation.quality.flags,
        unsure=observation.unsure,
        measures=observation.measures,
        condition=condition and condition[0],
        explosion_degree=condition and condition[1],
        departures=departures,
    )
