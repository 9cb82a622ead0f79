"""Stitch the fields of a well to one image by the stage positions at which they were taken.

The scale is unchanged: each field is moved by whole pixels and no pixel is interpolated. Where
fields overlap, their pixels are averaged with weights that fall towards the border of each field.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.ports import Frame, FrameFormat, Pixels
from schemas.errors import MicroscopeError

MAX_GAP_UM = 60.0
"""Largest strip at the border of a mosaic that is cut off because not all fields reach there."""

MIN_AGREEMENT = 0.2
"""Smallest correlation of the detail of two fields where they overlap and show tissue."""

_MIN_PROOF = 0.5  # correlation that proves that another orientation of the camera is the true one
_MIN_CONTRAST = 0.03  # SD of the detail relative to the background; noise and plastic have less
_MIN_OVERLAP_PX = 8  # of the reduced image
_FINE_UM, _COARSE_UM = 6.0, 30.0  # band of the detail that is compared
_REDUCED_UM = 4.0  # scale of the reduced image, so that errors of the stage do not matter
_ORIENTATIONS = {
    "mirrored left to right": ((-1, 0), (0, 1)),
    "mirrored top to bottom": ((1, 0), (0, -1)),
    "turned by 180°": ((-1, 0), (0, -1)),
    "transposed": ((0, 1), (1, 0)),
    "turned by 90° clockwise": ((0, -1), (1, 0)),
    "turned by 90° anticlockwise": ((0, 1), (-1, 0)),
    "transposed and turned by 180°": ((0, -1), (-1, 0)),
}

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The stitched planes of a well, and their format."""

    frames: tuple[Frame, ...]  # one per plane, in the order of the fields' planes
    format: FrameFormat


def stitch(fields: Sequence[Sequence[Frame]], frame_format: FrameFormat) -> Mosaic:
    """Return the Mosaic of the fields of a well, each with the same planes.

    Parameters
    ----------
    fields
        The frames of each field, one per plane.
    frame_format
        The format of these frames.

    Raises
    ------
    MicroscopeError
        If there is a gap between fields.
    """
    offsets_px = _offsets_px(fields, frame_format)
    corners = np.rint(offsets_px).astype(int)  # (fields, 2): right and down
    corners -= corners.min(axis=0)
    height, width = (
        int(corners[:, axis].max()) + size
        for axis, size in ((1, frame_format.height_px), (0, frame_format.width_px))
    )
    weight = _weights(frame_format)
    total = np.zeros((height, width), np.float32)
    for right, down in corners:
        total[down : down + weight.shape[0], right : right + weight.shape[1]] += weight
    top, bottom, left, right = _covered(total > 0, MAX_GAP_UM / frame_format.um_per_px)
    inside = np.s_[top:bottom, left:right]
    first = np.rint(offsets_px).astype(int).min(axis=0)
    middle_px = first + (np.array([left + right, top + bottom]) - weight.shape[::-1]) / 2
    frames = []
    for plane in zip(*fields, strict=True):
        sums = np.zeros((height, width), np.float32)
        for frame, (x, y) in zip(plane, corners, strict=True):
            sums[y : y + weight.shape[0], x : x + weight.shape[1]] += weight * frame.pixels
        pixels = np.rint(sums[inside] / total[inside]).astype(plane[0].pixels.dtype)
        frames.append(_combined(plane, pixels, middle_px, frame_format))
    size = replace(frame_format, width_px=right - left, height_px=bottom - top)
    return Mosaic(tuple(frames), size)


def check_agreement(planes: Sequence[Frame], frame_format: FrameFormat) -> None:
    """Raise MicroscopeError if fields with tissue in their overlap differ there.

    The positions of the fields in the image are then wrong. The error names an orientation of the
    camera under which the fields agree, if there is one.

    Parameters
    ----------
    planes
        The frame of each field at one height.
    frame_format
        The format of these frames.
    """
    offsets_px = _offsets_px([[frame] for frame in planes], frame_format)
    factor = max(1, round(_REDUCED_UM / frame_format.um_per_px))
    details = [_detail(frame.pixels, factor, frame_format.um_per_px) for frame in planes]
    agreement = _agreement(details, offsets_px / factor)
    if agreement is not None and agreement >= MIN_AGREEMENT:
        return
    better = {
        name: found
        for name, turn in _ORIENTATIONS.items()
        if (found := _agreement(details, offsets_px @ np.array(turn).T / factor)) is not None
    }
    best = max(better, key=better.__getitem__, default="")
    if best and better[best] >= _MIN_PROOF:
        hint = (
            f"they agree ({better[best]:.2f}) if the camera's image is {best}: correct the "
            "PixelSizeAffine or the TransposeMirror properties of the hardware configuration"
        )
    elif agreement is None:
        return
    else:
        hint = "the stage or the orientation of the camera is not as configured"
    measured = "no tissue in common" if agreement is None else f"correlation {agreement:.2f}"
    raise MicroscopeError(
        "fields of one well",
        f"differ where they overlap ({measured}); "
        f"expected the same tissue (at least {MIN_AGREEMENT}); {hint}",
    )


