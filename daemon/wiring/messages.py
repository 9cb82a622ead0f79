"""Open the parts that send messages and monitor their delivery."""

from datetime import datetime, timedelta

from daemon.alerts import Alerts
from daemon.config import Config
from daemon.deliveries import Deliveries
from daemon.messaging.configured_keys import configured_keys
from daemon.messaging.message_process import MessageProcess
from daemon.messaging.serving_process import MessageSettings
from daemon.notifications import Notifications
from daemon.store_address import store_address
from daemon.wiring.service_clock import now
from store.sql_store import SqlStore


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


def open_deliveries(config: Config, store: SqlStore, alerts: Alerts) -> Deliveries:
    """Return the part that raises alerts about final rankings that are acknowledged too late."""
    return Deliveries(
        store,
        config.publisher.must_ack,
        timedelta(hours=config.publisher.ack_within_h),
        alerts,
        now,
    )


def open_notifications(config: Config, alerts: Alerts, started_at: datetime) -> Notifications:
    """Return the part that raises alerts about the process that notifies people."""
    state_file = config.notify.state_file if config.notify.is_configured else None
    return Notifications(state_file, alerts, started_at, now)
