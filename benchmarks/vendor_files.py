"""Image files in the form of each microscope program, made from its public documentation.

The sources are named in the modules of ``acquisition/drop_folder/metadata``.
"""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

Pixels = npt.NDArray[Any]

_JULIAN_OF_DAY_0 = 1_721_425


def tiff(*pages: Pixels, **options: Any) -> bytes:  # noqa: ANN401 - options of tifffile
    """Return a TIFF with one page for each array; options are those of tifffile's writer."""
    buffer = io.BytesIO()
    container = {
        name: options.pop(name)
        for name in ("ome", "imagej", "bigtiff", "byteorder", "shaped")
        if name in options
    }
    if isinstance(text := options.get("description"), str):
        options["description"] = text.encode()
    with tifffile.TiffWriter(buffer, **container) as writer:
        for page in pages:
            writer.write(page, **({"photometric": "minisblack", "metadata": None} | options))
    return buffer.getvalue()


def tiff_of_pages(
    pages: Sequence[Pixels], options: Sequence[Mapping[str, Any]], **shared: object
) -> bytes:
    """Return a TIFF whose pages have their own options of tifffile's writer."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page, own in zip(pages, options, strict=True):
            merged: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
            writer.write(page, **(merged | dict(shared) | dict(own)))
    return buffer.getvalue()


def harmony_xml(
    *,
    binning: int = 2,
    objective: float = 20,
    instrument: float | None = 1.087,
    time: str = "2026-11-16T15:00:00.37+01:00",
    white: int = 65535,
    more: str = "",
) -> str:
    """Return the XML that Harmony writes into the tag 65500 of a TIFF."""
    relay = "" if instrument is None else f"<Magnification>{instrument}</Magnification>"
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<ImageMetadata xmlns="43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV5">'
        f"<InstrumentDescription><Name>Operetta</Name>{relay}</InstrumentDescription>"
        f"<BinningX>{binning}</BinningX><BinningY>{binning}</BinningY>"
        f"<MaxIntensity>{white}</MaxIntensity><AbsTime>{time}</AbsTime>"
        f'<ObjectiveMagnification Unit="">{objective}</ObjectiveMagnification>'
        f'<ObjectiveNA Unit="">0.4</ObjectiveNA>{more}</ImageMetadata>'
    )


def harmony(pixels: Pixels, xml: str, camera_um: float = 6.5) -> bytes:
    """Return a TIFF from Harmony, whose resolution tags hold the pixel of the camera."""
    per_cm = 10_000 / camera_um
    return tiff(
        pixels,
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        extratags=[(65500, "s", 0, xml, True)],
    )


def gen5_xml(
    *,
    width_px: int = 1224,
    width_um: float = 394,
    height_px: int = 904,
    height_um: float = 291,
    date: str = "11/16/26",
    clock: str = "15:00:00",
    z: float | None = None,
    channel: str = "Bright Field",
) -> str:
    """Return the XML that Gen5 writes into the description of each page."""
    focus = "" if z is None else f"<ZStackPosition>{z}</ZStackPosition>"
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><BTIImageMetaData Version="29">'
        f"<ImageReference><Date>{date}</Date><Time>{clock}</Time><Well>B2</Well>{focus}"
        "</ImageReference><ImageAcquisition>"
        f"<PixelWidth>{width_px}</PixelWidth><PixelHeight>{height_px}</PixelHeight>"
        f"<ImageWidthMicrons>{width_um}</ImageWidthMicrons>"
        f"<ImageHeightMicrons>{height_um}</ImageHeightMicrons>"
        f'<Channel Color="{channel}"><BrightField>TRUE</BrightField></Channel>'
        "</ImageAcquisition></BTIImageMetaData>"
    )


def metaseries(
    pixels: Pixels, *, x: float = 1.36, y: float = 1.36, unit: str = "um", state: str = "on"
) -> bytes:
    """Return a TIFF from MetaXpress."""
    values = {
        "spatial-calibration-state": state,
        "spatial-calibration-x": x,
        "spatial-calibration-y": y,
        "spatial-calibration-units": unit,
        "acquisition-time-local": "20261116 15:00:00.977",
    }
    props = "".join(f'<prop id="{name}" value="{value}"/>' for name, value in values.items())
    return tiff(
        pixels,
        software="MetaSeries",
        description=f"<MetaData><PlaneInfo>{props}</PlaneInfo></MetaData>",
    )


def micromanager(
    planes: Sequence[Pixels], values: Sequence[Mapping[str, object]], **options: object
) -> bytes:
    """Return a TIFF from Micro-Manager, with its JSON in each page."""
    tags = [{"extratags": [(51123, "s", 0, json.dumps(page), False)]} for page in values]
    return tiff_of_pages(planes, tags, **options)


def squid(planes: Sequence[Pixels], values: Sequence[Mapping[str, object]]) -> bytes:
    """Return a multi-page TIFF from Squid: JSON and the tag PageName in each page."""
    options = [
        {
            "description": json.dumps(page),
            "metadata": dict(page),
            "extratags": [(285, "s", 0, str(page["channel"]), False)],
        }
        for page in values
    ]
    return tiff_of_pages(planes, options)


def ome_xml(images: str, *, uuid: str = "") -> str:
    """Return OME-XML with some ``Image`` elements."""
    root = f' UUID="{uuid}"' if uuid else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{root}>{images}</OME>'
    )


def ome_image(
    *,
    z: int = 1,
    c: int = 1,
    t: int = 1,
    order: str = "XYZCT",
    scale: str = 'PhysicalSizeX="0.65" PhysicalSizeY="0.65"',
    date: str = "2026-11-16T15:00:00",
    data: str = "<TiffData/>",
    planes: str = "",
    more: str = "",
) -> str:
    """Return one ``Image`` element of OME-XML."""
    found = f"<AcquisitionDate>{date}</AcquisitionDate>" if date else ""
    return (
        f'<Image ID="Image:0">{found}<Pixels ID="Pixels:0" DimensionOrder="{order}" SizeX="100" '
        f'SizeY="80" SizeZ="{z}" SizeC="{c}" SizeT="{t}" Type="uint16" {scale} {more}>'
        f"{data}{planes}</Pixels></Image>"
    )


def stk(
    planes: Sequence[Pixels],
    *,
    scale: float | None = 0.65,
    y_scale: float | None = None,
    unit: str = "um",
    z: Sequence[float] | None = None,
    wavelengths: Sequence[float] | None = None,
    time: datetime = datetime(2026, 11, 16, 15),  # noqa: DTZ001 - the format has no zone
    has_uic1: bool = True,
) -> bytes:
    """Return a MetaMorph stack: one page, whose planes follow each other, and the UIC tags."""
    count = len(planes)
    height, width = planes[0].shape
    pixels = b"".join(plane.astype("<u2").tobytes() for plane in planes)
    z = list(range(1, count + 1)) if z is None else z
    milliseconds = int(
        (time - time.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() * 1000
    )
    uic2 = b"".join(
        struct.pack(
            "<6I", round(position * 1000), 1000, time.toordinal() + _JULIAN_OF_DAY_0,
            milliseconds + 500 * index, 0, 0,
        )
        for index, position in enumerate(z)
    )  # fmt: skip
    uic3 = b"".join(
        struct.pack("<2I", round(length), 1) for length in wavelengths or [550.0] * count
    )
    uic1 = _uic1(scale, scale if y_scale is None else y_scale, unit, 8 + len(pixels))
    first = 8 + len(pixels) + len(uic1[1])
    values = {
        33628: (4, uic1[2], uic1[0]),
        33629: (5, count, first),
        33630: (5, count, first + len(uic2)),
    }
    if not has_uic1:
        del values[33628]
    plane_bytes = width * height * 2
    entries = {
        254: (4, 1, 0), 256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 16), 259: (3, 1, 1),
        262: (3, 1, 1), 273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height),
        279: (4, 1, plane_bytes),
    } | values  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(
        struct.pack("<HHII", code, *entry) for code, entry in sorted(entries.items())
    )
    start = first + len(uic2) + len(uic3)
    return (
        b"II*\0" + struct.pack("<I", start) + pixels + uic1[1] + uic2 + uic3 + directory + bytes(4)
    )


def _uic1(x: float | None, y: float | None, unit: str, start: int) -> tuple[int, bytes, int]:
    """Return the position, the bytes and the number of values of the tag UIC1."""
    if x is None or y is None:
        return start, struct.pack("<II", 3, 0), 1
    text = unit.encode("latin-1") + b"\0"
    parts = [
        (4, struct.pack("<II", round(x * 100_000), 100_000)),
        (5, struct.pack("<II", round(y * 100_000), 100_000)),
        (6, struct.pack("<I", len(text)) + text),
    ]
    data, pairs = b"", [(3, 1)]
    for code, value in parts:
        pairs.append((code, start + len(data)))
        data += value
    table = b"".join(struct.pack("<II", *pair) for pair in pairs)
    return start + len(data), data + table, len(pairs)


def sample_files(seed: int) -> list[bytes]:
    """Return one small valid image in each form, with random pixels of a seed."""
    rng = np.random.default_rng(seed)
    grey8 = rng.integers(0, 256, (72, 96), dtype=np.uint8)
    grey16 = rng.integers(0, 4096, (72, 96), dtype=np.uint16)
    stack = rng.integers(0, 65536, (3, 72, 96), dtype=np.uint16)
    page = {"channel": "BF_LED_matrix_full", "z_um": 1.0, "time": 0.0}
    return [
        tiff(grey8),
        tiff(grey16, byteorder=">"),
        tiff(grey16, compression="zlib"),
        tiff(grey16, compression="lzw", predictor=True),
        tiff(grey8, compression="jpeg"),
        tiff(grey8, compression="packbits"),
        tiff(grey16, tile=(32, 32)),
        tiff(grey16, rowsperstrip=7),
        tiff(grey16, bigtiff=True),
        tiff(*stack),
        tiff(np.stack([grey8] * 3, axis=-1), photometric="rgb"),
        tiff(stack, imagej=True, photometric=None, metadata={"axes": "ZYX", "unit": "um"}),
        tiff(stack, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.65}),
        harmony(grey16, harmony_xml()),
        tiff(grey16, description=gen5_xml()),
        metaseries(grey16),
        micromanager([grey16], [{"PixelSizeUm": 0.65, "Slice": 0}]),
        squid([grey8], [page]),
        stk(list(stack)),
        bytes(imagecodecs.png_encode(grey8)),
        bytes(imagecodecs.png_encode(grey16)),
        bytes(imagecodecs.jpeg_encode(grey8)),
    ]
