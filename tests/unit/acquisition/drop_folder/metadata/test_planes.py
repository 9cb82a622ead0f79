"""Pages that are the focal planes of one image, and pages that are channels, times or positions."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage, decode
from benchmarks.vendor_files import (
    gen5_xml,
    micromanager,
    ome_image,
    ome_xml,
    squid,
    stk,
    tiff,
    tiff_of_pages,
)
from schemas.errors import ImageError, IncompleteImageError

STACK: npt.NDArray[np.uint16] = (
    np.random.default_rng(8).integers(100, 4000, (6, 80, 100)).astype(np.uint16)
)
START = datetime(2026, 11, 16, 15)  # noqa: DTZ001 - TIFF has no zone


def read(content: bytes, name: str = "x.tif") -> RawImage:
    return decode(content, name, ImageLimits())


def shaped(axes: str, *shape: int) -> bytes:
    return tiff(STACK[: np.prod(shape)].reshape(*shape, 80, 100), metadata={"axes": f"{axes}YX"})


def imagej(axes: str, *shape: int) -> bytes:
    pages = STACK[: np.prod(shape)].reshape(*shape, 80, 100)
    return tiff(pages, imagej=True, metadata={"axes": f"{axes}YX"})


def ome(images: str, pages: int, **root: str) -> bytes:
    return tiff_of_pages(
        STACK[:pages],
        [
            {"description": ome_xml(images, **root).encode() if not page else None}
            for page in range(pages)
        ],
    )


def mm(*pages: tuple[int, int, int, int]) -> bytes:
    """Return a file of Micro-Manager from the slice, channel, frame and position of each page."""
    names = ("SliceIndex", "ChannelIndex", "FrameIndex", "PositionIndex")
    return micromanager(
        STACK[: len(pages)], [dict(zip(names, page, strict=True)) for page in pages]
    )


def ndtiff(*axes: dict[str, object]) -> bytes:
    return micromanager(STACK[: len(axes)], [{"Axes": page} for page in axes])


def cephla(*pages: tuple[int, str]) -> bytes:
    values = [
        {"z_level": z, "channel": channel, "region_id": "B2", "fov": 0} for z, channel in pages
    ]
    return squid(STACK[: len(pages)], values)


def biotek(*pages: dict[str, Any]) -> bytes:
    return tiff_of_pages(
        STACK[: len(pages)], [{"description": gen5_xml(**page).encode()} for page in pages]
    )


def named(*names: str) -> bytes:
    options = [{"extratags": [(285, "s", 0, name, False)]} for name in names]
    return tiff_of_pages(STACK[: len(names)], options)


def dated(*times: datetime) -> bytes:
    return tiff_of_pages(STACK[: len(times)], [{"datetime": time} for time in times])


Z_STACKS = {
    "pages without a description": tiff(*STACK[:3]),
    "tifffile": shaped("Z", 3),
    "tifffile without axes": tiff(STACK[:3], metadata={}),
    "tifffile, one channel": shaped("ZC", 3, 1),
    "tifffile, page by page": tiff(*STACK[:3], metadata={}),
    "ImageJ": imagej("Z", 3),
    "ImageJ, one channel": imagej("ZC", 3, 1),
    "OME": ome(ome_image(z=3), 3),
    "OME, a block for each plane": ome(
        ome_image(z=3, data="".join(f'<TiffData IFD="{z}" FirstZ="{z}"/>' for z in range(3))), 3
    ),
    "Micro-Manager": mm((0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0)),
    "NDTiff": ndtiff(*({"z": z, "channel": "BF", "time": 0} for z in range(3))),
    "Squid": cephla((0, "BF"), (1, "BF"), (2, "BF")),
    "Gen5": biotek({"z": 0}, {"z": 1}, {"z": 2}),
    "MetaMorph stack": stk(STACK[:3]),
    "MetaMorph stack with absolute positions": stk(STACK[:3], z=[100.5, 110.5, 120.5]),
    "MetaMorph stack whose first distance is zero": stk(STACK[:3], z=[0, 5, 5]),
    "MetaMorph stack without UIC1": stk(STACK[:3], has_uic1=False),
    "pages with numbers as names": named("z = 1", "z = 2", "z = 3"),
    "pages within a minute": dated(*[START + timedelta(seconds=20 * page) for page in range(3)]),
}


@pytest.mark.parametrize("content", Z_STACKS.values(), ids=Z_STACKS.keys())
def test_the_focal_planes_of_one_image_are_decoded_in_their_order(content: bytes) -> None:
    assert np.array_equal(np.stack(read(content).planes), STACK[:3])


UNORDERED = {
    "OME": ome(
        ome_image(z=3, data="".join(f'<TiffData IFD="{2 - z}" FirstZ="{z}"/>' for z in range(3))), 3
    ),
    "Micro-Manager": mm((2, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0)),
    "Squid": cephla((2, "BF"), (1, "BF"), (0, "BF")),
    "Gen5": biotek({"z": 30}, {"z": 20.5}, {"z": -1}),
}


@pytest.mark.parametrize("content", UNORDERED.values(), ids=UNORDERED.keys())
def test_pages_that_are_saved_in_another_order_are_sorted_by_their_focus(content: bytes) -> None:
    assert np.array_equal(np.stack(read(content).planes), STACK[2::-1])


def series_of(names: Sequence[str], **kwargs: Any) -> str:  # noqa: ANN401 - options of the sample
    return ome_image(
        data="".join(
            f'<TiffData IFD="0" First{kwargs.get("axis", "T")}="{index}">'
            f'<UUID FileName="{name}">urn:uuid:{index}</UUID></TiffData>'
            for index, name in enumerate(names)
        ),
        **{key: value for key, value in kwargs.items() if key != "axis"},
    )


NOT_STACKS = {
    "tifffile, channels": (shaped("C", 3), "3 channels"),
    "tifffile, times": (shaped("T", 3), "3 times"),
    "tifffile, z and channels": (shaped("ZC", 3, 2), "2 channels"),
    "tifffile, z and times": (shaped("TZ", 3, 2), "3 times"),
    "tifffile, positions": (shaped("R", 3), "3 positions"),
    "ImageJ, channels": (imagej("C", 3), "3 channels"),
    "ImageJ, times": (imagej("T", 3), "3 times"),
    "ImageJ, z and channels": (imagej("ZC", 3, 2), "2 channels"),
    "OME, channels": (ome(ome_image(c=3), 3), "3 channels"),
    "OME, times": (ome(ome_image(t=3), 3), "3 times"),
    "OME, z and channels": (ome(ome_image(z=3, c=2), 6), "2 channels"),
    "OME, images": (
        ome("".join(ome_image(data=f'<TiffData IFD="{page}"/>') for page in range(3)), 3),
        "3 positions",
    ),
    "OME, the companion is missing": (
        ome('<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:1"/>', 3),
        "in another file (x.companion.ome)",
    ),
    "OME of other files": (
        ome(series_of(["a.tif", "b.tif"], t=2), 3),
        "describes other files (a.tif, b.tif)",
    ),
    "OME with too many pages": (ome(ome_image(z=2), 3), "describes 2 pages, the file has 3"),
    "OME with two planes in a page": (
        ome(ome_image(z=3, data='<TiffData IFD="0" FirstZ="0"/>' * 3), 3),
        "several planes to one page",
    ),
    "OME, damaged XML": (
        tiff_of_pages(STACK[:3], [{"description": b"<OME><Image></OME>"}, {}, {}]),
        "cannot be parsed",
    ),
    "Micro-Manager, channels": (mm((0, 0, 0, 0), (0, 1, 0, 0)), "2 channels"),
    "Micro-Manager, times": (mm((0, 0, 0, 0), (0, 0, 1, 0)), "2 times"),
    "Micro-Manager, positions": (mm((0, 0, 0, 0), (0, 0, 0, 1)), "2 positions"),
    "Micro-Manager, one page twice": (mm((1, 0, 0, 0), (1, 0, 0, 0)), "1 focal planes"),
    "NDTiff, channels": (ndtiff({"channel": "BF"}, {"channel": "GFP"}), "2 channels (BF, GFP)"),
    "Squid, channels": (cephla((0, "BF"), (0, "405 nm")), "2 channels (BF, 405 nm)"),
    "Squid, z and channels": (
        cephla((0, "BF"), (0, "405 nm"), (1, "BF"), (1, "405 nm")),
        "2 channels",
    ),
    "Gen5, channels": (biotek({"channel": "BF"}, {"channel": "GFP"}), "0 positions of the focus"),
    "Gen5, channels in focus": (
        biotek({"channel": "BF", "z": 0}, {"channel": "GFP", "z": 1}),
        "2 channels",
    ),
    "MetaMorph stack of channels": (
        stk(STACK[:3], wavelengths=[405, 488, 561]),
        "3 channels",
    ),
    "MetaMorph stack without z": (stk(STACK[:3], z=[0, 0, 0]), "without their positions in z"),
    "MetaMorph stack without UIC1 and z": (
        stk(STACK[:3], z=[0, 0, 0], has_uic1=False),
        "without their positions in z",
    ),
    "pages with names of channels": (named("BF", "GFP"), "2 channels (BF, GFP)"),
    "pages of two days": (dated(START, START + timedelta(days=1)), "within 24.0 hours"),
}


@pytest.mark.parametrize(("content", "reason"), NOT_STACKS.values(), ids=NOT_STACKS.keys())
def test_pages_that_are_not_focal_planes_are_refused_with_the_reason(
    content: bytes, reason: str
) -> None:
    with pytest.raises(ImageError) as refusal:
        read(content)
    assert reason in refusal.value.problem
    assert not isinstance(refusal.value, IncompleteImageError)


MISSING = {
    "OME": (ome(ome_image(z=3), 2), "OME-XML describes 3 pages, the file has 2"),
    "OME with one page": (ome(ome_image(z=3), 1), "describes 3 pages, the file has 1"),
    "ImageJ": (
        tiff(STACK[0], imagej=True).replace(b"images=1", b"images=9"),
        "says 9 images, the file has 1",
    ),
}


@pytest.mark.parametrize(("content", "reason"), MISSING.values(), ids=MISSING.keys())
def test_a_stack_with_fewer_pages_than_described_may_still_be_written(
    content: bytes, reason: str
) -> None:
    with pytest.raises(IncompleteImageError) as refusal:
        read(content)
    assert reason in refusal.value.problem


@pytest.mark.parametrize("container", [{"ome": True}, {"imagej": True}, {}])
def test_the_colours_of_a_grey_rgb_image_are_no_channels(container: dict[str, bool]) -> None:
    grey = (STACK[0] // 16).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    content = tiff(rgb, photometric="rgb", metadata={"axes": "YXS"}, **container)
    assert np.array_equal(read(content).planes[0], grey)


def test_one_file_of_a_series_has_only_its_own_plane() -> None:
    content = ome(series_of(["z0.tif", "z1.tif"], axis="Z", z=2), 1)
    assert np.array_equal(np.stack(read(content, "day01/z1.tif").planes), STACK[:1])


def test_a_file_of_a_series_that_names_only_its_first_plane_has_all_its_pages() -> None:
    blocks = "".join(
        f'<TiffData FirstT="{t}"><UUID FileName="t{t}.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(3)
    )
    content = ome(ome_image(z=2, t=3, data=blocks), 2)
    for name in ("t0.tif", "t1.tif", "t2.tif"):
        assert np.array_equal(np.stack(read(content, name).planes), STACK[:2])


def test_one_page_of_a_file_whose_companion_is_missing_is_decoded_without_metadata() -> None:
    image = read(ome('<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:1"/>', 1))
    assert len(image.planes) == 1
    assert (image.metadata.um_per_px, image.metadata.taken_at) == (None, None)


def test_a_compressed_metamorph_stack_is_refused() -> None:
    content = stk(STACK[:3]).replace(
        b"\x03\x01\x03\0\x01\0\0\0\x01\0\0\0", b"\x03\x01\x03\0\x01\0\0\0\x05\0\0\0"
    )
    with pytest.raises(ImageError, match="compressed or separated pixels"):
        read(content)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_bits_of_the_camera_are_read_from_micro_manager(bits: int) -> None:
    plane = np.full((80, 100), 1000, np.uint16)
    content = micromanager([plane], [{"SliceIndex": 0, "BitDepth": bits}])
    assert read(content).bits == bits
