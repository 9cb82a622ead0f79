"""Open the parts that rank days of plates, and specimens."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.code_version import code_version
from daemon.config import Config
from daemon.daily import DailyPath, MeasureAgain, measure_nothing
from daemon.due_days import DaySettings, DueDays
from daemon.reports.ranking_files import newest_written, write_ranking
from daemon.reports.specimen_files import newest_written_of_specimen, write_specimen
from daemon.specimens import Specimens
from daemon.wiring import service_clock
from daemon.wiring.departure import open_departure_settings
from inference.tissue.condition import ConditionSettings
from schemas.encoder_bundle import BundleCard
from store.sql_store import SqlStore

CODE_VERSION = code_version()  # when this process started: the checkout may change later


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
        code_version=CODE_VERSION,
    )
    calibrations = Calibrations(
        store,
        card.encoder_id,
        method=ranking.method,
        representation=ranking.representation,
        seed=ranking.seed,
        clock=service_clock.now,
        tick=tick,
    )
    return DailyPath(
        store=store,
        due_days=DueDays(
            store, card.encoder_id, settings, service_clock.now, service_clock.CLOCK.skipped_since
        ),
        encoder_id=card.encoder_id,
        settings=settings,
        calibrations=calibrations,
        write=partial(write_ranking, folder=config.output.rankings),
        alerts=alerts,
        clock=service_clock.now,
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
        CODE_VERSION,
        partial(write_specimen, folder=folder),
        alerts,
        service_clock.now,
        partial(newest_written_of_specimen, folder=folder),
    )
