"""Segmentation of the tissue by a small network in ONNX format.

The network sees the whole plane, and then the surroundings of the found tissue at a larger scale.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.bundle import canary_planes, read_card_and_model
from inference.onnx_session import open_map_network
from inference.tissue.background import fit_light_surface, measure_blocks, refine_light_surface
from schemas.segmenter_bundle import SegmenterCard
from schemas.tissue import Segmentation, Unsure

CODE_VERSION = 1
"""Version of the code around the network.

Raise it whenever the outline of any image changes with the same network: images that were measured
by different versions are never compared.
"""
MODEL_FILE = "segmenter.onnx"
CARD_FILE = "segmenter.json"
CHANNELS = ("body", "debris")

_BACKGROUND_QUANTILE = 0.75  # of a plane; in bright field most bright pixels are empty medium
_DARKEST = 1e-6  # light of a black pixel, so that its logarithm exists
_MIN_DENSITY, _MAX_DENSITY = -0.7, 3.0  # natural-log optical density that the network reads
_MIRRORED_SHARE = 16  # the margin that mirrors the plane is 1/16 of the input's side
_CROP_EXTENTS = 1.5  # side of a crop, in extents of the tissue
_MAX_CROP_SHARE = 0.8  # of the plane's side; a larger crop shows no more detail
_MIN_CROP_PX = 48
_MIN_AREA_AGREEMENT = 0.6  # smaller area found / larger area found, of the plane and of the crop
_MIN_BODY_PX = 12  # area in network pixels; smaller objects are specks
_MIN_PIECE_SHARE = 0.01  # of the largest piece; smaller pieces are debris
_FAR_RADII = 3.0  # radii of a disc with the area of the largest piece
_LONE_OBJECT_SHARES = 0.05, 0.5
"""Area of a far object that is not tissue, relative to the largest piece.

Fragments of burst tissue are smaller and a second body is larger.
"""
_BACKGROUND_SIDE_PX = 256
_MIN_FREE_SHARE = 0.05  # of the field, to fit a background
_MAX_COVERED_SHARE = 0.05  # of a free reduced pixel

_MIN_PROBABILITY = 0.8  # mean over a body; below it the well is called empty, and faint
_FAINT_PROBABILITY = 0.9  # mean over a body; below it the body is called faint
_BLURRED_SHARE = 0.35  # undecided pixels relative to the body's area
_UNDECIDED_LOG_ODDS = 1.5  # probabilities from 0.18 to 0.82
_CROWDED_SHARE = 0.15  # largest piece of debris relative to the body's area
_UNEVEN_RANGE = 0.5  # (brightest − darkest) / mean of the background

Plane = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Window = tuple[slice, slice]
"""Rows and columns of a part of a plane."""


@dataclass(frozen=True)
class SegmenterBundle:
    """A segmentation network and the card that describes it."""

    folder: Path
    card: SegmenterCard
    model: bytes  # content of segmenter.onnx


def shipped_segmenter() -> Path:
    """Return the folder of SpheroRank's own segmenter, of an installed wheel or of a checkout."""
    here = Path(__file__).resolve().parents[1]
    installed = here / "segmenters" / "default"
    return installed if installed.is_dir() else here.parent / "deploy" / "segmenters" / "default"


def load_segmenter(folder: Path) -> SegmenterBundle:
    """Return the segmenter bundle of a folder with ``segmenter.onnx`` and ``segmenter.json``.

    Raises
    ------
    BundleError
        If a file is missing, the card is not valid, or the model's digest differs from the card.
    """
    card, model = read_card_and_model(folder, SegmenterCard, CARD_FILE, MODEL_FILE)
    return SegmenterBundle(folder, card, model)


