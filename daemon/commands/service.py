"""Commands of the service: ``run``, ``check``, ``status`` and ``rejected``."""

import os
from typing import Annotated

import typer

from daemon.commands.console import ConfigOption, errors, print_fields, print_json, screen
from schemas.exit_codes import ExitCode


def run(
    config: ConfigOption = None,
    *,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Ingest the images that are there, rank the days that are due, and exit."
        ),
    ] = False,
) -> None:
    """Run the service in the foreground.

    It stops at SIGTERM, SIGINT or SIGHUP, on Windows at Ctrl-C or Ctrl-Break. After SIGHUP the exit
    code is 129, so that systemd starts it again with the present configuration. Under nohup, SIGHUP
    is ignored.
    """
    from daemon import logs
    from daemon.config import load_config
    from daemon.stop_signals import HANG_UP, record_stop_signals
    from daemon.wiring.service import open_service

    settings = load_config(config)
    logs.install(logs.DailyJsonLines(settings.output.logs, settings.output.log_days))
    stop_signals: list[int] = []
    record_stop_signals(stop_signals, on_second=lambda number: os._exit(128 + number))
    with open_service(settings, file=config, once=once, stop_signals=stop_signals) as service:
        service.run(once=once)
    if stop_signals and stop_signals[0] == HANG_UP:
        raise typer.Exit(ExitCode.HUNG_UP)


def check(config: ConfigOption = None) -> None:
    """Check the configuration and print every problem.

    The check includes plate maps, assays, encoder, store, folders, sockets and microscope. The
    scale of each plate and its source are printed first, then the encoder with its influence on
    rankings, and the stored images that another segmenter or version measured. Problems of single
    plate maps and assays do not prevent the start: the exit code is 0.
    """
    from daemon import logs
    from daemon.jobs.method_report import describe_encoder, describe_methods
    from daemon.jobs.scale_report import describe_scales
    from daemon.jobs.start_check import find_plate_problems, find_start_problems

    logs.install(None)
    scales = describe_scales(config)
    for line in (*scales, *describe_encoder(config), *describe_methods(config)):
        screen.print(line, soft_wrap=True)
    contradictions = sum("scale_disagrees" in line for line in scales)
    preventing, of_plates = find_start_problems(config), find_plate_problems(config)
    for problem in (*preventing, *of_plates):
        errors.print(*problem.split("\n"), sep="\n")
    if preventing:
        raise typer.Exit(ExitCode.WRONG_CONFIGURATION)
    if of_plates or contradictions:
        screen.print(
            f"The service can start. Plate maps and assays that are not used: {len(of_plates)}. "
            f"Contradicting scales: {contradictions}.",
            soft_wrap=True,
        )
    else:
        screen.print("No problem found.")


def status(
    config: ConfigOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Print the status of the running service.

    It shows plates, last image, backlog, number of rejected files and the microscope.
    """
    from datetime import UTC, datetime

    from daemon.config import load_config
    from daemon.messaging import inquiries
    from daemon.messaging.configured_keys import keys_of_own_client

    settings = load_config(config)
    answer = inquiries.ask_status(settings.publisher.requests, keys_of_own_client(settings))
    if as_json:
        print_json(answer.model_dump_json(indent=2))
    else:
        lines = inquiries.status_lines(answer, datetime.now(UTC))
        screen.print(*lines, sep="\n", soft_wrap=True)


def rejected(config: ConfigOption = None) -> None:
    """Print each rejected file with the time and the reason.

    The three are separated by tabs.
    """
    from contextlib import closing

    from daemon import logs
    from daemon.config import load_config
    from daemon.wiring.store import open_store

    logs.install(None)
    with closing(open_store(load_config(config))) as store:
        for file in store.rejected():
            rejected_at = file.rejected_at.isoformat(timespec="seconds")
            print_fields(file.path, rejected_at, file.reason)
