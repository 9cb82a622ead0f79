"""Contract of every source of well images, tested in real time with real files."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import tifffile

from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from acquisition.ports import EndedFiles, Source
from daemon.heartbeat import Heartbeat, LoopClock
from daemon.source_thread import SourceThread
from schemas.errors import SourceGoneError
from schemas.well_image import Rejected, WellImage
from tests.robot_folder import EndedVersions

SOON_S = 10.0  # much longer than any step of these tests


class Instrument(Protocol):
    """An instrument that writes images for a source, controlled by a test."""

    def open(self, ended: EndedFiles) -> Source:
        """Return a new source of the images of this instrument."""

    def write_image(self, well: str, seed: int) -> None:
        """Write a complete image of a well on day 7."""

    def write_damaged_image(self, well: str) -> None:
        """Write an image of a well that cannot be decoded."""

    def write_assay(self, viability_percent: dict[str, str]) -> None:
        """Write the assay of the plate, or replace it."""

    def disconnect(self) -> None:
        """Make all images inaccessible."""

    def reconnect(self) -> None:
        """Make all images accessible again."""


class RobotInstrument:
    """A robot that writes images into a drop folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plate = root / "P1"
        self.plate.mkdir(parents=True)
        (self.plate / "P1.plate.toml").write_text(
            'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
        )
        (self.plate / "P1.wells.csv").write_text(
            "well,group,treatment\nB02,untreated,\nB03,screening,drug:1 uM\n"
        )

    def open(self, ended: EndedFiles) -> Source:
        settings = DropFolderSettings(
            self.root,
            "{plate}/day{day}/{well}_z{plane}.tif",
            settle_s=0.05,
            poll_s=0.1,
            plane_timeout_s=0.3,
        )
        return DropFolder(settings, ended)

    def write_image(self, well: str, seed: int) -> None:
        day = self.plate / "day07"
        day.mkdir(exist_ok=True)
        for plane, pixels in enumerate(
            np.random.default_rng(seed).integers(0, 65536, (3, 64, 64)).astype(np.uint16), start=1
        ):
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, pixels, metadata=None)
            (day / f"{well}_z{plane}.tif").write_bytes(buffer.getvalue())

    def write_damaged_image(self, well: str) -> None:
        (self.plate / "day07").mkdir(exist_ok=True)
        (self.plate / "day07" / f"{well}_z1.tif").write_text("no image")

    def write_assay(self, viability_percent: dict[str, str]) -> None:
        rows = "".join(f"{well},{percent}\n" for well, percent in viability_percent.items())
        (self.plate / "P1.assay.csv").write_text(f"well,viability_percent\n{rows}")

    def disconnect(self) -> None:
        self.root.rename(self.root.with_name("away"))

    def reconnect(self) -> None:
        self.root.with_name("away").rename(self.root)


class ThreadedInstrument(RobotInstrument):
    """A robot whose drop folder is read by a source on a thread of its own."""

    def open(self, ended: EndedFiles) -> Source:
        heartbeat = Heartbeat(LoopClock(), (), (), lambda _state: None)
        return SourceThread(
            super().open(ended),
            LoopClock(),
            heartbeat,
            patience_s=SOON_S,
            once=False,
            now=lambda: datetime.now(UTC),
        )


@pytest.fixture(
    params=[RobotInstrument, ThreadedInstrument], ids=["drop folder", "on a thread of its own"]
)
def instrument(request: pytest.FixtureRequest, tmp_path: Path) -> Instrument:
    made: Instrument = request.param(tmp_path / "source")
    return made


@pytest.fixture
def opened(instrument: Instrument) -> Iterator[Callable[[EndedFiles], Source]]:
    sources: list[Source] = []

    def open_source(ended: EndedFiles) -> Source:
        sources.append(instrument.open(ended))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def wait_for(source: Source) -> WellImage | Rejected:
    item = source.next(SOON_S)
    assert item is not None, "no result came"
    return item


