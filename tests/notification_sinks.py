"""Servers on this machine that receive notifications: a web server and a mail server."""

import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TypeVar


class HttpSink:
    """A web server that collects posted texts; it answers with ``code``."""

    def __init__(self, port: int = 0, code: int = 200) -> None:
        self.code = code
        self.posts: list[tuple[str, str]] = []  # headers and content

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805 - self is the sink
                content = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
                if self.code == 200:
                    self.posts.append((str(handler.headers), content))
                handler.send_response(self.code)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *_args: object) -> None:  # noqa: N805 - self is the sink
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", port), Handler)
        self.port: int = self.server.server_address[1]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON objects that were posted."""
        return [json.loads(content) for _, content in self.posts]

    @property
    def text(self) -> str:
        """Everything that was posted, with the headers."""
        return "\n".join(headers + content for headers, content in self.posts)


class MailSink:
    """A mail server that collects mails; it speaks the smallest SMTP, without encryption."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(handler) -> None:  # noqa: N805 - self is the sink
                self._converse(handler)

        self.server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]

    def _converse(self, connection: socketserver.StreamRequestHandler) -> None:
        connection.wfile.write(b"220 sink\r\n")
        for line in connection.rfile:
            verb = line.split()[0].upper()
            if verb == b"DATA":
                connection.wfile.write(b"354 end with a dot\r\n")
                content = b"".join(iter(connection.rfile.readline, b".\r\n"))
                policy = email.policy.default
                self.mails.append(email.message_from_bytes(content, policy=policy))
                connection.wfile.write(b"250 stored\r\n")
            elif verb == b"QUIT":
                connection.wfile.write(b"221 bye\r\n")
                return
            else:
                connection.wfile.write(b"250 sink\r\n")


SinkT = TypeVar("SinkT", HttpSink, MailSink)


@contextmanager
def serving(sink: SinkT) -> Iterator[SinkT]:
    """Serve a sink on a thread."""
    thread = threading.Thread(target=sink.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.server.shutdown()
        sink.server.server_close()
        thread.join()
