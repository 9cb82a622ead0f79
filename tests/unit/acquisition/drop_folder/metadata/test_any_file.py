"""Files of each format with any legal values are read exactly, and any damage is an ImageError."""

import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage, decode
from acquisition.drop_folder.metadata.image_metadata import CREDIBLE_UM_PER_PX
from benchmarks.vendor_files import (
    gen5_xml,
    harmony,
    harmony_xml,
    metaseries,
    micromanager,
    ome_image,
    ome_xml,
    squid,
    stk,
    tiff,
    tiff_of_pages,
)
from schemas.errors import ImageError

EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STACK: npt.NDArray[np.uint16] = (
    np.random.default_rng(9).integers(1, 4000, (6, 64, 72)).astype(np.uint16)
)
SCALES = st.floats(0.01, 100, allow_nan=False).map(lambda value: float(f"{value:.4g}"))
SECONDS = st.datetimes(datetime(1995, 1, 1), datetime(2060, 1, 1)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0)
)
ZONES = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
PLANES = st.integers(1, 4)
LENGTHS = st.sampled_from([("nm", 1e-3), ("um", 1.0), ("µm", 1.0), ("mm", 1e3), ("cm", 1e4)])


def read(content: bytes) -> RawImage:
    return decode(content, "x.tif", ImageLimits())


def require_scale(image: RawImage, um_per_px: float, source: str) -> None:
    """Assert that a scale is read if it is plausible, and that there is none otherwise."""
    low, high = CREDIBLE_UM_PER_PX
    found, found_source = image.metadata.um_per_px, image.metadata.scale_source
    if low * 1.001 <= um_per_px <= high * 0.999:
        assert found == pytest.approx(um_per_px, rel=1e-3)
        assert found_source == source
    elif not low * 0.999 <= um_per_px <= high * 1.001:
        assert (found, found_source) == (None, "")


@EXAMPLES
@given(
    camera=st.floats(2, 12).map(lambda value: round(value, 2)),
    binning=st.integers(1, 8),
    objective=st.sampled_from([1.25, 2.5, 4, 5, 10, 20, 40, 63]),
    instrument=st.floats(0.3, 2).map(lambda value: round(value, 3)),
    time=SECONDS,
    zone=ZONES,
    bits=st.integers(8, 16),
)
def test_harmony(
    camera: float, binning: int, objective: float, instrument: float, time: datetime,
    zone: timezone, bits: int,
) -> None:  # fmt: skip
    xml = harmony_xml(
        binning=binning,
        objective=objective,
        instrument=instrument,
        time=time.replace(tzinfo=zone).isoformat(),
        white=2**bits - 1,
    )
    image = read(harmony(STACK[0] % (2**bits - 1) + 1, xml, camera))
    require_scale(image, camera * binning / (objective * instrument), "Harmony XML")
    assert image.metadata.taken_at == time.replace(tzinfo=zone)
    assert image.metadata.bits == bits


@EXAMPLES
@given(um_per_px=SCALES, stretch=st.sampled_from([1.0, 1.005, 1.5]), time=SECONDS, planes=PLANES)
def test_gen5(um_per_px: float, stretch: float, time: datetime, planes: int) -> None:
    values: list[dict[str, Any]] = [
        {
            "width_px": 72,
            "width_um": 72 * um_per_px,
            "height_px": 64,
            "height_um": 64 * um_per_px * stretch,
            "date": f"{time:%m/%d/%y}",
            "clock": f"{time:%H:%M:%S}",
            "z": z,
        }
        for z in range(planes)
    ]
    content = tiff_of_pages(
        STACK[:planes], [{"description": gen5_xml(**page).encode()} for page in values]
    )
    image = read(content)
    require_scale(image, um_per_px if stretch < 1.01 else 0, "Gen5 XML")
    assert np.array_equal(np.stack(image.planes), STACK[:planes])
    assert image.metadata.taken_at is not None
    assert f"{image.metadata.taken_at:%m/%d/%y %H:%M:%S}" == f"{time:%m/%d/%y %H:%M:%S}"


@EXAMPLES
@given(um_per_px=SCALES, unit=LENGTHS, stretch=st.sampled_from([1.0, 1.5]))
def test_metaxpress(um_per_px: float, unit: tuple[str, float], stretch: float) -> None:
    name, length_um = unit
    x = um_per_px / length_um
    content = metaseries(STACK[0], x=x, y=x * stretch, unit=name.replace("µ", "&#181;"))
    require_scale(read(content), um_per_px if stretch == 1 else 0, "MetaSeries")


