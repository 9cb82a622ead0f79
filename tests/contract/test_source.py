"""What every source of well images does, by real time and real files."""

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
from schemas.errors import SourceGoneError
from schemas.well_image import FileVersion, Rejected, WellImage

SOON_S = 10.0  # far more than anything takes here


class World(Protocol):
    """The place a source takes its images from, as a test changes it."""

    def open(self, ledger: EndedFiles) -> Source: ...

    def image(self, well: str, seed: int) -> None:
        """Make one complete image of day 7 appear."""

    def damage(self, well: str) -> None:
        """Make an image appear that cannot be read."""

    def assay(self, viability_percent: dict[str, str]) -> None:
        """Make the assay of the plate appear, or another one in its place."""

    def vanish(self) -> None: ...

    def come_back(self) -> None: ...


class NothingEnded:
    def ended_files(self) -> tuple[FileVersion, ...]:
        return ()


class Ended:
    def __init__(self, files: tuple[FileVersion, ...]) -> None:
        self.files = files

    def ended_files(self) -> tuple[FileVersion, ...]:
        return self.files


class DropFolderWorld:
    """A folder that a robot writes into."""

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

    def open(self, ledger: EndedFiles) -> Source:
        settings = DropFolderSettings(
            self.root,
            "{plate}/day{day}/{well}_z{plane}.tif",
            settle_s=0.05,
            poll_s=0.1,
            plane_timeout_s=0.3,
        )
        return DropFolder(settings, ledger)

    def image(self, well: str, seed: int) -> None:
        day = self.plate / "day07"
        day.mkdir(exist_ok=True)
        for plane, pixels in enumerate(
            np.random.default_rng(seed).integers(0, 65536, (3, 64, 64)).astype(np.uint16), start=1
        ):
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, pixels, metadata=None)
            (day / f"{well}_z{plane}.tif").write_bytes(buffer.getvalue())

    def damage(self, well: str) -> None:
        (self.plate / "day07").mkdir(exist_ok=True)
        (self.plate / "day07" / f"{well}_z1.tif").write_text("no image")

    def assay(self, viability_percent: dict[str, str]) -> None:
        rows = "".join(f"{well},{percent}\n" for well, percent in viability_percent.items())
        (self.plate / "P1.assay.csv").write_text(f"well,viability_percent\n{rows}")

    def vanish(self) -> None:
        self.root.rename(self.root.with_name("away"))

    def come_back(self) -> None:
        self.root.with_name("away").rename(self.root)


