"""The time at which a well image is returned: settled files, completion signals, missing planes."""

import pytest

from schemas.quality import Flag
from schemas.well_image import WellImage
from tests.robot_folder import DAY_7_NS, RobotFolder, results, tiff


def test_a_half_copied_file_is_not_ingested(robot: RobotFolder) -> None:
    whole = tiff(3)
    robot.well(planes=(1, 2))
    robot.write("P1/day07/B02_z3.tif", whole[:3000])
    source = robot.open()
    for share in (4000, 5000, 6000):
        assert source.next(timeout_s=1.5) is None
        robot.write("P1/day07/B02_z3.tif", whole[:share])
    robot.write("P1/day07/B02_z3.tif", whole)
    (image,) = results(source)
    assert isinstance(image, WellImage)
    assert image.complete


def test_a_file_settles_by_the_clock_of_the_source_and_not_of_the_robot(robot: RobotFolder) -> None:
    robot.well(at_ns=DAY_7_NS + 10**18)  # the robot's clock is 30 years ahead
    source = robot.open()
    start_s = robot.clock.now_s
    assert source.next(timeout_s=100) is not None
    assert 2.0 <= robot.clock.now_s - start_s < 3.0


def test_close_events_of_all_planes_make_a_well_image_ready_at_once(robot: RobotFolder) -> None:
    source = robot.open()
    assert source.next(timeout_s=10) is None
    robot.close_event(*robot.well())
    assert source.next(timeout_s=0) is not None


def test_a_tiff_that_is_closed_after_each_page_is_ingested_with_all_pages(
    robot: RobotFolder,
) -> None:
    source = robot.open(pattern="{plate}/day{day}/{well}.tif")
    assert source.next(timeout_s=10) is None
    for pages in (1, 2):
        robot.close_event(
            robot.write("P1/day07/B02.tif", tiff(shape=(pages, 64, 64)), at_ns=DAY_7_NS + pages)
        )
        assert source.next(timeout_s=1) is None
    robot.close_event(robot.write("P1/day07/B02.tif", tiff(shape=(3, 64, 64)), at_ns=DAY_7_NS + 3))
    image = source.next(timeout_s=0)
    assert isinstance(image, WellImage)
    assert (len(image.planes), image.complete) == (3, True)


def test_a_closed_file_that_cannot_be_decoded_settles_before_it_is_refused(
    robot: RobotFolder,
) -> None:
    source = robot.open()
    assert source.next(timeout_s=10) is None
    files = robot.well(planes=(1, 2))
    robot.close_event(*files, robot.write("P1/day07/B02_z3.tif", tiff(3)[:500]))
    assert source.next(timeout_s=1.0) is None
    robot.close_event(robot.write("P1/day07/B02_z3.tif", tiff(3), at_ns=DAY_7_NS + 1))
    (image,) = results(source)
    assert isinstance(image, WellImage)
    assert image.complete


@pytest.mark.parametrize("marker", ["P1/day07.done", "P1/day07/day07.done"])
def test_a_done_marker_makes_the_images_of_its_day_ready(robot: RobotFolder, marker: str) -> None:
    source = robot.open()
    assert source.next(timeout_s=4) is None
    robot.well(day=7)
    robot.well(day=8)
    robot.write(marker, b"", at_ns=DAY_7_NS + 1)
    image = source.next(timeout_s=3.5)  # listed after 7 s, settled after 9 s
    assert isinstance(image, WellImage)
    assert image.day == 7
    assert source.next(timeout_s=0.1) is None


def test_ready_markers_make_their_files_ready(robot: RobotFolder) -> None:
    source = robot.open()
    assert source.next(timeout_s=4) is None
    for version in robot.well():
        robot.write(version.path + ".ready", b"", at_ns=DAY_7_NS + 1)
    assert isinstance(source.next(timeout_s=3.5), WellImage)  # listed after 7 s


def test_an_incomplete_well_image_is_returned_with_a_flag_after_the_plane_timeout(
    robot: RobotFolder,
) -> None:
    robot.well(planes=(1, 3))
    source = robot.open()
    assert source.next(timeout_s=59) is None
    (image,) = results(source)
    assert isinstance(image, WellImage)
    assert (len(image.planes), image.complete, image.flags) == (2, False, (Flag.PLANES_MISSING,))
