"""The process that drives the microscope, as its lock file names it.

This module loads neither Micro-Manager nor OpenCV, so that orders to this process are quick.
"""

import contextlib
from pathlib import Path

from daemon.config import Config, MicromanagerSection
from schemas.errors import ConfigError


def micromanager_section(config: Config) -> MicromanagerSection:
    """Return the section ``[source.micromanager]``; raise ConfigError if there is none."""
    section = config.source.micromanager
    if section is None:
        raise ConfigError(
            "source.micromanager", "is missing; expected a table with config and a1_um"
        )
    return section


def driving_process(config: Config) -> int | None:
    """Return the id of the process that drives the microscope, or None without such a process.

    The lock itself is not touched, so that no process that starts meanwhile finds it held.
    """
    try:
        process = int((micromanager_section(config).state / "lock").read_text())
    except (OSError, ValueError):
        return None
    command = Path(f"/proc/{process}/cmdline")
    with contextlib.suppress(OSError):
        return process if b"acquire" in command.read_bytes() else None
    return None
