"""Parse dates and times with a zone from TOML values."""

import re
from datetime import date, datetime

YEARS = range(1990, 2101)
"""Years in which a plate can be seeded; a number that is read as a time is far outside."""
EXPECTED = "expected a date and time with zone, such as 2026-11-10T09:00:00+01:00"
_DATE = re.compile(r"[\d-]+(W[\d-]+)?")


def parse_moment(key: str, value: object) -> datetime:
    """Return the datetime with zone in the value of a TOML key: a datetime, or ISO 8601 text.

    Raises
    ------
    ValueError
        If the value is a number, has no time or no zone, or has a year outside :data:`YEARS`.
    """
    found: object = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{key} is {value!r}; {EXPECTED}") from None
    is_date = isinstance(found, date) and not isinstance(found, datetime)
    if is_date or (isinstance(value, str) and _DATE.fullmatch(value.strip())):
        raise ValueError(f"{key} is {value}, a date without a time; {EXPECTED}")
    if not isinstance(found, datetime):
        raise ValueError(  # noqa: TRY004 - a wrong value of a file
            f"{key} is {value!r}, no date and time; {EXPECTED}"
        )
    if found.utcoffset() is None:
        raise ValueError(f"{key} is {value}, a time without a zone; {EXPECTED}")
    if found.year not in YEARS:
        raise ValueError(f"{key} is {value}; expected a year from {YEARS[0]} to {YEARS[-1]}")
    return found
