"""Actions of an operator on the microscope, such as ``spherorank acquire run`` and ``preview``.

Each action returns the exit code of its process.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from acquisition.channels import Channel, due_channels
from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.durable_files import write_durably
from acquisition.microscope.fields import check_fields, check_mosaic, frames_per_well
from acquisition.microscope.image_archive import bytes_needed, check_free_space
from acquisition.microscope.imaging_day import outer_plane_heights
from acquisition.microscope.imaging_journal import day_journal, run_start
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.missing_images import missing_images
from acquisition.microscope.plate_loaders import POLL_S
from acquisition.microscope.plate_plan import check_heights, plan_positions
from acquisition.ports import FrameFormat
from acquisition.quality import assess
from daemon.config import Config, microscope_settings
from daemon.microscope.imaging_process import opened_imaging_loop, plate_loader
from daemon.microscope.imaging_queue import ImagingJob
from daemon.microscope.microscope_access import (
    MicroscopeBusyError,
    lock_microscope,
    locked_microscope,
    micromanager_section,
    opened_microscope,
)
from schemas.errors import OutputError, PlateMapError, SpheroRankError
from schemas.exit_codes import ExitCode
from schemas.plate_map import PlateMap


class JobState(StrEnum):
    """The state of an operator's job when the command ends."""

    ENDED = "ended"  # imaged by this process or by the one that drives the microscope
    REFUSED = "refused"  # it could not begin
    HANDED_OVER = "handed over"  # to the process that drives the microscope; not waited for


def image_plate(
    config: Config,
    stop_signals: list[int],
    plate: str,
    day: int,
    wells: Sequence[str],
    screen: Console,
    *,
    wait: bool,
) -> int:
    """Image wells of a plate (id) on a culture day; return the exit code, 1 if an image is missing.

    If another process drives the microscope, the request is handed over to it.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals.
    wells
        Wells to image, again if they have an image. Empty: the wells without an image.
    wait
        Whether to wait until the other process has finished the request.
    """
    plate_map = _read_plate_map(config, plate)
    wanted = tuple(wells) or plate_map.wells_with_tissue
    plan_positions(microscope_settings(config), wanted)
    if (today := plate_map.culture_day(datetime.now(UTC))) != day:
        saved_as = f"its images are saved as day {day}"
        _print_line(screen, f"By the calendar it is day {today} of plate {plate}; {saved_as}.")
    request = ImagingRequest(
        plate=plate, day=day, wells=tuple(wells), reason=ASKED, made_at=datetime.now(UTC)
    )
    requests = open_imaging_requests(micromanager_section(config).state)
    file = requests.add(request) or ""  # an operator's request is never a duplicate
    job = ImagingJob(plate, day, request, file)
    try:
        state = _run_job(config, stop_signals, job, plate_map, screen, wait=wait)
    except SpheroRankError:
        requests.drop(file, "it could not begin")  # the operator saw the error; do not retry
        raise
    if state is JobState.HANDED_OVER:
        return ExitCode.DONE
    if state is JobState.REFUSED and not stop_signals:
        requests.drop(file, "it could not begin")
    if stop_signals and stop_signals[0] == signal.SIGINT:
        # Ctrl-C cancels the request; after any other signal the next start continues it.
        requests.drop(file, "interrupted by the operator")
    since = run_start(plate_map.seeded_at, datetime.now(UTC))
    channels = due_channels(microscope_settings(config).channels, day, plate_map.readout_day)
    return _print_result(config, request, wanted, channels, screen, since=since)


def _print_result(
    config: Config,
    request: ImagingRequest,
    wanted: Sequence[str],
    channels: Sequence[Channel],
    screen: Console,
    *,
    since: datetime | None,
) -> int:
    """Print the wanted images that are missing since a time; return 1 if there are any.

    Images of other ``channels`` than bright field are wanted, too.
    """
    plate, day = request.plate, request.day
    journal = day_journal(micromanager_section(config).state, plate, day)
    missing = missing_images(journal, wanted, channels, request.made_at if request.wells else since)
    result = f"no image of {', '.join(missing)}" if missing else "complete"
    imaged = f"{len(set(wanted) - set(missing))} of {len(wanted)} wells imaged"
    _print_line(screen, f"plate {plate}, day {day}: {imaged}, {result}")
    return ExitCode.FAILED if missing else ExitCode.DONE


