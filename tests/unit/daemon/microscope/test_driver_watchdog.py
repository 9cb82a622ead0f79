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
def _signals_as_before() -> Iterator[None]:
    yield
    os.close(signal.set_wakeup_fd(-1))


def last_words(lamp_off: Callable[[], None], *, tell_fails: bool = False) -> tuple[list[str], int]:
    """Return what a watchdog says of a stall, and its exit code."""
    said: list[str] = []
    codes: list[int] = []
    is_over = threading.Event()

    def tell(event: str, **fields: object) -> None:
        if event == "alert":
            said.append(str(fields["message"]))
            if tell_fails:
                raise OSError("no space left")

    def end(code: int) -> NoReturn:
        codes.append(code)
        is_over.set()
        while True:  # as nothing comes after the process's end
            threading.Event().wait()

    watchdog = Watchdog(stall_s=0.05, grace_s=60, tell=tell, end=end)
    watchdog.lamp_off = lamp_off
    watchdog.start()
    assert is_over.wait(30)
    return said, codes[0]


def test_a_lamp_that_was_switched_off_before_the_end_is_told_of() -> None:
    said, code = last_words(lambda: None)
    assert code == ExitCode.MICROSCOPE_STALLED
    assert "the lamp was switched off" in said[0]


def test_a_shutter_that_fails_is_not_told_of_as_if_the_lamp_were_off() -> None:
    def fail() -> None:
        raise MicroscopeError("shutter Lamp", "no answer")

    assert "the lamp may still be on" in last_words(fail)[0][0]


def test_the_process_ends_even_if_nobody_can_be_told() -> None:
    assert last_words(lambda: None, tell_fails=True)[1] == ExitCode.MICROSCOPE_STALLED
