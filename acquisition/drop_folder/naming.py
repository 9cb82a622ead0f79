"""File names: a pattern such as ``{plate}/day{day}/{well}_z{plane}.tif`` and what it reads in a name.

A name is read in every way it fits the pattern. Two ways that agree on all known fields are one reading; two that do not are
an ambiguity, and the file is refused with both named rather than put into the wrong well.
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
    r"(\d{4})-?(\d{2})-?(\d{2})[T_ -]?(\d{2})[:h.-]?(\d{2})(?:[:m.-]?(\d{2})s?(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?",
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
    """What a name says. None: the pattern has no such field."""

    well: str  # as B02
    plate: str | None = None
    day: int | None = None  # culture day, from 1, whether the name counts from 0 or 1
    plane: int | None = None  # as numbered in the name
    field: int | None = None  # site within the well, as numbered in the name
    taken_at: datetime | None = None  # naive where the name has no time zone

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {value}" for name, value in vars(self).items() if value is not None
        )


@dataclass(frozen=True)
class _Token:
    """Literal text, or a placeholder: ``name`` is empty for literal text."""

    name: str
    text: re.Pattern[str]  # a longest match bounds the shorter ones that are tried
    strptime: str | None = None


@dataclass(frozen=True)
class NamePattern:
    """A pattern as :func:`compile_pattern` makes it."""

    text: str
    part_count: int  # of a path, with the file name: the pattern describes the last parts
    fields: frozenset[str]  # the known ones that it has
    tokens: tuple[_Token, ...]
    repeated: frozenset[str]  # placeholders that occur more than once and must agree

    @property
    def one_plane_per_file(self) -> bool:
        """Whether a name contains the plane, so that each file holds one plane."""
        return "plane" in self.fields

    def parse(self, path: str) -> ParsedName:
        """Return what the last parts of a path below the drop folder say.

        Raises
        ------
        ImageError
            If the path does not fit the pattern, or fits it in two ways that mean different things.
        """
        if "\\" in path:
            raise ImageError(
                path, "its name holds a backslash or bytes that are not UTF-8; expected plain text"
            )
        tail = "/".join(path.split("/")[-self.part_count :])
        readings = sorted(set(map(_reading, self._matches(tail))), key=str)
        if not readings:
            raise ImageError(path, f"the name does not fit the pattern {self.text}")
        if len(readings) > 1:
            raise ImageError(
                path, f"the name fits {self.text} in two ways: {readings[0]}; or {readings[1]}"
            )
        return readings[0]

    def _matches(self, text: str) -> set[tuple[tuple[str, object], ...]]:
        """Return the values of the known fields in every way ``text`` fits: breadth first, so equal states are walked once."""
        states: set[tuple[int, tuple[tuple[str, object], ...]]] = {(0, ())}
        for index, token in enumerate(self.tokens):
            last = index == len(self.tokens) - 1
            states = {
                (end, values)
                for start, known in states
                for end, values in self._steps(token, text, start, known)
                if not last or end == len(text)
            }
        return {
            tuple((name, value) for name, value in values if name in KNOWN_FIELDS)
            for _, values in states
        }

    def _steps(
        self, token: _Token, text: str, start: int, known: tuple[tuple[str, object], ...]
    ) -> Iterator[tuple[int, tuple[tuple[str, object], ...]]]:
        """Yield every way ``token`` can go on from ``start``."""
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
    """Read a pattern.

    Raises
    ------
    ConfigError
        If it does not say where the well stands, or says anything twice or in a way that is not known.
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
    """Whether a file is meant to be an image, by its extension in any case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_ignored(path: str) -> bool:
    """Whether a path belongs to nobody's experiment: hidden, temporary, or an operating system's own folder."""
    *folders, name = path.split("/")
    stem = name.rsplit(".", 1)[0]
    return any(
        folder.startswith(".") or folder.lower() in _SYSTEM_FOLDERS for folder in folders
    ) or any(map(_TEMPORARY.search, (name, stem)))


def _tokens(pattern: str) -> Iterator[_Token]:
    position = 0
    for found in _PLACEHOLDER.finditer(pattern):
        if found.start() > position:
            yield _literal(pattern, position, found.start())
        yield _placeholder(pattern, found[1], found[2])
        position = found.end()
    if position < len(pattern):
        yield _literal(pattern, position, len(pattern))


def _literal(pattern: str, start: int, end: int) -> _Token:
    text = pattern[start:end]
    if "{" in text or "}" in text:
        raise ConfigError(
            "source.pattern",
            f"is {pattern!r}; expected placeholders such as {{well}} or {{taken_at:%Y%m%d_%H%M%S}}, found {text!r}",
        )
    suffix = PurePosixPath(text).suffix or (text if text.startswith(".") else "")
    if end < len(pattern) or not is_image_name(suffix):
        return _Token("", re.compile(re.escape(text)))
    return _Token("", re.compile(f"{re.escape(text.removesuffix(suffix))}(?i:{re.escape(suffix)})"))


def _placeholder(pattern: str, name: str, form: str | None) -> _Token:
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
                f"is {pattern!r}; {{{name}:{form}}} is not known, expected {{{name}}} or as many zeros as it has digits, {{{name}:00}}"
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
    unknown = [code for code in re.findall(r"%(.?)", form) if code not in _STRPTIME]
    codes = set(re.findall(r"%(.)", form))
    if (
        unknown
        or not codes & {"Y", "y"}
        or not (codes >= {"d", "m"} or codes >= {"d", "b"} or "j" in codes)
    ):
        raise ConfigError(
            "source.pattern",
            f"is {pattern!r}; {{taken_at:{form}}} is no date, expected year, month and day of {' '.join(f'%{code}' for code in _STRPTIME)}",
        )
    return re.compile(
        "".join(
            _STRPTIME[piece[1]] if piece.startswith("%") else re.escape(piece)
            for piece in re.findall(r"%.|[^%]", form)
        )
    )


def _value(token: _Token, match: re.Match[str]) -> object | None:
    """Return what the text of a placeholder means, None if it means nothing: ``B00`` is no well."""
    text = match[0]
    try:
        if token.name == "well":
            return parse_well(text)
        if token.name == "taken_at":
            at = datetime.strptime(text, token.strptime) if token.strptime else _iso_time(match)  # noqa: DTZ007 - without a zone it is the plate's
            return at if 1990 <= at.year <= 2200 else None  # noqa: PLR2004 - no other time can be meant
    except ValueError:
        return None
    if token.name in ("row", "col"):
        number = int(text) if text.isdigit() else ord(text.upper()) - ord("A") + 1
        return number if 1 <= number <= PLATE_SHAPES[384][token.name == "col"] else None
    return int(text) if token.name in NUMBER_FIELDS else text


def _iso_time(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    return datetime.fromisoformat(
        f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}.{(fraction or '0'):0<6.6}{zone or ''}"
    )


def _reading(values: tuple[tuple[str, object], ...]) -> ParsedName:
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
