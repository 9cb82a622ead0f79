import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.alerts import Alerts
from daemon.deliveries import Deliveries
from store.sql_store import SqlStore
from tests.samples import NOW, PLATE, ranking, ranking_data

RANKED = ranking().created_at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    made.add_ranking(ranking(), ranking_data(ranking()))
    yield made
    made.close()


@pytest.fixture
def alerts_after(store: SqlStore) -> Callable[[timedelta], list[str]]:
    """Return a function that checks the deliveries after a time, and returns all alerts so far."""
    now = [RANKED]
    alerts = Alerts(store, lambda: now[0])
    deliveries = Deliveries(store, ("lims",), timedelta(hours=12), alerts, lambda: now[0])

    def check(after: timedelta) -> list[str]:
        now[0] = RANKED + after
        deliveries.check()
        assert alerts.active_count <= 1
        return [message.body for message in store.messages_after(1, "spherorank.v1.alert")]

    return check


def test_a_final_ranking_without_acknowledgement_raises_an_alert_after_the_time(
    alerts_after: Callable[[timedelta], list[str]],
) -> None:
    assert alerts_after(timedelta(hours=11)) == []
    (alert,) = alerts_after(timedelta(hours=13))
    assert f"lims has not acknowledged the final ranking of plate {PLATE}" in alert
    assert "(day 10, revision 1, message 1) for 13 h 0 min" in alert
    assert json.loads(alert)["data"]["kind"] == "delivery"


def test_the_alert_is_repeated_each_day_and_ends_with_the_acknowledgement(
    store: SqlStore, alerts_after: Callable[[timedelta], list[str]]
) -> None:
    hours = [13, 14, 36, 38, 60, 63]
    assert [len(alerts_after(timedelta(hours=each))) for each in hours] == [1, 1, 1, 2, 2, 3]
    store.acknowledge("lims", 1, NOW)
    assert len(alerts_after(timedelta(hours=200))) == 3


def test_a_correction_has_to_be_acknowledged_as_well(
    store: SqlStore, alerts_after: Callable[[timedelta], list[str]]
) -> None:
    store.acknowledge("lims", 1, NOW)
    assert alerts_after(timedelta(hours=30)) == []
    corrected = ranking(revision=2)
    number = store.add_ranking(corrected, ranking_data(corrected))
    (alert,) = alerts_after(timedelta(hours=31))
    assert f"revision 2, message {number}" in alert


def test_no_subscriber_has_to_acknowledge_by_default(store: SqlStore) -> None:
    alerts = Alerts(store, lambda: NOW)
    Deliveries(store, (), timedelta(hours=12), alerts, lambda: RANKED + timedelta(days=9)).check()
    assert alerts.active_count == 0
