"""The process that owns the sockets: composition of its parts, started by MessageProcess."""

import socket
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from daemon import logs
from daemon.child_processes import limit_memory, prepare_child_process
from daemon.logs import DailyJsonLines
from daemon.messaging.key_files import KeyFolder
from daemon.messaging.message_loop import MessageLoop
from daemon.messaging.sockets import MessageSockets
from daemon.messaging.status_snapshot import StatusFeed
from schemas.errors import ConfigError, SpheroRankError
from schemas.exit_codes import exit_code_of
from schemas.frozen_model import FrozenModel
from store.sql_store import SqlStore

log = structlog.get_logger()

MAX_DATA_BYTES = 1024 * 1024 * 1024
"""Memory of the process; a client that causes more ends the process, which is started again."""


@dataclass(frozen=True)
class MessageSettings:
    """Settings of the process: addresses of the sockets and the store, and times."""

    events: str
    requests: str
    store_url: str
    service: str
    heartbeat_s: float
    stall_s: float
    must_ack: tuple[str, ...]
    keys: KeyFolder | None  # None: no encryption
    logs: Path | None
    log_days: int


class ProcessReport(FrozenModel):
    """The result of opening the sockets: their addresses, or the problem."""

    events: str = ""
    requests: str = ""
    where: str = ""
    """Key or address with the problem; empty if the sockets are open."""
    problem: str = ""
    is_configuration: bool = False
    """True if the configuration is the cause of the problem."""


def serve_messages(settings: MessageSettings, connection: Connection) -> None:
    """Open the sockets, report it, and serve them until a snapshot of the status says stop.

    It is the main function of a process.

    Parameters
    ----------
    connection
        Receives snapshots of the status, and takes one :class:`ProcessReport`.
    """
    prepare_child_process()
    daily = DailyJsonLines(settings.logs, settings.log_days) if settings.logs else None
    logs.install(daily)
    limit_memory(MAX_DATA_BYTES)
    try:
        _serve(settings, connection)
    except SpheroRankError as error:
        log.error("messages.ended", reason=str(error))
        with suppress(OSError):
            _report(
                connection,
                ProcessReport(
                    where=error.where,
                    problem=error.problem,
                    is_configuration=isinstance(error, ConfigError),
                ),
            )
        sys.exit(exit_code_of(error))


def _serve(settings: MessageSettings, connection: Connection) -> None:
    # Each snapshot ends the wait of the loop: the main process sends one after a commit.
    waking, woken = socket.socketpair()
    waking.setblocking(False)
    woken.setblocking(False)

    def wake() -> None:
        with suppress(BlockingIOError):  # full: it is woken already
            waking.send(b"\0")

    feed = StatusFeed(connection, time.monotonic, wake)
    with (
        waking,
        woken,
        MessageSockets(
            settings.events, settings.requests, keys=settings.keys, wake=woken
        ) as sockets,
        closing(SqlStore(settings.store_url, service=settings.service)) as store,
    ):
        report = ProcessReport(events=sockets.events_url, requests=sockets.requests_url)
        _report(connection, report)
        MessageLoop(
            store,
            sockets,
            feed,
            clock=time.monotonic,
            now=lambda: datetime.now(UTC),
            heartbeat_s=settings.heartbeat_s,
            stall_s=settings.stall_s,
            must_ack=settings.must_ack,
        ).run()


def _report(connection: Connection, report: ProcessReport) -> None:
    connection.send_bytes(report.model_dump_json().encode())
