"""The commands ``spherorank train`` and ``spherorank evaluate``.

Each command imports the module that does its work when it runs, so that ``--help`` loads no torch.
Names and files are checked before torch is loaded.
"""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError
from schemas.exit_codes import ExitCode
from simulation.kinds import RendererName

if TYPE_CHECKING:
    from training.encoder.config import EncoderTrainingConfig

train = typer.Typer(
    help="Train encoders, forecasters, segmenters and stains.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # as the other commands of spherorank
)
data = typer.Typer(
    help="Examine training images before a training.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
train.add_typer(data, name="data")
evaluate = typer.Typer(add_completion=False, rich_markup_mode=None)


def _needing_torch(module: str) -> ModuleType:
    """Import a module of this package that needs torch, and return it.

    Raises
    ------
    ConfigError
        If the extra ``train`` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "training":
            raise
        raise ConfigError(
            "spherorank",
            f"the Python package {error.name} is missing; "
            'expected the extra: pip install "spherorank[train]"',
        ) from error


def _load_encoder_config(path: Path | None) -> "EncoderTrainingConfig":
    """Return the configuration of an encoder training, and check its names before torch is loaded.

    Raises
    ------
    ConfigError
        With every problem of the file, or every name and file that does not exist.
    """
    from training.encoder.config import load_encoder_training_config
    from training.encoder.names import check_names

    settings = load_encoder_training_config(path)
    check_names(settings)
    return settings


@train.command()
def ssl(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for checkpoint, curve and bundle; an unfinished training is continued."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="Training configuration (deploy/train.example.toml shows every key)."),
    ] = None,
) -> None:
    """Train an encoder on well images without labels.

    Its bundle is written to OUT/bundle.
    """
    settings = _load_encoder_config(config)
    trained = _needing_torch("training.encoder.train").train_encoder(settings, out, typer.echo)
    if trained.status == "stopped":
        typer.echo(
            f"{out}: stopped after {trained.steps} of {settings.run.steps} steps; "
            "the same command continues",
            err=True,
        )
        raise typer.Exit(ExitCode.FAILED)
    if trained.bundle is not None:  # only the first of several processes writes it
        typer.echo(trained.summary)


@data.command("check")
def check_training_data(
    config: Annotated[
        Path, typer.Option(help="Training configuration; the images of its [data] are checked.")
    ],
    out: Annotated[Path | None, typer.Option(help="CSV file for the doubts, one row each.")] = None,
) -> None:
    """Look for wrong labels, copies and misfiled images.

    Misfiled images are of another well, day or plate than their names state.

    Each doubt is printed with its probability. No image and no label is changed. The exit code is 0
    also if there are doubts.
    """
    from training.data.crops import LeftOutImage
    from training.data_check.check import check_data, write_doubts
    from training.encoder.load_data import load_crops

    settings = _load_encoder_config(config)
    left_out: list[LeftOutImage] = []
    found = check_data(load_crops(settings.data, record=left_out.append))
    for image in left_out:
        typer.echo(f"left out: {image.file or image.plate}: {image.reason}")
    typer.echo("\n".join(found.lines()))
    if out is not None:
        write_doubts(found, out)


@train.command("reduce")
def reduce_encoder(
    bundle: Annotated[
        str,
        typer.Argument(help="Encoder bundle: a folder, or the name of a shipped one."),
    ],
    to: Annotated[str, typer.Option(help="Number format: float16, or int8 (static quantisation).")],
    config: Annotated[
        Path,
        typer.Option(
            help="Training configuration; the images of its [data] calibrate and compare."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the reduced bundle; replaced if it exists.")
    ],
) -> None:
    """Write a smaller version of an encoder bundle.

    Its embeddings are compared with those of the full bundle.
    """
    from inference.bundle import load_bundle

    load_bundle(bundle)  # a wrong name is reported before torch is loaded
    settings = _load_encoder_config(config)
    reduced = _needing_torch("training.encoder.reduced_precision").reduce_with_training_data(
        bundle, to, settings.data, out
    )
    megabytes = f"{reduced.bytes_before / 1e6:.1f} → {reduced.bytes_after / 1e6:.1f} MB"
    typer.echo(
        f"{out}: {megabytes}; mean cosine of centred embeddings with float32 "
        f"{reduced.similarity:.4f}, largest difference {reduced.largest_difference:.2g}"
    )


@train.command()
def forecaster(
    config: Annotated[
        Path | None,
        typer.Option(help="Forecaster configuration; it also names the folder of the bundle."),
    ] = None,
    *,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="Also learn a projection of the embedding, and write it to <out>-encoder.",
        ),
    ] = False,
) -> None:
    """Train a forecaster on untreated wells of many plates.

    Its bundle is written to the folder that the configuration names.
    """
    from training.forecaster.config import check_sources, load_forecaster_training_config

    check_sources(load_forecaster_training_config(config), joint=joint)  # before torch is loaded
    trained = _needing_torch("training.forecaster.train").train_forecaster(
        config, typer.echo, joint=joint
    )
    typer.echo(f"{trained.bundle}: from {trained.plates} plates; {trained.quality}")


@train.command()
def ensemble(
    bundles: Annotated[
        list[str],
        typer.Argument(help="Encoder bundles, or forecaster bundles: folders, or shipped names."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle; replaced if it exists.")],
    name: Annotated[
        str, typer.Option(help="Name of the bundle, part of its identifier.")
    ] = "ensemble",
) -> None:
    """Join encoders, or forecasters, to one bundle.

    The embedding is that of all encoders, one after the other; the forecast is the mean.
    """
    typer.echo(_needing_torch("training.ensembles").write_ensemble(bundles, name, out))


@train.command()
def segmenter(
    out: Annotated[
        Path,
        typer.Option(help="Folder for checkpoint and bundle; an unfinished training is continued."),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Number of batches, each of 18 views.")] = 850,
    threads: Annotated[int, typer.Option(min=1, help="Number of CPU threads.")] = 1,
) -> None:
    """Train a segmenter on virtual plates.

    Its bundle is written to OUT/bundle.
    """
    parity = _needing_torch("training.segmenter.train").train_segmenter(
        out, seed=seed, steps=steps, threads=threads
    )
    typer.echo(f"{out / 'bundle'}: largest difference between torch and onnxruntime {parity:.1e}")


@train.command()
def stain(
    out: Annotated[
        Path, typer.Option(help="Folder for the rendered wells and the bundle; wells are reused.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Number of batches, each of 16 images.")] = 600,
    images: Annotated[int, typer.Option(min=2, help="Number of wells to render.")] = 480,
    threads: Annotated[int, typer.Option(min=1, help="Number of CPU threads.")] = 1,
    renderers: Annotated[
        list[RendererName] | None,
        typer.Option("--renderer", help="Renderer of the laboratories; repeatable. Default: all."),
    ] = None,
    wells: Annotated[
        Path | None,
        typer.Option(help="CSV of stained wells (bright_field, live, dead), instead of rendering."),
    ] = None,
    dead_weight: Annotated[
        float | None,
        typer.Option(min=0, help="With --wells: weight of the dead stain."),
    ] = None,
) -> None:
    """Train a predicted stain on virtual plates or stained wells.

    Its bundle is written to OUT/bundle.
    """
    origin, parity = _needing_torch("training.stain.train").train_stain(
        out,
        seed=seed,
        steps=steps,
        images=images,
        threads=threads,
        renderers=renderers or tuple(RendererName),
        wells=wells,
        dead_weight=dead_weight,
    )
    typer.echo(
        f"{out / 'bundle'}: mean absolute error of the dead share on the validation wells "
        f"{origin.validation_error:.3f}, of a constant {origin.constant_error:.3f}; largest "
        f"difference between torch and onnxruntime {parity:.1e}"
    )


@evaluate.command(no_args_is_help=True)
def evaluate_encoders(
    bundles: Annotated[
        list[str],
        typer.Argument(
            help="Encoder bundles: folders, or names of shipped ones; a+b evaluates two as one."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for report.html, table.txt and one JSON file per encoder and image set; "
            "existing JSON files are not computed again."
        ),
    ],
    cache: Annotated[
        Path, typer.Option(help="Folder of rendered plates and embeddings; may be deleted.")
    ] = Path("evaluation-cache"),
    real_data: Annotated[
        Path | None,
        typer.Option(help="Folder of real images. Without it, these rows are left out."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of encoder threads.")] = 1,
    laboratories: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rank plates of so many simulated laboratories instead, with one renderer and one "
            "mechanism left out of all choices; writes laboratories.txt and laboratories.csv.",
        ),
    ] = None,
    *,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Use six small plates: a first answer within two minutes. With --laboratories: "
            "use two plates of 18 wells each.",
        ),
    ] = False,
) -> None:
    """Compare encoders and write a report.

    The tissue measures are compared as well, and a ranking_weight is proposed for each encoder.
    """
    from training.evaluation.candidates import load_candidates

    candidates = load_candidates(bundles, real_data)  # before torch is loaded
    if laboratories is not None:
        from training.evaluation import laboratories as protocol

        chosen = protocol.QUICK_LABORATORIES if quick else protocol.LaboratorySet()
        table = protocol.write_laboratories(
            candidates, replace(chosen, laboratories=laboratories), out, cache
        )
        typer.echo(table.read_text(encoding="utf-8"))
        return
    evaluation = _needing_torch("training.evaluation.evaluate")
    evaluation.evaluate_bundles(
        bundles,
        out,
        cache_folder=cache,
        real_data=real_data,
        chosen=evaluation.QUICK_SET if quick else None,
        threads=threads,
    )
    typer.echo((out / evaluation.TABLE).read_text(encoding="utf-8"))
    typer.echo(out / evaluation.REPORT)
