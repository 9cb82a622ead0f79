"""A PostgreSQL server of our own, in a folder that goes away: the real thing, without touching any server of the machine."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def server_programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, or None where they are not installed (Debian: the package ``postgresql``)."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: int(folder.parent.name),
        reverse=True,
    )
    on_path = shutil.which("initdb")
    candidates = [*versions, *([Path(on_path).resolve().parent] if on_path else [])]
    return next(
        (
            folder
            for folder in candidates
            if (folder / "initdb").exists() and (folder / "pg_ctl").exists()
        ),
        None,
    )


@contextmanager
def private_server(programs: Path) -> Iterator[str]:
    """Run a server that listens on a unix socket only; give the URL of its databases with ``{database}`` for the name."""
    with tempfile.TemporaryDirectory(
        prefix="spherorank-pg-"
    ) as name:  # short: a socket's path has at most 107 characters
        folder = Path(name)
        owner = _unprivileged_user()
        if owner is not None:
            shutil.chown(folder, owner)

        def run(*command: str) -> None:
            # To a file and not to a pipe: the server keeps what pg_ctl hands on, and a pipe would never end.
            with (folder / "log").open("ab") as log:
                subprocess.run(
                    [str(programs / command[0]), *command[1:]],
                    check=True,
                    cwd=folder,
                    user=owner,
                    stdout=log,
                    stderr=log,
                    timeout=60,
                )

        run(
            "initdb",
            "-D",
            f"{folder}/data",
            "-U",
            "spherorank",
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/data", "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://spherorank@/{{database}}?host={folder}"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-w", "-m", "immediate", "stop")


def _unprivileged_user() -> str | None:
    """Return whom the server runs as: PostgreSQL refuses root, so root lends it to a user without rights."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
