"""Files and images that cannot be read or processed now: tried again, reported, never refused."""

from datetime import UTC, datetime
from itertools import pairwise

from acquisition.drop_folder.retries import REPORTED_ATTEMPTS
from schemas.well_image import Rejected, WellImage
from tests.robot_folder import RobotFolder, images, results, tiff

DAY_7 = datetime(2026, 11, 16, 9, tzinfo=UTC)


def test_a_file_that_fails_once_is_read_again(robot: RobotFolder) -> None:
    robot.well(planes=(1, 2))
    failing = robot.failing_file("P1/day07/B02_z3.tif")
    source = robot.open(plane_timeout_s=600.0)
    assert source.next(timeout_s=5) is None
    (robot.root / failing.path).unlink()
    robot.write(failing.path, tiff(3))
    (image,) = images(source)
    assert image.complete


def test_a_file_that_fails_for_long_is_reported_and_does_not_delay_the_other_planes(
    robot: RobotFolder,
) -> None:
    others = robot.well(planes=(1, 2))
    failing = robot.failing_file("P1/day07/B02_z3.tif")
    source = robot.open()
    (image,) = results(source)
    assert isinstance(image, WellImage)
    assert (image.files, image.complete) == (others, False)
    status = source.status(DAY_7)
    assert status.unreadable == {failing.path: "cannot be read now: Input/output error"}
    assert status.pending == {}


def test_a_run_that_ends_by_itself_does_not_wait_for_an_unreadable_file(robot: RobotFolder) -> None:
    robot.failing_file("P1/day07/B02_z1.tif")
    source = robot.open(once=True)
    assert [*results(source)] == []
    assert source.status(DAY_7).pending == {}
    assert len(source.status(DAY_7).unreadable) == 1


def test_the_culture_day_waits_for_a_file_whose_time_cannot_be_read(robot: RobotFolder) -> None:
    failing = robot.failing_file("P1/B02.tif")
    source = robot.open(pattern="{plate}/{well}.tif", planes=1)
    assert [*results(source)] == []
    (robot.root / failing.path).unlink()
    robot.write(failing.path, tiff(1, datetime="2026:11:12 08:00:00"))
    (image,) = images(source)
    assert image.day == 3


def test_a_postponed_image_is_returned_again_after_a_pause(robot: RobotFolder) -> None:
    files = robot.well()
    source = robot.open()
    (image,) = images(source)
    source.postpone(image, "out of memory")
    started_s = robot.clock.now_s
    (again,) = images(source)
    assert (again.key, again.files) == (image.key, files)
    assert robot.clock.now_s >= started_s + 1.0
    source.done(again)
    assert [*results(source)] == []


def test_an_image_that_is_postponed_repeatedly_is_reported_and_tried_less_often(
    robot: RobotFolder,
) -> None:
    files = robot.well()
    source = robot.open()
    returned_s = []
    for _ in range(5):
        image = source.next(timeout_s=600.0)
        assert isinstance(image, WellImage)
        returned_s.append(robot.clock.now_s)
        source.postpone(image, "out of memory")
    pauses_s = [later - earlier for earlier, later in pairwise(returned_s)]
    assert all(pause >= least for pause, least in zip(pauses_s, (1, 2, 4, 8), strict=True))
    assert source.status(DAY_7).unreadable == dict.fromkeys(
        (version.path for version in files), "out of memory"
    )
    (again,) = images(source)
    assert again.files == files
    assert source.status(DAY_7).unreadable == {}


def test_a_run_that_ends_by_itself_does_not_wait_for_an_image_that_is_always_postponed(
    robot: RobotFolder,
) -> None:
    robot.well()
    source = robot.open(once=True)
    for _ in range(REPORTED_ATTEMPTS):
        image = source.next(timeout_s=60.0)
        assert isinstance(image, WellImage)
        source.postpone(image, "out of memory")
    assert source.next(timeout_s=0.0) is None
    assert source.status(DAY_7).pending == {}


def test_the_other_images_are_returned_while_one_is_postponed(robot: RobotFolder) -> None:
    robot.well("B02")
    robot.well("B03")
    source = robot.open()
    returned = []
    for _ in range(3):
        image = source.next(timeout_s=30)
        assert isinstance(image, WellImage)
        returned.append(image.key.well)
        if len(returned) == 1:
            source.postpone(image, "out of memory")
    assert sorted(returned) == ["B02", "B02", "B03"]


def test_the_end_of_a_file_is_waited_for_and_then_the_file_is_refused(robot: RobotFolder) -> None:
    half = robot.write("P1/day07/B02_z1.tif", tiff(1)[:5000])
    source = robot.open(planes=1)
    written_s = robot.clock.now_s
    refusal = source.next(timeout_s=300.0)
    assert isinstance(refusal, Rejected)
    assert (refusal.files, "cut short" in refusal.reason) == ((half,), True)
    assert robot.clock.now_s >= written_s + 60.0
