"""The real command ``acquire``: an image belongs to the day on which it was taken."""

import json
import re
from pathlib import Path

import pytest

from acquisition.microscope.imaging_requests import ImagingRequest, open_imaging_requests
from tests.laboratory import Laboratory, now, wait_until

pytestmark = pytest.mark.micromanager


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def serve_until_no_request_is_pending(laboratory: Laboratory) -> str:
    """Run ``acquire serve`` until every request is ended, and return its output."""
    requests = open_imaging_requests(laboratory.folder / "microscope")
    with laboratory.serving() as process:
        wait_until(lambda: not requests.pending())
        process.terminate()
        return process.communicate(timeout=30)[0]


def alerts_in(output: str) -> list[str]:
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [event["message"] for event in events if event["event"] == "alert"]


def test_a_request_that_a_crash_left_behind_labels_no_image_of_a_later_day(
    laboratory: Laboratory,
) -> None:
    with laboratory.running() as process:
        wait_until(lambda: len(laboratory.files()) >= 3)
        process.kill()
    before = laboratory.files()
    laboratory.world.place_plate(laboratory.plate, 9)

    output = serve_until_no_request_is_pending(laboratory)

    assert laboratory.files() == before
    assert not laboratory.files(day=9)
    missing = {well for well in laboratory.wells if well not in before}
    (message,) = alerts_in(output)
    assert f"plate {laboratory.plate}, day 7: it is culture day 9 now" in message
    (listed,) = re.findall("no image of ([^;]+);", message)
    # The crash may have come between the image of a well and its entry in the journal.
    assert missing <= set(listed.split(", ")) <= {*missing, *before}
    assert len(listed.split(", ")) <= len(missing) + 1
    assert laboratory.lamp == "off"


def test_a_request_of_a_policy_for_a_past_day_is_ended_with_an_alert(
    laboratory: Laboratory,
) -> None:
    open_imaging_requests(laboratory.folder / "microscope").add(
        ImagingRequest(
            plate=laboratory.plate, day=6, wells=("B02",), reason="unclear", made_at=now()
        )
    )
    (message,) = alerts_in(serve_until_no_request_is_pending(laboratory))
    assert "day 6: it is culture day 7 now" in message
    assert "no image of B02" in message
    assert not laboratory.files(day=6)


@pytest.mark.parametrize("day", [6, 8])
def test_a_run_of_another_day_than_today_is_refused(laboratory: Laboratory, day: int) -> None:
    refused = laboratory.image_plate(day)

    assert refused.returncode == 1
    assert f"day {day}: it is culture day 7 now" in refused.stdout
    assert f"no image of {', '.join(laboratory.wells)}" in refused.stdout
    assert not laboratory.files(day)
    assert not open_imaging_requests(laboratory.folder / "microscope").pending()


def test_a_run_of_another_day_is_refused_by_a_running_server_with_the_reason(
    laboratory: Laboratory,
) -> None:
    with laboratory.serving() as process:
        laboratory.wait_until_driven()
        refused = laboratory.image_plate(6)
        process.terminate()
        process.wait(30)

    assert refused.returncode == 1
    assert "day 6: it is culture day 7 now" in refused.stdout


def test_a_run_ends_when_the_next_day_begins(laboratory: Laboratory) -> None:
    with laboratory.running() as process:
        wait_until(lambda: len(laboratory.files()) >= 3)
        laboratory.world.place_plate(laboratory.plate, 8)
        output = process.communicate(timeout=60)[0]

    imaged = laboratory.files()
    missing = [well for well in laboratory.wells if well not in imaged]
    assert process.returncode == 1
    assert missing
    assert "it is culture day 8 now" in output
    assert f"no image of {', '.join(missing)}" in output


def test_without_a_day_the_culture_day_of_today_is_imaged(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, own_clock=False)
    laboratory.seed_today()

    done = laboratory.acquire("run", laboratory.plate)

    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(laboratory.files(day=1)) == laboratory.wells


def test_a_run_without_light_ends_with_exit_code_1_and_no_image(laboratory: Laboratory) -> None:
    path = laboratory.folder / "MMConfig.cfg"
    path.write_text(path.read_text().replace("Intensity_percent,100", "Intensity_percent,0"))

    done = laboratory.image_plate()

    assert done.returncode == 1
    assert "check the lamp, the shutter and the channel" in done.stdout
    assert f"0 of {len(laboratory.wells)} wells imaged" in done.stdout
    assert not laboratory.files()
    assert laboratory.lamp == "off"
