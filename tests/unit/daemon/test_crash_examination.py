"""Images that were in flight at a crash are processed in real child processes."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.in_flight import InFlightJournal
from acquisition.drop_folder.source import DropFolderSettings
from daemon.crash_examination import CrashExamination
from daemon.heartbeat import Stopping
from daemon.tissue_analysis import TissueMethod
from inference.tissue.classical_segmenter import ClassicalSegmenter
from schemas.well_image import FileVersion, Rejected, WellImage
from tests.robot_folder import PATTERN, RobotFolder
from tests.stalling_folder import stalling_folder

LEAK, HANG, PAUSE = -1, -2, -3
LEAKED_BYTES = 900_000_000
HANG_S = 5.0


@dataclass(frozen=True)
class EndingEncoder:
    """An encoder that ends its process when it embeds certain wells, and logs every attempt."""

    log: Path
    ends: dict[str, int]  # by well: a signal to this process, 0 for an exit, or a name above
    encoder_id: str = "ending"
    dimension: int = 1

    def crop(self, image: WellImage) -> str | None:
        del image
        return None

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        with self.log.open("a") as log:
            log.write(f"{image.key.well}\n")
        if image.key.well == "B09":
            raise ZeroDivisionError
        number = self.ends.get(image.key.well)
        if number == LEAK:
            leaked = np.ones(LEAKED_BYTES, np.uint8)
            time.sleep(60 + leaked[0])
        if number == HANG:
            time.sleep(60)
        if number == PAUSE:
            time.sleep(1)
            number = None
        if number == 0:
            os._exit(3)
        if number is not None:
            os.kill(os.getpid(), number)
        return np.full(1, sharpest_plane, np.float32)


@dataclass(frozen=True)
class Laboratory:
    """A drop folder, a journal of images in flight, and the log of the child processes."""

    folder: Path
    robot: RobotFolder

    @property
    def journal(self) -> Path:
        return self.folder / "journal.json"

    def crash_while_reading(self, *wells: str) -> None:
        """Write the images of these wells and record that they were in flight."""
        journal = InFlightJournal(self.journal)
        for well in wells:
            journal.add("P1", well, self.robot.well(well))

    def examine(
        self,
        ends: dict[str, int],
        tick: Callable[[], None] = lambda: None,
        share: Path | None = None,
        hang_s: float = 100.0,
    ) -> list[Rejected]:
        encoder = EndingEncoder(self.folder / "attempts.log", ends)
        examination = CrashExamination(
            InFlightJournal(self.journal),
            DropFolderSettings(share or self.robot.root, PATTERN),
            partial(EndingEncoder, encoder.log, ends),
            partial(TissueMethod, ClassicalSegmenter()),
            plate_map=lambda plate: None,  # noqa: ARG005 - no plate has a map
            most_memory=LEAKED_BYTES,
            hang_s=hang_s,
            answer_s=1.0,
        )
        return list(examination.quarantined(tick))

    @property
    def attempts(self) -> list[str]:
        return (self.folder / "attempts.log").read_text().split()

    @property
    def suspects(self) -> list[str]:
        return [image.well for image in InFlightJournal(self.journal).suspects]


@pytest.fixture
def laboratory(tmp_path: Path, robot: RobotFolder) -> Laboratory:
    return Laboratory(tmp_path, robot)


@pytest.fixture
def robot(tmp_path: Path) -> RobotFolder:
    return RobotFolder(tmp_path / "drop")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (signal.SIGSEGV, "signal 11"),
        (signal.SIGKILL, "signal 9"),
        (0, "exit code 3"),
        (LEAK, "of memory; expected at most 900,000,000"),
        (HANG, "no result within 5 s"),
    ],
)
def test_only_the_image_that_ends_two_processes_is_quarantined(
    laboratory: Laboratory, end: int, reason: str
) -> None:
    laboratory.crash_while_reading("B02", "B03", "B04")
    limits = {"hang_s": HANG_S} if end == HANG else {}
    (refusal,) = laboratory.examine({"B03": end}, **limits)
    assert (refusal.plate, refusal.well, len(refusal.files)) == ("P1", "B03", 3)
    assert reason in refusal.reason
    assert laboratory.attempts == ["B02", "B03", "B03", "B04"]
    assert laboratory.suspects == ["B03"]  # until its refusal is committed


def test_images_that_end_no_process_are_cleared(laboratory: Laboratory) -> None:
    laboratory.crash_while_reading("B02", "B09", "B03")  # B09 raises an exception
    assert laboratory.examine({}) == []
    assert laboratory.attempts == ["B02", "B09", "B03"]
    assert laboratory.suspects == []


def test_without_suspects_no_process_is_started(laboratory: Laboratory) -> None:
    assert laboratory.examine({}) == []
    assert not (laboratory.folder / "attempts.log").exists()


def test_a_deleted_image_is_cleared(laboratory: Laboratory) -> None:
    InFlightJournal(laboratory.journal).add("P1", "B02", [FileVersion("P1/gone.tif", 1, 1)])
    assert laboratory.examine({}) == []
    assert laboratory.suspects == []


def test_a_stop_signal_ends_the_examination_and_keeps_the_suspects(laboratory: Laboratory) -> None:
    laboratory.crash_while_reading("B02", "B03")

    def stop() -> None:
        raise Stopping

    started_s = time.monotonic()
    with pytest.raises(Stopping):
        laboratory.examine({}, tick=stop)
    assert time.monotonic() - started_s < 20.0
    assert laboratory.suspects == ["B02", "B03"]


def test_no_image_is_blamed_while_the_share_hangs(laboratory: Laboratory) -> None:
    laboratory.crash_while_reading("B02", "B03", "B04")
    with stalling_folder(laboratory.robot.root, laboratory.folder / "share") as share:

        def stall_in_b03() -> None:
            log = laboratory.folder / "attempts.log"
            if log.exists() and laboratory.attempts[-1:] == ["B03"]:
                share.stall()

        # The child hangs in the file of B04, after it has logged B03.
        assert laboratory.examine({"B03": PAUSE}, stall_in_b03, share.path, HANG_S) == []
        assert laboratory.suspects == ["B04"]
        assert laboratory.examine({}, share=share.path) == []  # no child is started
        assert laboratory.attempts == ["B02", "B03"]
        share.answer()
        assert laboratory.examine({}, share=share.path) == []
    assert laboratory.attempts == ["B02", "B03", "B04"]
    assert laboratory.suspects == []
