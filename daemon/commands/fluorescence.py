"""The command ``quantify-fluorescence``."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.console import exit_if_refused, screen


def quantify_fluorescence(
    folder: Annotated[Path, typer.Argument(help="Folder with the fluorescence images of a plate.")],
    *,
    plate_map: Annotated[
        Path, typer.Option(help="The plate.toml of the plate; wells.csv is beside it.")
    ],
    settings: Annotated[
        Path, typer.Option(help="Settings of the stains (TOML): channels, projection, viability.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for <plate>.assay.csv, the table of stains and the overlay page."
        ),
    ],
) -> None:
    """Compute the viability of a plate from live/dead images.

    The assay file can be copied beside the plate map; it then calibrates deterioration.
    """
    from daemon.fluorescence.job import quantify

    done = quantify(folder, plate_map, settings, out)
    screen.print(
        f"{len(done.assayed)} of {len(done.wells)} imaged wells have a viability; look at "
        f"{out / done.plate_map.plate}.fluorescence.html"
    )
    for well in done.wells.values():
        if well.left_out:
            screen.print(f"{well.well}: left out: {well.left_out}")
    for channel, count in sorted(done.other_channels.items()):
        screen.print(f"{count} files of channel {channel} are not of a stain and were not read")
    exit_if_refused(done.refused)
