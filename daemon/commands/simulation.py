"""Commands of the virtual plates: ``simulate`` and ``demo``."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.console import screen
from simulation.kinds import Delivery, Layout, Mechanism, OpticsName


def simulate(
    out: Annotated[
        Path,
        typer.Option(help="Folder to write: the images in drop/, the true values in truth.csv."),
    ],
    *,
    plates: Annotated[int, typer.Option(min=1, help="Number of plates.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same plates.")] = 1,
    laboratory: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SEED",
            help="Write plates of the simulated laboratory with this seed: another renderer, "
            "growth, microscope and effects of drugs. Without --seed and --optics.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            min=64, max=4096, help="Image side in pixels; the field of view does not change."
        ),
    ] = 512,
    mechanism: Annotated[
        Mechanism | None,
        typer.Option(
            help="Death mechanism of every treatment. Without it, each compound has its own."
        ),
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="Division of the wells into treatment groups.")
    ] = Layout.SCREEN,
    optics: Annotated[
        OpticsName, typer.Option(help="Optics of the microscope.")
    ] = OpticsName.DEFAULT,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write the true tissue masks as PNG into masks/.")
    ] = False,
    assay: Annotated[
        bool, typer.Option("--assay", help="Write measured viability into <plate>.assay.csv.")
    ] = False,
    faults: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Fraction of well images with a fault, listed in faults.csv."
        ),
    ] = 0.0,
    robot: Annotated[
        Delivery | None,
        typer.Option(help="Write the files over time, as a robot does, in this way."),
    ] = None,
    seconds_per_image: Annotated[
        float, typer.Option(min=0, help="With --robot: seconds for each well image.")
    ] = 0.5,
    microscope: Annotated[
        bool,
        typer.Option(
            "--microscope", help="Write a virtual microscope for Micro-Manager, without images."
        ),
    ] = False,
    wells: Annotated[
        int, typer.Option(min=12, max=60, help="With --microscope: wells of each plate.")
    ] = 60,
) -> None:
    """Write virtual plates as a robot would drop them.

    The true effect of each treatment is written beside them.
    """
    from daemon.jobs import simulate as virtual

    if laboratory is not None and (microscope or seed != 1 or optics is not OpticsName.DEFAULT):
        raise typer.BadParameter(
            "--laboratory draws all properties of its plates from its own seed; "
            "expected it without --seed, --optics and --microscope"
        )
    if not microscope:
        virtual.write_virtual_plates(
            out,
            plates=plates,
            seed=seed,
            laboratory=laboratory,
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
        return
    from simulation.world import WorldFile

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
    world = virtual.write_virtual_microscope(out, file, assay=assay)
    plate = next(iter(world.scopes))
    put_on_stage = f"""echo '{{"plate": "{plate}", "day": 7}}' > {world.folder}/on_stage.json"""
    image_it = f"spherorank acquire run {plate} --day 7 --config {out}/spherorank.toml"
    screen.print(f"Put a plate under the microscope: {put_on_stage}")
    screen.print(f"Image it: {image_it}")


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")] = Path(
        "spherorank-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the virtual plate.")] = 1,
    *,
    microscope: Annotated[
        bool,
        typer.Option(
            "--microscope",
            help="Let the service drive a virtual microscope, instead of reading a robot's files.",
        ),
    ] = False,
    days: Annotated[
        str, typer.Option(help="With --microscope: the culture days that are imaged.")
    ] = "1,2,3,4,5,6,7,8,9,10",
    wells: Annotated[
        int, typer.Option(min=12, max=60, help="With --microscope: wells of the plate.")
    ] = 60,
) -> None:
    """Run the real service on a virtual plate.

    It ends with the ranking of day 10 and its report.
    """
    if not microscope:
        from daemon.jobs.demo_robot import run_robot_demo

        run_robot_demo(out, seed, screen)
        return
    from daemon.jobs.demo_microscope import run_microscope_demo

    if not all(day.strip().isdecimal() for day in days.split(",")):
        raise typer.BadParameter(
            f"{days!r}; expected culture days, such as 6,7,8,10", param_hint="--days"
        )
    run_microscope_demo(out, seed, [int(day) for day in days.split(",")], wells, screen)
