"""Folders of closed plates, which are listed about once an hour."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acquisition.drop_folder.resting_folders import LONGEST_REST_S, RestingFolder
from acquisition.drop_folder.source import REST_CHECK_S, DropFolder
from schemas.assay import Assay
from schemas.closed_folder import ClosedFolder
from schemas.errors import SourceGoneError
from schemas.plate_map import PlateMap
from tests.robot_folder import DAY_7_NS, PLATE_TOML, SECOND_NS, WELLS_CSV, RobotFolder, images, tiff

POLL_S = 5.0
HOUR_S = 3600.0


class Closed:
    """The closed plates and folders, as the store keeps them."""

    def __init__(self, *plates: str) -> None:
        self.closed = set(plates)
        self.stored: dict[str, str] = {}  # digest of a map, by plate; else every map is stored
        self.saved: dict[str, ClosedFolder] = {}

    def plates(self) -> set[str]:
        return self.closed

    def has_stored(self, plate_map: PlateMap, assay: Assay | None) -> bool:
        del assay
        return self.stored.get(plate_map.plate, plate_map.digest) == plate_map.digest

    def folders(self) -> list[ClosedFolder]:
        return list(self.saved.values())

    def save_folder(self, folder: ClosedFolder) -> None:
        self.saved[folder.path] = folder


class Resting:
    """A drop folder whose plate P1 is closed and rests, with its source."""

    def __init__(self, robot: RobotFolder) -> None:
        self.robot = robot
        self.closed = Closed("P1")
        self.files = robot.well()
        self.source = robot.open(*self.files, closed=self.closed)
        self.wait(2 * REST_CHECK_S)
        assert self.is_resting
        assert self.closed.saved.keys() == {"P1"}

    @property
    def is_resting(self) -> bool:
        return not any(path.startswith("P1/") for path in self.source._folder.listing.files)

    def wait(self, seconds: float) -> None:
        """Let the source poll for some time; no image comes."""
        end_s = self.robot.clock() + seconds
        while self.robot.clock() < end_s:
            assert self.source.next(POLL_S) is None

    def images(self, timeout_s: float = HOUR_S) -> list[tuple[str, int]]:
        """Return the well and day of the first images that come within a time."""
        item = self.source.next(timeout_s)
        assert item is not None
        self.source.done(item)
        return [(image.key.well, image.day) for image in images(self.source, 60.0)] or [
            (item.key.well, item.day)  # type: ignore[union-attr] # no refusal is expected
        ]


@pytest.fixture
def resting(robot: RobotFolder) -> Resting:
    return Resting(robot)


def test_a_resting_folder_has_no_files_and_no_plate_map_in_memory(resting: Resting) -> None:
    assert resting.source.plate_maps() == {}
    assert resting.source.status(None).pending == {}  # type: ignore[arg-type] # not used
    assert resting.source.status(None).held == {}  # type: ignore[arg-type] # not used


def test_a_replaced_file_of_equal_size_is_found_within_an_hour(resting: Resting) -> None:
    before = resting.files[0]
    resting.robot.write(before.path, tiff(99), at_ns=before.mtime_ns + SECOND_NS)
    assert resting.images(HOUR_S) == [("B02", 7)]


def test_a_new_file_in_a_nested_folder_is_found_within_an_hour(resting: Resting) -> None:
    resting.robot.well("B03", 9)
    assert resting.images(HOUR_S) == [("B03", 9)]


def test_a_file_event_ends_the_rest_at_once(resting: Resting) -> None:
    resting.robot.close_event(*resting.robot.well("B03", 9))
    assert resting.images(10.0) == [("B03", 9)]


def test_a_changed_map_ends_the_rest_until_it_is_stored(resting: Resting) -> None:
    resting.closed.stored["P1"] = "digest of the first map"
    text = PLATE_TOML + "readout_day = 9\n"
    resting.robot.write("P1/P1.plate.toml", text.encode(), at_ns=DAY_7_NS + SECOND_NS)
    resting.wait(HOUR_S)
    assert resting.source.plate_maps()["P1"].readout_day == 9
    resting.closed.stored.clear()
    resting.wait(2 * REST_CHECK_S)
    assert resting.is_resting


def test_a_plate_that_is_not_closed_any_more_ends_the_rest(resting: Resting) -> None:
    resting.closed.closed.clear()
    resting.wait(2 * POLL_S)
    assert not resting.is_resting
    assert set(resting.source.plate_maps()) == {"P1"}


def test_files_that_have_to_be_read_again_end_the_rest(resting: Resting) -> None:
    resting.source.read_again(resting.files)
    assert resting.source.status(None).pending == {"P1": 1}  # type: ignore[arg-type] # not used
    assert resting.images(HOUR_S) == [("B02", 7)]


def test_each_resting_folder_is_listed_once_an_hour(resting: Resting) -> None:
    listed = []
    folders = resting.source._folder.resting
    resting.robot.clock.now_s += 1.0
    begun_s = resting.robot.clock()
    while resting.robot.clock() < begun_s + 2 * LONGEST_REST_S:
        resting.wait(POLL_S)
        listed.append(folders._folders["P1"].listed_s)
    times_s = sorted(set(listed))
    assert len(times_s) in (2, 3)
    assert all(0 < later - time <= HOUR_S for time, later in pairwise([*times_s, begun_s + 7000.0]))


def test_the_listings_of_many_resting_folders_are_spread(resting: Resting) -> None:
    folders = resting.source._folder.resting
    for number in range(100):
        made = ClosedFolder(f"{number}", "", frozenset())
        folders.add(RestingFolder(made, listed_s=resting.robot.clock()))
    now_s = resting.robot.clock()
    due = [len(folders.due(now_s + 300.0 * turn)) for turn in range(1, 11)]
    assert 100 <= sum(due) <= 103
    assert max(due) <= 12


def test_after_a_restart_an_unchanged_folder_rests_without_its_outcomes_being_read(
    resting: Resting,
) -> None:
    again = resting.robot.open(closed=resting.closed)
    assert images(again, 60.0) == []
    assert not again._folder.listing.files
    assert again.status(None).is_listed  # type: ignore[arg-type] # not used
    assert again._known_files.outcomes._recorded.read == []  # type: ignore[attr-defined] # of the test


@pytest.mark.parametrize("setting", [{"planes": 1}, {"field": 2}, {"channel": "w1"}])
def test_after_a_restart_with_other_settings_every_folder_is_listed(
    resting: Resting, setting: dict[str, object]
) -> None:
    again = resting.robot.open(*resting.files, closed=resting.closed, **setting)
    again.next(POLL_S)
    assert again._folder.listing.files


def test_after_a_restart_a_file_that_changed_meanwhile_is_found(resting: Resting) -> None:
    before = resting.files[0]
    resting.robot.write(before.path, tiff(99), at_ns=before.mtime_ns + SECOND_NS)
    again = resting.robot.open(*resting.files, closed=resting.closed)
    assert [image.key.well for image in images(again, 60.0)] == ["B02"]


@pytest.fixture
def slow(robot: RobotFolder) -> tuple[RobotFolder, Closed]:
    """Return a share on which each file takes 30 ms, with four plates that rest and a live one."""
    names = ("P1", "P2", "P3", "P4", "P5")
    files = [*robot.well()]
    for name in names[1:]:
        robot.write(f"{name}/{name}.plate.toml", PLATE_TOML.replace("P1", name).encode())
        robot.write(f"{name}/{name}.wells.csv", WELLS_CSV.encode())
        files += [robot.write(f"{name}/day07/B02_z{n}.tif", tiff(n)) for n in (1, 2, 3)]
    closed = Closed(*names[:4])
    _poll(robot.open(*files, closed=closed), 2 * REST_CHECK_S, robot)
    assert len(closed.saved) == 4
    robot.progress = lambda: robot.clock.wait(0.03)
    return robot, closed


def test_after_a_restart_the_live_plates_are_listed_before_the_resting_folders_of_a_slow_share(
    slow: tuple[RobotFolder, Closed],
) -> None:
    robot, closed = slow
    robot.write("P5/day08/B02_z1.tif", tiff(8))
    again = robot.open(closed=closed, planes=3, once=False)
    again.next(0.0)
    resting = again._folder.resting._folders.values()
    unlisted = [each for each in resting if each.listed_s == float("-inf")]
    assert "P5/day08/B02_z1.tif" in again._folder.listing.files
    assert len(unlisted) == 3


@pytest.mark.parametrize("plate", ["P1", "P2", "P3", "P4"])
def test_after_a_restart_a_changed_file_in_any_resting_folder_is_found_within_a_few_listings(
    slow: tuple[RobotFolder, Closed], plate: str
) -> None:
    robot, closed = slow
    robot.write(f"{plate}/day07/B02_z1.tif", tiff(99), at_ns=DAY_7_NS + SECOND_NS)
    again = robot.open(closed=closed)
    found = [image.key.plate for image in images(again, 20 * POLL_S)]
    assert plate in found


def test_with_once_all_resting_folders_of_a_slow_share_are_listed_at_the_start(
    slow: tuple[RobotFolder, Closed],
) -> None:
    robot, closed = slow
    again = robot.open(closed=closed, once=True)
    again.next(0.0)
    resting = again._folder.resting._folders.values()
    assert len(resting) == 4
    assert all(each.listed_s > float("-inf") for each in resting)


def test_a_folder_with_an_image_whose_outcome_is_not_committed_does_not_rest(
    robot: RobotFolder,
) -> None:
    closed = Closed("P1")
    robot.well()
    source = robot.open(closed=closed)
    item = source.next(60.0)
    assert item is not None
    assert source.next(5 * REST_CHECK_S) is None
    assert closed.saved == {}
    source.done(item)
    assert source.next(2 * REST_CHECK_S) is None
    assert closed.saved.keys() == {"P1"}


def test_a_folder_with_a_file_without_outcome_does_not_rest(robot: RobotFolder) -> None:
    closed = Closed("P1")
    (robot.root / "P1/day08").mkdir()
    (robot.root / "P1/day08/B02_z1.tif").write_bytes(b"no image")
    source = robot.open(*robot.well(), closed=closed)
    for _ in range(20):
        item = source.next(POLL_S)
        if item is not None:
            break
    assert closed.saved == {}


def test_a_folder_with_a_live_and_a_closed_plate_does_not_rest(robot: RobotFolder) -> None:
    closed = Closed("P1")
    robot.write("P1/P2/P2.plate.toml", PLATE_TOML.replace("P1", "P2").encode())
    robot.write("P1/P2/P2.wells.csv", WELLS_CSV.encode())
    source = robot.open(*robot.well(), closed=closed)
    assert source.next(5 * REST_CHECK_S) is None
    assert closed.saved == {}


def test_a_folder_with_an_invalid_assay_does_not_rest(robot: RobotFolder) -> None:
    closed = Closed("P1")
    robot.write("P1/P1.assay.csv", b"well\nB02\n")
    source = robot.open(*robot.well(), closed=closed)
    assert source.next(5 * REST_CHECK_S) is None
    assert closed.saved == {}
    assert source.status(None).wrong_assays.keys() == {"P1"}  # type: ignore[arg-type] # not used


def test_no_folder_rests_where_links_are_followed(robot: RobotFolder) -> None:
    closed = Closed("P1")
    files = robot.well()
    (robot.root / "link").symlink_to(robot.root / "P1/day07", target_is_directory=True)
    source = robot.open(*files, closed=closed)
    source.next(5 * REST_CHECK_S)
    assert closed.saved == {}


def test_a_second_map_of_a_resting_plate_is_a_problem_and_never_replaces_the_first(
    resting: Resting,
) -> None:
    changed = (PLATE_TOML + "readout_day = 9\n").encode()
    resting.robot.write("elsewhere/plate.toml", changed)
    resting.robot.write("elsewhere/wells.csv", WELLS_CSV.encode())
    seen = []
    for _ in range(10):
        resting.source.next(POLL_S)
        seen.append(resting.source.plate_maps())
    assert all("P1" not in maps for maps in seen)
    assert "also has a map" in resting.source.status(None).held["P1"]  # type: ignore[arg-type] # not used


def test_a_copied_folder_of_a_resting_plate_is_compared_with_its_original(
    resting: Resting,
) -> None:
    shutil.copytree(resting.robot.root / "P1", resting.robot.root / "P1 - Copy")
    [copy] = images(resting.source, 60.0)
    assert copy.key.plate == "P1"
    assert {file.path.split("/")[0] for file in copy.files} == {"P1 - Copy"}
    resting.wait(2 * REST_CHECK_S)
    assert resting.closed.saved.keys() == {"P1", "P1 - Copy"}


def test_a_share_that_is_not_mounted_is_gone_also_if_every_folder_rests(
    resting: Resting, tmp_path: Path
) -> None:
    shutil.move(resting.robot.root / "P1", tmp_path / "away")
    with pytest.raises(SourceGoneError, match="is empty and was not before"):
        resting.wait(20.0)
    shutil.move(tmp_path / "away", resting.robot.root / "P1")
    resting.robot.clock.now_s += 2 * POLL_S
    resting.wait(20.0)
    assert resting.is_resting


def test_an_archived_folder_is_forgotten_at_the_next_start(resting: Resting) -> None:
    shutil.rmtree(resting.robot.root / "P1")
    again = resting.robot.open(closed=resting.closed)
    assert images(again, 60.0) == []


def test_files_that_are_passed_over_are_logged_once(robot: RobotFolder) -> None:
    robot.write("P1/notes.docx", b"text")
    closed = Closed("P1")
    with capture_logs() as logs:
        source = robot.open(*robot.well(), closed=closed)
        _poll(source, 3 * REST_CHECK_S, robot)
        _poll(robot.open(closed=closed), REST_CHECK_S, robot)
    counts = [line["files"] for line in logs if line["event"] == "files.passed_over"]
    assert counts == [{".docx": 1}] * 2  # one of each start


def _poll(source: DropFolder, seconds: float, robot: RobotFolder) -> None:
    end_s = robot.clock() + seconds
    while robot.clock() < end_s:
        assert source.next(POLL_S) is None