class OnnxSegmenter:
    """Segmenter that uses a bundle's network; it implements :class:`inference.ports.Segmenter`.

    Raises
    ------
    BundleError
        If the model does not fit its card or gives other values for the canary.
    """

    def __init__(self, bundle: SegmenterBundle, intra_op_threads: int = 1) -> None:
        card = bundle.card
        self._card = card
        self._session = open_map_network(
            bundle.model,
            card,
            bundle.folder / MODEL_FILE,
            (1, len(CHANNELS)),
            canary_input(card.canary.seed, card.input_size),
            intra_op_threads,
        )

    @property
    def segmenter_id(self) -> str:
        """Name, and digest of everything that determines an outline."""
        card = self._card
        decisive = f"{card.sha256} {card.input_size} {card.threshold} {CODE_VERSION}"
        return f"{card.name}-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"

    def segment(self, plane: Plane, um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - the network does not use the scale
        """Return the Segmentation of a plane, (H, W) uint16, with a scale in µm per px or None.

        White is 65535 in the plane.
        """
        level = background_level(plane)
        whole = self._log_odds(plane, level)
        specks = _resize_mask(whole[1] > 0, plane.shape)
        found = _drop_specks(whole[0] > self._threshold, _MIN_BODY_PX)
        if not found.any():
            empty = np.zeros(plane.shape, dtype=bool)
            return Segmentation(empty, specks, _background(plane, specks))
        window, log_odds = self._closer_look(plane, level, whole, found)
        body_odds, debris_odds = (
            cv2.resize(channel, plane[window].shape[::-1], interpolation=cv2.INTER_LINEAR)
            for channel in log_odds
        )
        body, debris = np.zeros(plane.shape, dtype=bool), specks
        tissue = body_odds > self._threshold
        body[window] = _main_tissue(tissue)
        probability = _mean_probability(body_odds[body[window]])
        if probability < _MIN_PROBABILITY:
            body[:] = False
        debris[window] = ((debris_odds > 0) | tissue) & ~body[window]
        background = _background(plane, body | debris)
        if not body.any():
            return Segmentation(body, debris, background, (Unsure.FAINT,))
        undecided_px = int((np.abs(body_odds) < _UNDECIDED_LOG_ODDS).sum())
        doubts = _doubts(probability, undecided_px, body, debris, background)
        return Segmentation(body, debris, background, doubts)

    @property
    def _threshold(self) -> float:
        """Log odds above which a pixel is body."""
        return math.log(self._card.threshold / (1 - self._card.threshold))

    def _log_odds(self, plane: Plane, level: float) -> Floats:
        """Return the log odds of body and debris, (2, h, w), of a plane in network pixels."""
        model_input = network_input(plane, level, self._card.input_size)
        (output,) = self._session.run(
            [self._card.output_name], {self._card.input_name: model_input}
        )
        width, height, margin = _size_in_network(plane.shape, self._card.input_size)
        return np.asarray(
            output[0, :, margin : margin + height, margin : margin + width], np.float32
        )

    def _closer_look(
        self, plane: Plane, level: float, whole: Floats, found: Mask
    ) -> tuple[Window, Floats]:
        """Return the part of a plane around the found tissue and its log odds, (2, h, w).

        The result is the whole plane if a crop is not smaller, or if the network finds another
        area in it: at a larger scale, an edge far out of focus can be too smooth to be found.
        """
        window = _crop_around(found, plane.shape)
        if window is not None:
            closer = self._log_odds(plane[window], level)
            if _areas_agree(whole[0], closer[0], window, plane.shape):
                return window, closer
        return (slice(0, plane.shape[0]), slice(0, plane.shape[1])), whole


def background_level(image: npt.NDArray[Any]) -> float:
    """Return the light of the empty medium of an image, (H, W); above 0 for a black image."""
    step = max(1, max(image.shape) // 256)
    return max(float(np.quantile(image[::step, ::step], _BACKGROUND_QUANTILE)), _DARKEST)


def optical_density(image: Floats, level: float) -> Floats:
    """Return the natural-log optical density, (H, W), of an image relative to a background level.

    Values are clipped to the range that the network reads.
    """
    transmitted = np.maximum(image, np.float32(_DARKEST)) / np.float32(level)
    return np.asarray(np.clip(-np.log(transmitted), _MIN_DENSITY, _MAX_DENSITY), np.float32)


def network_input(plane: Plane, level: float, side_px: int) -> Floats:
    """Return network input, (1, 1, side_px, side_px), from a plane and its background level.

    The plane is resized to fit and mirrored at its border, so that cut tissue looks complete. The
    rest of the input is empty background.
    """
    width, height, margin = _size_in_network(plane.shape, side_px)
    interpolation = cv2.INTER_AREA if max(width, height) < max(plane.shape) else cv2.INTER_LINEAR
    resized = cv2.resize(plane, (width, height), interpolation=interpolation).astype(np.float32)
    mirrored = cv2.copyMakeBorder(
        optical_density(resized, level), margin, margin, margin, margin, cv2.BORDER_REFLECT
    )
    framed = np.zeros((1, 1, side_px, side_px), np.float32)
    framed[0, 0, : mirrored.shape[0], : mirrored.shape[1]] = mirrored
    return framed


def _size_in_network(shape: tuple[int, ...], side_px: int) -> tuple[int, int, int]:
    """Return width, height and margin in network pixels of a plane of this shape, (H, W)."""
    margin = side_px // _MIRRORED_SHARE
    scale = (side_px - 2 * margin) / max(shape)
    return max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1), margin


def canary_input(seed: int, side_px: int) -> Floats:
    """Return network input, (1, 1, side_px, side_px): the test image (canary) of a seed."""
    plane = canary_planes(seed)[1]
    return network_input(plane, background_level(plane), side_px)


def _background(plane: Plane, covered: Mask) -> Floats:
    """Return the light without tissue, (h, w), from the pixels of a plane that are not covered."""
    scale = min(1.0, _BACKGROUND_SIDE_PX / max(plane.shape))
    size = max(round(plane.shape[1] * scale), 1), max(round(plane.shape[0] * scale), 1)
    log_light = np.log(
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32) + np.float32(1)
    )
    near = cv2.dilate(
        cv2.resize(covered.astype(np.float32), size, interpolation=cv2.INTER_AREA),
        np.ones((3, 3), np.uint8),
    )
    free = near < _MAX_COVERED_SHARE
    if free.mean() < _MIN_FREE_SHARE:
        return np.full(log_light.shape, background_level(plane), np.float32)
    surface = fit_light_surface(measure_blocks(log_light, np.zeros_like(log_light), free))
    refined = refine_light_surface(log_light, surface, free, max(log_light.shape) / 12)
    return np.asarray(np.exp(refined), np.float32)


