"""Prediction of dead tissue from a bright-field image by a small network in ONNX format.

No stain is measured. The network has learned the share of dead cells from plates where live and
dead cells are known, and predicts it for the tissue that the segmenter has found. The image is read
in eight orientations: their mean is the prediction, and their standard deviation its uncertainty.
The orientation carries no information, so that this deviation is a lower bound of the error.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from inference.bundle import canary_planes, read_card_and_model
from inference.onnx_session import open_map_network
from inference.tissue.measures import Measures, name_with_unit
from inference.tissue.onnx_segmenter import optical_density
from schemas.stain_bundle import StainCard
from schemas.tissue import Segmentation

CODE_VERSION = 1
"""Version of the code around the network.

Raise it whenever a prediction of any image changes with the same network: predictions of different
versions are never compared.
"""
MODEL_FILE = "stain.onnx"
CARD_FILE = "stain.json"
CHANNELS = ("optical density", "tissue")
ORIENTATIONS = 8  # four turns of the image and of its mirror image

_CROP_EXTENTS = 1.25  # side of the crop, in extents of the tissue
_MIN_CROP_PX = 16
_CORE_DEPTH = 0.5  # of the largest depth; deeper tissue is the core

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StainBundle:
    """A stain network and the card that describes it."""

    folder: Path
    card: StainCard
    model: bytes  # content of stain.onnx


def load_stain(folder: Path) -> StainBundle:
    """Return the stain bundle of a folder with ``stain.onnx`` and ``stain.json``.

    Raises
    ------
    BundleError
        If a file is missing, the card is not valid, or the model's digest differs from the card.
    """
    card, model = read_card_and_model(folder, StainCard, CARD_FILE, MODEL_FILE)
    return StainBundle(folder, card, model)


class OnnxStain:
    """Stain predictor of a bundle's network; it implements :class:`inference.ports.StainPredictor`.

    Raises
    ------
    BundleError
        If the model does not fit its card or gives other values for the canary.
    """

    def __init__(self, bundle: StainBundle, intra_op_threads: int = 1) -> None:
        card = bundle.card
        self._card = card
        self._session = open_map_network(
            bundle.model,
            card,
            bundle.folder / MODEL_FILE,
            (len(CHANNELS), 1),
            canary_input(card.canary.seed, card.input_size),
            intra_op_threads,
        )

    @property
    def stain_id(self) -> str:
        """Name, and digest of everything that determines a prediction."""
        decisive = f"{self._card.sha256} {self._card.input_size} {CODE_VERSION}"
        return f"{self._card.name}-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"

    def predicted_measures(
        self, plane: npt.NDArray[np.uint16], tissue: Segmentation, um_per_px: float | None
    ) -> Measures:
        """Return predicted measures by name of a plane, (H, W), its tissue and µm per px or None.

        A refused image has none. An empty well has a predicted dead area of 0 and no core.
        """
        if tissue.is_refused:
            return {}
        area, deviation = (
            name_with_unit(f"predicted_dead_area{kind}", um_per_px) for kind in ("", "_sd")
        )
        if tissue.is_empty:
            return {area: 0.0, deviation: 0.0}
        window = tissue_window(tissue.body)
        cover = crop_square(tissue.body.astype(np.float32), window, self._card.input_size)
        shares = self.dead_shares(stain_input(plane, tissue, self._card.input_size))
        pixel = (window.side * (um_per_px or 1.0) / self._card.input_size) ** 2
        areas = (shares * cover).sum(axis=(1, 2), dtype=np.float64) * pixel
        core = core_of(cover)
        of_core = shares[:, core].mean(axis=1, dtype=np.float64)
        return {
            area: float(areas.mean()),
            deviation: float(areas.std(ddof=1)),
            "predicted_dead_share_core": float(of_core.mean()),
            "predicted_dead_share_core_sd": float(of_core.std(ddof=1)),
        }

    def dead_shares(self, network_input: Floats) -> Floats:
        """Return the predicted dead share 0…1, (8, side, side), of an input (2, side, side).

        The first axis is the orientation in which the network read the image; all maps are turned
        back.
        """
        batch = np.stack([_oriented(network_input, number) for number in range(ORIENTATIONS)])
        (output,) = self._session.run([self._card.output_name], {self._card.input_name: batch})
        shares = 1 / (1 + np.exp(-np.clip(output[:, 0], -30, 30)))
        return np.stack([_turned_back(share, number) for number, share in enumerate(shares)])


@dataclass(frozen=True)
class Window:
    """A square of an image; it may lie partly outside."""

    top: int
    left: int
    side: int


def tissue_window(body: npt.NDArray[np.bool_]) -> Window:
    """Return the square around the tissue of a mask, (H, W), that is not empty."""
    left, top, columns, rows = cv2.boundingRect(body.astype(np.uint8))
    side = max(round(_CROP_EXTENTS * max(rows, columns)), _MIN_CROP_PX)
    return Window(top + (rows - side) // 2, left + (columns - side) // 2, side)


def crop_square(image: Floats, window: Window, side_px: int) -> Floats:
    """Return a window of an image, (H, W), resized to (side_px, side_px); 0 beyond its border."""
    height, width = image.shape
    before = max(0, -window.top), max(0, -window.left)
    after = (
        max(0, window.top + window.side - height),
        max(0, window.left + window.side - width),
    )
    padded = np.pad(image, tuple(zip(before, after, strict=True)))
    top, left = window.top + before[0], window.left + before[1]
    square = padded[top : top + window.side, left : left + window.side]
    interpolation = cv2.INTER_AREA if window.side >= side_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side_px, side_px), interpolation=interpolation))


def stain_input(plane: npt.NDArray[np.uint16], tissue: Segmentation, side_px: int) -> Floats:
    """Return the network's input, (2, side_px, side_px), from a plane, (H, W), and its tissue."""
    background = cv2.resize(tissue.background, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    light = np.asarray(plane / np.maximum(background, np.float32(1.0)), np.float32)
    window = tissue_window(tissue.body)
    density = optical_density(light, 1.0)
    return np.stack(
        [
            crop_square(density, window, side_px),
            crop_square(tissue.body.astype(np.float32), window, side_px),
        ]
    )


def core_of(cover: Floats) -> npt.NDArray[np.bool_]:
    """Return the core of the tissue, (side, side), of its cover 0…1: the deeper half."""
    depth = cv2.distanceTransform((cover >= cover.max() / 2).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(depth >= _CORE_DEPTH * depth.max(), np.bool_)


def canary_input(seed: int, side_px: int) -> Floats:
    """Return the network's input, (1, 2, side_px, side_px), of the test image of a seed."""
    plane = canary_planes(seed)[1]
    rows, columns = np.indices(plane.shape)
    body = (rows - 160) ** 2 + (columns - 150) ** 2 < 80**2
    background = np.full((8, 8), 42_000, np.float32)
    tissue = Segmentation(body, np.zeros_like(body), background)
    return stain_input(plane, tissue, side_px)[np.newaxis]


def _oriented(image: Floats, number: int) -> Floats:
    """Return an image, (…, side, side), in one of the eight orientations."""
    turned = np.rot90(image, number % 4, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if number >= ORIENTATIONS // 2 else turned)


def _turned_back(image: Floats, number: int) -> Floats:
    """Return an oriented image, (side, side), in its first orientation."""
    unmirrored = image[..., ::-1] if number >= ORIENTATIONS // 2 else image
    return np.rot90(unmirrored, -(number % 4), axes=(-2, -1))
