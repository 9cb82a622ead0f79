"""The drop folder, by a clock that the test moves: every wait ends at once, files are read on the spot."""

import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from schemas.errors import ConfigError, SourceGoneError
from schemas.quality import Flag
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage

PATTERN = "{plate}/day{day}/{well}_z{plane}.tif"
PLATE_TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\num_per_px = 1.36\n'
WELLS_CSV = "well,group,treatment\nB02,untreated,\nB03,screening,gemcitabine:1 uM\n"
SECOND_NS = 10**9
MORNING_NS = int(datetime(2026, 11, 16, 9, tzinfo=UTC).timestamp()) * SECOND_NS  # culture day 7


class Clock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.001)


class SamePlacePool(Executor):
    """Runs a job where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as Executor
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class SilentEvents:
    """File events that the test makes."""

    def __init__(self) -> None:
        self.closed: set[FileVersion] = set()
        self.starts = 0

    def start(self, root: Path, wake: Callable[[], None]) -> None:  # noqa: ARG002 - the port's
        self.starts += 1

    def take(self) -> tuple[bool, set[FileVersion]]:
        closed, self.closed = self.closed, set()
        return bool(closed), closed

    def stop(self) -> None:
        pass


class Ledger:
    def __init__(self, *ended: FileVersion) -> None:
        self.ended = ended

    def ended_files(self) -> tuple[FileVersion, ...]:
        return self.ended


def tiff(seed: int = 0, shape: tuple[int, ...] = (64, 64), **options: Any) -> bytes:  # noqa: ANN401 - whatever tifffile takes
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16),
        photometric="minisblack",
        metadata=None,
        **options,
    )
    return buffer.getvalue()


class RobotFolder:
    """A drop folder that the test fills as a robot does, with the clock and events of its source."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.events = SilentEvents()
        root.mkdir()
        self.write("P1/P1.plate.toml", PLATE_TOML.encode())
        self.write("P1/P1.wells.csv", WELLS_CSV.encode())

    def open(self, *ended: FileVersion, **settings: Any) -> DropFolder:  # noqa: ANN401 - any setting
        return DropFolder(
            DropFolderSettings(**({"path": self.root, "pattern": PATTERN} | settings)),
            Ledger(*ended),
            clock=self.clock,
            events=self.events,
            pool=SamePlacePool(),
            wait=self.clock.wait,
        )

    def write(self, path: str, content: bytes, *, at_ns: int = MORNING_NS) -> FileVersion:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, ns=(at_ns, at_ns))
        return FileVersion(path, len(content), at_ns)

    def well(
        self,
        well: str = "B02",
        day: int = 7,
        planes: tuple[int, ...] = (1, 2, 3),
        *,
        at_ns: int = MORNING_NS,
    ) -> tuple[FileVersion, ...]:
        return tuple(
            self.write(
                f"P1/day{day:02d}/{well}_z{plane}.tif",
                tiff(zlib.crc32(f"{well} {day} {plane} {at_ns}".encode())),
                at_ns=at_ns,
            )
            for plane in planes
        )

    def close_event(self, *versions: FileVersion) -> None:
        self.events.closed |= set(versions)


@pytest.fixture
def bench(tmp_path: Path) -> RobotFolder:
    return RobotFolder(tmp_path / "drop")


def drain(source: DropFolder, timeout_s: float = 300.0) -> Iterator[WellImage | Rejected]:
    """Yield what comes until nothing came for ``timeout_s``."""
    while (item := source.next(timeout_s)) is not None:
        yield item
        source.done(item)


def images(source: DropFolder, timeout_s: float = 300.0) -> list[WellImage]:
    return [item for item in drain(source, timeout_s) if isinstance(item, WellImage)]


def refusals(source: DropFolder, timeout_s: float = 300.0) -> list[Rejected]:
    return [item for item in drain(source, timeout_s) if isinstance(item, Rejected)]


