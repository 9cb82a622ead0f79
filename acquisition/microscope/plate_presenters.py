"""Who puts plates under the microscope: nobody, a robot arm that tells by a file, or a command."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acquisition.durable_files import write_durably
from schemas.errors import ConfigError, MicroscopeError

READY = "plate.ready"
WANTED = "plate.wanted"
LOOK_S = 0.5

GoOn = Callable[[], bool]
"""Asked over and over while a plate is on its way; False: give up, as the process is told to stop."""


class Presenter(Protocol):
    """Puts plates under the microscope and takes them away."""

    def present(self, plate: str) -> None:
        """Return when the plate lies under the microscope.

        Raises
        ------
        MicroscopeError
            If it does not come.
        """
        ...

    def release(self, plate: str) -> None:
        """Let the plate go.

        Raises
        ------
        MicroscopeError
            If it cannot be taken away.
        """
        ...


class AlwaysThere:
    """One plate, put there by hand."""

    def present(self, plate: str) -> None:
        """Believe that it lies there."""

    def release(self, plate: str) -> None:
        """Let it lie."""


@dataclass(frozen=True)
class ReadyFile:
    """An arm that works by files: ``plate.wanted`` lies in a plate's folder while it is to be imaged, ``plate.ready`` is the arm's, while it lies there."""

    root: Path  # of the archive, with a folder for each plate
    timeout_s: float
    go_on: GoOn
    wait: Callable[[float], object] = time.sleep

    def present(self, plate: str) -> None:
        """Ask for the plate, and for no other that a crash left wanted, and wait until it alone is ready; one that does not come is not wanted any more."""
        for other in {path.parent.name for path in self.root.glob(f"*/{WANTED}")} - {plate}:
            self.release(other)
        write_durably(self.root / plate / WANTED, b"")
        try:
            self._wait_for(plate)
        except MicroscopeError:
            self.release(plate)
            raise

    def release(self, plate: str) -> None:
        """Ask for it no longer."""
        wanted = self.root / plate / WANTED
        try:
            wanted.unlink(missing_ok=True)
        except OSError as error:
            raise MicroscopeError(
                f"plate {plate}",
                f"{wanted} cannot be removed ({error.strerror}); expected a writable folder",
            ) from error

    def _wait_for(self, plate: str) -> None:
        waited_s = 0.0
        while (ready := sorted(path.parent.name for path in self.root.glob(f"*/{READY}"))) != [
            plate
        ]:
            if waited_s >= self.timeout_s:
                problem = f"after {self.timeout_s:g} s there is {READY} of {' and '.join(ready) or 'no plate'}; expected of this one alone"
                raise MicroscopeError(f"plate {plate}", problem)
            _check_wanted(plate, self.go_on)
            self.wait(LOOK_S)
            waited_s += LOOK_S


@dataclass(frozen=True)
class Arm:
    """A command that moves plates; ``{plate}`` and ``{action}`` (``present`` or ``release``) in its words are filled in."""

    command: Sequence[str]
    timeout_s: float
    go_on: GoOn

    def __post_init__(self) -> None:
        if not any("{plate}" in word for word in self.command):
            raise ConfigError(
                "source.micromanager.present",
                f"is {list(self.command)}; expected a command with {{plate}} among its words",
            )

    def present(self, plate: str) -> None:
        """Run the command to its end."""
        self._run(plate, "present")

    def release(self, plate: str) -> None:
        """Run the command to its end."""
        self._run(plate, "release")

    def _run(self, plate: str, action: str) -> None:
        words = [
            word.replace("{plate}", plate).replace("{action}", action) for word in self.command
        ]
        where = f"plate {plate}, {action}, {words[0]}"
        with tempfile.TemporaryFile() as complaints:
            try:
                # Without a pipe that nobody reads, and apart from our own stdout, which tells the service what happens.
                process = subprocess.Popen(  # noqa: S603 - the operator's command
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints
                )
            except OSError as error:
                raise MicroscopeError(
                    where, f"cannot be run ({error.strerror}); expected a program"
                ) from error
            try:
                code = self._ended(process, plate, where)
            finally:
                process.kill()
                process.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code:
            raise MicroscopeError(
                where, f"ended with {code}{f': {said}' if said else ''}; expected 0"
            )

    def _ended(self, process: "subprocess.Popen[bytes]", plate: str, where: str) -> int:
        waited_s = 0.0
        while waited_s < self.timeout_s:
            look_s = min(LOOK_S, self.timeout_s - waited_s)
            try:
                return process.wait(look_s)
            except subprocess.TimeoutExpired:
                waited_s += look_s
                _check_wanted(plate, self.go_on)
        raise MicroscopeError(where, f"still runs after {self.timeout_s:g} s; expected its end")


def _check_wanted(plate: str, go_on: GoOn) -> None:
    if not go_on():
        raise MicroscopeError(
            f"plate {plate}", "waited for until told to stop; expected it to come or go"
        )
