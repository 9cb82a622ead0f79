"""Parse file names by a pattern such as ``{plate}/day{day}/{well}_z{plane}.tif``.

A name is matched to the pattern in every possible way. If two ways give different values of a known
field, the name is ambiguous: the file is refused with both results, so that no image is assigned to
the wrong well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath

from schemas.errors import ConfigError, ImageError
from schemas.well import PLATE_SHAPES, parse_well, well_at

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
NUMBER_FIELDS = frozenset({"day", "elapsed_day", "field", "plane"})
KNOWN_FIELDS = frozenset({"plate", "well", "row", "col", "taken_at", *NUMBER_FIELDS})

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)(?::([^{}/]+))?\}", re.IGNORECASE)
_ISO_TIME = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})[T_ -]?(\d{2})[:h.-]?(\d{2})"  # date, hour and minute
    r"(?:[:m.-]?(\d{2})s?(?:[.,](\d{1,9}))?)?"  # second and its fraction
    r"(Z|[+-]\d{2}:?\d{2})?",  # time zone
)
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
_TEMPORARY = re.compile(r"^[.~]|~$|\.(?:tmp|part|partial|crdownload)$", re.IGNORECASE)
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
)


@dataclass(frozen=True)
class ParsedName:
    """The values of the known fields in a file name; None if the pattern has no such field."""

    well: str  # as B02
    plate: str | None = None
    day: int | None = None  # culture day, from 1; an elapsed day in the name is converted
    plane: int | None = None  # as numbered in the name
    field: int | None = None  # site within the well, as numbered in the name
    taken_at: datetime | None = None  # naive if the name has no time zone

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {value}" for name, value in vars(self).items() if value is not None
        )


@dataclass(frozen=True)
class _Token:
    """A part of a pattern: a placeholder, or literal text, whose ``name`` is empty."""

    name: str
    text: re.Pattern[str]  # matches the longest possible text; shorter ones are tried too
    strptime: str | None = None  # format of a date and time


@dataclass(frozen=True)
class NamePattern:
    """A pattern of file names, compiled by :func:`compile_pattern`."""

    text: str
    part_count: int  # of a path, with the file name: the pattern describes the last parts
    fields: frozenset[str]  # the known fields in the pattern
    tokens: tuple[_Token, ...]
    repeated: frozenset[str]  # placeholders that occur more than once and must agree

    @property
    def one_plane_per_file(self) -> bool:
        """True if the names contain the plane, so that each file holds one plane."""
        return "plane" in self.fields

    def parse(self, path: str) -> ParsedName:
        """Return the values in the last parts of a path below the drop folder.

        Raises
        ------
        ImageError
            If the path does not fit the pattern, or fits it in two ways with different values.
        """
        if "\\" in path:
            raise ImageError(
                path, "its name has a backslash or bytes that are not UTF-8; expected plain text"
            )
        tail = "/".join(path.split("/")[-self.part_count :])
        names = sorted(set(map(_parsed_name, self._matches(tail))), key=str)
        if not names:
            raise ImageError(path, f"the name does not fit the pattern {self.text}")
        if len(names) > 1:
            raise ImageError(
                path, f"the name fits {self.text} in two ways: {names[0]}; or {names[1]}"
            )
        return names[0]

    def _matches(self, text: str) -> set[tuple[tuple[str, object], ...]]:
        """Return the values of the known fields for every way in which a text fits the pattern.

        The search is breadth first, so that equal states are extended once.
        """
        states: set[tuple[int, tuple[tuple[str, object], ...]]] = {(0, ())}
        for index, token in enumerate(self.tokens):
            last = index == len(self.tokens) - 1
            states = {
                (end, values)
                for start, known in states
                for end, values in self._extend(token, text, start, known)
                if not last or end == len(text)
            }
        return {
            tuple((name, value) for name, value in values if name in KNOWN_FIELDS)
            for _, values in states
        }

    def _extend(
        self, token: _Token, text: str, start: int, known: tuple[tuple[str, object], ...]
    ) -> Iterator[tuple[int, tuple[tuple[str, object], ...]]]:
        """Yield the end and the known values of every match of a token that begins at ``start``."""
        longest = token.text.match(text, start)
        if longest is None:
            return
        if not token.name:
            yield longest.end(), known
            return
        for end in range(start + 1, longest.end() + 1):
            if (match := token.text.fullmatch(text, start, end)) is None:
                continue
            value = _value(token, match)
            if value is None or dict(known).get(token.name, value) != value:
                continue
            kept = token.name in KNOWN_FIELDS or token.name in self.repeated
            yield (
                end,
                (tuple(sorted({**dict(known), token.name: value}.items())) if kept else known),
            )


def compile_pattern(text: str) -> NamePattern:
    """Return the compiled form of a pattern of file names.

    Raises
    ------
    ConfigError
        If the pattern has no well, has a quantity twice, or has an unknown placeholder.
    """
    parts = text.split("/")
    tokens = tuple(_tokens(text))
    names = [token.name for token in tokens if token.name]
    fields = KNOWN_FIELDS.intersection(names)
    problem = None
    if not all(parts) or ".." in parts or "\\" in text:
        problem = "expected a path below the drop folder with / between its parts"
    elif ("well" in fields) == ("row" in fields) or ("row" in fields) != ("col" in fields):
        problem = "expected either {well} or both {row} and {col}"
    elif {"day", "elapsed_day"} <= fields:
        problem = "expected {day} or {elapsed_day}, not both"
    elif not is_image_name(text) and tokens[-1].name in ("", *KNOWN_FIELDS):
        problem = f"expected a file name that ends in one of {', '.join(IMAGE_SUFFIXES)}"
    if problem:
        raise ConfigError("source.pattern", f"is {text!r}; {problem}")
    return NamePattern(
        text, len(parts), fields, tokens, frozenset(name for name in names if names.count(name) > 1)
    )


def is_image_name(name: str) -> bool:
    """Return whether a file name has the extension of an image, in upper or lower case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_ignored(path: str) -> bool:
    """Return whether a path is hidden, temporary or in a folder of the operating system."""
    *folders, name = path.split("/")
    stem = name.rsplit(".", 1)[0]
    return any(
        folder.startswith(".") or folder.lower() in _SYSTEM_FOLDERS for folder in folders
    ) or any(map(_TEMPORARY.search, (name, stem)))


