from typing import Any

import pytest

from daemon.microscope.active_alerts import ActiveAlerts


@pytest.fixture
def events() -> list[tuple[str, str]]:
    """Return the list that receives the name and the cause of each event."""
    return []


@pytest.fixture
def alerts(events: list[tuple[str, str]]) -> ActiveAlerts:
    def emit(event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        events.append((event, fields.get("cause", "")))

    return ActiveAlerts(emit)


def test_an_alert_is_emitted_again_only_after_it_was_cleared(
    alerts: ActiveAlerts, events: list[tuple[str, str]]
) -> None:
    alerts.raise_once("archive", "cannot be read")
    alerts.raise_once("archive", "cannot be read")
    alerts.clear("archive")
    alerts.clear("archive")
    alerts.raise_once("archive", "cannot be read")
    assert events == [("alert", "archive"), ("alert.cleared", "archive"), ("alert", "archive")]


def test_an_emitted_alert_is_active_like_a_raised_one(alerts: ActiveAlerts) -> None:
    alerts.emit("alert", kind="microscope", cause="P1 in a row", message="…", plate="P1")
    assert alerts.is_active("P1 in a row")


def test_clearing_a_plate_clears_its_alerts_only(
    alerts: ActiveAlerts, events: list[tuple[str, str]]
) -> None:
    alerts.raise_once("P1 begin", "cannot be imaged", "P1")
    alerts.raise_once("P2 begin", "cannot be imaged", "P2")
    alerts.raise_once("archive", "cannot be read")
    alerts.clear_plate("P1")
    assert events[3:] == [("alert.cleared", "P1 begin")]
    assert alerts.is_active("P2 begin")
    assert alerts.is_active("archive")
