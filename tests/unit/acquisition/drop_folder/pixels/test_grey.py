"""Pixels with several samples: grey, alpha, slightly coloured bright field, and colour."""

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from benchmarks.vendor_files import tiff
from schemas.errors import ImageError

GREY_8: npt.NDArray[np.uint8] = (
    np.random.default_rng(7).integers(60, 200, (80, 100)).astype(np.uint8)
)
GREY_10: npt.NDArray[np.uint16] = GREY_8.astype(np.uint16) * 4
GREY_12: npt.NDArray[np.uint16] = GREY_8.astype(np.uint16) * 16


def plane(content: bytes) -> npt.NDArray[np.generic]:
    (found,) = decode(content, "x.tif", ImageLimits()).planes
    return found


def tinted(grey: npt.NDArray[Any], share: float, white: int) -> npt.NDArray[Any]:
    """Return RGB whose red is brighter than its green by a share of white, and its blue darker."""
    shift = round(share * white / 2)
    return np.stack([grey + shift, grey, grey - shift], axis=2).astype(grey.dtype)


def rgb(pixels: npt.NDArray[Any]) -> bytes:
    return tiff(pixels, photometric="rgb")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.07])
@pytest.mark.parametrize(("grey", "white"), [(GREY_8, 255), (GREY_10, 1023), (GREY_12, 4095)])
def test_slightly_coloured_bright_field_is_read_as_its_green(
    grey: npt.NDArray[Any], white: int, share: float
) -> None:
    assert np.array_equal(plane(rgb(tinted(grey, share, white))), grey)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
@pytest.mark.parametrize(("grey", "white"), [(GREY_8, 255), (GREY_10, 1023), (GREY_12, 4095)])
def test_coloured_pixels_are_refused_also_if_they_have_10_or_12_bits(
    grey: npt.NDArray[Any], white: int, share: float
) -> None:
    with pytest.raises(ImageError, match="colour: red, green and blue differ"):
        plane(rgb(tinted(grey, share, white)))


def test_one_bright_pixel_does_not_hide_the_colour_of_the_others() -> None:
    pixels = tinted(GREY_12, 0.2, 4095)
    pixels[0, 0] = 65535
    with pytest.raises(ImageError, match="colour"):
        plane(rgb(pixels))


@pytest.mark.parametrize("channel", range(3))
def test_a_dim_image_of_one_colour_is_refused(channel: int) -> None:
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[..., channel] = GREY_8 // 12
    with pytest.raises(ImageError, match="colour"):
        plane(rgb(pixels))


def test_a_second_sample_is_ignored_only_if_it_is_declared_as_alpha() -> None:
    pixels = np.stack([GREY_8, GREY_8[::-1]], axis=2)
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    assert np.array_equal(plane(tiff(pixels, extrasamples=["unassalpha"], **options)), GREY_8)
    with pytest.raises(ImageError, match="2 samples per pixel: grey, and others"):
        plane(tiff(pixels, extrasamples=["unspecified"], **options))


def test_a_fourth_sample_is_ignored_only_if_it_is_declared_as_alpha() -> None:
    pixels = np.stack([GREY_8, GREY_8, GREY_8, GREY_8[::-1]], axis=2)
    assert np.array_equal(
        plane(tiff(pixels, photometric="rgb", extrasamples=["assocalpha"])), GREY_8
    )
    with pytest.raises(ImageError, match="4 samples per pixel: red, green, blue, and others"):
        plane(tiff(pixels, photometric="rgb", extrasamples=["unspecified"]))


def test_three_samples_that_are_not_declared_as_colours_are_refused() -> None:
    pixels = np.repeat(GREY_8[..., None], 3, axis=2)
    with pytest.raises(ImageError, match="3 samples per pixel: grey, and others"):
        plane(tiff(pixels, photometric="minisblack", planarconfig="contig"))


def test_a_jpeg_in_the_colours_of_a_printer_is_refused() -> None:
    content = bytearray(imagecodecs.jpeg_encode(GREY_8))
    content[content.index(b"\xff\xc0") + 9] = 4
    with pytest.raises(ImageError, match="4 components per pixel of a JPEG"):
        plane(bytes(content))


def test_the_alpha_of_a_png_is_ignored() -> None:
    assert np.array_equal(
        plane(imagecodecs.png_encode(np.stack([GREY_8, GREY_8[::-1]], axis=2))), GREY_8
    )
