"""Printed texts stay on their line and send no codes to the terminal."""

import io
import json

import pytest
from rich.table import Table

from daemon.commands.console import LineConsole
from daemon.messaging.listen import Message, write_message
from schemas.errors import ConfigError, ImageError
from schemas.ids import printable_json

HOSTILE = "P1\nrank 1\x1b]0;title\x07\x9b2J\u202eP\u2028[red]x[/y]:warning:"
ESCAPED = r"P1\nrank 1\x1b]0;title\x07\x9b2J\u202eP\u2028[red]x[/y]:warning:"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_printed_text_is_one_line_without_control_characters() -> None:
    written = io.StringIO()
    LineConsole(file=written, width=500).print(HOSTILE, "b", sep="\n")
    assert written.getvalue() == f"{ESCAPED}\nb\n"


def test_title_header_and_cells_of_a_table_are_escaped() -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    written = io.StringIO()
    LineConsole(file=written, width=500).print(table)
    text = written.getvalue()
    assert text.count(ESCAPED) == 3
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_message_is_one_printable_line_on_a_terminal_and_in_a_pipe() -> None:
    message = Message("spherorank.v1.alert", 7, {"data": {"message": HOSTILE, "kind": "disk µm"}})
    terminal, pipe = Terminal(), io.StringIO()
    write_message(message, terminal)
    write_message(message, pipe)
    assert ESCAPED in terminal.getvalue()
    for stream in (terminal, pipe):
        assert stream.getvalue()[:-1].isprintable()
    assert "µm" in pipe.getvalue()
    assert json.loads(pipe.getvalue())["body"] == message.body


@pytest.mark.parametrize("code", [0x7F, 0x9B, 0x2028, 0x202E, 0xD800, 0xE0001])
def test_json_with_an_escaped_character_has_the_same_value(code: int) -> None:
    value = {"path": f"a{chr(code)}b"}
    text = printable_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == value


def test_an_error_has_one_line_for_each_problem() -> None:
    assert str(ImageError("a\nb.tif", "is\x1b[2J wrong")) == r"a\nb.tif: is\x1b[2J wrong"
    error = ConfigError("a\nb", "wrong", more=(("c", "also\rwrong"),))
    assert str(error).split("\n") == [r"a\nb: wrong", r"c: also\rwrong"]
