"""Work of ``spherorank demo``: the real service reads the images of a virtual robot."""

import time
from pathlib import Path

from rich.console import Console

from daemon.jobs.demo import (
    MECHANISM,
    SIZE_PX,
    DemoSubscriber,
    check_is_new_or_empty,
    free_ports,
    print_ranking_beside_truth,
    running_command,
)
from schemas.errors import SpheroRankError
from simulation.microscope import virtual_microscopes
from simulation.robot import imaged_days

LIMIT_S = 900.0  # for the service and the robot together, on a slow computer too
_CONFIG = """\
[source]
path = "drop"
settle_s = 1.0

[ranking]
correction_quiet_s = 600  # the plate was seeded long ago, and its days follow within minutes

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


def run_robot_demo(out: Path, seed: int, wells: int, screen: Console) -> None:
    """Run a virtual robot and the real service in folder ``out``, and print the final ranking.

    The true kill of each treatment is printed with it.

    Parameters
    ----------
    out
        The folder to write; it must be new or empty.
    seed
        Seed of the virtual plate.
    wells
        Number of wells of the plate, 12 to 60.

    Raises
    ------
    ConfigError
        If the folder is not new or empty.
    SpheroRankError
        If a process ends early, or the final ranking is not published within :data:`LIMIT_S`.
    """
    check_is_new_or_empty(out)
    (out / "drop").mkdir(parents=True, exist_ok=True)
    events, requests = free_ports(2)
    config = out / "spherorank.toml"
    config.write_text(_CONFIG.format(events=events, requests=requests), encoding="utf-8")
    screen.print(
        f"A virtual robot writes the images of a plate into {out}/drop. "
        "The service reads this folder."
    )
    end_s = time.monotonic() + LIMIT_S
    with (
        (out / "service.log").open("w", encoding="utf-8") as log,
        running_command(["run", "--config", str(config)], log) as service,
        running_command(_robot_command(out, seed, wells), log) as robot,
    ):
        subscriber = DemoSubscriber(
            f"tcp://127.0.0.1:{events}", f"tcp://127.0.0.1:{requests}", screen
        )

        def is_over() -> bool:
            return (
                subscriber.final is not None
                or time.monotonic() > end_s
                or any(process.poll() not in (None, 0) for process in (service, robot))
            )

        subscriber.follow("well images embedded", _expected_images(seed, wells), is_over)
    if subscriber.final is None:
        raise SpheroRankError(
            out / "service.log",
            f"shows why no final ranking was published within {LIMIT_S:g} s "
            "or before a process ended",
        )
    print_ranking_beside_truth(subscriber.final, out, screen)


def _robot_command(out: Path, seed: int, wells: int) -> list[str]:
    """Return the command of the robot, which writes the plate's files half by half."""
    options = {
        "--out": out,
        "--seed": seed,
        "--wells": wells,
        "--size": SIZE_PX,
        "--mechanism": MECHANISM,
        "--robot": "in_place",
        "--seconds-per-image": 0,
    }
    return ["simulate", *(str(word) for option in options.items() for word in option)]


def _expected_images(seed: int, wells: int) -> int:
    (scope,) = virtual_microscopes(1, seed, SIZE_PX, mechanism=MECHANISM, wells=wells)
    return len(scope.plate.wells) * len(imaged_days(scope, seed))