def _offsets_px(fields: Sequence[Sequence[Frame]], frame_format: FrameFormat) -> Offsets:
    """Return the offset of each field from the first one in pixels, right and down, (fields, 2)."""
    stage_um = np.array(
        [np.mean([(frame.x_um, frame.y_um) for frame in field], axis=0) for field in fields]
    )
    return np.linalg.solve(frame_format.stage_matrix, (stage_um - stage_um[0]).T).T


def _weights(frame_format: FrameFormat) -> Floats:
    """Return the weight of each pixel of a field, (H, W): it falls towards the border."""
    ramps = [
        np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) / ((size + 1) / 2)
        for size in (frame_format.height_px, frame_format.width_px)
    ]
    return np.outer(*ramps).astype(np.float32)


def _covered(covered: npt.NDArray[np.bool_], most_px: float) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the rectangle in which every pixel is covered.

    Raises
    ------
    MicroscopeError
        If more than ``most_px`` would have to be cut off at one side.
    """
    top, bottom, left, right = 0, covered.shape[0], 0, covered.shape[1]
    while not (inside := covered[top:bottom, left:right]).all():
        lines = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        worst = int(np.argmin([line.mean() for line in lines]))
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)  # noqa: PLR2004 - the third, fourth
        cut = max(top, covered.shape[0] - bottom, left, covered.shape[1] - right)
        if cut > most_px or top >= bottom or left >= right:
            raise MicroscopeError(
                "fields of one well",
                "have a gap between them by their stage positions; expected fields that overlap "
                "(source.micromanager.fields_overlap)",
            )
    return top, bottom, left, right


def _combined(
    plane: Sequence[Frame], pixels: Pixels, middle_px: Offsets, frame_format: FrameFormat
) -> Frame:
    """Return the frame of one plane of a mosaic, with the stage position of its middle.

    ``middle_px`` is the middle of the mosaic from the middle of the first field, right and down.
    """
    x_um, y_um = (plane[0].x_um, plane[0].y_um) + frame_format.stage_matrix @ middle_px
    return replace(
        plane[0],
        pixels=pixels,
        x_um=float(x_um),
        y_um=float(y_um),
        z_um=float(np.mean([frame.z_um for frame in plane])),
        taken_at=min(frame.taken_at for frame in plane),
    )


def _detail(pixels: Pixels, factor: int, um_per_px: float) -> Floats:
    """Return the detail of a field relative to its background, reduced in size by a factor."""
    height, width = (size // factor for size in pixels.shape)
    small = cv2.resize(
        pixels[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    small /= np.float32(max(float(np.median(small)), 1.0))
    fine, coarse = (
        cv2.GaussianBlur(small, (0, 0), size_um / (um_per_px * factor))
        for size_um in (_FINE_UM, _COARSE_UM)
    )
    return np.asarray(fine - coarse, np.float32)


def _agreement(details: Sequence[Floats], offsets_px: Offsets) -> float | None:
    """Return the correlation of the fields' detail where they overlap; None without detail there.

    It is the lower one of that of fields side by side and that of fields above each other.
    """
    overlaps: dict[bool, list[tuple[Floats, Floats]]] = {False: [], True: []}
    for a, b in combinations(range(len(details)), 2):
        shift = np.rint(offsets_px[b] - offsets_px[a]).astype(int)
        x, y = int(shift[0]), int(shift[1])
        height, width = details[a].shape
        if min(height - abs(y), width - abs(x)) < _MIN_OVERLAP_PX:
            continue
        if 2 * abs(y) > height and 2 * abs(x) > width:
            continue  # the corners of two fields: too little to compare
        first = details[a][max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
        second = details[b][max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
        if max(float(first.std()), float(second.std())) >= _MIN_CONTRAST:
            overlaps[2 * abs(x) > width].append((first.ravel(), second.ravel()))
    correlations = []
    for pairs in overlaps.values():
        if pairs:
            left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
            correlations.append(float(np.corrcoef(left, right)[0, 1]))
    return min(correlations, default=None)
