"""From the planes of a well image to the encoder's input: the one way, at training and at run time.

In this order: choose three planes, take the field, reduce it by averaging, bring the background to a fixed value, normalise. The reduction
comes first, so that everything after it costs the same whatever the camera.
"""

import cv2
import numpy as np
import numpy.typing as npt

from schemas.encoder_bundle import PlanePolicy, Preprocessing

MIN_SIDE_PX = 64
"""Below this an image is a thumbnail: enlarging it shows the encoder blur that is not in the well."""

BACKGROUND_QUANTILE = 0.75
"""In bright field the empty medium is the bright mode. The upper quartile lies in it while tissue covers up to about
70 % of the field, where the median already falls into the tissue; halos and debris are too few to reach down to it."""


def preprocess(
    planes: npt.NDArray[np.uint16],
    sharpest_plane: int,
    um_per_px: float | None,
    preprocessing: Preprocessing,
    side_px: int,
) -> npt.NDArray[np.float32]:
    """Return the encoder's input, (3, side_px, side_px), from (planes, H, W).

    Raises
    ------
    ValueError
        If the image is smaller than :data:`MIN_SIDE_PX`, or the number of planes does not fit the policy.
    """
    if planes.ndim != 3 or min(planes.shape[1:]) < MIN_SIDE_PX:  # noqa: PLR2004 - planes, rows, columns
        raise ValueError(
            f"{'×'.join(map(str, planes.shape[1:]))} pixels; the encoder needs at least {MIN_SIDE_PX}×{MIN_SIDE_PX}"
        )
    channels = channel_planes(len(planes), sharpest_plane, preprocessing.planes)
    distinct = sorted(set(channels))
    reduced = np.stack(
        [_reduce(planes[plane], um_per_px, preprocessing.field_um, side_px) for plane in distinct]
    )
    scaled = _level_background(reduced, preprocessing.background)
    framed = _pad(scaled, side_px, preprocessing.background)[
        [distinct.index(plane) for plane in channels]
    ]
    mean = np.array(preprocessing.mean, dtype=np.float32).reshape(3, 1, 1)
    std = np.array(preprocessing.std, dtype=np.float32).reshape(3, 1, 1)
    return np.ascontiguousarray((framed - mean) / std)


def channel_planes(
    plane_count: int, sharpest_plane: int, policy: PlanePolicy
) -> tuple[int, int, int]:
    """Return the index of the plane that each channel shows.

    Raises
    ------
    ValueError
        If the policy needs another number of planes, or there is no such sharpest plane.
    """
    if not 0 <= sharpest_plane < plane_count:
        raise ValueError(f"sharpest plane is {sharpest_plane}; expected 0…{plane_count - 1}")
    match policy:
        case PlanePolicy.THREE_PLANES:
            if plane_count != 3:  # noqa: PLR2004 - the policy's name says three
                raise ValueError(
                    f"{plane_count} planes; the encoder's plane policy is {policy} and needs exactly 3"
                )
            return 0, 1, 2
        case PlanePolicy.SHARPEST:
            return sharpest_plane, sharpest_plane, sharpest_plane
        case PlanePolicy.SHARPEST_NEIGHBOURS:
            return (
                max(sharpest_plane - 1, 0),
                sharpest_plane,
                min(sharpest_plane + 1, plane_count - 1),
            )


def _reduce(
    plane: npt.NDArray[np.uint16], um_per_px: float | None, field_um: float | None, side_px: int
) -> npt.NDArray[np.float32]:
    """Return what the image has of the field, (h, w) with h, w ≤ side_px, at the field's scale."""
    height, width = plane.shape
    field_px = (
        max(height, width)
        if field_um is None or um_per_px is None
        else max(round(field_um / um_per_px), 1)
    )
    rows, columns = min(height, field_px), min(width, field_px)
    top, left = (height - rows) // 2, (width - columns) // 2
    size = max(round(columns * side_px / field_px), 1), max(round(rows * side_px / field_px), 1)
    interpolation = cv2.INTER_AREA if field_px >= side_px else cv2.INTER_LINEAR
    return cv2.resize(
        plane[top : top + rows, left : left + columns], size, interpolation=interpolation
    ).astype(np.float32)


def _level_background(
    reduced: npt.NDArray[np.float32], background: float
) -> npt.NDArray[np.float32]:
    """Divide by the image's own background, one level for all planes so that their differences stay; clip to 0…1."""
    level = max(float(np.quantile(reduced, BACKGROUND_QUANTILE)), 1.0)  # a black image stays black
    scaled: npt.NDArray[np.float32] = np.minimum(
        reduced * np.float32(background / level), np.float32(1)
    )
    return scaled


def _pad(
    reduced: npt.NDArray[np.float32], side_px: int, background: float
) -> npt.NDArray[np.float32]:
    """Centre (n, h, w) in (n, side_px, side_px); what lies outside the image is empty background."""
    height, width = reduced.shape[1:]
    if (height, width) == (side_px, side_px):
        return reduced
    framed = np.full((len(reduced), side_px, side_px), background, dtype=np.float32)
    top, left = (side_px - height) // 2, (side_px - width) // 2
    framed[:, top : top + height, left : left + width] = reduced
    return framed