def _run_job(
    config: Config,
    stop_signals: list[int],
    job: ImagingJob,
    plate_map: PlateMap,
    screen: Console,
    *,
    wait: bool,
) -> JobState:
    """Image a job here, or wait until the process that drives the microscope has finished it.

    If that process ends first, the job is imaged here.
    """
    requests = open_imaging_requests(micromanager_section(config).state)
    emit = partial(_print_event, screen)
    is_reported = False
    while True:
        try:
            with opened_imaging_loop(config, stop_signals, emit, parent_fd=None) as loop:
                result = loop.image(job, plate_map)
                loop.release_plate()
        except MicroscopeBusyError as busy:
            if not is_reported:
                action = f"this process is asked to image plate {job.plate}, day {job.day}."
                _print_line(screen, f"The microscope {busy.problem}; {action}")
            is_reported = True
        else:
            return JobState.ENDED if result is not None else JobState.REFUSED
        if not wait:
            return JobState.HANDED_OVER
        time.sleep(POLL_S)
        if stop_signals or all(file != job.request_file for file, _ in requests.pending()):
            return JobState.ENDED


def print_plan(config: Config, plate: str, wells: Sequence[str], screen: Console) -> int:
    """Print the stage positions and file sizes of a plate's wells, and return the exit code.

    The microscope does not move.
    """
    settings, section = microscope_settings(config), micromanager_section(config)
    plate_map = _read_plate_map(config, plate)
    positions = plan_positions(settings, wells or plate_map.wells_with_tissue)
    check_heights(settings, outer_plane_heights(settings))
    table = Table(title=f"plate {plate}: stage positions in µm")
    for column in ("", "well", "x", "y"):
        table.add_column(column, justify="left" if column == "well" else "right")
    for number, position in enumerate(positions, start=1):
        table.add_row(str(number), position.well, f"{position.x_um:.0f}", f"{position.y_um:.0f}")
    screen.print(table)
    with locked_microscope(config) as scope:
        frame_format = scope.format
    check_fields(positions, settings, frame_format)
    planes = [settings.planes, *(channel.planes for channel in settings.channels)]
    frames = frames_per_well(settings, planes)
    needed = bytes_needed(frame_format, frames, len(positions))
    described = f"{frames} planes of {_describe(frame_format)}"
    _print_line(screen, f"{len(positions)} wells × {described}: {needed:,} bytes")
    check_free_space(config.source.path, needed, section.keep_free_bytes)
    return ExitCode.DONE


def print_devices(config: Config, screen: Console) -> int:
    """Print the microscope's devices, presets, position and frame format; return the exit code."""
    with locked_microscope(config) as scope:
        table = Table(title=str(microscope_settings(config).config))
        for column in ("label", "kind", "library", "device"):
            table.add_column(column)
        for row in scope.devices():
            table.add_row(*row)
        screen.print(table)
        for group, presets in scope.presets().items():
            names = ", ".join(f"{group}:{preset}" for preset in presets)
            _print_line(screen, f"presets   {names}")
        x_um, y_um, z_um = scope.position()
        _print_line(screen, f"position  x {x_um:.1f}, y {y_um:.1f}, z {z_um:.1f} µm")
        _print_line(screen, f"frames    {_describe(scope.format)}, {scope.format.bits} bits")
        _print_line(screen, f"autofocus {'yes' if scope.has_autofocus else 'no'}")
    return ExitCode.DONE


def save_preview(config: Config, well: str | None, out: Path, screen: Console) -> int:
    """Write one frame, at a well if given, as an 8-bit PNG; print its quality; return an exit code.

    Parameters
    ----------
    well
        Well to move to first. None: the stage stays where it is.
    out
        The PNG file.
    """
    settings = microscope_settings(config)
    with locked_microscope(config) as scope:
        if well is not None:
            (position,) = plan_positions(settings, [well])
            scope.move_to(position.x_um, position.y_um)
        x_um, y_um, z_um = scope.position()
        (frame,) = scope.stack([z_um])
        white = 2**scope.format.bits - 1
    stretched = np.round(frame.pixels * (65535 / white)).astype(np.uint16)
    quality = assess(stretched[None])
    write_durably(out, cv2.imencode(".png", (stretched >> 8).astype(np.uint8))[1].tobytes())
    flags = ", ".join(quality.flags) or "none"
    place = f"x {x_um:.1f}, y {y_um:.1f}, z {z_um:.1f} µm"
    _print_line(screen, f"{out}: {place}, {frame.exposure_ms:g} ms")
    _print_line(
        screen,
        f"background {np.median(stretched) / 65535:.0%} of the camera's range, "
        f"saturated {quality.saturated_fraction:.2%}, sharpness {quality.focus[0]:.2f}, "
        f"tissue {quality.tissue_fraction:.0%} of the field, flags: {flags}",
    )
    return ExitCode.DONE


