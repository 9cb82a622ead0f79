"""Compare the fine detail of well images, to recognise a place, or a well a day later.

A picture is the detail of a well image in a narrow band of sizes, relative to the background. The
band leaves out the illumination and the pixel noise. Detail is divided by its local strength before
it is compared. Otherwise the dark rim that all round tissue has would decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from acquisition.downscaling import Floats
from acquisition.ports import Pixels

SAME_PICTURE = 0.65
"""Lowest likeness of two images of one place.

Images of one place reach 0.66 with 128 × 128 pixels and 0.76 or more with 256 × 256. Virtual wells
of several plates, optics and days reach 0.58 with each other, and photographs of real spheroids and
organoids 0.40.
"""

SURELY_SAME = 0.8
"""Lowest likeness of two images of one place while the detail common to all wells is unknown."""

FEWEST_FOR_COMMON = 5  # pictures of other wells, from which their common detail is known

SIDE_PX = 128  # of a picture; a pixel is 11 µm of a usual field
_FINE_SIGMA_PX, _COARSE_SIGMA_PX = 1.0, 2.0  # the band of detail
_LOCAL_SIGMA_PX = 6.0  # the area in which the strength of the detail is measured
_MARGIN_PX = 2  # largest displacement of two images of one place
_DAY_MARGIN_PX = 4  # of two images of one well on different days
_FLAT = 3.0  # detail weaker than this multiple of the median strength is reduced


@dataclass(frozen=True, eq=False)
class Picture:
    """The band of detail of a well image, (128, 128)."""

    detail: Floats

    @cached_property
    def strong_detail(self) -> Floats:
        """The detail relative to its local strength, with weak detail reduced.

        The noise of an empty well is weak, so it causes no likeness.
        """
        return self._relative_detail(_FLAT)

    @cached_property
    def all_detail(self) -> Floats:
        """The detail relative to its local strength, also where it is weak.

        The floor of a well is included, which does not grow.
        """
        return self._relative_detail(0.0)

    def _relative_detail(self, flat: float) -> Floats:
        """Return the detail divided by its local strength plus a multiple of the median one."""
        strength = np.sqrt(cv2.GaussianBlur(self.detail**2, (0, 0), _LOCAL_SIGMA_PX))
        floor = flat * float(np.median(strength)) + 1e-6
        return np.asarray(self.detail / (strength + np.float32(floor)), np.float32)


WellPictures = tuple[Picture, ...]
"""The pictures of one visit of a well, one for each field with tissue."""


def make_picture(planes: Sequence[Pixels]) -> Picture:
    """Return the Picture of the planes, each (H, W), of one field.

    The planes are averaged, so that noise and a small change of the focus have less influence.
    """
    mean = np.mean([np.asarray(plane, np.float32) for plane in planes], axis=0)
    small = cv2.resize(mean, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    small = small / np.float32(max(float(np.median(small)), 1.0))
    fine, coarse = (
        cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (_FINE_SIGMA_PX, _COARSE_SIGMA_PX)
    )
    return Picture(np.asarray(fine - coarse, np.float32))


def common_detail(wells: Sequence[WellPictures]) -> Floats:
    """Return the detail that pictures of several wells have in common, (128, 128), such as dust.

    There should be the pictures of at least :data:`FEWEST_FOR_COMMON` wells.
    """
    fields = [field.strong_detail for pictures in wells for field in pictures]
    return np.median(fields, axis=0).astype(np.float32)


def likeness(first: WellPictures, second: WellPictures, common: Floats | float = 0.0) -> float:
    """Return the likeness of two visits, -1 to 1, by which one place is recognised.

    It is the largest one of any two fields.

    ``common`` is the detail that all wells have in common; it does not count.
    """
    ones, others = (
        [np.asarray(field.strong_detail - common, np.float32) for field in pictures]
        for pictures in (first, second)
    )
    return max(_correlation(one, other, _MARGIN_PX) for one in ones for other in others)


def day_likeness(first: WellPictures, second: WellPictures) -> float:
    """Return the likeness of two visits, -1 to 1, by which a well is recognised a day later.

    It is the largest one of any two fields.
    """
    return max(
        _correlation(one.all_detail, other.all_detail, _DAY_MARGIN_PX)
        for one in first
        for other in second
    )


def _correlation(first: Floats, second: Floats, margin: int) -> float:
    """Return the largest correlation of two details with a displacement up to a margin in px."""
    inner = second[margin:-margin, margin:-margin]
    if not (first.std() > 0 and inner.std() > 0):
        return 0.0
    return float(cv2.matchTemplate(first, inner, cv2.TM_CCOEFF_NORMED).max())
