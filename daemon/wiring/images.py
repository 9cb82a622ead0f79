"""Open the parts that process images: new, stored, and those in process during a crash."""

from collections.abc import Callable
from functools import partial

from acquisition.drop_folder.in_flight import InFlightJournal
from daemon.config import Config
from daemon.crash_examination import CrashExamination
from daemon.due_days import DaySettings
from daemon.measuring_again import MeasuringAgain
from daemon.metrics import Metrics
from daemon.pipeline import ImagePath
from daemon.plate_runs import PlateRuns
from daemon.refusal_kinds import refusal_kind
from daemon.rolling_view import RollingView
from daemon.stages import TimedEncoder, TimedSegmenter, TimedWriter
from daemon.tissue_analysis import TissueMethod
from daemon.wiring.networks import open_encoder_of, open_tissue, present_method
from daemon.wiring.service_clock import now
from daemon.wiring.source import source_settings
from inference.encoding.onnx_encoder import OnnxEncoder
from store.sql_store import SqlStore


def open_images(
    config: Config,
    store: SqlStore,
    encoder: OnnxEncoder,
    settings: DaySettings,
    runs: PlateRuns,
    metrics: Metrics,
) -> ImagePath:
    """Return the ImagePath: the processing steps of one well image, whose times are measured."""
    rolling_view = RollingView(
        store, settings.representation, settings.embedding_weight, settings.departure
    )
    tissue = open_tissue(config.tissue, config.stain)
    note = metrics.note_stage

    def note_refusal(reason: str) -> None:
        metrics.refusals.labels(kind=refusal_kind(reason)).inc()

    return ImagePath(
        TimedEncoder(encoder, note),
        TissueMethod(TimedSegmenter(tissue.segmenter, note), tissue.stain),
        settings.condition,
        TimedWriter(store, note, note_refusal),
        rolling_view,
        runs,
        now,
    )


def open_measuring_again(
    config: Config,
    store: SqlStore,
    *,
    jobs: int,
    tick: Callable[[], None] = lambda: None,
    is_source_gone: Callable[[], bool] = lambda: False,
) -> MeasuringAgain:
    """Return the part that measures stored images again, in a number of worker processes.

    Parameters
    ----------
    tick
        Called at least every half second.
    is_source_gone
        Returns whether the images cannot be read now.
    """
    return MeasuringAgain(
        store,
        config.source,
        partial(open_tissue, config.tissue, config.stain),
        present_method(config),
        jobs,
        tick,
        is_source_gone,
    )


def open_crash_examination(
    config: Config, store: SqlStore, in_flight: InFlightJournal
) -> CrashExamination:
    """Return the part that tests the images that were in process when the service crashed."""
    return CrashExamination(
        in_flight,
        source_settings(config),
        partial(open_encoder_of, config.encoder),
        partial(open_tissue, config.tissue, config.stain),
        store.plate_map,
    )
