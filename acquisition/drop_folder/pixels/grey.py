"""Turn decoded pixels into one grey value each, and refuse colour."""

from typing import cast

import numpy as np
import numpy.typing as npt

from schemas.errors import ImageError

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

GREY_TOLERANCE = 0.08
"""Largest difference of R, G and B of a grey pixel, as a share of the white in use.

Bright field through a colour camera is slightly coloured, and JPEG rounds colours.
"""

GREY_EXCEPTIONS = 0.001
"""Largest share of pixels with a larger difference of R, G and B in a grey image."""

COLOUR_SHARE = 0.5
"""Mean difference of R, G and B, as a share of the mean brightness, from which dim images count as
coloured."""

MIN_PLANE_SIDE_PX = 16
"""Smallest side of a decoded plane; a smaller one is damaged."""


def grey_plane(pixels: npt.NDArray[np.generic], where: object, bits: int | None = None) -> Plane:
    """Return the plane, (H, W), of grey pixels, or of RGB or RGBA with nearly equal channels.

    Parameters
    ----------
    pixels
        (H, W) or (H, W, samples): grey, grey and alpha, RGB, or RGB and alpha.
    where
        The path, for error messages.
    bits
        Significant bits of a uint16 pixel, which define white; None if they are unknown.

    Raises
    ------
    ImageError
        If the pixels are coloured, of another type, or not a plane.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(where, f"pixels are {pixels.dtype}; expected uint8 or uint16 grey")
    grey = cast("Plane", pixels)
    if grey.ndim == 3 and grey.shape[2] in (1, 2):  # noqa: PLR2004 - (H, W, grey and perhaps alpha)
        grey = cast("Plane", np.ascontiguousarray(grey[..., 0]))
    elif grey.ndim == 3 and grey.shape[2] in (3, 4):  # noqa: PLR2004 - (H, W, RGB and perhaps alpha)
        grey = _grey_of_colour(grey, where, bits)
    if grey.ndim != 2 or min(grey.shape) < MIN_PLANE_SIDE_PX:  # noqa: PLR2004 - (H, W)
        raise ImageError(
            where,
            f"damaged: its pixels have the shape {pixels.shape}; expected one grey value for each "
            f"of at least {MIN_PLANE_SIDE_PX}×{MIN_PLANE_SIDE_PX} pixels",
        )
    return grey


def _grey_of_colour(colour: Plane, where: object, bits: int | None) -> Plane:
    """Return the green channel, (H, W), of RGB or RGBA pixels whose colours are nearly equal."""
    red, green, blue = (colour[..., channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    difference = brightest - np.minimum(np.minimum(red, green), blue)
    if not brightest.size:
        return green
    white = _white_in_use(brightest, bits)
    coloured = float((difference > GREY_TOLERANCE * white).mean())
    is_dim_colour = float(difference.mean()) > COLOUR_SHARE * float(brightest.mean())
    if coloured > GREY_EXCEPTIONS or is_dim_colour:
        share = 1.0 if is_dim_colour else coloured
        raise ImageError(
            where,
            f"colour: red, green and blue differ in {share:.1%} of the pixels; expected grey",
        )
    return cast("Plane", np.ascontiguousarray(green))


def _white_in_use(brightest: Plane, bits: int | None) -> int:
    """Return the white of RGB pixels: that of their bits, else of almost all of them."""
    if brightest.dtype == np.uint8:
        return 255
    if bits is not None:
        return int(2**bits - 1)
    few = GREY_EXCEPTIONS * brightest.size
    whites = (2**n - 1 for n in (8, 10, 12, 14, 16))
    return next(white for white in whites if np.count_nonzero(brightest > white) <= few)
