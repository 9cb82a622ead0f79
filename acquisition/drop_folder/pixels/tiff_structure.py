"""Walk the directories of a TIFF file, to find those that were cut off.

A decoder ignores a directory that it cannot read, so that a cut file seems to have fewer planes.
Format: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF,
https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import struct
from dataclasses import dataclass

from schemas.errors import ImageError, IncompleteImageError

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_BIG = 43
_NEEDED_TAGS = frozenset(
    {
        258,  # BitsPerSample
        270,  # ImageDescription
        273,  # StripOffsets
        279,  # StripByteCounts
        282,  # XResolution
        283,  # YResolution
        306,  # DateTime
        324,  # TileOffsets
        325,  # TileByteCounts
        33628,  # MetaMorph UIC1 to UIC4
        33629,
        33630,
        33631,
        51123,  # Micro-Manager
        65500,  # Harmony
    }
)
"""The tags whose values may not be cut off, because a decoder ignores a value that it lacks."""

_NEVER_ZERO = frozenset({258, 270, 273, 279, 324, 325, 51123, 65500})
"""The tags whose values are never zero as a whole."""

_WIDTH, _HEIGHT = 256, 257
_SINGLE_TAGS = frozenset(
    {
        _WIDTH,
        _HEIGHT,
        259,  # Compression
        262,  # PhotometricInterpretation
        277,  # SamplesPerPixel
        278,  # RowsPerStrip
        284,  # PlanarConfiguration
        317,  # Predictor
        322,  # TileWidth
        323,  # TileLength
    }
)
"""The tags that have one value."""

_NUMBER_TYPES = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 16: "Q"}  # struct codes
_SHORTEST_ZERO_VALUE = 6  # bytes of a value that was not written; a shorter one may be zero


@dataclass(frozen=True)
class _Form:
    """The sizes of the parts of a directory in classic TIFF or BigTIFF."""

    byte_order: str
    offset: str  # struct codes
    count: str
    entry_bytes: int

    def number(self, code: str, content: bytes, at: int) -> int:
        """Return the number of a ``struct`` code at a position of the content of a file."""
        return int(struct.unpack_from(self.byte_order + code, content, at)[0])


def require_directories(
    content: bytes, tail_start: int, most: int, where: object
) -> list[tuple[int, int]]:
    """Return the (width, height) of each page from the bytes of a TIFF, after a check of them.

    Parameters
    ----------
    content
        All bytes of the file.
    tail_start
        The position of the first of the zeros at its end.
    most
        The largest number of directories, which are the pages of the file.
    where
        The path, for error messages.

    Raises
    ------
    IncompleteImageError
        If a directory, or a value that is needed, is missing or zero at the end of the file.
    ImageError
        If there are too many directories, or one is damaged.
    """
    form, at = _header(content, where)
    seen: set[int] = set()
    sizes = []
    while at:
        if len(seen) == most:
            raise ImageError(
                where, f"more than {most} pages; expected the focal planes of one image"
            )
        if at in seen:
            raise ImageError(
                where, f"damaged: its directory at byte {at} follows itself; expected another one"
            )
        seen.add(at)
        first, end = _entries(content, form, at, tail_start, where)
        numbers = {}
        for entry in range(first, end, form.entry_bytes):
            _require_value(content, form, entry, tail_start, where)
            numbers.update(_single_number(content, form, entry, where))
        sizes.append((numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0)))
        at = form.number(form.offset, content, end)
    return sizes


def _header(content: bytes, where: object) -> tuple[_Form, int]:
    """Return the form of the bytes of a TIFF file and the position of its first directory."""
    order = "<" if content[:2] == b"II" else ">"
    try:
        is_big = struct.unpack_from(order + "H", content, 2)[0] == _BIG
        form = _Form(order, "Q", "Q", 20) if is_big else _Form(order, "I", "H", 12)
        at = form.number(form.offset, content, 8 if is_big else 4)
    except struct.error as error:
        raise IncompleteImageError(
            where, f"damaged or cut short: {len(content)} bytes; expected a header and pixels"
        ) from error
    if not at:
        raise IncompleteImageError(
            where, "damaged or cut short: a TIFF without a directory; expected the whole file"
        )
    return form, at


def _entries(
    content: bytes, form: _Form, at: int, tail_start: int, where: object
) -> tuple[int, int]:
    """Return the position of the first entry of a directory and the position behind its last."""
    count_bytes, offset_bytes = struct.calcsize(form.count), struct.calcsize("<" + form.offset)
    if at + count_bytes > len(content):
        _raise_cut(where, at + count_bytes, len(content))
    entries = form.number(form.count, content, at)
    first = at + count_bytes
    end = first + entries * form.entry_bytes
    if end + offset_bytes > len(content):
        _raise_cut(where, end + offset_bytes, len(content))
    last_entry = end - form.entry_bytes
    if tail_start <= (last_entry if entries else at):
        raise IncompleteImageError(
            where,
            f"cut short: its directory at byte {at} is zero from byte {tail_start} on; "
            "expected the whole file",
        )
    return first, end


def _single_number(content: bytes, form: _Form, entry: int, where: object) -> dict[int, int]:
    """Return {tag: number} for the entry of a needed tag with one value; empty for other tags.

    Raises
    ------
    ImageError
        If the tag has several values, or a value that is no number.
    """
    tag, kind = (form.number("H", content, entry + shift) for shift in (0, 2))
    if tag not in _SINGLE_TAGS:
        return {}
    count = form.number(form.offset, content, entry + 4)
    if count != 1 or kind not in _NUMBER_TYPES:
        raise ImageError(
            where, f"damaged: its tag {tag} has {count} values of type {kind}; expected one number"
        )
    value = entry + 4 + struct.calcsize("<" + form.offset)
    return {tag: form.number(_NUMBER_TYPES[kind], content, value)}


def _require_value(content: bytes, form: _Form, entry: int, tail_start: int, where: object) -> None:
    """Raise IncompleteImageError if the value of a needed tag is beyond the file, or is zero."""
    tag = form.number("H", content, entry)
    if tag not in _NEEDED_TAGS:
        return
    size = _TYPE_BYTES.get(form.number("H", content, entry + 2), 0)
    size *= form.number(form.offset, content, entry + 4)
    inline = struct.calcsize("<" + form.offset)
    if size <= inline:
        return
    start = form.number(form.offset, content, entry + 4 + inline)
    if start + size > len(content):
        _raise_cut(where, start + size, len(content))
    if tag in _NEVER_ZERO and size >= _SHORTEST_ZERO_VALUE and tail_start <= start:
        raise IncompleteImageError(
            where, f"cut short: the value of its tag {tag} is zero; expected the whole file"
        )


def _raise_cut(where: object, needed: int, size: int) -> None:
    """Raise IncompleteImageError for a file whose header points behind its end."""
    raise IncompleteImageError(
        where,
        f"damaged or cut short: its header points to byte {needed}, the file has {size}; "
        "expected the whole file",
    )
