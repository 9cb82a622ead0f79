"""Training images of a segmenter: virtual wells with random optics, framing and disturbances."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.onnx_segmenter import background_level, optical_density
from simulation.kinds import OpticsName
from simulation.optics import OPTICS, PLANES, Optics, choose_imaging_conditions, render_planes
from simulation.plate import CULTURE_DAYS, VirtualPlate, plan_plate
from simulation.scene import Floats, draw_scene, smooth_noise
from simulation.tissue import CellLine, Tissue, choose_cell_line, simulate_tissue
from training.data.seeds import FIRST_TRAINING_SEED

_SIZE_PX = 448  # side of a rendered image
_RADII_UM = 75.0, 300.0  # of untreated tissue on the dosing day
_EXAMPLES_PER_PLANE = 2
_EMPTY_SHARE = 0.12
_IN_PIECES_SHARE = 0.15
_SPECK_DENSITY, _SPECK_UM = 0.08, 3.0  # smallest optical density or height of debris
_MIN_COVER = 0.4  # smallest covered share of a pixel of a resized mask
_FIBRE, _DUST, _BUBBLE = range(3)

Masks = npt.NDArray[np.float32]  # (2, H, W): body and debris, 0 or 1


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A square image with the masks of its body and debris."""

    pixels: Floats  # (H, W), 0…1
    masks: Masks


def make_training_batch(seed: int, step: int, batch: int, side_px: int) -> tuple[Floats, Masks]:
    """Return inputs, (batch, 1, side, side), and masks, (batch, 2, …), of a seed and step.

    Returns
    -------
    inputs : Floats
        (batch, 1, side, side) optical density.
    masks : Masks
        (batch, 2, side, side): body, debris.
    """
    rng = np.random.default_rng([seed, step])
    wells = math.ceil(batch / (PLANES * _EXAMPLES_PER_PLANE))
    examples = [
        _make_example(rng, image, side_px)
        for image in _render_images(rng, wells)
        for _ in range(_EXAMPLES_PER_PLANE)
    ]
    chosen = [examples[place] for place in rng.permutation(len(examples))[:batch]]
    inputs, masks = (np.stack(part) for part in zip(*chosen, strict=True))
    return inputs[:, np.newaxis], masks


