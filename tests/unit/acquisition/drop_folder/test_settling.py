"""The time at which a file is finished and a well image ready, computed from listings."""

import pytest

from acquisition.drop_folder.settling import (
    ListedFile,
    SettlingRules,
    merge_listing,
    ready_at_s,
    versions_with_markers,
)
from schemas.well_image import FileVersion

READY_NOW_S = float("-inf")
RULES = SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0)


def listed(plane: int, since_s: float, *, signalled: bool = False) -> ListedFile:
    return ListedFile(FileVersion(f"B02_z{plane}.tif", 100, plane), since_s, signalled)


CASES = {
    "all planes settle": ([listed(1, 10), listed(2, 11), listed(3, 12)], 3, False, 14.0),
    "all planes signalled": (
        [
            listed(1, 10, signalled=True),
            listed(2, 11, signalled=True),
            listed(3, 12, signalled=True),
        ],
        3,
        False,
        READY_NOW_S,
    ),
    "the last plane has no completion signal": (
        [listed(1, 10, signalled=True), listed(2, 11, signalled=True), listed(3, 12)],
        3,
        False,
        14.0,
    ),
    "a plane is missing": ([listed(1, 10), listed(2, 11)], 2, False, 71.0),
    "a plane is missing and all others are signalled": (
        [listed(1, 10, signalled=True), listed(2, 11, signalled=True)],
        2,
        False,
        71.0,
    ),
    "pages not counted yet": ([listed(1, 10)], None, False, 12.0),
    "pages not counted yet, signalled": ([listed(1, 10, signalled=True)], None, False, READY_NOW_S),
    "more planes than expected": ([listed(1, 10)], 11, False, 12.0),
    "a late plane after the first version": (
        [listed(1, 10), listed(2, 11), listed(3, 500, signalled=True)],
        3,
        True,
        502.0,
    ),
}


@pytest.mark.parametrize(
    ("files", "planes", "reopened", "expected_s"), CASES.values(), ids=CASES.keys()
)
def test_the_time_at_which_a_well_image_is_ready(
    files: list[ListedFile], planes: int | None, expected_s: float, *, reopened: bool
) -> None:
    assert ready_at_s(files, planes, RULES, reopened=reopened) == expected_s


def test_with_once_an_incomplete_well_image_is_ready_when_its_files_have_settled() -> None:
    once = SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0, once=True)
    assert ready_at_s([listed(1, 10)], 1, once, reopened=False) == 12.0


def test_a_file_that_grows_starts_to_settle_again() -> None:
    half, whole = FileVersion("a.tif", 50, 1), FileVersion("a.tif", 100, 2)
    files = merge_listing({}, [half], (), 10.0)
    files = merge_listing(files, [whole], (), 15.0)
    files = merge_listing(files, [whole], (), 20.0)
    assert files == {"a.tif": ListedFile(whole, 15.0)}


def test_a_close_event_of_an_earlier_version_is_not_a_signal_for_a_later_one() -> None:
    half, whole = FileVersion("a.tif", 50, 1), FileVersion("a.tif", 100, 2)
    assert not merge_listing({}, [whole], {half}, 10.0)["a.tif"].signalled
    assert merge_listing({}, [whole], {whole}, 10.0)["a.tif"].signalled


def test_a_deleted_file_leaves_the_listing() -> None:
    assert merge_listing({"a.tif": listed(1, 1.0)}, [], (), 10.0) == {}


@pytest.mark.parametrize(
    ("marker", "day", "is_signal"),
    [
        ("P/day10/B02_z1.tif.ready", 10, True),
        ("P/day10/B02_z2.tif.ready", 10, False),
        ("P/day10/day10.done", 10, True),
        ("P/day10.done", 10, True),
        ("day10.done", 10, True),
        ("P/day09.done", 10, False),
        ("Q/day10.done", 10, False),
        ("P/day10.done", None, False),
    ],
)
def test_a_marker_signals_the_images_of_its_file_or_day(
    marker: str, day: int | None, *, is_signal: bool
) -> None:
    image = FileVersion("P/day10/B02_z1.tif", 100, mtime_ns=5)
    listing = {image.path: image, marker: FileVersion(marker, 0, mtime_ns=6)}
    assert versions_with_markers({image.path: day}, listing) == ({image} if is_signal else set())


def test_a_marker_that_is_older_than_the_file_is_ignored() -> None:
    image = FileVersion("P/day10/B02_z1.tif", 100, mtime_ns=7)
    listing = {image.path: image, "P/day10.done": FileVersion("P/day10.done", 0, mtime_ns=6)}
    assert versions_with_markers({image.path: 10}, listing) == set()
