"""Converts the planes of a well image into the encoder's input, for training and at run time.

The steps are: choose three planes, crop the field, reduce it by averaging, fuse the planes if the
policy says so, scale the background to a fixed value, normalise. The reduction comes first, so that
the cost of the other steps does not depend on the camera.

The crop is always inside the image: where the field of the encoder does not fit, a smaller one is
cropped. Its name is stored with the embedding, and embeddings of different crops are never
compared.
"""

from dataclasses import dataclass
from itertools import count

import cv2
import numpy as np
import numpy.typing as npt

from schemas.encoder_bundle import PlanePolicy, Preprocessing

FUSION_PX = 3.0
"""Standard deviation of the neighbourhood in which the sharpness of a pixel is measured."""
FUSION_POWER = 4
FUSION_NOISE = 0.002
"""Laplacian of empty medium, as a share of the brightest pixel."""
MIN_SIDE_PX = 64
"""Smallest side of an image; enlarging a smaller one would show blur that is not in the well."""

BACKGROUND_QUANTILE = 0.75
"""Quantile of the pixels that is the background of a bright-field image.

Most bright pixels are empty medium. The upper quartile is background while tissue covers up to
about 70 % of the field; the median would already be tissue. Halos and debris are too small to
reach it.
"""

FIELDS_PER_HALVING = 8
"""Number of field widths between the field of an encoder and half of it.

Images of one microscope with slightly different widths then have the same field.
"""
SHORTER_SIDE = "shorter-side"
"""Name of the crop of an oblong image whose field cannot be cropped in µm."""


@dataclass(frozen=True)
class Crop:
    """The centred square of an image that is embedded."""

    side_px: int
    name: str | None
    """None if it is the field of the encoder, or the whole of a square image. Other names are
    :data:`SHORTER_SIDE` and the width of a smaller field, such as ``757um``.
    """


def preprocess(
    planes: npt.NDArray[np.uint16],
    sharpest_plane: int,
    um_per_px: float | None,
    preprocessing: Preprocessing,
    side_px: int,
) -> npt.NDArray[np.float32]:
    """Return encoder input (3, side_px, side_px) from planes (P, H, W), sharpest plane and scale.

    Parameters
    ----------
    planes
        Planes of one well image, white = 65535.
    sharpest_plane
        Index of the sharpest plane.
    um_per_px
        Scale of the image in µm per pixel; None if it is unknown.
    preprocessing
        Settings of the bundle.
    side_px
        Side of the encoder's input in pixels.

    Raises
    ------
    ValueError
        If the image is smaller than :data:`MIN_SIDE_PX`, or the number of planes does not fit the
        plane policy.
    """
    if planes.ndim != 3 or min(planes.shape[1:]) < MIN_SIDE_PX:  # noqa: PLR2004 - planes, rows, columns
        raise ValueError(
            f"{'×'.join(map(str, planes.shape[1:]))} pixels; "
            f"the encoder needs at least {MIN_SIDE_PX}×{MIN_SIDE_PX}"
        )
    is_fused = preprocessing.planes is PlanePolicy.EXTENDED_DEPTH
    channels = channel_planes(len(planes), sharpest_plane, preprocessing.planes)
    distinct = sorted(set(channels))
    crop = fitting_crop(planes.shape[1:], um_per_px, preprocessing.field_um)
    fields = np.stack([_crop_and_resize(planes[plane], crop, side_px) for plane in distinct])
    if is_fused:
        fields, distinct, channels = fuse_planes(fields)[None], [0], (0, 0, 0)
    scaled = _scale_background(fields, preprocessing.background)
    pixels = scaled[[distinct.index(plane) for plane in channels]]
    mean = np.array(preprocessing.mean, dtype=np.float32).reshape(3, 1, 1)
    std = np.array(preprocessing.std, dtype=np.float32).reshape(3, 1, 1)
    return np.ascontiguousarray((pixels - mean) / std)


