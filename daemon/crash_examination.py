"""After a crash, find the images that end a process, by processing each one in a child process.

The images that were in flight when the last process ended are suspects. A child process processes
them one at a time. An image that ends two child processes is quarantined. A suspect whose child is
ended together with the service, for example by a power cut, stays a suspect for the next start, so
that no other image is quarantined. No image is blamed while its files cannot be read.
"""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

import psutil
import structlog

from acquisition.drop_folder.image_decoding import RawImage
from acquisition.drop_folder.image_reading import read_versions, stretch
from acquisition.drop_folder.in_flight import InFlightImage, InFlightJournal
from acquisition.drop_folder.source import DropFolderSettings
from daemon.child_processes import prepare_child_process
from daemon.pipeline import analyse
from daemon.tissue_analysis import TissueMethod
from inference.ports import Encoder
from schemas.plate_map import PlateMap
from schemas.well_image import Rejected, VisitKey, WellImage

log = structlog.get_logger()

CHILDREN_TO_END = 2
"""Child processes that an image has to end before it is quarantined."""

HANG_S = 120.0
"""Longest processing of one image; a child that takes longer is ended, and counts as ended by it.

A usual well image takes a tenth of a second.
"""

START_S = 300.0
"""Longest start of a child process, with the opening of the encoder."""

MOST_MEMORY = 8_000_000_000
"""Largest memory of a child process in bytes, at most half of that of this computer."""

ANSWER_S = 30.0
"""Longest opening of the files of one image; the share hangs if it takes longer."""

_OPEN_FILES = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.read(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), 1)
    except OSError:
        pass
