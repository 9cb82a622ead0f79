"""Alerts about the process that notifies people, from the state file that it writes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from daemon.alerts import Alerts
from daemon.duration_text import duration_text
from schemas.errors import ConfigError
from schemas.messages import AlertKind
from schemas.notification import NotificationState

REPORTED_WITHIN = timedelta(minutes=2)
"""The state file of a running process is newer than this."""
_PROCESS = "process"


def read_state(path: Path) -> NotificationState | None:
    """Return the state in a file; None if the file does not exist.

    Raises
    ------
    ConfigError
        If the file cannot be read or is damaged.
    """
    try:
        return NotificationState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror}); expected a file") from error
    except ValidationError as error:
        raise ConfigError(
            path,
            "is damaged; expected the JSON that spherorank notify writes. Without this file, "
            "people are notified of new messages only",
        ) from error


@dataclass(frozen=True)
class Notifications:
    """Raises an alert for each failing channel to people, and if their process does not run.

    Parameters
    ----------
    state_file
        The file of the process; None if no channel is configured.
    started_at
        Start of the service; the process has some time from then on.
    now
        Returns the present time.
    """

    state_file: Path | None
    alerts: Alerts
    started_at: datetime
    now: Callable[[], datetime]
    _raised: set[str] = field(default_factory=set)  # causes of the alerts

    def check(self) -> None:
        """Raise the alerts about channels and their process, and clear those without a cause."""
        found = self._problems()
        for cause in self._raised - found.keys():
            self.alerts.clear(AlertKind.NOTIFY, cause)
        for cause, problem in found.items():
            self.alerts.raise_once(AlertKind.NOTIFY, cause, problem)
        self._raised.clear()
        self._raised.update(found)

    def _problems(self) -> dict[str, str]:
        """Return the problem of each failing channel and of the process, by cause."""
        if self.state_file is None:
            return {}
        try:
            state = read_state(self.state_file) or NotificationState()
        except ConfigError as error:
            return {_PROCESS: str(error)}
        problems = {
            cause: f"people cannot be notified by {channel.where} since "
            f"{channel.failing_since:%Y-%m-%d %H:%M} UTC: {channel.problem}; it is tried again"
            for cause, channel in state.channels.items()
            if channel.failing_since is not None
        }
        silent = self.now() - max(self.started_at, state.heard_at or self.started_at)
        if silent > REPORTED_WITHIN:
            problems[_PROCESS] = (
                f"{self.state_file}: the process that notifies people has not reported for "
                f"{duration_text(silent)}; expected a running spherorank notify "
                "(unit spherorank-notify)"
            )
        return problems