def _tokens(pattern: str) -> Iterator[_Token]:
    """Yield the literal texts and placeholders of a pattern in their order."""
    position = 0
    for found in _PLACEHOLDER.finditer(pattern):
        if found.start() > position:
            yield _literal(pattern, position, found.start())
        yield _placeholder(pattern, found[1], found[2])
        position = found.end()
    if position < len(pattern):
        yield _literal(pattern, position, len(pattern))


def _literal(pattern: str, start: int, end: int) -> _Token:
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
    if end < len(pattern) or not is_image_name(suffix):
        return _Token("", re.compile(re.escape(text)))
    return _Token("", re.compile(f"{re.escape(text.removesuffix(suffix))}(?i:{re.escape(suffix)})"))


def _placeholder(pattern: str, name: str, form: str | None) -> _Token:
    """Return the token of a placeholder ``{name}`` or ``{name:form}``."""
    fail = partial(ConfigError, "source.pattern")
    if name == "taken_at":
        return (
            _Token(name, _strptime_regex(pattern, form), form) if form else _Token(name, _ISO_TIME)
        )
    if name == "well":
        if form not in (None, "a00", "a0"):
            raise fail(
                f"is {pattern!r}; {{well:{form}}} is not known, expected {{well}} or {{well:a00}}"
            )
        return _Token(name, re.compile(r"[A-Pa-p]\d{2}" if form == "a00" else r"[A-Pa-p]\d{1,2}"))
    if name in NUMBER_FIELDS or name in {"row", "col"}:
        if form is not None and form.strip("0"):
            raise fail(
                f"is {pattern!r}; {{{name}:{form}}} is not known, expected {{{name}}} or "
                f"as many zeros as it has digits, {{{name}:00}}"
            )
        most = 2 if name in {"row", "col"} else 6
        digits = rf"\d{{{len(form)}}}" if form else rf"\d{{1,{most}}}"
        return _Token(name, re.compile(f"[A-Pa-p]|{digits}" if name == "row" else digits))
    if form is not None:
        raise fail(f"is {pattern!r}; {{{name}:{form}}} is not known, expected {{{name}}}")
    if name.lower() in KNOWN_FIELDS and name not in KNOWN_FIELDS:
        raise fail(f"is {pattern!r}; {{{name}}} is not known, expected {{{name.lower()}}}")
    return _Token(name, re.compile(r"[^/]+"))


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
    return re.compile(
        "".join(
            _STRPTIME[piece[1]] if piece.startswith("%") else re.escape(piece)
            for piece in re.findall(r"%.|[^%]", form)
        )
    )


def _value(token: _Token, match: re.Match[str]) -> object | None:
    """Return the value of the text of a placeholder; None if the text is invalid, like ``B00``."""
    text = match[0]
    try:
        if token.name == "well":
            return parse_well(text)
        if token.name == "taken_at":
            time = datetime.strptime(text, token.strptime) if token.strptime else _iso_time(match)  # noqa: DTZ007 - the plate map has the zone
            return time if 1990 <= time.year <= 2200 else None  # noqa: PLR2004 - plausible years
    except ValueError:
        return None
    if token.name in ("row", "col"):
        number = int(text) if text.isdigit() else ord(text.upper()) - ord("A") + 1
        return number if 1 <= number <= PLATE_SHAPES[384][token.name == "col"] else None
    return int(text) if token.name in NUMBER_FIELDS else text


def _iso_time(match: re.Match[str]) -> datetime:
    """Return the time of a match of ``_ISO_TIME``; naive if it has no time zone."""
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    seconds = f"{second or '00'}.{(fraction or '0'):0<6.6}"
    return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{seconds}{zone or ''}")


def _parsed_name(values: tuple[tuple[str, object], ...]) -> ParsedName:
    """Return the parsed name of the values of known fields: row and column become a well."""
    known = dict(values)
    row, column, elapsed = (
        known.pop("row", None),
        known.pop("col", None),
        known.pop("elapsed_day", None),
    )
    if isinstance(row, int) and isinstance(column, int):
        known["well"] = well_at(row, column)
    if isinstance(elapsed, int):
        known["day"] = elapsed + 1
    return ParsedName(**known)  # type: ignore[arg-type]  # each value was made for its field by _value