def test_three_planes_become_a_well_image(bench: RobotFolder) -> None:
    files = bench.well()
    (image,) = drain(bench.open())
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


def test_a_half_copied_file_is_not_taken(bench: RobotFolder) -> None:
    whole = tiff(3)
    bench.well(planes=(1, 2))
    bench.write("P1/day07/B02_z3.tif", whole[:3000])
    source = bench.open()
    for share in (4000, 5000, 6000):
        assert source.next(timeout_s=1.5) is None
        bench.write("P1/day07/B02_z3.tif", whole[:share])
    bench.write("P1/day07/B02_z3.tif", whole)
    (image,) = drain(source)
    assert isinstance(image, WellImage)
    assert image.complete


def test_a_file_settles_by_our_clock_whatever_the_robots_clock_says(bench: RobotFolder) -> None:
    bench.well(at_ns=MORNING_NS + 10**18)  # thirty years ahead
    source = bench.open()
    start_s = bench.clock.now_s
    assert source.next(timeout_s=100) is not None
    assert 2.0 <= bench.clock.now_s - start_s < 3.0


def test_close_events_of_all_planes_end_the_wait(bench: RobotFolder) -> None:
    source = bench.open()
    assert source.next(timeout_s=10) is None
    bench.close_event(*bench.well())
    assert source.next(timeout_s=0) is not None


def test_an_appended_tiff_that_closes_after_each_page_is_taken_whole(bench: RobotFolder) -> None:
    source = bench.open(pattern="{plate}/day{day}/{well}.tif")
    assert source.next(timeout_s=10) is None
    for pages in (1, 2):
        bench.close_event(
            bench.write("P1/day07/B02.tif", tiff(shape=(pages, 64, 64)), at_ns=MORNING_NS + pages)
        )
        assert source.next(timeout_s=1) is None
    bench.close_event(
        bench.write("P1/day07/B02.tif", tiff(shape=(3, 64, 64)), at_ns=MORNING_NS + 3)
    )
    image = source.next(timeout_s=0)
    assert isinstance(image, WellImage)
    assert (len(image.planes), image.complete) == (3, True)


def test_a_closed_file_that_does_not_decode_yet_settles_before_it_is_refused(
    bench: RobotFolder,
) -> None:
    source = bench.open()
    assert source.next(timeout_s=10) is None
    files = bench.well(planes=(1, 2))
    bench.close_event(*files, bench.write("P1/day07/B02_z3.tif", tiff(3)[:500]))
    assert source.next(timeout_s=1.0) is None
    bench.close_event(bench.write("P1/day07/B02_z3.tif", tiff(3), at_ns=MORNING_NS + 1))
    (image,) = drain(source)
    assert isinstance(image, WellImage)
    assert image.complete


@pytest.mark.parametrize("marker", ["P1/day07.done", "P1/day07/day07.done"])
def test_a_done_marker_ends_the_wait_of_its_day(bench: RobotFolder, marker: str) -> None:
    source = bench.open()
    assert source.next(timeout_s=4) is None
    bench.well(day=7)
    bench.well(day=8)
    bench.write(marker, b"", at_ns=MORNING_NS + 1)
    image = source.next(timeout_s=3.5)  # the listing comes at 7 s, the files would settle at 9 s
    assert isinstance(image, WellImage)
    assert image.day == 7
    assert source.next(timeout_s=0.1) is None


def test_ready_markers_end_the_wait_of_their_files(bench: RobotFolder) -> None:
    source = bench.open()
    assert source.next(timeout_s=4) is None
    for version in bench.well():
        bench.write(version.path + ".ready", b"", at_ns=MORNING_NS + 1)
    assert isinstance(source.next(timeout_s=3.5), WellImage)  # as above


def test_a_well_image_whose_planes_stay_incomplete_goes_on_flagged(bench: RobotFolder) -> None:
    bench.well(planes=(1, 3))
    source = bench.open()
    assert source.next(timeout_s=59) is None
    (image,) = drain(source)
    assert isinstance(image, WellImage)
    assert (len(image.planes), image.complete, image.flags) == (2, False, (Flag.PLANES_MISSING,))