def _crop_around(found: Mask, shape: tuple[int, ...]) -> Window | None:
    """Return the square of a plane of shape (H, W) around the tissue found in network pixels.

    The result is None if the square is nearly as large as the plane.
    """
    height, width = shape
    scale = max(shape) / max(found.shape)
    left, top, columns, rows = (
        length * scale for length in cv2.boundingRect(found.astype(np.uint8))
    )
    side = math.ceil(max(_CROP_EXTENTS * max(rows, columns), _MIN_CROP_PX))
    if side > _MAX_CROP_SHARE * max(shape):
        return None
    y, x = (
        int(np.clip(start + length / 2 - side / 2, 0, max(0, limit - side)))
        for start, length, limit in ((top, rows, height), (left, columns, width))
    )
    return slice(y, min(y + side, height)), slice(x, min(x + side, width))


def _areas_agree(whole: Floats, closer: Floats, window: Window, shape: tuple[int, ...]) -> bool:
    """Return whether the log odds of a plane and of its crop give bodies of similar area."""
    pixel = (
        (max(shape) / max(whole.shape)) ** 2,
        ((window[0].stop - window[0].start) / closer.shape[0]) ** 2,
    )
    areas = float((whole > 0).sum() * pixel[0]), float((closer > 0).sum() * pixel[1])
    return min(areas) > _MIN_AREA_AGREEMENT * max(areas)


def _resize_mask(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return a mask resampled to another shape, (H, W), by nearest neighbours."""
    return np.asarray(
        cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    )


def _main_tissue(mask: Mask) -> Mask:
    """Return the largest piece of a mask and its other pieces, without specks and lone objects."""
    _, labels, stats, centres = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    largest = int(np.argmax(areas))
    share, away = (
        areas / max(areas[largest], 1),
        np.hypot(*(centres - centres[largest]).T) / max(math.sqrt(areas[largest] / math.pi), 1),
    )
    smallest_lone, largest_lone = _LONE_OBJECT_SHARES
    alone = (away > _FAR_RADII) & (share > smallest_lone) & (share < largest_lone)
    belongs = (share >= _MIN_PIECE_SHARE) & ~alone
    return np.asarray(belongs[labels])


def _mean_probability(log_odds: Floats) -> float:
    """Return the mean probability of the pixels with these log odds, (n,); 0 without pixels."""
    if not log_odds.size:
        return 0.0
    return float(np.mean(1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))))


def _drop_specks(mask: Mask, least_px: float) -> Mask:
    """Return a mask without the pieces that are smaller than an area in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False
    return np.asarray(keep[labels])


def _largest_piece_px(mask: Mask) -> int:
    """Return the area in pixels of the largest piece of a mask; 0 without pieces."""
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def _doubts(
    probability: float, undecided_px: int, body: Mask, debris: Mask, background: Floats
) -> tuple[Unsure, ...]:
    """Return the reasons to doubt an outline.

    Parameters
    ----------
    probability
        Mean probability of the body's pixels.
    undecided_px
        Number of pixels whose probability is neither high nor low.
    body, debris
        Masks, (H, W); the body is not empty.
    background
        Light without tissue, (h, w).
    """
    area, near = int(body.sum()), math.ceil(max(body.shape) / _BACKGROUND_SIDE_PX)
    reasons = {
        Unsure.FAINT: probability < _FAINT_PROBABILITY,
        Unsure.BLURRED: undecided_px > _BLURRED_SHARE * area,
        Unsure.CUT: any(
            edge.any() for edge in (body[:near], body[-near:], body[:, :near], body[:, -near:])
        ),
        Unsure.OTHER_OBJECT: _largest_piece_px(debris) > _CROWDED_SHARE * area,
        Unsure.UNEVEN: float(np.ptp(background)) > _UNEVEN_RANGE * float(background.mean()),
    }
    return tuple(reason for reason, given in reasons.items() if given)
