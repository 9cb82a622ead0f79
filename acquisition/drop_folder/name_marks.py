"""Recognise parts of file names that mean the same whatever the pattern is.

These are thumbnails, copies that a person or an operating system made, the marks of site,
wavelength and focal step that MetaXpress writes, and identifiers such as a GUID.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

_GUID = r"[0-9A-F]{8}-[0-9A-F-]*"  # file names may hold a shortened GUID
_THUMBNAIL = re.compile(
    r"^thumb(?:nail)?s?(?=[_ .-])"  # Thumb_B02.jpg
    r"|(?:[_ .-]|(?<=\d))thumb(?:nail)?s?"  # B02_thumb.tif, B02_w1_thumb<GUID>.tif
    rf"(?:[_ .-]*(?:{_GUID}|[a-z]{{0,2}}\d+))*$",
    re.IGNORECASE,
)
_THUMBNAIL_FOLDER = re.compile(r"_?thumb(?:nail)?s?(?:[_ -]?[a-z]?\d+(?:x\d+)?)*", re.IGNORECASE)
_COPY_ENDING = re.compile(
    r"(?: - (?:copy|kopie|copie|copia|cópia|kopia|kopi)(?: ?\(\d{1,3}\))?"  # Windows
    r"|[ _-]copy(?: ?\d{1,3})?"  # macOS and Linux
    r"| ?\(\d{1,3}\))$",  # browsers, a second paste
    re.IGNORECASE,
)
_COPY_START = re.compile(r"^(?:copy of|kopie von|copie de|copia de|kopia) ", re.IGNORECASE)
_BACKUP_FOLDER = re.compile(r"back[ _-]?up|\bbak\b|cop(?:y|ie)|kopie|archiv|\bold\b", re.IGNORECASE)
_MARKS = re.compile(
    rf"((?:_[swzt]\d{{1,4}}?)+)(?:_?thumb)?(?:_?{_GUID})?$",  # _s1_w2, before the GUID
    re.IGNORECASE,
)
_MARK = re.compile(r"_([sw])(\d+)", re.IGNORECASE)
_FOCAL_STEP = re.compile(r"(?:^|/)ZStep_(\d+)(?=/)", re.IGNORECASE)
_MARK_LIKE = re.compile(r"[_-](?:[swztcpf]|ch|fld)\d{1,4}(?![0-9A-Za-z])", re.IGNORECASE)
_TIMES = re.compile(
    r"\d{4}[-_y]?\d{2}[-_m]?\d{2}d?[t_ -]{0,2}\d{2}[:h._-]?\d{2}(?:[:m._-]?\d{2}s?(?:[.,]\d+)?)?m?"
)
_IDENTIFIERS = re.compile(rf"{_GUID}|(?<![0-9A-F])[0-9A-F]{{12,}}(?![0-9A-F])", re.IGNORECASE)
_CHANNEL_NUMBER = re.compile(r"(?:w|d|c|ch|channel)? ?0*(\d+)")


@dataclass(frozen=True)
class Mark:
    """A number that MetaXpress wrote into a path, with the place of its digits in the path."""

    field: Literal["field", "channel", "plane"]
    number: int
    start: int
    end: int


def is_thumbnail(name: str) -> bool:
    """Return whether the name of an image file is that of a thumbnail.

    The word has to be at the start or the end of the name, where programs write it.
    """
    return bool(_THUMBNAIL.search(name.rsplit(".", 1)[0]))


@lru_cache(maxsize=1024)
def is_thumbnail_folder(path: str) -> bool:
    """Return whether a folder is one of thumbnails, or inside such a folder."""
    return any(map(_THUMBNAIL_FOLDER.fullmatch, path.split("/")))


def name_of_original(name: str) -> str | None:
    """Return the name that a file or folder had before it was copied; None if it is no copy.

    ``B02_z1 - Copy.tif`` and ``B02_z1 (1).tif`` are copies of ``B02_z1.tif``.
    """
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    original = _COPY_START.sub("", _COPY_ENDING.sub("", stem))
    return f"{original}{dot}{suffix}" if original not in ("", stem) else None


def looks_like_backup(folder: str) -> bool:
    """Return whether the path of a folder has a word such as ``backup``, ``copy`` or ``old``."""
    return bool(_BACKUP_FOLDER.search(folder))


def find_marks(path: str) -> Iterator[Mark]:
    """Yield the marks of MetaXpress in a path: ``_s1`` and ``_w2`` at its end, ``ZStep_3`` folders.

    The caller has to check that the digits are not part of a field of the pattern.
    """
    stem = path.rsplit(".", 1)[0]
    if found := _MARKS.search(stem):
        kinds: dict[str, Literal["field", "channel"]] = {"s": "field", "w": "channel"}
        for mark in _MARK.finditer(stem, found.start(1), found.end(1)):
            yield Mark(kinds[mark[1].lower()], int(mark[2]), mark.start(2), mark.end(2))
    for step in _FOCAL_STEP.finditer(path):
        yield Mark("plane", int(step[1]), step.start(1), step.end(1))


def without_identifiers(text: str) -> str:
    """Return a name without times, GUIDs, zeros before numbers and differences in case.

    Two images of one well that agree in it were taken one after the other by the same settings.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    text = _TIMES.sub("#", _IDENTIFIERS.sub("#", text))
    return re.sub(r"(?<!\d)0+(?=\d)", "", " ".join(text.split()))


def marks_in_identifier(text: str) -> str:
    """Return the parts of an ignored identifier that look like a site, channel, plane or time."""
    return "".join(_MARK_LIKE.findall(_IDENTIFIERS.sub("#", text))).casefold()


def plate_key(plate: str) -> str:
    """Return a plate id for comparison: in lower case, with single spaces, in Unicode form NFC."""
    return " ".join(unicodedata.normalize("NFC", plate).casefold().split())


def channel_key(channel: str) -> str:
    """Return the name or number of a channel in a form for comparison, without case and prefix.

    ``Bright_Field`` is ``bright field``, and ``C01``, ``w1`` and ``ch1`` are ``1``.
    """
    text = " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFC", channel).casefold())).strip()
    number = _CHANNEL_NUMBER.fullmatch(text)
    return number[1] if number else text
