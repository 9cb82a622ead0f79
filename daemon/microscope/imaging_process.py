"""``spherorank acquire``: the process that drives the microscope, and what a person asks of it.

Camera drivers can end a process in ways that Python cannot catch, at its very end too: so this one never shares its process with the encoder, and
it leaves by :func:`os._exit` once everything is closed and written.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.durable_files import write_durably
from acquisition.microscope.imaging_day import outermost_heights
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.ome_tiff import bytes_needed, check_space
from acquisition.microscope.plate_plan import check_z, plan_positions
from acquisition.microscope.plate_presenters import LOOK_S, AlwaysThere, Arm, Presenter, ReadyFile
from acquisition.ports import FrameFormat
from acquisition.quality import assess
from daemon.config import Config, MicromanagerSection, microscope_settings
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_loop import AcquisitionLoop, Job, journal_of
from schemas.errors import ConfigError, MicroscopeError, OutputError, PlateMapError, SpheroRankError
from schemas.exit_codes import ExitCode, exit_code_of
from schemas.plate_map import PlateMap

GRACE_S = 20.0  # for the well in hand, after a signal

Tell = Callable[..., None]


def leave(action: Callable[[], int], errors: Console) -> NoReturn:
    """Do something with the microscope and end the process with its exit code, errors as one clear text."""
    try:
        code = action()
    except SpheroRankError as error:
        _say(errors, str(error))
        code = exit_code_of(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it is gone
            stream.flush()
    os._exit(code)


def serve(config: Config, notes: list[int]) -> int:
    """Image what is requested or due until a signal, as a child of the service: it is told in JSON lines, and its end is this one's end."""
    tell = partial(_tell_in_json, sys.stdout)
    with _loop(config, notes, tell, parent_fd=sys.stdin.fileno()) as loop:
        loop.serve()
    return 0


def image(
    config: Config,
    notes: list[int],
    plate: str,
    day: int,
    wells: Sequence[str],
    screen: Console,
    *,
    wait: bool,
) -> int:
    """Image a plate's day, or wells of it again; 1 if a well has no image in the end.

    Where the service drives the microscope it is asked to, and does it next.
    """
    section, settings = _section(config), microscope_settings(config)
    plate_map = _plate_map(config, plate)
    wanted = tuple(wells) or plate_map.wells_with_tissue
    plan_positions(settings, wanted)
    if (today := plate_map.culture_day(datetime.now(UTC))) != day:
        _say(
            screen,
            f"By the calendar it is day {today} of plate {plate}; its images are saved as day {day}.",
        )
    request = ImagingRequest(
        plate=plate, day=day, wells=tuple(wells), reason=ASKED, made_at=datetime.now(UTC)
    )
    requests = open_imaging_requests(section.state)
    name = requests.add(request) or ""  # what is asked is always new
    try:
        turn = _take_turn(
            config, notes, Job(plate, day, request, name), plate_map, screen, wait=wait
        )
    except SpheroRankError:
        requests.drop(
            name, "it could not begin"
        )  # nobody expects what ended with an error to be done at the next start
        raise
    if turn is Turn.LEFT:
        return 0
    if turn is Turn.REFUSED and not notes:
        requests.drop(name, "it could not begin")
    if (
        notes and notes[0] == signal.SIGINT
    ):  # a person thought better of it; after any other signal the next start goes on
        requests.drop(name, "interrupted by hand")
    states = journal_of(section, plate, day).state(request.made_at if wells else None)
    missing = [well for well in wanted if well not in states or not states[well].saved]
    said = f"no image of {', '.join(missing)}" if missing else "complete"
    _say(
        screen,
        f"plate {plate}, day {day}: {len(wanted) - len(missing)} of {len(wanted)} wells imaged, {said}",
    )
    return ExitCode.FAILED if missing else ExitCode.DONE


class Turn(StrEnum):
    """What became of a job that a person asked for."""

    TAKEN = "taken"  # here, or by whoever drives the microscope
    REFUSED = "refused"  # it could not begin
    LEFT = "left"  # to whoever drives the microscope


