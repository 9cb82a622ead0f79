"""Files of a drop folder that show no new image: other channels and fields, thumbnails, copies."""

import os
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.well_image import Rejected, WellImage
from tests.robot_folder import (
    DAY_7_NS,
    PLATE_TOML,
    SECOND_NS,
    WELLS_CSV,
    RobotFolder,
    images,
    refusals,
    results,
    tiff,
)

GUIDS = [f"{number:08X}-0BB3-4B8A-9187-2805F4C90506" for number in range(0xA0000000, 0xA0000009)]
METAXPRESS = {"pattern": "{name}_{well:a00}{guid}.tif", "planes": 1}
TAKEN = {"datetime": "2026:11:16 09:00:00"}


def held(robot: RobotFolder, **settings: object) -> dict[str, str]:
    """Return the reasons of the pending plates, after a source has returned no result at all."""
    source = robot.open(**settings)
    assert list(results(source, 100)) == []
    status = source.status(datetime.now(UTC))
    assert status.pending == {}
    return status.held


def test_only_the_bright_field_image_of_a_metaxpress_export_is_ingested(
    robot: RobotFolder,
) -> None:
    for number, ending in enumerate(("_s1_w1", "_s1_w2", "_s2_w1", "_s2_w2")):
        for thumb in ("", "_thumb"):
            path = f"P1/spheroids_B02{ending}{thumb}{GUIDS[number]}.tif"
            robot.write(path, tiff(number, **TAKEN), at_ns=DAY_7_NS + number * SECOND_NS)
    (image,) = results(robot.open(channel="1", **METAXPRESS))
    assert isinstance(image, WellImage)
    assert (image.key.visit, [each.path for each in image.files]) == (
        "day07",
        [f"P1/spheroids_B02_s1_w1{GUIDS[0]}.tif"],
    )


@pytest.mark.parametrize(
    ("pattern", "names", "listed"),
    [
        (METAXPRESS["pattern"], ["x_B02_w1.tif", "x_B02_w2.tif"], "2 channels: '1', '2'"),
        (METAXPRESS["pattern"], ["x_B02A1.tif", "x_B02_w2.tif"], "2 channels: '2', 'none'"),
        (
            "{well}_{channel}_{read:000}.tif",
            ["B02_GFP_001.tif", "B02_Bright Field_001.tif", "B03_DAPI_001.tif"],
            "3 channels: 'Bright Field', 'DAPI', 'GFP'",
        ),
    ],
)
def test_several_channels_without_a_setting_are_one_problem_of_the_plate(
    robot: RobotFolder, pattern: str, names: list[str], listed: str
) -> None:
    for number, name in enumerate(names):
        robot.write(f"P1/{name}", tiff(number), at_ns=DAY_7_NS + number)
    problem = held(robot, pattern=pattern, planes=1)
    assert problem == {
        "P1": f"the names have {listed}; expected source.channel to name the bright-field one"
    }


@pytest.mark.parametrize("channel", ["Bright Field", "bright_field"])
def test_the_images_of_the_set_channel_are_ingested_and_the_others_passed_over(
    robot: RobotFolder, channel: str
) -> None:
    robot.write("P1/B02_GFP_001.tif", tiff(1), at_ns=DAY_7_NS + 5)
    robot.write("P1/B02_Bright Field_001.tif", tiff(2))
    (image,) = results(
        robot.open(pattern="{well}_{channel}_{read:000}.tif", planes=1, channel=channel)
    )
    assert isinstance(image, WellImage)
    assert [each.path for each in image.files] == ["P1/B02_Bright Field_001.tif"]


def test_a_channel_that_no_name_has_is_a_problem_that_lists_the_channels(
    robot: RobotFolder,
) -> None:
    robot.write("P1/B02_GFP.tif", tiff())
    assert held(robot, pattern="{well}_{channel}.tif", channel="BF") == {
        "P1": "source.channel is 'BF'; expected one of the channels in the names: 'GFP'"
    }


def test_one_channel_needs_no_setting(robot: RobotFolder) -> None:
    robot.write("P1/B02_GFP.tif", tiff())
    robot.write("P1/B03_GFP.tif", tiff(1))
    assert len(images(robot.open(pattern="{well}_{channel}.tif", planes=1))) == 2


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("P1/day07/B02_f{}.tif", "{plate}/day{day}/{well}_f{field}.tif"),
        ("P1/day07/x_B02_s{}.tif", "{plate}/day{day}/{name}_{well:a00}{guid}.tif"),
    ],
)
def test_the_lowest_field_is_returned_last_in_any_order_of_arrival(
    robot: RobotFolder, name: str, pattern: str, order: tuple[int, ...]
) -> None:
    source = robot.open(pattern=pattern, planes=1)
    taken: list[WellImage] = []
    for field in order:
        robot.write(name.format(field), tiff(field))
        taken += images(source)
    assert [each.path for each in taken[-1].files] == [name.format(1)]
    assert not images(source)


