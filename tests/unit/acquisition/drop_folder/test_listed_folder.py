"""The newest listing of a real folder, and the time of the next listing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acquisition.drop_folder.listed_folder import PAUSE_PER_LISTING, ListedFolder
from acquisition.drop_folder.naming import ParsedName, compile_pattern
from acquisition.drop_folder.settling import ListedFile, SettlingRules
from schemas.errors import ImageError, SourceGoneError
from tests.robot_folder import DAY_7_NS, PATTERN, ManualClock, RobotFolder

IMAGE = "P1/day07/B02_z1.tif"
NEVER_S = float("inf")


class TickingClock:
    """A clock on which every reading takes one second, so that a listing has a duration."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def open_folder(robot: RobotFolder, clock: Callable[[], float] | None = None) -> ListedFolder:
    return ListedFolder(
        robot.root,
        compile_pattern(PATTERN),
        SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0),
        poll_s=5.0,
        clock=clock or robot.clock,
        events=robot.events,
        wake=lambda: None,
    )


def test_the_listing_has_every_file_and_the_parsed_name_of_each_image(robot: RobotFolder) -> None:
    version = robot.write(IMAGE, b"image")
    robot.write("P1/overview.png", b"image")
    folder = open_folder(robot)
    assert folder.refresh()
    assert folder.listing.files[IMAGE] == ListedFile(version, robot.clock.now_s)
    assert {"P1/P1.plate.toml", "P1/P1.wells.csv"} < set(folder.listing.files)
    assert folder.listing.names[IMAGE] == ParsedName("B02", "P1", day=7, plane=1)
    assert isinstance(folder.listing.names["P1/overview.png"], ImageError)
    assert set(folder.listing.names) == {IMAGE, "P1/overview.png"}


def test_a_deleted_file_leaves_the_listing(robot: RobotFolder) -> None:
    robot.write(IMAGE, b"image")
    folder = open_folder(robot)
    folder.refresh()
    (robot.root / IMAGE).unlink()
    folder.refresh()
    assert IMAGE not in folder.listing.files
    assert IMAGE not in folder.listing.names


def test_only_a_later_listing_confirms_that_a_file_has_settled(robot: RobotFolder) -> None:
    robot.write(IMAGE, b"image")
    folder = open_folder(robot)
    folder.refresh()
    robot.clock.wait(10.0)
    assert not folder.is_settled(folder.listing.files[IMAGE])
    folder.refresh()
    assert folder.is_settled(folder.listing.files[IMAGE])


def test_a_changed_file_starts_to_settle_again(robot: RobotFolder) -> None:
    robot.write(IMAGE, b"half")
    folder = open_folder(robot)
    folder.refresh()
    robot.clock.wait(10.0)
    robot.write(IMAGE, b"complete")
    folder.refresh()
    assert folder.listing.files[IMAGE].unchanged_since_s == robot.clock.now_s
    assert not folder.is_settled(folder.listing.files[IMAGE])


def test_a_new_folder_is_due_at_once_and_then_after_poll_s(robot: RobotFolder) -> None:
    folder = open_folder(robot)
    assert folder.is_due()
    folder.refresh()
    assert not folder.is_due()
    assert folder.next_listing_s == robot.clock.now_s + 5.0
    robot.clock.wait(5.0)
    assert folder.is_due()


def test_the_next_listing_can_be_scheduled_earlier_but_not_later_than_poll_s(
    robot: RobotFolder,
) -> None:
    folder = open_folder(robot)
    folder.refresh()
    folder.schedule(robot.clock.now_s + 1.0)
    assert folder.next_listing_s == robot.clock.now_s + 1.0
    folder.schedule(NEVER_S)
    assert folder.next_listing_s == robot.clock.now_s + 5.0


def test_a_file_event_makes_a_listing_due_until_the_folder_is_listed(robot: RobotFolder) -> None:
    folder = open_folder(robot)
    folder.refresh()
    robot.close_event(robot.write(IMAGE, b"image"))
    assert folder.is_due()
    folder.schedule(NEVER_S)
    assert folder.is_due()
    folder.refresh()
    assert not folder.is_due()


def test_listings_take_at_most_a_tenth_of_the_time(robot: RobotFolder) -> None:
    clock = TickingClock()
    folder = open_folder(robot, clock)
    began_s = clock.now_s + 1  # the first reading of the listing
    folder.refresh()
    ended_s = clock.now_s
    robot.close_event(robot.write(IMAGE, b"image"))
    assert not folder.is_due()
    assert folder.next_listing_s == ended_s + PAUSE_PER_LISTING * (ended_s - began_s)
    clock.now_s = folder.next_listing_s
    assert folder.is_due()