def test_a_late_plane_makes_a_new_version_with_all_files(bench: RobotFolder) -> None:
    early = bench.well(planes=(1, 2))
    source = bench.open()
    assert [image.complete for image in images(source)] == [False]
    late = bench.well(planes=(3,))
    (image,) = images(source)
    assert (image.complete, image.files) == (True, early + late)


def test_a_late_plane_is_seen_after_a_restart(bench: RobotFolder) -> None:
    early = bench.well(planes=(1, 2))
    late = bench.well(planes=(3,))
    (image,) = images(bench.open(*early))
    assert image.files == early + late


def test_planes_that_are_replaced_one_by_one_make_one_new_version(bench: RobotFolder) -> None:
    bench.well()
    source = bench.open()
    assert len(images(source)) == 1
    for plane in (1, 2, 3):
        bench.close_event(*bench.well(planes=(plane,), at_ns=MORNING_NS + SECOND_NS))
        assert source.next(timeout_s=1) is None
    (image,) = images(source)
    assert {version.mtime_ns for version in image.files} == {MORNING_NS + SECOND_NS}


def test_nothing_is_handed_out_twice(bench: RobotFolder) -> None:
    files = bench.well()
    source = bench.open()
    assert source.next(timeout_s=10) is not None  # and never told that it is done
    assert source.next(timeout_s=300) is None
    assert list(drain(bench.open(*files))) == []


def test_a_well_imaged_twice_a_day_under_another_ignored_name_is_two_versions(
    bench: RobotFolder,
) -> None:
    second = bench.write(
        "P1/x_B02second.tif", tiff(2, datetime="2026:11:16 15:00:00"), at_ns=MORNING_NS + 5
    )
    first = bench.write("P1/x_B02thefirst.tif", tiff(1, datetime="2026:11:16 09:00:00"))
    taken = images(bench.open(pattern="{name}_{well:a00}{guid}.tif", planes=1))
    assert [(image.key.visit, image.files) for image in taken] == [
        ("day07", (first,)),
        ("day07", (second,)),
    ]