def _take_turn(
    config: Config, notes: list[int], job: Job, plate_map: PlateMap, screen: Console, *, wait: bool
) -> Turn:
    """Image a job, or wait until whoever drives the microscope has imaged it or lets go of the microscope."""
    requests = open_imaging_requests(_section(config).state)
    is_told = False
    while True:
        try:
            with _loop(config, notes, partial(_tell_in_words, screen), parent_fd=None) as loop:
                result = loop.do(job, plate_map)
                loop.release()
        except MicroscopeBusyError as busy:
            if not is_told:
                _say(
                    screen,
                    f"The microscope {busy.problem}; it is asked to image plate {job.plate}, day {job.day}.",
                )
            is_told = True
        else:
            return Turn.TAKEN if result is not None else Turn.REFUSED
        if not wait:
            return Turn.LEFT
        time.sleep(LOOK_S)
        if notes or all(name != job.name for name, _ in requests.pending()):
            return Turn.TAKEN


def dry_run(config: Config, plate: str, wells: Sequence[str], screen: Console) -> int:
    """Print where the stage would go and what it would write; nothing moves."""
    settings, section = microscope_settings(config), _section(config)
    plate_map = _plate_map(config, plate)
    positions = plan_positions(settings, wells or plate_map.wells_with_tissue)
    check_z(settings, outermost_heights(settings))
    table = Table(title=f"plate {plate}: the way of the stage, µm")
    for column in ("", "well", "x", "y"):
        table.add_column(column, justify="left" if column == "well" else "right")
    for number, position in enumerate(positions, start=1):
        table.add_row(str(number), position.well, f"{position.x_um:.0f}", f"{position.y_um:.0f}")
    screen.print(table)
    with _microscope(config) as scope:
        needed = bytes_needed(scope.format, settings.planes, len(positions))
        form = scope.format
    _say(
        screen,
        f"{len(positions)} wells × {settings.planes} planes of {_describe(form)}: {needed:,} bytes",
    )
    check_space(config.source.path, needed, section.keep_free_bytes)
    return 0


def list_devices(config: Config, screen: Console) -> int:
    """Print the devices and presets of the configuration."""
    with _microscope(config) as scope:
        table = Table(title=str(microscope_settings(config).config))
        for column in ("label", "kind", "library", "device"):
            table.add_column(column)
        for row in scope.devices():
            table.add_row(*row)
        screen.print(table)
        for group, presets in scope.presets().items():
            _say(screen, f"presets   {', '.join(f'{group}:{preset}' for preset in presets)}")
        x_um, y_um, z_um = scope.position()
        _say(screen, f"position  x {x_um:.1f}, y {y_um:.1f}, z {z_um:.1f} µm")
        _say(screen, f"frames    {_describe(scope.format)}, {scope.format.bits} bits")
        _say(screen, f"autofocus {'yes' if scope.has_autofocus else 'no'}")
    return 0


def preview(config: Config, well: str | None, out: Path, screen: Console) -> int:
    """Take one frame where the stage stands, or in the middle of a well, and write it as a picture."""
    settings = microscope_settings(config)
    with _microscope(config) as scope:
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
    _say(screen, f"{out}: x {x_um:.1f}, y {y_um:.1f}, z {z_um:.1f} µm, {frame.exposure_ms:g} ms")
    _say(
        screen,
        f"background {np.median(stretched) / 65535:.0%} of the camera's range, saturated {quality.saturated_fraction:.2%}, "
        f"sharpness {quality.focus[0]:.2f}, tissue {quality.tissue_fraction:.0%} of the field, flags: {flags}",
    )
    return 0


def check(config: Config) -> int:
    """Open the microscope and look at every plate's places; print each problem on a line of its own."""
    problems: list[str] = []
    settings = microscope_settings(config)
    try:
        places = [
            each.wells_with_tissue
            for each in read_plate_maps(config.source.path).values()
            if isinstance(each, PlateMap)
        ]
    except SpheroRankError as error:
        problems, places = [str(error)], []
    attempts: list[Callable[[], object]] = [
        *(partial(plan_positions, settings, wells) for wells in places or (("A01",),)),
        partial(check_z, settings, outermost_heights(settings)),
        partial(_presenter, config, lambda: True),
        partial(_open_and_close, config),
    ]
    for attempt in attempts:
        try:
            attempt()
        except MicroscopeBusyError:
            continue  # the service itself drives it, and has opened it
        except SpheroRankError as error:
            problems += str(error).splitlines()
    for problem in dict.fromkeys(problems):
        sys.stdout.write(problem + "\n")
    return ExitCode.WRONG_CONFIGURATION if problems else ExitCode.DONE


def lamp_off(config: Config) -> int:
    """Switch the lamp off, whoever left it on."""
    with ExitStack() as stack:
        with contextlib.suppress(
            OutputError
        ):  # where the disk refuses the lock nobody else can drive the microscope either
            stack.enter_context(_lock(config))
        stack.enter_context(_opened(config)).lamp_off()
    return 0


