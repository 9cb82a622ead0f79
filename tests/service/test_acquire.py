"""The real command ``acquire`` with a virtual microscope, and with faulty devices."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from acquisition.microscope.imaging_requests import ImagingRequest, open_imaging_requests
from tests.laboratory import Laboratory, now, wait_until

pytestmark = pytest.mark.micromanager

PLANES = 3


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def test_a_day_ends_with_one_file_per_well_and_the_lamp_off(laboratory: Laboratory) -> None:
    done = laboratory.image_plate()

    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"{len(laboratory.wells)} of {len(laboratory.wells)} wells imaged, complete" in done.stdout
    )
    files = laboratory.files()
    assert sorted(files) == laboratory.wells
    assert all(len(each) == 1 for each in files.values())
    assert tifffile.imread(files["C04" if "C04" in files else laboratory.wells[0]][0]).shape == (
        PLANES,
        128,
        128,
    )
    assert laboratory.lamp == "off"


def test_a_second_run_of_the_same_day_takes_no_image(laboratory: Laboratory) -> None:
    laboratory.image_plate()
    again = laboratory.image_plate()

    assert again.returncode == 0
    assert sum(map(len, laboratory.files().values())) == len(laboratory.wells)


def test_named_wells_get_a_second_image_file(laboratory: Laboratory) -> None:
    laboratory.image_plate()
    first, second = laboratory.wells[:2]
    laboratory.image_plate(7, "--well", first)

    files = laboratory.files()
    assert (len(files[first]), len(files[second])) == (2, 1)


@pytest.mark.parametrize(
    ("device", "fault"),
    [
        ("Stage", "RaisingStage"),
        ("Stage", "NeverThereStage"),
        ("Stage", "StrayingStage"),
        ("Camera", "RaisingCamera"),
    ],
)
def test_every_well_is_imaged_although_a_device_fails_once(
    tmp_path: Path, device: str, fault: str
) -> None:
    laboratory = Laboratory.make(tmp_path, microscope="timeout_s = 1.0")
    laboratory.break_device(device, fault)

    done = laboratory.image_plate()

    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(laboratory.files()) == laboratory.wells
    assert len([entry for entry in laboratory.journal() if entry["step"] == "failed"]) == 1
    assert "well.failed" in done.stdout
    assert laboratory.lamp == "off"


def test_no_well_gets_the_image_of_its_neighbour_from_a_stage_at_the_wrong_well(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path)
    laboratory.break_device("Stage", "StrayingStage", fails_at=3)
    done = laboratory.image_plate()

    (problem,) = [entry["problem"] for entry in laboratory.journal() if entry["step"] == "failed"]
    assert "expected" in problem
    assert "the target position" in problem
    assert done.returncode == 0
    assert all(len(each) == 1 for each in laboratory.files().values())


def test_a_dead_stage_raises_an_alert_after_three_wells_and_the_missing_wells_are_named(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path)
    laboratory.break_device("Stage", "DeadStage", fails_at=7)

    done = laboratory.image_plate()

    imaged = laboratory.files()
    missing = [well for well in laboratory.wells if well not in imaged]
    assert len(imaged) == 6
    assert done.returncode == 1
    assert f"no image of {', '.join(missing)}" in done.stdout
    assert "3 consecutive wells failed" in done.stdout
    assert "no answer from the stage controller" in done.stdout


@pytest.mark.parametrize(
    ("device", "fault", "at", "step"),
    [
        (
            "Stage",
            "HangingStage",
            7,
            r"stage Stage: move to \(\d+, \d+\) µm \(expected within 1 s, stall_s = 3\)",
        ),
        (
            "Camera",
            "HangingCamera",
            40,
            r"camera Camera: exposure of 0\.01 s, plane \d+ of \d+ \(expected within 0\.01 s",
        ),
    ],
)
def test_a_hanging_device_ends_the_process_with_the_lamp_off_and_the_next_run_continues(
    tmp_path: Path, device: str, fault: str, at: int, step: str
) -> None:
    laboratory = Laboratory.make(tmp_path, microscope="stall_s = 3\ntimeout_s = 1")
    laboratory.break_device(device, fault, fails_at=at)

    stalled = laboratory.image_plate()

    assert stalled.returncode == 75
    assert "made no progress for " in stalled.stdout
    assert re.search(rf"plate {laboratory.plate}, day 7, well [A-H]\d\d is \w+: ", stalled.stdout)
    assert re.search(step, stalled.stdout)
    assert "the lamp was switched off" in stalled.stdout
    assert laboratory.lamp == "off"
    before = laboratory.files()
    assert 0 < len(before) < len(laboratory.wells)
    laboratory.repair_devices()
    resumed = laboratory.image_plate()
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert sorted(laboratory.files()) == laboratory.wells
    assert all(len(each) == 1 for each in laboratory.files().values())


def test_sigterm_leaves_the_lamp_off_and_the_next_run_continues_with_the_next_well(
    laboratory: Laboratory,
) -> None:
    with laboratory.running() as process:
        wait_until(lambda: len(laboratory.files()) >= 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    before = laboratory.files()
    assert len(before) < len(laboratory.wells)
    assert laboratory.lamp == "off"

    assert laboratory.image_plate().returncode == 0
    after = laboratory.files()
    assert sorted(after) == laboratory.wells
    assert {well: after[well] for well in before} == before


def test_after_sigkill_a_command_switches_the_lamp_off_and_one_well_at_most_is_repeated(
    laboratory: Laboratory,
) -> None:
    with laboratory.running() as process:
        wait_until(lambda: len(laboratory.files()) >= 3 and laboratory.lamp == "on", every_s=0.001)
        process.kill()
    before = laboratory.files()
    assert laboratory.lamp == "on"

    assert laboratory.acquire("lamp-off").returncode == 0
    assert laboratory.lamp == "off"
    assert laboratory.image_plate().returncode == 0
    after = laboratory.files()
    assert sorted(after) == laboratory.wells
    assert {well: after[well] for well in before} == before
    begun_twice = [
        well
        for well in laboratory.wells
        if len([e for e in laboratory.journal() if (e["well"], e["step"]) == (well, "started")]) > 1
    ]
    assert len(begun_twice) <= 1


def test_the_next_start_switches_off_a_lamp_that_a_crash_left_on(laboratory: Laboratory) -> None:
    laboratory.world.switch_lamp(on=True)
    with laboratory.serving() as process:
        wait_until(lambda: laboratory.lamp == "off")
        process.terminate()
        assert process.wait(30) == 0


def test_the_server_images_requested_wells_and_ends_when_its_parent_process_ends(
    laboratory: Laboratory,
) -> None:
    wells = tuple(laboratory.wells[:2])
    open_imaging_requests(laboratory.folder / "microscope").add(
        ImagingRequest(
            plate=laboratory.plate, day=7, wells=wells, reason="asked", wide=True, made_at=now()
        )
    )
    with laboratory.serving() as process:
        wait_until(lambda: sorted(laboratory.files()) == sorted(wells))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        assert process.stdout is not None
        events = [json.loads(line)["event"] for line in process.stdout.read().splitlines()]

    assert "day.started" in events
    assert events.count("well.saved") == 2
    assert laboratory.lamp == "off"
    assert not list((laboratory.folder / "microscope" / "imaging_requests").glob("*.json"))


def test_a_manual_request_is_handed_over_to_a_running_server(laboratory: Laboratory) -> None:
    with laboratory.serving() as process:
        laboratory.wait_until_driven()
        done = laboratory.image_plate()
        process.terminate()
        process.wait(30)

    assert f"is driven by process {process.pid}" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(laboratory.files()) == laboratory.wells


def test_a_due_plate_is_imaged_without_a_request(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, own_clock=False, microscope='acquire_at = "00:00"')
    laboratory.seed_today()
    with laboratory.serving() as process:
        wait_until(lambda: len(laboratory.files(day=1)) == len(laboratory.wells))
        process.terminate()
        assert process.wait(30) == 0


def test_a_disk_with_too_little_space_refuses_the_day_and_names_the_bytes(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path)
    config = tmp_path / "spherorank.toml"
    config.write_text(
        config.read_text().replace("keep_free_bytes = 0", "keep_free_bytes = 900_000_000_000_000")
    )

    refused = laboratory.image_plate()

    assert refused.returncode == 1
    assert "bytes free; expected" in refused.stdout
    assert not laboratory.files()


@pytest.mark.parametrize(
    ("text", "by", "message"),
    [
        ("Property,Core,Initialize,1", "nonsense,1,2", "cannot be loaded"),
        ("#py Property,Core,Shutter,Lamp", "", "expected a line Property,Core,Shutter,LABEL"),
        ("#py Property,Core,XYStage,Stage", "", "expected a line Property,Core,XYStage,LABEL"),
        (
            "simulation.devices,VirtualFocus",
            "simulation.devices,NoSuchFocus",
            "NoSuchFocus",
        ),
        (
            "Property,Core,Initialize,0",
            "Property,Core,Initialize,0\nDevice,Wheel,Prior,Wheel-1",
            "expected the adapter in",
        ),
    ],
)
def test_an_incomplete_hardware_configuration_is_refused_before_the_first_move(
    laboratory: Laboratory, text: str, by: str, message: str
) -> None:
    path = laboratory.folder / "MMConfig.cfg"
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, by))

    for arguments in (("check",), ("run", laboratory.plate, "--day", "7")):
        refused = laboratory.acquire(*arguments)
        assert refused.returncode == 78
        assert message in refused.stdout + refused.stderr
    assert not laboratory.files()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", '"nowhere.cfg"', "expected the microscope's MMConfig file"),
        ("channel", '"Channel:Cy5"', "expected one of Channel:BF"),
        ("a1_um", "[100000, 75000]", "stage_limits_um"),
        ("focus_z_um", "99999", "z_limits_um"),
        ("adapters", '"/usr/share"', "expected Micro-Manager's folder"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key_before_the_first_move(
    laboratory: Laboratory, key: str, value: str, message: str
) -> None:
    config = laboratory.folder / "spherorank.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith(f"{key} =")]
    config.write_text(
        "\n".join(lines).replace("[source.micromanager]", f"[source.micromanager]\n{key} = {value}")
    )

    checked = laboratory.acquire("check")

    assert checked.returncode == 78
    assert message in checked.stdout + checked.stderr


def test_a_dry_run_prints_the_stage_positions_and_takes_no_image(laboratory: Laboratory) -> None:
    printed = laboratory.image_plate(7, "--dry-run")

    assert printed.returncode == 0, printed.stdout + printed.stderr
    assert laboratory.wells[0] in printed.stdout
    assert "bytes" in printed.stdout
    assert not laboratory.files()


def test_devices_are_listed_and_a_preview_is_a_png_file(laboratory: Laboratory) -> None:
    listed = laboratory.acquire("devices")
    out = laboratory.folder / "seen.png"
    seen = laboratory.acquire("preview", "--well", laboratory.wells[0], "--out", str(out))

    assert "VirtualCamera" in listed.stdout
    assert "Channel:BF" in listed.stdout
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
    assert laboratory.lamp == "off"


def test_the_imaging_process_loads_no_inference_engine(laboratory: Laboratory) -> None:
    program = (
        "import sys, daemon.commands, daemon.microscope.imaging_process; "
        "sys.exit(any(name.split('.')[0] in ('onnxruntime', 'torch', 'sqlalchemy') "
        "for name in sys.modules))"
    )
    done = subprocess.run(
        [laboratory.command()[0], "-c", program], check=False, env=laboratory.environment
    )
    assert done.returncode == 0


def write_arm(folder: Path) -> Path:
    """Write the script of a robot arm that moves virtual plates and logs to ``moves``."""
    arm = folder / "arm.py"
    arm.write_text(
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from simulation.world import World\n"
        f"world = World.load(Path({str(folder / 'world')!r}), clock=lambda: datetime.now(UTC))\n"
        "action, plate = sys.argv[1:]\n"
        f"open({str(folder / 'moves')!r}, 'a').write(f'{{action}} {{plate}}\\n')\n"
        "world.place_plate(plate, 7) if action == 'present' else world.remove_plate()\n"
    )
    return arm


def test_plates_are_loaded_in_turn_by_a_command_and_each_gets_its_own_images(
    tmp_path: Path,
) -> None:
    arm = write_arm(tmp_path)
    laboratory = Laboratory.make(
        tmp_path,
        plates=2,
        microscope=(
            f'linger_s = 0.1\npresent = ["{sys.executable}", "{arm}", "{{action}}", "{{plate}}"]'
        ),
    )
    laboratory.world.remove_plate()
    first, second = laboratory.world.scopes
    requests = open_imaging_requests(tmp_path / "microscope")
    for plate in (first, second):
        requests.add(
            ImagingRequest(plate=plate, day=7, wells=("C05",), reason="asked", made_at=now())
        )
    with laboratory.serving() as process:
        wait_until(
            lambda: (
                not requests.pending()
                and (tmp_path / "moves").read_text().endswith(f"release {second}\n")
            )
        )
        wait_until(
            lambda: not (tmp_path / "microscope" / "on_stage").read_text()
        )  # wait for the end of the command, too
        process.terminate()
        assert process.wait(30) == 0

    assert (tmp_path / "moves").read_text().splitlines() == [
        f"present {first}",
        f"release {first}",
        f"present {second}",
        f"release {second}",
    ]
    images = [
        tifffile.imread(next((tmp_path / "archive" / plate / "day07").glob("C05*")))
        for plate in (first, second)
    ]
    assert not np.array_equal(*images)
    assert all(image.mean() > 1000 for image in images)  # the lamp is on and the plate on the stage
