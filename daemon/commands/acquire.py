"""Commands that drive the microscope: ``acquire run``, ``preview``, ``devices`` and others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.commands.console import ConfigOption, PlateArgument, errors, screen
from schemas.well import parse_well

if TYPE_CHECKING:
    from daemon.config import Config

group = typer.Typer(
    help="Drive a microscope through Micro-Manager.\n\nNeeds the extra `micromanager`.",
    no_args_is_help=True,
)


focus_map = typer.Typer(
    help="Export or import the focus heights of a plate (CSV).", no_args_is_help=True
)
group.add_typer(focus_map, name="focus-map")


@group.command()
def run(
    plate: PlateArgument,
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
    *,
    well: Annotated[
        str | None, typer.Option(help="Go to this well first. Without it, the stage stays.")
    ] = None,
    focus: Annotated[bool, typer.Option("--focus", help="Search the focus first.")] = False,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("preview.png"),
    config: ConfigOption = None,
) -> None:
    """Show one image, also while a plate is imaged.

    While a plate is imaged, the newest frame is written. With --well or --focus, a new frame is
    taken between two wells.
    """
    wells = _parse_wells([] if well is None else [well])
    settings, stop_signals = _load(config), _prepare_process()
    from daemon.microscope import preview_action
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(
        lambda: preview_action.save_preview(
            settings, stop_signals, wells[0] if wells else None, out, screen, focus=focus
        ),
        errors,
    )


@group.command()
def pause(
    *,
    wait: Annotated[
        bool, typer.Option(help="Wait until the present well is finished and the lamp is off.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Pause the imaging after the present well.

    The pause lasts until acquire resume, also after a restart.
    """
    settings, stop_signals = _load(config), _prepare_process()
    from daemon.microscope import order_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: order_actions.pause(settings, stop_signals, screen, wait=wait), errors)


@group.command()
def resume(config: ConfigOption = None) -> None:
    """Continue a paused imaging with the next well."""
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import order_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: order_actions.resume(settings, screen), errors)


@group.command()
def abort(
    *,
    plate: Annotated[
        str | None, typer.Option(help="Plate id. Without it, the plate that is being imaged.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the present well is finished.")] = True,
    config: ConfigOption = None,
) -> None:
    """End the imaging of a plate on this day for good.

    Its requests are dropped, and the schedule does not start the day again.
    """
    settings, stop_signals = _load(config), _prepare_process()
    from daemon.microscope import order_actions
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(
        lambda: order_actions.abort(settings, stop_signals, plate, screen, wait=wait), errors
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

    The stage positions and scale of every plate are checked; nothing moves.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope.imaging_process import run_and_exit
    from daemon.microscope.microscope_check import check_microscope

    run_and_exit(lambda: check_microscope(settings), errors)


@group.command()
def calibrate(
    *,
    plate: Annotated[
        int | None, typer.Option(help="Number of wells. Default: the configured plate.")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(help="Stage position of the middle of a well: A01=12000,75000. Repeat it."),
    ] = None,
    rim: Annotated[
        list[str] | None,
        typer.Option(help="Stage position of a point on the rim of a well. Repeat it per well."),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="CSV file of points: well,x_um,y_um,at (middle or rim).")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Fit the place of a plate to measured wells.

    Prints rotation, spacing and residuals, and the lines for the configuration. Without points,
    the corner wells are measured with the microscope.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope.imaging_process import run_and_exit
    from daemon.microscope.plate_calibrator import MeasuredPoints
    from daemon.microscope.plate_calibrator import calibrate as calibrate_plate

    def calibrate_and_print() -> int:
        measured = MeasuredPoints.from_texts(point or [], rim or [])
        if points is not None:
            measured.add_file(points)
        return calibrate_plate(
            settings, plate, measured, lambda text: str(screen.input(f"{text} ")), screen
        )

    run_and_exit(calibrate_and_print, errors)


@group.command()
def export_plan(
    plate: PlateArgument,
    *,
    out: Annotated[Path, typer.Option(help="File to write, .yaml or .json.")],
    config: ConfigOption = None,
) -> None:
    """Write a plate's imaging plan for useq-schema.

    The file is an MDASequence with wells, channel and planes. Nothing moves.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope.imaging_process import run_and_exit
    from daemon.microscope.plan_export import write_plan_of_plate

    run_and_exit(lambda: write_plan_of_plate(settings, plate, out, screen), errors)


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


@focus_map.command("export")
def export_heights(
    plate: PlateArgument,
    file: Annotated[Path, typer.Argument(help="CSV file to write; - is stdout.")],
    config: ConfigOption = None,
) -> None:
    """Write the known focus heights of a plate.

    The columns are plate, well, x_um, y_um, z_um, found_by and at.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import focus_maps
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: focus_maps.export_focus_map(settings, plate, file, screen), errors)


@focus_map.command("import")
def import_heights(
    plate: PlateArgument,
    file: Annotated[Path, typer.Argument(help="CSV file with the columns well and z_um.")],
    config: ConfigOption = None,
) -> None:
    """Replace the known focus heights of a plate.

    Each line is checked first: wells, plate, positions and the limits of the focus drive.
    """
    settings = _load(config)
    _prepare_process()
    from daemon.microscope import focus_maps
    from daemon.microscope.imaging_process import run_and_exit

    run_and_exit(lambda: focus_maps.import_focus_map(settings, plate, file, screen), errors)


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
    from daemon.config import keep_micromanager_log_off
    from daemon.stop_signals import record_stop_signals

    check_installed()
    keep_micromanager_log_off()
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
