"""Call a source on a thread of its own, so that a share that hangs stops only its own images."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from acquisition.daemon_threads import DaemonThreads
from acquisition.ports import Source
from daemon.heartbeat import Heartbeat, LoopClock
from schemas.assay import Assay
from schemas.errors import SourceGoneError, StoreError
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage

log = structlog.get_logger()

CLOSE_S = 3.0
"""Longest wait for a source when the service ends."""

_BEAT_S = 0.5
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Knowledge:
    """The state of the source after one of its calls."""

    status: SourceStatus
    plate_maps: dict[str, PlateMap] = field(default_factory=dict)
    assays: dict[str, Assay] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    """The result of a call of ``next``, with the state of the source after it."""

    item: WellImage | Rejected | SourceGoneError | StoreError | None
    knowledge: _Knowledge


class SourceThread:
    """A :class:`acquisition.ports.Source` whose methods wait a limited time for another source.

    The thread makes one call at a time, in the order of the calls of the main loop. While a call
    has no answer, the main loop continues with the state after the last answer. Nothing is lost
    then: the answer is returned as soon as it arrives.

    Parameters
    ----------
    source
        The source; only the thread calls it.
    progress
        Is touched by the source whenever the file system has answered.
    heartbeat
        Shows that the main loop is alive while it waits.
    patience_s
        :class:`SourceGoneError` is raised after this time without progress of the source, and
        :meth:`next` returns None after this time with progress.
    once
        Whether :meth:`next` waits without a limit for a source that makes progress.
    now
        Returns the present time.
    close_s
        Longest wait of :meth:`close`.
    """

    def __init__(
        self,
        source: Source,
        progress: LoopClock,
        heartbeat: Heartbeat,
        *,
        patience_s: float,
        once: bool,
        now: Callable[[], datetime],
        close_s: float = CLOSE_S,
    ) -> None:
        self._source = source
        self._progress = progress
        self._heartbeat = heartbeat
        self._patience_s = patience_s
        self._once = once
        self._now = now
        self._close_s = close_s
        self._thread = DaemonThreads(1, "source")
        self._answer: Future[_Answer] | None = None  # of the call of next that is being made
        self._is_outdated = False  # another call was sent after this call of next
        self._known = _Knowledge(SourceStatus(is_listed=False))
        self._gone: SourceGoneError | None = None
        self._failure: BaseException | None = None  # of a call that has no result
        self._is_closed = False

    def next(
        self, timeout_s: float, until: Future[Any] | None = None
    ) -> WellImage | Rejected | None:
        """Return the next well image or refusal; None if there is none in time.

        Parameters
        ----------
        timeout_s
            Longest wait of the source for an image.
        until
            None is returned without waiting longer when this Future has a result.

        Raises
        ------
        SourceGoneError
            If the images cannot be read, or no file access has ended for ``patience_s``.
        StoreError
            If the outcomes of listed files cannot be read.
        """
        if self._failure is not None:
            raise self._failure
        if self._answer is None:
            self._progress.touch()
            self._answer = self._thread.submit(self._next, timeout_s)
            self._is_outdated = False
        if not self._has_ended(self._answer, until):
            return None
        answer, self._answer = self._answer.result(), None
        self._known = answer.knowledge
        if answer.item is None and self._is_outdated:  # an image may have been postponed since
            return self.next(timeout_s, until)
        if isinstance(answer.item, SourceGoneError | StoreError):
            raise answer.item
        return answer.item

    def done(self, item: WellImage | Rejected) -> None:
        """Record that the outcome of a well image or refusal is committed to the store."""
        self._send(lambda: self._source.done(item))

    def postpone(self, image: WellImage, problem: str) -> None:
        """Take back a well image that cannot be processed now."""
        self._send(lambda: self._source.postpone(image, problem))

    def read_again(self, files: Iterable[FileVersion]) -> None:
        """Forget the outcome of file versions, and wait until they are pending."""
        versions = tuple(files)
        request = self._thread.submit(self._read_again, versions)
        try:
            if self._has_ended(request):
                self._known = request.result()
        except SourceGoneError:
            return  # the thread makes the call when the share answers

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps that are known now, by plate id."""
        return dict(self._known.plate_maps)

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays that are known now, by plate id."""
        return dict(self._known.assays)

    def status(self, now: datetime) -> SourceStatus:  # noqa: ARG002 - part of the port; the status is that of the last answer
        """Return the status after the last answer, and whether the source answers now."""
        gone = str(self._gone) if self._gone else self._known.status.gone
        return replace(self._known.status, gone=gone)

    def close(self) -> None:
        """Close the source; a source that does not answer is left to the end of the process."""
        if self._is_closed:
            return
        self._is_closed = True
        closing = self._thread.submit(self._source.close)
        wait([closing], timeout=self._close_s)
        self._thread.shutdown(wait=closing.done())
        if not closing.done():
            log.warning("source.not_closed", reason="its file system does not answer")

    def _has_ended(self, call: Future[_Result], until: Future[Any] | None = None) -> bool:
        """Wait for a call while beating, and return whether it has ended.

        The wait also ends when ``until`` has a result. Raise SourceGoneError while the source makes
        no progress.
        """
        end_s = time.monotonic() + self._patience_s
        awaited: list[Future[Any]] = [call] if until is None else [call, until]
        while not (any(each.done() for each in awaited) or self._heartbeat.is_stopping):
            wait(awaited, timeout=_BEAT_S, return_when=FIRST_COMPLETED)
            self._heartbeat.beat()
            if not call.done() and self._progress.age_s() > self._patience_s:
                self._gone = SourceGoneError(
                    "source",
                    f"its file system has not answered for {self._patience_s:g} s; "
                    "expected an answer: does the file server run?",
                )
                raise self._gone
            if not self._once and time.monotonic() > end_s:
                break
        if call.done():
            self._gone = None
        return call.done()

    def _next(self, timeout_s: float) -> _Answer:
        self._progress.touch()
        item: WellImage | Rejected | SourceGoneError | StoreError | None
        try:
            item = self._source.next(timeout_s)
        except (SourceGoneError, StoreError) as error:
            item = error
        return _Answer(item, self._knowledge())

    def _read_again(self, files: tuple[FileVersion, ...]) -> _Knowledge:
        self._progress.touch()
        self._source.read_again(files)
        return self._knowledge()

    def _knowledge(self) -> _Knowledge:
        return _Knowledge(
            self._source.status(self._now()), self._source.plate_maps(), self._source.assays()
        )

    def _send(self, call: Callable[[], None]) -> None:
        """Let the thread make a call; its error is raised by the next call of :meth:`next`."""
        self._is_outdated = True
        self._thread.submit(call).add_done_callback(self._note_failure)

    def _note_failure(self, call: Future[None]) -> None:
        self._failure = self._failure or call.exception()
