"""A private PostgreSQL server in a temporary folder, apart from any server of this machine."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def server_programs() -> Path | None:
    """Return the folder of initdb and pg_ctl (Debian package ``postgresql``), or None."""
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
    """Run a server that listens on a Unix socket only, and yield the URL of its databases.

    The URL contains ``{database}`` in place of the database name.
    """
    # A short path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="spherorank-pg-") as name:
        folder = Path(name)
        owner = _unprivileged_user()
        if owner is not None:
            shutil.chown(folder, owner)

        def run(*command: str) -> None:
            # To a file: the server inherits the output, so a pipe would stay open.
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
    """Return the user that runs the server if this process is root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
