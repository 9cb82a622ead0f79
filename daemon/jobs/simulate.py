"""``spherorank simulate``: virtual plates as a robot would drop them, or under a virtual microscope."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import ConfigError, SpheroRankError
from simulation.kinds import Delivery, Layout, Mechanism, OpticsName
from simulation.laboratory import write_maps_and_truth, write_world
from simulation.microscope import virtual_microscopes
from simulation.robot import imaged_days, run_robot, write_plates, write_truth
from simulation.world import (
    A1_UM,
    FOCUS_TRAVEL_UM,
    FOCUS_Z_UM,
    STAGE_TRAVEL_UM,
    World,
    WorldFile,
)

_MICROSCOPE_CONFIG = f"""\
[source]
kind = "micromanager"
path = "archive"

[source.micromanager]
config = "MMConfig.cfg"
a1_um = [{A1_UM[0]:g}, {A1_UM[1]:g}]
focus_z_um = {FOCUS_Z_UM:g}
channel = "Channel:BF"
stage_limits_um = [{STAGE_TRAVEL_UM[0][0]:g}, {STAGE_TRAVEL_UM[1][0]:g}, {STAGE_TRAVEL_UM[0][1]:g}, {STAGE_TRAVEL_UM[1][1]:g}]
z_limits_um = [{FOCUS_TRAVEL_UM[0]:g}, {FOCUS_TRAVEL_UM[1]:g}]

[store]
url = "sqlite:///spherorank.sqlite"

[output]
rankings = "rankings"
logs = "logs"
"""


def progress_on(console: Console) -> Progress:
    """Return a progress bar that shows on a terminal and is silent in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def simulate(
    out: Path,
    *,
    plates: int,
    seed: int,
    size_px: int,
    mechanism: Mechanism | None,
    layout: Layout,
    optics: OpticsName,
    masks: bool,
    assay: bool,
    faults: float,
    robot: Delivery | None,
    seconds_per_image: float,
) -> None:
    """Write virtual plates: all at once, or with ``robot`` over time.

    Raises
    ------
    SpheroRankError
        If files cannot be written.
    """
    scopes = virtual_microscopes(
        plates, seed, size_px, mechanism=mechanism, layout=layout, optics=optics
    )
    with progress_on(Console(stderr=True)) as bar:
        task = bar.add_task("well images", total=None)
        try:
            if robot is None:
                write_plates(
                    out,
                    scopes,
                    masks=masks,
                    assay=assay,
                    faults=faults,
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                )
                return
            write_truth(
                out / "truth.csv",
                (
                    scope.truth(plan, day)
                    for scope in scopes
                    for day in imaged_days(scope, seed)
                    for plan in scope.plate.wells
                ),
            )
            run_robot(
                scopes,
                out / "drop",
                seconds_per_image=seconds_per_image,
                seed=seed,
                sleep=time.sleep,
                delivery=robot,
                assay=assay,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except OSError as error:
            raise SpheroRankError(
                error.filename or out,
                f"cannot be written: {error.strerror}; expected a folder with free space",
            ) from error


def simulate_microscope(out: Path, file: WorldFile, *, assay: bool) -> World:
    """Write a virtual laboratory with a configuration of ours beside it: ``OUT/world``, ``OUT/MMConfig.cfg``, ``OUT/archive``, ``OUT/spherorank.toml``.

    Raises
    ------
    SpheroRankError
        If files cannot be written.
    """
    if (out / "world").exists():
        raise ConfigError(out, "holds a virtual laboratory already; expected another folder")
    world = World(out / "world", file, clock=lambda: datetime.now(UTC))
    with progress_on(Console(stderr=True)) as bar:
        task = bar.add_task("truth", total=None)
        try:
            write_world(out, world)
            write_maps_and_truth(
                out,
                world,
                assay=assay,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            (out / "spherorank.toml").write_text(_MICROSCOPE_CONFIG)
        except OSError as error:
            raise SpheroRankError(
                error.filename or out,
                f"cannot be written: {error.strerror}; expected a folder with free space",
            ) from error
    return world
