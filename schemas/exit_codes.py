"""Exit codes of every command and process of SpheroRank."""

from enum import IntEnum

from schemas.errors import ConfigError, SpheroRankError


class ExitCode(IntEnum):
    """Exit code of a process; systemd and lab control systems act on it."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2  # typer's own code for a wrong option or argument
    STALLED = 75  # an image or the microscope; EX_TEMPFAIL of sysexits.h: a later start may succeed
    WRONG_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: systemd does not restart the service
    HUNG_UP = 129  # 128 + SIGHUP, as a shell reports it: systemd restarts the service


def exit_code_of(error: SpheroRankError) -> ExitCode:
    """Return the ExitCode of a process that ends with this SpheroRankError."""
    if isinstance(error, ConfigError):
        return ExitCode.WRONG_CONFIGURATION
    return ExitCode.FAILED