@pytest.mark.parametrize(
    ("pattern", "first", "second"),
    [
        ("{well}_{rest}.tif", "B02_green.tif", "B02_phase.tif"),
        ("{name}_{well:a00}{rest}.tif", "x_B02_t1.tif", "x_B02_t2.tif"),
        ("{well}_{elapsed_day}d{h}h.tif", "B02_06d00h.tif", "B02_06d06h.tif"),
    ],
)
def test_two_names_that_differ_in_ignored_text_are_refused_and_name_each_other(
    robot: RobotFolder, pattern: str, first: str, second: str
) -> None:
    for number, name in enumerate((first, second)):
        robot.write(f"P1/{name}", tiff(number), at_ns=DAY_7_NS + number)
    items = list(results(robot.open(pattern=pattern, planes=1)))
    reasons = {item.files[0].path: item.reason for item in items if isinstance(item, Rejected)}
    assert len(items) == len(reasons) == 2
    assert f"as P1/{second}" in reasons[f"P1/{first}"]
    assert f"as P1/{first}" in reasons[f"P1/{second}"]
    assert "source.pattern ignores" in reasons[f"P1/{first}"]


def test_an_ingested_image_stays_when_another_name_of_its_visit_arrives(
    robot: RobotFolder,
) -> None:
    settings = {"pattern": "{well}_{rest}.tif", "planes": 1}
    ingested = robot.write("P1/B02_phase.tif", tiff(1))
    source = robot.open(**settings)
    assert [image.files for image in images(source)] == [(ingested,)]
    robot.write("P1/B02_green.tif", tiff(2), at_ns=DAY_7_NS + SECOND_NS)
    (refusal,) = results(source)
    assert isinstance(refusal, Rejected)
    assert refusal.reason.startswith("has the same well, day and plane as P1/B02_phase.tif")


def backup_of(robot: RobotFolder, folder: str, *, later_ns: int = SECOND_NS) -> Iterator[str]:
    """Copy all files of plate P1 into another folder, and yield the paths of the images."""
    for file in sorted((robot.root / "P1").rglob("*")):
        if file.is_file():
            path = f"{folder}/{file.relative_to(robot.root / 'P1')}"
            robot.write(path, file.read_bytes(), at_ns=DAY_7_NS + later_ns)
            if path.endswith(".tif"):
                yield path


@pytest.mark.parametrize("folder", ["backup/P1", "P1 - Copy", "old/2026/P1", "copies/p1"])
@pytest.mark.parametrize("later_ns", [SECOND_NS, -SECOND_NS], ids=["later", "earlier"])
def test_a_copy_of_a_plate_has_the_pixels_of_the_plate(
    robot: RobotFolder, folder: str, later_ns: int
) -> None:
    files = robot.well()
    copied = list(backup_of(robot, folder, later_ns=later_ns))
    source = robot.open()
    first, second = images(source)
    assert (first.files, first.key) == (files, second.key)
    assert [each.path for each in second.files] == copied
    assert second.digest == first.digest
    assert source.status(datetime.now(UTC)).held == {}


def test_a_copy_of_one_plane_has_the_pixels_of_the_whole_image(robot: RobotFolder) -> None:
    robot.well()
    content = (robot.root / "P1/day07/B02_z2.tif").read_bytes()
    robot.write("backup/P1/day07/B02_z2.tif", content, at_ns=DAY_7_NS + SECOND_NS)
    first, second = images(robot.open())
    assert second.digest == first.digest
    assert [each.path for each in second.files] == [
        "P1/day07/B02_z1.tif",
        "backup/P1/day07/B02_z2.tif",
        "P1/day07/B02_z3.tif",
    ]


def test_an_old_plane_in_a_backup_does_not_complete_a_new_image(robot: RobotFolder) -> None:
    files = robot.well(planes=(1, 2))
    robot.write("backup/P1/day07/B02_z3.tif", tiff(3))
    items = list(results(robot.open()))
    assert [(item.files, item.complete) for item in items if isinstance(item, WellImage)] == [
        (files, False)
    ]
    (refusal,) = [item for item in items if isinstance(item, Rejected)]
    assert "the other planes of its visit are in P1" in refusal.reason


