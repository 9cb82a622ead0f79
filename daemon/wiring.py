"""Composition of the service from its configuration; the only module that names adapters."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import cv2
from threadpoolctl import threadpool_limits

from acquisition.daemon_threads import DaemonThreads
from acquisition.drop_folder.folder_identity import folder_identity, read_mounts
from acquisition.drop_folder.in_flight import InFlightJournal
from acquisition.drop_folder.source import READER_THREADS, DropFolder, DropFolderSettings
from acquisition.microscope.archive_names import is_other_image
from acquisition.microscope.imaging_requests import open_imaging_requests
from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.closed_plates import StoredClosedPlates
from daemon.code_version import code_version
from daemon.config import (
    Config,
    EncoderSection,
    StainSection,
    TissueSection,
    microscope_settings,
    systemd_socket,
)
from daemon.crash_examination import CrashExamination
from daemon.daily import DailyPath, MeasureAgain, measure_nothing
from daemon.deliveries import Deliveries
from daemon.disk_space import DiskSpace
from daemon.due_days import DaySettings, DueDays
from daemon.encoder_switch import check_all_embedded
from daemon.health import MIGRATION_EXTENDS_START, HealthPage, Readiness, sd_notify
from daemon.heartbeat import Heartbeat, LoopClock
from daemon.image_queue import ImageQueue
from daemon.level_meter import LevelMeter
from daemon.measuring_again import MeasuringAgain
from daemon.messaging.configured_keys import configured_keys
from daemon.messaging.message_process import MessageProcess
from daemon.messaging.serving_process import MessageSettings
from daemon.messaging.status_snapshot import StatusSnapshot
from daemon.metrics import Metrics, StatusCollector
from daemon.microscope.acquisition_messages import AcquisitionMessages
from daemon.microscope.driver_watchdog import MAX_STOP_STEP_S
from daemon.microscope.imaging_feedback import ImagingFeedback
from daemon.microscope.imaging_policies import ReimageUnclearWells, ReimageUndecidedTreatments
from daemon.microscope.supervisor import MicroscopeSupervisor, SupervisorLimits
from daemon.microscope.wrong_images import WrongImages
from daemon.missing_images import MissingImages
from daemon.notifications import Notifications
from daemon.pipeline import ImagePath
from daemon.plate_inputs import PlateInputs
from daemon.plate_runs import PlateRuns
from daemon.plate_states import PlateStates, basis_of
from daemon.processing_limit import ProcessingLimit
from daemon.refusal_kinds import refusal_kind
from daemon.reports.ranking_files import newest_written, write_ranking
from daemon.reports.specimen_files import newest_written_of_specimen, write_specimen
from daemon.retention import DailyPruning, open_retention
from daemon.rolling_view import RollingView
from daemon.scale_check import ScaleCheck
from daemon.service import Service
from daemon.service_status import RejectedFiles, ServiceStatus
from daemon.source_thread import SourceThread
from daemon.specimens import Specimens
from daemon.stages import NoteStage, TimedEncoder, TimedReads, TimedSegmenter, TimedWriter
from daemon.steady_clock import ClockWatch, SteadyClock
from daemon.store_address import store_address
from daemon.tissue_analysis import TissueMethod
from inference.bundle import load_bundle
from inference.departure.assembly import feature_names
from inference.departure.departure_settings import DepartureSettings
from inference.departure.forecasters import FORECASTERS
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ports import Segmenter
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import ConditionSettings
from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter, shipped_segmenter
from inference.tissue.onnx_stain import OnnxStain, load_stain
from schemas.encoder_bundle import BundleCard
from schemas.errors import BundleError, ConfigError, ProfileError, StoreError
from schemas.forecast import ForecastFrom, MetricName
from schemas.messages import AlertKind
from schemas.well_image import SourceStatus
from store.embedding_ledger import SqlEmbeddingLedger
from store.locks import ServiceUse, StoreLock, lock_store
from store.sql_store import SqlStore

VERSION = code_version()
STALL_REPORT_S = 30.0  # the process reports a stall itself
STOP_S = 30.0  # from SIGTERM to SIGKILL of the imaging process, besides the step in which it is
SOURCE_PATIENCE_S = 30.0  # without an answer of the source's file system, at most stall_s / 2
SWITCH_INTERVAL_S = 0.0005
"""Longest time for which a thread that waits for the lock of the interpreter does not get it.

