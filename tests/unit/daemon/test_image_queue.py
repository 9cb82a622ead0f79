"""Images are analysed at the same time, and returned in order of their arrival."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from daemon.image_queue import GROUP_PER_WORKER, GROUP_WAIT_S, ImageQueue
from daemon.pipeline import Analysis
from daemon.processing_limit import ProcessingLimit
from schemas.errors import ImageError, SourceGoneError
from schemas.quality import Quality
from schemas.well_image import Rejected, WellImage
from tests.hanging_source import SOON_S, HangingSource, Loop
from tests.samples import well_image

WELLS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09")
WORKERS = 2
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def image_of(well: str) -> WellImage:
    return well_image(well=well)


def analysis() -> Analysis:
    quality = Quality(
        focus=(1.0,),
        sharpest_plane=0,
        saturated_fraction=0.0,
        tissue_fraction=0.1,
        border_fraction=0.0,
    )
    return Analysis(quality, np.zeros(1, np.float32), {}, "drawn-1", (), b"")


@contextmanager
def queue_of(
    analyse: Callable[[WellImage], Analysis],
    source: HangingSource | None = None,
    *,
    patience_s: float = SOON_S,
) -> Iterator[ImageQueue]:
    source = source or HangingSource([well_image(well=well) for well in WELLS])
    loop = Loop(source, patience_s=patience_s)
    with (
        closing(loop.thread),
        closing(
            ImageQueue(
                loop.thread, lambda image, _: analyse(image), WORKERS, ProcessingLimit(100.0)
            )
        ) as queue,
    ):
        yield queue
        source.answers.set()


def test_a_later_image_waits_for_an_earlier_one_that_is_analysed_more_slowly() -> None:
    finished = []
    second_is_done = threading.Event()

    def analyse(image: WellImage) -> Analysis:
        if image.key.well == "B02":
            assert second_is_done.wait(SOON_S)
        finished.append(image.key.well)
        second_is_done.set()
        return analysis()

    returned = []
    with queue_of(analyse) as queue:
        while arrivals := queue.next(1.0):
            for arrival in arrivals:
                arrival.analysis.result(SOON_S)
                returned.append(arrival.item.files[0].path)
    assert returned == [image.files[0].path for image in map(image_of, WELLS)]
    assert finished[0] == "B03"


def test_ready_images_of_one_plate_and_day_are_returned_together() -> None:
    images = [image_of(well) for well in WELLS[:3]]
    images += [well_image("B02"), well_image("B03"), well_image("B04", 8), well_image("B05", 8)]
    images += [well_image("B05", 8, seed=1)]
    may_end = threading.Event()

    def analyse(image: WellImage) -> Analysis:
        if image.key == images[0].key:
            assert may_end.wait(SOON_S)
        return analysis()

    with queue_of(analyse, HangingSource(images)) as queue:
        first = queue.next(SOON_S)
        may_end.set()
        for arrival in first:
            arrival.analysis.result(SOON_S)
        rest = []
        while arrivals := queue.next(1.0):
            rest.append([(each.plate, each.item.files[0].path) for each in arrivals])
    days = [{path.split("/")[1] for _, path in group} for group in rest]
    assert len(first) == 1
    assert sum(map(len, rest)) == len(images) - 1
    assert all(len(day) == 1 for day in days)
    assert max(map(len, rest)) > 1
    assert len(rest[-1]) == 1  # the same well again


def large(image: WellImage) -> WellImage:
    planes = np.zeros((1, 4096, 4096), np.uint16)  # memory that is never written costs nothing
    return replace(image, planes=planes)


@pytest.mark.parametrize(
    ("images", "most"),
    [
        ([large(well_image(well=f"B{n:02d}")) for n in range(1, 13)], 3 * WORKERS),
        ([well_image(well=f"{row}{n:02d}") for row in "BC" for n in range(1, 13)], 8 * WORKERS),
    ],
    ids=["large images", "small images"],
)
def test_the_number_of_images_in_memory_is_limited_and_they_count_as_pending(
    images: list[WellImage], most: int
) -> None:
    may_end = threading.Event()
    source = HangingSource(images)

    def analyse(image: WellImage) -> Analysis:
        del image
        assert may_end.wait(SOON_S)
        return analysis()

    with queue_of(analyse, source) as queue:
        assert queue.next(SOON_S)
        asked = source.calls.count("next")
        status = queue.status(NOW)
        may_end.set()
    queued = most - 1
    assert asked == most
    assert status.pending == {"P1": len(images) - most, "PDAC-0042": queued}
    assert [(each.reason, each.images) for each in status.waiting] == [("being processed", queued)]


def test_images_of_a_backlog_wait_until_a_group_of_them_is_analysed() -> None:
    images = [well_image(well=f"{row}{n:02d}") for row in "BCD" for n in range(1, 11)]

    def analyse(image: WellImage) -> Analysis:
        del image
        time.sleep(0.01)
        return analysis()

    groups = []
    with queue_of(analyse, HangingSource(images)) as queue:
        while arrivals := queue.next(1.0):
            groups.append(len(arrivals))
    assert sum(groups) == len(images)
    assert len(groups) < len(images) / 2
    assert max(groups) <= GROUP_PER_WORKER * WORKERS


def test_an_image_that_arrives_alone_waits_for_no_other_image() -> None:
    source = HangingSource([well_image()])
    with queue_of(lambda _: analysis(), source) as queue:
        begun_s = time.monotonic()
        [arrival] = queue.next(SOON_S)
        took_s = time.monotonic() - begun_s
    assert arrival.item.files == well_image().files
    assert took_s < SOON_S / 2


def test_an_image_waits_only_a_limited_time_for_a_slow_one_of_its_group() -> None:
    may_end = threading.Event()

    def analyse(image: WellImage) -> Analysis:
        assert image.key.well == "B02" or may_end.wait(SOON_S)
        return analysis()

    with queue_of(analyse, HangingSource([image_of(well) for well in WELLS])) as queue:
        returned = [each.item.files for each in queue.next(GROUP_WAIT_S)]
        may_end.set()
    assert returned == [image_of("B02").files]


def test_a_refusal_keeps_its_place_and_an_error_is_that_of_its_image() -> None:
    refusal = Rejected(well_image(well="B03").files, "damaged", "P1", "B03")
    source = HangingSource([well_image(), refusal, well_image(well="B04")])

    def analyse(image: WellImage) -> Analysis:
        if image.key.well == "B02":
            raise ImageError("B02", "too small")
        return analysis()

    with queue_of(analyse, source) as queue:
        [first], [second], [third] = (queue.next(SOON_S) for _ in range(3))
        assert isinstance(first.analysis.exception(SOON_S), ImageError)
        assert second.item is refusal
        assert third.analysis.result(SOON_S).measured_by == "drawn-1"
        assert queue.next(0.1) == []


def test_images_are_returned_while_the_share_hangs_and_only_then_the_source_is_gone() -> None:
    source = HangingSource([well_image()])
    with queue_of(lambda _: analysis(), source, patience_s=0.3) as queue:
        assert queue.next(SOON_S)
        source.images.append(well_image(well="B03"))
        while not (arrived := queue.next(SOON_S)):  # a call may have ended before the new image
            pass
        source.answers.clear()
        assert len(arrived) == 1
        with pytest.raises(SourceGoneError):
            queue.next(0.1)


def test_closing_waits_for_the_analysis_that_runs_and_drops_the_others() -> None:
    begun, ended = [], []
    images = [well_image(well=f"{row}{n:02d}") for row in "BC" for n in range(1, 13)]

    def analyse(image: WellImage) -> Analysis:
        begun.append(image.key.well)
        time.sleep(0.2)
        ended.append(image.key.well)
        return analysis()

    with queue_of(analyse, HangingSource(images)) as queue:
        assert queue.next(SOON_S)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < len(images)
