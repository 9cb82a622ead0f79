"""The service raises alerts about channels to people and their process, from the state file."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daemon.alerts import Alerts
from daemon.notifications import REPORTED_WITHIN, Notifications
from schemas.notification import ChannelState, NotificationState
from store.sql_store import SqlStore
from tests.samples import NOW

LATER = NOW + REPORTED_WITHIN + timedelta(seconds=1)


class Watched:
    """The check of a state file, with a clock under the control of a test."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.now = NOW
        self.file = folder / "state.json"
        self.alerts = Alerts(store, lambda: self.now)
        self.check = Notifications(self.file, self.alerts, NOW, lambda: self.now).check

    def problems(self, at: datetime) -> list[str]:
        self.now = at
        self.check()
        return [each.message for each in self.alerts.standing]

    def write(self, heard_at: datetime, problem: str = "") -> None:
        channel = ChannelState(
            where="notify.urls, line 1 (mailtos)",
            sequence=7,
            failing_since=NOW if problem else None,
            problem=problem,
        )
        state = NotificationState(heard_at=heard_at, channels={"a": channel})
        self.file.write_text(state.model_dump_json())


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield Watched(tmp_path, store)
    store.close()


def test_a_failing_channel_raises_one_alert_that_ends_when_the_channel_works(
    watched: Watched,
) -> None:
    watched.write(NOW, "no route")
    (message,) = watched.problems(NOW)
    assert message.startswith("people cannot be notified by notify.urls, line 1 (mailtos) since")
    assert message.endswith(": no route; it is tried again")
    assert len(watched.problems(NOW)) == 1
    watched.write(NOW)
    assert watched.problems(NOW) == []


def test_a_process_that_does_not_report_raises_an_alert_after_some_time(watched: Watched) -> None:
    assert watched.problems(NOW) == []
    (message,) = watched.problems(LATER)
    assert "the process that notifies people has not reported for 2 min; expected" in message
    watched.write(LATER)
    assert watched.problems(LATER + REPORTED_WITHIN) == []


def test_a_damaged_state_file_raises_an_alert(watched: Watched) -> None:
    watched.file.write_text("{")
    (message,) = watched.problems(NOW)
    assert "state.json: is damaged; expected the JSON that spherorank notify writes" in message


def test_without_a_configured_channel_nothing_is_checked(watched: Watched) -> None:
    Notifications(None, watched.alerts, NOW, lambda: LATER).check()
    assert watched.alerts.standing == ()
