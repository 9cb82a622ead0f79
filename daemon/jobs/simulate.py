"""Work of ``spherorank simulate``: write virtual plates, or a virtual microscope with plates."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import ConfigError, SpheroRankError
from simulation.fluorescence import write_stained_plates
from simulation.kinds import Delivery, Layout, Mechanism, OpticsName
from simulation.laboratories.laboratory import draw_laboratory
from simulation.microscope import PlateMicroscope, virtual_microscopes
from simulation.robot import imaged_days, run_robot, write_plates, write_truth
from simulation.world import (
    A1_UM,
    FOCUS_TRAVEL_UM,
    FOCUS_Z_UM,
    STAGE_TRAVEL_UM,
    World,
    WorldFile,
)
from simulation.world_files import write_maps_and_truth, write_world

_STAGE_LIMITS_UM = (*(low for low, _ in STAGE_TRAVEL_UM), *(high for _, high in STAGE_TRAVEL_UM))
_MICROSCOPE_CONFIG = f"""\
[source]
kind = "micromanager"
path = "archive"

[source.micromanager]
config = "MMConfig.cfg"
a1_um = [{A1_UM[0]:g}, {A1_UM[1]:g}]
focus_z_um = {FOCUS_Z_UM:g}
channel = "Channel:BF"
stage_limits_um = [{", ".join(f"{end:g}" for end in _STAGE_LIMITS_UM)}]
z_limits_um = [{FOCUS_TRAVEL_UM[0]:g}, {FOCUS_TRAVEL_UM[1]:g}]

[store]
url = "sqlite:///spherorank.sqlite"

[output]
rankings = "rankings"
logs = "logs"
"""


def progress_bar(console: Console) -> Progress:
    """Return a rich Progress for a console; it shows nothing if the console is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def write_virtual_plates(
    out: Path,
    *,
    plates: int,
    seed: int,
    laboratory: int | None,
    size_px: int,
    mechanism: Mechanism | None,
    layout: Layout,
    optics: OpticsName,
    wells: int,
    masks: bool,
    assay: bool,
    fluorescence: bool,
    faults: float,
    robot: Delivery | None,
    seconds_per_image: float,
) -> None:
    """Render virtual plates and write their images, plate maps and true values into a folder.

    Parameters
    ----------
    out
        The folder: images and plate maps go to ``drop``, true values to ``truth.csv``.
    seed
        The same seed gives the same plates.
    laboratory
        Seed of a simulated laboratory, whose plates are written; then ``seed`` and ``optics`` have
        no effect. None writes the default virtual plates.
    size_px
        Image side in pixels; the field of view does not change.
    mechanism
        Death mechanism of every treatment; None gives each compound its own.
    wells
        Number of wells of each plate, 12 to 60.
    masks
        Whether to write the true tissue masks.
    assay
        Whether to write measured viability as ``<plate>.assay.csv``.
    fluorescence
        Whether to write the stains of the readout day to ``fluorescence``, and their truth to
        ``fluorescence_truth.csv``.
    faults
        Fraction of well images with a fault, 0 to 1.
    robot
        None writes all files at once. Otherwise the files appear over time in this way, without
        masks and faults.
    seconds_per_image
        With ``robot``: seconds for each well image.

    Raises
    ------
    SpheroRankError
        If files cannot be written.
    """
    scopes: tuple[PlateMicroscope, ...]
    if laboratory is None:
        scopes = stained = virtual_microscopes(
            plates, seed, size_px, mechanism=mechanism, layout=layout, optics=optics, wells=wells
        )
    else:
        stained = ()
        scopes = draw_laboratory(laboratory).plates(
            plates, size_px=size_px, mechanism=mechanism, layout=layout, wells=wells
        )
    robot_seed = seed if laboratory is None else laboratory
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("well images", total=None)
        try:
            if fluorescence:
                write_stained_plates(out, stained)
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
                    for day in imaged_days(scope, robot_seed)
                    for plan in scope.plate.wells
                ),
            )
            run_robot(
                scopes,
                out / "drop",
                seconds_per_image=seconds_per_image,
                seed=robot_seed,
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


def write_virtual_microscope(out: Path, file: WorldFile, *, assay: bool) -> World:
    """Write a virtual microscope described by a WorldFile into a folder, and return its World.

    Parameters
    ----------
    out
        The folder. It receives ``world`` (state of the microscope), ``MMConfig.cfg`` (hardware
        configuration), ``archive`` (plate maps), ``truth.csv`` and ``spherorank.toml``.
    file
        The settings of the plates and the microscope.
    assay
        Whether to write measured viability as ``<plate>.assay.csv``.

    Returns
    -------
    World
        The state of the microscope, with which plates are put under it.

    Raises
    ------
    ConfigError
        If the folder already contains a virtual microscope.
    SpheroRankError
        If files cannot be written.
    """
    if (out / "world").exists():
        raise ConfigError(out, "already has a virtual microscope; expected another folder")
    world = World(out / "world", file, clock=lambda: datetime.now(UTC))
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("truth", total=None)
        try:
            write_world(out, world)
            write_maps_and_truth(
                out,
                world,
                assay=assay,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            (out / "spherorank.toml").write_text(_MICROSCOPE_CONFIG, encoding="utf-8")
        except OSError as error:
            raise SpheroRankError(
                error.filename or out,
                f"cannot be written: {error.strerror}; expected a folder with free space",
            ) from error
    return world