def _render_images(rng: np.random.Generator, wells: int) -> Iterator[LabelledImage]:
    """Render every plane of some random wells of one random plate."""
    plate = plan_plate(FIRST_TRAINING_SEED + int(rng.integers(900_000)))
    plate = replace(plate, growth=plate.growth.resized(float(rng.uniform(*_RADII_UM))))
    for plan in rng.choice(np.array(plate.wells, dtype=object), wells, replace=False):
        tissue = _vary_tissue(
            rng, simulate_tissue(plate, plan, int(rng.choice(CULTURE_DAYS)), _vary_line(rng, plate))
        )
        scene = draw_scene(tissue, _SIZE_PX)
        conditions = replace(
            choose_imaging_conditions(plate, OPTICS[OpticsName.DEFAULT]), optics=_random_optics(rng)
        )
        tilt = conditions.optics.tilt * rng.normal(0, 0.7, 2)
        conditions = replace(
            conditions,
            tilt=(float(tilt[0]), float(tilt[1])),
            light=conditions.optics.light,
            scratches=float(rng.uniform(0, 0.8)),
        )
        planes = render_planes(scene, plate, plan, tissue.day, conditions)
        beside = cv2.dilate(scene.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        specks = ((scene.density > _SPECK_DENSITY) | (scene.height_um > _SPECK_UM)) & beside
        masks = np.stack([scene.mask, specks]).astype(np.float32)
        for plane in planes:
            yield LabelledImage(plane.astype(np.float32) / np.float32(conditions.white), masks)


def _vary_line(rng: np.random.Generator, plate: VirtualPlate) -> CellLine:
    """Return a cell line of the plate with a wider range of properties than virtual plates have."""
    line = choose_cell_line(plate)
    return replace(
        line,
        opacity=float(np.exp(rng.uniform(np.log(0.06), np.log(3.0)))),
        opacity_power=float(rng.uniform(0.2, 1.2)),
        rim=float(rng.uniform(0.3, 3.0)),
        grain=float(rng.uniform(0.05, 0.6)),
        outline=float(rng.uniform(0.01, 0.14)),
        lobes=float(4 * rng.random() ** 2),
        loose_cells=line.loose_cells * float(np.exp(rng.uniform(-2, 1.6))),
        debris=line.debris * float(np.exp(rng.uniform(-2, 1.8))),
    )


def _vary_tissue(rng: np.random.Generator, tissue: Tissue) -> Tissue:
    """Move tissue away from the centre, add pieces beside it, and remove it from some wells.

    Some tissue lies across the border of the image.
    """
    count = int(rng.integers(1, 5)) if rng.random() < _IN_PIECES_SHARE else 0
    angle, distance, radius = (
        rng.uniform(0, 2 * np.pi, count),
        rng.uniform(1.1, 1.7, count),
        rng.uniform(0.12, 0.45, count),
    )
    beside = np.stack([distance * np.cos(angle), distance * np.sin(angle), radius], axis=1)
    x, y = rng.normal(0, 110, 2) if rng.random() < 0.85 else rng.uniform(-690, 690, 2)  # noqa: PLR2004 - share of wells near the centre
    present = bool(rng.random() >= _EMPTY_SHARE)
    return replace(
        tissue,
        centre_um=(float(x), float(y)),
        lobes=np.concatenate([tissue.lobes, beside]),
        present=present,
    )


def _random_optics(rng: np.random.Generator) -> Optics:
    return Optics(
        light=float(rng.uniform(0.12, 0.75)),
        tilt=float(rng.uniform(0, 0.6)),
        clouds=float(rng.uniform(0, 0.1)),
        blur_um=float(np.exp(rng.uniform(np.log(1.0), np.log(9.0)))),
        blur_per_defocus=float(rng.uniform(0.05, 0.25)),
        bending=float(np.exp(rng.uniform(np.log(0.005), np.log(0.05)))),
        rim=float(rng.uniform(0.5, 3.0)),
        halo=float(rng.uniform(0, 0.35)),
        photons=float(rng.uniform(2500, 12000)),
        read_noise=float(rng.uniform(0.001, 0.004)),
        focus_step_um=float(rng.uniform(15, 60)),
    )


def _make_example(
    rng: np.random.Generator, image: LabelledImage, side_px: int
) -> tuple[Floats, Masks]:
    """Return a network input, (side, side), and its masks, (2, side, side)."""
    image = _crop_and_scale(rng, _turn_and_flip(rng, image), side_px)
    pixels, masks = image.pixels, image.masks
    for spoil, share in ((_add_object, 0.3), (_add_well_wall, 0.25), (_darken_sides, 0.15)):
        if rng.random() < share:
            pixels, masks = spoil(rng, pixels, masks)
    if rng.random() < 0.35:  # noqa: PLR2004 - share out of focus
        pixels = np.asarray(
            cv2.GaussianBlur(
                pixels, (0, 0), float(np.exp(rng.uniform(np.log(0.6), np.log(0.03 * side_px))))
            ),
            np.float32,
        )
    slope = 1 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, side_px)[:, None]
    noise = rng.normal(0, rng.uniform(0, 0.02) * float(np.median(pixels)), pixels.shape)
    pixels = np.asarray(pixels * slope + noise, np.float32)
    return optical_density(
        pixels, background_level(pixels) * float(np.exp(rng.normal(0, 0.06)))
    ), masks


def _turn_and_flip(rng: np.random.Generator, image: LabelledImage) -> LabelledImage:
    turns, step = int(rng.integers(4)), int(rng.choice([-1, 1]))
    return LabelledImage(
        np.rot90(image.pixels, turns)[:, ::step],
        np.rot90(image.masks, turns, axes=(1, 2))[:, :, ::step],
    )


def _crop_and_scale(rng: np.random.Generator, image: LabelledImage, side_px: int) -> LabelledImage:
    """Resize the image to ``side_px``: a larger field, the whole, a random part, or the tissue."""
    size, kind = len(image.pixels), rng.random()
    rows, columns = np.nonzero(image.masks[0])
    if kind < 0.45 and len(rows):  # noqa: PLR2004 - share of close-ups
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        part = float(np.clip(extent * rng.uniform(1.15, 2.6), 0.12 * size, size))
        middle = np.array([rows.mean(), columns.mean()]) + rng.normal(0, 0.08, 2) * part
    else:
        part = size * float(rng.uniform(0.5, 1.0) if kind < 0.65 else rng.uniform(1.0, 1.7))  # noqa: PLR2004 - share of other parts
        middle = size / 2 + rng.uniform(-0.5, 0.5, 2) * abs(size - part)
    scale = side_px / part
    placing = np.array(
        [[scale, 0, side_px / 2 - scale * middle[1]], [0, scale, side_px / 2 - scale * middle[0]]],
        np.float32,
    )
    pixels, masks = np.ascontiguousarray(image.pixels), np.ascontiguousarray(image.masks)
    if scale < 1:  # blurred first, because warping does not average pixels
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale), np.float32)
        masks = np.stack([cv2.GaussianBlur(mask, (0, 0), 0.4 / scale) for mask in masks])
    target = side_px, side_px
    moved = np.asarray(
        cv2.warpAffine(
            pixels, placing, target, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan")
        ),
        np.float32,
    )
    outside = np.isnan(moved)
    moved[outside] = np.quantile(moved[~outside], rng.uniform(0.5, 0.9)) * rng.uniform(0.9, 1.1)
    return LabelledImage(
        moved,
        np.stack([cv2.warpAffine(mask, placing, target) >= _MIN_COVER for mask in masks]).astype(
            np.float32
        ),
    )