With the usual 5 ms, the main loop would wait for the workers after each statement of the store.
"""
MEASURING_JOBS = 2  # worker processes of the service that measure images again


CLOCK = SteadyClock()  # of this process


def now() -> datetime:
    """Return the time of the service, in UTC."""
    return CLOCK.now()


def open_store(config: Config, *, before_migration: Callable[[], None] = lambda: None) -> SqlStore:
    """Open the store of a configuration, with the database migrated to this version."""
    return SqlStore(
        store_address(config),
        service=config.publisher.service,
        before_migration=before_migration,
    )


def lock_for_service(config: Config) -> StoreLock:
    """Lock the store of a configuration for its service; raise StoreInUseError if that fails."""
    # One service uses a SQLite database, with any folder: a share that hangs delays no start.
    is_shared = not config.store.url.startswith("sqlite")
    folder = folder_identity(config.source.path, read_mounts()) if is_shared else ""
    return lock_store(store_address(config), ServiceUse(config.publisher.service, folder))


def check_store(store: SqlStore, lock: StoreLock, alerts: Alerts) -> None:
    """Raise StoreError if the database or its lock is no longer that of this service.

    The alert is in the log only, because the store takes no message any more.
    """
    try:
        store.check_in_place()
        lock.check()
    except (StoreError, ConfigError) as error:
        alerts.raise_once(AlertKind.DISK, "store", str(error))
        raise


def open_embedding_ledger(config: Config) -> SqlEmbeddingLedger:
    """Open the ledger of the images that each encoder has embedded."""
    return SqlEmbeddingLedger(store_address(config), service=config.publisher.service)


def check_encoder_switch(config: Config, store: SqlStore, encoder_id: str) -> None:
    """Raise ConfigError unless an encoder (id) has embedded every image that is still ranked.

    See :func:`daemon.encoder_switch.check_all_embedded`.
    """
    with closing(open_embedding_ledger(config)) as ledger:
        check_all_embedded(ledger, store, encoder_id)


def open_encoder(config: Config) -> OnnxEncoder:
    """Open the encoder of a configuration, and check its canary embedding."""
    return open_encoder_of(config.encoder)


def open_encoder_of(section: EncoderSection) -> OnnxEncoder:
    """Open the encoder from its section of the configuration, and check its canary embedding."""
    return OnnxEncoder(
        load_bundle(section.bundle), providers=section.providers, intra_op_threads=section.threads
    )


def open_segmenter(section: TissueSection) -> Segmenter:
    """Open the segmenter of the `[tissue]` section; check the canary image of a learned one."""
    name = section.segmenter
    if name == "classical":
        return ClassicalSegmenter()
    return OnnxSegmenter(
        load_segmenter(shipped_segmenter() if name == "learned" else Path(name).expanduser())
    )


def open_stain(section: StainSection) -> OnnxStain | None:
    """Open the stain bundle of the `[stain]` section and check its canary; None without one."""
    return None if section.bundle is None else OnnxStain(load_stain(section.bundle))


def open_tissue(tissue: TissueSection, stain: StainSection) -> TissueMethod:
    """Open the method of new measures: the segmenter and the stain bundle of their sections."""
    return TissueMethod(open_segmenter(tissue), open_stain(stain))


def present_method(config: Config) -> str:
    """Return the name of the method of new measures of a configuration."""
    return open_tissue(config.tissue, config.stain).measured_by


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


def departure_settings(
    forecaster: str, forecast_from: ForecastFrom, metric: MetricName, *, leave_out_outliers: bool
) -> DepartureSettings:
    """Return the DepartureSettings of a forecaster (name or model folder), days and metric.

    Raises
    ------
    ConfigError
        If there is no such forecaster, or its model does not fit its card or the other settings.
    """
    if forecaster in FORECASTERS:
        return DepartureSettings(
            forecaster, forecast_from, metric, leave_out_outliers=leave_out_outliers
        )
    folder = Path(forecaster).expanduser()
    if not folder.is_dir():
        raise BundleError(
            forecaster,
            f"is no forecaster; expected one of {', '.join(FORECASTERS)}, "
            "or a folder with forecaster.onnx and forecaster.json",
        )
    if forecast_from is ForecastFrom.ONE_STEP:
        raise ConfigError(
            "forecast_from",
            f"is {forecast_from}; expected {ForecastFrom.DOSING} or {ForecastFrom.LAST_DAY} with "
            f"the sequence model {folder}, which predicts the readout in one step",
        )
    return DepartureSettings(
        forecast_from=forecast_from,
        metric=metric,
        leave_out_outliers=leave_out_outliers,
        sequence_model=OnnxSequenceModel(load_forecaster(folder)),
    )


def open_departure_settings(config: Config, card: BundleCard) -> DepartureSettings:
    """Return DepartureSettings from a configuration and the BundleCard of its encoder.

    Errors are those of :func:`departure_settings`.
    """
    ranking = config.ranking
    settings = departure_settings(
        ranking.forecaster,
        ranking.forecast_from,
        ranking.metric,
        leave_out_outliers=ranking.leave_out_unlike,
    )
    is_measures_alone = ranking.representation == "both" and card.ranking_weight == 0
    representation = "measures" if is_measures_alone else ranking.representation
    if settings.sequence_model is not None:
        try:
            settings.sequence_model.check_fits(
                feature_names(representation, card.dimension),
                "" if representation == "measures" else card.encoder_id,
            )
        except ProfileError as error:
            raise BundleError(error.where, error.problem) from error
    return settings


def source_settings(config: Config, *, once: bool = False) -> DropFolderSettings:
    """Return the settings of the drop folder from the configuration."""
    source = config.source
    return DropFolderSettings(
        once=once,
        is_skipped=is_other_image if source.kind == "micromanager" else None,
        **source.model_dump(exclude={"kind", "micromanager"}),
    )


def open_days(
    config: Config,
    store: SqlStore,
    card: BundleCard,
    alerts: Alerts,
    tick: Callable[[], None] = lambda: None,
    measure_again: MeasureAgain = measure_nothing,
) -> DailyPath:
    """Return the DailyPath of a configuration, store and bundle card, which ranks days of plates.

    Parameters
    ----------
    tick
        Called every few seconds while a calibration is learned.
    measure_again
        Measures images again that another method measured, before a due day is ranked.
    """
    ranking = config.ranking
    settings = DaySettings(
        readout_deadline=timedelta(hours=ranking.readout_deadline_h),
        correction_quiet=timedelta(seconds=ranking.correction_quiet_s),
        representation=ranking.representation,
        condition=ConditionSettings(**config.tissue.model_dump(exclude={"segmenter"})),
        embedding_weight=card.ranking_weight,
        field_um=card.preprocessing.field_um,
        departure=open_departure_settings(config, card),
        seed=ranking.seed,
        config_digest=config.digest,
        code_version=VERSION,
    )
    calibrations = Calibrations(
        store,
        card.encoder_id,
        method=ranking.method,
        representation=ranking.representation,
        seed=ranking.seed,
        clock=now,
        tick=tick,
    )
    return DailyPath(
        store=store,
        due_days=DueDays(store, card.encoder_id, settings, now, CLOCK.skipped_since),
        encoder_id=card.encoder_id,
        settings=settings,
        calibrations=calibrations,
        write=partial(write_ranking, folder=config.output.rankings),
        alerts=alerts,
        clock=now,
        measure_again=measure_again,
        newest_written=partial(newest_written, folder=config.output.rankings),
    )


def open_specimens(config: Config, store: SqlStore, alerts: Alerts) -> Specimens:
    """Return the Specimens of a configuration and store, which ranks specimens."""
    folder = config.output.rankings
    return Specimens(
        store,
        config.ranking.seed,
        config.digest,
        VERSION,
        partial(write_specimen, folder=folder),
        alerts,
        now,
        partial(newest_written_of_specimen, folder=folder),
    )


def open_imaging_feedback(
    config: Config, store: SqlStore, encoder_id: str, alerts: Alerts
) -> ImagingFeedback | None:
    """Return the feedback that requests second images; None without a microscope."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    policies = (ReimageUnclearWells(), ReimageUndecidedTreatments(section.most_uncertain))
    requests = open_imaging_requests(section.state)
    return ImagingFeedback(policies, requests, store, encoder_id, alerts, now)