def test_with_once_copies_and_unclear_names_leave_nothing_pending(robot: RobotFolder) -> None:
    robot.well()
    list(backup_of(robot, "backup/P1"))
    robot.write("backup/P1/day07/B02_z3.tif", tiff(77), at_ns=DAY_7_NS + 9)
    source = robot.open(once=True)
    items = []
    while (item := source.next(0.5)) or source.status(datetime.now(UTC)).pending:
        items += [item] if item else []
    assert sorted(type(item).__name__ for item in items) == ["Rejected", "WellImage", "WellImage"]


@pytest.mark.parametrize("same_content", [True, False])
@pytest.mark.parametrize("folder", ["P1/backup", "P1/old/x"])
def test_a_backup_in_the_folder_of_a_plate_makes_no_new_version(
    robot: RobotFolder, folder: str, *, same_content: bool
) -> None:
    name = f"x_B02{GUIDS[0]}.tif"
    robot.write(f"P1/{name}", tiff(1, **TAKEN))
    copied = tiff(1 if same_content else 2, **TAKEN)
    robot.write(f"{folder}/{name}", copied, at_ns=DAY_7_NS + SECOND_NS)
    items = list(results(robot.open(**METAXPRESS)))
    taken = [item for item in items if isinstance(item, WellImage)]
    assert len({item.digest for item in taken}) == 1
    assert len(items) == 2
    assert (len(taken) == 2) is same_content


@pytest.mark.parametrize("is_ingested_before", [True, False])
def test_a_file_in_a_backup_with_other_content_is_refused_with_both_paths(
    robot: RobotFolder, *, is_ingested_before: bool
) -> None:
    files = robot.well()
    source = robot.open()
    taken = images(source) if is_ingested_before else []
    robot.write("backup/P1/day07/B02_z1.tif", tiff(99), at_ns=DAY_7_NS + SECOND_NS)
    items = list(results(source))
    taken += [item for item in items if isinstance(item, WellImage)]
    (refusal,) = [item for item in items if isinstance(item, Rejected)]
    assert [image.files for image in taken] == [files]
    assert refusal.files[0].path == "backup/P1/day07/B02_z1.tif"
    assert "differs from that of P1/day07/B02_z1.tif" in refusal.reason


def test_without_a_map_beside_the_images_the_folder_that_came_first_has_the_images(
    robot: RobotFolder,
) -> None:
    for name, text in {"P1.plate.toml": PLATE_TOML, "P1.wells.csv": WELLS_CSV}.items():
        (robot.root / "P1" / name).unlink()
        robot.write(f"maps/{name}", text.encode())
    first = robot.write("robot/P1/day07/B02_z1.tif", tiff(1))
    source = robot.open(planes=1)
    assert [image.files for image in images(source)] == [(first,)]
    robot.write("another/P1/day07/B02_z1.tif", tiff(2), at_ns=DAY_7_NS + SECOND_NS)
    (refusal,) = refusals(source)
    assert refusal.files[0].path == "another/P1/day07/B02_z1.tif"


@pytest.mark.parametrize("other", ["backup", "another"])
def test_without_a_map_beside_the_images_a_new_image_is_no_copy_of_an_old_one(
    robot: RobotFolder, other: str
) -> None:
    for name, text in {"P1.plate.toml": PLATE_TOML, "P1.wells.csv": WELLS_CSV}.items():
        (robot.root / "P1" / name).unlink()
        robot.write(f"maps/{name}", text.encode())
    robot.write("A robot/P1/day07/B02_z1.tif", tiff(1))
    source = robot.open(planes=1)
    assert len(images(source)) == 1
    robot.write(f"{other}/P1/day07/B02_z1.tif", tiff(1))
    assert len(images(source)) == 1
    new = robot.write("A robot/P1/day07/B02_z1.tif", tiff(2), at_ns=DAY_7_NS + SECOND_NS)
    assert [image.files for image in images(source)] == [(new,)]


def test_a_second_measurement_in_the_folder_of_the_plate_is_a_new_version(
    robot: RobotFolder,
) -> None:
    paths = [f"P1/Measurement {number}/Images/r02c02f01p01-ch1.tiff" for number in (1, 2)]
    for number, path in enumerate(paths):
        robot.write(path, tiff(number, **TAKEN), at_ns=DAY_7_NS + number * SECOND_NS)
    taken = images(robot.open(pattern="r{row}c{col}f{field}p{plane}-ch{channel}.tiff", planes=1))
    assert [image.files[0].path for image in taken] == paths


