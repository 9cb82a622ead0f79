"""Durations as text for operators."""

from datetime import timedelta


def duration_text(duration: timedelta) -> str:
    """Return a duration as text in its two largest units, such as ``2 h 13 min``."""
    seconds = max(round(duration.total_seconds()), 0)
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
