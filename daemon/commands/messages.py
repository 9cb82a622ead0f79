"""Command that subscribes to the service: ``listen``."""

from pathlib import Path
from typing import Annotated

import typer


def listen(
    connect: Annotated[
        list[str] | None,
        typer.Option(
            help="Address at which a service publishes; repeat it for several services. Without "
            "it, tcp://127.0.0.1:5556."
        ),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            help="Address at which the service answers requests, for each --connect. Without it, "
            "the same host and the next port."
        ),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(
            help="First print the messages that were published after this sequence number."
        ),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="Print only messages whose topic starts with this text.")
    ] = "",
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="Run this command for each message instead of printing it. The message is one "
            "JSON line on its stdin.",
        ),
    ] = None,
    ack_as: Annotated[
        str | None,
        typer.Option(
            help="Acknowledge each printed message under this name. Without --after, start after "
            "the last acknowledged message."
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="File with the secret key of this client, if the service uses CURVE."),
    ] = None,
    server_key: Annotated[
        list[Path] | None,
        typer.Option(
            help="File with the public key of the service, for each --connect or one for all."
        ),
    ] = None,
) -> None:
    """Print each message that the service publishes.

    Each message is one line: JSON in a pipe, readable text on a terminal.
    """
    from daemon.messaging import inquiries

    services = inquiries.services_of(
        connect or ["tcp://127.0.0.1:5556"], requests or [], key=key, server_keys=server_key or []
    )
    inquiries.print_messages(services, after=after, topic=topic, command=command, ack_as=ack_as)
