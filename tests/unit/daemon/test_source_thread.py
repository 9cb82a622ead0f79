"""A source that does not answer: the main loop continues, and nothing is lost or returned twice."""

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest

from daemon.heartbeat import Heartbeat, LoopClock
from daemon.source_thread import SourceThread
from schemas.assay import Assay
from schemas.errors import SourceGoneError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage
from tests.samples import well_image

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


@pytest.fixture
def source() -> Iterator[HangingSource]:
    hanging = HangingSource([well_image(), well_image(well="B03")])
    yield hanging
    hanging.answers.set()


def test_no_image_is_known_to_be_absent_before_the_source_has_answered(
    source: HangingSource,
) -> None:
    loop = Loop(source)
    assert not loop.thread.status(datetime.now(UTC)).is_listed
    assert loop.thread.next(0.1) is not None
    status = loop.thread.status(datetime.now(UTC))
    assert (status.is_listed, status.pending) == (True, {"P1": 1})
    loop.thread.close()


def test_a_source_that_hangs_is_gone_while_the_loop_beats_and_then_returns_each_image_once(
    source: HangingSource,
) -> None:
    loop = Loop(source)
    first = loop.thread.next(0.1)
    assert first is not None
    source.answers.clear()
    loop.thread.done(first)
    for _ in range(2):
        before, started_s = loop.beats, time.monotonic()
        with pytest.raises(SourceGoneError, match=r"has not answered for 0\.3 s"):
            loop.thread.next(0.1)
        assert time.monotonic() - started_s < SOON_S / 2
        assert loop.beats > before
    assert "has not answered" in str(loop.thread.status(datetime.now(UTC)).gone)
    source.answers.set()
    second = loop.thread.next(0.1)
    assert isinstance(first, WellImage)
    assert isinstance(second, WellImage)
    assert (first.key.well, second.key.well) == ("B02", "B03")
    assert loop.thread.status(datetime.now(UTC)).gone is None
    assert loop.thread.next(0.1) is None
    assert source.calls == ["next", "done", "next", "next"]
    loop.thread.close()


def test_no_method_waits_for_a_source_that_hangs(source: HangingSource) -> None:
    loop = Loop(source)
    image = loop.thread.next(0.1)
    assert isinstance(image, WellImage)
    source.answers.clear()
    started_s = time.monotonic()
    loop.thread.done(image)
    loop.thread.postpone(image, "no memory")
    loop.thread.read_again(image.files)
    assert loop.thread.plate_maps() == loop.thread.assays() == {}
    assert time.monotonic() - started_s < SOON_S / 2
    source.answers.set()
    assert loop.thread.next(0.1) is not None
    assert source.calls == ["next", "done", "postpone", "read_again", "next"]
    loop.thread.close()


def test_a_slow_source_that_makes_progress_is_not_gone(source: HangingSource) -> None:
    loop = Loop(source)
    source.answers.clear()
    touching = threading.Event()

    def list_slowly() -> None:
        while not touching.wait(0.02):
            loop.progress.touch()

    lister = threading.Thread(target=list_slowly)
    lister.start()
    assert loop.thread.next(0.1) is None  # other work continues meanwhile
    assert loop.thread.status(datetime.now(UTC)).gone is None
    touching.set()
    lister.join()
    source.answers.set()
    assert loop.thread.next(0.1) is not None
    loop.thread.close()


def test_a_stop_signal_ends_the_wait_and_the_source_is_left_after_a_while(
    source: HangingSource,
) -> None:
    loop = Loop(source, patience_s=SOON_S)
    source.answers.clear()
    threading.Timer(0.2, loop.stop_signals.append, [15]).start()
    started_s = time.monotonic()
    assert loop.thread.next(0.1) is None
    loop.thread.close()
    loop.thread.close()
    assert time.monotonic() - started_s < SOON_S / 2


def test_the_error_of_a_call_without_a_result_is_raised_by_the_next_call(
    source: HangingSource,
) -> None:
    loop = Loop(source)
    image = loop.thread.next(0.1)
    assert image is not None
    source.error = KeyError("unexpected")
    loop.thread.done(image)
    with pytest.raises(KeyError, match="unexpected"):
        loop.thread.next(0.1)
    source.error = None
    loop.thread.close()
