"""Commands that drive the microscope: ``acquire run``, ``preview``, ``devices`` and others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.commands.console import ConfigOption, errors, screen
from schemas.well import parse_well

if TYPE_CHECKING:
    from daemon.config import Config

group = typer.Typer(
    help="Drive a microscope through Micro-Manager.\n\nNeeds the extra `micromanager`.",
    no_args_is_help=True,
)


@group.command()
def run(
    plate: Annotated[str, typer.Argument(help="Plate id.")],
    *,
    day: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Culture day; it has to be the one of today, the default. "
            "Wells that have an image of it are skipped.",
        ),
    ] = None,
    well: Annotated[
        list[str] | None,
        typer.Option(help="Image only this well, again if it has an image. May be repeated."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the stage positions and bytes; move nothing."),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(help="Where the service drives the microscope: wait until it has imaged."),
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Image the wells of a plate on its culture day of today."""
    wells = _parse_wells(well or [])
    settings, stop_signals = _load(config), _prepare_process()
    from daemon.microscope import operator_actions
    from daemon.microscope.imaging_process import run_and_exit

    def image_or_print() -> int:
        if dry_run:
            return operator_actions.print_plan(settings, plate, wells, screen)
        return operator_actions.image_plate(
            settings, stop_signals, plate, day, wells, screen, wait=wait
        )

    run_and_exit(image_or_print, errors)


@group.command()
def preview(
    well: Annotated[
        str | None, typer.Option(help="Go to this well first. Without it, the stage stays.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("preview.png"),
    config: ConfigOption = None,
) -> None:
    """Take one image and print its quality.

    The quality includes brightness, sharpness and flags.
    """
    wells = _parse_wells([] if well is None else [well])
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import operator_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(
        lambda: operator_actions.save_preview(settings, wells[0] if wells else None, out, screen),
        errors,
    )


@group.command()
def devices(config: ConfigOption = None) -> None:
    """Print the devices, presets and stage position.

    Devices and presets are those of the hardware configuration.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import operator_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: operator_actions.print_devices(settings, screen), errors)


@group.command()
def check(config: ConfigOption = None) -> None:
    """Open the microscope and print every problem.

    The stage positions of every plate are checked; nothing moves.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import operator_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: operator_actions.check_microscope(settings), errors)


@group.command()
def lamp_off(config: ConfigOption = None) -> None:
    """Switch the lamp off.

    Without a configured microscope, nothing happens.
    """
    settings = _load(config)
    if settings.source.kind != "micromanager":
        return  # systemd calls this command after every end of the service
    _prepare_process()
    from daemon.microscope import operator_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: operator_actions.switch_lamp_off(settings), errors)


@group.command()
def serve(config: ConfigOption = None) -> None:
    """Image due and requested plates; the service starts this.

    It stops at SIGTERM or at the end of stdin, and reports in JSON lines on stdout.
    """
    settings, stop_signals = _load(config), _prepare_process()
    from daemon.microscope import imaging_process

    imaging_process.run_and_exit(lambda: imaging_process.serve(settings, stop_signals), errors)


def _load(config: Path | None) -> "Config":
    from daemon.config import load_config

    return load_config(config)


def _prepare_process() -> list[int]:
    """Configure the log and the signal handlers; return the list that receives stop signals.

    Raises
    ------
    ConfigError
        If the extra ``micromanager`` is not installed.
    """
    from acquisition.microscope.settings import check_installed
    from daemon import logs
    from daemon.stop_signals import record_stop_signals

    check_installed()
    logs.install(None)
    stop_signals: list[int] = []
    # A second signal does nothing: the watchdog ends a process that does not end by itself.
    record_stop_signals(stop_signals, on_second=lambda _number: None)
    return stop_signals


def _parse_wells(names: Sequence[str]) -> list[str]:
    try:
        return [parse_well(name) for name in names]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--well") from error
