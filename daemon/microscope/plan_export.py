"""Work of ``spherorank acquire export-plan``: write how a plate is imaged as a useq-schema plan."""

import math
from pathlib import Path

from rich.console import Console

from acquisition.microscope.plate_formats import settings_for_plate
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.useq_plans import export_plan, write_plan
from daemon.config import Config, microscope_settings
from daemon.microscope.archived_plate_maps import read_plate_map
from schemas.exit_codes import ExitCode
from schemas.well import row_column


def write_plan_of_plate(config: Config, plate: str, out: Path, screen: Console) -> int:
    """Write the MDASequence of a plate (id) to a YAML or JSON file, and return the exit code.

    Raises
    ------
    SpheroRankError
        If there is no such plate, or its positions or the name of the file are wrong.
    """
    plate_map = read_plate_map(config.source.path, plate)
    settings = settings_for_plate(microscope_settings(config), plate_map)
    wells = settings.plan_wells or plate_map.wells_with_tissue
    positions = plan_positions(settings, wells)
    write_plan(out, export_plan(settings, [row_column(each.well) for each in positions], plate))
    screen.print(
        f"{out}: {len(positions)} wells, {math.prod(settings.fields)} fields, "
        f"{settings.planes} planes, {1 + len(settings.channels)} channels",
        soft_wrap=True,
    )
    if not settings.channel:
        screen.print(
            "source.micromanager.channel is not set, so the plan has no channel; the exposure is "
            "in its metadata only",
            soft_wrap=True,
        )
    return ExitCode.DONE
