"""Files that contain a secret. No error text contains the content of a file."""

import os
from pathlib import Path

from schemas.errors import ConfigError

MAX_FILE_BYTES = 1000


def read_secret(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a secret from a file that only its owner may read, without white space at its end.

    At most ``max_bytes`` are read.

    Raises
    ------
    ConfigError
        If the file cannot be read, or other users may read it.
    """
    secret = read_short_file(path, max_bytes)
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            path, f"can be used by other users (mode {mode:04o}); expected 0600: chmod 600 {path}"
        )
    return secret


def read_credential(
    folder: Path | None, name: str, max_bytes: int = MAX_FILE_BYTES
) -> bytes | None:
    """Read a credential of systemd, which restricts its readers; None without this credential.

    Parameters
    ----------
    folder
        The folder of the credentials; None without systemd.
    """
    if folder is None or not (folder / name).is_file():
        return None
    return read_short_file(folder / name, max_bytes)


def read_short_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read the start of a file without white space at its end; raise ConfigError on failure."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes).rstrip()
    except OSError as error:
        raise ConfigError(
            path, f"cannot be read ({error.strerror}); expected a file with a key or password"
        ) from error
