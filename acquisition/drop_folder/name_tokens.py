"""Split a pattern of file names into tokens: literal texts, known fields and ignored text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath

from schemas.errors import ConfigError
from schemas.well import MAX_COLUMNS, MAX_ROWS, PLATE_SHAPES, parse_well, row_column

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
ELAPSED_FIELDS = frozenset({"elapsed_day", "elapsed_hours", "elapsed_minutes"})
NUMBER_FIELDS = frozenset({"day", "field", "plane", *ELAPSED_FIELDS})
KNOWN_FIELDS = frozenset({"plate", "well", "row", "col", "channel", "taken_at", *NUMBER_FIELDS})
PLAUSIBLE_YEARS = range(1990, 2201)
"""Years in which an image may have been taken; a time in another year is not used."""

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)(?::([^{}/]+))?\}", re.IGNORECASE)
_ISO_TIME = re.compile(
    r"(?P<date>\d{4}-?\d{2}-?\d{2})(?:T(?P<underscored>\d{2}_\d{2}_\d{2})|"  # as Harmony does
    r"[T_ -]?(?P<hour>\d{2})[:h.-]?(?P<minute>\d{2})"
    r"(?:[:m.-]?(?P<second>\d{2})s?(?:[.,](?P<fraction>\d{1,9}))?)?)"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?",
)
_WELL_FORMS = {
    None: re.compile(r"[A-Pa-p]\d{1,2}"),
    "a0": re.compile(r"[A-Pa-p]\d{1,2}"),
    "a00": re.compile(r"[A-Pa-p]\d{2}"),
    "aa00": re.compile(r"(?:A[A-F]|a[a-f]|[A-Za-z])\d{2}"),
}
"""Texts of a well by form. Rows after P are read on demand: T1 and Z3 are often time and plane."""
_STRPTIME = {
    **dict.fromkeys("mdHMSyI", r"\d{2}"),
    "Y": r"\d{4}",
    "j": r"\d{3}",
    "f": r"\d{1,6}",
    "b": r"[A-Za-z]{3}",
    "p": r"[AaPp][Mm]",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
    "%": "%",
}


@dataclass(frozen=True)
class Token:
    """A part of a pattern: a placeholder, or literal text, whose ``name`` is empty."""

    name: str
    text: re.Pattern[str]  # matches the longest possible text; shorter ones are tried too
    strptime: str | None = None  # format of a date and time


def tokens_of(pattern: str) -> Iterator[Token]:
    """Yield the literal texts and placeholders of a pattern in their order."""
    position = 0
    for found in _PLACEHOLDER.finditer(pattern):
        if found.start() > position:
            yield _literal(pattern, position, found.start())
        yield _placeholder(pattern, found[1], found[2])
        position = found.end()
    if position < len(pattern):
        yield _literal(pattern, position, len(pattern))


def _literal(pattern: str, start: int, end: int) -> Token:
    """Return the token of the literal text between two positions of a pattern.

    The extension at the end of the pattern matches in upper and lower case.
    """
    text = pattern[start:end]
    if "{" in text or "}" in text:
        raise ConfigError(
            "source.pattern",
            f"is {pattern!r}; expected placeholders such as {{well}} or "
            f"{{taken_at:%Y%m%d_%H%M%S}}, found {text!r}",
        )
    suffix = PurePosixPath(text).suffix or (text if text.startswith(".") else "")
    if end < len(pattern) or not suffix.lower().endswith(IMAGE_SUFFIXES):
        return Token("", re.compile(re.escape(text)))
    return Token("", re.compile(f"{re.escape(text.removesuffix(suffix))}(?i:{re.escape(suffix)})"))


def _placeholder(pattern: str, name: str, form: str | None) -> Token:
    """Return the token of a placeholder ``{name}`` or ``{name:form}``."""
    fail = partial(ConfigError, "source.pattern")
    if name == "taken_at":
        return Token(name, _strptime_regex(pattern, form), form) if form else Token(name, _ISO_TIME)
    if name == "well":
        if form not in _WELL_FORMS:
            raise fail(
                f"is {pattern!r}; {{well:{form}}} is not known, expected {{well}} or {{well:a00}}, "
                "or {well:aa00} for 1536 wells"
            )
        return Token(name, _WELL_FORMS[form])
    if name in NUMBER_FIELDS or name in {"row", "col"}:
        if form is not None and form.strip("0"):
            raise fail(
                f"is {pattern!r}; {{{name}:{form}}} is not known, expected {{{name}}} or "
                f"as many zeros as it has digits, {{{name}:00}}"
            )
        most = 2 if name in {"row", "col"} else 6
        digits = rf"\d{{{len(form)}}}" if form else rf"\d{{1,{most}}}"
        return Token(name, re.compile(f"[A-Pa-p]|{digits}" if name == "row" else digits))
    if form is not None and (name == "plate" or form.strip("0")):
        raise fail(f"is {pattern!r}; {{{name}:{form}}} is not known, expected {{{name}}}")
    if name.lower() in KNOWN_FIELDS and name not in KNOWN_FIELDS:
        raise fail(f"is {pattern!r}; {{{name}}} is not known, expected {{{name.lower()}}}")
    return Token(name, re.compile(rf"\d{{{len(form)}}}" if form else r"[^/]+"))


def _strptime_regex(pattern: str, form: str) -> re.Pattern[str]:
    """Return the regular expression of a date and time in a ``strptime`` format."""
    unknown = [code for code in re.findall(r"%(.?)", form) if code not in _STRPTIME]
    codes = set(re.findall(r"%(.)", form))
    if (
        unknown
        or not codes & {"Y", "y"}
        or not (codes >= {"d", "m"} or codes >= {"d", "b"} or "j" in codes)
    ):
        raise ConfigError(
            "source.pattern",
            f"is {pattern!r}; {{taken_at:{form}}} is not a date, expected year, month and day of "
            f"{' '.join(f'%{code}' for code in _STRPTIME)}",
        )
    pieces = re.findall(r"%.|[^%]", form)
    return re.compile(
        "".join(
            _code_regex(piece[1], pieces[number - 1] if number else "", pieces[number + 1 :])
            if piece.startswith("%")
            else re.escape(piece)
            for number, piece in enumerate(pieces)
        )
    )


def _code_regex(code: str, before: str, after: list[str]) -> str:
    """Return the regular expression of a code; a number between separators may have one digit."""
    digits = _STRPTIME[code]
    is_apart = not before.startswith("%") and bool(after) and not after[0][-1].isalnum()
    return r"(?<!\d)\d{1,2}" if digits == r"\d{2}" and code != "y" and is_apart else digits


def value_of(token: Token, match: re.Match[str]) -> object | None:
    """Return the value of the text of a placeholder; None if the text is invalid, like ``B00``."""
    text = match[0]
    try:
        if token.name == "well":
            well = parse_well(text)
            is_large = token.text is _WELL_FORMS["aa00"]
            return well if is_large or row_column(well)[1] <= PLATE_SHAPES[384][1] else None
        if token.name == "taken_at":
            time = datetime.strptime(text, token.strptime) if token.strptime else _iso_time(match)  # noqa: DTZ007 - the plate map has the zone
            return time if time.year in PLAUSIBLE_YEARS else None
    except ValueError:
        return None
    if token.name in ("row", "col"):
        number = int(text) if text.isdigit() else ord(text.upper()) - ord("A") + 1
        return number if 1 <= number <= (MAX_COLUMNS if token.name == "col" else MAX_ROWS) else None
    return int(text) if token.name in NUMBER_FIELDS else text


def _iso_time(match: re.Match[str]) -> datetime:
    """Return the time of a match of ``_ISO_TIME``; naive if it has no time zone."""
    date = match["date"].replace("-", "")
    if match["underscored"]:
        time = match["underscored"].replace("_", ":")
    else:
        fraction = (match["fraction"] or "0").ljust(6, "0")[:6]
        time = f"{match['hour']}:{match['minute']}:{match['second'] or '00'}.{fraction}"
    return datetime.fromisoformat(f"{date[:4]}-{date[4:6]}-{date[6:]}T{time}{match['zone'] or ''}")