def _add_object(rng: np.random.Generator, pixels: Floats, masks: Masks) -> tuple[Floats, Masks]:
    """Draw a fibre, a flake of dust or a bubble, which is debris outside the body."""
    side = len(pixels)
    layer = np.zeros((side, side), np.float32)
    kind = int(rng.integers(3))
    if kind == _FIBRE:
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 40))
        path = rng.uniform(0, side, 2) + np.cumsum(
            np.stack([np.cos(angles), np.sin(angles)], axis=1) * side * rng.uniform(0.005, 0.03),
            axis=0,
        )
        cv2.polylines(
            layer,
            [np.round(path * 8).astype(np.int32)],
            False,
            1.0,
            int(rng.integers(1, 6)),
            cv2.LINE_AA,
            3,
        )
    else:
        centre, radius = rng.uniform(0, side, 2), side * float(rng.uniform(0.02, 0.10))
        angles = (
            np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
            if kind == _DUST
            else np.linspace(0, 2 * np.pi, 60)
        )
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1) * (
            1 if kind != _DUST else rng.uniform(0.6, 1.2, (len(angles), 1))
        )
        cv2.fillPoly(layer, [np.round(corners * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    solid = (layer >= 0.5).astype(np.float32)  # noqa: PLR2004 - covered pixels
    if kind == _BUBBLE:  # a bubble is dark at its edge only
        layer = np.clip(layer - 0.9 * cv2.erode(layer, np.ones((5, 5), np.uint8)), 0, 1)
    body = masks[0]
    if kind != _FIBRE and (solid * body).any():
        return pixels, masks
    density = float(np.exp(rng.uniform(np.log(0.25), np.log(2.5))))
    shadow = cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(0.5, 2.0)))
    return pixels * np.exp(-density * shadow), np.stack(
        [body, np.maximum(masks[1], solid * (1 - body))]
    )


def _add_well_wall(rng: np.random.Generator, pixels: Floats, masks: Masks) -> tuple[Floats, Masks]:
    """Draw the wall of the well, as a ring or at one side, and remove the masks behind it."""
    side = len(pixels)
    whole = rng.random() < 0.5  # noqa: PLR2004 - half
    radius = side * float(rng.uniform(0.36, 0.52) if whole else rng.uniform(0.5, 1.5))
    angle = rng.uniform(0, 2 * np.pi)
    off = (
        side * float(rng.uniform(0, 0.05))
        if whole
        else radius - side * float(rng.uniform(0.3, 0.5))
    )
    x, y = side / 2 - off * np.cos(angle), side / 2 - off * np.sin(angle)
    axis = np.arange(side, dtype=np.float32)
    depth = np.hypot(axis[None, :] - np.float32(x), axis[:, None] - np.float32(y)) - np.float32(
        radius
    )  # px behind the wall's inner face
    width, softness = side * float(rng.uniform(0.01, 0.10)), side * float(rng.uniform(0.002, 0.02))
    wall, behind = (
        1 / (1 + np.exp(np.clip(-depth / softness, -30, 30))),
        1 / (1 + np.exp(np.clip(-(depth - width) / softness, -30, 30))),
    )
    dark, outer = rng.uniform(0.03, 0.7), rng.uniform(0.03, 1.2)
    glow = 1 + rng.uniform(-0.15, 0.25) * np.exp(-((depth / (3 * softness + 1)) ** 2))
    texture = 1 + 0.1 * smooth_noise(rng, 30, side) * wall
    level = background_level(pixels)
    pixels = (
        (pixels * (1 - wall) + level * wall * (dark * (1 - behind) + outer * behind))
        * glow
        * texture
    )
    return np.maximum(pixels, np.float32(0.001)).astype(np.float32), masks * (depth < 0)


def _darken_sides(rng: np.random.Generator, pixels: Floats, masks: Masks) -> tuple[Floats, Masks]:
    """Darken one side of the image, as beside the wall of a channel or under a meniscus."""
    side = len(pixels)
    reach = side * float(rng.uniform(0.02, 0.25))
    shade = 1 - rng.uniform(0.2, 0.95) * np.exp(
        -((np.arange(side, dtype=np.float32) / np.float32(reach)) ** 2)
    )
    return np.rot90(np.rot90(pixels, -1) * shade[:, None]).astype(
        np.float32
    ) if rng.random() < 0.5 else pixels * shade[None, :].astype(np.float32), masks  # noqa: PLR2004 - half
