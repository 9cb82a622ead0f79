"""A drop folder with many files that were ingested before: listing it takes little time."""

import time
from datetime import UTC, datetime

from tests.robot_folder import RobotFolder

DAYS, WELLS, PLANES = range(1, 34), 60, 3
FILES = len(DAYS) * WELLS * PLANES
IDLE_S = 2.0


def test_thousands_of_ingested_files_take_a_small_share_of_the_time(robot: RobotFolder) -> None:
    wells = [f"{row}{column:02d}" for row in "BCDEFG" for column in range(2, 12)]
    files = [
        robot.write(f"P1/day{day:02d}/{well}_z{plane}.tif", b"image")
        for day in DAYS
        for well in wells
        for plane in range(1, PLANES + 1)
    ]
    assert len(files) == FILES
    source = robot.open(*files)
    started_s = time.process_time()
    assert source.next(0) is None
    first_s = time.process_time() - started_s
    assert first_s < 5.0
    started_s, calls_s = time.process_time(), time.monotonic()
    while time.monotonic() - calls_s < IDLE_S:
        assert source.next(0.5) is None  # the clock of the test runs faster: 0.5 s pass at once
        source.status(datetime.now(UTC))
        robot.clock.now_s += first_s
        time.sleep(0.1)
    assert time.process_time() - started_s < IDLE_S / 2
