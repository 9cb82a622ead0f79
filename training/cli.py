"""``spherorank train …`` and ``spherorank evaluate``: reads its input, calls one thing. torch is loaded when a command runs, not for ``--help``."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from schemas.errors import ConfigError

EXIT_STOPPED = 1

train = typer.Typer(
    help="Train encoders, forecasters and segmenters (extra `train`).",
    no_args_is_help=True,
    add_completion=False,
)
evaluate = typer.Typer(add_completion=False)


def _needing_torch(module: str) -> ModuleType:
    """Import a module of this package that needs the extra ``train``; without it say how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "training":
            raise
        raise ConfigError(
            "spherorank",
            f'the Python package {error.name} is missing; expected the extra: pip install "spherorank[train]"',
        ) from error


@train.command()
def ssl(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of checkpoint, curve and bundle; an unfinished training there is gone on with."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The training's configuration (deploy/train.example.toml shows every key)."
        ),
    ] = None,
) -> None:
    """Train an encoder on well images without labels and write its bundle to OUT/bundle."""
    settings = _needing_torch("training.encoder.config").load_training_config(config)
    trained = _needing_torch("training.encoder.train").train_encoder(settings, out)
    if trained.outcome == "stopped":
        typer.echo(
            f"{out}: stopped after {trained.steps} of {settings.run.steps} steps; the same command goes on",
            err=True,
        )
        raise typer.Exit(EXIT_STOPPED)
    if trained.bundle is not None:  # only the first of several processes writes it
        typer.echo(trained.summary)


@train.command()
def reduce(
    bundle: Annotated[
        str,
        typer.Argument(help="The encoder bundle: a folder, or the name of one that is shipped."),
    ],
    to: Annotated[str, typer.Option(help="float16, or int8 (static quantisation).")],
    config: Annotated[
        Path,
        typer.Option(
            help="A training's configuration: the images of its [data] calibrate and compare."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The folder of the reduced bundle; replaced if it exists.")
    ],
) -> None:
    """Write a smaller bundle, held to the full one on real images."""
    settings = _needing_torch("training.encoder.config").load_training_config(config)
    reduced = _needing_torch("training.encoder.reduced_precision").reduce_on(
        bundle, to, settings.data, out
    )
    megabytes = f"{reduced.bytes_before / 1e6:.1f} → {reduced.bytes_after / 1e6:.1f} MB"
    typer.echo(
        f"{out}: {megabytes}; likeness with float32 {reduced.likeness:.4f} (mean cosine of centred embeddings), largest difference {reduced.largest:.2g}"
    )


@train.command()
def forecaster(
    config: Annotated[
        Path | None,
        typer.Option(help="The forecaster's configuration; it also names the bundle's folder."),
    ] = None,
    *,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="Also learn a projection of the embedding; that encoder goes to <out>-encoder.",
        ),
    ] = False,
) -> None:
    """Train a forecaster on many plates' untreated wells and write its bundle."""
    trained = _needing_torch("training.forecaster.train").train_forecaster(
        config, typer.echo, joint=joint
    )
    typer.echo(f"{trained.bundle}: from {trained.plates} plates; {trained.worth}")


@train.command()
def segmenter(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of checkpoint and bundle; an unfinished training there is gone on with."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 18 views.")] = 850,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train a segmenter on virtual plates and write its bundle to OUT/bundle."""
    parity = _needing_torch("training.segmenter.train").run(
        out, seed=seed, steps=steps, threads=threads
    )
    typer.echo(f"{out / 'bundle'}: largest difference between torch and onnxruntime {parity:.1e}")


@evaluate.command(no_args_is_help=True)
def evaluate_encoders(
    bundles: Annotated[
        list[str],
        typer.Argument(
            help="Encoder bundles: folders or names of shipped ones; a+b judges two as one."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of report.html, table.txt and one JSON an encoder; what is there is not computed again."
        ),
    ],
    cache: Annotated[
        Path, typer.Option(help="Folder of rendered plates and embeddings; may be deleted.")
    ] = Path("evaluation-cache"),
    real_data: Annotated[
        Path | None, typer.Option(help="Folder of real images; without it they are left out.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Judge encoders side by side, hand measures beside them, and write a report."""
    judge = _needing_torch("training.evaluation.evaluate")
    judge.evaluate_bundles(bundles, out, cache_folder=cache, real_data=real_data, threads=threads)
    typer.echo((out / judge.TABLE).read_text(encoding="utf-8"))
    typer.echo(out / judge.REPORT)
