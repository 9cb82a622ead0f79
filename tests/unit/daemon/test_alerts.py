"""Alerts that stand, also while the store does not accept their messages, and the health page."""

import json
from datetime import datetime, timedelta
from typing import Any

from daemon.alerts import Alerts
from daemon.service_status import MAX_STANDING_ALERTS, RejectedFiles, ServiceStatus
from schemas.errors import StoreError
from schemas.messages import AlertData, AlertKind
from tests.samples import ENCODER_ID, MEASURED_BY, NOW


class FailingOutbox:
    """An outbox that accepts messages, or none while ``is_full``; it has plate P1."""

    def __init__(self) -> None:
        self.is_full = False
        self.messages: list[str] = []

    def add_message(self, data: AlertData, at: datetime) -> None:
        del at
        self._check()
        self.messages.append(data.message)

    def plates(self) -> list[str]:
        self._check()
        return ["P1"]

    def _check(self) -> None:
        if self.is_full:
            raise StoreError("store", "disk full")


def alerts_of(outbox: Any) -> Alerts:  # noqa: ANN401 - a part of the store
    return Alerts(outbox, lambda: NOW)


def test_an_alert_stands_once_and_is_published_when_the_store_accepts_messages_again() -> None:
    outbox = FailingOutbox()
    alerts = alerts_of(outbox)
    outbox.is_full = True
    for _ in range(2):
        alerts.raise_once(AlertKind.DISK, "store", "the store is full", blocks=True)
    alerts.publish_delayed()
    assert [(each.message, each.since, each.blocks) for each in alerts.standing] == [
        ("the store is full", NOW, True)
    ]
    assert outbox.messages == []
    outbox.is_full = False
    alerts.publish_delayed()
    alerts.publish_delayed()
    assert outbox.messages == ["the store is full"]
    alerts.clear(AlertKind.DISK, "store")
    assert (alerts.standing, alerts.active_count) == ((), 0)


def test_an_alert_that_is_cleared_before_it_was_published_is_not_published() -> None:
    outbox = FailingOutbox()
    alerts = alerts_of(outbox)
    outbox.is_full = True
    alerts.raise_once(AlertKind.DISK, "store", "the store is full")
    alerts.clear(AlertKind.DISK, "store")
    outbox.is_full = False
    alerts.publish_delayed()
    assert outbox.messages == []


def test_a_status_lists_blocking_alerts_first_and_needs_no_store() -> None:
    outbox: Any = FailingOutbox()
    now = [NOW]
    alerts = Alerts(outbox, lambda: now[0])
    alerts.raise_once(AlertKind.SOURCE_GONE, "source", "gone", blocks=True)
    for number in range(MAX_STANDING_ALERTS):
        now[0] += timedelta(seconds=1)
        alerts.raise_once(AlertKind.IMAGE, str(number), f"image {number}", "P1")
    status = ServiceStatus(
        "0.1.0",
        ENCODER_ID,
        MEASURED_BY,
        NOW,
        lambda: None,
        RejectedFiles([]),
        standing_alerts=lambda: alerts.standing,
        plates=("P1",),
    )
    outbox.is_full = True
    message = json.loads(status.message().model_dump_json())
    assert message["plates"] == ["P1"]
    assert message["standing_alerts"] == MAX_STANDING_ALERTS + 1
    listed = [alert["message"] for alert in message["alerts"]]
    newest = range(MAX_STANDING_ALERTS - 1, 0, -1)
    assert listed == ["gone", *(f"image {number}" for number in newest)]
    assert [each.message for each in status.details().other_alerts] == ["image 0"]
