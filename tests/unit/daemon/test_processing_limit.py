"""An image that hangs ends its process with a log line and an exit code that is not zero."""

import subprocess
import sys

import pytest

from schemas.exit_codes import ExitCode

CODE = """
import re, time
from daemon.processing_limit import ProcessingLimit
from schemas.well_image import FileVersion
with ProcessingLimit({limit_s}, last_resort_s=0.5).of([FileVersion("P1/day07/B02_z1.tif", 1, 1)]):
    {work}
print("continued")
"""


def run(work: str, limit_s: float = 0.3) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CODE.format(limit_s=limit_s, work=work)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_image_in_time_leaves_the_process_alone() -> None:
    done = run("time.sleep(0.1)", limit_s=30)
    assert (done.returncode, done.stdout) == (0, "continued\n")


def test_an_image_that_hangs_ends_the_process_and_is_named() -> None:
    done = run("time.sleep(50)")
    assert (done.returncode, ExitCode.STALLED) == (75, 75)
    assert "image.hangs" in done.stdout + done.stderr
    assert "P1/day07/B02_z1.tif" in done.stdout + done.stderr
    assert "continued" not in done.stdout


@pytest.mark.timeout(60)
def test_native_code_that_lets_no_python_code_run_ends_the_process_too() -> None:
    done = run("re.match('(a+)+$', 'a' * 60 + 'b')")  # holds the lock of the interpreter
    assert done.returncode == 1
    assert "Timeout" in done.stderr