"""
"""Program that reads the first byte of files, for which the file server has to answer."""

_POLL_S = 0.5
_END_S = 3.0  # longest wait for a killed child, which a hanging file server may keep
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class CrashExamination:
    """Examines the images that were in flight when the last process ended.

    Parameters
    ----------
    journal
        Names the suspects; each one is removed when it has been examined.
    settings
        The drop folder of the suspects.
    open_encoder, open_tissue
        Open the parts that process an image, in each child process.
    plate_map
        Returns the stored plate map of a plate, for its scale, or None.
    most_memory
        Memory in bytes beyond which a child process is ended.
    hang_s
        Longest processing of one image.
    answer_s
        Longest opening of the files of one image.
    """

    journal: InFlightJournal
    settings: DropFolderSettings
    open_encoder: Callable[[], Encoder]
    open_tissue: Callable[[], TissueMethod]
    plate_map: Callable[[str], PlateMap | None]
    most_memory: int = MOST_MEMORY
    hang_s: float = HANG_S
    answer_s: float = ANSWER_S

    def quarantined(self, tick: Callable[[], None]) -> Iterator[Rejected]:
        """Yield a refusal for each suspect that ended its child processes.

        The suspects stay in the journal if their files cannot be read now.

        Parameters
        ----------
        tick
            Called at least every half second; it may raise an exception to end the examination.
        """
        suspects = list(self.journal.suspects)
        ended: dict[InFlightImage, int] = {}  # number of child processes that an image ended
        while suspects and self._can_be_read(suspects[0], tick):
            log.info("crash.examining", images=len(suspects))
            with _Child(self._work(suspects), self.most_memory, self.hang_s) as child:
                current = child.run(self.journal, tick)
                problem = child.problem
            if current is None:  # the child processed everything
                return
            suspects = suspects[current:]
            image = suspects[0]
            if not self._can_be_read(image, tick):
                return
            ended[image] = ended.get(image, 0) + 1
            log.warning(
                "crash.child_ended",
                files=[file.path for file in image.files],
                child=ended[image],
                reason=problem,
            )
            if ended[image] == CHILDREN_TO_END:
                suspects = suspects[1:]
                yield Rejected(
                    image.files,
                    f"quarantined: ends the process that reads it ({problem}), "
                    f"in {CHILDREN_TO_END} of {CHILDREN_TO_END} attempts; "
                    "expected an image that can be processed",
                    image.plate,
                    image.well,
                )

    def _can_be_read(self, image: InFlightImage, tick: Callable[[], None]) -> bool:
        """Return whether the file system answers while the files of an image are opened."""
        paths = [self.settings.path / file.path for file in image.files]
        # A process of its own opens the files, because they are suspected to end a process.
        opening = subprocess.Popen([sys.executable, "-I", "-c", _OPEN_FILES, *paths])  # noqa: S603 - our own program
        end_s = time.monotonic() + self.answer_s
        try:
            while opening.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    opening.wait(_POLL_S)
                tick()
                if opening.returncode is None and time.monotonic() > end_s:
                    reason = "the folder of the images does not answer"
                    log.error("crash.not_examined", reason=reason)
                    return False
        finally:
            opening.kill()
            with suppress(subprocess.TimeoutExpired):
                opening.wait(_END_S)
        return True

    def _work(self, suspects: Sequence[InFlightImage]) -> "_Work":
        maps = [self.plate_map(image.plate) for image in suspects]
        scales = tuple(plate_map.um_per_px if plate_map else None for plate_map in maps)
        return _Work(tuple(suspects), scales, self.settings, self.open_encoder, self.open_tissue)


class _Child:
    """A child process that processes suspects in order and reports the one that it works on."""

    def __init__(self, work: "_Work", most_memory: int, hang_s: float) -> None:
        self._suspects = work.images
        self._most_memory = min(most_memory, psutil.virtual_memory().total // 2)
        self._hang_s = hang_s
        self._reports, sender = _CONTEXT.Pipe(duplex=False)
        self._process: BaseProcess = _CONTEXT.Process(
            target=_process_in_child, args=(work, sender), daemon=True
        )
        self._process.start()
        sender.close()
        self.problem = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join(_END_S)
        self._reports.close()

    def run(self, journal: InFlightJournal, tick: Callable[[], None]) -> int | None:
        """Return the position of the suspect that ended the child; None if none did.

        Each suspect that the child has processed is removed from the journal.
        """
        current, waited_s = None, 0.0
        while True:
            tick()
            if not self._reports.poll(_POLL_S):
                waited_s += _POLL_S
                self.problem = self._problem_after(waited_s, is_started=current is not None)
                if not self.problem:
                    continue
                self._process.kill()
                return self._blamed(current)
            try:
                started: int = self._reports.recv()
            except EOFError:
                self._process.join()
                self.problem = self.problem or _end_of(self._process.exitcode)
                return self._blamed(current)
            if current is not None:
                journal.remove(self._suspects[current].files)
            if started == len(self._suspects):
                return None
            current, waited_s = started, 0.0

    def _problem_after(self, waited_s: float, *, is_started: bool) -> str:
        """Return why a child that has not reported for a time has to be ended, or an empty text."""
        memory = _resident_bytes(self._process.pid)
        if memory > self._most_memory:
            return f"{memory:,} bytes of memory; expected at most {self._most_memory:,}"
        if waited_s >= (self._hang_s if is_started else START_S):
            return f"no result within {waited_s:.0f} s"
        return ""

    def _blamed(self, current: int | None) -> int | None:
        """Return the suspect that the child worked on; none if the child did not even start."""
        if current is None:
            log.error("crash.not_examined", reason=self.problem)
        return current


def _end_of(exit_code: int | None) -> str:
    """Return the way in which a process ended, as text."""
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"


def _resident_bytes(pid: int | None) -> int:
    """Return the memory of a process in bytes; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@dataclass(frozen=True)
class _Work:
    """The images that a child process examines, with their scales and the parts to open."""

    images: tuple[InFlightImage, ...]
    scales: tuple[float | None, ...]  # µm per pixel of each image in its plate map
    settings: DropFolderSettings
    open_encoder: Callable[[], Encoder]
    open_tissue: Callable[[], TissueMethod]


def _process_in_child(work: _Work, reports: Connection) -> None:
    """Process each image as the service does, without storing anything."""
    prepare_child_process()
    with suppress(OSError):  # without enough memory Linux ends this process, not the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    encoder, tissue = work.open_encoder(), work.open_tissue()
    for number, (image, scale) in enumerate(zip(work.images, work.scales, strict=True)):
        reports.send(number)
        try:
            _process(image, scale, work.settings, encoder, tissue)
        except Exception as error:  # noqa: BLE001 - the service refuses or repeats such an image
            log.info("crash.not_processed", reason=str(error))
    reports.send(len(work.images))


def _process(
    image: InFlightImage,
    um_per_px: float | None,
    settings: DropFolderSettings,
    encoder: Encoder,
    tissue: TissueMethod,
) -> None:
    results = read_versions(settings.path, image.files, settings.image_limits, one_plane=False)
    read = tuple(result for result in results if isinstance(result, RawImage))
    if read:
        planes = stretch(read, image.well, bits=settings.bits)
        scale = um_per_px or read[0].metadata.um_per_px
        key = VisitKey(image.plate, image.well, "")
        analyse(WellImage(key, 1, None, image.files, planes, scale, complete=True), encoder, tissue)
