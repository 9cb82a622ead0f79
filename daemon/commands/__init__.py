"""The command line ``spherorank``: one module for each group of commands.

Importing this package loads neither NumPy, OpenCV nor pandas. A command imports the modules that do
its work when it runs.
"""

import sys
from typing import Annotated, NoReturn

import typer

from daemon.commands import (
    acquire,
    fluorescence,
    images,
    keys,
    messages,
    notify,
    rank,
    service,
    simulation,
    store,
    training,
)
from daemon.commands.console import errors, screen
from schemas.errors import SpheroRankError
from schemas.exit_codes import exit_code_of

app = typer.Typer(
    name="spherorank",
    help="Rank drug treatments on tumour spheroid plates from daily bright-field images. "
    "For research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # rich's help pages load a Markdown parser and take twice as long
)


def main() -> NoReturn:
    """Run the command line and end the process with an exit code of :class:`ExitCode`.

    An anticipated error (:class:`SpheroRankError`) is printed to stderr without a traceback.
    """
    try:
        app()
    except SpheroRankError as error:
        errors.print(*str(error).split("\n"), sep="\n")
        sys.exit(exit_code_of(error))
    raise AssertionError("typer ends the process itself")


@app.callback(invoke_without_command=True)
def _print_version(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed_version

        screen.print(installed_version("spherorank"))
        raise typer.Exit


app.command()(service.run)
app.command()(service.check)
app.command()(service.status)
app.command()(service.rejected)
app.add_typer(rank.group, name="rank")
app.command()(simulation.simulate)
app.command()(simulation.demo)
app.command()(images.embed)
app.command()(images.measure)
app.command()(fluorescence.quantify_fluorescence)
app.command()(messages.listen)
app.command()(notify.notify)
app.add_typer(keys.group, name="keys")
app.add_typer(acquire.group, name="acquire")
app.add_typer(store.group, name="store")
app.command(context_settings=training.PASS_ARGUMENTS_ON)(training.train)
app.command(context_settings=training.PASS_ARGUMENTS_ON)(training.evaluate)
