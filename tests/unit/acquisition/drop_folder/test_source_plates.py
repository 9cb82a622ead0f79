"""The plate, culture day and field of an image, and plates that wait for their plate map."""

import shutil
from datetime import UTC, datetime

import pytest

from schemas.quality import Flag
from schemas.well_image import WellImage
from tests.robot_folder import DAY_7_NS, PLATE_TOML, WELLS_CSV, RobotFolder, images, tiff


def test_images_of_a_plate_without_a_map_are_pending_until_the_map_exists(
    robot: RobotFolder,
) -> None:
    shutil.rmtree(robot.root / "P1")
    robot.well()
    source = robot.open()
    assert source.next(timeout_s=100) is None
    status = source.status(datetime.now(UTC))
    assert status.held == {"P1": "no plate map; expected P1.plate.toml and P1.wells.csv"}
    assert status.pending == {}
    robot.write("P1/P1.plate.toml", PLATE_TOML.encode())
    assert source.next(timeout_s=100) is None
    assert "P1.wells.csv: is missing" in source.status(datetime.now(UTC)).held["P1"]
    robot.write("P1/P1.wells.csv", WELLS_CSV.encode())
    assert isinstance(source.next(timeout_s=100), WellImage)
    assert source.status(datetime.now(UTC)).held == {}
    assert list(source.plate_maps()) == ["P1"]


def test_images_of_a_plate_with_a_wrong_map_are_pending_until_it_is_corrected(
    robot: RobotFolder,
) -> None:
    robot.write("P1/P1.wells.csv", b"well,group,treatment\nB02,untreated,\nB2,blank,\n")
    robot.well()
    source = robot.open()
    assert source.next(timeout_s=100) is None
    assert source.status(datetime.now(UTC)).held == {
        "P1": "P1/P1.wells.csv: line 3: well B02 is already on line 2; expected each well once"
    }
    assert source.plate_maps() == {}
    robot.write("P1/P1.wells.csv", WELLS_CSV.encode(), at_ns=DAY_7_NS + 1)
    assert isinstance(source.next(timeout_s=100), WellImage)


def test_a_plate_map_is_not_read_while_it_is_written(robot: RobotFolder) -> None:
    robot.write("P1/P1.wells.csv", WELLS_CSV[:40].encode())
    source = robot.open(once=True)
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    assert source.status(datetime.now(UTC)).held == {}
    robot.write("P1/P1.wells.csv", WELLS_CSV.encode(), at_ns=DAY_7_NS + 1)
    assert source.next(timeout_s=10) is None
    assert len(source.plate_maps()["P1"].entries) == 2


def test_images_are_pending_while_the_map_of_their_plate_is_changed(robot: RobotFolder) -> None:
    source = robot.open()
    assert source.next(timeout_s=10) is None
    later = PLATE_TOML.replace("2026-11-10", "2027-11-10")
    robot.write("P1/P1.plate.toml", later.encode(), at_ns=DAY_7_NS + 1)
    for version in robot.well():
        robot.close_event(version)
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    assert source.plate_maps()["P1"].seeded_at.year == 2026
    assert isinstance(source.next(timeout_s=10), WellImage)
    assert source.plate_maps()["P1"].seeded_at.year == 2027


def test_a_plate_map_whose_wells_file_comes_a_moment_later_is_not_a_problem(
    robot: RobotFolder,
) -> None:
    shutil.rmtree(robot.root / "P1")
    robot.well()
    source = robot.open()
    robot.close_event(robot.write("P1/P1.plate.toml", PLATE_TOML.encode()))
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).held == {}
    robot.close_event(robot.write("P1/P1.wells.csv", WELLS_CSV.encode()))
    assert isinstance(source.next(timeout_s=10), WellImage)


def test_two_maps_of_one_plate_are_a_problem_and_a_moved_map_is_not(robot: RobotFolder) -> None:
    robot.write("maps/P1.plate.toml", PLATE_TOML.encode())
    robot.write("maps/P1.wells.csv", WELLS_CSV.encode())
    source = robot.open()
    assert source.next(timeout_s=10) is None
    assert "also has a map in P1/P1.plate.toml" in source.status(datetime.now(UTC)).held["P1"]
    (robot.root / "P1/P1.plate.toml").unlink()
    assert source.next(timeout_s=10) is None
    assert list(source.plate_maps()) == ["P1"]


DAYS = {
    "the day in the name": ("{plate}/day{day}/{well}.tif", "P1/day03/B02.tif", {}, "day03", 3, ()),
    "a day counted from 0": (
        "{plate}/{well}_{elapsed_day}d.tif",
        "P1/B02_2d.tif",
        {},
        "day03",
        3,
        (),
    ),
    "the time in the name": (
        "{plate}/{well}_{taken_at}.tif",
        "P1/B02_20261112T080000.tif",
        {},
        "day03-20261112T080000",
        3,
        (),
    ),
    "the TIFF's own time": (
        "{plate}/{well}.tif",
        "P1/B02.tif",
        {"datetime": "2026:11:12 08:00:00"},
        "day03",
        3,
        (),
    ),
    "the file's time": ("{plate}/{well}.tif", "P1/B02.tif", {}, "day07", 7, ()),
    "a field": (
        "{plate}/day{day}/{well}_f{field}.tif",
        "P1/day03/B02_f2.tif",
        {},
        "day03-f02",
        3,
        (),
    ),
    "the name and the TIFF disagree": (
        "{plate}/day{day}/{well}.tif",
        "P1/day03/B02.tif",
        {"datetime": "2026:11:13 08:00:00"},
        "day03",
        3,
        (Flag.DAY_DISAGREES,),
    ),
}


@pytest.mark.parametrize(
    ("pattern", "path", "options", "visit", "day", "flags"), DAYS.values(), ids=DAYS.keys()
)
def test_the_visit_and_culture_day_follow_from_name_and_times(
    robot: RobotFolder,
    pattern: str,
    path: str,
    options: dict[str, str],
    visit: str,
    day: int,
    flags: tuple[Flag, ...],
) -> None:
    robot.write(path, tiff(**options))
    (image,) = images(robot.open(pattern=pattern, planes=1))
    assert (image.key.visit, image.day, image.flags) == (visit, day, flags)


def test_the_lowest_field_or_the_configured_field_is_ingested(robot: RobotFolder) -> None:
    for field in (1, 2, 3):
        robot.write(f"P1/day07/B02_f{field}.tif", tiff(field))
    pattern = "{plate}/day{day}/{well}_f{field}.tif"
    assert [image.key.visit for image in images(robot.open(pattern=pattern, planes=1))] == [
        "day07-f01"
    ]
    assert [
        image.key.visit for image in images(robot.open(pattern=pattern, planes=1, field=3))
    ] == ["day07-f03"]


@pytest.mark.parametrize(
    ("path", "plate", "expected"),
    [
        ("P1/day07/B02.tif", None, "P1"),
        ("day07/B02.tif", "P1", "P1"),
        ("robot/day07/B02.tif", "P1", "P1"),
        ("day07/B02.tif", None, "drop"),
    ],
)
def test_without_a_plate_in_the_pattern_the_setting_or_the_folder_names_it(
    robot: RobotFolder, path: str, plate: str | None, expected: str
) -> None:
    robot.write("maps/drop.plate.toml", PLATE_TOML.replace("P1", "drop").encode())
    robot.write("maps/drop.wells.csv", WELLS_CSV.encode())
    robot.write(path, tiff())
    (image,) = images(robot.open(pattern="day{day}/{well}.tif", planes=1, plate=plate))
    assert image.key.plate == expected
