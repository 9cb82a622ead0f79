"""The one file that names adapters: opens every part from the configuration, in order, and closes them in reverse."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from acquisition.microscope.imaging_requests import open_imaging_requests
from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.code_version import code_version
from daemon.config import Config, EncoderSection, systemd_socket
from daemon.daily import DailyPath, RankingSettings
from daemon.encoder_switch import check_complete
from daemon.health import HealthPage, Metrics, sd_notify
from daemon.messaging.io_thread import IoThread
from daemon.messaging.publisher import Publisher
from daemon.messaging.requests import Requests
from daemon.microscope.imaging_policies import ImageAgainIfUnclear, MoreOftenIfUncertain, Reactions
from daemon.microscope.supervisor import CareLimits, MicroscopeCare
from daemon.pipeline import ImagePath
from daemon.reports.ranking_files import write_ranking
from daemon.reports.specimen_files import write_specimen
from daemon.rolling_view import RollingView
from daemon.service import Parts, Service
from daemon.specimens import Specimens
from inference.bundle import load_bundle
from inference.departure.assembly import feature_names
from inference.departure.departures import DepartureSettings
from inference.departure.forecasters import FORECASTERS
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ports import Segmenter, Store
from inference.ranking.plate_ranking import RankSettings
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import ConditionSettings
from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter, shipped_segmenter
from schemas.encoder_bundle import BundleCard
from schemas.errors import BundleError, ConfigError, ProfileError
from schemas.forecast import ForecastFrom, MetricName
from store.embedding_ledger import SqlEmbeddingLedger
from store.sql_store import SqlStore

VERSION = code_version()
STALL_TOLD_S = 30.0  # the microscope's process notices a stall itself; only a process that cannot even do that is silent for so much longer


def now() -> datetime:
    """Return the time of this computer's clock, in UTC."""
    return datetime.now(UTC)


def open_store(config: Config) -> SqlStore:
    """Open the database, migrated to this version."""
    return SqlStore(config.store.url, service=config.publisher.service)


def open_embedding_ledger(config: Config) -> SqlEmbeddingLedger:
    """Open what tells which images an encoder has embedded."""
    return SqlEmbeddingLedger(config.store.url, service=config.publisher.service)


def check_encoder_switch(config: Config, store: Store, encoder_id: str) -> None:
    """Hold the start to what the encoder has embedded; errors as :func:`daemon.encoder_switch.check_complete`."""
    with closing(open_embedding_ledger(config)) as ledger:
        check_complete(ledger, store, encoder_id)


def open_encoder(config: Config) -> OnnxEncoder:
    """Open the encoder and check that it computes what it computed when it was made."""
    return open_encoder_of(config.encoder)


def open_encoder_of(section: EncoderSection) -> OnnxEncoder:
    """Do so from the section alone, which another process can be given."""
    return OnnxEncoder(
        load_bundle(section.bundle), providers=section.providers, intra_op_threads=section.threads
    )


def open_segmenter(config: Config) -> Segmenter:
    """Open what finds the tissue, and check that it computes what it computed when it was made."""
    name = config.tissue.segmenter
    if name == "classical":
        return ClassicalSegmenter()
    return OnnxSegmenter(
        load_segmenter(shipped_segmenter() if name == "learned" else Path(name).expanduser())
    )


def rank_settings(
    forecaster: str, forecast_from: ForecastFrom, metric: MetricName, *, leave_out_unlike: bool
) -> RankSettings:
    """Return how plates are ranked, with the sequence model opened where ``forecaster`` is the folder of one.

    Raises
    ------
    ConfigError
        If there is no such forecaster, or its model does not fit its card or the rest.
    """
    if forecaster in FORECASTERS:
        return RankSettings(
            DepartureSettings(forecaster, forecast_from, metric), leave_out_unlike=leave_out_unlike
        )
    folder = Path(forecaster).expanduser()
    if not folder.is_dir():
        raise BundleError(
            forecaster,
            f"is no forecaster; expected one of {', '.join(FORECASTERS)}, or a folder with forecaster.onnx and forecaster.json",
        )
    if forecast_from is not ForecastFrom.DOSING:
        raise ConfigError(
            "forecast_from",
            f"is {forecast_from}; expected {ForecastFrom.DOSING} with the sequence model {folder}, which sees days up to dosing",
        )
    sequence_model = OnnxSequenceModel(load_forecaster(folder))
    return RankSettings(
        DepartureSettings(metric=metric, sequence_model=sequence_model),
        leave_out_unlike=leave_out_unlike,
    )


def open_rank_settings(config: Config, card: BundleCard) -> RankSettings:
    """Return how plates are ranked by this configuration and encoder; errors as :func:`rank_settings`."""
    ranking = config.ranking
    settings = rank_settings(
        ranking.forecaster,
        ranking.forecast_from,
        ranking.metric,
        leave_out_unlike=ranking.leave_out_unlike,
    )
    representation = (
        "measures"
        if ranking.representation == "both" and card.ranking_weight == 0
        else ranking.representation
    )
    if settings.departure.sequence_model is not None:
        try:
            settings.departure.sequence_model.check_fits(
                feature_names(representation, card.dimension),
                "" if representation == "measures" else card.encoder_id,
            )
        except ProfileError as error:
            raise BundleError(error.where, error.problem) from error
    return settings


