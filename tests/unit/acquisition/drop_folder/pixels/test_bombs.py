"""Small files that would need much memory: each is refused or read with little memory."""

import io
import json
import lzma
import multiprocessing
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from acquisition.drop_folder.image_reading import read_time
from acquisition.drop_folder.xlsx_tables import xlsx_table
from schemas.errors import PlateMapError, SpheroRankError
from schemas.plate_map import parse_plate_map
from schemas.plate_tables import csv_table
from schemas.well_image import FileVersion
from schemas.well_texts import WELL_COLUMNS
from tests.robot_folder import tiff

MB = 1 << 20
MOST_MB = 150
"""Largest increase of the memory of a process that reads one of these files."""
ZEROS = np.zeros((12_000, 12_000), np.uint8)  # 144 MB decoded; the pages say 512 × 512


def page(data: bytes, compression: int, *, bits: int = 16, width: int = 512) -> bytes:
    """Return a TIFF of 512 rows with one strip of data in a compression."""
    fields = [
        (256, 4, 1, width),
        (257, 4, 1, 512),
        (258, 3, 1, bits),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, 134),
        (277, 3, 1, 1),
        (278, 4, 1, 512),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
    ]
    header = b"II*\0" + struct.pack("<IH", 8, len(fields))
    return header + b"".join(struct.pack("<HHII", *each) for each in fields) + bytes(4) + data


def described(text: bytes) -> bytes:
    """Return a TIFF of 64 × 64 pixels with a description."""
    return tiff(description=text)


def deflated() -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(64 * MB)) for _ in range(8)) + packer.flush()


FILES: dict[str, Callable[[], bytes]] = {
    "a header of 60 000 × 60 000": lambda: page(b"x" * 99, 8, width=60_000_000),
    "deflate, 512 MB": lambda: page(deflated(), 8),
    "LZMA, 256 MB": lambda: page(lzma.compress(bytes(256 * MB), preset=0), 34925),
    "ZSTD, 512 MB": lambda: page(imagecodecs.zstd_encode(bytes(512 * MB)), 50000),
    "PackBits, 128 MB": lambda: page(b"\x81\0" * MB, 32773),
    "JPEG": lambda: page(imagecodecs.jpeg_encode(ZEROS), 7, bits=8),
    "JPEG 2000": lambda: page(imagecodecs.jpeg2k_encode(ZEROS), 34712, bits=8),
    "PNG": lambda: page(imagecodecs.png_encode(ZEROS), 34933, bits=8),
    "JPEG XR": lambda: page(imagecodecs.jpegxr_encode(ZEROS), 22610, bits=8),
    "100 000 pages": lambda: (
        b"II*\0\x08\0\0\0"
        + b"".join(
            struct.pack("<HHHIII", 1, 256, 4, 1, 512, 8 + 18 * (number + 1))
            for number in range(100_000)
        )
    ),
    "OME-XML of 20 MB": lambda: described(b"<?xml version='1.0'?><OME>" + b"<a/>" * 5 * MB),
    "XML, 200 000 levels": lambda: described(
        b"<?xml version='1.0'?><OME>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</OME>"
    ),
    "XML entities": lambda: described(
        b"<?xml version='1.0'?><!DOCTYPE OME [<!ENTITY a 'aaaaaaaaaaaaaaaaaaaa'>"
        + b"".join(
            f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 20}'>".encode() for n in range(8)
        )
        + b"]><OME>&i;</OME>"
    ),
    "JSON of 20 MB": lambda: described(b'{"shape": [' + b"1, " * 7 * MB + b"1]}"),
    "JSON, 1 000 000 levels": lambda: described(
        b'{"shape": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    ),
    "a PNG": lambda: (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 100_000, 100_000, 16, 0, 0, 0, 0)
    ),
}


def memory_mb(field: str) -> float:
    """Return the memory of this process by a field of the kernel's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measure(read: Callable[[bytes], object], path: Path, results: "multiprocessing.Queue") -> None:  # type: ignore[type-arg] # generic only for the type checker
    """Read a file and return the increase of the largest memory of this process in MB."""
    content = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory is measured from now on
    before = memory_mb("VmRSS")
    try:
        read(content)
        outcome = "read"
    except SpheroRankError as error:
        outcome = error.problem
    results.put((memory_mb("VmHWM") - before, outcome))


def read_in_child(read: Callable[[bytes], object], path: Path) -> tuple[float, str]:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[float, str]] = context.Queue()
    child = context.Process(target=measure, args=(read, path, results))
    child.start()
    measured = results.get(timeout=60)
    child.join()
    return measured


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())
def test_an_image_bomb_takes_little_memory(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(make())
    increase_mb, outcome = read_in_child(
        lambda content: decode(content, "x.tif", ImageLimits()), tmp_path / "x.tif"
    )
    assert increase_mb < MOST_MB, outcome


@pytest.mark.parametrize("name", ["JPEG", "JPEG 2000", "PNG", "JPEG XR"])
def test_a_strip_with_a_size_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(SpheroRankError, match=r"as its header says|compression is"):
        decode(FILES[name](), "x.tif", ImageLimits())


def test_a_strip_of_jpeg_2000_that_fits_its_page_is_read() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (512, 512)).astype(np.uint8)
    data = imagecodecs.jpeg2k_encode(pixels, reversible=True)
    decoded = decode(page(data, 34712, bits=8), "x.tif", ImageLimits())
    assert (decoded.planes[0] == pixels).all()


def test_the_time_of_a_file_with_a_huge_description_is_not_searched(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(FILES["JSON of 20 MB"]())
    version = FileVersion.of("x.tif", path.stat())
    increase_mb, _ = read_in_child(lambda _: read_time(tmp_path, version), path)
    assert increase_mb < MOST_MB


def workbook_bomb(declared: int | None) -> bytes:
    """Return a workbook whose sheet is 256 MB unpacked, with a true or a smaller declared size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(256 * MB))
        if declared is not None:
            archive.infolist()[0].file_size = declared
    return buffer.getvalue()


PLATE = {
    "xlsx, 256 MB": (workbook_bomb, None),
    "xlsx, 256 MB that are declared as 1 kB": (workbook_bomb, 1024),
}


@pytest.mark.parametrize(("make", "declared"), PLATE.values(), ids=PLATE.keys())
def test_a_workbook_bomb_takes_little_memory(
    make: Callable[[int | None], bytes], declared: int | None, tmp_path: Path
) -> None:
    (tmp_path / "P.wells.xlsx").write_bytes(make(declared))
    increase_mb, outcome = read_in_child(
        lambda content: xlsx_table(content, "P.wells.xlsx"), tmp_path / "P.wells.xlsx"
    )
    assert increase_mb < MOST_MB
    assert outcome != "read"


@pytest.mark.parametrize(
    "toml",
    [
        f"plate = {'[' * 400_000}",
        "".join(f"a{'.a' * 200} = {number}\n" for number in range(50)),
        "[" + "a." * 20_000 + "a]",
        "[" + "a." * 400_000 + "a]",
        f"plate = {json.dumps('x' * 900_000)}",
    ],
    ids=["brackets", "keys of one path", "a long key", "a longer key", "a long text"],
)
def test_a_huge_or_deep_plate_map_is_refused_at_once(toml: str) -> None:
    table = csv_table(b"well,group,treatment\nB02,untreated,\n", "P.wells.csv", WELL_COLUMNS)
    with pytest.raises(PlateMapError) as refused:
        parse_plate_map(toml, table, toml_name="P.plate.toml")
    assert len(refused.value.problem) < 5000
