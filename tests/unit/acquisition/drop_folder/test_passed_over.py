"""The log of files that are passed over because of their ending."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acquisition.drop_folder.listed_folder import ListedFolder
from acquisition.drop_folder.naming import compile_pattern
from acquisition.drop_folder.passed_over import PassedOverLog, count_passed_over
from acquisition.drop_folder.settling import SettlingRules
from tests.robot_folder import PATTERN, RobotFolder


@pytest.mark.parametrize(
    ("paths", "counts"),
    [
        ([], {}),
        (["P/day07/B02_z1.bmp", "P/day07/B03_z1.BMP", "P/P.czi"], {".bmp": 2, ".czi": 1}),
        (["P/day07/B02_z1.tif", "P/day07/B02_z2.PNG", "P/day07/B02.ome.tiff"], {}),
        (["P/day07/B02_z1.tif", "P/notes", "P/notes.txt"], {"(none)": 1, ".txt": 1}),
        (
            [
                "P/P.plate.toml",
                "P/plate.toml",
                "wells.csv",
                "P/P.wells.xlsx",
                "P/P.assay.csv",
                "P/P.assay.xlsx",
                "P/day07/B02_z1.tif.ready",
                "P/day07.done",
                "P/DAY7.DONE",
            ],
            {},
        ),
        (
            ["P/P.csv", "P/other.toml", "P/xwells.csv", "P/all.done"],
            {".csv": 2, ".done": 1, ".toml": 1},
        ),
    ],
)
def test_files_that_are_never_read_are_counted_by_ending(
    paths: list[str], counts: dict[str, int]
) -> None:
    assert count_passed_over(paths) == counts


def logged(listings: list[list[str]]) -> list[dict[str, int]]:
    """Return the counts that are logged while the folder is listed several times."""
    passed_over = PassedOverLog(Path("/drop"))
    with capture_logs() as lines:
        for paths in listings:
            passed_over.note_listing(count_passed_over(paths))
    assert {line["event"] for line in lines} <= {"files.passed_over"}
    return [line["files"] for line in lines]


def test_equal_numbers_are_logged_once_and_a_change_when_it_has_settled() -> None:
    one, two = ["a.bmp"], ["a.bmp", "b.bmp"]
    assert logged([["a.tif"], ["a.tif"]]) == []
    assert logged([one, one, one]) == [{".bmp": 1}]
    assert logged([one, two, [*two, "c.bmp"], [*two, "c.bmp"]]) == [{".bmp": 1}, {".bmp": 3}]
    assert logged([one, two, two, one, one]) == [{".bmp": 1}, {".bmp": 2}, {".bmp": 1}]


def test_a_listing_of_a_folder_logs_its_foreign_files_with_the_endings_that_are_read(
    robot: RobotFolder,
) -> None:
    robot.write("P1/day07/B02_z1.tif", b"image")
    robot.write("P1/day07/B03_z1.bmp", b"image")
    folder = ListedFolder(
        robot.root,
        compile_pattern(PATTERN),
        SettlingRules(planes=3, settle_s=2.0, plane_timeout_s=60.0),
        poll_s=5.0,
        clock=robot.clock,
        events=robot.events,
        wake=lambda: None,
    )
    with capture_logs() as lines:
        folder.refresh()
        folder.refresh()
    [line] = lines
    assert line["files"] == {".bmp": 1}
    assert line["folder"] == str(robot.root)
    assert ".tif" in line["expected"]
