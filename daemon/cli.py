"""The command line. Each command reads its input, calls one thing, and turns errors into exit codes; heavy imports wait until a command needs them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from acquisition.microscope.settings import check_installed
from daemon import logs
from daemon.config import load_config
from daemon.signal_notes import take_notes_of_signals
from schemas.errors import ConfigError, SpheroRankError
from schemas.forecast import ForecastFrom, MetricName
from schemas.well import parse_well
from simulation.kinds import Delivery, Layout, Mechanism, OpticsName

EXIT_FAILED, EXIT_CONFIG = 1, 78

app = typer.Typer(
    name="spherorank",
    help="Ranks drug treatments on tumour spheroid plates from daily bright-field images. For research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

HANDED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="The configuration file; without it every setting has its default."
    ),
]
errors = Console(stderr=True, highlight=False, soft_wrap=True)
screen = Console(
    highlight=False, width=None if sys.stdout.isatty() else 140
)  # a pipe has no width of its own


def main() -> NoReturn:
    """Run the command line; every anticipated error ends as one clear text and an exit code."""
    try:
        app()
    except ConfigError as error:
        _end(error, EXIT_CONFIG)
    except SpheroRankError as error:
        _end(error, EXIT_FAILED)
    raise AssertionError("typer exits by itself")


def _end(error: SpheroRankError, code: int) -> NoReturn:
    errors.print(str(error), markup=False)
    sys.exit(code)


def _end_if_refused(refused: Sequence[SpheroRankError]) -> None:
    """Print what could not be used, each on a line; the rest was done, and the exit code says that it is not all."""
    for error in refused:
        errors.print(str(error), markup=False)
    if refused:
        raise typer.Exit(EXIT_FAILED)


@app.callback(invoke_without_command=True)
def _version(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415 - only for this option

        screen.print(installed("spherorank"))
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Take in all that is there, rank what is due, exit.")
    ] = False,
) -> None:
    """Run the service in the foreground."""
    from daemon import wiring  # noqa: PLC0415 - opens the whole house

    settings = load_config(config)
    logs.install(settings.output.logs)
    notes: list[int] = []
    take_notes_of_signals(notes, lambda number: os._exit(128 + number))
    with wiring.open_service(settings, file=config, once=once) as service:
        service.stop_notes = notes
        service.run(once=once)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Read configuration, plate maps, encoder, folders and sockets, and print every problem at once."""
    from daemon.jobs import check as checks  # noqa: PLC0415 - opens the encoder

    logs.install(None)
    problems = checks.problems_with(config)
    for problem in problems:
        errors.print(str(problem), markup=False)
    if problems:
        raise typer.Exit(EXIT_CONFIG)
    screen.print("Everything is as expected.")


