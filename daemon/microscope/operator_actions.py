"""Actions of an operator on the microscope, such as ``spherorank acquire run`` and ``devices``.

Each action returns the exit code of its process.
"""

import contextlib
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from rich.console import Console
from rich.table import Table

from acquisition.channels import Channel, due_channels
from acquisition.microscope.fields import check_fields, frames_per_well
from acquisition.microscope.image_archive import bytes_needed, check_free_space
from acquisition.microscope.imaging_journal import day_journal, run_start
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.missing_images import missing_images
from acquisition.microscope.operator_orders import OperatorOrders
from acquisition.microscope.plate_formats import settings_for_plate
from acquisition.microscope.plate_loaders import POLL_S
from acquisition.microscope.plate_plan import check_heights, outer_plane_heights, plan_positions
from acquisition.microscope.scale_check import check_plate_scale
from acquisition.ports import FrameFormat
from daemon.config import Config, microscope_settings
from daemon.microscope.archived_plate_maps import read_plate_map
from daemon.microscope.driving_process import micromanager_section
from daemon.microscope.imaging_process import opened_imaging_loop
from daemon.microscope.imaging_queue import ImagingJob
from daemon.microscope.microscope_access import (
    MicroscopeBusyError,
    lock_microscope,
    locked_microscope,
    opened_microscope,
)
from schemas.errors import OutputError, PlateMapError, SpheroRankError
from schemas.exit_codes import ExitCode
from schemas.plate_map import PlateMap

_UNPRINTED_FIELDS = frozenset({"plate", "day", "reason", "at"})
"""Fields of events that are not printed: the same for each event of a command, or its time."""


class JobState(StrEnum):
    """The state of an operator's job when the command ends."""

    ENDED = "ended"  # imaged by this process or by the one that drives the microscope
    REFUSED = "refused"  # it could not begin
    HANDED_OVER = "handed over"  # to the process that drives the microscope; not waited for


def image_plate(
    config: Config,
    stop_signals: list[int],
    plate: str,
    day: int | None,
    wells: Sequence[str],
    screen: Console,
    *,
    wait: bool,
) -> int:
    """Image wells of a plate (id) on a culture day; return the exit code, 1 if an image is missing.

    If another process drives the microscope, the request is handed over to it. A day that is not
    the culture day of today is refused by the process that drives the microscope.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals.
    day
        The culture day; None: the one of today by this computer's clock.
    wells
        Wells to image, again if they have an image. Empty: the wells without an image.
    wait
        Whether to wait until the other process has finished the request.
    """
    plate_map = read_plate_map(config.source.path, plate)
    wanted = tuple(wells) or plate_map.wells_with_tissue
    plan_positions(settings_for_plate(microscope_settings(config), plate_map), wanted)
    day = _culture_day_today(plate_map) if day is None else day
    if not wells:
        OperatorOrders(micromanager_section(config).state).withdraw_abort(plate, day)
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


def _culture_day_today(plate_map: PlateMap) -> int:
    """Return today's culture day of a plate by this computer's clock.

    Raises
    ------
    PlateMapError
        If the plate is seeded on a later day.
    """
    today = plate_map.culture_day(datetime.now(UTC))
    if today < 1:
        raise PlateMapError(
            plate_map.plate,
            f"seeded_at is {plate_map.seeded_at.isoformat()}, after today; expected an earlier "
            "time, or the option --day",
        )
    return today


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
            if reason := requests.drop_reason(job.request_file):
                _print_line(screen, reason)
            return JobState.ENDED


def print_plan(config: Config, plate: str, wells: Sequence[str], screen: Console) -> int:
    """Print the stage positions and file sizes of a plate's wells, and return the exit code.

    The microscope does not move.
    """
    plate_map = read_plate_map(config.source.path, plate)
    settings = settings_for_plate(microscope_settings(config), plate_map)
    section = micromanager_section(config)
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
    check_plate_scale(plate_map, frame_format, config.source.path)
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
        _print_line(screen, f"autofocus {_describe_autofocus(scope)}")
    return ExitCode.DONE


def switch_lamp_off(config: Config) -> int:
    """Switch the lamp off, also after a crash that left it on, and return the exit code."""
    with ExitStack() as stack:
        # If the lock file cannot be written, no other process can drive the microscope either.
        with contextlib.suppress(OutputError):
            stack.enter_context(lock_microscope(config))
        stack.enter_context(opened_microscope(config)).lamp_off()
    return ExitCode.DONE


def _print_event(screen: Console, event: str, **fields: object) -> None:
    """Print an event of the imaging loop as one line; some events are not printed."""
    match event:
        case "tick" | "alert.cleared" | "day.started" | "day.done":
            return
        case "alert":
            _print_line(screen, str(fields["message"]))
        case "imaging.paused":
            text = "paused, the lamp is off; spherorank acquire resume continues"
            _print_line(screen, f"{event:18s} {text}")
        case "imaging.resumed":
            _print_line(screen, f"{event:18s} imaging continues with the next well")
        case "day.aborted":
            _print_line(screen, f"{event:18s} no further well is imaged")
        case _:
            shown = [f"{key}={fields[key]}" for key in fields if key not in _UNPRINTED_FIELDS]
            _print_line(screen, f"{event:18s} {' '.join(shown)}")


def _print_line(screen: Console, text: str) -> None:
    """Print a line without wrapping and markup, so that a path in it can be copied."""
    screen.print(text, soft_wrap=True)


def _describe_autofocus(scope: MicroManager) -> str:
    """Return whether the autofocus is used, and which devices are loaded but not used."""
    answer = "yes" if scope.has_autofocus else "no"
    unused = ", ".join(scope.unused_autofocus)
    return f"{answer} ({unused}: not used, no line Property,Core,AutoFocus)" if unused else answer


def _describe(frame_format: FrameFormat) -> str:
    """Return the size and scale of the frames as text."""
    scale = f"{frame_format.um_per_px:g} µm a pixel"
    return f"{frame_format.width_px}×{frame_format.height_px} pixels, {scale}"
