"""Groups of real files that are read ahead, and the result of each file."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from acquisition.drop_folder.group_reading import OVERDUE_S, GroupReader
from acquisition.drop_folder.image_decoding import ImageLimits
from acquisition.drop_folder.naming import ParsedName
from acquisition.drop_folder.retries import Retries
from acquisition.drop_folder.settling import ListedFile, SettlingRules
from acquisition.drop_folder.visits import FileGroup
from schemas.well_image import FileVersion, VisitKey
from tests.robot_folder import ImmediatePool, RobotFolder, tiff

RULES = SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0)
SETTLED_S, CHANGED_S, LISTED_S = 500.0, 999.0, 1000.0


class ManualPool(Executor):
    """An executor whose jobs run when the test calls :meth:`run`."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as Executor
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self, number: int) -> None:
        future, job = self.jobs[number]
        future.set_result(job())


def reader(
    robot: RobotFolder,
    pool: Executor | None = None,
    wake: Callable[[], None] = lambda: None,
    *,
    one_plane: bool = True,
    retries: Retries | None = None,
) -> GroupReader:
    return GroupReader(
        robot.root,
        RULES,
        ImageLimits(),
        one_plane_per_file=one_plane,
        pool=pool or ImmediatePool(),
        retries=retries or Retries(lambda: LISTED_S),
        wake=wake,
        most_groups=2,
    )


def group(
    *versions: FileVersion, well: str = "B02", since_s: float = SETTLED_S, signalled: bool = False
) -> FileGroup:
    files = tuple(ListedFile(version, since_s, signalled) for version in versions)
    return FileGroup(VisitKey("P1", well, "day07"), 7, ParsedName(well), files)


def test_each_file_of_a_group_is_decoded_in_order(robot: RobotFolder) -> None:
    reading = reader(robot)
    asked = group(*robot.well())
    reading.request(asked, LISTED_S)
    read = reading.pop()
    assert read is not None
    assert (read.group, read.listed_s, len(read.images)) == (asked, LISTED_S, 3)
    assert (read.changed, read.unfinished, read.refusals) == ((), (), ())
    assert reading.pop() is None


def test_groups_are_returned_in_the_order_of_the_requests(robot: RobotFolder) -> None:
    pool = ManualPool()
    reading = reader(robot, pool)
    first, second = group(*robot.well("B02")), group(*robot.well("B03"), well="B03")
    reading.request(first, LISTED_S)
    reading.request(second, LISTED_S)
    pool.run(1)
    assert not reading.has_results()
    assert reading.pop() is None
    pool.run(0)
    assert reading.has_results()
    assert [read.group for read in (reading.pop(), reading.pop()) if read] == [first, second]


def test_places_are_free_up_to_the_limit_until_a_result_is_taken(robot: RobotFolder) -> None:
    reading = reader(robot)
    assert reading.free_places == 2
    asked = group(*robot.well())
    reading.request(asked, LISTED_S)
    assert (reading.free_places, reading.groups) == (1, (asked,))
    reading.pop()
    assert (reading.free_places, reading.groups) == (2, ())


def test_a_file_whose_reading_does_not_end_is_reported(robot: RobotFolder) -> None:
    pool = ManualPool()
    reading = reader(robot, pool)
    asked = group(*robot.well())
    reading.request(asked, LISTED_S)
    assert reading.overdue(LISTED_S + 2 * OVERDUE_S) == {}  # it waits for a thread
    pool.jobs[0][0].set_running_or_notify_cancel()
    assert reading.overdue(LISTED_S + OVERDUE_S) == {}
    assert reading.overdue(LISTED_S + OVERDUE_S + 1) == {
        "P1/day07/B02_z1.tif": "is being read for more than 60 s"
    }
    pool.run(0)
    assert reading.overdue(LISTED_S + 2 * OVERDUE_S) == {}


def test_a_deleted_file_and_a_replaced_file_have_changed(robot: RobotFolder) -> None:
    deleted, replaced, kept = robot.well()
    (robot.root / deleted.path).unlink()
    robot.write(replaced.path, tiff(9), at_ns=replaced.mtime_ns + 1)
    reading = reader(robot)
    reading.request(group(deleted, replaced, kept), LISTED_S)
    read = reading.pop()
    assert read is not None
    assert [file.version for file in read.changed] == [deleted, replaced]
    assert read.images == ()


def test_a_settled_file_that_cannot_be_decoded_is_refused_alone(robot: RobotFolder) -> None:
    damaged = robot.write("P1/day07/B02_z3.tif", b"")
    reading = reader(robot)
    reading.request(group(*robot.well(planes=(1, 2)), damaged), LISTED_S)
    read = reading.pop()
    assert read is not None
    (refusal,) = read.refusals
    assert (refusal.files, refusal.plate, refusal.well) == ((damaged,), "P1", "B02")
    assert refusal.reason.startswith("0 bytes")
    assert (read.images, read.unfinished) == ((), ())
    assert reading.undecodable == {damaged}


