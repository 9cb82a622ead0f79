"""Jumps of this computer's clock: deadlines pass neither early nor late, and an alert is raised."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.alerts import Alerts
from daemon.steady_clock import GRACE_S, STABLE_S, ClockWatch, SteadyClock
from schemas.messages import AlertKind
from store.sql_store import SqlStore
from tests.made_up_site import Site, small

START = datetime(2026, 11, 16, 9, tzinfo=UTC)
DAY_S = 86_400.0


class Computer:
    """A computer whose clock a test sets while time passes."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.set_by_s = 0.0
        self.is_synchronised: bool | None = True
        self.clock = SteadyClock(
            lambda: START.timestamp() + self.passed_s + self.set_by_s,
            lambda: 5.0 + self.passed_s,
            lambda: self.is_synchronised,
        )

    def run(self, seconds: float) -> None:
        """Let time pass, with a check of the clock every 5 s."""
        for _ in range(int(seconds // 5)):
            self.passed_s += 5
            self.clock.check()

    @property
    def shown_s(self) -> float:
        """The seconds that the clock of the service shows since the start."""
        return (self.clock.now() - START).total_seconds()


@pytest.fixture
def computer() -> Computer:
    return Computer()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    yield store
    store.close()


def test_small_corrections_of_a_time_service_are_followed(computer: Computer) -> None:
    for correction_s in (0.4, -20.0, 59.0):
        computer.set_by_s += correction_s
        computer.run(5)
        assert computer.shown_s == pytest.approx(computer.passed_s + computer.set_by_s)


@pytest.mark.parametrize("synchronised", [True, False])
def test_a_clock_that_is_set_back_is_not_followed(computer: Computer, synchronised: bool) -> None:  # noqa: FBT001 - a parameter of the test
    computer.is_synchronised = synchronised
    computer.set_by_s = -DAY_S
    computer.run(2 * STABLE_S)
    assert computer.shown_s == computer.passed_s
    assert computer.clock.check() == pytest.approx(-DAY_S)


def test_a_jump_forward_is_followed_only_if_the_clock_is_synchronised_and_stable(
    computer: Computer,
) -> None:
    computer.is_synchronised = False
    computer.set_by_s = DAY_S
    computer.run(2 * STABLE_S)
    assert computer.shown_s == computer.passed_s
    computer.set_by_s = 2 * DAY_S
    computer.run(5)
    computer.is_synchronised = True
    computer.run(STABLE_S - 5)
    assert computer.shown_s == computer.passed_s
    computer.run(10)
    assert computer.shown_s == pytest.approx(computer.passed_s + 2 * DAY_S)
    assert computer.clock.skipped_since(START) == timedelta(days=2)
    assert computer.clock.skipped_since(computer.clock.now()) == timedelta()


def test_a_jump_that_is_taken_back_changes_nothing(computer: Computer) -> None:
    computer.set_by_s = DAY_S
    computer.run(STABLE_S - 10)
    computer.set_by_s = 0.0
    computer.run(2 * STABLE_S)
    assert computer.shown_s == computer.passed_s
    assert computer.clock.skipped_since(START) == timedelta()


def test_a_jump_forward_lets_no_readout_deadline_pass_and_a_later_one_is_exact(
    store: SqlStore,
) -> None:
    site = Site(store)
    plate = small("P")
    site.now = plate.seeded_at + timedelta(days=9)
    site.add(plate, days=(6, 7))
    site.add(plate, days=(10,), wells=len(plate.wells_with_tissue) - 1)
    first_at = max(image.received_at for image in store.arrived("P"))
    jump = timedelta(days=1)
    due = replace(
        site.days.due_days,
        skipped_since=lambda moment: jump if moment <= first_at else timedelta(),
    )
    wait = site.settings.readout_deadline

    def is_final(at: datetime) -> bool:
        site.now = at
        found = due.of_plate(plate, is_waiting=False, all_is_in=False, is_source_gone=True)
        return any(each.final for each in found)

    assert not is_final(first_at + jump)
    assert not is_final(first_at + jump + wait - timedelta(seconds=1))
    assert is_final(first_at + jump + wait)


def test_the_alert_names_direction_and_size_and_ends_with_the_jump(
    computer: Computer, store: SqlStore
) -> None:
    watch = ClockWatch(computer.clock, Alerts(store, computer.clock.now))
    computer.set_by_s = -3600.0
    for _ in range(3):
        watch.check()
    [message] = store.messages_after(0, "spherorank.v1.alert")
    data = json.loads(message.body)["data"]
    assert (data["kind"], data["plate"]) == ("clock", None)
    assert "was set back by 3600 s" in data["message"]
    computer.set_by_s = 0.0
    watch.check()
    assert watch.alerts.active_count == 0


def test_where_the_synchronisation_is_unknown_a_jump_is_an_alert_and_not_followed(
    computer: Computer, store: SqlStore
) -> None:
    computer.is_synchronised = None  # as on Windows
    watch = ClockWatch(computer.clock, Alerts(store, computer.clock.now))
    computer.run(GRACE_S + 5)
    watch.check()
    assert watch.alerts.active_count == 0
    computer.set_by_s = DAY_S
    computer.run(2 * STABLE_S)
    watch.check()
    assert computer.shown_s == computer.passed_s
    [message] = store.messages_after(0, "spherorank.v1.alert")
    assert "ran; this is not followed." in json.loads(message.body)["data"]["message"]


def test_a_clock_without_a_time_service_raises_one_alert_after_a_while(
    computer: Computer, store: SqlStore
) -> None:
    computer.is_synchronised = False
    watch = ClockWatch(computer.clock, Alerts(store, computer.clock.now))
    watch.check()
    assert watch.alerts.active_count == 0
    computer.run(GRACE_S + 5)
    watch.check()
    watch.check()
    assert len(store.messages_after(0, "spherorank.v1.alert")) == 1
    assert watch.alerts.is_active(AlertKind.CLOCK, "unsynchronised")
