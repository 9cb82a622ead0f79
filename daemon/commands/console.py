"""Consoles, the ``--config`` option and the exit for refused inputs, shared by all commands.

All text output passes through this module, which escapes control characters.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from schemas.errors import SpheroRankError
from schemas.exit_codes import ExitCode
from schemas.ids import id_problem, printable, printable_json

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


class LineConsole(Console):
    r"""A console that prints each text and each cell of a table on its line, without markup.

    Characters that are not printable, such as line breaks and terminal codes in a file name, are
    escaped. Several lines are several texts: ``print(*lines, sep="\n")``.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the options of Console
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - the options of Console
        """Return the Text that is printed for a string."""
        return super().render_str(printable(text), **options)


errors = LineConsole(stderr=True, soft_wrap=True)
screen = LineConsole(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE)


def print_fields(*fields: str) -> None:
    """Print texts on one line of stdout, separated by tabs."""
    typer.echo("\t".join(map(printable, fields)))


def print_json(text: str) -> None:
    """Print JSON text on stdout."""
    typer.echo(printable_json(text))


def exit_if_refused(refused: Sequence[SpheroRankError]) -> None:
    """Print the errors of refused inputs to stderr and exit with code 1; return if there are none.

    The inputs without an error are processed before this call.

    Raises
    ------
    typer.Exit
        If ``refused`` is not empty.
    """
    for error in refused:
        errors.print(str(error))
    if refused:
        raise typer.Exit(ExitCode.FAILED)