@EXAMPLES
@given(um_per_px=SCALES, time=SECONDS, planes=PLANES, step=st.floats(0.1, 100))
def test_metamorph(um_per_px: float, time: datetime, planes: int, step: float) -> None:
    image = read(
        stk(STACK[:planes], scale=um_per_px, z=[step * z for z in range(planes)], time=time)
    )
    require_scale(image, um_per_px, "MetaMorph STK")
    assert np.array_equal(np.stack(image.planes), STACK[:planes])
    assert image.metadata.taken_at == time


@EXAMPLES
@given(
    um_per_px=SCALES,
    time=SECONDS,
    zone=ZONES,
    bits=st.integers(12, 16),
    order=st.permutations(range(4)),
    key=st.sampled_from(["Time", "ReceivedTime"]),
)
def test_micromanager(
    um_per_px: float, time: datetime, zone: timezone, bits: int, order: list[int], key: str
) -> None:
    values = [
        {
            "SliceIndex": z,
            "ChannelIndex": 0,
            "FrameIndex": 0,
            "PixelSizeUm": um_per_px,
            "BitDepth": bits,
            key: f"{time.replace(tzinfo=zone):%Y-%m-%d %H:%M:%S %z}",
        }
        for z in order
    ]
    image = read(micromanager([STACK[z] for z in order], values))
    require_scale(image, um_per_px, "Micro-Manager")
    assert np.array_equal(np.stack(image.planes), STACK[:4])
    assert (image.metadata.taken_at, image.bits) == (time.replace(tzinfo=zone), bits)


@EXAMPLES
@given(
    time=SECONDS,
    pages=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=6, unique=True
    ),
)
def test_squid(time: datetime, pages: list[tuple[int, int]]) -> None:
    values = [
        {"z_level": z, "channel": f"channel {c}", "region_id": "B2", "fov": 0, "time": str(time)}
        for z, c in pages
    ]
    content = squid(STACK[: len(pages)], values)
    if len({c for _, c in pages}) > 1:
        with pytest.raises(ImageError, match="2 channels"):
            read(content)
        return
    image = read(content)
    order = sorted(range(len(pages)), key=lambda page: pages[page][0])
    assert np.array_equal(np.stack(image.planes), STACK[order])
    assert image.metadata.taken_at == time


@EXAMPLES
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)).filter(
        lambda sizes: np.prod(sizes) <= 6
    ),
    order=st.permutations("ZCT"),
    um_per_px=SCALES,
    unit=LENGTHS,
    stretch=st.sampled_from([1.0, 1.5]),
    time=SECONDS,
    bits=st.integers(12, 15),
)
def test_ome(
    sizes: tuple[int, int, int], order: list[str], um_per_px: float, unit: tuple[str, float],
    stretch: float, time: datetime, bits: int,
) -> None:  # fmt: skip
    name, length_um = unit
    z, c, t = sizes
    x = um_per_px / length_um
    text = ome_image(
        z=z, c=c, t=t,
        order="XY" + "".join(order),
        date=time.isoformat(),
        scale=f'PhysicalSizeX="{x}" PhysicalSizeXUnit="{name}" '
        f'PhysicalSizeY="{x * stretch}" PhysicalSizeYUnit="{name}"',
        more=f'SignificantBits="{bits}"',
    )  # fmt: skip
    count = z * c * t
    content = tiff_of_pages(
        STACK[:count],
        [{"description": ome_xml(text).encode() if not page else None} for page in range(count)],
    )
    if c * t > 1:
        with pytest.raises(ImageError, match="expected the focal planes of one image"):
            read(content)
        return
    image = read(content)
    require_scale(image, um_per_px if stretch == 1 else 0, "OME-XML")
    assert np.array_equal(np.stack(image.planes), STACK[:count])
    assert (image.metadata.taken_at, image.bits) == (time, bits)


