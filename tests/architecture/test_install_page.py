"""The page that an operator follows: its commands exist and fit the example configuration."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from daemon.commands import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "install.md"
CONFIG = ROOT / "deploy" / "spherorank.example.toml"

COMMANDS = re.findall(r"^(?: {4}| {7})(\S.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
OF_SPHERORANK = [
    found[1]
    for each in COMMANDS
    if (found := re.match(r"(?:runuser .* -- )?spherorank (.*)", each))
]
EDITS = [
    (found[1], found[2]) for each in COMMANDS if (found := re.match(r"sed -i 's/(.*)/(.*)/'", each))
]


@pytest.mark.parametrize("arguments", dict.fromkeys(OF_SPHERORANK))
def test_a_command_of_the_page_has_valid_arguments(arguments: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(arguments)
    while isinstance(command, typer.core.TyperGroup) and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("spherorank", words)


@pytest.mark.parametrize(("pattern", "replacement"), EDITS)
def test_an_edit_of_the_page_changes_one_line_of_the_example_configuration(
    pattern: str, replacement: str
) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    edited, number = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    assert (number, edited == text) == (1, False)


def test_the_page_has_commands_and_edits() -> None:
    assert (len(OF_SPHERORANK), len(EDITS)) == (17, 2)
