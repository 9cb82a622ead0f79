"""Well images that the drop folder source returns: identity, order, versions, pending counts."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError, SourceGoneError
from schemas.well_image import VisitKey, WellImage
from tests.robot_folder import DAY_7_NS, SECOND_NS, RobotFolder, images, results, tiff


def test_three_planes_become_one_well_image(robot: RobotFolder) -> None:
    files = robot.well()
    (image,) = results(robot.open())
    assert isinstance(image, WellImage)
    assert image.key == VisitKey("P1", "B02", "day07")
    assert (image.day, image.complete, image.flags, image.um_per_px, image.files) == (
        7,
        True,
        (),
        1.36,
        files,
    )
    assert (image.planes.shape, image.planes.dtype) == ((3, 64, 64), np.uint16)


def test_well_images_of_older_days_are_returned_first(robot: RobotFolder) -> None:
    for day in (9, 1, 10, 2):
        robot.well("B03", day)
        robot.well("B02", day)
    taken = [(image.day, image.key.well) for image in images(robot.open())]
    assert taken == sorted(taken)
    assert len(taken) == 8


def test_a_well_image_is_returned_once_even_if_it_is_never_marked_done(robot: RobotFolder) -> None:
    files = robot.well()
    source = robot.open()
    assert source.next(timeout_s=10) is not None  # done() is not called
    assert source.next(timeout_s=300) is None
    assert list(results(robot.open(*files))) == []


def test_a_late_plane_makes_a_new_version_with_all_files(robot: RobotFolder) -> None:
    early = robot.well(planes=(1, 2))
    source = robot.open()
    assert [image.complete for image in images(source)] == [False]
    late = robot.well(planes=(3,))
    (image,) = images(source)
    assert (image.complete, image.files) == (True, early + late)


def test_a_late_plane_after_a_restart_makes_a_new_version_with_all_files(
    robot: RobotFolder,
) -> None:
    early = robot.well(planes=(1, 2))
    late = robot.well(planes=(3,))
    (image,) = images(robot.open(*early))
    assert image.files == early + late


def test_planes_that_are_replaced_one_by_one_make_one_new_version(robot: RobotFolder) -> None:
    robot.well()
    source = robot.open()
    assert len(images(source)) == 1
    for plane in (1, 2, 3):
        robot.close_event(*robot.well(planes=(plane,), at_ns=DAY_7_NS + SECOND_NS))
        assert source.next(timeout_s=1) is None
    (image,) = images(source)
    assert {version.mtime_ns for version in image.files} == {DAY_7_NS + SECOND_NS}


def test_two_images_of_a_day_whose_names_differ_in_ignored_text_are_two_versions(
    robot: RobotFolder,
) -> None:
    second = robot.write(
        "P1/x_B02second.tif", tiff(2, datetime="2026:11:16 15:00:00"), at_ns=DAY_7_NS + 5
    )
    first = robot.write("P1/x_B02thefirst.tif", tiff(1, datetime="2026:11:16 09:00:00"))
    taken = images(robot.open(pattern="{name}_{well:a00}{guid}.tif", planes=1))
    assert [(image.key.visit, image.files) for image in taken] == [
        ("day07", (first,)),
        ("day07", (second,)),
    ]


def test_the_source_does_not_change_the_drop_folder(robot: RobotFolder) -> None:
    robot.well()
    robot.write("P1/day07/B03_z1.tif", b"")
    before = {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in robot.root.rglob("*")
    }
    assert len(list(results(robot.open()))) == 2
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in robot.root.rglob("*")
    } == before


def test_a_wrong_pattern_is_a_configuration_error(robot: RobotFolder) -> None:
    with pytest.raises(ConfigError, match=r"source\.pattern"):
        robot.open(pattern="{plate}/{day}.tif")


def test_pending_counts_the_well_images_that_are_not_ready(robot: RobotFolder) -> None:
    robot.well("B02")
    robot.well("B03", planes=(1,))
    source = robot.open()
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 2}
    assert source.next(timeout_s=10) is not None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}


def test_with_once_every_image_is_returned_and_nothing_is_pending_afterwards(
    robot: RobotFolder,
) -> None:
    robot.well("B02", planes=(1, 2))
    robot.well("B03")
    robot.write("P2/day07/B02_z1.tif", tiff())  # no plate map: pending
    robot.write("P1/day07/odd.tif", tiff())
    source = robot.open(once=True)
    start_s = robot.clock.now_s
    taken = []
    while (item := source.next(0.5)) or source.status(datetime.now(UTC)).pending:
        if item:
            taken.append(item)
    assert sorted(type(item).__name__ for item in taken) == ["Rejected", "WellImage", "WellImage"]
    assert robot.clock.now_s - start_s < 10
    assert list(source.status(datetime.now(UTC)).held) == ["P2"]


def test_with_once_a_file_that_changes_while_it_is_read_stays_pending(robot: RobotFolder) -> None:
    def overwrite() -> None:
        robot.write("P1/day07/B02.tif", tiff(2), at_ns=DAY_7_NS + 1)

    robot.write("P1/day07/B02.tif", tiff(1))
    source = robot.open(
        before_reading=overwrite, once=True, planes=1, pattern="{plate}/day{day}/{well}.tif"
    )
    assert source.next(timeout_s=1) is None
    assert source.next(timeout_s=1.5) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    (image,) = images(source)
    assert image.files[0].mtime_ns == DAY_7_NS + 1


def test_a_file_deleted_before_it_is_read_is_not_refused(robot: RobotFolder) -> None:
    robot.well("B02")
    (deleted, *_) = robot.well("B03")

    def delete() -> None:
        (robot.root / deleted.path).unlink(missing_ok=True)

    source = robot.open(before_reading=delete)
    items = list(results(source))
    assert [(item.key.well, item.complete) for item in items if isinstance(item, WellImage)] == [
        ("B02", True),
        ("B03", False),
    ]
    assert len(items) == 2


def test_a_missing_folder_is_an_error_and_known_plates_and_images_are_kept(
    robot: RobotFolder, tmp_path: Path
) -> None:
    robot.well("B02")
    source = robot.open()
    assert len(images(source)) == 1
    robot.root.rename(tmp_path / "unplugged")
    with pytest.raises(SourceGoneError, match="expected the drop folder"):
        source.next(timeout_s=100)
    assert source.status(datetime.now(UTC)).gone is not None
    robot.root.mkdir()  # a mount point whose share is not mounted
    with pytest.raises(SourceGoneError, match="is empty and was not before"):
        source.next(timeout_s=100)
    assert list(source.plate_maps()) == ["P1"]
    robot.root.rmdir()
    (tmp_path / "unplugged").rename(robot.root)
    robot.well("B03")
    assert [image.key.well for image in images(source)] == ["B03"]
    assert source.status(datetime.now(UTC)).gone is None
    assert robot.events.starts == 3  # once for each folder at the path


def test_a_folder_that_is_missing_at_the_start_may_appear_later(
    robot: RobotFolder, tmp_path: Path
) -> None:
    robot.well()
    robot.root.rename(tmp_path / "later")
    source = robot.open()
    with pytest.raises(SourceGoneError):
        source.next(timeout_s=0)
    (tmp_path / "later").rename(robot.root)
    assert len(images(source)) == 1


def test_nothing_that_was_read_is_remembered_of_files_that_are_deleted(robot: RobotFolder) -> None:
    robot.well("B02")
    robot.write("P1/day07/B03_z1.tif", b"no image")
    source = robot.open()
    assert len([*results(source)]) == 2
    reader = source._reader  # its facts have no port
    assert {each.path for each in reader.undecodable} == {"P1/day07/B03_z1.tif"}
    assert len(reader.page_counts) == 3
    shutil.rmtree(robot.root / "P1" / "day07")
    assert source.next(timeout_s=10) is None
    facts = (reader.undecodable, reader.page_counts, reader.times, reader.digests)
    assert not any(facts)
