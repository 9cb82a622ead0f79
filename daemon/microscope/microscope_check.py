"""Check a microscope and the plates in its archive before anything moves: ``acquire check``."""

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.microscope.fields import check_fields, check_mosaic
from acquisition.microscope.plate_formats import settings_for_plate
from acquisition.microscope.plate_plan import check_heights, outer_plane_heights, plan_positions
from acquisition.microscope.scale_check import check_plate_scale
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import FrameFormat
from daemon.config import Config, microscope_settings
from daemon.config_values import UNCHECKED
from daemon.microscope.driving_process import micromanager_section
from daemon.microscope.imaging_process import plate_loader
from daemon.microscope.microscope_access import MicroscopeBusyError, locked_microscope
from schemas.errors import ConfigError, SpheroRankError
from schemas.exit_codes import ExitCode
from schemas.plate_map import PlateMap
from schemas.well import PLATE_SHAPES, well_at


def check_microscope(config: Config) -> int:
    """Open the microscope, check every plate's positions and scale, and return the exit code.

    Each problem is printed on a line of stdout. Nothing moves.
    """
    problems = [text for error in _errors(config) for text in str(error).splitlines()]
    for problem in dict.fromkeys(problems):
        sys.stdout.write(problem + "\n")
    return ExitCode.WRONG_CONFIGURATION if problems else ExitCode.DONE


def _errors(config: Config) -> list[SpheroRankError]:
    """Return every error of the settings, the unfinished plates and the hardware configuration.

    Finished plates are never imaged again: their formats and scales may be those of earlier days.
    """
    now = datetime.now(UTC)
    try:
        settings = microscope_settings(config)
        found = read_plate_maps(config.source.path).values()
    except SpheroRankError as error:
        return [error]
    plate_maps = [
        each
        for each in found
        if isinstance(each, PlateMap) and each.culture_day(now) <= each.readout_day
    ]
    checks: list[Callable[[], object]] = [
        *(partial(_check_positions, settings, each) for each in plate_maps),
        *([] if plate_maps else [partial(plan_positions, settings, _outer_wells(settings))]),
        partial(_check_limits, config),
        partial(check_heights, settings, outer_plane_heights(settings)),
        partial(plate_loader, config, lambda: True),
    ]
    return [*_raised_by(checks), *_errors_of_opened_microscope(config, plate_maps)]


def _raised_by(checks: Iterable[Callable[[], object]]) -> list[SpheroRankError]:
    """Call each check and return the errors that they raise."""
    errors = []
    for run_check in checks:
        try:
            run_check()
        except SpheroRankError as error:
            errors.append(error)
    return errors


def _outer_wells(settings: MicroscopeSettings) -> Sequence[str]:
    """Return the wells whose positions are checked while no plate map names any.

    They are the corners of the wells that are in use by default: without the edge of a plate of 96
    or more wells.
    """
    if settings.plan_wells:
        return tuple(settings.plan_wells)
    rows, columns = PLATE_SHAPES[settings.plate]
    first = 2 if settings.plate >= 96 else 1  # noqa: PLR2004 - the plates with an unused edge
    return tuple(
        well_at(row, column)
        for row in (first, rows + 1 - first)
        for column in (first, columns + 1 - first)
    )


def _check_positions(settings: MicroscopeSettings, plate_map: PlateMap) -> None:
    """Raise SpheroRankError if the format or a position of a plate is wrong."""
    plan_positions(settings_for_plate(settings, plate_map), plate_map.wells_with_tissue)


def _check_fields(
    settings: MicroscopeSettings, plate_map: PlateMap, frame_format: FrameFormat
) -> None:
    """Raise SpheroRankError if a field of a well of a plate is out of reach."""
    of_plate = settings_for_plate(settings, plate_map)
    check_fields(plan_positions(of_plate, plate_map.wells_with_tissue), of_plate, frame_format)


def _check_limits(config: Config) -> None:
    """Raise ConfigError if nothing says that positions are checked, or that they are not.

    Micro-Manager does not know the travel of a stage. Without limits, a wrong ``a1_um`` would move
    the stage anywhere.
    """
    if micromanager_section(config).stage_limits_um is None:
        raise ConfigError(
            "source.micromanager.stage_limits_um",
            "is not set, so a wrong a1_um, spacing_um or rotation_deg is not noticed before the "
            "stage moves; expected [x from, y from, x to, y to] of the stage in µm, or "
            f'"{UNCHECKED}" for no check',
        )


def _errors_of_opened_microscope(
    config: Config, plate_maps: Sequence[PlateMap]
) -> list[SpheroRankError]:
    """Open the microscope and return its errors, with those of the fields and scales of plates.

    A microscope that the service drives can be opened; the service checks the scales itself.
    """
    try:
        with locked_microscope(config) as scope:
            settings, format_ = microscope_settings(config), scope.format
            checks: list[Callable[[], object]] = [
                partial(check_mosaic, settings, format_, config.source.max_pixels),
                *(partial(_check_fields, settings, each, format_) for each in plate_maps),
                *(
                    partial(check_plate_scale, each, format_, config.source.path)
                    for each in plate_maps
                ),
            ]
            return _raised_by(checks)
    except MicroscopeBusyError:
        return []
    except SpheroRankError as error:
        return [error]