@pytest.fixture(params=[DropFolderWorld], ids=["drop folder"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made: World = request.param(tmp_path / "source")
    return made


@pytest.fixture
def opened(world: World) -> Iterator[Callable[[EndedFiles], Source]]:
    sources: list[Source] = []

    def open_source(ledger: EndedFiles) -> Source:
        sources.append(world.open(ledger))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def wait_for(source: Source) -> WellImage | Rejected:
    item = source.next(SOON_S)
    assert item is not None, "nothing came"
    return item


def test_an_image_is_handed_out_with_its_identity_and_pixels(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(NothingEnded())
    world.image("B02", seed=1)
    image = wait_for(source)
    assert isinstance(image, WellImage)
    assert (image.key.plate, image.key.well, image.day, image.complete) == ("P1", "B02", 7, True)
    assert (image.planes.shape, image.planes.dtype) == ((3, 64, 64), np.uint16)
    assert image.files


def test_nothing_comes_within_the_timeout_when_there_is_nothing(
    opened: Callable[[EndedFiles], Source],
) -> None:
    started_s = time.monotonic()
    assert opened(NothingEnded()).next(0.3) is None
    assert 0.25 <= time.monotonic() - started_s < SOON_S


def test_each_image_is_handed_out_once_whether_done_or_not(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.image("B02", seed=1)
    world.image("B03", seed=2)
    source = opened(NothingEnded())
    first, second = wait_for(source), wait_for(source)
    source.done(first)
    assert isinstance(first, WellImage)
    assert isinstance(second, WellImage)
    assert {first.key.well, second.key.well} == {"B02", "B03"}
    assert source.next(0.5) is None


def test_what_was_handed_out_and_not_done_comes_again_when_opened_anew(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.image("B02", seed=1)
    first = wait_for(opened(NothingEnded()))
    again = wait_for(opened(NothingEnded()))
    assert isinstance(first, WellImage)
    assert isinstance(again, WellImage)
    assert (again.key, again.digest) == (first.key, first.digest)
    assert opened(Ended(first.files)).next(0.5) is None


def test_another_image_of_the_same_visit_is_handed_out_as_well(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.image("B02", seed=1)
    source = opened(NothingEnded())
    first = wait_for(source)
    source.done(first)
    world.image("B02", seed=2)
    second = wait_for(source)
    assert isinstance(first, WellImage)
    assert isinstance(second, WellImage)
    assert second.key == first.key
    assert second.digest != first.digest


def test_a_damaged_image_is_refused_with_its_reason_and_the_next_one_comes(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.damage("B02")
    world.image("B03", seed=3)
    source = opened(NothingEnded())
    items = [wait_for(source), wait_for(source)]
    (refused,) = [item for item in items if isinstance(item, Rejected)]
    assert (refused.plate, refused.well) == ("P1", "B02")
    assert refused.reason
    assert refused.files
    assert [item.key.well for item in items if isinstance(item, WellImage)] == ["B03"]


def test_a_source_that_is_gone_says_so_and_goes_on_when_it_is_back(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.image("B02", seed=1)
    source = opened(NothingEnded())
    source.done(wait_for(source))
    world.vanish()
    with pytest.raises(SourceGoneError):
        source.next(SOON_S)
    assert source.status(datetime.now(UTC)).gone
    assert list(source.plate_maps()) == ["P1"]
    world.come_back()
    world.image("B03", seed=2)
    back = wait_for(source)
    assert isinstance(back, WellImage)
    assert back.key.well == "B03"
    assert source.status(datetime.now(UTC)).gone is None


def test_plate_maps_and_what_waits_are_known_after_the_first_look(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(NothingEnded())
    assert source.next(0.5) is None
    assert list(source.plate_maps()) == ["P1"]
    world.image("B02", seed=1)
    wait_for(source)
    status = source.status(datetime.now(UTC))
    assert (status.pending, status.held, status.gone) == ({}, {}, None)


def test_an_assay_is_known_without_any_image_and_again_when_it_changes(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    source = opened(NothingEnded())
    assert source.next(0.5) is None
    assert source.assays() == {}
    for percent in (12.5, 15.0):
        world.assay({"B02": "100", "B03": str(percent)})
        assert source.next(0.5) is None
        assert source.assays()["P1"].viability_percent == {"B02": 100.0, "B03": percent}
    assert source.status(datetime.now(UTC)).wrong_assays == {}


def test_a_wrong_assay_is_named_and_holds_no_image_back(
    world: World, opened: Callable[[EndedFiles], Source]
) -> None:
    world.assay({"B02": "100", "B03": "-5"})
    world.image("B02", seed=1)
    source = opened(NothingEnded())
    source.done(wait_for(source))
    assert source.next(0.3) is None
    assert source.assays() == {}
    status = source.status(datetime.now(UTC))
    assert "line 3: viability_percent is -5; expected 0 to 200" in status.wrong_assays["P1"]
    assert (status.pending, status.held) == ({}, {})
    world.assay({"B02": "100", "B03": "5"})
    assert source.next(0.5) is None
    assert source.assays()["P1"].viability_percent["B03"] == 5.0
    assert source.status(datetime.now(UTC)).wrong_assays == {}


def test_closing_twice_is_safe_and_leaves_no_thread(world: World) -> None:
    before = threading.active_count()
    source = world.open(NothingEnded())
    source.next(0.2)
    source.close()
    source.close()
    assert threading.active_count() == before
