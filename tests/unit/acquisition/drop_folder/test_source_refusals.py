"""Files that the drop folder source refuses, with the reason."""

import pytest

from schemas.well_image import Rejected, WellImage
from tests.robot_folder import DAY_7_NS, RobotFolder, images, refusals, results, tiff

BAD = {
    "empty": (b"", "0 bytes"),
    "truncated": (tiff(1)[:5000], "cut short"),
    "text": (b"not an image", "expected a TIFF, PNG or JPEG"),
    "three pages in one plane's file": (tiff(1, (3, 64, 64)), "3 pages; expected one"),
    "too small": (tiff(1, (16, 16)), "16×16 pixels"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_and_all_other_images_are_returned(
    robot: RobotFolder, content: bytes, reason: str
) -> None:
    neighbours = robot.well("B03")
    others = robot.well("B02", planes=(1, 2))
    bad = robot.write("P1/day07/B02_z3.tif", content)
    items = list(results(robot.open()))
    (refused,) = [item for item in items if isinstance(item, Rejected)]
    assert (refused.files, refused.plate, refused.well) == ((bad,), "P1", "B02")
    assert reason in refused.reason
    taken = {image.files: image.complete for image in items if isinstance(image, WellImage)}
    assert taken == {neighbours: True, others: False}


def test_a_file_above_the_size_limit_is_refused(robot: RobotFolder) -> None:
    robot.write("P1/day07/B02_z1.tif", tiff(1))
    (refused,) = refusals(robot.open(max_file_bytes=5000))
    assert "expected at most 5000" in refused.reason


def test_planes_of_two_sizes_are_refused_together_until_one_of_them_is_corrected(
    robot: RobotFolder,
) -> None:
    robot.well(planes=(1, 2))
    robot.write("P1/day07/B02_z3.tif", tiff(3, (80, 80)))
    source = robot.open()
    (refused,) = refusals(source)
    assert "expected one size" in refused.reason
    assert len(refused.files) == 3
    robot.write("P1/day07/B02_z3.tif", tiff(3), at_ns=DAY_7_NS + 1)
    (image,) = images(source)
    assert (image.complete, len(image.files)) == (True, 3)


def test_a_refused_file_that_changes_is_read_again(robot: RobotFolder) -> None:
    robot.well(planes=(1, 2))
    robot.write("P1/day07/B02_z3.tif", b"")
    source = robot.open()
    first = list(results(source))
    assert [type(item).__name__ for item in first] == ["Rejected", "WellImage"]
    robot.write("P1/day07/B02_z3.tif", tiff(3), at_ns=DAY_7_NS + 1)
    (image,) = results(source)
    assert isinstance(image, WellImage)
    assert image.complete


def test_a_file_that_was_refused_before_a_restart_is_not_refused_again(robot: RobotFolder) -> None:
    bad = robot.write("P1/day07/B02_z3.tif", b"")
    good = robot.well(planes=(1, 2))
    (image,) = results(robot.open(bad))
    assert isinstance(image, WellImage)
    assert image.files == good


def test_an_image_with_a_wrong_name_is_refused_and_other_files_are_ignored(
    robot: RobotFolder,
) -> None:
    stray = robot.write("P1/day07/overview.png", b"whatever")
    for path in (
        "P1/P1.assay.csv",
        "notes.txt",
        "P1/day07/.B02_z1.tif",
        "P1/day07/B02_z1.tif.part",
        "Thumbs.db",
        "P1/day07/~B02_z1.tif",
    ):
        robot.write(path, b"whatever")
    (refused,) = results(robot.open())
    assert isinstance(refused, Rejected)
    assert refused.files == (stray,)
    assert "does not fit the pattern {plate}/day{day}/{well}_z{plane}.tif" in refused.reason


def test_an_image_from_before_seeding_is_refused(robot: RobotFolder) -> None:
    robot.write("P1/B02.tif", tiff(datetime="2023:09:21 08:00:00"))
    (refused,) = refusals(robot.open(pattern="{plate}/{well}.tif", planes=1))
    assert "culture day -1145 of a plate seeded at 2026-11-10T09:00:00+01:00" in refused.reason


def test_culture_day_0_is_refused_after_the_file_has_settled(robot: RobotFolder) -> None:
    source = robot.open()
    assert source.next(timeout_s=10) is None
    robot.write("P1/day00/B02_z1.tif", tiff(1))
    (refused,) = refusals(source)
    assert "culture day 0" in refused.reason
