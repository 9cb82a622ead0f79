"""Command that subscribes to the service: ``listen``."""

from typing import Annotated

import typer


def listen(
    connect: Annotated[
        str, typer.Option(help="Address at which the service publishes.")
    ] = "tcp://127.0.0.1:5556",
    requests: Annotated[
        str | None,
        typer.Option(
            help="Address at which the service answers requests. Without it, the same host and "
            "the next port."
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
) -> None:
    """Print each message that the service publishes.

    Each message is one line: JSON in a pipe, readable text on a terminal.
    """
    from daemon.messaging import inquiries

    inquiries.print_messages(connect, requests, after=after, topic=topic, command=command)
