"""Listings that are sorted into groups of one well image each, without any file."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from acquisition.drop_folder.file_outcomes import FileOutcomes
from acquisition.drop_folder.grouping import (
    NEVER_S,
    FileGrouper,
    KnownFiles,
    KnownPlates,
)
from acquisition.drop_folder.naming import ParsedName, compile_pattern, is_image_name
from acquisition.drop_folder.settling import ListedFile, Listing, SettlingRules
from acquisition.drop_folder.visits import FileGroup
from schemas.errors import ImageError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.well_image import FileVersion, Rejected, VisitKey
from tests.robot_folder import DAY_7_NS, PATTERN, PLATE_TOML, WELLS_CSV, EndedVersions
from tests.samples import wells_table

RULES = SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0)
LISTED_S = 1000.0
LONG_AGO_S = 500.0
B02 = tuple(f"P1/day07/B02_z{plane}.tif" for plane in (1, 2, 3))


def plate_map(plate: str = "P1") -> PlateMap:
    toml = PLATE_TOML.replace("P1", plate)
    return parse_plate_map(toml, wells_table(WELLS_CSV), toml_name="plate.toml")


PLATES = KnownPlates(maps={"P1": plate_map()})


def grouper(pattern: str = PATTERN, **options: Any) -> FileGrouper:  # noqa: ANN401 - any option
    return FileGrouper(compile_pattern(pattern), RULES, folder_name="drop", **options)


def version(path: str, mtime_ns: int = DAY_7_NS) -> FileVersion:
    return FileVersion(path, 100, mtime_ns)


def parsed(path: str, pattern: str) -> ParsedName | ImageError:
    try:
        return compile_pattern(pattern).parse(path)
    except ImageError as error:
        return error


def listing(
    *paths: str, since_s: float = LONG_AGO_S, pattern: str = PATTERN, signalled: bool = False
) -> Listing:
    """Return a listing of files that are unchanged since a time."""
    files = {path: ListedFile(version(path), since_s, signalled) for path in paths}
    names = {path: parsed(path, pattern) for path in paths if is_image_name(path)}
    return Listing(LISTED_S, files, names)


def known(
    *ended: str,
    page_counts: Mapping[FileVersion, int] | None = None,
    times: Mapping[FileVersion, datetime | None] | None = None,
) -> KnownFiles:
    outcomes = FileOutcomes(EndedVersions(*map(version, ended)))
    outcomes.read(ended)
    return KnownFiles(outcomes, page_counts=page_counts or {}, times=times or {})


def paths(group: FileGroup) -> tuple[str, ...]:
    return tuple(file.version.path for file in group.files)


def test_the_planes_of_a_visit_are_one_group_in_the_order_of_the_planes() -> None:
    result = grouper().group(listing(*reversed(B02)), PLATES, known())
    (group,) = result.groups
    assert (group.key, group.day, paths(group)) == (VisitKey("P1", "B02", "day07"), 7, B02)
    assert (result.waiting, result.pending_plates, result.refusals) == ({}, {}, ())


def test_groups_of_older_days_come_first() -> None:
    files = [f"P1/day{day:02d}/B02_z1.tif" for day in (9, 1, 10, 2)]
    result = grouper().group(listing(*files), PLATES, known())
    assert [group.day for group in result.groups] == [1, 2, 9, 10]


def test_files_with_an_outcome_are_in_no_group() -> None:
    assert grouper().group(listing(*B02), PLATES, known(*B02)).groups == ()


def test_a_late_plane_makes_a_group_with_all_planes() -> None:
    (group,) = grouper().group(listing(*B02), PLATES, known(*B02[:2])).groups
    assert paths(group) == B02


def test_files_that_are_being_read_are_in_no_group() -> None:
    files = listing(*B02, "P1/day07/B03_z1.tif")
    being_read, _ = grouper().group(files, PLATES, known()).groups
    (group,) = grouper().group(files, PLATES, known(), [being_read]).groups
    assert group.key.well == "B03"


def test_an_undecodable_file_is_in_no_group() -> None:
    facts = KnownFiles(FileOutcomes(EndedVersions()), undecodable={version(B02[1])})
    (group,) = grouper().group(listing(*B02), PLATES, facts).groups
    assert paths(group) == (B02[0], B02[2])


def test_a_plate_without_a_map_is_pending_with_the_reason() -> None:
    result = grouper().group(listing(*B02), KnownPlates(), known())
    assert result.groups == ()
    reason = "no plate map; expected P1.plate.toml and P1.wells.csv"
    assert result.pending_plates == {"P1": reason}
    assert result.waiting == {}


def test_a_plate_with_an_invalid_map_is_pending_with_the_problem_of_the_map() -> None:
    plates = KnownPlates(problems={"P1": "P1.wells.csv: is missing"})
    result = grouper().group(listing(*B02), plates, known())
    assert result.pending_plates == {"P1": "P1.wells.csv: is missing"}


def test_each_well_of_a_plate_with_an_unread_map_is_waiting() -> None:
    plates = KnownPlates(unread_maps=frozenset({"P1", "P2"}))
    result = grouper().group(listing(*B02, "P1/day07/B03_z1.tif"), plates, known())
    assert result.waiting == {"P1": 2, "P2": 1}
    assert result.pending_plates == {}


def test_an_unread_assay_is_waiting_once() -> None:
    plates = KnownPlates(PLATES.maps, unread_assays=frozenset({"P1"}))
    assert grouper().group(listing(*B02), plates, known()).waiting == {"P1": 1}


def test_a_misnamed_image_is_refused_after_it_has_settled() -> None:
    result = grouper().group(listing("P1/overview.png"), PLATES, known())
    (refusal,) = result.refusals
    assert refusal.files == (version("P1/overview.png"),)
    assert "does not fit the pattern" in refusal.reason
    early = grouper().group(listing("P1/x/overview.png", since_s=LISTED_S), PLATES, known())
    assert (early.refusals, early.waiting) == ((), {"drop": 1})


def test_a_refused_file_is_not_refused_again() -> None:
    files = listing("P1/overview.png", "P1/day00/B02_z1.tif", *B02)
    result = grouper().group(files, PLATES, known("P1/overview.png", "P1/day00/B02_z1.tif"))
    assert result.refusals == ()


def test_an_image_before_day_1_is_refused_after_it_has_settled() -> None:
    path = "P1/day00/B02_z1.tif"
    reason = (
        "culture day 0 of a plate seeded at 2026-11-10T09:00:00+01:00; "
        "expected day 1, the day of seeding, or later"
    )
    result = grouper().group(listing(path), PLATES, known())
    assert result.refusals == (Rejected((version(path),), reason, "P1", "B02"),)
    early = grouper().group(listing(path, since_s=LISTED_S), PLATES, known())
    assert (early.refusals, early.waiting) == ((), {"P1": 1})


def test_the_time_of_a_finished_file_is_needed_where_the_name_has_no_day() -> None:
    pattern, path = "{plate}/{well}.tif", "P1/B02.tif"
    result = grouper(pattern).group(listing(path, pattern=pattern), PLATES, known())
    assert (result.untimed, result.groups) == ((version(path),), ())
    assert result.waiting == {"P1": 1}
    unfinished = listing(path, since_s=LISTED_S, pattern=pattern)
    assert grouper(pattern).group(unfinished, PLATES, known()).untimed == ()
    signalled = listing(path, since_s=LISTED_S, pattern=pattern, signalled=True)
    assert grouper(pattern).group(signalled, PLATES, known()).untimed == (version(path),)


@pytest.mark.parametrize(
    ("time", "day"),
    [(datetime(2026, 11, 12, 8), 3), (None, 7)],  # noqa: DTZ001 - cameras write no time zone
    ids=["the time inside the file", "the modification time"],
)
def test_the_culture_day_follows_from_a_time(time: datetime | None, day: int) -> None:
    pattern, path = "{plate}/{well}.tif", "P1/B02.tif"
    facts = known(times={version(path): time})
    (group,) = grouper(pattern).group(listing(path, pattern=pattern), PLATES, facts).groups
    assert group.day == day


@pytest.mark.parametrize(("field", "expected"), [(None, "f1"), (3, "f3")])
def test_one_field_of_each_well_is_grouped(field: int | None, expected: str) -> None:
    pattern = "{plate}/day{day}/{well}_f{field}.tif"
    files = listing(*(f"P1/day07/B02_f{number}.tif" for number in (3, 1, 2)), pattern=pattern)
    (group,) = grouper(pattern, field=field).group(files, PLATES, known()).groups
    assert paths(group) == (f"P1/day07/B02_{expected}.tif",)


@pytest.mark.parametrize(
    ("path", "plate", "expected"),
    [
        ("P1/day07/B02.tif", None, "P1"),
        ("robot/day07/B02.tif", "P1", "P1"),
        ("day07/B02.tif", None, "drop"),
    ],
)
def test_the_setting_or_the_folder_names_the_plate(
    path: str, plate: str | None, expected: str
) -> None:
    pattern = "day{day}/{well}.tif"
    plates = KnownPlates({"P1": plate_map(), "drop": plate_map("drop")})
    files = listing(path, pattern=pattern)
    (group,) = grouper(pattern, plate=plate).group(files, plates, known()).groups
    assert group.key.plate == expected


def test_a_complete_group_is_ready_when_its_files_have_settled() -> None:
    files = listing(*B02, since_s=LISTED_S)
    result = grouper().group(files, PLATES, known())
    assert grouper().ready_at_s(result.groups[0], known()) == LISTED_S + 2.0
    assert result.next_change_s == LISTED_S + 2.0


def test_an_incomplete_group_is_ready_after_the_plane_timeout() -> None:
    result = grouper().group(listing(*B02[:2], since_s=990.0), PLATES, known())
    assert grouper().ready_at_s(result.groups[0], known()) == 990.0 + 60.0
    assert result.next_change_s == 990.0 + 60.0


def test_a_file_of_several_planes_is_ready_by_its_number_of_pages() -> None:
    pattern, path = "{plate}/day{day}/{well}.tif", "P1/day07/B02.tif"
    (group,) = grouper(pattern).group(listing(path, pattern=pattern), PLATES, known()).groups
    ready_s = [
        grouper(pattern).ready_at_s(group, known(page_counts=pages))
        for pages in ({}, {version(path): 3}, {version(path): 2})
    ]
    assert ready_s == [LONG_AGO_S + 2.0, LONG_AGO_S + 2.0, LONG_AGO_S + 60.0]


def test_a_late_plane_has_to_settle_even_if_its_completion_was_signalled() -> None:
    files = listing(*B02, since_s=LISTED_S, signalled=True)
    (group,) = grouper().group(files, PLATES, known()).groups
    assert grouper().ready_at_s(group, known()) == float("-inf")
    assert grouper().ready_at_s(group, known(*B02[:2])) == LISTED_S + 2.0


def test_without_new_files_nothing_changes_by_itself() -> None:
    assert grouper().group(listing(*B02), PLATES, known(*B02)).next_change_s == NEVER_S


def test_the_next_change_is_the_settling_of_the_files_of_an_unread_map() -> None:
    plates = KnownPlates(unread_maps=frozenset({"P1"}))
    files = listing("P1/P1.plate.toml", since_s=999.0)
    assert grouper().group(files, plates, known()).next_change_s == 1001.0
