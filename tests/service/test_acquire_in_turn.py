"""The real command ``acquire`` while another process drives the microscope, and with faults."""

import fcntl
import signal
import subprocess
from pathlib import Path

import pytest

from acquisition.microscope.imaging_requests import ImagingRequests, open_imaging_requests
from tests.laboratory import Laboratory, wait_until

pytestmark = pytest.mark.micromanager


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def requests_of(laboratory: Laboratory) -> ImagingRequests:
    return open_imaging_requests(laboratory.folder / "microscope")


def test_a_run_waits_for_the_microscope_longer_than_the_stall_limit_and_then_images(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path, microscope="stall_s = 1.0")
    lock = tmp_path / "microscope" / "lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = laboratory.command("run", laboratory.plate, "--day", "7")
        process = subprocess.Popen(
            command,
            env=laboratory.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(lambda: requests_of(laboratory).pending())
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert output.count("is driven by process") == 1
    assert sorted(laboratory.files()) == laboratory.wells


def test_interrupting_a_run_does_not_stop_the_server_that_images_for_it(
    laboratory: Laboratory,
) -> None:
    with laboratory.serving() as server:
        laboratory.wait_until_driven()
        with laboratory.running() as run:
            wait_until(laboratory.files)
            run.send_signal(signal.SIGINT)
            output = run.communicate(timeout=30)[0]
        assert run.returncode == 1
        assert "interrupted by the operator" in output
        wait_until(lambda: len(laboratory.files()) == len(laboratory.wells))
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(2)
        server.terminate()
        assert server.wait(30) == 0


def test_a_request_that_could_not_begin_is_not_repeated_at_the_next_start(
    laboratory: Laboratory,
) -> None:
    (laboratory.folder / "MMConfig.cfg").unlink()
    assert laboratory.image_plate().returncode == 78
    assert requests_of(laboratory).pending() == []


def test_the_lamp_is_switched_off_although_the_state_folder_cannot_be_made(
    laboratory: Laboratory,
) -> None:
    (laboratory.folder / "microscope").write_text("a file where the folder should be")
    laboratory.world.switch_lamp(on=True)
    refused = laboratory.acquire("devices")
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"{laboratory.folder}/microscope/lock: cannot be written (File exists); "
        "expected a folder that this user may write to"
    )
    assert laboratory.acquire("lamp-off").returncode == 0
    assert laboratory.lamp == "off"


def test_an_event_is_printed_as_one_line(laboratory: Laboratory) -> None:
    done = laboratory.image_plate(7, "--well", laboratory.wells[0])
    (saved,) = laboratory.files()[laboratory.wells[0]]
    assert any(
        line.startswith("well.saved") and str(saved) in line for line in done.stdout.splitlines()
    )


def test_a_preview_that_cannot_be_written_is_an_error(laboratory: Laboratory) -> None:
    out = laboratory.folder / "world.png" / "seen.png"
    out.parent.write_text("")
    seen = laboratory.acquire("preview", "--out", str(out))
    assert seen.returncode == 1
    assert "seen.png: cannot be written" in seen.stderr


def test_two_due_plates_are_not_imaged_until_one_is_named(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, plates=2, microscope='acquire_at = "00:00"')
    for plate in laboratory.world.scopes:
        laboratory.seed_today(plate)
    with laboratory.serving() as process:
        assert process.stdout is not None
        message = next(
            line
            for line in process.stdout
            if "it is unknown which of them is under the microscope" in line
        )
        process.terminate()
        process.wait(30)
    assert all(plate in message for plate in laboratory.world.scopes)
    assert not list((tmp_path / "archive").rglob("*.tif"))


def test_closing_the_terminal_leaves_the_lamp_off(laboratory: Laboratory) -> None:
    def restore_sighup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored in processes that nohup starts

    command = laboratory.command("run", laboratory.plate, "--day", "7")
    with subprocess.Popen(
        command,
        env=laboratory.environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=restore_sighup,  # noqa: PLW1509 - no threads here
    ) as process:
        wait_until(lambda: laboratory.files() and laboratory.lamp == "on", every_s=0.001)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 1
    assert laboratory.lamp == "off"
