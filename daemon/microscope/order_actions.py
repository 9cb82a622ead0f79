"""The actions ``spherorank acquire pause``, ``resume`` and ``abort`` of an operator.

Each action returns the exit code of its process. None of them opens the microscope.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

from acquisition.microscope.imaging_requests import open_imaging_requests
from acquisition.microscope.operator_orders import ABORTED, OperatorOrders
from daemon.config import Config
from daemon.duration_text import duration_text
from daemon.microscope.archived_plate_maps import read_plate_map
from daemon.microscope.driving_process import driving_process, micromanager_section
from schemas.errors import MicroscopeError
from schemas.exit_codes import ExitCode

_POLL_S = 0.2


def pause(config: Config, stop_signals: list[int], screen: Console, *, wait: bool) -> int:
    """Pause the imaging after the present well, and return the exit code.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals, which end the wait.
    wait
        Whether to wait until the last well is finished and the lamp is off.
    """
    orders = _orders(config)
    before = orders.paused_since()
    orders.pause(datetime.now(UTC))
    since = orders.paused_since()
    if before is not None:
        _print(screen, f"The imaging is already paused, since {_time_text(before)}.")
    process = driving_process(config)
    if process is None:
        _print(screen, "No process drives the microscope. Nothing is imaged until acquire resume.")
        return ExitCode.DONE
    if not wait:
        _print(screen, f"Process {process} pauses after the present well.")
        return ExitCode.DONE

    def is_in_effect() -> bool:
        return orders.is_pause_confirmed() or orders.paused_since() != since

    _wait_for(config, stop_signals, is_in_effect, "the pause")
    _print(screen, "The imaging is paused; the lamp is off. It continues with acquire resume.")
    return ExitCode.DONE


def resume(config: Config, screen: Console) -> int:
    """Continue the imaging after a pause, and return the exit code."""
    orders = _orders(config)
    since = orders.paused_since()
    orders.resume()
    if since is None:
        _print(screen, "The imaging is not paused.")
        return ExitCode.DONE
    paused_for = duration_text(datetime.now(UTC) - since)
    process = driving_process(config)
    by = f"by process {process}" if process else "when the service or acquire run is started"
    _print(screen, f"The imaging was paused for {paused_for}. It continues {by}.")
    return ExitCode.DONE


def abort(
    config: Config, stop_signals: list[int], plate: str | None, screen: Console, *, wait: bool
) -> int:
    """End the imaging of a plate (id) on the present day for good, and return the exit code.

    The requests for the plate are dropped, and the schedule does not start this day again.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals, which end the wait.
    plate
        None: the plate that is being imaged.
    wait
        Whether to wait until the present well is finished.

    Raises
    ------
    MicroscopeError
        If no plate is named and none is being imaged.
    PlateMapError
        If a plate is named that the archive does not have.
    """
    orders = _orders(config)
    present = orders.present_job()
    if plate is None:
        if present is None:
            raise MicroscopeError("the microscope", "images no plate now; expected --plate ID")
        plate = present.plate
    is_present = present is not None and present.plate == plate
    now = datetime.now(UTC)
    requests = open_imaging_requests(micromanager_section(config).state)
    if present is not None and is_present:
        days = {present.day}
    else:
        days = {read_plate_map(config.source.path, plate).culture_day(now)}
    of_plate = [(file, request) for file, request in requests.pending() if request.plate == plate]
    days |= {request.day for _, request in of_plate}
    for day in days:
        orders.abort(plate, day, now)
    for file, _ in of_plate:
        requests.drop(file, ABORTED)
    listed = ", ".join(str(day) for day in sorted(days))
    _print(screen, f"plate {plate}, day {listed}: aborted; dropped requests: {len(of_plate)}")
    if wait and is_present:

        def is_over() -> bool:
            return orders.present_job() != present

        _wait_for(config, stop_signals, is_over, "the end of the present well")
    if orders.paused_since() is not None:
        _print(screen, "The imaging is paused: the plate is released after acquire resume.")
    _print(screen, f"To image it all the same: spherorank acquire run {plate} --day N")
    return ExitCode.DONE


def _wait_for(
    config: Config, stop_signals: list[int], is_done: Callable[[], bool], expected: str
) -> None:
    """Wait until a condition is true or the driving process has ended.

    A well with many fields and channels may take long. Its watchdog ends a process that stalls, so
    no time limit is needed.

    Raises
    ------
    MicroscopeError
        If a signal ends the wait.
    """
    while not is_done() and driving_process(config) is not None:
        if stop_signals:
            raise MicroscopeError(expected, "a signal ended the wait; the order stays in force")
        time.sleep(_POLL_S)


def _orders(config: Config) -> OperatorOrders:
    """Return the orders in the microscope's state folder."""
    return OperatorOrders(micromanager_section(config).state)


def _time_text(at: datetime) -> str:
    """Return a time in the time zone of this computer as text."""
    return f"{at.astimezone():%Y-%m-%d %H:%M %Z}"


def _print(screen: Console, text: str) -> None:
    """Print a line without wrapping and markup."""
    screen.print(text, soft_wrap=True)
