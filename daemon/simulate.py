"""``spherorank simulate``: virtual plates as a robot would drop them."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from acquisition.virtual_microscope import microscopes
from acquisition.virtual_optics import OpticsName
from acquisition.virtual_plate import Layout, Mechanism
from acquisition.virtual_robot import Delivery, robot_days, run_robot, write_plates, write_truth
from schemas.errors import SpheroRankError


def progress_on(console: Console) -> Progress:
    """Return a progress bar that shows on a terminal and is silent in a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
    scopes = microscopes(plates, seed, size_px, mechanism=mechanism, layout=layout, optics=optics)
    with progress_on(Console(stderr=True)) as bar:
        task = bar.add_task("well images", total=None)
        try:
            if robot is None:
                write_plates(out, scopes, masks=masks, assay=assay, faults=faults, progress=lambda done, total: bar.update(task, completed=done, total=total))
                return
            write_truth(out / "truth.csv", (scope.truth(plan, day) for scope in scopes for day in robot_days(scope, seed) for plan in scope.plate.wells))
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
            raise SpheroRankError(error.filename or out, f"cannot be written: {error.strerror}; expected a folder with free space") from error