def test_what_was_read_of_files_that_are_no_longer_listed_is_forgotten(robot: RobotFolder) -> None:
    damaged = robot.write("P1/day07/B03_z1.tif", b"")
    planes = robot.well(planes=(1, 2))
    reading = reader(robot)
    reading.request(group(*planes), LISTED_S)
    reading.request(group(damaged, well="B03"), LISTED_S)
    reading.request_times([*planes, damaged])
    reading.request_digests(planes)
    assert [reading.pop() is not None for _ in range(2)] == [True, True]
    reading.collect_times()
    reading.collect_digests()
    facts = (reading.undecodable, reading.page_counts, reading.times, reading.digests)
    assert [len(each) for each in facts] == [1, 2, 3, 2]
    reading.keep_only({damaged, planes[0]}.__contains__)
    assert [set(each) for each in facts] == [
        {damaged},
        {planes[0]},
        {damaged, planes[0]},
        {planes[0]},
    ]
    reading.keep_only(lambda _: False)
    assert not any(facts)


def test_a_signalled_file_that_cannot_be_decoded_is_unfinished_until_it_settles(
    robot: RobotFolder,
) -> None:
    half = robot.write("P1/day07/B02_z1.tif", tiff(1)[:500])
    reading = reader(robot)
    reading.request(group(half, since_s=CHANGED_S, signalled=True), LISTED_S)
    read = reading.pop()
    assert read is not None
    assert [file.version for file in read.unfinished] == [half]
    assert read.refusals == ()
    assert reading.undecodable == set()


def test_nothing_is_refused_while_another_file_of_the_group_has_changed(
    robot: RobotFolder,
) -> None:
    damaged = robot.write("P1/day07/B02_z1.tif", b"")
    deleted = FileVersion("P1/day07/B02_z2.tif", 100, 1)
    reading = reader(robot)
    reading.request(group(damaged, deleted), LISTED_S)
    read = reading.pop()
    assert read is not None
    assert (len(read.changed), read.refusals) == (1, ())
    assert reading.undecodable == set()


def test_a_file_that_the_disk_does_not_return_is_neither_refused_nor_decoded(
    robot: RobotFolder,
) -> None:
    failing = robot.failing_file("P1/day07/B02_z3.tif")
    retries = Retries(lambda: LISTED_S)
    reading = reader(robot, retries=retries)
    reading.request(group(*robot.well(planes=(1, 2)), failing), LISTED_S)
    read = reading.pop()
    assert read is not None
    assert read.failures == {failing: "cannot be read now: Input/output error"}
    assert (read.images, read.refusals) == ((), ())
    assert retries.retry_at_s([failing]) == LISTED_S + 1.0


def test_a_file_whose_end_is_missing_is_refused_after_the_time_for_missing_planes(
    robot: RobotFolder,
) -> None:
    half = robot.write("P1/day07/B02_z1.tif", tiff(1)[:5000])
    retries = Retries(lambda: LISTED_S)
    reading = reader(robot, retries=retries)
    reading.request(group(half, since_s=LISTED_S - 30.0), LISTED_S)
    early = reading.pop()
    assert early is not None
    assert ([file.version for file in early.incomplete], early.refusals) == ([half], ())
    assert retries.retry_at_s([half]) == LISTED_S + 30.0
    reading.request(group(half, since_s=LISTED_S - 30.0), LISTED_S + 30.0)
    late = reading.pop()
    assert late is not None
    assert (late.incomplete, len(late.refusals)) == ((), 1)


def test_several_pages_are_refused_only_where_each_file_is_one_plane(robot: RobotFolder) -> None:
    stack = robot.write("P1/day07/B02.tif", tiff(1, (3, 64, 64)))
    strict, tolerant = reader(robot), reader(robot, one_plane=False)
    for reading in (strict, tolerant):
        reading.request(group(stack), LISTED_S)
    refused, read = strict.pop(), tolerant.pop()
    assert refused is not None
    assert read is not None
    assert refused.refusals[0].reason.startswith("3 pages; expected one")
    assert len(read.images[0].planes) == 3
    assert tolerant.page_counts == {stack: 3}


def test_no_group_is_read_while_the_time_of_a_file_is_read(robot: RobotFolder) -> None:
    pool = ManualPool()
    reading = reader(robot, pool)
    timed = robot.write("P1/B02.tif", tiff(1, datetime="2026:11:12 08:00:00"))
    reading.request_times([timed])
    assert reading.free_places == 0
    assert not reading.collect_times()
    pool.run(0)
    assert reading.has_results()
    assert reading.collect_times()
    assert reading.times == {timed: datetime(2026, 11, 12, 8)}  # noqa: DTZ001 - TIFF has no zone
    assert reading.free_places == 2


def test_the_time_of_a_file_is_read_once(robot: RobotFolder) -> None:
    pool = ManualPool()
    reading = reader(robot, pool)
    timed = robot.write("P1/B02.png", b"not a TIFF")
    reading.request_times([timed])
    reading.request_times([timed])
    pool.run(0)
    reading.collect_times()
    reading.request_times([timed])
    assert reading.times == {timed: None}
    assert len(pool.jobs) == 1


def test_a_thread_that_has_read_a_group_wakes_the_source(robot: RobotFolder) -> None:
    woken = threading.Event()
    reading = reader(robot, ThreadPoolExecutor(1), woken.set)
    reading.request(group(*robot.well()), LISTED_S)
    assert woken.wait(timeout=30.0)
    assert reading.pop() is not None
    reading.close()
    reading.close()