BAD = {
    "empty": (b"", "0 bytes"),
    "truncated": (tiff(1)[:5000], "cut short"),
    "text": (b"not an image", "expected a TIFF, PNG or JPEG"),
    "three pages in one plane's file": (tiff(1, (3, 64, 64)), "3 pages; expected one"),
    "too small": (tiff(1, (16, 16)), "16×16 pixels"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_and_everything_else_goes_on(
    bench: RobotFolder, content: bytes, reason: str
) -> None:
    neighbours = bench.well("B03")
    others = bench.well("B02", planes=(1, 2))
    bad = bench.write("P1/day07/B02_z3.tif", content)
    items = list(drain(bench.open()))
    (refused,) = [item for item in items if isinstance(item, Rejected)]
    assert (refused.files, refused.plate, refused.well) == ((bad,), "P1", "B02")
    assert reason in refused.reason
    taken = {image.files: image.complete for image in items if isinstance(image, WellImage)}
    assert taken == {neighbours: True, others: False}


def test_a_file_over_the_limit_is_refused_unread(bench: RobotFolder) -> None:
    bench.write("P1/day07/B02_z1.tif", tiff(1))
    (refused,) = refusals(bench.open(max_file_bytes=5000))
    assert "expected at most 5000" in refused.reason


def test_planes_of_two_sizes_are_refused_together_and_mended_by_one(bench: RobotFolder) -> None:
    bench.well(planes=(1, 2))
    bench.write("P1/day07/B02_z3.tif", tiff(3, (80, 80)))
    source = bench.open()
    (refused,) = refusals(source)
    assert "expected one size" in refused.reason
    assert len(refused.files) == 3
    bench.write("P1/day07/B02_z3.tif", tiff(3), at_ns=MORNING_NS + 1)
    (image,) = images(source)
    assert (image.complete, len(image.files)) == (True, 3)


def test_a_refused_file_that_changes_is_read_again(bench: RobotFolder) -> None:
    bench.well(planes=(1, 2))
    bench.write("P1/day07/B02_z3.tif", b"")
    source = bench.open()
    first = list(drain(source))
    assert [type(item).__name__ for item in first] == ["Rejected", "WellImage"]
    bench.write("P1/day07/B02_z3.tif", tiff(3), at_ns=MORNING_NS + 1)
    (image,) = drain(source)
    assert isinstance(image, WellImage)
    assert image.complete


def test_a_file_refused_in_an_earlier_life_is_not_refused_again(bench: RobotFolder) -> None:
    bad = bench.write("P1/day07/B02_z3.tif", b"")
    good = bench.well(planes=(1, 2))
    (image,) = drain(bench.open(bad))
    assert isinstance(image, WellImage)
    assert image.files == good


def test_an_image_whose_name_does_not_fit_is_refused_and_other_files_are_ignored(
    bench: RobotFolder,
) -> None:
    stray = bench.write("P1/day07/overview.png", b"whatever")
    for path in (
        "P1/P1.assay.csv",
        "notes.txt",
        "P1/day07/.B02_z1.tif",
        "P1/day07/B02_z1.tif.part",
        "Thumbs.db",
        "P1/day07/~B02_z1.tif",
    ):
        bench.write(path, b"whatever")
    (refused,) = drain(bench.open())
    assert isinstance(refused, Rejected)
    assert refused.files == (stray,)
    assert "does not fit the pattern {plate}/day{day}/{well}_z{plane}.tif" in refused.reason


def test_images_of_a_plate_without_a_map_are_held_until_it_comes(bench: RobotFolder) -> None:
    shutil.rmtree(bench.root / "P1")
    bench.well()
    source = bench.open()
    assert source.next(timeout_s=100) is None
    status = source.status(datetime.now(UTC))
    assert status.held == {"P1": "no plate map; expected P1.plate.toml and P1.wells.csv"}
    assert status.pending == {}
    bench.write("P1/P1.plate.toml", PLATE_TOML.encode())
    assert source.next(timeout_s=100) is None
    assert "P1.wells.csv: is missing" in source.status(datetime.now(UTC)).held["P1"]
    bench.write("P1/P1.wells.csv", WELLS_CSV.encode())
    assert isinstance(source.next(timeout_s=100), WellImage)
    assert source.status(datetime.now(UTC)).held == {}
    assert list(source.plate_maps()) == ["P1"]


def test_a_plate_map_that_is_wrong_holds_its_plate_until_it_is_mended(bench: RobotFolder) -> None:
    bench.write("P1/P1.wells.csv", b"well,group,treatment\nB02,untreated,\nB2,blank,\n")
    bench.well()
    source = bench.open()
    assert source.next(timeout_s=100) is None
    assert source.status(datetime.now(UTC)).held == {
        "P1": "P1/P1.wells.csv: line 3: well B02 is already on line 2; expected each well once"
    }
    assert source.plate_maps() == {}
    bench.write("P1/P1.wells.csv", WELLS_CSV.encode(), at_ns=MORNING_NS + 1)
    assert isinstance(source.next(timeout_s=100), WellImage)


def test_a_plate_map_that_is_still_being_written_is_not_read(bench: RobotFolder) -> None:
    bench.write("P1/P1.wells.csv", WELLS_CSV[:40].encode())
    source = bench.open(once=True)
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    assert source.status(datetime.now(UTC)).held == {}
    bench.write("P1/P1.wells.csv", WELLS_CSV.encode(), at_ns=MORNING_NS + 1)
    assert source.next(timeout_s=10) is None
    assert len(source.plate_maps()["P1"].entries) == 2


def test_a_map_whose_wells_come_a_moment_later_is_never_a_problem(bench: RobotFolder) -> None:
    shutil.rmtree(bench.root / "P1")
    bench.well()
    source = bench.open()
    bench.close_event(bench.write("P1/P1.plate.toml", PLATE_TOML.encode()))
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).held == {}
    bench.close_event(bench.write("P1/P1.wells.csv", WELLS_CSV.encode()))
    assert isinstance(source.next(timeout_s=10), WellImage)


def test_two_maps_of_one_plate_are_a_problem_and_a_moved_one_is_not(bench: RobotFolder) -> None:
    bench.write("maps/P1.plate.toml", PLATE_TOML.encode())
    bench.write("maps/P1.wells.csv", WELLS_CSV.encode())
    source = bench.open()
    assert source.next(timeout_s=10) is None
    assert "has a map in P1/P1.plate.toml already" in source.status(datetime.now(UTC)).held["P1"]
    (bench.root / "P1/P1.plate.toml").unlink()
    assert source.next(timeout_s=10) is None
    assert list(source.plate_maps()) == ["P1"]


def test_older_days_come_first(bench: RobotFolder) -> None:
    for day in (9, 1, 10, 2):
        bench.well("B03", day)
        bench.well("B02", day)
    taken = [(image.day, image.key.well) for image in images(bench.open())]
    assert taken == sorted(taken)
    assert len(taken) == 8


def test_a_folder_that_vanishes_is_an_error_and_forgets_nothing(
    bench: RobotFolder, tmp_path: Path
) -> None:
    bench.well("B02")
    source = bench.open()
    assert len(images(source)) == 1
    bench.root.rename(tmp_path / "unplugged")
    with pytest.raises(SourceGoneError, match="expected the drop folder"):
        source.next(timeout_s=100)
    assert source.status(datetime.now(UTC)).gone is not None
    bench.root.mkdir()  # a mount point without its share
    with pytest.raises(SourceGoneError, match="is empty and was not before"):
        source.next(timeout_s=100)
    assert list(source.plate_maps()) == ["P1"]
    bench.root.rmdir()
    (tmp_path / "unplugged").rename(bench.root)
    bench.well("B03")
    assert [image.key.well for image in images(source)] == ["B03"]
    assert source.status(datetime.now(UTC)).gone is None
    assert bench.events.starts == 3  # each folder that stands at the path is watched once


def test_a_folder_that_is_not_there_from_the_start_may_come(
    bench: RobotFolder, tmp_path: Path
) -> None:
    bench.well()
    bench.root.rename(tmp_path / "later")
    source = bench.open()
    with pytest.raises(SourceGoneError):
        source.next(timeout_s=0)
    (tmp_path / "later").rename(bench.root)
    assert len(images(source)) == 1


def test_a_file_that_vanishes_before_it_is_read_is_no_refusal(bench: RobotFolder) -> None:
    bench.well("B02")
    (gone, *_) = bench.well("B03")
    source = bench.open()
    assert source.next(timeout_s=1.99) is None
    list_files_then_remove = source._list

    def remove_after_listing() -> None:
        list_files_then_remove()
        (bench.root / gone.path).unlink(missing_ok=True)

    source._list = remove_after_listing  # type: ignore[method-assign]  # the robot's hand between listing and reading
    items = list(drain(source))
    assert [(item.key.well, item.complete) for item in items if isinstance(item, WellImage)] == [
        ("B02", True),
        ("B03", False),
    ]
    assert len(items) == 2


def test_the_folder_is_left_as_it_was(bench: RobotFolder) -> None:
    bench.well()
    bench.write("P1/day07/B03_z1.tif", b"")
    before = {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bench.root.rglob("*")
    }
    assert len(list(drain(bench.open()))) == 2
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bench.root.rglob("*")
    } == before


