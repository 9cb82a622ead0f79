"""The well images that are analysed in worker threads, in order of their arrival."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, takewhile

import structlog

from acquisition.daemon_threads import DaemonThreads
from daemon.pipeline import Analysis
from daemon.processing_limit import ProcessingLimit
from daemon.source_thread import SourceThread
from schemas.errors import SourceGoneError, StoreError
from schemas.well_image import PendingImages, Rejected, SourceStatus, WellImage

log = structlog.get_logger()

IMAGES_PER_WORKER = 3
"""Number of images of any size in the queue for each worker: one is analysed, the others wait."""

GROUP_PER_WORKER = 5
"""Number of images for each worker that are returned together in a backlog."""

QUEUE_BYTES = 64 * 2**20
"""Largest size of the pixels in the queue while it has more than ``IMAGES_PER_WORKER``."""

GROUP_WAIT_S = 1.0
"""Longest wait of the oldest image for the analyses of the images that are returned with it."""

CLOSE_S = 30.0
"""Longest wait for the analyses that have started, when the service ends."""

BEING_PROCESSED = "being processed"


@dataclass(frozen=True, eq=False)
class Arrival:
    """A well image with its analysis, which a worker makes, or a refusal without an analysis."""

    item: WellImage | Rejected
    analysis: Future[Analysis]  # of a refusal: has ended with an exception
    since_s: float  # moment of the arrival, of time.perf_counter

    @property
    def plate(self) -> str:
        """The id of the plate; empty if the files name none."""
        return self.item.plate if isinstance(self.item, Rejected) else self.item.key.plate

    @property
    def size_bytes(self) -> int:
        """The size of the pixels in memory."""
        return self.item.planes.nbytes if isinstance(self.item, WellImage) else 0

    def can_follow(self, group: Sequence["Arrival"]) -> bool:
        """Return whether this is an image of another well of the plate and day of a group."""
        images = [self.item, *(each.item for each in group)]
        keys = [(each.key, each.day) for each in images if isinstance(each, WellImage)]
        return (
            len(keys) == len(images)
            and len({(key.plate, day) for key, day in keys}) == 1
            and len({key.well for key, _ in keys}) == len(keys)
        )


class ImageQueue:
    """Takes well images from the source, and returns them in order while workers analyse them.

    OpenCV, NumPy and onnxruntime release the lock of the interpreter, so threads use all cores. The
    memory of the queue is limited: beyond :data:`IMAGES_PER_WORKER` for each worker, images are
    added only while a group can grow and all pixels fit into :data:`QUEUE_BYTES`. If a worker
    hangs, the main loop waits for its image and sends no heartbeat.

    Parameters
    ----------
    source
        The source of the images.
    analyse
        Returns the Analysis of a well image; several threads call it. It gets the executor of
        these threads.
    workers
        Number of images that are analysed at the same time.
    limit
        Ends the process if the analysis of an image takes too long.
    """

    def __init__(
        self,
        source: SourceThread,
        analyse: Callable[[WellImage, Executor], Analysis],
        workers: int,
        limit: ProcessingLimit,
    ) -> None:
        self._source = source
        self._analyse = analyse
        self._limit = limit
        self._usual = IMAGES_PER_WORKER * workers
        self._group = GROUP_PER_WORKER * workers
        self._threads = DaemonThreads(workers, "analyse")
        self._arrivals: deque[Arrival] = deque()
        self._unfinished: set[Future[Analysis]] = set()

    def next(self, timeout_s: float) -> list[Arrival]:
        """Return the oldest image or refusal; empty if the queue is empty and the source has none.

        The analysed images of other wells of the same plate and day that follow it in the queue are
        returned with it. In a backlog, the oldest image waits until a group of them is analysed.

        First the queue is filled, until the images of the group are analysed. The errors of the
        source are those of :meth:`daemon.source_thread.SourceThread.next`, while the queue is
        empty.
        """
        while self._has_place:
            group = self._oldest_group()
            try:
                item = self._source.next(timeout_s, group[-1].analysis if group else None)
            except (SourceGoneError, StoreError):
                if not self._arrivals:
                    raise
                break  # the next call raises it again if it lasts
            if item is None:
                break
            self._arrivals.append(self.arrival_of(item))
        group = self._oldest_group()
        wait([each.analysis for each in group], timeout=GROUP_WAIT_S)
        analysed = [*takewhile(lambda each: each.analysis.done(), group)]
        return [self._arrivals.popleft() for _ in analysed or group[:1]]

    def arrival_of(self, item: WellImage | Rejected) -> Arrival:
        """Return the Arrival of an item; a worker starts to analyse a well image."""
        if isinstance(item, WellImage):
            analysis = self._threads.submit(self._analyse_within_limit, item)
            self._unfinished.add(analysis)
            analysis.add_done_callback(self._unfinished.discard)
        else:
            analysis = Future()
            analysis.set_exception(LookupError("a refusal has no analysis"))
        return Arrival(item, analysis, time.perf_counter())

    def status(self, now: datetime) -> SourceStatus:
        """Return the status of the source, with the images of the queue as pending images."""
        status = self._source.status(now)
        queued = Counter(arrival.plate for arrival in self._arrivals)
        waiting = (PendingImages(plate, BEING_PROCESSED, count) for plate, count in queued.items())
        return replace(
            status,
            pending=dict(Counter(status.pending) + queued),
            waiting=tuple(sorted((*status.waiting, *waiting))),
        )

    def close(self) -> None:
        """Drop the images of the queue, and wait a limited time for the analyses that run now."""
        started = [each for each in tuple(self._unfinished) if not each.cancel()]
        self._threads.shutdown(wait=False)
        self._arrivals.clear()
        if wait(started, timeout=CLOSE_S).not_done:
            log.warning("image.not_analysed", reason=f"its analysis takes more than {CLOSE_S:g} s")

    @property
    def _has_place(self) -> bool:
        """True if the memory of the queue allows one more image."""
        count = len(self._arrivals)
        size_bytes = sum(each.size_bytes for each in self._arrivals)
        return count < self._usual or (
            count < self._usual + self._group and size_bytes < QUEUE_BYTES
        )

    def _oldest_group(self) -> list[Arrival]:
        """Return the oldest arrival with those that follow it and can be committed with it."""
        group = [*islice(self._arrivals, 1)]
        for arrival in islice(self._arrivals, 1, self._group):
            if not arrival.can_follow(group):
                break
            group.append(arrival)
        return group

    def _analyse_within_limit(self, image: WellImage) -> Analysis:
        with self._limit.of(image.files):
            return self._analyse(image, self._threads)
