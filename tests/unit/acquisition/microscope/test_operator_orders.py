from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from acquisition.microscope.imaging_requests import ImagingRequest
from acquisition.microscope.operator_orders import OperatorOrders, PresentJob
from schemas.errors import OutputError

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


@pytest.fixture
def orders(tmp_path: Path) -> OperatorOrders:
    return OperatorOrders(tmp_path / "state")


def request(reason: str, made_at: datetime) -> ImagingRequest:
    return ImagingRequest(plate="P1", day=7, wells=("B02",), reason=reason, made_at=made_at)


def test_a_second_order_to_pause_keeps_the_time_of_the_first(orders: OperatorOrders) -> None:
    orders.pause(NOON)
    orders.pause(NOON + timedelta(hours=1))
    assert orders.paused_since() == NOON
    orders.resume()
    orders.resume()
    assert orders.paused_since() is None


def test_a_pause_is_confirmed_only_by_its_own_confirmation(orders: OperatorOrders) -> None:
    orders.pause(NOON)
    orders.confirm_pause(NOON)
    assert orders.is_pause_confirmed()
    orders.resume()
    orders.pause(NOON + timedelta(hours=1))
    assert not orders.is_pause_confirmed()


@pytest.mark.parametrize("content", ["", "2026-11-", "2026-11-16T12:00:00"])
def test_a_file_without_a_valid_time_is_an_order_made_when_it_was_written(
    orders: OperatorOrders, content: str
) -> None:
    orders.folder.mkdir(parents=True)
    (orders.folder / "pause").write_text(content)
    since = orders.paused_since()
    assert since is not None
    assert abs(since - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("of", "is_aborted"),
    [
        (None, True),  # the schedule
        (request("asked", NOON - timedelta(minutes=1)), True),
        (request("asked", NOON + timedelta(minutes=1)), False),
        (request("blurred", NOON + timedelta(minutes=1)), True),
    ],
)
def test_only_what_an_operator_asks_for_after_an_abort_is_imaged(
    orders: OperatorOrders,
    of: ImagingRequest | None,
    is_aborted: bool,  # noqa: FBT001 - a case
) -> None:
    orders.abort("P1", 7, NOON)
    assert orders.is_aborted("P1", 7, of, None) is is_aborted
    assert not orders.is_aborted("P1", 8, of, None)
    assert not orders.is_aborted("P1", 7, of, NOON + timedelta(days=1))  # another run
    orders.withdraw_abort("P1", 7)
    assert not orders.is_aborted("P1", 7, of, None)


def test_the_present_job_is_kept_until_it_is_removed(orders: OperatorOrders) -> None:
    job = PresentJob(plate="P1", day=7)
    assert orders.present_job() is None
    orders.note_present(job)
    assert OperatorOrders(orders.state).present_job() == job
    orders.note_present(None)
    assert orders.present_job() is None


def test_an_order_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in place of the folder")
    with pytest.raises(OutputError, match="state/orders/pause: cannot be"):
        OperatorOrders(tmp_path / "state").pause(NOON)
