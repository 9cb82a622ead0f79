"""Culture days of a drop folder where times decide: elapsed hours, midnight and changed clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.quality import Flag
from schemas.well_image import WellImage
from tests.robot_folder import DAY_7_NS, SECOND_NS, RobotFolder, images, tiff

INCUCYTE = "{plate}_{well}_{field}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif"
NAMED_TIME = "{plate}/{well}_{taken_at}.tif"


def test_each_scan_of_a_day_is_a_visit_in_the_order_of_the_times_in_the_names(
    robot: RobotFolder,
) -> None:
    scans = ["07d12h00m", "07d00h00m", "07d06h30m", "06d18h00m"]
    for number, scan in enumerate(scans):  # the export wrote them in this order
        path = f"P1/P1_B2_1_{scan}.tif"
        robot.write(path, tiff(number), at_ns=DAY_7_NS + number * SECOND_NS)
    taken = images(robot.open(pattern=INCUCYTE, planes=1))
    assert [(image.key.visit, image.day) for image in taken] == [
        ("day08-006d18h00m-f01", 8),  # seeded at 09:00: 03:00 of day 8
        ("day08-007d00h00m-f01", 8),
        ("day08-007d06h30m-f01", 8),
        ("day08-007d12h00m-f01", 8),
    ]
    seeded_at = datetime.fromisoformat("2026-11-10T09:00:00+01:00")
    assert [image.taken_at for image in taken] == [
        seeded_at + timedelta(days=6, hours=18),
        seeded_at + timedelta(days=7),
        seeded_at + timedelta(days=7, hours=6, minutes=30),
        seeded_at + timedelta(days=7, hours=12),
    ]


def test_the_own_time_of_a_scan_is_compared_with_the_elapsed_time(robot: RobotFolder) -> None:
    robot.write("P1/P1_B2_1_07d00h00m.tif", tiff(1, datetime="2026:11:18 09:00:00"))
    (image,) = images(robot.open(pattern=INCUCYTE, planes=1))
    assert (image.day, image.flags) == (8, (Flag.DAY_DISAGREES,))


def flags_of(
    robot: RobotFolder, times: dict[str, str], pattern: str = NAMED_TIME
) -> dict[str, bool]:
    """Write an image of each well with a time in its name, and return which are flagged."""
    for number, (well, time) in enumerate(times.items()):
        robot.write(f"P1/{well}_{time}.tif", tiff(number))
    taken = images(robot.open(pattern=pattern, planes=1))
    assert len(taken) == len(times)
    return {image.key.well: Flag.NEAR_MIDNIGHT in image.flags for image in taken}


ROUNDS = {
    "a round across midnight": (
        {"B02": "20261116T2200", "B03": "20261116T2359", "B04": "20261117T0000"},
        {"B02", "B03", "B04"},
    ),
    "a round before midnight": ({"B02": "20261116T2200", "B03": "20261116T2330"}, set()),
    "a round after midnight": ({"B02": "20261117T0000", "B03": "20261117T0130"}, set()),
    "two rounds at different nights": ({"B02": "20261116T2330", "B03": "20261118T0030"}, set()),
    "a round at noon": ({"B02": "20261116T1100", "B03": "20261116T1300"}, set()),
    "part of a long round": (
        {"B02": "20261116T2030", "B03": "20261116T2330", "B04": "20261117T0030"},
        {"B03", "B04"},
    ),
    "another time zone": (
        {"B02": "20261116T2230+0000", "B03": "20261116T2330+0000"},  # 23:30 and 00:30
        {"B02", "B03"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("times", "flagged"), ROUNDS.values(), ids=ROUNDS.keys())
def test_images_of_a_round_across_midnight_are_flagged(
    robot: RobotFolder, times: dict[str, str], flagged: set[str]
) -> None:
    assert flags_of(robot, times) == {well: well in flagged for well in times}


def test_a_round_whose_days_are_in_the_names_is_not_flagged(robot: RobotFolder) -> None:
    for number, time in enumerate(("23:50:00", "00:10:00")):
        path = f"P1/day07/B0{number + 2}_z1.tif"
        robot.write(path, tiff(number, datetime=f"2026:11:16 {time}"))
    taken = images(robot.open(planes=1))
    assert [image.flags for image in taken] == [(), ()]


def test_the_second_half_of_a_round_is_flagged_if_the_first_was_ingested_before(
    robot: RobotFolder,
) -> None:
    source = robot.open(pattern="{plate}/{well}.tif", planes=1)
    robot.write("P1/B02.tif", tiff(1, datetime="2026:11:16 23:40:00"))
    (before,) = images(source)
    robot.write("P1/B03.tif", tiff(2, datetime="2026:11:17 00:20:00"))
    (after,) = images(source)
    assert isinstance(before, WellImage)
    assert [(image.day, image.flags) for image in (before, after)] == [
        (7, ()),
        (8, (Flag.NEAR_MIDNIGHT,)),
    ]


def test_times_of_change_across_midnight_are_flagged(robot: RobotFolder) -> None:
    for well, time in {"B02": "2026-11-16T22:30", "B03": "2026-11-16T23:30"}.items():
        at_ns = int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()) * SECOND_NS
        robot.write(f"P1/{well}.tif", tiff(int(well[1:])), at_ns=at_ns)
    taken = images(robot.open(pattern="{plate}/{well}.tif", planes=1))
    assert [(image.day, image.flags) for image in taken] == [
        (7, (Flag.NEAR_MIDNIGHT,)),
        (8, (Flag.NEAR_MIDNIGHT,)),
    ]


def test_the_hour_that_clocks_gain_or_lose_moves_no_day(robot: RobotFolder) -> None:
    text = 'plate = "P1"\nseeded_at = 2026-10-20T09:00:00+02:00\n'
    robot.write("P1/P1.plate.toml", text.encode())
    times = [f"202610{day}T0900" for day in range(22, 29)]  # clocks change on 25 October
    for number, time in enumerate(times):
        robot.write(f"P1/B02_{time}.tif", tiff(number))
    taken = images(robot.open(pattern=NAMED_TIME, planes=1))
    assert [image.day for image in taken] == [3, 4, 5, 6, 7, 8, 9]
    assert all(image.flags == () for image in taken)
