"""Start of a worker process of ``multiprocessing``: logs, signals, memory, end with the service."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from daemon import logs
from daemon.stop_signals import STOP_SIGNALS


def prepare_child_process() -> None:
    """Log warnings only, ignore stop signals, and end this process when its parent ends.

    A worker process calls it once, first. The parent has logged what it opens, and it ends its
    workers itself: Ctrl-C in a terminal and systemd send their signals to every process.
    """
    logs.install(None, level=logging.WARNING)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Wait for the end of the parent process, also by SIGKILL, and end this process."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def limit_memory(data_bytes: int) -> None:
    """Limit the memory that this process allocates, and write no core dumps, which hold secrets.

    An allocation beyond the limit fails; in most libraries this ends the process. Systems without
    the module ``resource`` have no such limit.
    """
    with contextlib.suppress(ModuleNotFoundError):
        import resource  # noqa: PLC0415 - Windows does not have it

        for kind, amount in ((resource.RLIMIT_DATA, data_bytes), (resource.RLIMIT_CORE, 0)):
            _, hard = resource.getrlimit(kind)
            allowed = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
            resource.setrlimit(kind, (allowed, hard))
