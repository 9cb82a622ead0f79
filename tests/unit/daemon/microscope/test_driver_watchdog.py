import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from daemon.microscope.driver_watchdog import Watchdog
from schemas.errors import MicroscopeError
from schemas.exit_codes import ExitCode


@pytest.fixture(autouse=True)
def _restore_wakeup_fd() -> Iterator[None]:
    yield
    os.close(signal.set_wakeup_fd(-1))


def stall(lamp_off: Callable[[], None], *, emit_fails: bool = False) -> tuple[list[str], int]:
    """Let a watchdog detect a stall; return the messages of its alerts and its exit code."""
    messages: list[str] = []
    codes: list[int] = []
    is_over = threading.Event()

    def emit(event: str, **fields: object) -> None:
        if event == "alert":
            messages.append(str(fields["message"]))
            if emit_fails:
                raise OSError("no space left")

    def end(code: int) -> NoReturn:
        codes.append(code)
        is_over.set()
        while True:  # the real function ends the process and does not return
            threading.Event().wait()

    watchdog = Watchdog(stall_s=0.05, grace_s=60, emit=emit, lamp_off=lamp_off, end=end)
    watchdog.start()
    assert is_over.wait(30)
    return messages, codes[0]


def test_the_alert_says_that_the_lamp_was_switched_off() -> None:
    messages, code = stall(lambda: None)
    assert code == ExitCode.STALLED
    assert "the lamp was switched off" in messages[0]


def test_the_alert_says_that_the_lamp_may_be_on_if_the_shutter_fails() -> None:
    def fail() -> None:
        raise MicroscopeError("shutter Lamp", "no answer")

    assert "the lamp may still be on" in stall(fail)[0][0]


def test_the_process_ends_even_if_the_alert_cannot_be_emitted() -> None:
    assert stall(lambda: None, emit_fails=True)[1] == ExitCode.STALLED
