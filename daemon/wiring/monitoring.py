"""Open the parts that monitor the service: status, metrics and the health page."""

from contextlib import ExitStack
from pathlib import Path

from daemon.alerts import Alerts
from daemon.config import Config
from daemon.disk_space import DiskSpace
from daemon.health import HealthPage, Readiness
from daemon.heartbeat import LoopClock
from daemon.level_meter import LevelMeter
from daemon.messaging.status_snapshot import StatusSnapshot
from daemon.metrics import Metrics, StatusCollector
from daemon.microscope.supervisor import MicroscopeSupervisor
from daemon.plate_states import PlateStates
from daemon.service_status import RejectedFiles, ServiceStatus
from daemon.wiring.networks import present_method
from daemon.wiring.rankings import CODE_VERSION
from daemon.wiring.service_clock import now
from schemas.well_image import SourceStatus
from store.sql_store import SqlStore


def new_status(
    config: Config,
    store: SqlStore,
    encoder_id: str,
    microscope: MicroscopeSupervisor | None,
    alerts: Alerts,
) -> ServiceStatus:
    """Return the status of a service that starts now and has not listed its source yet."""
    return ServiceStatus(
        version=CODE_VERSION,
        encoder_id=encoder_id,
        measured_by=present_method(config),
        started_at=now(),
        microscope=microscope.status if microscope else lambda: None,
        rejected_files=RejectedFiles(store.rejected()),
        source=SourceStatus(is_listed=False),
        standing_alerts=lambda: alerts.standing,
    )


def status_snapshot(status: ServiceStatus, loop_clock: LoopClock) -> StatusSnapshot:
    """Return the present status, as the process that owns the sockets reports it."""
    return StatusSnapshot(
        status=status.message(), details=status.details(), loop_age_s=loop_clock.age_s()
    )


def open_level_meter(
    config: Config, store: SqlStore, states: PlateStates, alerts: Alerts
) -> LevelMeter:
    """Return the part that measures the numbers of the metrics that need the store or a disk."""
    return LevelMeter(
        store,
        config.publisher.must_ack,
        DiskSpace(_watched_folders(config), config.output.min_free_bytes, alerts),
        states.missing_wells,
    )


def _watched_folders(config: Config) -> list[Path]:
    folders = [config.output.rankings]
    if config.store.url.startswith("sqlite:///"):
        folders.append(Path(config.store.url.removeprefix("sqlite:///")).parent)
    return folders


def publish_status_metrics(
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


def open_health_page(
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
