"""The compressions of TIFF files that are decoded, and the size that a segment is decoded to.

The library decodes a strip or tile of most compressions into memory of the size in the page header.
The data of JPEG and JPEG 2000 have a size of their own, which is compared with that of the page.
"""

import struct
from collections.abc import Iterator

import tifffile

from acquisition.drop_folder.pixels.png_jpeg import jpeg_size
from schemas.errors import ImageError, IncompleteImageError

_BOUNDED = (
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.LZMA,
    tifffile.COMPRESSION.ZSTD,
)
_JPEG_2000 = (
    tifffile.COMPRESSION.JPEG2000,
    tifffile.COMPRESSION.APERIO_JP2000_YCBC,
    tifffile.COMPRESSION.APERIO_JP2000_RGB,
    tifffile.COMPRESSION.JPEG_2000_LOSSY,
)
_SIZE_MARKER = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, which its size follows
_BLOCK_PX = 16  # JPEG pads its last blocks to this size


def require_known_compression(page: tifffile.TiffPage, content: bytes, where: object) -> None:
    """Raise ImageError if the pixels of a TIFF page may need more memory than its header says.

    Parameters
    ----------
    page
        The page, with its strips or tiles within the file.
    content
        All bytes of the file.
    where
        The path, for error messages.

    Raises
    ------
    ImageError
        If the compression is another one, or the data of a strip or tile have a larger size.
    """
    if page.compression in _BOUNDED:
        return
    if page.compression != tifffile.COMPRESSION.JPEG and page.compression not in _JPEG_2000:
        name = getattr(page.compression, "name", page.compression)
        raise ImageError(
            where,
            f"compression is {name}; expected none, LZW, deflate, PackBits, LZMA, ZSTD, JPEG or "
            "JPEG 2000",
        )
    most_width = page.tilewidth if page.is_tiled else page.imagewidth
    most_height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    for width, height in _sizes(page, content, where):
        if width >= most_width + _BLOCK_PX or height >= most_height + _BLOCK_PX:
            raise ImageError(
                where,
                f"damaged: a part of {width}×{height} pixels; "
                f"expected at most {most_width}×{most_height}, as its header says",
            )


def _sizes(page: tifffile.TiffPage, content: bytes, where: object) -> Iterator[tuple[int, int]]:
    """Yield the width and height that the data of each strip or tile have."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        data = content[offset : offset + count]
        if page.compression == tifffile.COMPRESSION.JPEG:
            yield jpeg_size(data, where)
            continue
        start = data.find(_SIZE_MARKER) + len(_SIZE_MARKER)
        if start < len(_SIZE_MARKER) or start + 20 > len(data):
            raise IncompleteImageError(where, "damaged: JPEG 2000 without a size")
        right, bottom, left, top = struct.unpack_from(">4I", data, start + 4)
        yield right - left, bottom - top
