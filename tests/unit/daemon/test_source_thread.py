"""A source that does not answer: the main loop continues, and nothing is lost or returned twice."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from schemas.errors import SourceGoneError
from schemas.well_image import WellImage
from tests.hanging_source import SOON_S, HangingSource, Loop
from tests.samples import well_image


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


def test_a_result_that_is_awaited_ends_the_wait_for_a_source_that_hangs(
    source: HangingSource,
) -> None:
    loop = Loop(source, patience_s=SOON_S)
    source.answers.clear()
    awaited: Future[None] = Future()
    threading.Timer(0.2, awaited.set_result, [None]).start()
    started_s = time.monotonic()
    assert loop.thread.next(0.1, awaited) is None
    assert time.monotonic() - started_s < SOON_S / 2
    source.answers.set()
    assert loop.thread.next(0.1) is not None  # the answer of the first call
    loop.thread.close()


def test_the_absence_of_images_is_asked_again_after_an_image_was_postponed(
    source: HangingSource,
) -> None:
    loop = Loop(source)
    images = [loop.thread.next(0.1), loop.thread.next(0.1)]
    assert isinstance(images[0], WellImage)
    source.answers.clear()
    awaited: Future[None] = Future()
    awaited.set_result(None)
    assert loop.thread.next(0.1, awaited) is None
    loop.thread.postpone(images[0], "no memory")
    source.answers.set()
    assert loop.thread.next(0.1) is None
    assert source.calls == ["next", "next", "next", "postpone", "next"]
    loop.thread.close()
