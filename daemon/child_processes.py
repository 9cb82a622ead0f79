"""Start of a worker process of ``multiprocessing``: logs, signals, and its end with the service."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

import structlog


def prepare_child_process() -> None:
    """Log warnings only, ignore stop signals, and end this process when its parent ends.

    A worker process calls it once, first. The parent has logged what it opens, and it ends its
    workers itself: Ctrl-C in a terminal and systemd send their signals to every process.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Wait for the end of the parent process, also by SIGKILL, and end this process."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)
