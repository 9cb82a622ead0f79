"""A source that does not answer, and the main loop's side of a source thread."""

import threading
from collections.abc import Iterable
from datetime import UTC, datetime

from daemon.heartbeat import Heartbeat, LoopClock
from daemon.source_thread import SourceThread
from schemas.assay import Assay
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage

SOON_S = 10.0


class HangingSource:
    """A source whose calls wait until the test lets its file system answer."""

    def __init__(self, images: Iterable[WellImage]) -> None:
        self.images = list(images)
        self.answers = threading.Event()
        self.answers.set()
        self.calls: list[str] = []
        self.error: Exception | None = None

    def _access(self, call: str) -> None:
        self.calls.append(call)
        assert self.answers.wait(SOON_S)
        if self.error is not None:
            raise self.error

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        del timeout_s
        self._access("next")
        return self.images.pop(0) if self.images else None

    def done(self, item: WellImage | Rejected) -> None:
        del item
        self._access("done")

    def postpone(self, image: WellImage, problem: str) -> None:
        del image, problem
        self._access("postpone")

    def read_again(self, files: Iterable[FileVersion]) -> None:
        del files
        self._access("read_again")

    def plate_maps(self) -> dict[str, PlateMap]:
        return {}

    def assays(self) -> dict[str, Assay]:
        return {}

    def status(self, now: datetime) -> SourceStatus:
        del now
        return SourceStatus(pending={"P1": len(self.images)})

    def close(self) -> None:
        self._access("close")


class Loop:
    """The main loop's side: a source thread, its heartbeats and a stop signal."""

    def __init__(self, source: HangingSource, *, patience_s: float = 0.3) -> None:
        self.beats = 0
        self.stop_signals: list[int] = []
        heartbeat = Heartbeat(LoopClock(), self.stop_signals, (self._beat,), lambda _state: None)
        self.progress = LoopClock()
        self.thread = SourceThread(
            source,
            self.progress,
            heartbeat,
            patience_s=patience_s,
            once=False,
            now=lambda: datetime.now(UTC),
            close_s=0.2,
        )

    def _beat(self) -> None:
        self.beats += 1
