"""The pending images of a drop folder, by plate and reason."""

from acquisition.drop_folder.source import BEING_WRITTEN, PLANES_MISSING, QUEUED
from schemas.well_image import PendingImages
from tests.robot_folder import RobotFolder, results
from tests.samples import NOW


def test_each_pending_well_image_is_counted_by_plate_and_reason(robot: RobotFolder) -> None:
    for well in ("B02", "B04"):
        robot.well(well)
        robot.write(f"P9/day07/{well}_z1.tif", b"image")
    robot.well("B03", planes=(1, 2))
    source = robot.open()
    assert source.next(timeout_s=10) is not None  # one of the two complete wells of P1
    assert source.status(NOW).waiting == (
        PendingImages("P1", PLANES_MISSING, 1),
        PendingImages("P1", QUEUED, 1),
        PendingImages("P9", "no plate map; expected P9.plate.toml and P9.wells.csv", 2),
    )
    assert source.status(NOW).pending == {"P1": 2}  # without the plate that has no map


def test_no_image_is_pending_after_every_result_was_returned(robot: RobotFolder) -> None:
    robot.well()
    source = robot.open()
    for item in results(source):
        source.done(item)
    assert source.status(NOW).waiting == ()


def test_files_that_have_not_settled_are_being_written(robot: RobotFolder) -> None:
    robot.write("P1/day07/overview.png", b"image")
    source = robot.open()
    assert source.next(timeout_s=0.1) is None
    assert {each.reason for each in source.status(NOW).waiting} == {BEING_WRITTEN}
