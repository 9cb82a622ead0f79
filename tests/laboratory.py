"""A folder with a virtual microscope, and the real ``spherorank acquire`` that drives it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon.jobs.simulate import write_virtual_microscope
from simulation.world import World, WorldFile
from tests.microscope_folder import MicroscopeFolder

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Laboratory(MicroscopeFolder):
    """A virtual microscope with one plate or more, and the configuration that drives it."""

    folder: Path
    world: World

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        wells: int = 12,
        size_px: int = 128,
        seed: int = 3,
        plates: int = 1,
        own_clock: bool = True,
        microscope: str = "",
        rest: str = "",
    ) -> "Laboratory":
        """Write virtual microscope and configuration into a folder, and load the first plate.

        Without a clock of its own the camera dates frames by this computer's clock.
        ``microscope`` are lines of the section ``source.micromanager``; ``rest`` follows at the
        end of the configuration file.
        """
        file = WorldFile(
            seed=seed, size_px=size_px, wells=wells, plates=plates, own_clock=own_clock
        )
        world = write_virtual_microscope(folder, file, assay=False)
        config = folder / "spherorank.toml"
        quick = "" if "settle_ms" in microscope else "settle_ms = 0\n"
        quiet = f"backoff_s = 0.01\nkeep_free_bytes = 0\n{quick}{microscope}\n"
        config.write_text(
            config.read_text().replace("[source.micromanager]\n", f"[source.micromanager]\n{quiet}")
            + rest
        )
        made = cls(folder, world)
        made.world.place_plate(made.plate, 7)
        return made

    def seed_today(self, plate: str = "") -> None:
        """Change a plate map, by default that of the first plate, so that today is day 1."""
        plate = plate or self.plate
        path = self.folder / "archive" / plate / f"{plate}.plate.toml"
        lines = [
            line
            for line in path.read_text().splitlines()
            if not line.startswith(("seeded_at", "dosed_at"))
        ]
        seeded_at = now().astimezone().replace(hour=0, minute=0).isoformat(timespec="seconds")
        path.write_text("\n".join([*lines, f"seeded_at = {seeded_at}"]) + "\n")

    @property
    def lamp(self) -> str:
        """The state of the lamp: "on" or "off"."""
        return (self.folder / "world" / "lamp").read_text().strip()

    def command(self, *arguments: str) -> list[str]:
        """Return the words of ``spherorank acquire`` with arguments and the configuration."""
        return [
            sys.executable,
            "-m",
            "daemon",
            "acquire",
            *arguments,
            "--config",
            str(self.folder / "spherorank.toml"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of processes, with the faulty devices on the Python path."""
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def acquire(self, *arguments: str, timeout_s: float = 90) -> "subprocess.CompletedProcess[str]":
        """Run ``spherorank acquire`` with arguments until it ends."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=self.environment,
        )

    def image_plate(self, day: int = 7, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Image the first plate with ``acquire run`` and further arguments."""
        return self.acquire("run", self.plate, "--day", str(day), *arguments)

    @contextmanager
    def _started(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Start ``spherorank acquire`` with arguments and pipes, and kill it at the end."""
        with subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def serving(self) -> AbstractContextManager["subprocess.Popen[str]"]:
        """Start ``acquire serve`` with pipes, as the service does, and kill it at the end."""
        return self._started("serve")

    def running(self) -> AbstractContextManager["subprocess.Popen[str]"]:
        """Start to image the first plate with ``acquire run``, and kill it at the end."""
        return self._started("run", self.plate, "--day", "7")

    def wait_until_driven(self) -> None:
        """Wait until a process drives the microscope."""
        lock = self.folder / "microscope" / "lock"
        wait_until(lambda: lock.exists() and lock.read_text())

    def files(self, day: int = 7) -> dict[str, list[Path]]:
        """Return the archived image files of a culture day, by well."""
        found: dict[str, list[Path]] = {}
        for path in sorted(
            (self.folder / "archive" / self.plate / f"day{day:02d}").glob("*.ome.tif")
        ):
            found.setdefault(path.name[:3], []).append(path)
        return found


def wait_until(
    condition: Callable[[], object], *, timeout_s: float = 60, every_s: float = 0.02
) -> None:
    """Wait until a condition is true.

    Raises
    ------
    TimeoutError
        If the condition is not true in time.
    """
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(every_s)


def now() -> datetime:
    """Return the time of this computer's clock, in UTC."""
    return datetime.now(UTC)