def source_settings(config: Config, *, once: bool = False) -> DropFolderSettings:
    """Return what the drop folder is read with."""
    source = config.source
    return DropFolderSettings(once=once, **source.model_dump(exclude={"kind", "micromanager"}))


def open_days(config: Config, store: SqlStore, card: BundleCard) -> DailyPath:
    """Return the path of a day; the daemon and ``spherorank rank --plate`` take the same."""
    ranking = config.ranking
    settings = RankingSettings(
        readout_deadline=timedelta(hours=ranking.readout_deadline_h),
        correction_quiet=timedelta(seconds=ranking.correction_quiet_s),
        representation=ranking.representation,
        condition=ConditionSettings(**config.tissue.model_dump(exclude={"segmenter"})),
        embedding_weight=card.ranking_weight,
        rank=open_rank_settings(config, card),
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
    )
    return DailyPath(
        store,
        card.encoder_id,
        settings,
        calibrations,
        partial(write_ranking, folder=config.output.rankings),
        Alerts(store, now),
        now,
    )


def open_specimens(config: Config, store: SqlStore, alerts: Alerts) -> Specimens:
    """Return what ranks specimens; the daemon and ``spherorank rank`` take the same."""
    write = partial(write_specimen, folder=config.output.rankings)
    return Specimens(store, config.ranking.seed, config.digest, VERSION, write, alerts, now)


def open_reactions(
    config: Config, store: SqlStore, encoder_id: str, alerts: Alerts
) -> Reactions | None:
    """Return what asks for images once more, where a microscope of our own can take them."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    policies = (ImageAgainIfUnclear(), MoreOftenIfUncertain(section.most_uncertain))
    return Reactions(policies, open_imaging_requests(section.state), store, encoder_id, alerts, now)


def acquire_command(file: Path | None, *options: str) -> list[str]:
    """Return the command that drives the microscope, as a process of its own."""
    return [
        sys.executable,
        "-P",
        "-m",
        "daemon",
        "acquire",
        *options,
        *(("--config", str(file.absolute())) if file else ()),
    ]


def open_microscope(config: Config, file: Path | None, alerts: Alerts) -> MicroscopeCare | None:
    """Return what keeps the microscope's process alive, where there is one; it is started by the first look."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return None
    limits = CareLimits(silent_s=section.stall_s + STALL_TOLD_S)
    return MicroscopeCare(
        acquire_command(file, "--serve"),
        acquire_command(file, "--lamp-off"),
        alerts,
        limits,
        time.monotonic,
    )


@contextmanager
def open_service(
    config: Config, *, file: Path | None = None, once: bool = False
) -> Iterator[Service]:
    """Open everything the service drives; on leaving, what was opened last is closed first. ``file`` is where the configuration was read."""
    with ExitStack() as stack:
        # The arrays are small and the cores few: several threads in one product or filter only wait for one another.
        stack.enter_context(threadpool_limits(1, user_api="blas"))
        store = open_store(config)
        stack.callback(store.close)
        encoder = open_encoder(config)
        check_encoder_switch(config, store, encoder.encoder_id)
        source = DropFolder(source_settings(config, once=once), store)
        stack.callback(source.close)
        days = open_days(config, store, encoder.card)
        parts = Parts(
            source=source,
            store=store,
            images=ImagePath(
                encoder,
                open_segmenter(config),
                days.settings.condition,
                store,
                RollingView(
                    store,
                    config.ranking.representation,
                    encoder.card.ranking_weight,
                    days.settings.rank.departure,
                ),
                now,
            ),
            days=days,
            specimens=open_specimens(config, store, days.alerts),
            alerts=days.alerts,
            metrics=Metrics(),
            clock=now,
            tell_systemd=partial(sd_notify, address=systemd_socket()),
            watched_folders=_watched_folders(config),
            min_free_bytes=config.output.min_free_bytes,
            version=VERSION,
            reactions=open_reactions(config, store, encoder.encoder_id, days.alerts),
            microscope=None if once else open_microscope(config, file, days.alerts),
        )
        service = Service(parts)
        days.calibrations.tick = service.tick
        _open_outside(config, service, stack)
        if parts.microscope:
            stack.callback(parts.microscope.close)
        yield service


def _open_outside(config: Config, service: Service, stack: ExitStack) -> None:
    """Open what others connect to: the publisher, the request socket and the page for monitoring."""
    store, settings = service.parts.store, config.publisher
    publisher = stack.enter_context(Publisher(settings.events))
    requests = stack.enter_context(Requests(settings.requests))
    talk = IoThread(
        store,
        publisher,
        requests,
        status=service.status,
        tick_age_s=service.tick_age_s,
        clock=time.monotonic,
        now=now,
        heartbeat_s=settings.heartbeat_s,
        stall_s=settings.stall_s,
    )
    service.check_talk = talk.check
    talk.start()
    stack.callback(talk.stop, timeout_s=10.0)
    if config.health.http:
        page = HealthPage(
            config.health.http,
            service.parts.metrics,
            status=service.status,
            tick_age_s=service.tick_age_s,
            stall_s=settings.stall_s,
        )
        stack.callback(page.close)


def _watched_folders(config: Config) -> list[Path]:
    config.output.rankings.mkdir(parents=True, exist_ok=True)
    folders = [config.output.rankings]
    if config.store.url.startswith("sqlite:///"):
        folders.append(Path(config.store.url.removeprefix("sqlite:///")).parent)
    return folders
