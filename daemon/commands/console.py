"""Consoles, the ``--config`` option and the exit for refused inputs, shared by all commands."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import SpheroRankError
from schemas.exit_codes import ExitCode
from schemas.ids import id_problem, printable

WIDTH_IN_A_PIPE = 140  # characters; a pipe has no width of its own

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Configuration file (TOML). Without it, every setting has its default."
    ),
]


def _as_id(text: str) -> str:
    """Return the id of a plate or specimen in a command line; exit with code 2 if it is none."""
    if problem := id_problem(text):
        raise typer.BadParameter(f"'{printable(text)}' {problem}")
    return text


PlateArgument = Annotated[str, typer.Argument(help="Plate id.", callback=_as_id)]
SpecimenArgument = Annotated[
    str, typer.Argument(help="Specimen id, as the plate maps name it.", callback=_as_id)
]

errors = Console(stderr=True, highlight=False, soft_wrap=True)
screen = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)


def exit_if_refused(refused: Sequence[SpheroRankError]) -> None:
    """Print the errors of refused inputs to stderr and exit with code 1; return if there are none.

    The inputs without an error are processed before this call.

    Raises
    ------
    typer.Exit
        If ``refused`` is not empty.
    """
    for error in refused:
        errors.print(printable(str(error)), markup=False)
    if refused:
        raise typer.Exit(ExitCode.FAILED)
