"""Export and import the focus map of a plate: ``spherorank acquire focus-map``."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from acquisition.durable_files import write_durably
from acquisition.microscope.focus_map import read_focus_map, write_focus_map
from acquisition.microscope.focus_surface import (
    FocusSurface,
    load_focus_surface,
    save_focus_surface,
)
from acquisition.microscope.plate_formats import settings_for_plate
from daemon.config import Config, microscope_settings
from daemon.microscope.archived_plate_maps import read_plate_map
from daemon.microscope.driving_process import micromanager_section
from daemon.microscope.microscope_access import MicroscopeBusyError, lock_microscope
from schemas.errors import ConfigError, MicroscopeError
from schemas.exit_codes import ExitCode

STDOUT = Path("-")


def export_focus_map(config: Config, plate: str, out: Path, screen: Console) -> int:
    """Write the focus heights of a plate (id) as CSV to a file or ``-``; return the exit code.

    Raises
    ------
    ConfigError
        If no focus height of the plate is known.
    """
    read_plate_map(config.source.path, plate)
    state = micromanager_section(config).state
    surface = load_focus_surface(state, plate)
    if not surface.points:
        raise ConfigError(
            state / "focus", f"has no heights of plate {plate}; expected a plate that was focused"
        )
    text = write_focus_map(plate, surface)
    if out == STDOUT:
        sys.stdout.write(text)
    else:
        write_durably(out, text.encode())
        _print_summary(screen, f"{out}: ", plate, surface)
    return ExitCode.DONE


def import_focus_map(config: Config, plate: str, file: Path, screen: Console) -> int:
    """Replace the known focus heights of a plate (id) by those of a CSV file; return the exit code.

    Raises
    ------
    ConfigError
        If the file is no focus map of this plate.
    MicroscopeError
        If the plate is being imaged: its heights would be overwritten.
    """
    plate_map = read_plate_map(config.source.path, plate)
    wells = [entry.well for entry in plate_map.entries]
    settings = settings_for_plate(microscope_settings(config), plate_map)
    surface = read_focus_map(file, plate, wells, settings, datetime.now(UTC))
    state = micromanager_section(config).state
    try:
        with lock_microscope(config):
            save_focus_surface(state, plate, surface)
    except MicroscopeBusyError as busy:
        on_stage = state / "on_stage"
        if on_stage.exists() and on_stage.read_text(encoding="utf-8").strip() == plate:
            raise MicroscopeError(
                f"plate {plate}",
                f"is under the microscope, which {busy.problem}; "
                "expected an import while the plate is not being imaged",
            ) from busy
        save_focus_surface(state, plate, surface)
    _print_summary(screen, "", plate, surface)
    return ExitCode.DONE


def _print_summary(screen: Console, start: str, plate: str, surface: FocusSurface) -> None:
    """Print the number and range of the focus heights of a plate."""
    heights = [point.z_um for point in surface.points]
    text = f"{len(heights)} focus heights, {min(heights):.1f} to {max(heights):.1f} µm"
    screen.print(f"{start}plate {plate}: {text}", soft_wrap=True)
