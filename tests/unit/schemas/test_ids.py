"""Ids of plates and specimens at each place where they enter, and texts with control characters."""

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from acquisition.drop_folder.plate_map_files import read_plate_maps
from daemon.commands import app
from daemon.commands.console import LineConsole
from daemon.config import load_config
from daemon.messaging.inquiries import status_lines
from schemas.errors import ConfigError, PlateMapError
from schemas.ids import checked_id, printable
from schemas.requests import StatusReply, parse_request
from schemas.treatment import parse_treatment
from schemas.well_image import Rejected
from tests.robot_folder import PLATE_TOML, WELLS_CSV, RobotFolder, results
from tests.samples import status_data

WRONG = {
    "": "is empty",
    "a\nb": "contains the character U+000A",
    "a\x1b[2Jb": "contains the character U+001B",
    "a\u202eb": "contains the character U+202E",
    "a\u2028b": "contains the character U+2028",
    "a\ud800": "contains the character U+D800",
    "../a": "contains '/'",
    "a\\b": r"contains '\\'",
    "..": "starts with '.'",
    " a": "starts with ' '",
    "a ": "ends with ' '",
    "a.": "ends with '.'",
    "con": "is a name of a device",
    "NUL.tif": "is a name of a device",
    "a" * 121: "has 121 characters",
    "漢" * 81: "has 81 characters (243 bytes in UTF-8)",
}


@pytest.mark.parametrize(("text", "problem"), WRONG.items())
def test_a_text_that_cannot_name_a_folder_is_no_id(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        checked_id(text)


@pytest.mark.parametrize("text", ["PDAC-0042", "Плата 7 (b)", "a" * 120, "console", "P1.2"])
def test_an_id_is_unchanged(text: str) -> None:
    assert checked_id(text) == text


@pytest.mark.parametrize("key", ["plate", "specimen"])
def test_a_plate_map_with_a_wrong_id_is_refused_with_key_value_and_expectation(
    tmp_path: Path, key: str
) -> None:
    toml = PLATE_TOML.replace('"P1"', '"P1"\nspecimen = "S"')
    wrong = toml.replace({"plate": '"P1"', "specimen": '"S"'}[key], r'"x\ny"')
    (tmp_path / "plate.toml").write_text(wrong)
    (tmp_path / "wells.csv").write_text(WELLS_CSV)
    [problem] = read_plate_maps(tmp_path).values()
    assert isinstance(problem, PlateMapError)
    expected = "contains the character U+000A; expected printable characters"
    assert str(problem) == rf"plate.toml: {key} 'x\ny' {expected}"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("P1\nevil/day07/B02_z1.tif", "the path contains the character U+000A"),
        ("CON/day07/B02_z1.tif", "the plate id is a name of a device on Windows"),
        ("com¹.x/day07/B02_z1.tif", "the plate id is a name of a device on Windows"),
        (f"{'x' * 130}/day07/B02_z1.tif", "the plate id has 130 characters"),
    ],
)
def test_an_image_whose_folder_is_no_id_is_refused(
    robot: RobotFolder, path: str, problem: str
) -> None:
    robot.write(path, b"image")
    [refused] = results(robot.open())
    assert isinstance(refused, Rejected)
    assert problem in refused.reason


@pytest.fixture
def robot(tmp_path: Path) -> RobotFolder:
    """Return a drop folder with the plate map of plate P1 and no image."""
    return RobotFolder(tmp_path / "drop")


@pytest.mark.parametrize(
    ("request_text", "problem"),
    [
        (rb'{"kind":"latest","plate":"\ud800"}', "surrogates not allowed"),
        (rb'{"kind":"latest","plate":"../x"}', "key plate is .*expected no path separator"),
        (rb'{"kind":"replay","after":0,"topic":"a\n"}', "key topic is .*; expected printable"),
    ],
)
def test_a_request_with_a_text_that_no_plate_or_topic_has_is_a_wrong_request(
    request_text: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_request(request_text)
    assert str(refused.value).isprintable()


def test_a_wrong_plate_id_in_a_command_line_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["rank", "plate", "a\nb"])
    assert done.exit_code == 2
    assert "U+000A" in done.output


def test_a_wrong_plate_id_in_the_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spherorank.toml").write_text('[source]\nplate = "../x"\n')
    with pytest.raises(ConfigError, match="expected no path separator"):
        load_config(tmp_path / "spherorank.toml")


def test_control_characters_of_names_and_reasons_stay_on_their_line_of_the_status() -> None:
    message = status_data().model_copy(
        update={"plates": ("P1\nplates        none",), "source_gone": "drop\x1b[31m: gone"}
    )
    status = StatusReply(**message.model_dump())
    written = io.StringIO()
    LineConsole(file=written, width=80).print(
        *status_lines(status, datetime.now(UTC)), sep="\n", soft_wrap=True
    )
    lines = written.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("plates")] == [
        r"plates        P1\nplates        none; 0 closed"
    ]
    assert lines[-1] == r"source gone   drop\x1b[31m: gone"


def test_a_treatment_with_a_terminal_code_is_refused() -> None:
    with pytest.raises(ValueError, match=r"U\+001B"):
        parse_treatment("drug\x1b[2J:1 uM")


def test_printable_text_is_unchanged() -> None:
    assert printable("µm: größer, 漢") == "µm: größer, 漢"
