"""Commands ``train`` and ``evaluate``, which pass their arguments to the package ``training``.

The package ``daemon`` must not import ``training``, so both are found by their entry points.
"""

from typing import NoReturn

import typer

PASS_ARGUMENTS_ON = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
"""Context settings of a command that passes all its arguments on, ``--help`` included."""


def train(context: typer.Context) -> None:
    """Train an encoder, forecaster, segmenter or stain."""
    _run_entry_point("train", context)


def evaluate(context: typer.Context) -> None:
    """Compare encoders and write a report (extra `train`)."""
    _run_entry_point("evaluate", context)


def _run_entry_point(name: str, context: typer.Context) -> NoReturn:
    """Run the typer application of an entry point ``spherorank.commands`` with all arguments."""
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="spherorank.commands", name=name)
    typer.main.get_command(entry.load())(context.args, prog_name=context.command_path)
    raise AssertionError("typer ends the process itself")
