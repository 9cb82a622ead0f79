"""A folder with a virtual microscope, and the real ``spherorank acquire`` that drives it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.jobs.simulate import write_virtual_microscope
from simulation.world import World, WorldFile

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Laboratory:
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

    @property
    def plate(self) -> str:
        """The id of the first plate."""
        return next(iter(self.world.scopes))

    @property
    def wells(self) -> list[str]:
        """The wells of the first plate."""
        return [plan.well for plan in self.world.scopes[self.plate].plate.wells]

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

    def break_device(self, device: str, fault: str, *, fails_at: int | None = 7) -> None:
        """Replace a device by a faulty one in the Micro-Manager configuration.

        For example ``break_device("VirtualStage", "RaisingStage")``; ``fails_at`` is the number of
        the call that fails, or None if the device has no such property.
        """
        path = self.folder / "MMConfig.cfg"
        label = device.removeprefix("Virtual")
        text = path.read_text().replace(
            f"simulation.devices,{device}", f"tests.faulty_devices,{fault}"
        )
        at = "" if fails_at is None else f"\n#py Property,{label},FailsAt,{fails_at}\n"
        path.write_text(text + at)

    def repair_devices(self) -> None:
        """Replace every faulty device by the good one."""
        path = self.folder / "MMConfig.cfg"
        lines = [line for line in path.read_text().splitlines() if "FailsAt" not in line]
        for index, line in enumerate(lines):
            if "tests.faulty_devices" in line:
                label = line.split(",")[1]
                lines[index] = f"#py pyDevice,{label},simulation.devices,Virtual{label}"
        path.write_text("\n".join(lines) + "\n")

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
    def serving(self) -> Iterator["subprocess.Popen[str]"]:
        """Start ``acquire serve`` with pipes, as the service does, and kill it at the end."""
        with subprocess.Popen(
            self.command("serve"),
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

    def files(self, day: int = 7) -> dict[str, list[Path]]:
        """Return the archived image files of a culture day, by well."""
        found: dict[str, list[Path]] = {}
        for path in sorted(
            (self.folder / "archive" / self.plate / f"day{day:02d}").glob("*.ome.tif")
        ):
            found.setdefault(path.name[:3], []).append(path)
        return found

    def journal(self, day: int = 7) -> list[dict[str, Any]]:
        """Return the entries of the journal of a culture day."""
        path = self.folder / "microscope" / "journal" / f"{self.plate}-day{day:02d}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


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
