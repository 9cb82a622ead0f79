"""Health of the service: systemd notifications and an HTTP page for monitoring."""

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from schemas.errors import ConfigError
from schemas.messages import StatusData

MIGRATION_EXTENDS_START = "EXTEND_TIMEOUT_USEC=3600000000"
"""Asks systemd for one hour in which the service may migrate the store before it is ready."""


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


class Metrics:
    """The Prometheus metrics of the service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.images = Counter(
            "spherorank_images_total", "Well images by outcome", ["outcome"], registry=self.registry
        )
        self.rankings = Counter(
            "spherorank_rankings_total", "Rankings published", ["final"], registry=self.registry
        )
        self.standing_alerts = Gauge(
            "spherorank_standing_alerts",
            "Active alerts",
            registry=self.registry,
        )
        self.backlog = Gauge(
            "spherorank_backlog_images",
            "Well images seen and not yet ingested",
            registry=self.registry,
        )
        self.last_image = Gauge(
            "spherorank_last_image_timestamp_seconds",
            "When the last well image was stored",
            registry=self.registry,
        )
        self.tick_age = Gauge(
            "spherorank_loop_tick_age_seconds",
            "Seconds since the main loop last made progress",
            registry=self.registry,
        )


class HealthPage:
    """An HTTP server on its own thread for ``/healthz`` and ``/metrics``.

    ``/healthz`` returns the status as JSON, with the list ``problems``. The code is 503 if there is
    a problem: the main loop makes no progress, or a standing alert blocks the service. Otherwise
    the code is 200.
    """

    def __init__(
        self,
        address: str,
        metrics: Metrics,
        *,
        status: Callable[[], StatusData],
        tick_age_s: Callable[[], float],
        stall_s: float,
    ) -> None:
        host, _, port = address.rpartition(":")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    metrics.tick_age.set(tick_age_s())
                    self._answer(
                        HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
                    )
                elif self.path == "/healthz":
                    found = status()
                    problems = _problems(found, tick_age_s(), stall_s)
                    body = {"problems": problems, **found.model_dump(mode="json")}
                    self._answer(
                        HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
                        "application/json",
                        json.dumps(body).encode(),
                    )
                else:
                    self._answer(
                        HTTPStatus.NOT_FOUND, "text/plain", b"expected /healthz or /metrics\n"
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


def _problems(status: StatusData, tick_age_s: float, stall_s: float) -> list[str]:
    """Return each reason why the service cannot do its work now."""
    problems = [alert.message for alert in status.alerts if alert.blocks]
    if tick_age_s >= stall_s:
        problems.append(f"the main loop has made no progress for {tick_age_s:.0f} s")
    return problems
