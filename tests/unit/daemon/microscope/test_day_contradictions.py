from datetime import datetime
from typing import Any

import numpy as np
import pytest

from daemon.alerts import Alerts
from daemon.microscope.day_contradictions import report_other_day
from schemas.plate_map import Group, PlateMap, WellEntry
from schemas.well_image import FileVersion, VisitKey, WellImage

PLATE_MAP = PlateMap(
    plate="P1",
    seeded_at=datetime.fromisoformat("2026-11-10T09:00:00+01:00"),
    entries=(WellEntry(well="B02", group=Group.UNTREATED),),
)


class MessageList:
    """An outbox that keeps the messages in a list."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add_message(self, data: Any, _at: datetime) -> None:  # noqa: ANN401 - any message
        self.messages.append(data.message)


def image_of(well: str, taken_at: str | None, *, day_from_time: bool = False) -> WellImage:
    """Return an image of a well in the folder of day 7."""
    return WellImage(
        key=VisitKey("P1", well, "day07"),
        day=7,
        taken_at=None if taken_at is None else datetime.fromisoformat(taken_at),
        files=(FileVersion(f"P1/day07/{well}.ome.tif", 1, 1),),
        planes=np.zeros((1, 8, 8), np.uint16),
        um_per_px=1.0,
        complete=True,
        day_from_time=day_from_time,
    )


@pytest.fixture
def outbox() -> MessageList:
    return MessageList()


def test_images_of_another_day_raise_one_alert_with_both_days(outbox: MessageList) -> None:
    alerts = Alerts(outbox, lambda: datetime.fromisoformat("2026-11-18T12:00:00+01:00"))  # type: ignore[arg-type]  # one method is used
    for well in ("B02", "B03"):
        report_other_day(image_of(well, "2026-11-18T09:30:00+01:00"), PLATE_MAP, alerts)
    (message,) = outbox.messages
    assert "P1/day07/B02.ome.tif is in the folder of day 7, but was taken on culture day 9" in (
        message
    )


@pytest.mark.parametrize(
    ("taken_at", "day_from_time"),
    [
        ("2026-11-16T15:00:00+01:00", False),
        ("2026-11-17T02:30:00+01:00", False),  # the day was finished after midnight
        (None, False),
        ("2026-11-18T09:30:00+01:00", True),
    ],
)
def test_images_of_their_own_day_raise_no_alert(
    outbox: MessageList,
    taken_at: str | None,
    day_from_time: bool,  # noqa: FBT001 - a case
) -> None:
    alerts = Alerts(outbox, lambda: datetime.fromisoformat("2026-11-18T12:00:00+01:00"))  # type: ignore[arg-type]  # one method is used
    report_other_day(image_of("B02", taken_at, day_from_time=day_from_time), PLATE_MAP, alerts)
    assert outbox.messages == []
