"""Commands that maintain the store: ``check``, ``backup``, ``restore``, ``size`` and others."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.console import ConfigOption, errors, screen
from schemas.exit_codes import ExitCode

group = typer.Typer(
    help="Check, back up, restore, measure, prune or copy the store.",
    no_args_is_help=True,
)


@group.command()
def check(config: ConfigOption = None) -> None:
    """Search the store for damage and print each problem.

    The service may run. Every row is read.
    """
    from daemon.jobs import store_maintenance

    problems = store_maintenance.check(config)
    for problem in problems:
        errors.print(problem)
    if problems:
        raise typer.Exit(ExitCode.FAILED)
    screen.print("No problem found.")


@group.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file of the backup; an old one is replaced.")],
    config: ConfigOption = None,
) -> None:
    """Copy the SQLite database to a file; the service may run.

    The copy is checked before it gets its name.
    """
    from daemon.jobs import store_maintenance

    size = store_maintenance.back_up(config, file)
    screen.print(f"{file}: {size:,} bytes, no problem found", soft_wrap=True)


@group.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup of a SQLite database.")],
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Change nothing; print the images since the backup whose files are gone.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Replace the SQLite database by a backup.

    The service must not run, except with --dry-run. The backup is checked first. The old database
    is kept, and the sequence numbers continue. Images since the backup are ingested again from
    their files; with --dry-run the exit code is 1 if such a file is missing or has changed.
    """
    from daemon.jobs import store_maintenance

    if dry_run:
        files, gone = store_maintenance.compare_with_backup(config, file)
        for path in gone:
            errors.print(f"{path}: is missing or has changed; its image would be lost")
        screen.print(f"Files of images since the backup: {files}. Missing or changed: {len(gone)}.")
        if gone:
            raise typer.Exit(ExitCode.FAILED)
        return
    aside, last = store_maintenance.restore(config, file)
    if aside is not None:
        screen.print(f"The old database is now {aside}", soft_wrap=True)
    screen.print(f"The next message has the sequence number {last + 1}.")


@group.command()
def size(config: ConfigOption = None) -> None:
    """Print rows and bytes of each table and plate.

    The service may run.
    """
    from daemon.jobs import store_maintenance

    screen.print(*store_maintenance.describe_size(config), sep="\n", soft_wrap=True)


@group.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete old data of closed plates.

    The section [retention] names the ages of messages, pictures and saved images. Observations,
    embeddings, rankings and messages about rankings are never deleted. The service must not run,
    except with --dry-run.
    """
    from daemon.jobs import store_maintenance

    found = store_maintenance.prune(config, dry_run=dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    for (plate, kind), number in found.items():
        screen.print(f"{plate or 'alerts'}: {number} {kind} {verb}", soft_wrap=True)
    if not found:
        screen.print("Nothing is old enough.")


@group.command()
def copy(
    url: Annotated[str, typer.Argument(help="URL of an empty database, as in store.url.")],
    password_file: Annotated[
        Path | None, typer.Option(help="File of mode 0600 with the password of this database.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Copy all tables to another database, such as PostgreSQL.

    No service may use either database.
    """
    from daemon.jobs import store_maintenance

    for table, rows in store_maintenance.copy(config, url, password_file).items():
        screen.print(f"{table}: {rows} rows")
