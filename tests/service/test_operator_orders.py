"""Pause, resume, abort and preview while the real command ``acquire`` images a virtual plate.

The stage waits at its third move until the test lets it go, so that each order arrives while the
third well is being imaged.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from acquisition.microscope.operator_orders import OperatorOrders
from tests.laboratory import ROOT, Laboratory, wait_until

pytestmark = pytest.mark.micromanager

PLANE_STEP_UM = 45.0


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    laboratory = Laboratory.make(tmp_path, microscope='acquire_at = ""')
    laboratory.break_device("Stage", "WaitingStage", fails_at=3)
    return laboratory


def let_stage_go(laboratory: Laboratory) -> None:
    (laboratory.folder / "world" / "go").touch()


def state_of(laboratory: Laboratory) -> Path:
    return laboratory.folder / "microscope"


@contextmanager
def started(laboratory: Laboratory, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start ``acquire`` with arguments, its output in ``ARGUMENT.log``; kill it at the end."""
    with (
        (laboratory.folder / f"{arguments[0]}.log").open("w") as log,
        subprocess.Popen(
            laboratory.command(*arguments),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=laboratory.environment,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def log_of(laboratory: Laboratory, command: str) -> str:
    return (laboratory.folder / f"{command}.log").read_text()


def pause_during_the_third_well(laboratory: Laboratory) -> str:
    """Pause a running day while its third well is imaged; return the output of the command."""
    wait_until(lambda: len(laboratory.files()) == 2)
    with started(laboratory, "pause") as pause:
        wait_until((state_of(laboratory) / "orders" / "pause").exists)
        let_stage_go(laboratory)
        assert pause.wait(60) == 0, log_of(laboratory, "pause")
    return log_of(laboratory, "pause")


def test_a_pause_takes_effect_after_the_well_survives_a_kill_and_ends_with_the_next_well(
    laboratory: Laboratory,
) -> None:
    with started(laboratory, "run", laboratory.plate, "--day", "7") as process:
        assert "The imaging is paused; the lamp is off." in pause_during_the_third_well(laboratory)
        assert laboratory.lamp == "off"
        paused = laboratory.files()
        assert len(paused) == 3
        process.kill()

    with started(laboratory, "run", laboratory.plate, "--day", "7") as process:
        wait_until(lambda: "imaging.paused" in log_of(laboratory, "run"))
        again = laboratory.acquire("pause")
        assert "already paused, since" in again.stdout
        assert laboratory.files() == paused
        resumed = laboratory.acquire("resume")
        assert "The imaging was paused for" in resumed.stdout
        assert process.wait(60) == 0, log_of(laboratory, "run")
    files = laboratory.files()
    assert sorted(files) == laboratory.wells
    assert all(len(each) == 1 for each in files.values())


def test_a_pause_waits_for_a_well_that_takes_longer_than_stall_s(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, microscope='acquire_at = ""\nstall_s = 0.5')
    laboratory.break_device("Stage", "WaitingStage", fails_at=3)
    with started(laboratory, "run", laboratory.plate, "--day", "7"):
        wait_until(lambda: len(laboratory.files()) == 2)
        with started(laboratory, "pause") as pause:
            wait_until((state_of(laboratory) / "orders" / "pause").exists)
            with pytest.raises(subprocess.TimeoutExpired):
                pause.wait(4)
            let_stage_go(laboratory)
            assert pause.wait(60) == 0, log_of(laboratory, "pause")


def test_an_aborted_day_drops_its_request_and_is_not_imaged_again_until_it_is_asked_for(
    laboratory: Laboratory,
) -> None:
    with started(laboratory, "run", laboratory.plate, "--day", "7") as process:
        wait_until(lambda: len(laboratory.files()) == 2)
        with started(laboratory, "abort") as abort:
            wait_until((state_of(laboratory) / "orders" / "aborted").exists)
            let_stage_go(laboratory)
            assert abort.wait(60) == 0, log_of(laboratory, "abort")
        assert process.wait(60) == 1
    dropped = f"plate {laboratory.plate}, day 7: aborted; dropped requests: 1"
    assert dropped in log_of(laboratory, "abort")
    assert "day.aborted" in log_of(laboratory, "run")
    aborted = laboratory.files()
    assert len(aborted) == 3
    (request,) = (state_of(laboratory) / "imaging_requests" / "dropped").glob("*.json")
    assert json.loads(request.read_text())["plate"] == laboratory.plate
    assert (state_of(laboratory) / "on_stage").read_text() == ""
    nothing = laboratory.acquire("abort")
    assert nothing.returncode == 1
    assert "images no plate now; expected --plate ID" in nothing.stderr

    assert laboratory.image_plate().returncode == 0  # asked for again
    assert sorted(laboratory.files()) == laboratory.wells


def test_an_abort_during_a_pause_ends_the_day_and_moves_nothing(laboratory: Laboratory) -> None:
    with started(laboratory, "run", laboratory.plate, "--day", "7") as process:
        pause_during_the_third_well(laboratory)
        aborted = laboratory.acquire("abort", "--plate", laboratory.plate)
        assert "the plate is released after acquire resume" in aborted.stdout
        assert process.wait(60) == 1
    assert len(laboratory.files()) == 3
    assert (state_of(laboratory) / "on_stage").read_text() == laboratory.plate


def test_a_preview_of_a_running_day_is_the_newest_frame_or_a_focused_frame_of_a_named_well(
    laboratory: Laboratory,
) -> None:
    latest, focused = laboratory.folder / "latest.png", laboratory.folder / "focused.png"
    last = laboratory.wells[-1]
    with laboratory.serving() as server:
        assert server.stdout is not None
        laboratory.wait_until_driven()
        laboratory.image_plate(7, "--no-wait")
        wait_until(lambda: len(laboratory.files()) == 2)
        seen = laboratory.acquire("preview", "--out", str(latest))
        assert seen.returncode == 0, seen.stderr
        asked = ("preview", "--well", last, "--focus", "--out", str(focused))
        with started(laboratory, *asked) as preview:
            previews = OperatorOrders(state_of(laboratory)).folder / "previews"
            wait_until(lambda: list(previews.glob("*.request")))
            let_stage_go(laboratory)
            assert preview.wait(60) == 0, log_of(laboratory, "preview")
        wait_until(lambda: len(laboratory.files()) == len(laboratory.wells))
        wait_until(lambda: OperatorOrders(state_of(laboratory)).present_job() is None)
        server.terminate()
        lines = [line for line in server.stdout.read().splitlines() if line.startswith("{")]
    saved = {
        event["well"]: event for event in map(json.loads, lines) if event["event"] == "well.saved"
    }
    second = next(each["well"] for each in saved.values() if each["wells_saved"] == 2)
    assert f"plate {laboratory.plate}, day 7, well {second}, z " in seen.stdout
    assert "newest frame of the running day" in seen.stdout
    assert all(len(each) == 1 for each in laboratory.files().values())
    found = log_of(laboratory, "preview")
    assert "µm, in focus" in found
    z_um = float(found.partition(", z ")[2].partition(" µm")[0])
    assert abs(z_um - saved[last]["z_um"]) < PLANE_STEP_UM
    assert not list(previews.iterdir())
    for path in (latest, focused):
        frame = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert np.ptp(frame) > 40  # tissue before a bright background


def test_a_preview_that_cannot_be_taken_is_answered_by_the_problem(laboratory: Laboratory) -> None:
    with laboratory.serving():
        laboratory.wait_until_driven()
        seen = laboratory.acquire("preview", "--well", "P20")
    assert seen.returncode == 1
    assert "P20" in seen.stderr


@pytest.mark.parametrize("home", ["home", "no_folder/home"])
def test_micro_manager_writes_no_log_in_the_home_directory_and_needs_none(
    tmp_path: Path, home: str
) -> None:
    laboratory = Laboratory.make(tmp_path)
    (tmp_path / "no_folder").write_text("a home directory cannot be made here")
    named = ("PYTEST_RUNNING", "PYMM_LOG_FILE", "XDG_DATA_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    done = subprocess.run(
        laboratory.command("run", laboratory.plate, "--day", "7", "--well", laboratory.wells[0]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path / home)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.log"))
    assert not list(tmp_path.rglob("CoreLog*"))
