"""A small picture of a well with the outline of its tissue, for reports."""

import cv2
import numpy as np
import numpy.typing as npt

from schemas.tissue import Segmentation

SIDE_PX = 220
JPEG_QUALITY = 82
"""A picture of this quality has about 8 kB."""
BODY_BGR, DEBRIS_BGR = (0, 120, 255), (200, 160, 60)
_BACKGROUND_GREY = 190  # 0…255


def draw_outline_picture(plane: npt.NDArray[np.uint16], segmentation: Segmentation) -> bytes:
    """Return a plane, (H, W), as JPEG bytes, with the outlines of a Segmentation.

    The body is outlined in orange and debris in blue. The brightness is scaled so that the
    background has the same grey in every picture.
    """
    scale = SIDE_PX / max(plane.shape)
    size = max(round(plane.shape[1] * scale), 1), max(round(plane.shape[0] * scale), 1)
    resized = cv2.resize(
        plane, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    ).astype(np.float32)
    level = max(float(np.median(segmentation.background)), 1.0)
    grey = np.clip(resized * (_BACKGROUND_GREY / level), 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for region, colour in ((segmentation.debris, DEBRIS_BGR), (segmentation.body, BODY_BGR)):
        mask = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1, cv2.LINE_AA)
    encoded, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert encoded  # noqa: S101 - an array of this shape and type always encodes
    return content.tobytes()
