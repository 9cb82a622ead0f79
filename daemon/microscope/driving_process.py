"""The process that drives the microscope, as its lock file names it.

This module loads neither Micro-Manager nor OpenCV, so that orders to this process are quick.
"""

import contextlib

import psutil

from daemon.config import Config
from daemon.config_sections import MicromanagerSection
from schemas.errors import ConfigError
from schemas.portable_files import read_holder


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
        process = int(read_holder(micromanager_section(config).state / "lock"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(psutil.Error):
        return process if "acquire" in psutil.Process(process).cmdline() else None
    return None
