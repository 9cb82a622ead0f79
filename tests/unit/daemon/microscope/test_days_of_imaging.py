"""The imaging loop takes images of a culture day only on this day."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from acquisition.microscope.imaging_requests import (
    ASKED,
    ImagingRequest,
    ImagingRequests,
    open_imaging_requests,
)
from tests.unit.daemon.microscope.test_imaging_loop import NOON, ScriptedLoop

pytestmark = pytest.mark.micromanager

MIDNIGHT = datetime.fromisoformat("2026-11-17T00:00:00+01:00")  # day 1 of the plate ends


@pytest.fixture
def scripted(tmp_path: Path) -> ScriptedLoop:
    made = ScriptedLoop(tmp_path)
    made.write_plate_map("P1", "B02", "B03", "B04")
    return made


def requests_of(scripted: ScriptedLoop) -> ImagingRequests:
    return open_imaging_requests(scripted.root / "state")


def request_day(
    scripted: ScriptedLoop, day: int, *, reason: str = ASKED, made_at: datetime = NOON
) -> str:
    name = requests_of(scripted).add(
        ImagingRequest(plate="P1", day=day, reason=reason, made_at=made_at)
    )
    assert name is not None
    return name


def alerts_of(scripted: ScriptedLoop) -> list[str]:
    return [fields["message"] for name, fields in scripted.events if name == "alert"]


@pytest.mark.parametrize("reason", [ASKED, "unclear", "uncertain"])
def test_a_request_of_any_origin_for_a_day_that_is_over_is_ended_with_an_alert(
    scripted: ScriptedLoop, reason: str
) -> None:
    name = request_day(scripted, 1, reason=reason)
    scripted.now = NOON + timedelta(days=2)
    scripted.serve(lambda _: None, acquire_at="")

    assert scripted.images() == []
    assert requests_of(scripted).pending() == []
    why = requests_of(scripted).drop_reason(name)
    assert why is not None
    assert "plate P1, day 1: it is culture day 3 now" in why
    assert "no image of B02, B03, B04" in why
    assert alerts_of(scripted) == [why]


def test_a_request_for_a_later_day_is_ended(scripted: ScriptedLoop) -> None:
    request_day(scripted, 2)
    scripted.serve(lambda _: None, acquire_at="")
    (message,) = alerts_of(scripted)
    assert "day 2: it is culture day 1 now" in message
    assert requests_of(scripted).pending() == []


def test_a_request_waits_for_its_day_if_the_clock_was_set_back_since_it_was_made(
    scripted: ScriptedLoop,
) -> None:
    request_day(scripted, 2, made_at=MIDNIGHT + timedelta(minutes=5))

    def day_begins(_: object) -> None:
        assert scripted.images() == []
        scripted.now = MIDNIGHT + timedelta(hours=9)

    scripted.now = MIDNIGHT - timedelta(minutes=30)
    scripted.serve(day_begins, lambda _: None, acquire_at="")
    assert [fields["day"] for name, fields in scripted.events if name == "well.saved"] == [2] * 3
    assert "waits until day 2 begins" in alerts_of(scripted)[0]


def test_a_run_across_midnight_is_finished_within_three_hours(scripted: ScriptedLoop) -> None:
    pass_time_at_each_move(scripted, timedelta(minutes=20))
    request_day(scripted, 1)
    scripted.now = MIDNIGHT - timedelta(minutes=30)
    scripted.serve(lambda _: None, acquire_at="")
    assert [fields["day"] for name, fields in scripted.events if name == "well.saved"] == [1] * 3
    assert scripted.now > MIDNIGHT
    assert alerts_of(scripted) == []


def test_a_run_ends_three_hours_after_midnight_and_names_the_wells_without_an_image(
    scripted: ScriptedLoop,
) -> None:
    pass_time_at_each_move(scripted, timedelta(hours=2))
    request_day(scripted, 1)
    scripted.now = MIDNIGHT - timedelta(minutes=30)
    scripted.serve(lambda _: None, acquire_at="")
    assert scripted.images() == ["P1 B02"]  # B03 would be taken at 3:30
    (message,) = alerts_of(scripted)
    assert "no image of B03, B04" in message
    assert requests_of(scripted).pending() == []
    (ended,) = [fields for name, fields in scripted.events if name == "day.ended"]
    assert (ended["reason"], ended["no_image"]) == ("over", ["B03", "B04"])


def test_a_plate_that_is_presented_on_the_next_day_is_not_imaged_as_the_day_before(
    scripted: ScriptedLoop,
) -> None:
    def present_late(plate: str) -> None:
        scripted.loader.calls.append(f"load {plate}")
        scripted.now = MIDNIGHT + timedelta(hours=1)

    scripted.loader.load = present_late  # type: ignore[method-assign]  # the arm is late
    request_day(scripted, 1)
    scripted.serve(lambda _: None, acquire_at="")
    assert scripted.images() == []
    assert "no image of B02, B03, B04" in alerts_of(scripted)[0]
    assert scripted.loader.calls == ["load P1", "unload P1"]


def test_a_clock_that_is_set_back_during_a_run_pauses_the_run(scripted: ScriptedLoop) -> None:
    pass_time_at_each_move(scripted, timedelta(days=-1))
    request_day(scripted, 1)
    scripted.serve(lambda _: None, acquire_at="")
    assert scripted.images() == []
    assert "waits until day 1 begins" in alerts_of(scripted)[0]
    assert requests_of(scripted).pending()


def test_the_alert_of_a_missed_day_names_the_wells_without_an_image(
    scripted: ScriptedLoop,
) -> None:
    scripted.now = NOON
    scripted.serve(lambda _: setattr(scripted, "now", NOON + timedelta(days=1)), lambda _: None)
    scripted.write_plate_map("P1", "B02", "B03", "B04", "B05")
    scripted.events.clear()
    scripted.serve(lambda _: None)
    assert "plate P1 was not imaged completely on day 1: no image of B05" in alerts_of(scripted)


def pass_time_at_each_move(scripted: ScriptedLoop, duration: timedelta) -> None:
    """Let the clock move by a duration at each move of the stage."""

    def move(_x_um: float, _y_um: float) -> None:
        scripted.now += duration

    scripted.scope.move_to = move  # type: ignore[method-assign]  # a slow stage