def test_with_once_all_that_is_there_is_taken_and_then_nothing_is_pending(
    bench: RobotFolder,
) -> None:
    bench.well("B02", planes=(1, 2))
    bench.well("B03")
    bench.write("P2/day07/B02_z1.tif", tiff())  # no map: held
    bench.write("P1/day07/odd.tif", tiff())
    source = bench.open(once=True)
    start_s = bench.clock.now_s
    taken = []
    while (item := source.next(0.5)) or source.status(datetime.now(UTC)).pending:
        if item:
            taken.append(item)
    assert sorted(type(item).__name__ for item in taken) == ["Rejected", "WellImage", "WellImage"]
    assert bench.clock.now_s - start_s < 10
    assert list(source.status(datetime.now(UTC)).held) == ["P2"]


def test_pending_counts_well_images_that_wait(bench: RobotFolder) -> None:
    bench.well("B02")
    bench.well("B03", planes=(1,))
    source = bench.open()
    assert source.next(timeout_s=1) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 2}
    assert source.next(timeout_s=10) is not None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}


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
def test_which_day_an_image_is_of(
    bench: RobotFolder,
    pattern: str,
    path: str,
    options: dict[str, str],
    visit: str,
    day: int,
    flags: tuple[Flag, ...],
) -> None:
    bench.write(path, tiff(**options))
    (image,) = images(bench.open(pattern=pattern, planes=1))
    assert (image.key.visit, image.day, image.flags) == (visit, day, flags)