def channel_planes(plane_count: int, sharpest_plane: int, policy: PlanePolicy) -> tuple[int, ...]:
    """Return three plane indices, one per input channel, by a PlanePolicy and the sharpest plane.

    For extended depth of field these are all planes, which are fused later.

    Raises
    ------
    ValueError
        If the policy needs another number of planes, or the sharpest plane does not exist.
    """
    if not 0 <= sharpest_plane < plane_count:
        raise ValueError(f"sharpest plane is {sharpest_plane}; expected 0…{plane_count - 1}")
    match policy:
        case PlanePolicy.THREE_PLANES:
            if plane_count != 3:  # noqa: PLR2004 - the name of the policy contains the number
                raise ValueError(
                    f"{plane_count} planes; "
                    f"the encoder's plane policy is {policy} and needs exactly 3"
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
        case PlanePolicy.EXTENDED_DEPTH:
            return tuple(range(plane_count))


def fuse_planes(fields: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return one field (h, w), in which each region is taken from its sharpest planes of (n, h, w).

    The weight of a plane at a pixel is the local energy of its Laplacian, to the power
    :data:`FUSION_POWER`. Where no plane has structure, all planes have the same weight.

    Source: energy of Laplacian, W. Huang and Z. Jing, Pattern Recognition Letters 28 (2007) 493,
    doi:10.1016/j.patrec.2006.09.005.
    """
    noise = np.float32((FUSION_NOISE * max(float(fields.max()), 1.0)) ** 2)
    energies = np.stack(
        [
            cv2.GaussianBlur(cv2.Laplacian(field, cv2.CV_32F) ** 2, (0, 0), FUSION_PX)
            for field in fields
        ]
    )
    weights = ((energies + noise) / (energies + noise).max(axis=0)) ** FUSION_POWER
    fused: npt.NDArray[np.float32] = (fields * weights).sum(axis=0) / weights.sum(axis=0)
    return fused


def fitting_crop(shape: tuple[int, ...], um_per_px: float | None, field_um: float | None) -> Crop:
    """Return the Crop of an image (rows, columns) with a scale, for a field in µm.

    It is the field if it fits the image, else the largest field that fits: each is narrower than
    the next one by the factor 2^(1 / :data:`FIELDS_PER_HALVING`). Without a field or a scale, it is
    the square of the shorter side.
    """
    shorter, longer = min(shape), max(shape)
    if field_um is None or um_per_px is None:
        return Crop(shorter, None if shorter == longer else SHORTER_SIDE)
    widths_um = (field_um * 2 ** (-step / FIELDS_PER_HALVING) for step in count())
    width_um = next(each for each in widths_um if round(each / um_per_px) <= shorter)
    name = None if width_um == field_um else f"{width_um:.0f}um"
    return Crop(max(round(width_um / um_per_px), 1), name)


def _crop_and_resize(
    plane: npt.NDArray[np.uint16], crop: Crop, side_px: int
) -> npt.NDArray[np.float32]:
    """Return the crop of a plane, (H, W), resized to (side_px, side_px)."""
    top, left = ((side - crop.side_px) // 2 for side in plane.shape)
    interpolation = cv2.INTER_AREA if crop.side_px >= side_px else cv2.INTER_LINEAR
    return cv2.resize(
        plane[top : top + crop.side_px, left : left + crop.side_px],
        (side_px, side_px),
        interpolation=interpolation,
    ).astype(np.float32)


def _scale_background(
    fields: npt.NDArray[np.float32], background: float
) -> npt.NDArray[np.float32]:
    """Return fields, (n, h, w), scaled so that their background is ``background``, clipped at 1.

    All planes have the same factor, so that differences between planes remain.
    """
    level = max(float(np.quantile(fields, BACKGROUND_QUANTILE)), 1.0)  # a black image stays black
    scaled: npt.NDArray[np.float32] = np.minimum(
        fields * np.float32(background / level), np.float32(1)
    )
    return scaled
