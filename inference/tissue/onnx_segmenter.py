"""The learned segmenter at run time: a small network that looks at the whole plane, then closer at what it found."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.bundle import canary_planes, read_checked
from inference.onnx_session import CPU, RUNTIME_ERRORS, cannot_load, check_tensor, create_session
from inference.tissue.background import fit_light_surface, refine_light_surface
from schemas.errors import BundleError
from schemas.segmenter_bundle import SegmenterCard
from schemas.tissue import Segmentation, Unsure

MODEL_FILE = "segmenter.onnx"
CARD_FILE = "segmenter.json"
CHANNELS = ("body", "debris")
CANARY_GRID = 8
"""The canary is held to mean log odds of body in 8 × 8 squares."""

_LEVEL_QUANTILE = 0.75  # of a plane: in bright field the empty medium is the bright mode
_DARKEST = 1e-6  # stands for black, so that its logarithm exists
_LOWEST_DENSITY, _HIGHEST_DENSITY = -0.7, 3.0
_MARGIN_SHARE = 16  # of the side, mirrored at each border
_MARGIN = 1.5  # of a closer look, in extents of the tissue
_CLOSER = 0.8  # a look that shows more of the plane than this is no closer one
_AGREEMENT = 0.6  # of the areas that two looks find
_NARROWEST_LOOK_PX = 48
_LEAST_BODY_PX = 12  # area on the reduced plane; smaller findings are specks
_LEAST_PIECE = 0.01  # of the largest piece; smaller ones are debris
_FAR_RADII = 3.0  # of a disc as large as the largest piece
_LONE_PIECE = (
    0.05,
    0.5,
)  # of the largest piece: fragments of burst tissue are smaller, a second body is larger
_BACKGROUND_SIDE_PX = 256
_LEAST_FREE = 0.05  # of the field, to fit a background on

_LEAST_SURE = 0.8  # mean likelihood of a body; what is less likely is called empty, and faint
_SURE = 0.9  # of a body that is not faint
_BLURRED_SHARE = 0.35  # of a body's area lies along an outline that could be elsewhere
_UNDECIDED = 1.5  # log odds within which a pixel could be either, likelihoods of 0.18…0.82
_CROWD = 0.15  # debris in one piece, as a share of the body's area
_UNEVEN = 0.5  # (brightest - darkest) / mean of the background


@dataclass(frozen=True)
class SegmenterBundle:
    """A model and the card that describes it."""

    folder: Path
    card: SegmenterCard
    model: bytes


def shipped_segmenter() -> Path:
    """Return the folder of the segmenter that comes with SpheroRank: package data of an installed wheel, or in a checkout."""
    here = Path(__file__).resolve().parents[1]
    installed = here / "segmenters" / "default"
    return installed if installed.is_dir() else here.parent / "deploy" / "segmenters" / "default"


def load_segmenter(folder: Path) -> SegmenterBundle:
    """Read a folder with ``segmenter.onnx`` and ``segmenter.json``.

    Raises
    ------
    BundleError
        If a file is missing, the card does not parse, or the digest differs.
    """
    card, model = read_checked(folder, SegmenterCard, CARD_FILE, MODEL_FILE)
    return SegmenterBundle(folder, card, model)


class OnnxSegmenter:
    """Finds tissue with a bundle's network; implements :class:`inference.ports.Segmenter`.

    Raises
    ------
    BundleError
        If the model does not fit its card or does not compute the canary.
    """

    def __init__(self, bundle: SegmenterBundle, intra_op_threads: int = 1) -> None:
        self._card = bundle.card
        self._session = _open_session(bundle, intra_op_threads)

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - the port's; the network looks at any scale
        """Return the tissue of a plane, (H, W), white = 65535."""
        level = background_level(plane)
        first = _look(self._session, self._card, plane, level)
        specks = _enlarged(first[1] > 0, plane.shape)
        found = _drop_specks(first[0] > self._threshold, _LEAST_BODY_PX)
        if not found.any():
            return Segmentation(
                np.zeros(plane.shape, dtype=bool), specks, _background(plane, specks)
            )
        window, odds = (slice(0, plane.shape[0]), slice(0, plane.shape[1])), first
        nearer = _closer_look(found, plane.shape)
        if nearer is not None:
            closer = _look(self._session, self._card, plane[nearer], level)
            if _agree(first[0], closer[0], nearer, plane.shape):
                window, odds = nearer, closer
        likely, littered = (
            cv2.resize(channel, plane[window].shape[::-1], interpolation=cv2.INTER_LINEAR)
            for channel in odds
        )
        body, debris = np.zeros(plane.shape, dtype=bool), specks
        tissue = likely > self._threshold
        body[window] = _main_tissue(tissue)
        sure = (
            float(np.mean(1 / (1 + np.exp(-np.clip(likely[body[window]], -30, 30)))))
            if body.any()
            else 0.0
        )
        if sure < _LEAST_SURE:
            body[:] = False
        debris[window] = ((littered > 0) | tissue) & ~body[window]
        background = _background(plane, body | debris)
        undecided_px = int((np.abs(likely) < _UNDECIDED).sum())
        return Segmentation(
            body,
            debris,
            background,
            _doubts(sure, undecided_px, body, debris, background)
            if body.any()
            else (Unsure.FAINT,),
        )

    @property
    def _threshold(self) -> float:
        """In log odds."""
        return math.log(self._card.threshold / (1 - self._card.threshold))


def background_level(seen: npt.NDArray[Any]) -> float:
    """Return the light of an image's empty medium, read from a reduced image; of a black one a value above 0."""
    step = max(1, max(seen.shape) // 256)
    return max(float(np.quantile(seen[::step, ::step], _LEVEL_QUANTILE)), _DARKEST)


def optical_density(seen: npt.NDArray[np.float32], level: float) -> npt.NDArray[np.float32]:
    """Return how much darker than the background each pixel is, as the network reads it."""
    through = np.maximum(seen, np.float32(_DARKEST)) / np.float32(level)
    return np.asarray(np.clip(-np.log(through), _LOWEST_DENSITY, _HIGHEST_DENSITY), np.float32)


def network_input(
    plane: npt.NDArray[np.uint16], level: float, side_px: int
) -> npt.NDArray[np.float32]:
    """Return (1, 1, side, side): the plane reduced to fit, mirrored at its border so that cut tissue looks whole; what is left over is empty background."""
    width, height, margin = _placed(plane.shape, side_px)
    how = cv2.INTER_AREA if max(width, height) < max(plane.shape) else cv2.INTER_LINEAR
    reduced = cv2.resize(plane, (width, height), interpolation=how).astype(np.float32)
    mirrored = cv2.copyMakeBorder(
        optical_density(reduced, level), margin, margin, margin, margin, cv2.BORDER_REFLECT
    )
    framed = np.zeros((1, 1, side_px, side_px), np.float32)
    framed[0, 0, : mirrored.shape[0], : mirrored.shape[1]] = mirrored
    return framed


def _placed(shape: tuple[int, ...], side_px: int) -> tuple[int, int, int]:
    """Return width and height of a plane in the network's pixels, and how far in it lies."""
    margin = side_px // _MARGIN_SHARE
    scale = (side_px - 2 * margin) / max(shape)
    return max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1), margin


