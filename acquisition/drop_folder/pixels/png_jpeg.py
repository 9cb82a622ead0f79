"""Check that the content of a PNG or JPEG file is complete, and read its size.

Formats: https://www.w3.org/TR/png-3/ (chunks with CRC, ``IEND``) and
https://www.w3.org/Graphics/JPEG/itu-t81.pdf (markers, ``EOI``).
"""

import re
import zlib
from collections.abc import Iterator

import numpy as np

from acquisition.drop_folder.pixels.grey import Plane
from schemas.errors import ImageError, IncompleteImageError

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_HEADER_BYTES = 24  # up to the height
_START_OF_SCAN, _END = 0xDA, 0xD9
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LONE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01, 0xFF}  # without a length; 0xFF is a fill byte
_FILL_ROWS = 8  # rows of the smallest block of a JPEG
_FILL = 128  # the grey of blocks that a decoder found no data for


def png_size(content: bytes, where: object) -> tuple[int, int]:
    """Return (width, height) from the header chunk in the bytes of a PNG file.

    Raises
    ------
    IncompleteImageError
        If the header chunk is missing.
    """
    if content[12:16] != b"IHDR" or len(content) < _PNG_HEADER_BYTES:
        raise IncompleteImageError(
            where, "damaged or cut short: a PNG without a header chunk; expected the whole file"
        )
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def require_whole_png(content: bytes, where: object) -> None:
    """Raise ImageError unless all chunks of a PNG are complete, up to its end chunk.

    Raises
    ------
    IncompleteImageError
        If chunks are missing, or zero at the end of the file.
    ImageError
        If a chunk is damaged.
    """
    tail_start = len(content.rstrip(b"\0"))
    at = 8
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content) or kind == bytes(4):
            break
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            error = IncompleteImageError if tail_start < end else ImageError
            raise error(
                where,
                f"damaged or cut short: the checksum of the PNG's chunk at byte {at} is wrong; "
                "expected the whole file",
            )
        if kind == b"IEND":
            return
        at = end
    raise IncompleteImageError(
        where, "damaged or cut short: the PNG's end chunk is missing; expected the whole file"
    )


def jpeg_size(content: bytes, where: object) -> tuple[int, int]:
    """Return (width, height) from the frame header in the bytes of a JPEG file.

    Raises
    ------
    IncompleteImageError
        If there is no frame header.
    ImageError
        If its pixels are neither grey nor colour, such as those of a printer (CMYK).
    """
    for marker, at in _jpeg_markers(content):
        if marker in _JPEG_FRAMES and at + 10 <= len(content):
            if (components := content[at + 9]) in (2, 4):
                raise ImageError(
                    where, f"{components} components per pixel of a JPEG; expected grey or RGB"
                )
            return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(
                content[at + 5 : at + 7]
            )
    raise IncompleteImageError(
        where, "damaged or cut short: a JPEG without a frame header; expected the whole file"
    )


def require_jpeg_end(content: bytes, where: object) -> None:
    """Raise IncompleteImageError unless a JPEG has its end marker behind its pixels."""
    markers = [marker for marker, _ in _jpeg_markers(content)]
    if _START_OF_SCAN not in markers or markers[-1] != _END:
        raise IncompleteImageError(
            where, "cut short: the JPEG's end marker is missing; expected the whole file"
        )


def _jpeg_markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG with their positions, up to its end marker.

    Segments, such as one with a thumbnail, and the data of the pixels are skipped.
    """
    at = 2
    while at + 2 <= len(content) and content[at] == 0xFF:  # noqa: PLR2004 - every marker starts so
        marker = content[at + 1]
        if marker in _LONE_MARKERS:
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004 - a fill byte
            continue
        yield marker, at
        if marker == _END:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
        if marker == _START_OF_SCAN:
            found = _MARKER_IN_SCAN.search(content, at)
            at = len(content) if found is None else found.start()


def require_jpeg_pixels(plane: Plane, where: object) -> None:
    """Raise IncompleteImageError if the last rows of a decoded JPEG are the grey of lost data."""
    last = plane[-_FILL_ROWS:]
    is_filled = plane.dtype == np.uint8 and bool((last == _FILL).all())
    if is_filled and bool((plane != _FILL).any()):
        raise IncompleteImageError(
            where, "cut short: the data of the JPEG's last rows are missing; expected all pixels"
        )
