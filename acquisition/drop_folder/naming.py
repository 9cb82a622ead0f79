"""Parse file names by a pattern such as ``{plate}/day{day}/{well}_z{plane}.tif``.

A name is matched to the pattern in every possible way. If two ways give different values of a known
field, the name is ambiguous: the file is refused with both results, so that no image is assigned to
the wrong well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from acquisition.drop_folder.name_marks import (
    find_marks,
    is_thumbnail,
    is_thumbnail_folder,
    marks_in_identifier,
    name_of_original,
    without_identifiers,
)
from acquisition.drop_folder.name_tokens import (
    ELAPSED_FIELDS,
    IMAGE_SUFFIXES,
    KNOWN_FIELDS,
    Token,
    tokens_of,
    value_of,
)
from schemas.errors import ConfigError, ImageError
from schemas.well import well_at

IDENTIFIERS = frozenset({"guid", "uuid", "id", "hash"})
"""Names of placeholders for ignored text that differs in every image, such as ``{guid}``."""

_NO_DIGIT = "\0"  # replaces a digit in a name, to test whether the digit is ignored text

_TEMPORARY = re.compile(r"^[.~]|~$|\.(?:tmp|part|partial|crdownload)$", re.IGNORECASE)
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
)


@dataclass(frozen=True)
class ParsedName:
    """The well, plate, day, plane and other fields in a file name; None for absent fields."""

    well: str  # as B02
    plate: str | None = None
    day: int | None = None  # culture day, from 1; an elapsed day without hours is converted
    plane: int | None = None  # as numbered in the name
    field: int | None = None  # site within the well, as numbered in the name
    taken_at: datetime | None = None  # naive if the name has no time zone
    channel: str | None = None  # name or number of the channel
    elapsed: timedelta | None = None  # since seeding, if the name has hours or minutes
    site: int | None = None  # field in text that the pattern ignores; not part of the visit

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {value}" for name, value in vars(self).items() if value is not None
        )


@dataclass(frozen=True)
class NamePattern:
    """A pattern of file names, compiled by :func:`compile_pattern`."""

    text: str
    part_count: int  # of a path, with the file name: the pattern describes the last parts
    fields: frozenset[str]  # the known fields in the pattern
    tokens: tuple[Token, ...]
    repeated: frozenset[str]  # placeholders that occur more than once and must agree

    @property
    def one_plane_per_file(self) -> bool:
        """True if the names contain the plane, so that each file holds one plane."""
        return "plane" in self.fields

    @property
    def plate_part(self) -> int | None:
        """The index of the folder in the pattern that has the plate; None if no folder has it."""
        folders = self.text.split("/")[:-1]
        return next((n for n, folder in enumerate(folders) if "{plate}" in folder), None)

    def parse(self, path: str) -> ParsedName:
        """Return the ParsedName of a path below the drop folder, read from its last parts.

        Raises
        ------
        ImageError
            If the path does not fit the pattern, or fits it in two ways with different values.
        """
        if "\\" in path:
            raise ImageError(
                path, "its name has a backslash or bytes that are not UTF-8; expected plain text"
            )
        folders, tail = self._split(path)
        *parts, name = tail.split("/")
        original = name_of_original(name)
        if original is not None and self._names("/".join((*parts, original))):
            raise ImageError(path, f"the name is that of a copy of {original}; expected no copies")
        names = self._names(tail)
        if not names:
            raise ImageError(path, f"the name does not fit the pattern {self.text}")
        if len(names) > 1:
            raise ImageError(
                path, f"the name fits {self.text} in two ways: {names[0]}; or {names[1]}"
            )
        return self._with_marks(names[0], folders, tail)

    def setting_of(self, path: str) -> str:
        """Return a path as text without identifiers and times, equal for images of one setting.

        Identifiers and times are left out, so that only the text differs that the pattern ignores
        and that may name another channel, site or plane.
        """
        _, tail = self._split(path)
        found = self._with_identifiers.fullmatch(tail)
        spans = [found.span(number + 1) for number in range(found.re.groups)] if found else []
        for start, end in reversed(spans):
            tail = f"{tail[:start]}#{marks_in_identifier(tail[start:end])}{tail[end:]}"
        return without_identifiers(tail)

    def _split(self, path: str) -> tuple[str, str]:
        """Return the folders above the part of a path that the pattern covers, and that part."""
        parts = path.split("/")
        return "/".join(parts[: -self.part_count]), "/".join(parts[-self.part_count :])

    def _names(self, tail: str) -> list[ParsedName]:
        """Return each different ParsedName of the part of a path that the pattern covers."""
        names = {_parsed_name(values) for values in self._matches(tail)}
        return sorted((name for name in names if name is not None), key=str)

    def _with_marks(self, name: ParsedName, folders: str, tail: str) -> ParsedName:
        """Return a parsed name with the site, channel and plane in text that the pattern ignores.

        Digits are ignored text if the name has the same values without them.
        """
        covered_from = len(folders) + 1 if folders else 0
        found: dict[str, int] = {}
        for mark in find_marks(f"{folders}/{tail}" if folders else tail):
            start, end = mark.start - covered_from, mark.end - covered_from
            if mark.field not in self.fields and (
                end <= 0
                or self._names(f"{tail[:start]}{_NO_DIGIT * (end - start)}{tail[end:]}") == [name]
            ):
                found[mark.field] = mark.number
        channel = str(found["channel"]) if "channel" in found else name.channel
        plane = found.get("plane", name.plane)
        return replace(name, site=found.get("field"), channel=channel, plane=plane)

    @cached_property
    def _with_identifiers(self) -> re.Pattern[str]:
        """A regular expression of the pattern with a group for each identifier."""
        return re.compile(
            "".join(
                f"({token.text.pattern})"
                if token.name.lower() in IDENTIFIERS
                else f"(?:{re.sub(r'[(][?]P<[a-z]+>', '(?:', token.text.pattern)})"
                for token in self.tokens
            )
        )

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
        self, token: Token, text: str, start: int, known: tuple[tuple[str, object], ...]
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
            value = value_of(token, match)
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
    tokens = tuple(tokens_of(text))
    names = [token.name for token in tokens if token.name]
    fields = KNOWN_FIELDS.intersection(names)
    problem = None
    if not all(parts) or ".." in parts or "\\" in text:
        problem = "expected a path below the drop folder with / between its parts"
    elif ("well" in fields) == ("row" in fields) or ("row" in fields) != ("col" in fields):
        problem = "expected either {well} or both {row} and {col}"
    elif "day" in fields and fields & ELAPSED_FIELDS:
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
    """Return whether a path is hidden, temporary, a thumbnail or in a folder of the system."""
    folder, _, name = path.rpartition("/")
    return (
        _is_system_folder(folder)
        or _is_ignored_name(name)
        or (is_image_name(name) and is_thumbnail_folder(folder))
    )


@lru_cache(maxsize=1024)  # most files of a listing have the same folder as the one before
def _is_system_folder(path: str) -> bool:
    """Return whether a folder is hidden or of the system, or inside such a folder."""
    return any(name.startswith(".") or name.lower() in _SYSTEM_FOLDERS for name in path.split("/"))


@lru_cache(maxsize=16_384)  # the folders of all days and plates have the same names of files
def _is_ignored_name(name: str) -> bool:
    """Return whether the name of a file or folder is hidden, temporary or of a thumbnail."""
    stem = name.rsplit(".", 1)[0]
    return any(map(_TEMPORARY.search, (name, stem))) or (is_image_name(name) and is_thumbnail(name))


def _parsed_name(values: tuple[tuple[str, object], ...]) -> ParsedName | None:
    """Return the parsed name of the values of known fields; None for an impossible elapsed time.

    Row and column become a well. Elapsed days become a culture day, and with hours or minutes an
    elapsed time.
    """
    known = dict(values)
    row, column = known.pop("row", None), known.pop("col", None)
    if isinstance(row, int) and isinstance(column, int):
        known["well"] = well_at(row, column)
    elapsed = {
        name: number for name in ELAPSED_FIELDS if isinstance(number := known.pop(name, None), int)
    }
    if elapsed.keys() == {"elapsed_day"}:
        known["day"] = elapsed["elapsed_day"] + 1
    elif elapsed:
        if {"elapsed_day", "elapsed_hours"} <= elapsed.keys() and elapsed["elapsed_hours"] > 23:  # noqa: PLR2004 - hours of a day
            return None
        if "elapsed_hours" in elapsed and elapsed.get("elapsed_minutes", 0) > 59:  # noqa: PLR2004 - minutes of an hour
            return None
        known["elapsed"] = timedelta(
            days=elapsed.get("elapsed_day", 0),
            hours=elapsed.get("elapsed_hours", 0),
            minutes=elapsed.get("elapsed_minutes", 0),
        )
    return ParsedName(**known)  # type: ignore[arg-type]  # each value was made for its field by value_of
