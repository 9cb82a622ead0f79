"""Health of the service: systemd notifications and an HTTP page for monitoring."""

import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from schemas.errors import ConfigError, StoreError
from schemas.messages import StatusData

MIGRATION_EXTENDS_START = "EXTEND_TIMEOUT_USEC=3600000000"
"""Asks systemd for one hour in which the service may migrate the store before it is ready."""

STORE_CHECK_S = 5.0
"""Smallest interval of the changes that test whether the store can be written."""


def sd_notify(state: str, address: str | None) -> None:
    """Send a state such as ``READY=1`` to systemd's socket at an address, if there is one.

    Without an ``address`` nothing is sent.
    """
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        try:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.sendall(state.encode())
        except OSError:
            return  # a service manager that went away is no reason to stop ranking


class HealthPage:
    """An HTTP server on its own thread for ``/healthz``, ``/readyz`` and ``/metrics``.

    ``/healthz`` returns the status as JSON, with the list ``problems``. The code is 503 if there is
    a problem: the main loop makes no progress, or a standing alert blocks the service. Otherwise
    the code is 200. ``/readyz`` returns the list ``problems`` of :class:`Readiness` alone.
    """

    def __init__(
        self,
        address: str,
        metrics: CollectorRegistry,
        *,
        status: Callable[[], StatusData],
        readiness: "Readiness",
    ) -> None:
        host, _, port = address.rpartition(":")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(metrics))
                elif self.path == "/healthz":
                    found = status().model_dump(mode="json")
                    self._answer_problems(readiness.blocking_problems(), found)
                elif self.path == "/readyz":
                    self._answer_problems(readiness.problems(), {})
                else:
                    expected = b"expected /healthz, /readyz or /metrics\n"
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", expected)

            def _answer_problems(self, problems: list[str], more: dict[str, object]) -> None:
                self._answer(
                    HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
                    "application/json",
                    json.dumps({"problems": problems, **more}).encode(),
                )

            def _answer(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Log nothing, because each scrape would be an event."""

        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        except OSError as error:
            raise ConfigError(
                "health.http",
                f"cannot listen on {address}: {error}; expected a free address, or an empty "
                f"text to switch it off",
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop the HTTP server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class Readiness:
    """Tells whether the service can do its work, and whether it can ingest an image now.

    The encoder is loaded before the page is served.

    Parameters
    ----------
    status
        Returns the present status.
    is_listed
        Returns whether the drop folder was listed since the start.
    check_writable
        Raises StoreError unless a change can be committed to the store now.
    tick_age_s
        Returns the seconds since the main loop last made progress.
    stall_s
        Time without progress that is a problem.
    clock
        A monotonic clock in seconds.
    """

    def __init__(
        self,
        status: Callable[[], StatusData],
        is_listed: Callable[[], bool],
        check_writable: Callable[[], None],
        tick_age_s: Callable[[], float],
        stall_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._is_listed = is_listed
        self._check_writable = check_writable
        self._tick_age_s = tick_age_s
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()  # one check of the store at a time
        self._store_problem: str | None = None
        self._check_again_s = float("-inf")

    def blocking_problems(self) -> list[str]:
        """Return each reason why the service cannot do its work now."""
        problems = [alert.message for alert in self._status().alerts if alert.blocks]
        if (age_s := self._tick_age_s()) >= self._stall_s:
            problems.append(f"the main loop has made no progress for {age_s:.0f} s")
        return problems

    def problems(self) -> list[str]:
        """Return each reason why the service cannot ingest an image now."""
        problems = self.blocking_problems()
        if not self._is_listed():
            problems.append("the drop folder has not been listed since the start")
        if gone := self._status().source_gone:
            problems.append(gone)
        if store_problem := self._problem_of_store():
            problems.append(store_problem)
        return problems

    def _problem_of_store(self) -> str | None:
        """Return why the store cannot be written; a result is valid for some seconds."""
        with self._lock:
            if self._clock() >= self._check_again_s:
                try:
                    self._check_writable()
                except StoreError as error:
                    self._store_problem = f"the store cannot be written: {error}"
                else:
                    self._store_problem = None
                self._check_again_s = self._clock() + STORE_CHECK_S
            return self._store_problem