def open_wrong_images(config: Config, store: SqlStore) -> WrongImages | None:
    """Return the part that leaves images of wrong places out; None without a microscope."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    return WrongImages(section.state, store)


def acquire_command(file: Path | None, *options: str) -> list[str]:
    """Return the command line of the imaging process for a configuration file and options."""
    return [
        sys.executable,
        "-P",
        "-m",
        "daemon",
        "acquire",
        *options,
        *(("--config", str(file.absolute())) if file else ()),
    ]


def open_microscope(
    config: Config, file: Path | None, alerts: Alerts, store: SqlStore
) -> MicroscopeSupervisor | None:
    """Return the supervisor of the imaging process; None without a microscope.

    The first poll of the supervisor starts the process.
    """
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    step_s = microscope_settings(config).longest_step_s
    limits = SupervisorLimits(
        silent_s=section.stall_s + step_s + STALL_REPORT_S,
        close_s=STOP_S + min(step_s, MAX_STOP_STEP_S),
    )
    return MicroscopeSupervisor(
        acquire_command(file, "serve"),
        acquire_command(file, "lamp-off"),
        alerts,
        AcquisitionMessages(store, now).publish,
        limits,
        time.monotonic,
    )


def open_source(
    config: Config,
    store: SqlStore,
    in_flight: InFlightJournal,
    heartbeat: Heartbeat,
    basis: str,
    note_stage: NoteStage,
    *,
    once: bool,
) -> SourceThread:
    """Return the drop folder of a configuration, on a thread of its own.

    ``basis`` is that of the states of plates, as :func:`daemon.plate_states.basis_of` returns it.
    """
    progress = LoopClock()
    folder = DropFolder(
        source_settings(config, once=once),
        store,
        closed=StoredClosedPlates(store, basis),
        in_flight=in_flight,
        pool=TimedReads(DaemonThreads(READER_THREADS, "read"), note_stage),
        progress=progress.touch,
    )
    patience_s = min(SOURCE_PATIENCE_S, config.publisher.stall_s / 2)
    return SourceThread(folder, progress, heartbeat, patience_s=patience_s, once=once, now=now)


@contextmanager
def open_service(
    config: Config,
    *,
    file: Path | None = None,
    once: bool = False,
    stop_signals: Sequence[int] = (),
) -> Iterator[Service]:
    """Context manager that opens every part of the service in order, and yields the Service.

    The parts are closed in reverse order.

    Parameters
    ----------
    file
        The file of the configuration; the imaging process reads it again.
    once
        Whether the service ends when everything present is processed; no microscope is driven then.
    stop_signals
        Signal handlers append to it; the service stops when it is not empty.
    """
    with ExitStack() as stack:
        _limit_threads(stack)
        notify_systemd = partial(sd_notify, address=systemd_socket())
        lock = stack.enter_context(closing(lock_for_service(config)))
        store = open_store(
            config, before_migration=partial(notify_systemd, MIGRATION_EXTENDS_START)
        )
        stack.callback(store.close)
        alerts, metrics, loop_clock = Alerts(store, now), Metrics(), LoopClock()
        messages = open_messages(config, alerts)  # starts while the encoder is opened
        stack.callback(messages.stop, timeout_s=10.0)
        encoder = open_encoder(config)
        check_encoder_switch(config, store, encoder.encoder_id)
        microscope = None if once else open_microscope(config, file, alerts, store)
        status = _new_status(config, store, encoder.encoder_id, microscope, alerts)
        heartbeat = Heartbeat(
            loop_clock=loop_clock,
            stop_signals=stop_signals,
            checks=(
                partial(check_store, store, lock, alerts),
                messages.poll,
                *((microscope.poll,) if microscope else ()),
            ),
            notify_systemd=notify_systemd,
        )
        in_flight = stack.enter_context(_open_in_flight_journal(config))
        again = open_measuring_again(
            config,
            store,
            jobs=MEASURING_JOBS,
            tick=heartbeat.tick,
            is_source_gone=lambda: source.status(now()).gone is not None,
        )
        days = open_days(
            config,
            store,
            encoder.card,
            alerts,
            tick=heartbeat.tick,
            measure_again=again.bring_up_to_date,
        )
        basis = basis_of(days.settings, encoder.encoder_id)
        source = open_source(
            config, store, in_flight, heartbeat, basis, metrics.note_stage, once=once
        )
        stack.callback(source.close)
        scales = ScaleCheck(source, store, encoder.encoder_id, alerts)
        limit = ProcessingLimit(config.encoder.timeout_s)
        runs = PlateRuns(store, days.settings.readout_deadline, alerts)
        states = PlateStates(store, days.due_days, alerts, basis, now)
        images = open_images(config, store, encoder, days.settings, runs, metrics)
        queue = ImageQueue(source, images.analyse, config.encoder.workers or _usable_cores(), limit)
        stack.callback(queue.close)
        service = Service(
            source=source,
            queue=queue,
            store=store,
            inputs=PlateInputs(source, store, runs, days.calibrations, scales, alerts, now),
            scales=scales,
            images=images,
            days=days,
            states=states,
            missing_images=MissingImages(store, days.due_days, alerts, _imaging_days(config)),
            specimens=open_specimens(config, store, alerts),
            deliveries=_open_deliveries(config, store, alerts),
            pruning=DailyPruning(open_retention(config, store, now)),
            notifications=_open_notifications(config, alerts, status.started_at),
            alerts=alerts,
            metrics=metrics,
            status=status,
            heartbeat=heartbeat,
            clock=now,
            clock_watch=ClockWatch(CLOCK, alerts),
            processing_limit=limit,
            notify_systemd=notify_systemd,
            level_meter=_open_level_meter(config, store, states, alerts),
            publish_now=messages.publish_now,
            imaging_feedback=open_imaging_feedback(config, store, encoder.encoder_id, alerts),
            wrong_images=open_wrong_images(config, store),
            crash_examination=_open_crash_examination(config, store, in_flight),
        )
        messages.serve(partial(_snapshot, status, loop_clock))
        _publish_status_metrics(metrics, status, encoder.provider, loop_clock)
        _open_health_page(config, metrics, status, store, loop_clock, stack)
        if microscope:
            stack.callback(microscope.close)
        yield service


def _limit_threads(stack: ExitStack) -> None:
    """Limit the threads of numerical libraries, and shorten the waits for the interpreter.

    The stack removes the limit of BLAS.
    """
    # Small arrays: several BLAS threads in one product are slower than one.
    stack.enter_context(threadpool_limits(1, user_api="blas"))
    cv2.setNumThreads(1)  # several images are analysed at once, each on one thread
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _new_status(
    config: Config,
    store: SqlStore,
    encoder_id: str,
    microscope: MicroscopeSupervisor | None,
    alerts: Alerts,
) -> ServiceStatus:
    """Return the status of a service that starts now and has not listed its source yet."""
    return ServiceStatus(
        version=VERSION,
        encoder_id=encoder_id,
        measured_by=present_method(config),
        started_at=now(),
        microscope=microscope.status if microscope else lambda: None,
        rejected_files=RejectedFiles(store.rejected()),
        source=SourceStatus(is_listed=False),
        standing_alerts=lambda: alerts.standing,
    )


def _open_in_flight_journal(config: Config) -> InFlightJournal:
    """Return the journal of the images in process, in the folder of rankings, which is made."""
    config.output.rankings.mkdir(parents=True, exist_ok=True)
    return InFlightJournal(config.output.rankings / ".in_flight.json")


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


def _open_deliveries(config: Config, store: SqlStore, alerts: Alerts) -> Deliveries:
    """Return the part that raises alerts about final rankings that are acknowledged too late."""
    return Deliveries(
        store,
        config.publisher.must_ack,
        timedelta(hours=config.publisher.ack_within_h),
        alerts,
        now,
    )


def _open_notifications(config: Config, alerts: Alerts, started_at: datetime) -> Notifications:
    """Return the part that raises alerts about the process that notifies people."""
    state_file = config.notify.state_file if config.notify.is_configured else None
    return Notifications(state_file, alerts, started_at, now)


def _open_level_meter(
    config: Config, store: SqlStore, states: PlateStates, alerts: Alerts
) -> LevelMeter:
    """Return the part that measures the numbers of the metrics that need the store or a disk."""
    return LevelMeter(
        store,
        config.publisher.must_ack,
        DiskSpace(_watched_folders(config), config.output.min_free_bytes, alerts),
        states.missing_wells,
    )


def _open_crash_examination(
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


def _usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_messages(config: Config, alerts: Alerts) -> MessageProcess:
    """Start the process that owns the sockets of a configuration; it waits for its first status."""
    settings = config.publisher
    return MessageProcess(
        MessageSettings(
            events=settings.events,
            requests=settings.requests,
            store_url=store_address(config),
            service=settings.service,
            heartbeat_s=settings.heartbeat_s,
            stall_s=settings.stall_s,
            must_ack=settings.must_ack,
            keys=configured_keys(config),
            logs=config.output.logs,
            log_days=config.output.log_days,
        ),
        alerts,
    )


def _snapshot(status: ServiceStatus, loop_clock: LoopClock) -> StatusSnapshot:
    return StatusSnapshot(
        status=status.message(), details=status.details(), loop_age_s=loop_clock.age_s()
    )


def _publish_status_metrics(
    metrics: Metrics, status: ServiceStatus, provider: str, loop_clock: LoopClock
) -> None:
    """Add the metrics that are read from the status of the service to the registry.

    ``provider`` is the name of the execution provider of the encoder.
    """
    metrics.registry.register(
        StatusCollector(
            status,
            provider=provider,
            levels=lambda: metrics.levels,
            tick_age_s=loop_clock.age_s,
        )
    )


def _open_health_page(
    config: Config,
    metrics: Metrics,
    status: ServiceStatus,
    store: SqlStore,
    loop_clock: LoopClock,
    stack: ExitStack,
) -> None:
    """Serve the page for monitoring where the configuration asks for it."""
    if config.health.http:
        readiness = Readiness(
            status.message,
            lambda: status.source.is_listed,
            store.check_writable,
            loop_clock.age_s,
            config.publisher.stall_s,
        )
        page = HealthPage(
            config.health.http, metrics.registry, status=status.message, readiness=readiness
        )
        stack.callback(page.close)


def _imaging_days(config: Config) -> Sequence[int] | None:
    """Return the culture days on which the microscope images plates; None: every day."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    return section.acquire_days


def _watched_folders(config: Config) -> list[Path]:
    folders = [config.output.rankings]
    if config.store.url.startswith("sqlite:///"):
        folders.append(Path(config.store.url.removeprefix("sqlite:///")).parent)
    return folders