def check_microscope(config: Config) -> int:
    """Open the microscope, check every plate's positions, print problems, return the exit code."""
    problems: list[str] = []
    settings = microscope_settings(config)
    try:
        wells_of_plates = [
            each.wells_with_tissue
            for each in read_plate_maps(config.source.path).values()
            if isinstance(each, PlateMap)
        ]
    except SpheroRankError as error:
        problems, wells_of_plates = [str(error)], []
    checks: list[Callable[[], object]] = [
        *(partial(plan_positions, settings, wells) for wells in wells_of_plates or (("A01",),)),
        partial(check_heights, settings, outer_plane_heights(settings)),
        partial(plate_loader, config, lambda: True),
        partial(_open_and_close, config, wells_of_plates or [("A01",)]),
    ]
    for run_check in checks:
        try:
            run_check()
        except MicroscopeBusyError:
            continue  # the service drives the microscope, so it can be opened
        except SpheroRankError as error:
            problems += str(error).splitlines()
    for problem in dict.fromkeys(problems):
        sys.stdout.write(problem + "\n")
    return ExitCode.WRONG_CONFIGURATION if problems else ExitCode.DONE


def switch_lamp_off(config: Config) -> int:
    """Switch the lamp off, also after a crash that left it on, and return the exit code."""
    with ExitStack() as stack:
        # If the lock file cannot be written, no other process can drive the microscope either.
        with contextlib.suppress(OutputError):
            stack.enter_context(lock_microscope(config))
        stack.enter_context(opened_microscope(config)).lamp_off()
    return ExitCode.DONE


def _open_and_close(config: Config, wells_of_plates: Sequence[Sequence[str]]) -> None:
    """Open the microscope, check the fields of every plate, and close it again.

    Opening it finds the problems of its configuration.
    """
    settings = microscope_settings(config)
    with locked_microscope(config) as scope:
        check_mosaic(settings, scope.format, config.source.max_pixels)
        for wells in wells_of_plates:
            check_fields(plan_positions(settings, wells), settings, scope.format)


def _read_plate_map(config: Config, plate: str) -> PlateMap:
    """Return the plate map of a plate from the archive.

    Raises
    ------
    PlateMapError
        If there is no such plate, or its plate map is invalid.
    """
    found = read_plate_maps(config.source.path)
    if plate not in found:
        plates = ", ".join(sorted(found)) or "none yet"
        raise PlateMapError(
            config.source.path,
            f"has no plate {plate}; expected one of {plates}, as {plate}.plate.toml",
        )
    plate_map = found[plate]
    if isinstance(plate_map, PlateMapError):
        raise plate_map
    return plate_map


def _print_event(screen: Console, event: str, **fields: object) -> None:
    """Print an event of the imaging loop as one line; some events are not printed."""
    match event:
        case "tick" | "alert.cleared" | "day.started" | "day.done":
            return
        case "alert":
            _print_line(screen, str(fields["message"]))
        case _:
            shown = [f"{key}={fields[key]}" for key in fields if key not in ("plate", "day")]
            _print_line(screen, f"{event:18s} {' '.join(shown)}")


def _print_line(screen: Console, text: str) -> None:
    """Print a line without wrapping and markup, so that a path in it can be copied."""
    screen.print(text, markup=False, emoji=False, soft_wrap=True)


def _describe(frame_format: FrameFormat) -> str:
    """Return the size and scale of the frames as text."""
    scale = f"{frame_format.um_per_px:g} µm a pixel"
    return f"{frame_format.width_px}×{frame_format.height_px} pixels, {scale}"
