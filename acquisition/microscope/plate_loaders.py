"""Plate loaders put plates under the microscope: by hand, by files, or by a command.

The loader is chosen by the setting ``source.micromanager.present``.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acquisition.durable_files import write_durably
from schemas.errors import ConfigError, MicroscopeError

READY_FILE = "plate.ready"
"""Written by a robot arm into a plate's folder while the plate is under the microscope."""

WANTED_FILE = "plate.wanted"
"""Written by SpheroRank into a plate's folder while the plate is to be under the microscope."""

POLL_S = 0.5

KeepWaiting = Callable[[], bool]
"""Is called regularly during a wait; returns False once the process is to stop."""


class PlateLoader(Protocol):
    """A device or person that puts plates under the microscope and removes them."""

    def load(self, plate: str) -> None:
        """Put a plate (id) under the microscope and return when it is there.

        Raises
        ------
        MicroscopeError
            If the plate does not come.
        """
        ...

    def unload(self, plate: str) -> None:
        """Let a plate (id) be removed from the microscope.

        Raises
        ------
        MicroscopeError
            If the plate cannot be removed.
        """
        ...


class ManualLoader:
    """A person puts the one plate under the microscope and leaves it there."""

    def load(self, plate: str) -> None:
        """Do nothing: the plate (id) is taken to be there."""

    def unload(self, plate: str) -> None:
        """Do nothing with the plate (id)."""


@dataclass(frozen=True)
class FileLoader:
    """A robot arm that communicates by two files in the plate's folder.

    SpheroRank keeps ``plate.wanted`` there while the plate is to be imaged. The arm keeps
    ``plate.ready`` there while the plate is under the microscope.
    """

    root: Path  # the archive, with a folder for each plate
    timeout_s: float
    keep_waiting: KeepWaiting
    wait: Callable[[float], object] = time.sleep

    def load(self, plate: str) -> None:
        """Request a plate (id) and wait until it is the only one that is ready.

        Plates that are still requested after a crash are released first. A plate that does not
        come in time is released, too.
        """
        for other in {path.parent.name for path in self.root.glob(f"*/{WANTED_FILE}")} - {plate}:
            self.unload(other)
        write_durably(self.root / plate / WANTED_FILE, b"")
        try:
            self._wait_for(plate)
        except MicroscopeError:
            self.unload(plate)
            raise

    def unload(self, plate: str) -> None:
        """Remove the request for a plate (id)."""
        wanted = self.root / plate / WANTED_FILE
        try:
            wanted.unlink(missing_ok=True)
        except OSError as error:
            raise MicroscopeError(
                f"plate {plate}",
                f"{wanted} cannot be removed ({error.strerror}); expected a writable folder",
            ) from error

    def _wait_for(self, plate: str) -> None:
        """Wait until this plate and no other is ready."""
        waited_s = 0.0
        while (ready := self._ready_plates()) != [plate]:
            if waited_s >= self.timeout_s:
                plates = " and ".join(ready) or "no plate"
                problem = (
                    f"after {self.timeout_s:g} s, {READY_FILE} exists for {plates}; "
                    "expected it for this plate only"
                )
                raise MicroscopeError(f"plate {plate}", problem)
            _check_keep_waiting(plate, self.keep_waiting)
            self.wait(POLL_S)
            waited_s += POLL_S

    def _ready_plates(self) -> list[str]:
        """Return the ids of the plates that the arm calls ready, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{READY_FILE}"))


@dataclass(frozen=True)
class CommandLoader:
    """A command that moves plates, such as ``["arm", "{action}", "{plate}"]``.

    ``{plate}`` is replaced by the plate id and ``{action}`` by ``present`` or ``release``.
    """

    command: Sequence[str]
    timeout_s: float
    keep_waiting: KeepWaiting

    def __post_init__(self) -> None:
        if not any("{plate}" in word for word in self.command):
            raise ConfigError(
                "source.micromanager.present",
                f"is {list(self.command)}; expected a command with {{plate}} among its words",
            )

    def load(self, plate: str) -> None:
        """Run the command for a plate (id) with the action ``present`` until it ends."""
        self._run(plate, "present")

    def unload(self, plate: str) -> None:
        """Run the command for a plate (id) with the action ``release`` until it ends."""
        self._run(plate, "release")

    def _run(self, plate: str, action: str) -> None:
        """Run the command until it ends; raise MicroscopeError unless its exit code is 0."""
        words = [
            word.replace("{plate}", plate).replace("{action}", action) for word in self.command
        ]
        where = f"plate {plate}, {action}, {words[0]}"
        with tempfile.TemporaryFile() as stderr:
            try:
                # Stderr goes to a file: a full pipe would block the command. Its stdout is
                # discarded, because the stdout of this process carries the events.
                process = subprocess.Popen(  # noqa: S603 - the operator's command
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
                )
            except OSError as error:
                raise MicroscopeError(
                    where, f"cannot be run ({error.strerror}); expected a program"
                ) from error
            try:
                code = self._wait_for_end(process, plate, where)
            finally:
                process.kill()
                process.wait()
            stderr.seek(0)
            last_line = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code:
            details = f": {last_line}" if last_line else ""
            raise MicroscopeError(where, f"ended with exit code {code}{details}; expected 0")

    def _wait_for_end(self, process: "subprocess.Popen[bytes]", plate: str, where: str) -> int:
        """Return the exit code of the command; raise MicroscopeError if it takes too long."""
        waited_s = 0.0
        while waited_s < self.timeout_s:
            poll_s = min(POLL_S, self.timeout_s - waited_s)
            try:
                return process.wait(poll_s)
            except subprocess.TimeoutExpired:
                waited_s += poll_s
                _check_keep_waiting(plate, self.keep_waiting)
        raise MicroscopeError(where, f"still runs after {self.timeout_s:g} s; expected it to end")


def _check_keep_waiting(plate: str, keep_waiting: KeepWaiting) -> None:
    """Raise MicroscopeError if the process is to stop while it waits for a plate."""
    if not keep_waiting():
        raise MicroscopeError(
            f"plate {plate}", "a signal ended the wait; expected the plate to be loaded or removed"
        )