def canary_values(log_odds: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the 64 values that a card keeps of the canary's (1, 2, side, side) output."""
    side = log_odds.shape[-1]
    squares = log_odds[0, 0].reshape(
        CANARY_GRID, side // CANARY_GRID, CANARY_GRID, side // CANARY_GRID
    )
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float64).ravel())


def canary_input(seed: int, side_px: int) -> npt.NDArray[np.float32]:
    """Return what the network is shown of the canary."""
    plane = canary_planes(seed)[1]
    return network_input(plane, background_level(plane), side_px)


def _background(
    plane: npt.NDArray[np.uint16], covered: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return the light without tissue, (h, w): a smooth surface through what is not covered, and what lies around carried across."""
    scale = min(1.0, _BACKGROUND_SIDE_PX / max(plane.shape))
    size = max(round(plane.shape[1] * scale), 1), max(round(plane.shape[0] * scale), 1)
    log_light = np.log(
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32) + np.float32(1)
    )
    near = cv2.dilate(
        cv2.resize(covered.astype(np.float32), size, interpolation=cv2.INTER_AREA),
        np.ones((3, 3), np.uint8),
    )
    free = near < 0.05  # noqa: PLR2004 - share of a reduced pixel
    if free.mean() < _LEAST_FREE:
        return np.full(log_light.shape, background_level(plane), np.float32)
    surface = fit_light_surface(log_light, np.zeros_like(log_light), free)
    return np.asarray(
        np.exp(refine_light_surface(log_light, surface, free, max(log_light.shape) / 12)),
        np.float32,
    )


def _open_session(bundle: SegmenterBundle, intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    card, model_file = bundle.card, bundle.folder / MODEL_FILE
    try:
        session = create_session(bundle.model, [CPU], intra_op_threads)
    except RUNTIME_ERRORS as error:
        raise cannot_load(model_file, error) from error
    check_tensor(
        "input",
        session.get_inputs(),
        card.input_name,
        (1, card.input_size, card.input_size),
        model_file,
    )
    check_tensor(
        "output",
        session.get_outputs(),
        card.output_name,
        (len(CHANNELS), card.input_size, card.input_size),
        model_file,
    )
    (output,) = session.run(
        [card.output_name], {card.input_name: canary_input(card.canary.seed, card.input_size)}
    )
    for index, (found, expected) in enumerate(
        zip(canary_values(output), card.canary.expected, strict=False)
    ):
        if not abs(found - expected) <= card.canary.tolerance:  # not finite is also wrong
            raise BundleError(
                bundle.folder,
                f"canary value {index} is {found:.6g}; expected {expected:.6g} ± {card.canary.tolerance:g}",
            )
    return session


def _look(
    session: Any,  # noqa: ANN401 - onnxruntime has no types
    card: SegmenterCard,
    plane: npt.NDArray[np.uint16],
    level: float,
) -> npt.NDArray[np.float32]:
    """Return (2, h, w): the log odds of body and of debris in the network's pixels."""
    (output,) = session.run(
        [card.output_name], {card.input_name: network_input(plane, level, card.input_size)}
    )
    width, height, margin = _placed(plane.shape, card.input_size)
    return np.asarray(output[0, :, margin : margin + height, margin : margin + width], np.float32)


def _closer_look(
    found: npt.NDArray[np.bool_], shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """Return the square of the plane around all that was found on the reduced one, or None if the first look was as close."""
    height, width = shape
    scale = max(shape) / max(found.shape)
    left, top, columns, rows = (
        length * scale for length in cv2.boundingRect(found.astype(np.uint8))
    )
    side = math.ceil(max(_MARGIN * max(rows, columns), _NARROWEST_LOOK_PX))
    if side > _CLOSER * max(shape):
        return None
    y, x = (
        int(np.clip(start + length / 2 - side / 2, 0, max(0, limit - side)))
        for start, length, limit in ((top, rows, height), (left, columns, width))
    )
    return slice(y, min(y + side, height)), slice(x, min(x + side, width))


def _agree(
    first: npt.NDArray[np.float32],
    closer: npt.NDArray[np.float32],
    window: tuple[slice, slice],
    shape: tuple[int, ...],
) -> bool:
    """Whether two looks found about as much: closer, what is far out of focus can be too smooth to be seen."""
    pixel = (
        (max(shape) / max(first.shape)) ** 2,
        ((window[0].stop - window[0].start) / closer.shape[0]) ** 2,
    )
    areas = float((first > 0).sum() * pixel[0]), float((closer > 0).sum() * pixel[1])
    return min(areas) > _AGREEMENT * max(areas)


def _enlarged(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(
        cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    )


def _main_tissue(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest piece and what belongs to it: not specks, and not a lone object far away, which is something else."""
    _, labels, stats, middles = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    largest = int(np.argmax(areas))
    share, away = (
        areas / max(areas[largest], 1),
        np.hypot(*(middles - middles[largest]).T) / max(math.sqrt(areas[largest] / math.pi), 1),
    )
    alone = (away > _FAR_RADII) & (share > _LONE_PIECE[0]) & (share < _LONE_PIECE[1])
    belongs = (share >= _LEAST_PIECE) & ~alone
    return np.asarray(belongs[labels])


def _drop_specks(mask: npt.NDArray[np.bool_], least_px: float) -> npt.NDArray[np.bool_]:
    """Return the mask without pieces of less than this area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False
    return np.asarray(keep[labels])


def _largest_piece_px(mask: npt.NDArray[np.bool_]) -> int:
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def _doubts(
    sure: float,
    undecided_px: int,
    body: npt.NDArray[np.bool_],
    debris: npt.NDArray[np.bool_],
    background: npt.NDArray[np.float32],
) -> tuple[Unsure, ...]:
    """Return the reasons to doubt an outline, from how sure the network was and from where things lie."""
    area, near = int(body.sum()), math.ceil(max(body.shape) / _BACKGROUND_SIDE_PX)
    reasons = {
        Unsure.FAINT: sure < _SURE,
        Unsure.BLURRED: undecided_px > _BLURRED_SHARE * area,
        Unsure.CUT: any(
            edge.any() for edge in (body[:near], body[-near:], body[:, :near], body[:, -near:])
        ),
        Unsure.CROWDED: _largest_piece_px(debris) > _CROWD * area,
        Unsure.UNEVEN: float(np.ptp(background)) > _UNEVEN * float(background.mean()),
    }
    return tuple(reason for reason, given in reasons.items() if given)
