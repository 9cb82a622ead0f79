"""Parts of both demonstrations: processes, a subscriber that shows progress, the final table."""

import csv
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from scipy import stats

from daemon.jobs.ranking_tables import title_of, treatments_table
from daemon.jobs.simulate import progress_bar
from daemon.messaging.listen import Message, Service, listen
from schemas.errors import ConfigError
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Ranking
from simulation.kinds import Mechanism

SIZE_PX = 512  # image side
MECHANISM = Mechanism.SHRINKING  # of every treatment
END_S = 20.0  # from SIGTERM to SIGKILL


class DemoSubscriber:
    """A subscriber of the service that prints rankings and alerts and counts embedded images.

    Attributes
    ----------
    embedded
        Culture day and well of each embedded well image.
    final
        The final ranking, or None before it is published.
    """

    def __init__(self, events: str, requests: str, screen: Console) -> None:
        self._events = events
        self._requests = requests
        self._screen = screen
        self._last_sequence = 0
        self.embedded: set[tuple[int, str]] = set()
        self.final: Ranking | None = None

    def follow(self, title: str, expected_images: int, should_stop: Callable[[], bool]) -> None:
        """Receive messages until ``should_stop`` returns True, with a titled bar of image progress.

        A later call continues after the last received message.
        """
        with progress_bar(self._screen) as bar:
            task = bar.add_task(title, total=expected_images)

            def on_message(message: Message) -> None:
                self._last_sequence = message.sequence
                if self._record(message.topic.split(".")[2], message.body["data"]):
                    bar.advance(task)

            listen(
                Service(self._events, self._requests),
                after=self._last_sequence,
                topic="",
                on_message=on_message,
                should_stop=should_stop,
                on_silence=lambda _text: None,
            )

    def _record(self, kind: str, data: dict[str, Any]) -> bool:
        """Record or print one message; return whether it reports an embedded well image."""
        if kind == "ranking":
            ranking = Ranking.model_validate(data)
            state = "final" if ranking.final else "provisional"
            best = ranking.treatments[0].treatment if ranking.treatments else "none"
            self._screen.print(
                f"day {ranking.day}: {state} ranking published, strongest effect {best}"
            )
            self.final = ranking if ranking.final else None
        elif kind == "observation":
            self.embedded.add((int(data["day"]), str(data["well"])))
        elif kind in ("alert", "rejected"):
            self._screen.print(f"{kind}: {data.get('message') or data.get('reason')}")
        return kind == "observation"


def print_ranking_beside_truth(ranking: Ranking, out: Path, screen: Console) -> None:
    """Print a ranking with the true kills in folder ``out`` and their correlation on a console.

    The paths of the ranking's files are printed, too.

    Parameters
    ----------
    out
        The folder of the demonstration, with ``truth.csv``.
    """
    kills = _mean_true_kill(out / "truth.csv", ranking)
    extra = {"true kill": {treatment: f"{kill:.2f}" for treatment, kill in kills.items()}}
    screen.print(treatments_table(ranking, title_of(ranking), extra))
    agreement = stats.spearmanr(
        [row.score for row in ranking.treatments],
        [kills[row.treatment] for row in ranking.treatments],
    ).statistic
    screen.print(
        f"Spearman correlation of score and true kill over {len(kills)} treatments: {agreement:.3f}"
    )
    folder = out / "rankings" / ranking.plate
    screen.print(f"ranking   {folder}/{ranking.name}.json, .csv, .html")
    screen.print(f"latest    {folder}/latest.json")
    screen.print(f"log       {out}/logs")
    screen.print(FOR_RESEARCH_USE_ONLY)


def _mean_true_kill(truth: Path, ranking: Ranking) -> dict[str, float]:
    """Return the mean true kill (0 to 1) of each treatment on the day of a ranking."""
    with truth.open(newline="", encoding="utf-8") as file:
        kill = {
            row["well"]: float(row["kill"])
            for row in csv.DictReader(file)
            if row["plate"] == ranking.plate and int(row["day"]) == ranking.day
        }
    return {
        row.treatment: sum(kill[well] for well in row.wells) / len(row.wells)
        for row in ranking.treatments
    }


def check_is_new_or_empty(out: Path) -> None:
    """Raise :class:`ConfigError` if a folder exists and contains files."""
    if out.exists() and any(out.iterdir()):
        raise ConfigError(out, "is not empty; expected a new or empty folder")


@contextmanager
def running_command(arguments: list[str], log: TextIO) -> Iterator["subprocess.Popen[bytes]"]:
    """Context manager that runs a command of SpheroRank as a process, which it yields.

    It is ended as systemd ends the service: with SIGTERM, and after :data:`END_S` with SIGKILL.

    Parameters
    ----------
    arguments
        The command and its options, without ``spherorank``.
    log
        File for the output of the process.
    """
    process = subprocess.Popen([sys.executable, "-m", "daemon", *arguments], stdout=log, stderr=log)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()


def free_ports(count: int) -> list[int]:
    """Return TCP ports of this computer that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
