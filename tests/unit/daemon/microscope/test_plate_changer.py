from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon.microscope.plate_changer import PlateChanger
from schemas.errors import MicroscopeError


@dataclass
class RecordingLoader:
    """A plate loader that records its calls and cannot load the plate ``stuck``."""

    calls: list[str] = field(default_factory=list)

    def load(self, plate: str) -> None:
        self.calls.append(f"load {plate}")
        if plate == "stuck":
            raise MicroscopeError("plate stuck", "does not come")

    def unload(self, plate: str) -> None:
        self.calls.append(f"unload {plate}")


@pytest.fixture
def loader() -> RecordingLoader:
    return RecordingLoader()


def changer_in(folder: Path, loader: RecordingLoader) -> PlateChanger:
    """Return a plate changer with its record in a folder, as a new process makes it."""
    return PlateChanger(loader, folder / "on_stage", lambda _activity: None)


def test_a_loaded_plate_is_unloaded_before_the_next_is_loaded(
    tmp_path: Path, loader: RecordingLoader
) -> None:
    changer = changer_in(tmp_path, loader)
    changer.load("P1")
    changer.load("P1")
    changer.load("P2")
    changer.unload()
    changer.unload()
    assert loader.calls == ["load P1", "unload P1", "load P2", "unload P2"]
    assert changer.loaded is None


def test_the_loaded_plate_is_known_to_the_next_process(
    tmp_path: Path, loader: RecordingLoader
) -> None:
    changer_in(tmp_path, loader).load("P1")
    assert changer_in(tmp_path, loader).loaded == "P1"


def test_a_plate_loaded_by_an_earlier_process_is_loaded_again(
    tmp_path: Path, loader: RecordingLoader
) -> None:
    changer_in(tmp_path, loader).load("P1")
    changer_in(tmp_path, loader).load("P1")
    assert loader.calls == ["load P1", "unload P1", "load P1"]


def test_a_plate_that_does_not_come_is_not_recorded_as_loaded(
    tmp_path: Path, loader: RecordingLoader
) -> None:
    changer = changer_in(tmp_path, loader)
    with pytest.raises(MicroscopeError, match="does not come"):
        changer.load("stuck")
    assert changer.loaded is None
    assert changer_in(tmp_path, loader).loaded is None
