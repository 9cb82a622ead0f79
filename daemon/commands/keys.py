"""Commands for the CURVE keys of the service and its clients: ``keys``."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.console import ConfigOption, print_fields

group = typer.Typer(
    help="Make and allow the CURVE keys of the service and its clients.", no_args_is_help=True
)
NameArgument = Annotated[str, typer.Argument(help="Name of the client.")]


@group.command()
def new(
    config: ConfigOption = None,
    *,
    client: Annotated[
        str | None,
        typer.Option(help="Make the key pair of a client with this name, not of the service."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the two files of the key pair of a client.")
    ] = Path(),
) -> None:
    """Make a key pair: a public and a secret file.

    The files of the service are written to `publisher.keys`.
    """
    from daemon.config import load_config
    from daemon.messaging import key_files

    if client is not None:
        public = key_files.new_pair(out, client)
    else:
        public = key_files.new_pair(load_config(config).publisher.keys, key_files.SERVICE)
    print_fields(
        f"{public} (for the other side) and {public.with_suffix(key_files.SECRET)} (secret)"
    )


@group.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """Print the public keys of the service and allowed clients.

    Each line has a name and a key, separated by a tab.
    """
    from daemon.config import credentials_folder, load_config
    from daemon.messaging.key_files import SERVICE, KeyFolder

    folder = KeyFolder(load_config(config).publisher.keys, credentials_folder())
    print_fields(f"({SERVICE})", folder.service_pair().public.decode())
    for key, name in folder.allowed().items():
        print_fields(name, key.decode())


@group.command()
def allow(
    name: NameArgument,
    key: Annotated[Path, typer.Argument(help="File with the public key of the client.")],
    config: ConfigOption = None,
) -> None:
    """Allow a client to connect, also to a running service."""
    from daemon.config import load_config
    from daemon.messaging.key_files import KeyFolder

    KeyFolder(load_config(config).publisher.keys).allow(name, key)


@group.command()
def revoke(name: NameArgument, config: ConfigOption = None) -> None:
    """Allow a client no longer; its connections are closed."""
    from daemon.config import load_config
    from daemon.messaging.key_files import KeyFolder

    KeyFolder(load_config(config).publisher.keys).revoke(name)
