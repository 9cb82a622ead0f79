"""The Prometheus metrics of the service."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Summary
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from daemon.refusal_kinds import RefusalKind
from daemon.service_status import ServiceStatus
from daemon.stages import Stage
from schemas.messages import AlertKind
from schemas.observation import Outcome


@dataclass(frozen=True)
class Levels:
    """Numbers that the main loop measures at intervals, because they need the store or a disk."""

    unpublished: int = 0
    """Number of committed messages that were not published yet."""
    unacknowledged: Mapping[str, int] = field(default_factory=dict)
    """Number of final rankings that a subscriber has to acknowledge, by subscriber."""
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    """Free space of the disk of a folder, by folder."""
    missing_wells: Mapping[str, int] = field(default_factory=dict)
    """Number of wells without an image on the newest imaged day, by live plate."""


class Metrics:
    """The Prometheus metrics that the service counts, in a registry of their own.

    Attributes
    ----------
    levels
        The newest Levels; the main loop replaces them, and other threads read them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.levels = Levels()
        self.images = Counter(
            "spherorank_images_total", "Well images by outcome", ["outcome"], registry=self.registry
        )
        self.refusals = Counter(
            "spherorank_refusals_total",
            "Refused files and well images by kind of reason",
            ["kind"],
            registry=self.registry,
        )
        self.rankings = Counter(
            "spherorank_rankings_total", "Rankings published", ["final"], registry=self.registry
        )
        self._stages = Summary(
            "spherorank_stage_seconds",
            "Time of each stage; its count is the number of images, or of rankings",
            ["stage"],
            registry=self.registry,
        )
        # A series that begins with its first event has no increase at this event.
        for outcome in Outcome:
            self.images.labels(outcome=outcome)
        for kind in RefusalKind:
            self.refusals.labels(kind=kind)
        for final in (False, True):
            self.rankings.labels(final=final)
        for stage in Stage:
            self._stages.labels(stage=stage)

    def note_stage(self, stage: Stage, seconds: float) -> None:
        """Record the time of one stage of one image or ranking; any thread may call it."""
        self._stages.labels(stage=stage).observe(seconds)


class StatusCollector(Collector):
    """Returns the present numbers of the service at each scrape.

    Parameters
    ----------
    status
        The status of the service, which the main loop writes.
    provider
        Device of the encoder, such as ``cpu``.
    levels
        Returns the newest Levels.
    tick_age_s
        Returns the seconds since the main loop last made progress.
    """

    def __init__(
        self,
        status: ServiceStatus,
        *,
        provider: str,
        levels: Callable[[], Levels],
        tick_age_s: Callable[[], float],
    ) -> None:
        self._status = status
        self._provider = provider
        self._levels = levels
        self._tick_age_s = tick_age_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield each metric with its present values."""
        status, levels = self._status, self._levels()
        alerts = status.standing_alerts()
        kinds = [alert.kind for alert in alerts]
        encoder = status.encoder_id, self._provider
        yield _gauge(
            "standing_alerts",
            "Standing alerts",
            ["kind"],
            {(kind,): kinds.count(kind) for kind in AlertKind},
        )
        yield _number(
            "blocking_alerts",
            "Standing alerts that prevent the work of the service",
            sum(alert.blocks for alert in alerts),
        )
        yield _number("backlog_images", "Well images seen and not yet ingested", status.backlog)
        yield _number(
            "rejected_files", "Refused files without a valid version", len(status.rejected_files)
        )
        yield _moment("last_image", "When the last well image was stored", status.last_image_at)
        yield _moment("start", "When the service started", status.started_at)
        yield _number(
            "loop_tick_age_seconds",
            "Seconds since the main loop last made progress",
            self._tick_age_s(),
        )
        yield _number(
            "source_reachable",
            "1 if the drop folder can be read, else 0",
            status.source.gone is None and status.source.is_listed,
        )
        yield _gauge(
            "encoder_info", "Encoder and its device", ["encoder_id", "provider"], {encoder: 1}
        )
        yield _number("outbox_messages", "Messages that are not published yet", levels.unpublished)
        yield _gauge(
            "unacknowledged_finals",
            "Final rankings that a subscriber has to acknowledge",
            ["subscriber"],
            _single(levels.unacknowledged),
        )
        yield _gauge(
            "disk_free_bytes",
            "Free space of the disk of a folder",
            ["folder"],
            _single(levels.free_bytes),
        )
        yield _number("live_plates", "Plates that are not closed", len(levels.missing_wells))
        yield _gauge(
            "plate_missing_wells",
            "Wells of a live plate without an image on its newest imaged day",
            ["plate"],
            _single(levels.missing_wells),
        )


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    """Return a gauge with a value for each tuple of label values."""
    family = GaugeMetricFamily(f"spherorank_{name}", text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _number(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return _gauge(name, text, [], {(): value})


def _moment(name: str, text: str, at: datetime | None) -> GaugeMetricFamily:
    """Return a gauge with a time in seconds since 1970; without a value if there is no time."""
    values: dict[tuple[str, ...], float] = {} if at is None else {(): at.timestamp()}
    return _gauge(f"{name}_timestamp_seconds", text, [], values)


def _single(values: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    """Return values of one label with its values as tuples."""
    return {(label,): value for label, value in values.items()}