@pytest.mark.parametrize("ending", [" - Copy", " (1)"])
def test_a_copied_file_is_no_plane_and_no_version(robot: RobotFolder, ending: str) -> None:
    files = robot.well()
    robot.write(f"P1/day07/B02_z1{ending}.tif", tiff(9), at_ns=DAY_7_NS + SECOND_NS)
    items = list(results(robot.open()))
    assert [item.files for item in items if isinstance(item, WellImage)] == [files]
    assert [item.reason for item in items if isinstance(item, Rejected)] == [
        "the name is that of a copy of B02_z1.tif; expected no copies"
    ]


def test_names_of_a_well_with_one_and_two_digits_are_the_same_well(robot: RobotFolder) -> None:
    robot.write("P1/day07/B2_z1.tif", tiff(1))
    robot.write("P1/day07/B02_z1.tif", tiff(2), at_ns=DAY_7_NS + SECOND_NS)
    taken = images(robot.open(planes=1))
    assert [(image.key.well, image.key.visit) for image in taken] == [("B02", "day07")] * 2


@pytest.mark.parametrize(
    ("in_map", "folder"),
    [
        ("P1", "p1"),
        ("K\u00f6ln 1", "Ko\u0308ln 1"),
        ("Ko\u0308ln 1", "K\u00f6ln 1"),
        ("A 1", "A  1"),
        ("A 1", "a 1 "),
    ],
)
def test_a_plate_is_known_in_other_case_white_space_and_form_of_unicode(
    tmp_path: Path, in_map: str, folder: str
) -> None:
    robot = RobotFolder(tmp_path / "folder")
    robot.write("maps/plate.toml", PLATE_TOML.replace("P1", in_map).encode())
    robot.write("maps/wells.csv", WELLS_CSV.encode())
    for name in ("P1.plate.toml", "P1.wells.csv"):
        (robot.root / "P1" / name).unlink()
    robot.write(f"{folder}/day07/B02_z1.tif", tiff())
    (image,) = images(robot.open(planes=1))
    assert image.key.plate == unicodedata.normalize("NFC", in_map)


def test_a_plate_whose_id_differs_in_case_from_two_maps_is_pending(robot: RobotFolder) -> None:
    for plate in ("A1", "a1"):
        robot.write(f"maps {plate}/plate.toml", PLATE_TOML.replace("P1", plate).encode())
        robot.write(f"maps {plate}/wells.csv", WELLS_CSV.encode())
    robot.write("A1 /day07/B02_z1.tif", tiff())
    assert "no plate map" in held(robot, planes=1)["A1 "]


def test_planes_in_the_folders_of_a_metaxpress_stack_are_one_image(robot: RobotFolder) -> None:
    for step in (1, 2, 3):
        path = f"P1/TimePoint_1/ZStep_{step}/x_B02_s1_w1{GUIDS[step]}.tif"
        robot.write(path, tiff(step, **TAKEN), at_ns=DAY_7_NS + step * SECOND_NS)
    (image,) = results(robot.open(pattern=str(METAXPRESS["pattern"])))
    assert isinstance(image, WellImage)
    assert (len(image.planes), image.complete) == (3, True)
    assert "ZStep_2" in image.files[1].path


FAR_TIMES_S = {"negative": -5, "year 2400": 13_600_000_000, "year 9999": 253_402_300_800}


@pytest.mark.parametrize("time_s", FAR_TIMES_S.values(), ids=FAR_TIMES_S.keys())
def test_an_impossible_time_of_change_is_refused_only_where_the_day_depends_on_it(
    robot: RobotFolder, time_s: int
) -> None:
    robot.write("P1/B02.tif", tiff(1))
    robot.write("P1/B03.tif", tiff(2, datetime="2026:11:12 08:00:00"))
    for well in ("B02", "B03"):
        os.utime(robot.root / f"P1/{well}.tif", (time_s, time_s))
    items = list(results(robot.open(pattern="{well}.tif", planes=1)))
    (refusal,) = [item for item in items if isinstance(item, Rejected)]
    (image,) = [item for item in items if isinstance(item, WellImage)]
    assert (image.key.well, image.day) == ("B03", 3)
    assert refusal.well == "B02"
    assert "expected one in the years 1990 to 2200" in refusal.reason
    assert all(abs(each.mtime_ns) < 2**63 for item in items for each in item.files)


def test_a_day_in_the_name_needs_no_time_of_change(robot: RobotFolder) -> None:
    robot.well()
    for file in (robot.root / "P1/day07").iterdir():
        os.utime(file, (FAR_TIMES_S["year 9999"],) * 2)
    (image,) = images(robot.open())
    assert (image.day, image.complete) == (7, True)
