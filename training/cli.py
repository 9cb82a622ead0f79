"""``spherorank train …`` and ``spherorank evaluate``: reads its input, calls one thing. torch is loaded when a command runs, not for ``--help``."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from schemas.errors import ConfigError

EXIT_STOPPED = 1

train = typer.Typer(help="Train encoders, forecasters and segmenters (extra `train`).", no_args_is_help=True, add_completion=False)


def _needing_torch(module: str) -> ModuleType:
    """Import a module of this package that needs the extra ``train``; without it say how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "training":
            raise
        raise ConfigError("spherorank train", f'the Python package {error.name} is missing; expected the extra: pip install "spherorank[train]"') from error


@train.command()
def ssl(
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, curve and bundle; an unfinished training there is gone on with.")],
    config: Annotated[Path | None, typer.Option(help="The training's configuration (deploy/train.example.toml shows every key).")] = None,
) -> None:
    """Train an encoder on well images without labels and write its bundle to OUT/bundle."""
    settings = _needing_torch("training.config").load_training_config(config)
    trained = _needing_torch("training.ssl").train_encoder(settings, out)
    if trained.bundle is None:
        typer.echo(f"{out}: stopped after {trained.steps} of {settings.run.steps} steps; the same command goes on", err=True)
        raise typer.Exit(EXIT_STOPPED)
    typer.echo(trained.summary)


@train.command()
def segmenter(
    out: Annotated[Path, typer.Option(help="Folder of checkpoint and bundle; an unfinished training there is gone on with.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 18 views.")] = 850,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train a segmenter on virtual plates and write its bundle to OUT/bundle."""
    parity = _needing_torch("training.segmenter").run(out, seed=seed, steps=steps, threads=threads)
    typer.echo(f"{out / 'bundle'}: largest difference between torch and onnxruntime {parity:.1e}")
