"""The journal of the images that were being read when a process ended."""

from contextlib import suppress
from pathlib import Path

import pytest

from acquisition.drop_folder.in_flight import LONGEST, InFlightImage, InFlightJournal
from schemas.well_image import FileVersion
from tests.robot_folder import RobotFolder, images

B02 = (FileVersion("P1/day07/B02_z1.tif", 1, 2), FileVersion("P1/day07/B02_z2.tif", 3, 4))
B03 = (FileVersion("P1/day07/B03_z1.tif", 5, 6),)


def test_the_images_in_flight_are_suspects_after_a_crash(tmp_path: Path) -> None:
    journal = InFlightJournal(tmp_path / "journal.json")
    assert journal.suspects == ()
    journal.add("P1", "B02", B02)
    journal.add("P1", "B03", B03)
    journal.remove(B03)
    assert InFlightJournal(tmp_path / "journal.json").suspects == (InFlightImage("P1", "B02", B02),)


def test_suspects_stay_in_the_journal_until_they_are_removed(tmp_path: Path) -> None:
    InFlightJournal(tmp_path / "journal.json").add("P1", "B02", B02)
    second = InFlightJournal(tmp_path / "journal.json")
    second.add("P1", "B03", B03)
    third = InFlightJournal(tmp_path / "journal.json")
    assert [image.well for image in third.suspects] == ["B02", "B03"]
    third.remove(B02)
    assert [image.well for image in InFlightJournal(tmp_path / "journal.json").suspects] == ["B03"]


def test_an_intended_end_empties_the_journal_and_an_exception_does_not(tmp_path: Path) -> None:
    with InFlightJournal(tmp_path / "journal.json") as journal:
        journal.add("P1", "B02", B02)
    assert InFlightJournal(tmp_path / "journal.json").suspects == ()
    with suppress(ZeroDivisionError), InFlightJournal(tmp_path / "journal.json") as journal:
        journal.add("P1", "B02", B02)
        raise ZeroDivisionError
    assert len(InFlightJournal(tmp_path / "journal.json").suspects) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"files": 1}', "null"])
def test_a_damaged_journal_has_no_suspects(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.json").write_text(content)
    assert InFlightJournal(tmp_path / "journal.json").suspects == ()


def test_a_journal_that_cannot_be_written_does_not_stop_the_source(
    tmp_path: Path, robot: RobotFolder
) -> None:
    (tmp_path / "not a folder").write_text("")
    robot.well()
    source = robot.open(in_flight=InFlightJournal(tmp_path / "not a folder" / "journal.json"))
    assert len(images(source)) == 1


def test_the_source_records_an_image_until_its_outcome_is_committed(
    tmp_path: Path, robot: RobotFolder
) -> None:
    path = tmp_path / "journal.json"
    files = robot.well()
    source = robot.open(in_flight=InFlightJournal(path))
    image = source.next(timeout_s=30.0)
    assert image is not None
    assert [suspect.files for suspect in InFlightJournal(path).suspects] == [files]
    source.done(image)
    assert InFlightJournal(path).suspects == ()


def test_a_refused_file_is_not_in_flight(tmp_path: Path, robot: RobotFolder) -> None:
    path = tmp_path / "journal.json"
    robot.write("P1/day07/B02_z1.tif", b"")
    source = robot.open(in_flight=InFlightJournal(path), planes=1)
    assert source.next(timeout_s=30.0) is not None
    assert InFlightJournal(path).suspects == ()


def test_an_incomplete_last_line_is_ignored_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    journal = InFlightJournal(path)
    journal.add("P1", "B02", B02)
    journal.add("P1", "B03", B03)
    path.write_bytes(path.read_bytes()[:-20])
    assert [image.well for image in InFlightJournal(path).suspects] == ["B02"]


def test_the_file_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    journal = InFlightJournal(path)
    journal.add("P1", "B03", B03)
    for number in range(LONGEST):
        files = (FileVersion(f"P1/day07/C{number}.tif", 1, 2),)
        journal.add("P1", "C02", files)
        journal.remove(files)
    assert len(path.read_bytes().splitlines()) <= LONGEST
    assert [image.well for image in InFlightJournal(path).suspects] == ["B03"]