@app.command()
def status(
    config: ConfigOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask the running service how it is."""
    from daemon.messaging import inquiries  # noqa: PLC0415 - loads the messaging library

    answer = inquiries.ask_status(load_config(config).publisher.requests)
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        screen.print(inquiries.readable(answer))


@app.command()
def rejected(config: ConfigOption = None) -> None:
    """List each refused file with its reason."""
    from daemon import wiring  # noqa: PLC0415 - opens the store

    store = wiring.open_store(load_config(config))
    for file in store.rejected():
        typer.echo(f"{file.path}\t{file.rejected_at.isoformat(timespec='seconds')}\t{file.reason}")
    store.close()


@app.command()
def rank(
    *,
    plate: Annotated[str | None, typer.Option(help="Rank this plate again from the store.")] = None,
    day: Annotated[
        int | None,
        typer.Option(help="With --plate: which culture day; without it the readout day."),
    ] = None,
    config: ConfigOption = None,
    specimen: Annotated[
        str | None, typer.Option(help="Rank the plates of this specimen together from the store.")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(help="Rank a profile table (CSV or Parquet) instead.")
    ] = None,
    baseline_day: Annotated[
        int | None, typer.Option(help="With --profiles: the last day before dosing took effect.")
    ] = None,
    readout_day: Annotated[
        int | None, typer.Option(help="With --profiles: the day that is ranked.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --profiles: the table of treatments; the wells go to <stem>-wells.csv beside it."
        ),
    ] = None,
    assay: Annotated[
        Path | None,
        typer.Option(
            help="With --profiles: measured viability (CSV); plates are then ranked by deterioration."
        ),
    ] = None,
    forecaster: Annotated[
        str,
        typer.Option(
            help="With --profiles: ridge, kernel, drift, persistence, mean, or a folder with forecaster.onnx and forecaster.json."
        ),
    ] = "ridge",
    forecast_from: Annotated[
        ForecastFrom,
        typer.Option(help="With --profiles: last_day and one_step let days after dosing in."),
    ] = ForecastFrom.DOSING,
    metric: Annotated[
        MetricName, typer.Option(help="With --profiles: what a departure is measured by.")
    ] = MetricName.MAHALANOBIS,
    keep_unlike: Annotated[
        bool,
        typer.Option(
            "--keep-unlike",
            help="With --profiles: keep wells that were unlike their fellows before dosing.",
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Print which wells look as if they were labelled wrongly; with --plate or --profiles.",
        ),
    ] = False,
    final: Annotated[
        bool,
        typer.Option(
            "--final", help="With --plate: no more images will come; what is missing stays missing."
        ),
    ] = False,
) -> None:
    """Rank a plate or a specimen again from the store, or any profile table with no store at all."""
    from daemon import wiring  # noqa: PLC0415 - loads the statistics
    from daemon.jobs import rank as ranking_commands  # noqa: PLC0415 - loads the statistics

    if sum(each is not None for each in (plate, specimen, profiles)) != 1:
        raise typer.BadParameter("expected one of --plate, --specimen and --profiles")
    if audit and specimen is not None:
        raise typer.BadParameter(
            "--audit goes with --plate or --profiles; a specimen's plates are audited one by one"
        )
    logs.install(None)
    if plate is not None:
        ranking = ranking_commands.rank_plate_again(load_config(config), plate, day, final=final)
        screen.print(ranking_commands.as_table(ranking, ranking_commands.title_of(ranking)))
        if audit:
            screen.print(ranking_commands.doubts_table(ranking, ranking.plate))
        return
    if specimen is not None:
        of_specimen = ranking_commands.rank_specimen_again(load_config(config), specimen)
        screen.print(ranking_commands.as_specimen_table(of_specimen))
        for note in (
            *of_specimen.notes,
            *(
                f"{each.plate} is left out: {each.left_out}"
                for each in of_specimen.plates
                if each.left_out is not None
            ),
        ):
            screen.print(note, markup=False)
        return
    if profiles is None or baseline_day is None or readout_day is None or out is None:
        raise typer.BadParameter("--profiles needs --baseline-day, --readout-day and --out")
    settings = wiring.rank_settings(
        forecaster, forecast_from, metric, leave_out_unlike=not keep_unlike
    )
    ranked = ranking_commands.rank_table(
        profiles,
        baseline_day=baseline_day,
        readout_day=readout_day,
        out=out,
        settings=settings,
        assay=assay,
    )
    for said in ranking_commands.said_of(ranked, audit=audit):
        screen.print(said, markup=False)
    _end_if_refused(list(ranked.refused.values()))


@app.command()
def simulate(
    out: Annotated[
        Path, typer.Option(help="The folder to write: drop/ as a robot's, truth.csv beside it.")
    ],
    *,
    plates: Annotated[int, typer.Option(min=1, help="How many plates.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same plates.")] = 1,
    size: Annotated[
        int,
        typer.Option(
            min=64, max=4096, help="Side of an image in pixels; the field of view stays the same."
        ),
    ] = 512,
    mechanism: Annotated[
        Mechanism | None,
        typer.Option(
            help="How every treatment kills; without it each compound has a way of its own."
        ),
    ] = None,
    layout: Annotated[Layout, typer.Option(help="How the wells are divided.")] = Layout.SCREEN,
    optics: Annotated[OpticsName, typer.Option(help="The microscope.")] = OpticsName.DEFAULT,
    masks: Annotated[
        bool,
        typer.Option("--masks", help="Write the true outline of the tissue as PNG into masks/."),
    ] = False,
    assay: Annotated[
        bool, typer.Option("--assay", help="Write measured viability into <plate>.assay.csv.")
    ] = False,
    faults: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of well images that go wrong, listed in faults.csv."
        ),
    ] = 0.0,
    robot: Annotated[
        Delivery | None,
        typer.Option(
            help="Let the files appear over time, as a slow and untidy robot delivers them."
        ),
    ] = None,
    seconds_per_image: Annotated[
        float, typer.Option(min=0, help="With --robot: how long it takes for one well image.")
    ] = 0.5,
    microscope: Annotated[
        bool,
        typer.Option(
            "--microscope", help="Write a virtual microscope for Micro-Manager instead of images."
        ),
    ] = False,
    wells: Annotated[int, typer.Option(min=12, max=60, help="With --microscope: of a plate.")] = 60,
) -> None:
    """Write virtual plates as a robot would drop them, with the truth beside."""
    from daemon.jobs import simulate as virtual  # noqa: PLC0415 - loads the renderer

    if microscope:
        from simulation.world import WorldFile  # noqa: PLC0415 - as above

        if masks or faults or robot is not None:
            raise typer.BadParameter(
                "--microscope writes no images; expected it without --masks, --faults and --robot"
            )
        file = WorldFile(
            seed=seed,
            plates=plates,
            wells=wells,
            size_px=size,
            mechanism=mechanism,
            layout=layout,
            optics=optics,
        )
        world = virtual.simulate_microscope(out, file, assay=assay)
        name = next(iter(world.scopes))
        screen.print(
            f"""put a plate under the microscope: echo '{{"plate": "{name}", "day": 7}}' > {world.folder}/on_stage.json""",
            markup=False,
        )
        screen.print(
            f"image it: spherorank acquire --plate {name} --day 7 --config {out}/spherorank.toml",
            markup=False,
        )
        return
    virtual.simulate(
        out,
        plates=plates,
        seed=seed,
        size_px=size,
        mechanism=mechanism,
        layout=layout,
        optics=optics,
        masks=masks,
        assay=assay,
        faults=faults,
        robot=robot,
        seconds_per_image=seconds_per_image,
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")] = Path(
        "spherorank-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Which virtual plate.")] = 1,
    *,
    microscope: Annotated[
        bool,
        typer.Option(
            "--microscope",
            help="With a virtual microscope, which the service drives, in place of a robot.",
        ),
    ] = False,
    days: Annotated[
        str, typer.Option(help="With --microscope: the culture days that are imaged.")
    ] = "1,2,3,4,5,6,7,8,9,10",
    wells: Annotated[
        int, typer.Option(min=12, max=60, help="With --microscope: of the plate.")
    ] = 60,
) -> None:
    """Run a virtual plate through the real service to a day-10 ranking and a report."""
    if microscope:
        from daemon.jobs import demo_microscope  # noqa: PLC0415 - loads the messaging library and the renderer

        if not all(day.strip().isdecimal() for day in days.split(",")):
            raise typer.BadParameter(
                f"{days!r}; expected culture days, such as 6,7,8,10", param_hint="--days"
            )
        demo_microscope.demonstrate(out, seed, [int(day) for day in days.split(",")], wells, screen)
        return
    from daemon.jobs import demo as demonstration  # noqa: PLC0415 - as above

    demonstration.demonstrate(out, seed, screen)


@app.command()
def embed(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files; the pages of one file are its planes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The Parquet table to write.")] = None,
    config: ConfigOption = None,
    *,
    store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Embed all stored images that this encoder has not embedded yet, beside what is there.",
        ),
    ] = False,
    bundle: Annotated[
        str | None, typer.Option(help="The encoder bundle; without it the configuration's.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=256, help="With --store: processes that read and embed.")
    ] = 1,
) -> None:
    """Write the embeddings of image files to a Parquet table, or embed the whole store with another encoder."""
    from daemon.jobs import embedding_table, re_embedding  # noqa: PLC0415 - opens the encoder

    if store == bool(images) or store == (out is not None):
        raise typer.BadParameter("expected image files with --out, or --store")
    logs.install(None)
    settings = load_config(config)
    if bundle is not None:
        settings = settings.model_copy(
            update={"encoder": settings.encoder.model_copy(update={"bundle": bundle})}
        )
    if not store:
        _end_if_refused(embedding_table.write(images or [], out or Path(), settings))
        return
    done = re_embedding.re_embed(settings, jobs)
    screen.print(
        f"{done.embedded} images embedded with {done.encoder_id}, {len(done.refused)} refused",
        markup=False,
    )
    _end_if_refused(done.refused)


@app.command()
def measure(
    images: Annotated[
        list[Path], typer.Argument(help="Image files; the pages of one file are its planes.")
    ],
    out: Annotated[Path, typer.Option(help="The CSV table to write.")],
    um_per_px: Annotated[
        float | None,
        typer.Option(
            min=1e-4, help="The scale of all images; without it each file's own, or pixels."
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="A folder for the outlines, as PNG of 0 and 255.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=16,
            help="Bits of a pixel in 16-bit files; without it by each file's own maximum.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Measure the tissue in image files: size, shape, intensity, debris, focus and quality."""
    from daemon import wiring  # noqa: PLC0415 - loads the image libraries
    from daemon.jobs import measure_table  # noqa: PLC0415 - loads the image libraries

    told = measure_table.write(
        images,
        out,
        masks,
        wiring.open_segmenter(load_config(config)),
        um_per_px=um_per_px,
        bits=bits,
    )
    for path in told.without_scale:
        errors.print(
            f"{path}: has no scale; measured in pixels (--um-per-px gives one)", markup=False
        )
    _end_if_refused(told.refused)


@app.command()
def listen(
    connect: Annotated[
        str, typer.Option(help="Where the service publishes.")
    ] = "tcp://127.0.0.1:5556",
    requests: Annotated[
        str | None,
        typer.Option(help="Where the service answers requests; by default one port further."),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(help="First everything that was published after this sequence number."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Only topics that start with this.")] = "",
) -> None:
    """Print what the service publishes, one message a line."""
    from daemon.messaging import inquiries  # noqa: PLC0415 - loads the messaging library

    inquiries.print_messages(connect, requests, after=after, topic=topic)


@app.command()
def acquire(
    *,
    plate: Annotated[str | None, typer.Option(help="Image this plate; with --day.")] = None,
    day: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --plate: the culture day. Wells that have an image of it already are left out.",
        ),
    ] = None,
    well: Annotated[
        list[str] | None,
        typer.Option(
            help="With --plate: only this well (repeat it for more), imaged again; with --preview: look at it."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="With --plate: print where the stage would go; nothing moves."
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(help="Where the service drives the microscope: wait until it has imaged."),
    ] = True,
    list_devices: Annotated[
        bool,
        typer.Option(
            "--list-devices",
            help="Print the devices and presets of the microscope's configuration.",
        ),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Take one frame where the stage stands.")
    ] = False,
    out: Annotated[Path, typer.Option(help="With --preview: the PNG to write.")] = Path(
        "preview.png"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Open the microscope and print each problem.")
    ] = False,
    lamp_off: Annotated[bool, typer.Option("--lamp-off", help="Switch the lamp off.")] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Image what is due or wished until a signal; the service starts this."
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Drive the microscope: image a plate's day, or look at the devices."""
    if sum([list_devices, preview, check, lamp_off, serve, plate is not None]) != 1:
        raise typer.BadParameter(
            "expected one of --plate, --list-devices, --preview, --check, --lamp-off and --serve"
        )
    if plate is not None and day is None:
        raise typer.BadParameter("--plate needs --day")
    wells = _wells(well)
    settings, notes = load_config(config), list[int]()
    if lamp_off and settings.source.kind != "micromanager":
        return  # systemd asks after every end of the service
    check_installed()
    from daemon.microscope import imaging_process as microscope  # noqa: PLC0415 - loads Micro-Manager

    logs.install(None)
    take_notes_of_signals(
        notes, lambda _number: None
    )  # its watchdog ends what does not end by itself

    def action() -> int:
        if plate is not None and day is not None:
            return (
                microscope.dry_run(settings, plate, wells, screen)
                if dry_run
                else microscope.image(settings, notes, plate, day, wells, screen, wait=wait)
            )
        if list_devices:
            return microscope.list_devices(settings, screen)
        if preview:
            return microscope.preview(settings, wells[0] if wells else None, out, screen)
        if check:
            return microscope.check(settings)
        return microscope.lamp_off(settings) if lamp_off else microscope.serve(settings, notes)

    microscope.leave(action, errors)


@app.command(context_settings=HANDED_ON)
def train(context: typer.Context) -> None:
    """Train an encoder, a forecaster or a segmenter (extra `train`)."""
    _hand_on("train", context)


@app.command(context_settings=HANDED_ON)
def evaluate(context: typer.Context) -> None:
    """Judge encoders side by side and write a report (extra `train`)."""
    _hand_on("evaluate", context)


def _hand_on(name: str, context: typer.Context) -> NoReturn:
    """Give the rest of the command line, ``--help`` too, to the command of this name in a package that this one must not import."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - only for these commands

    (entry,) = entry_points(group="spherorank.commands", name=name)
    typer.main.get_command(entry.load())(context.args, prog_name=context.command_path)
    raise AssertionError("typer exits by itself")


def _wells(names: Sequence[str] | None) -> list[str]:
    try:
        return [parse_well(name) for name in names or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
