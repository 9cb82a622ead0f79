"""The real ``spherorank`` service in its own process, with a drop folder and a configuration."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.ranking import Ranking
from store.sql_store import SqlStore

SPHERORANK = Path(sys.executable).parent / "spherorank"
DAYS = (7, 8, 10)
WELLS = 16  # 8 untreated, 2 of the single dose, 6 of two treatments
PLATE = "VIRTUAL-0005-01"


@dataclass(frozen=True)
class ServiceProcess:
    """The service in a folder of its own: drop folder, configuration, store, logs and rankings.

    The command line runs in new processes: ``run_once`` and ``running`` start the service,
    ``ask`` runs any other command.
    """

    folder: Path

    @property
    def drop(self) -> Path:
        return self.folder / "drop"

    @property
    def config(self) -> Path:
        return self.folder / "spherorank.toml"

    @property
    def requests(self) -> str:
        return f"ipc://{self.folder}/requests"

    def configure(
        self, *, source: str = "", ranking: str = "", health: str = "", publisher: str = ""
    ) -> None:
        """Write the configuration file; the arguments are lines of its sections."""
        self.config.write_text(
            f"[source]\nsettle_s = 0.3\npoll_s = 0.3\n{source}\n"
            f"[ranking]\ncorrection_quiet_s = 0.5\n{ranking}\n"
            f'[health]\nhttp = "{health}"\n'
            f"[publisher]\nheartbeat_s = 0.5\n"
            f'events = "ipc://{self.folder}/events"\nrequests = "{self.requests}"\n'
            f"{publisher}\n"
        )

    def command(self, *arguments: str) -> list[str]:
        return [str(SPHERORANK), *arguments, "--config", str(self.config)]

    def run_once(self) -> "subprocess.CompletedProcess[str]":
        """Run ``spherorank run --once`` to its end."""
        return subprocess.run(
            self.command("run", "--once"), capture_output=True, text=True, check=False, timeout=250
        )

    def ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command with the same configuration to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, timeout=100
        )

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[str]"]:
        """Start ``spherorank run`` and kill it at the end if it still runs."""
        with (
            (self.folder / "stderr.log").open("a") as log,
            subprocess.Popen(self.command("run"), stderr=log, text=True) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    @contextmanager
    def store(self) -> Iterator[SqlStore]:
        store = SqlStore(f"sqlite:///{self.folder}/spherorank.sqlite")
        try:
            yield store
        finally:
            store.close()

    def rankings(self, plate: str = PLATE) -> list[Ranking]:
        with self.store() as store:
            return list(store.rankings(plate))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the fields of each line of the daily logs with an event name."""
        lines = [
            json.loads(line)
            for log in sorted((self.folder / "logs").glob("*.jsonl"))
            for line in log.read_text().splitlines()
        ]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 100.0) -> None:
        """Wait until a condition is true; after the timeout, fail with the end of the log.

        A pause is as long as three checks or longer, so that checks that open the store or start a
        process leave the CPU to the service.
        """
        end = time.monotonic() + timeout_s
        begun = time.monotonic()
        while not condition():
            if time.monotonic() > end:
                log = self.folder / "stderr.log"
                text = log.read_text()[-3000:] if log.exists() else "(empty)"
                pytest.fail(f"not within {timeout_s:g} s; end of the log of the service:\n{text}")
            time.sleep(max(0.05, 3 * (time.monotonic() - begun)))
            begun = time.monotonic()

    def wells(self) -> list[str]:
        """Return the names of the wells with images on day 10 in the drop folder."""
        return sorted({path.name[:3] for path in (self.drop / PLATE / "day10").iterdir()})

    def well(self, well: str, day: int) -> list[Path]:
        """Return the image files of one well on one culture day, one per plane."""
        return sorted((self.drop / PLATE / f"day{day:02d}").glob(f"{well}_z*.tif"))