def test_an_image_is_returned_with_its_identity_and_pixels(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(EndedVersions())
    instrument.write_image("B02", seed=1)
    image = wait_for(source)
    assert isinstance(image, WellImage)
    assert (image.key.plate, image.key.well, image.day, image.complete) == ("P1", "B02", 7, True)
    assert (image.planes.shape, image.planes.dtype) == ((3, 64, 64), np.uint16)
    assert image.files


def test_without_an_image_the_timeout_passes_and_none_is_returned(
    opened: Callable[[EndedFiles], Source],
) -> None:
    started_s = time.monotonic()
    assert opened(EndedVersions()).next(0.3) is None
    assert 0.25 <= time.monotonic() - started_s < SOON_S


def test_each_image_is_returned_once_whether_it_is_done_or_not(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_image("B02", seed=1)
    instrument.write_image("B03", seed=2)
    source = opened(EndedVersions())
    first, second = wait_for(source), wait_for(source)
    source.done(first)
    assert isinstance(first, WellImage)
    assert isinstance(second, WellImage)
    assert {first.key.well, second.key.well} == {"B02", "B03"}
    assert source.next(0.5) is None


def test_an_image_that_is_not_done_is_returned_again_by_a_new_source(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_image("B02", seed=1)
    first = wait_for(opened(EndedVersions()))
    again = wait_for(opened(EndedVersions()))
    assert isinstance(first, WellImage)
    assert isinstance(again, WellImage)
    assert (again.key, again.digest) == (first.key, first.digest)
    assert opened(EndedVersions(*first.files)).next(0.5) is None


def test_a_second_image_of_the_same_visit_is_returned_too(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_image("B02", seed=1)
    source = opened(EndedVersions())
    first = wait_for(source)
    source.done(first)
    instrument.write_image("B02", seed=2)
    second = wait_for(source)
    assert isinstance(first, WellImage)
    assert isinstance(second, WellImage)
    assert second.key == first.key
    assert second.digest != first.digest


def test_an_image_that_is_requested_again_is_returned_once_more(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_image("B02", seed=1)
    source = opened(EndedVersions())
    first = wait_for(source)
    source.done(first)
    source.read_again(first.files)
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    again = wait_for(source)
    assert isinstance(first, WellImage)
    assert isinstance(again, WellImage)
    assert (again.key, again.digest) == (first.key, first.digest)
    source.done(again)
    assert source.next(0.5) is None


def test_a_damaged_image_is_refused_with_the_reason_and_the_next_image_is_returned(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_damaged_image("B02")
    instrument.write_image("B03", seed=3)
    source = opened(EndedVersions())
    items = [wait_for(source), wait_for(source)]
    (refused,) = [item for item in items if isinstance(item, Rejected)]
    assert (refused.plate, refused.well) == ("P1", "B02")
    assert refused.reason
    assert refused.files
    assert [item.key.well for item in items if isinstance(item, WellImage)] == ["B03"]


def test_a_disconnected_source_is_an_error_and_continues_after_it_is_reconnected(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_image("B02", seed=1)
    source = opened(EndedVersions())
    source.done(wait_for(source))
    instrument.disconnect()
    with pytest.raises(SourceGoneError):
        source.next(SOON_S)
    assert source.status(datetime.now(UTC)).gone
    assert list(source.plate_maps()) == ["P1"]
    instrument.reconnect()
    instrument.write_image("B03", seed=2)
    back = wait_for(source)
    assert isinstance(back, WellImage)
    assert back.key.well == "B03"
    assert source.status(datetime.now(UTC)).gone is None


def test_plate_maps_and_pending_images_are_known_after_the_first_call(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(EndedVersions())
    assert source.next(0.5) is None
    assert list(source.plate_maps()) == ["P1"]
    instrument.write_image("B02", seed=1)
    wait_for(source)
    status = source.status(datetime.now(UTC))
    assert (status.pending, status.held, status.gone) == ({}, {}, None)


def test_an_assay_is_read_without_any_image_and_again_when_it_changes(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(EndedVersions())
    assert source.next(0.5) is None
    assert source.assays() == {}
    for percent in (12.5, 15.0):
        instrument.write_assay({"B02": "100", "B03": str(percent)})
        assert source.next(0.5) is None
        assert source.assays()["P1"].viability_percent == {"B02": 100.0, "B03": percent}
    assert source.status(datetime.now(UTC)).wrong_assays == {}


def test_a_wrong_assay_is_reported_and_delays_no_image(
    instrument: Instrument, opened: Callable[[EndedFiles], Source]
) -> None:
    instrument.write_assay({"B02": "100", "B03": "-5"})
    instrument.write_image("B02", seed=1)
    source = opened(EndedVersions())
    source.done(wait_for(source))
    assert source.next(0.3) is None
    assert source.assays() == {}
    status = source.status(datetime.now(UTC))
    assert "line 3: viability_percent is -5; expected 0 to 200" in status.wrong_assays["P1"]
    assert (status.pending, status.held) == ({}, {})
    instrument.write_assay({"B02": "100", "B03": "5"})
    assert source.next(0.5) is None
    assert source.assays()["P1"].viability_percent["B03"] == 5.0
    assert source.status(datetime.now(UTC)).wrong_assays == {}


def test_a_source_can_be_closed_twice_and_leaves_no_thread(instrument: Instrument) -> None:
    before = threading.active_count()
    source = instrument.open(EndedVersions())
    source.next(0.2)
    source.close()
    source.close()
    assert threading.active_count() == before