def test_a_day_before_seeding_is_refused(bench: RobotFolder) -> None:
    bench.write("P1/B02.tif", tiff(datetime="2023:09:21 08:00:00"))
    (refused,) = refusals(bench.open(pattern="{plate}/{well}.tif", planes=1))
    assert "culture day -1145 of a plate seeded at 2026-11-10T09:00:00+01:00" in refused.reason


def test_of_several_fields_the_lowest_or_the_named_one_is_taken(bench: RobotFolder) -> None:
    for field in (1, 2, 3):
        bench.write(f"P1/day07/B02_f{field}.tif", tiff(field))
    pattern = "{plate}/day{day}/{well}_f{field}.tif"
    assert [image.key.visit for image in images(bench.open(pattern=pattern, planes=1))] == [
        "day07-f01"
    ]
    assert [
        image.key.visit for image in images(bench.open(pattern=pattern, planes=1, field=3))
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
def test_where_the_pattern_has_no_plate_the_setting_or_the_folder_names_it(
    bench: RobotFolder, path: str, plate: str | None, expected: str
) -> None:
    bench.write("maps/drop.plate.toml", PLATE_TOML.replace("P1", "drop").encode())
    bench.write("maps/drop.wells.csv", WELLS_CSV.encode())
    bench.write(path, tiff())
    (image,) = images(bench.open(pattern="day{day}/{well}.tif", planes=1, plate=plate))
    assert image.key.plate == expected


def test_a_wrong_pattern_stops_the_start(bench: RobotFolder) -> None:
    with pytest.raises(ConfigError, match=r"source\.pattern"):
        bench.open(pattern="{plate}/{day}.tif")


def test_with_once_a_file_that_changes_while_it_is_read_stays_pending(bench: RobotFolder) -> None:
    bench.write("P1/day07/B02.tif", tiff(1))
    source = bench.open(once=True, planes=1, pattern="{plate}/day{day}/{well}.tif")
    assert source.next(timeout_s=1) is None
    list_files = source._list

    def overwrite_after_listing() -> None:
        list_files()
        bench.write("P1/day07/B02.tif", tiff(2), at_ns=MORNING_NS + 1)

    source._list = overwrite_after_listing  # type: ignore[method-assign]  # the robot's hand between listing and reading
    assert source.next(timeout_s=1.5) is None
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    (image,) = images(source)
    assert image.files[0].mtime_ns == MORNING_NS + 1


def test_a_day_that_is_none_is_refused_once_the_file_settled(bench: RobotFolder) -> None:
    source = bench.open()
    assert source.next(timeout_s=10) is None
    bench.write("P1/day00/B02_z1.tif", tiff(1))
    (refused,) = refusals(source)
    assert "culture day 0" in refused.reason