class MicroscopeBusyError(MicroscopeError):
    """Another process drives the microscope."""


@contextmanager
def _loop(
    config: Config, notes: list[int], tell: Tell, *, parent_fd: int | None
) -> Iterator[AcquisitionLoop]:
    """Open the microscope under a watchdog; however this ends, the lamp is off."""
    section, settings = _section(config), microscope_settings(config)

    def go_on() -> bool:
        watchdog.step()
        return not notes

    def wait(seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while go_on() and time.monotonic() < end_s:
            time.sleep(min(0.1, seconds))

    watchdog = Watchdog(stall_s=settings.stall_s, grace_s=GRACE_S, tell=tell, parent_fd=parent_fd)
    with ExitStack() as stack:
        stack.enter_context(_lock(config))
        watchdog.start()  # not before: who waits for the microscope takes no steps
        scope = stack.enter_context(_opened(config))
        watchdog.lamp_off = scope.lamp_off
        yield AcquisitionLoop(
            scope=scope,
            settings=settings,
            section=section,
            archive=config.source.path,
            presenter=_presenter(config, go_on),
            watchdog=watchdog,
            tell=tell,
            stop_notes=notes,
            wait=wait,
            clock=lambda: datetime.now().astimezone(),
            seconds=time.monotonic,
        )


@contextmanager
def _microscope(config: Config) -> Iterator[MicroManager]:
    """Open the microscope for this process alone.

    Raises
    ------
    MicroscopeBusyError
        If another process drives it.
    """
    with _lock(config), _opened(config) as scope:
        yield scope


@contextmanager
def _opened(config: Config) -> Iterator[MicroManager]:
    scope = MicroManager(microscope_settings(config), lambda: datetime.now().astimezone())
    try:
        yield scope
    finally:
        scope.close()


@contextmanager
def _lock(config: Config) -> Iterator[None]:
    """Hold the microscope; the kernel lets go of it when this process ends, however that comes.

    Raises
    ------
    MicroscopeBusyError
        If another process holds it.
    OutputError
        If the file cannot be made.
    """
    path = _section(config).state / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a folder that this user may write to",
        ) from error
    with os.fdopen(handle, "rb+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MicroscopeBusyError(
                "the microscope",
                f"is driven by process {file.read().decode().strip() or 'unknown'}",
            ) from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def _presenter(config: Config, go_on: Callable[[], bool]) -> Presenter:
    section = _section(config)
    match section.present:
        case "always":
            return AlwaysThere()
        case "ready_file":
            return ReadyFile(config.source.path, section.present_timeout_s, go_on)
        case command:
            return Arm(command, section.present_timeout_s, go_on)


def _open_and_close(config: Config) -> None:
    with _microscope(config):
        pass


def _section(config: Config) -> MicromanagerSection:
    section = config.source.micromanager
    if section is None:
        raise ConfigError(
            "source.micromanager", "is missing; expected a table with config and a1_um"
        )
    return section


def _plate_map(config: Config, plate: str) -> PlateMap:
    """Return a plate's map from the archive; raises what is wrong with it."""
    found = read_plate_maps(config.source.path)
    if plate not in found:
        raise PlateMapError(
            config.source.path,
            f"has no plate {plate}; expected one of {', '.join(sorted(found)) or 'none yet'}, as {plate}.plate.toml",
        )
    plate_map = found[plate]
    if isinstance(plate_map, PlateMapError):
        raise plate_map
    return plate_map


def _tell_in_json(out: TextIO, event: str, **fields: object) -> None:
    """Write one object a line, whole, from whichever thread."""
    with contextlib.suppress(BrokenPipeError):  # the service is gone: stdin's end says so too
        out.write(json.dumps({"event": event, **fields}, default=str) + "\n")
        out.flush()


def _tell_in_words(screen: Console, event: str, **fields: object) -> None:
    match event:
        case "tick" | "alert.cleared" | "day.started" | "day.done":
            return
        case "alert":
            _say(screen, str(fields["message"]))
        case _:
            _say(
                screen,
                f"{event:18s} {' '.join(f'{key}={value}' for key, value in fields.items() if key not in ('plate', 'day'))}",
            )


def _say(screen: Console, text: str) -> None:
    """Print a line as it is, so that a path in it can be copied."""
    screen.print(text, markup=False, emoji=False, soft_wrap=True)


def _describe(form: FrameFormat) -> str:
    return f"{form.width_px}×{form.height_px} pixels, {form.um_per_px:g} µm a pixel"
