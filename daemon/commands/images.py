"""Commands that process image files: ``embed`` and ``measure``."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.console import ConfigOption, errors, exit_if_refused, screen


def embed(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files; the pages of one file are its planes."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
    config: ConfigOption = None,
    *,
    store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Embed the stored images that have no embedding by this encoder yet.",
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="With --store: embed also images that an earlier version embedded. In images "
            "narrower than the encoder's field, a field that fits is then embedded.",
        ),
    ] = False,
    bundle: Annotated[
        str | None,
        typer.Option(help="Encoder bundle. Without it, the bundle of the configuration."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=256, help="With --store: number of worker processes.")
    ] = 1,
) -> None:
    """Embed image files, or embed all stored images.

    The embeddings of image files are written to a Parquet file, those of stored images to the
    store.
    """
    if store == bool(images) or store == (out is not None) or (again and not store):
        raise typer.BadParameter("expected image files with --out, or --store")
    from daemon import logs
    from daemon.config import load_config
    from daemon.jobs import embedding_table, re_embedding

    logs.install(None)
    settings = load_config(config)
    if bundle is not None:
        encoder = settings.encoder.model_copy(update={"bundle": bundle})
        settings = settings.model_copy(update={"encoder": encoder})
    if not store:
        written = embedding_table.write_embeddings(images or [], out or Path(), settings)
        for path in written.not_cropped:
            errors.print(
                f"{path}: has no scale; the encoder's field of {written.field_um:g} µm cannot be "
                "cropped, the largest square of the image is embedded",
            )
        exit_if_refused(written.refused)
        return
    done = re_embedding.re_embed(settings, jobs, again=again)
    screen.print(
        f"{done.embedded} images embedded with {done.encoder_id}, {len(done.refused)} refused",
    )
    exit_if_refused(done.refused)


def measure(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files; the pages of one file are its planes."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    um_per_px: Annotated[
        float | None,
        typer.Option(
            min=1e-4,
            help="Scale of all images in µm per pixel. Without it, each file's own scale; "
            "a file without scale is measured in pixels.",
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder for the tissue masks, as PNG with 0 and 255.")
    ] = None,
    pieces: Annotated[
        Path | None,
        typer.Option(help="CSV file for the single pieces of tissue, one row per piece."),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=16,
            help="Bits per pixel in 16-bit files. Without it, estimated from each file's maximum.",
        ),
    ] = None,
    config: ConfigOption = None,
    *,
    store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Measure the stored images again that another segmenter or version measured.",
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, max=256, help="With --store: number of worker processes.")
    ] = 1,
) -> None:
    """Measure the tissue in image files or in stored images.

    The measures describe size, shape, intensity, debris, focus and quality. Those of image files
    are written to a CSV file, those of stored images to the store.
    """
    of_files = (images or None, out, um_per_px, masks, pieces, bits)
    if store and all(value is None for value in of_files):
        _measure_store(config, jobs)
        return
    if store or not images or out is None:
        raise typer.BadParameter("expected image files with --out, or --store alone")
    if pieces is not None and pieces.resolve() == out.resolve():
        raise typer.BadParameter("expected different files for --out and --pieces")
    from daemon.config import load_config
    from daemon.jobs.measure_table import write_measures
    from daemon.wiring.networks import open_tissue

    settings = load_config(config)
    done = write_measures(
        images,
        out,
        masks,
        open_tissue(settings.tissue, settings.stain),
        pieces=pieces,
        um_per_px=um_per_px,
        bits=bits,
    )
    for path in done.without_scale:
        errors.print(
            f"{path}: has no scale; measured in pixels, explosion_degree is relative to the size "
            "of the tissue (--um-per-px gives a scale)",
        )
    for path in done.without_background:
        errors.print(
            f"{path}: no background is in view; its tissue is not measured (expected background "
            "around the tissue)",
        )
    for path, own in done.contradicted.items():
        errors.print(
            f"{path}: measured with --um-per-px {um_per_px:g}, but the file says {own}",
        )
    exit_if_refused(done.refused)


def _measure_store(config: Path | None, jobs: int) -> None:
    """Measure the stored images again, and print how many keep their earlier measures."""
    from daemon import logs
    from daemon.config import load_config
    from daemon.jobs.re_measuring import measure_store

    logs.install(None)
    done = measure_store(load_config(config), jobs)
    screen.print(
        f"{done.measured} images measured by {done.measured_by}, {len(done.kept)} keep their "
        "earlier measures",
        soft_wrap=True,
    )
    exit_if_refused(done.kept)
