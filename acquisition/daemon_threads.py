"""An executor whose threads never delay the end of the process."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaemonThreads(Executor):
    """Runs calls on a number of daemon threads, which start with the first call.

    Python waits for the threads of a ``ThreadPoolExecutor`` when the process ends. A thread that
    waits for a file server which does not answer would keep such a process for ever.

    Parameters
    ----------
    number
        Number of threads.
    name
        Beginning of the names of the threads.
    """

    def __init__(self, number: int, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._futures: set[Future[Any]] = set()  # that have not started or have not ended
        self._is_shut_down = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}_{index}", daemon=True)
            for index in range(number)
        ]

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Return the Future of a call that one of the threads makes.

        Raises
        ------
        RuntimeError
            After :meth:`shutdown`.
        """
        if self._is_shut_down:
            raise RuntimeError("the threads are shut down")
        future: Future[_T] = Future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        self._jobs.put(partial(_run, future, partial(fn, *args, **kwargs)))
        for thread in self._threads:
            if thread.ident is None:
                thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End each thread after its call; with ``wait``, return when all have ended."""
        self._is_shut_down = True
        if cancel_futures:
            for future in tuple(self._futures):
                future.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if wait and thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _run(future: Future[_T], call: Callable[[], _T]) -> None:
    """Set the result of a Future to that of a call, unless the Future is cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the Future raises it in the thread that waits
        future.set_exception(error)
    else:
        future.set_result(result)
