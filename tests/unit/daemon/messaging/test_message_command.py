import sys
from pathlib import Path

import pytest

from daemon.messaging.listen import Message
from daemon.messaging.message_command import MessageCommand, parse_command
from schemas.errors import ConfigError

MESSAGE = Message("spherorank.v1.acquisition.P1", 41, {"data": {"step": "done", "plate": "P1"}})


def test_a_command_receives_the_message_as_one_json_line(tmp_path: Path) -> None:
    out, problems = tmp_path / "out", []
    script = f"import pathlib, sys; pathlib.Path({str(out)!r}).write_text(sys.stdin.read())"
    MessageCommand((sys.executable, "-c", script), problems.append).run(MESSAGE)
    assert (out.read_text(), problems) == (MESSAGE.json_line() + "\n", [])


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("raise SystemExit(3)", "ended with exit code 3; expected 0"),
        ("import time; time.sleep(60)", "was ended because it ran longer than 0.5 s"),
    ],
)
def test_a_command_that_fails_is_reported_with_its_message(script: str, problem: str) -> None:
    problems: list[str] = []
    words = (sys.executable, "-S", "-c", script)
    MessageCommand(words, problems.append, timeout_s=0.5).run(MESSAGE)
    assert problems == [f"{sys.executable}, message 41 (spherorank.v1.acquisition.P1): {problem}"]


@pytest.mark.parametrize("text", ["", "no-such-program {plate}", '"unfinished'])
def test_a_command_line_without_a_program_is_a_wrong_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="--exec"):
        parse_command(text, print)
