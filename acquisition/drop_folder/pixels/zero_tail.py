"""Detect pixels that were not written: zeros at the end of a TIFF file.

A copy may reserve the whole file first, and a power failure may lose its last blocks. The end of
the file is then zero. A burnt-in bar, a mask and a dark image end in zeros as well: a bar begins at
a row, and a mask and a dark image have other zeros too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tifffile

from acquisition.drop_folder.metadata.metamorph import plane_count
from acquisition.drop_folder.pixels.grey import Plane
from acquisition.drop_folder.pixels.tiff_pages import plane_distance
from schemas.errors import IncompleteImageError

MIN_COMPRESSED_ZEROS = 8
"""Zeros at the end of compressed data that no compression writes."""

MIN_ZERO_PIXELS = 8
"""Fewer zero pixels at the end of an image are taken for pixels."""

DARK_SHARE = 0.01
"""Share of zero pixels from which an image is dark or a mask, so that zeros are expected in it."""

BAR_SHARE = 0.10
"""Largest share of the rows of an image that a black bar at its bottom has."""

LOST_SHARE = 0.5
"""Share of the rows of an image from which zeros at its end are lost pixels and no bar."""

_SMALL_BLOCK, _LARGE_BLOCK = 512, 4096  # bytes of the blocks of disks and file systems
_SCANNED_BYTES = 2**20  # at a time, so that a large file is not copied
_PACKBITS = 32773
_TEXT_TAGS = (270, 51123, 65500)  # ImageDescription, Micro-Manager, Harmony
_MOST_TEXT_ZEROS = 8  # at the end of a text


@dataclass(frozen=True)
class _Block:
    """Rows of pixels without compression that follow each other in the file."""

    plane: int  # number of the plane of the file
    offset: int
    rows: int
    columns: int
    valid_rows: int  # a tile at the border of the image has more rows than are used
    valid_columns: int
    is_first: bool  # whether the block is at the left border of the image
    is_last: bool  # whether the block is at the right border of the image


def zero_tail_start(content: bytes) -> int:
    """Return the position of the first zero at the end of the bytes of a file, or their length."""
    end = len(content)
    while end:
        start = max(0, end - _SCANNED_BYTES)
        if kept := len(content[start:end].rstrip(b"\0")):
            return start + kept
        end = start
    return 0


def require_written_pixels(
    pages: list[tifffile.TiffPage], content: bytes, tail_start: int, where: object
) -> None:
    """Raise IncompleteImageError if the last pixels of a TIFF file were not written.

    Parameters
    ----------
    pages
        The pages of the file, whose pixels are all within it.
    content
        All bytes of the file.
    tail_start
        The position of the first of the zeros at its end.
    where
        The path, for error messages.
    """
    if tail_start == len(content):
        return
    for page in pages:
        if page.compression != tifffile.COMPRESSION.NONE:
            _require_compressed(page, tail_start, where)
    plain = [page for page in pages if page.compression == tifffile.COMPRESSION.NONE]
    kinds = {(page.dtype, page.bitspersample, page.samplesperpixel) for page in plain}
    if len(kinds) != 1 or plain[0].bitspersample not in (8, 16):
        return
    blocks = sorted(
        (block for number, page in enumerate(plain) for block in _blocks(page, number)),
        key=lambda block: block.offset,
    )
    pixel = np.dtype(plain[0].dtype)
    samples = plain[0].samplesperpixel if plain[0].planarconfig == 1 else 1
    kind = pixel.newbyteorder(plain[0].parent.byteorder)
    is_black = tail_start <= blocks[0].offset
    if (is_black and _is_text_cut(plain, tail_start)) or (
        not is_black and _is_cut(blocks, content, tail_start, kind, samples)
    ):
        raise IncompleteImageError(
            where,
            f"cut short: its pixels are zero from byte {tail_start} to the end of the file; "
            "expected all pixels",
        )


def require_written_planes(planes: Sequence[Plane], where: object) -> None:
    """Raise IncompleteImageError if a whole plane is zero, and another one is not dark.

    Some programs reserve a stack first and then write one plane after another.
    """
    zeros = [plane.size - int(np.count_nonzero(plane)) for plane in planes]
    empty = [n for n, plane in enumerate(planes, start=1) if zeros[n - 1] == plane.size]
    if empty and any(
        count <= DARK_SHARE * plane.size for count, plane in zip(zeros, planes, strict=True)
    ):
        raise IncompleteImageError(
            where,
            f"all pixels of page {empty[0]} of {len(planes)} are zero, so that it may not be "
            "written yet; expected all planes",
        )


def _require_compressed(page: tifffile.TiffPage, tail_start: int, where: object) -> None:
    """Raise IncompleteImageError if the compressed data of a strip or tile end in zeros."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        zeros = offset + count - max(tail_start, offset)
        least = count if page.compression == _PACKBITS else min(MIN_COMPRESSED_ZEROS, count)
        if zeros >= least > 2:  # noqa: PLR2004 - two zero bytes are a valid PackBits pixel
            raise IncompleteImageError(
                where,
                f"cut short: its compressed pixels are zero from byte {tail_start} to the end of "
                "the file; expected all pixels",
            )


