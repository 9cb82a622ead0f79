"""Run a command of the operator for each message: ``spherorank listen --exec COMMAND``."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from daemon.messaging.listen import Message
from schemas.errors import ConfigError

TIMEOUT_S = 60.0
"""Time after which a command that still runs is ended, so that later messages are not blocked."""


@dataclass(frozen=True)
class MessageCommand:
    """A command that receives each message as one JSON line on its stdin.

    Parameters
    ----------
    words
        The program and its arguments; no shell interprets them.
    report
        Is called with a text when a command fails.
    """

    words: tuple[str, ...]
    report: Callable[[str], None]
    timeout_s: float = TIMEOUT_S

    def run(self, message: Message) -> bool:
        """Run the command for one message, wait for its end, and return whether it succeeded."""
        try:
            done = subprocess.run(  # noqa: S603 - the operator's command
                self.words,
                input=message.json_line() + "\n",
                text=True,
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"was ended because it ran longer than {self.timeout_s:g} s"
        except OSError as error:
            problem = f"cannot be run ({error.strerror})"
        else:
            if done.returncode == 0:
                return True
            problem = f"ended with exit code {done.returncode}; expected 0"
        self.report(f"{self.words[0]}, message {message.sequence} ({message.topic}): {problem}")
        return False


def parse_command(text: str, report: Callable[[str], None]) -> MessageCommand:
    """Return the MessageCommand of a command line.

    Raises
    ------
    ConfigError
        If the text is no command line, or its program does not exist.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError("--exec", f"{text!r} is no command line ({error})") from error
    if not words or shutil.which(words[0]) is None:
        raise ConfigError("--exec", f"{text!r} names no program; expected one that can be run")
    return MessageCommand(tuple(words), report)
