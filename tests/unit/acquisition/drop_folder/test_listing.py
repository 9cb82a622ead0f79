"""The listing of a drop folder: links that lead out of it, and entries that are no files."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.regular_files import open_regular
from tests.robot_folder import RobotFolder, images, tiff


def listed(root: Path, outside: dict[str, str] | None = None) -> list[str]:
    return sorted(version.path for version in list_files(root, outside=outside))


def test_pipes_devices_and_sockets_are_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "B02_z1.tif")
    (tmp_path / "B03_z1.tif").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "B04_z1.tif"))
        (tmp_path / "B05_z1.tif").write_bytes(b"image")
        assert listed(tmp_path) == ["B05_z1.tif"]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "B02_z1.tif")
    with pytest.raises(FileNotFoundError, match="no regular file"):
        open_regular(tmp_path / "B02_z1.tif")
    (tmp_path / "B03_z1.tif").write_bytes(b"image")
    with open_regular(tmp_path / "B03_z1.tif") as file:
        assert file.read() == b"image"


@pytest.mark.timeout(30)
def test_a_source_does_not_wait_for_a_pipe_in_place_of_an_image_or_a_plate_map(
    robot: RobotFolder,
) -> None:
    robot.well("B03")
    os.mkfifo(robot.root / "P1" / "day07" / "B02_z1.tif")
    os.mkfifo(robot.root / "P1" / "P2.plate.toml")
    source = robot.open()
    assert [image.key.well for image in images(source)] == ["B03"]


def test_a_link_out_of_the_folder_is_reported_and_delays_no_image(
    robot: RobotFolder, tmp_path: Path
) -> None:
    (tmp_path / "other.tif").write_bytes(tiff())
    robot.well("B03")
    (robot.root / "P1" / "day07" / "B02_z1.tif").symlink_to(tmp_path / "other.tif")
    source = robot.open()
    assert [image.key.well for image in images(source)] == ["B03"]
    [(path, problem)] = source.status(datetime.now(UTC)).unreadable.items()
    assert path == "P1/day07/B02_z1.tif"
    assert "outside of the drop folder" in problem


def test_links_that_lead_out_of_the_folder_are_named_and_not_followed(tmp_path: Path) -> None:
    drop, other = tmp_path / "drop", tmp_path / "other"
    (drop / "P1").mkdir(parents=True)
    other.mkdir()
    (other / "B02_z1.tif").write_bytes(b"image")
    (drop / "P1" / "B03_z1.tif").write_bytes(b"image")
    (drop / "P1" / "B04_z1.tif").symlink_to("B03_z1.tif")
    (drop / "P2").symlink_to("P1")
    (drop / "P3").symlink_to(other)
    (drop / "P1" / "B05_z1.tif").symlink_to("../../other/B02_z1.tif")
    outside: dict[str, str] = {}
    inside = listed(drop, outside)
    assert [path[3:] for path in inside] == ["B03_z1.tif", "B04_z1.tif"]
    assert {path[-11:] for path in outside} == {"P3", "/B05_z1.tif"}
    assert outside["P3"] == (
        f"is a link to {other}, outside of the drop folder; expected a file or folder in it"
    )
    linked = tmp_path / "linked"
    linked.symlink_to(drop)
    assert listed(linked, outside={}) == inside
    assert "P3/B02_z1.tif" in listed(drop)  # an archive for training may have such links