def test_a_closed_file_is_finished_before_it_settles(robot: RobotFolder) -> None:
    folder = open_folder(robot)
    folder.refresh()
    robot.close_event(robot.write(IMAGE, b"image"))
    assert folder.is_due()
    folder.refresh()
    assert folder.listing.files[IMAGE].signalled


def test_the_close_event_of_an_earlier_version_is_not_a_signal_for_this_version(
    robot: RobotFolder,
) -> None:
    folder = open_folder(robot)
    folder.refresh()
    robot.close_event(robot.write(IMAGE, b"half"))
    robot.write(IMAGE, b"complete")
    assert folder.is_due()
    folder.refresh()
    assert not folder.listing.files[IMAGE].signalled


def test_a_marker_signals_that_a_file_is_complete(robot: RobotFolder) -> None:
    robot.write(IMAGE, b"image")
    robot.write("P1/day07.done", b"", at_ns=DAY_7_NS + 1)
    folder = open_folder(robot)
    folder.refresh()
    assert folder.listing.files[IMAGE].signalled


def test_an_ignored_signal_stays_ignored_in_later_listings(robot: RobotFolder) -> None:
    robot.write(IMAGE, b"image")
    robot.write(IMAGE + ".ready", b"", at_ns=DAY_7_NS + 1)
    folder = open_folder(robot)
    folder.refresh()
    folder.ignore_signal(file := folder.listing.files[IMAGE])
    for _ in range(2):
        assert folder.listing.files[IMAGE] == ListedFile(file.version, file.unchanged_since_s)
        robot.clock.wait(1.0)
        folder.refresh()


def test_a_file_can_settle_again_from_a_later_time(robot: RobotFolder) -> None:
    version = robot.write(IMAGE, b"image")
    folder = open_folder(robot)
    folder.refresh()
    folder.restart_settling(folder.listing.files[IMAGE], 2000.0)
    assert folder.listing.files[IMAGE] == ListedFile(version, 2000.0)


def test_a_newer_version_is_not_affected_when_an_older_one_settles_again(
    robot: RobotFolder,
) -> None:
    robot.write(IMAGE, b"half")
    folder = open_folder(robot)
    folder.refresh()
    older = folder.listing.files[IMAGE]
    newer = robot.write(IMAGE, b"complete")
    folder.refresh()
    folder.restart_settling(older, 2000.0)
    assert folder.listing.files[IMAGE] == ListedFile(newer, robot.clock.now_s)


def test_only_the_first_of_several_failures_is_raised(robot: RobotFolder, tmp_path: Path) -> None:
    folder = open_folder(robot)
    folder.refresh()
    listing = folder.listing
    robot.root.rename(tmp_path / "unplugged")
    with pytest.raises(SourceGoneError, match="expected the drop folder"):
        folder.refresh()
    assert not folder.refresh()
    assert folder.problem is not None
    assert folder.listing is listing
    assert folder.next_listing_s == robot.clock.now_s + 5.0
    (tmp_path / "unplugged").rename(robot.root)
    assert folder.refresh()
    assert folder.problem is None


def test_a_folder_that_is_empty_and_was_not_before_is_a_failure(
    robot: RobotFolder, tmp_path: Path
) -> None:
    folder = open_folder(robot)
    folder.refresh()
    robot.root.rename(tmp_path / "unplugged")
    robot.root.mkdir()
    with pytest.raises(SourceGoneError, match="is empty and was not before"):
        folder.refresh()
    assert "P1/P1.plate.toml" in folder.listing.files


def test_a_folder_that_was_always_empty_is_no_failure(tmp_path: Path) -> None:
    robot = RobotFolder(tmp_path / "other")
    for path in (robot.root / "P1").iterdir():
        path.unlink()
    (robot.root / "P1").rmdir()
    folder = open_folder(robot, ManualClock())
    assert folder.refresh()
    assert folder.listing.files == {}


def test_file_events_are_started_once_for_each_folder_at_the_path(
    robot: RobotFolder, tmp_path: Path
) -> None:
    folder = open_folder(robot)
    folder.refresh()
    folder.refresh()
    assert robot.events.starts == 1
    robot.root.rename(tmp_path / "unplugged")
    robot.root.mkdir()
    robot.write(IMAGE, b"image")
    folder.refresh()
    assert robot.events.starts == 2
