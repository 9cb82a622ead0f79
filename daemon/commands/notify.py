"""Command of the process that notifies people: ``notify``."""

from typing import Annotated

import typer

from daemon.commands.console import ConfigOption, errors, screen
from schemas.exit_codes import ExitCode


def notify(
    config: ConfigOption = None,
    *,
    test: Annotated[
        bool,
        typer.Option("--test", help="Send a test text on each channel, print the results, exit."),
    ] = False,
) -> None:
    """Notify people of alerts and rankings by mail or chat.

    The channels are in the section `[notify]` of the configuration. The command follows the running
    service until SIGTERM, SIGINT or SIGHUP. A notification has the plate and the kind of each
    event.
    """
    import os
    from functools import partial

    from daemon import logs
    from daemon.config import credentials_folder, load_config, systemd_socket
    from daemon.health import sd_notify
    from daemon.messaging.configured_keys import keys_of_own_client
    from daemon.messaging.listen import Service
    from daemon.notify.channels import open_channels
    from daemon.notify.process import NotifySettings, local_address, notify_people
    from daemon.stop_signals import record_stop_signals

    settings = load_config(config)
    logs.install(None)
    channels = open_channels(settings.notify, credentials_folder())
    if test:
        problems = {
            channel.where: channel.send("SpheroRank: test", "This is a test of SpheroRank.")
            for channel in channels
        }
        for where, problem in problems.items():
            (errors if problem else screen).print(f"{where}: {problem or 'sent'}", soft_wrap=True)
        raise typer.Exit(ExitCode.FAILED if any(problems.values()) else ExitCode.DONE)
    stop_signals: list[int] = []
    record_stop_signals(stop_signals, on_second=lambda number: os._exit(128 + number))
    notify_people(
        NotifySettings(
            Service(
                local_address(settings.publisher.events),
                local_address(settings.publisher.requests),
                keys_of_own_client(settings),
            ),
            channels,
            settings.notify.state_file,
            settings.notify.interval_s,
        ),
        stop_signals=stop_signals,
        notify_systemd=partial(sd_notify, address=systemd_socket()),
    )
