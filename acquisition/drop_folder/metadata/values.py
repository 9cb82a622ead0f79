"""Read numbers, lengths, scales, bits and times from texts of image files."""

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

from acquisition.drop_folder.metadata.statements import Scale

SQUARE_TOLERANCE = 0.01
"""Largest relative difference of the µm per pixel in x and y of square pixels."""

_UM = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "μm": 1.0,  # the Greek letter; NFKC replaces the micro sign by it
    "um": 1.0,
    "âμm": 1.0,  # UTF-8 that was read as Latin-1
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "in": 25_400.0,
    "thou": 25.4,
}
_UM_WORDS = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micron": 1.0,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25_400.0,
    "inche": 25_400.0,  # the plural without its s
}
_OTHER_CASE = frozenset({"Mm", "Pm", "M"})  # megametre, petametre, molar
_ESCAPE = re.compile(r"\\[uU]([0-9a-fA-F]{4})")
_TIME = re.compile(
    r"(\d{4})[:/.-]?(\d\d)[:/.-]?(\d\d)"
    r"(?:[T ]+|,\s*|(?=\d{6}\b))"
    r"(\d\d):?(\d\d):?(\d\d)(?:[.,:](\d{1,9}))?"
    r"\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)
_SECONDS = {
    "d": 86_400.0,
    "h": 3600.0,
    "min": 60.0,
    "s": 1.0,
    "ds": 0.1,
    "cs": 0.01,
    "ms": 1e-3,
    "μs": 1e-6,
    "us": 1e-6,
    "ns": 1e-9,
}


def number(text: object) -> float | None:
    """Return the finite number in a text as float; None if the text is no such number."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def positive(text: object) -> float | None:
    """Return the finite number above zero in a text as float; None if there is no such number."""
    value = number(text)
    return value if value is not None and value > 0 else None


def unit_um(unit: object) -> float | None:
    r"""Return the length in µm of a unit from its name; None if the text is no unit of length.

    The micro sign may be U+00B5, U+03BC, the text ``\u00b5`` (ImageJ), or a letter u.
    """
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), str(unit))
    text = unicodedata.normalize("NFKC", text).strip("\0 \t\"'")
    if text in _UM or text in _OTHER_CASE:
        return _UM.get(text)
    folded = text.casefold()
    word = folded.removesuffix("s").replace("metre", "meter")
    return _UM.get(folded, _UM_WORDS.get(word))


def unit_s(unit: object) -> float | None:
    """Return the seconds in a unit of time from its name; None if the text is no unit of time."""
    return _SECONDS.get(unicodedata.normalize("NFKC", str(unit)).strip())


def square_scale(x_um: float | None, y_um: float | None) -> Scale | None:
    """Return the Scale of pixels from their width and height in µm, or None if neither is stated.

    Parameters
    ----------
    x_um
        The width of a pixel in µm; None if it is not stated.
    y_um
        The height of a pixel in µm; None if it is not stated.

    Returns
    -------
    Scale or None
        None if neither is stated; a scale without a value if they differ.
    """
    stated = [value for value in (x_um, y_um) if value is not None]
    if not stated:
        return None
    if max(stated) - min(stated) > SQUARE_TOLERANCE * max(stated):
        return Scale(None)
    return Scale(stated[0])


def bits_of_white(white: float | None) -> int | None:
    """Return the bits of a camera whose brightest value is ``white``, such as 12 for 4095.

    Return None if it is not close to a power of two between 8 and 16 bits.
    """
    if white is None or white <= 0:
        return None
    bits = round(math.log2(white))
    is_power = abs(math.log2(white) - bits) < 0.01  # noqa: PLR2004 - 65520 and 65536 are 16 bits
    return bits if is_power and 8 <= bits <= 16 else None  # noqa: PLR2004 - bits of grey images


def time_of(text: object) -> datetime | None:
    """Return the date and time in a text; None if there is none or its year is not plausible.

    The form is ISO 8601 or that of TIFF (``2026:11:16 15:00:00``), with or without a fraction of a
    second and a time zone. Programs without a clock write the year 0, 1, 1601 or 1970.
    """
    match = _TIME.fullmatch(str(text).strip("\0 \t\r\n"))
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = (fraction or "").ljust(6, "0")[:6]
    iso = f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micros}{_iso_zone(zone)}"
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return time if 1990 <= time.year <= 2200 else None  # noqa: PLR2004 - plausible years


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """Return the earliest of the known times; None if none is known.

    A time without a zone is compared as if it were in UTC.
    """
    known = [time for time in times if time is not None]
    return min(
        known,
        key=lambda time: (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(),
        default=None,
    )


def _iso_zone(zone: str | None) -> str:
    """Return a time zone as ``+01:00``; an empty text for none."""
    if zone is None:
        return ""
    if zone in ("Z", "UTC", "GMT"):
        return "+00:00"
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return f"{zone[0]}{digits[:2]}:{digits[2:]}"
