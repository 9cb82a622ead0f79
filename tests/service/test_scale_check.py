"""Alerts about contradicting scales, and images that are requested again from the source."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acquisition.drop_folder.source import DropFolder
from daemon.alerts import Alerts
from daemon.scale_check import ScaleCheck
from schemas.messages import AlertKind
from schemas.observation import Observation
from schemas.scale import FileScale
from schemas.well_image import WellImage
from tests.made_up_site import Site
from tests.robot_folder import PLATE_TOML, RobotFolder, images
from tests.samples import ENCODER_ID, NOW, observation, observation_data


class Checked:
    """A store and a drop folder with images of plate P1, and the check of their scales."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.robot = RobotFolder(folder)
        self.source: DropFolder = self.robot.open()
        self.alerts = Alerts(site.store, lambda: NOW)
        self.check = ScaleCheck(self.source, site.store, ENCODER_ID, self.alerts)

    def write_map(self, plate_toml: str) -> None:
        at_ns = int(self.robot.clock.now_s * 1e9)
        self.robot.write("P1/P1.plate.toml", plate_toml.encode(), at_ns=at_ns)
        assert images(self.source) == []
        self.save_map()
        self.check.note("P1")

    def save_map(self) -> None:
        """Store the plate map that the source has read, as the service does."""
        self.site.store.save_plate_map(self.source.plate_maps()["P1"], NOW)

    def ingest(self, well: str, day: int, used: float | None, own: float | None) -> Observation:
        """Store an image whose files are in the drop folder."""
        self.robot.well(well, day)
        (image,) = images(self.source)
        assert isinstance(image, WellImage)
        self.save_map()
        seen = observation(
            well,
            day,
            plate="P1",
            files=image.files,
            um_per_px=used,
            file_scales=() if own is None else (FileScale(own, "OME-XML"),),
        )
        self.site.store.add_observation(seen, observation_data(seen))
        self.check.note("P1")
        return seen

    def messages(self) -> list[str]:
        """Return the messages of the alerts in the outbox."""
        events = self.site.alerts(AlertKind.SCALE_DISAGREES)
        return [json.loads(event)["data"]["message"] for event in events]

    @property
    def pending(self) -> dict[str, int]:
        return self.source.status(datetime.now(UTC)).pending


@pytest.fixture
def checked(site: Site, tmp_path: Path) -> Iterator[Checked]:
    made = Checked(site, tmp_path / "drop")
    yield made
    made.source.close()


def test_one_kind_of_contradiction_is_one_alert_that_ends_with_the_decision(
    checked: Checked,
) -> None:
    for well in ("B02", "B03"):
        checked.ingest(well, 7, 1.36, 2.72461)
        assert not checked.check.check_noted({})
    (message,) = checked.messages()
    assert "plate P1, B02 on day 7: the file says 2.72461 µm per pixel (OME-XML), " in message
    assert "the plate map 1.36 µm per pixel" in message
    assert checked.alerts.active_count == 1
    checked.write_map(PLATE_TOML + 'um_per_px_from = "map"\n')
    assert not checked.check.check_noted({})
    assert checked.alerts.active_count == 0
    assert checked.pending == {}


def test_a_scale_that_changes_between_days_is_an_alert(checked: Checked) -> None:
    checked.write_map(PLATE_TOML.replace("um_per_px = 1.36\n", ""))
    for day, um_per_px in ((5, 4.0), (6, 4.0), (7, 1.6)):
        checked.ingest("B02", day, um_per_px, um_per_px)
    assert not checked.check.check_noted({})
    (message,) = checked.messages()
    assert "B02 on day 7: its files have 1.6 µm per pixel (OME-XML), " in message
    assert "most images of the plate have 4 µm per pixel" in message


def test_outdated_images_are_requested_again_once_for_each_map(checked: Checked) -> None:
    checked.ingest("B02", 7, 1.36, None)
    checked.ingest("B03", 7, 2.72, None)
    checked.write_map(PLATE_TOML.replace("1.36", "2.72"))
    assert checked.check.check_noted({})
    assert (checked.pending, checked.check.reading) == ({"P1": 1}, {"P1"})
    assert checked.messages() == []  # the files are still there
    (again,) = images(checked.source)
    assert (again.key.well, again.um_per_px) == ("B02", 2.72)
    # It could not be stored again, so the alert tells so and nothing is requested twice.
    assert not checked.check.check_noted({})
    assert checked.check.reading == set()
    (message,) = checked.messages()
    assert "measured with 1.36 µm per pixel, and the scale is now 2.72 µm per pixel" in message
    checked.check.note("P1")
    assert not checked.check.check_noted({})
    assert checked.pending == {}


def test_a_plate_with_pending_images_is_checked_when_they_are_ingested(checked: Checked) -> None:
    checked.ingest("B02", 7, 1.36, 2.72461)
    assert not checked.check.check_noted({"P1": 3})
    assert checked.messages() == []
    assert not checked.check.check_noted({"P2": 3})
    assert len(checked.messages()) == 1
