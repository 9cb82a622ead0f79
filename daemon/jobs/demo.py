"""``spherorank demo``: the real service beside a virtual robot, watched as any subscriber would, until the final ranking."""

import csv
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from scipy import stats

from daemon.jobs.rank import as_table, title_of
from daemon.jobs.simulate import progress_on
from daemon.messaging.listen import Message, listen
from schemas.errors import ConfigError, SpheroRankError
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Ranking
from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import imaged_days

LIMIT_S = 240.0  # the service and the robot together
SIZE_PX = 512
MECHANISM = Mechanism.SHRINKING
_CONFIG = """\
[source]
path = "drop"
settle_s = 1.0

[store]
url = "sqlite:///spherorank.sqlite"

[publisher]
events = "tcp://127.0.0.1:{events}"
requests = "tcp://127.0.0.1:{requests}"

[output]
rankings = "rankings"
logs = "logs"

[health]
http = ""
"""


def demonstrate(out: Path, seed: int, screen: Console) -> None:
    """Run robot and service to the final ranking of the readout day, and show it beside the truth.

    Raises
    ------
    ConfigError
        If the folder is not new or empty.
    SpheroRankError
        If the service ends early or there is no final ranking in time.
    """
    refuse_used_folder(out)
    (out / "drop").mkdir(parents=True, exist_ok=True)
    events, requests = free_ports(2)
    (out / "spherorank.toml").write_text(_CONFIG.format(events=events, requests=requests))
    screen.print(
        f"A robot drops a virtual plate into {out}/drop; the service watches the folder, as it would on a robot PC."
    )
    robot = [
        "simulate",
        "--out",
        str(out),
        "--seed",
        str(seed),
        "--size",
        str(SIZE_PX),
        "--mechanism",
        MECHANISM,
        "--robot",
        "in_place",
        "--seconds-per-image",
        "0",
    ]
    give_up = time.monotonic() + LIMIT_S
    with (
        (out / "service.log").open("w") as log,
        running(["run", "--config", str(out / "spherorank.toml")], log) as service,
        running(robot, log) as simulated,
    ):
        subscriber = Subscriber(f"tcp://127.0.0.1:{events}", f"tcp://127.0.0.1:{requests}", screen)

        def is_over() -> bool:
            return (
                subscriber.final is not None
                or time.monotonic() > give_up
                or any(process.poll() not in (None, 0) for process in (service, simulated))
            )

        subscriber.follow("well images embedded", _expected_images(seed), is_over)
    if subscriber.final is None:
        raise SpheroRankError(
            out / "service.log",
            f"no final ranking came within {LIMIT_S:g} s or before a process ended; the log tells why",
        )
    show(subscriber.final, out, screen)


class Subscriber:
    """Follows the service, tells the screen, and remembers what was seen."""

    def __init__(self, events: str, requests: str, screen: Console) -> None:
        self._events = events
        self._requests = requests
        self._screen = screen
        self._heard = 0  # the last sequence number
        self.seen: set[tuple[int, str]] = set()  # day and well
        self.final: Ranking | None = None

    def follow(self, title: str, expected_images: int, should_stop: Callable[[], bool]) -> None:
        """Listen on from where it stopped, with a bar of images."""
        with progress_on(self._screen) as bar:
            task = bar.add_task(title, total=expected_images)

            def on_message(message: Message) -> None:
                self._heard = message.sequence
                if self._tell(message.topic.split(".")[2], message.body["data"]):
                    bar.advance(task)

            listen(
                self._events,
                self._requests,
                after=self._heard,
                topic="",
                on_message=on_message,
                should_stop=should_stop,
                on_silence=lambda _what: None,
            )

    def _tell(self, kind: str, data: dict[str, Any]) -> bool:
        """Say what a person wants to know of a message; return whether it is an image."""
        if kind == "ranking":
            ranking = Ranking.model_validate(data)
            best = ranking.treatments[0].treatment if ranking.treatments else "none"
            self._screen.print(
                f"day {ranking.day}: {'final' if ranking.final else 'provisional'} ranking published, strongest so far {best}"
            )
            self.final = ranking if ranking.final else None
        elif kind == "observation":
            self.seen.add((int(data["day"]), str(data["well"])))
        elif kind in ("alert", "rejected"):
            self._screen.print(f"{kind}: {data.get('message') or data.get('reason')}", markup=False)
        return kind == "observation"


def show(ranking: Ranking, out: Path, screen: Console) -> None:
    """Print a ranking beside the truth, and where its files lie."""
    kills = _mean_kill(out / "truth.csv", ranking)
    table = as_table(
        ranking,
        title_of(ranking),
        {"true kill": {treatment: f"{kill:.2f}" for treatment, kill in kills.items()}},
    )
    screen.print(table)
    agreement = stats.spearmanr(
        [row.score for row in ranking.treatments],
        [kills[row.treatment] for row in ranking.treatments],
    ).statistic
    screen.print(
        f"Spearman correlation of score and true kill over {len(kills)} treatments: {agreement:.3f}"
    )
    folder = out / "rankings" / ranking.plate
    screen.print(
        f"ranking   {folder}/{ranking.name}.json, .csv, .html\nlatest    {folder}/latest.json\nlog       {out}/logs\n{FOR_RESEARCH_USE_ONLY}"
    )


def _mean_kill(truth: Path, ranking: Ranking) -> dict[str, float]:
    """Return the mean true kill on the ranking's day by treatment."""
    with truth.open(newline="") as file:
        kill = {
            row["well"]: float(row["kill"])
            for row in csv.DictReader(file)
            if row["plate"] == ranking.plate and int(row["day"]) == ranking.day
        }
    return {
        row.treatment: sum(kill[well] for well in row.wells) / len(row.wells)
        for row in ranking.treatments
    }


def _expected_images(seed: int) -> int:
    (scope,) = virtual_microscopes(1, seed, SIZE_PX, mechanism=MECHANISM)
    return len(scope.plate.wells) * len(imaged_days(scope, seed))


def refuse_used_folder(out: Path) -> None:
    """Raise :class:`ConfigError` unless a folder is new or empty."""
    if out.exists() and any(out.iterdir()):
        raise ConfigError(out, "is not empty; expected a new or empty folder")


@contextmanager
def running(arguments: list[str], log: Any) -> Iterator["subprocess.Popen[bytes]"]:  # noqa: ANN401 - any writable file
    """Start a command of ours, and end it as systemd would: SIGTERM, then patience, then SIGKILL."""
    process = subprocess.Popen([sys.executable, "-m", "daemon", *arguments], stdout=log, stderr=log)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
