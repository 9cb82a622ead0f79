"""``spherorank train …`` and ``spherorank evaluate``: reads its input, calls one thing. torch is loaded when a command runs, not for ``--help``."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from schemas.errors import ConfigError

train = typer.Typer(help="Train encoders, forecasters and segmenters. Needs the extra `train`.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _needing_torch(module: str) -> ModuleType:
    """Import a module of this package that needs the extra ``train``; without it say how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "training":
            raise
        raise ConfigError("spherorank train", f'the Python package {error.name} is missing; expected the extra: pip install "spherorank[train]"') from error


@train.callback()
def _group() -> None:
    """Keep ``train`` a group of commands however many it has."""


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
