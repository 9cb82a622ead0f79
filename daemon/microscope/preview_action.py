"""The action ``spherorank acquire preview``: show one frame, also while a process images."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from acquisition.durable_files import write_durably
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.operator_orders import OperatorOrders
from acquisition.microscope.preview import Preview, read_latest_frame, take_preview
from acquisition.microscope.preview_requests import PreviewRequests
from daemon.config import Config, microscope_settings
from daemon.duration_text import duration_text
from daemon.microscope.driving_process import driving_process, micromanager_section
from daemon.microscope.microscope_access import (
    MicroscopeBusyError,
    locked_microscope,
)
from schemas.errors import MicroscopeError
from schemas.exit_codes import ExitCode

_POLL_S = 0.2


def save_preview(
    config: Config,
    stop_signals: list[int],
    well: str | None,
    out: Path,
    screen: Console,
    *,
    focus: bool,
) -> int:
    """Write one frame as an 8-bit PNG, print its description, and return the exit code.

    If another process images a plate, the newest frame of this plate is written. If a well or focus
    is asked for, or no plate is imaged, that process takes the frame between two wells.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals.
    well
        Well to move to first. None: the stage stays where it is.
    out
        The PNG file.
    focus
        Whether to search the focus first.

    Raises
    ------
    MicroscopeError
        If a device fails, or a signal ends the wait for the other process.
    """
    is_reported = False
    while True:
        try:
            with locked_microscope(config) as scope:
                surface = FocusSurface() if focus else None
                preview = take_preview(scope, microscope_settings(config), well, surface)
        except MicroscopeBusyError as busy:
            if well is None and not focus and (latest := _latest_frame(config)):
                preview = latest
            else:
                if not is_reported:
                    action = "the frame is taken after the present well."
                    screen.print(f"The microscope {busy.problem}; {action}", soft_wrap=True)
                is_reported = True
                found = _ask_driving_process(config, stop_signals, well, focus=focus)
                if found is None:  # the other process has ended
                    time.sleep(_POLL_S)
                    continue
                preview = found
        write_durably(out, preview.png)
        first, *others = preview.description
        for line in (f"{out}: {first}", *others):
            screen.print(line, soft_wrap=True)
        return ExitCode.DONE


def _latest_frame(config: Config) -> Preview | None:
    """Return the newest frame of the plate that is being imaged, or None without one."""
    state = micromanager_section(config).state
    present, latest = OperatorOrders(state).present_job(), read_latest_frame(state)
    if present is None or latest is None:
        return None
    png, frame = latest
    if (frame.plate, frame.day) != (present.plate, present.day):
        return None
    age = duration_text(datetime.now(UTC) - frame.written_at)
    place = f"plate {frame.plate}, day {frame.day}, well {frame.well}, z {frame.z_um:.1f} µm"
    note = (
        "This is the newest frame of the running day; nothing was moved for it. "
        "For another place or focus: --well, --focus"
    )
    description = (f"{place}, {age} ago", note)
    return Preview(png, description)


def _ask_driving_process(
    config: Config, stop_signals: list[int], well: str | None, *, focus: bool
) -> Preview | None:
    """Return the frame that the driving process takes, or None if that process ends first.

    Raises
    ------
    MicroscopeError
        If the frame cannot be taken, or a signal ends the wait.
    """
    requests = PreviewRequests(
        OperatorOrders(micromanager_section(config).state).folder / "previews"
    )
    name = requests.add(well, datetime.now(UTC), focus=focus)
    try:
        while not stop_signals:
            result = requests.result(name)
            if isinstance(result, Preview):
                return result
            if result is not None:
                raise MicroscopeError("the preview", f"cannot be taken: {result}")
            if driving_process(config) is None:
                return None
            time.sleep(_POLL_S)
    finally:
        requests.forget(name)
    raise MicroscopeError("the preview", "was not taken: a signal ended the wait")
