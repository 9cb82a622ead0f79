"""The state file of the process that notifies people; the service reads it."""

from datetime import datetime

from pydantic import Field

from schemas.frozen_model import FrozenModel


class ChannelState(FrozenModel):
    """State of one channel to people, such as a mailbox."""

    where: str
    """File or key, line and scheme of the channel's URL; no part of it is secret."""
    sequence: int
    """Sequence number up to which every message that concerns people was sent on this channel."""
    failing_since: datetime | None = None
    """Time of the first failed attempt; null if the last attempt succeeded."""
    problem: str = ""
    """Problem of the last attempt, without secrets; empty if it succeeded."""


class NotificationState(FrozenModel):
    """State of the process that notifies people."""

    heard_at: datetime | None = None
    """Time at which the process last received a message of the service; null before the first."""
    channels: dict[str, ChannelState] = Field(default_factory=dict)
    """State of each channel, by a digest of its URL without passwords and tokens."""
