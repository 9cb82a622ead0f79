"""Read numbers as people write them: ``0.5``, ``0,5``, ``5e-1``."""

import math
import re

NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
"""Regular expression of a number with a decimal point or a decimal comma."""
_NUMBER = re.compile(NUMBER)
_COMMA = re.compile(r"\d,\d")
_COMMA_OR_THOUSANDS = re.compile(r"([1-9]\d{0,2}),(\d{3})")
_POINT_OR_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}\.\d{3}(?!\d)")


def parse_decimal(text: str, *, largest: float = math.inf) -> float:
    """Return the float in a text with a decimal point or comma, at most ``largest`` expected.

    ``1,000`` may be 1 or 1000. It is read as 1 only if 1000 is larger than ``largest``.

    Raises
    ------
    ValueError
        If the text is not a finite number, or can be read as two numbers.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    either = _COMMA_OR_THOUSANDS.fullmatch(text)
    if either and float(either[1] + either[2]) <= largest:
        raise ValueError(
            f"{text!r} can be read as {either[1]}.{either[2]} or {either[1]}{either[2]}; "
            "expected a number with a decimal point and without separators of thousands"
        )
    number = float(text.replace(",", "."))
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is too large; expected a finite number")
    return number


def has_decimal_comma(text: str) -> bool:
    """Return whether a text contains a number with a comma, such as ``0,5``."""
    return _COMMA.search(text) is not None


def has_possible_thousands(text: str) -> bool:
    """Return whether a text contains a number such as ``1.500``: 1.5, or 1500 in some languages."""
    return _POINT_OR_THOUSANDS.search(text) is not None