@EXAMPLES
@given(
    axes=st.sampled_from(["Z", "C", "T", "ZC", "TZ", "TZC"]),
    um_per_px=SCALES,
    unit=LENGTHS,
    is_imagej=st.booleans(),
)
def test_imagej_and_tifffile(
    axes: str, um_per_px: float, unit: tuple[str, float], *, is_imagej: bool
) -> None:
    name, length_um = unit
    shape = {"Z": (3,), "C": (3,), "T": (3,), "ZC": (3, 2), "TZ": (2, 3), "TZC": (1, 3, 2)}[axes]
    pages = STACK[: np.prod(shape)].reshape(*shape, 64, 72)
    options: dict[str, Any] = {"metadata": {"axes": f"{axes}YX"}}
    if is_imagej:
        per_unit = length_um / um_per_px
        options["metadata"]["unit"] = name.replace("µ", "\\u00B5")
        options |= {"imagej": True, "resolution": (per_unit, per_unit)}
    content = tiff(pages, **options)
    if axes != "Z":
        with pytest.raises(ImageError, match="expected the focal planes of one image"):
            read(content)
        return
    image = read(content)
    assert np.array_equal(np.stack(image.planes), STACK[:3])
    if is_imagej:
        require_scale(image, um_per_px, "ImageJ")


@EXAMPLES
@given(
    um_per_px=SCALES,
    unit=st.sampled_from([("INCH", 25_400.0), ("CENTIMETER", 10_000.0)]),
    stretch=st.sampled_from([1.0, 0.5]),
    time=SECONDS,
)
def test_tiff_tags(
    um_per_px: float, unit: tuple[str, float], stretch: float, time: datetime
) -> None:
    name, length_um = unit
    per_unit = length_um / um_per_px
    image = read(
        tiff(
            STACK[0],
            resolution=(per_unit, per_unit * stretch),
            resolutionunit=name,
            datetime=time,
        )
    )
    require_scale(image, um_per_px if stretch == 1 else 0, "TIFF resolution tags")
    assert image.metadata.taken_at == time


GREY_8 = (STACK[0] // 16).astype(np.uint8)
VALUES = {"SliceIndex": 0, "PixelSizeUm": 0.65, "ReceivedTime": "2026-11-16 15:00:00 +0100"}
SAMPLES: dict[str, Callable[[], bytes]] = {
    "Harmony": lambda: harmony(STACK[0], harmony_xml()),
    "Gen5": lambda: tiff(STACK[0], description=gen5_xml()),
    "MetaXpress": lambda: metaseries(STACK[0]),
    "MetaMorph": lambda: stk(STACK[:3]),
    "Micro-Manager": lambda: micromanager(STACK[:2], [VALUES, VALUES | {"SliceIndex": 1}]),
    "Squid": lambda: squid(STACK[:2], [{"z_level": z, "channel": "BF"} for z in range(2)]),
    "OME": lambda: tiff(STACK[:3], ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.65}),
    "ImageJ": lambda: tiff(STACK[:3], imagej=True, metadata={"axes": "ZYX", "unit": "um"}),
    "tifffile": lambda: tiff(STACK[:3], metadata={"axes": "ZYX"}),
    "tiles": lambda: tiff(STACK[0], tile=(32, 32), compression="zlib"),
    "LZW": lambda: tiff(STACK[0], compression="lzw", rowsperstrip=16),
    "BigTIFF": lambda: tiff(STACK[0], bigtiff=True, byteorder=">"),
    "RGB": lambda: tiff(np.repeat(GREY_8[..., None], 3, axis=2), photometric="rgb"),
    "PNG": lambda: imagecodecs.png_encode(STACK[0]),
    "JPEG": lambda: imagecodecs.jpeg_encode(GREY_8),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_decoded_or_refused(
    sample: Callable[[], bytes], data: st.DataObject
) -> None:
    content = bytearray(sample())
    if content[:4] in (b"II*\0", b"MM\0+"):
        with tifffile.TiffFile(io.BytesIO(bytes(content))) as tif:
            page = tif.pages.first
            header = [
                at
                for tag in page.tags
                for at in (
                    tag.offset,
                    tag.offset + 2,
                    tag.offset + 4,
                    tag.offset + 8,
                    tag.valueoffset,
                )
            ]
    else:
        header = list(range(40))
    for _ in range(data.draw(st.integers(1, 6))):
        near = data.draw(st.booleans())
        start = (
            data.draw(st.sampled_from(header))
            if near
            else data.draw(st.integers(0, len(content) - 1))
        )
        change = data.draw(st.binary(min_size=1, max_size=4))
        content[start : start + len(change)] = change
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    try:
        image = read(bytes(content))
    except ImageError:
        return
    assert all(plane.ndim == 2 and min(plane.shape) >= 16 for plane in image.planes)
    scale = image.metadata.um_per_px
    assert scale is None or CREDIBLE_UM_PER_PX[0] <= scale <= CREDIBLE_UM_PER_PX[1]