def _blocks(page: tifffile.TiffPage, number: int) -> Iterator[_Block]:
    """Yield the blocks of rows of a page: its tiles, or its strips joined where they touch."""
    if page.is_tiled:
        yield from _tiles(page, number)
        return
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    row_bytes = page.imagewidth * samples * (page.bitspersample // 8)
    width = page.imagewidth * samples
    joined: list[list[int]] = []
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if joined and joined[-1][0] + joined[-1][1] == offset:
            joined[-1][1] += count
        else:
            joined.append([offset, count])
    for plane in range(plane_count(page)):
        for offset, count in joined:
            start, rows = offset + plane * plane_distance(page), count // row_bytes
            yield _Block(
                number + plane, start, rows, width, rows, width, is_first=True, is_last=True
            )


def _tiles(page: tifffile.TiffPage, number: int) -> Iterator[_Block]:
    """Yield the tiles of a page with the part of each that is within the image."""
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    across = -(-page.imagewidth // page.tilewidth)
    down = -(-page.imagelength // page.tilelength)
    for index, offset in enumerate(page.dataoffsets):
        row, column = divmod(index % (across * down), across)
        yield _Block(
            number,
            offset,
            page.tilelength,
            page.tilewidth * samples,
            min(page.tilelength, page.imagelength - row * page.tilelength),
            min(page.tilewidth, page.imagewidth - column * page.tilewidth) * samples,
            is_first=column == 0,
            is_last=column == across - 1,
        )


def _is_cut(
    blocks: list[_Block], content: bytes, tail_start: int, pixel: np.dtype[np.generic], samples: int
) -> bool:
    """Return whether the zeros from ``tail_start`` on are pixels that were not written.

    Parameters
    ----------
    blocks
        All blocks in the order of the file.
    content
        All bytes of the file.
    tail_start
        The position of the first of the zeros.
    pixel
        The type of a sample.
    samples
        The samples of a pixel that follow each other.
    """
    begin = _begin(blocks, tail_start, pixel.itemsize)
    if begin is None:
        return False
    arrays = [_pixels(block, content, pixel) for block in blocks]
    index, row, column = begin
    block, last = blocks[index], arrays[index]
    before = [*(array.ravel() for array in arrays[:index]), last[:row].ravel(), last[row, :column]]
    written = sum(part.size for part in before)
    unwritten = sum(array.size for array in arrays) - written
    if not written or unwritten < MIN_ZERO_PIXELS * samples:
        return False
    zeros = sum(part.size - int(np.count_nonzero(part)) for part in before)
    is_dark = zeros > DARK_SHARE * written
    is_in_row, is_below_zeros = _place_in_row(block, last, row, column, samples)
    if is_in_row and not is_below_zeros:
        return not is_dark or _is_block_start(tail_start, pixel.itemsize, _LARGE_BLOCK)
    if is_dark:
        return False
    of_plane = sum(a.size for b, a in zip(blocks, arrays, strict=True) if b.plane == block.plane)
    is_tile = not (block.is_first and block.is_last)  # whose border hides where the zeros begin
    is_block_start = is_tile or _is_block_start(tail_start, pixel.itemsize, _SMALL_BLOCK)
    return (
        blocks[-1].plane > block.plane
        or (not is_in_row and _is_lost_block(blocks, arrays, index, row))
        or unwritten > LOST_SHARE * of_plane
        or (unwritten > BAR_SHARE * of_plane and is_block_start)
    )


def _is_text_cut(pages: Sequence[tifffile.TiffPage], tail_start: int) -> bool:
    """Return whether the zeros begin within a text in the header of a file."""
    tags = [page.tags[code] for page in pages for code in _TEXT_TAGS if code in page.tags]
    return any(
        tag.valueoffset < tail_start < tag.valueoffset + tag.valuebytecount - _MOST_TEXT_ZEROS
        for tag in tags
    )


def _pixels(block: _Block, content: bytes, pixel: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Return the samples of a block that are within the image, (rows, columns)."""
    count = block.rows * block.columns
    values = np.frombuffer(content, pixel, count, block.offset).reshape(block.rows, block.columns)
    return values[: block.valid_rows, : block.valid_columns]


def _begin(blocks: list[_Block], tail_start: int, size: int) -> tuple[int, int, int] | None:
    """Return the block, row and column of the first zero pixel; None if it is behind all pixels."""
    for index, block in enumerate(blocks):
        position = max(0, -(-(tail_start - block.offset) // size))
        row, column = divmod(position, block.columns)
        if column >= block.valid_columns:
            row, column = row + 1, 0
        if row < block.valid_rows:
            return index, row, column
    return None


def _place_in_row(
    block: _Block, pixels: npt.NDArray[np.generic], row: int, column: int, samples: int
) -> tuple[bool, bool]:
    """Return whether the zeros begin within a row, and whether the pixels above are zero as well.

    The last two pixels of the row above a bar may be zero by chance. The pixels above are zero in a
    dark corner, and not where a file was cut.
    """
    if column == 0 or block.valid_columns - column <= 2 * samples:
        return False, False
    above = pixels[row - 1, column:] if row else pixels[row, :column]
    return True, int(np.count_nonzero(above)) * 2 < above.size


def _is_lost_block(
    blocks: list[_Block], arrays: list[npt.NDArray[np.generic]], index: int, row: int
) -> bool:
    """Return whether a whole plane after others, or a part of tiles that is no bar, is zero.

    The zeros of a bar begin in the last tile of a row of tiles, and are in all of these tiles.
    """
    block = blocks[index]
    if row == 0:
        is_plane = index > 0 and blocks[index - 1].plane != block.plane
        return is_plane or not block.is_first
    if block.is_first and block.is_last:
        return False
    return not block.is_last or bool(arrays[index - 1][row + 1 :].any())


def _is_block_start(tail_start: int, size: int, block: int) -> bool:
    """Return whether a block of the disk begins within the first zero pixel."""
    return any((tail_start + shift) % block == 0 for shift in range(size))
