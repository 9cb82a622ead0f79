"""Draws the content of a virtual field: body, spilled clumps, loose cells and debris.

The result has maps of optical density and height; the light is added in :mod:`simulation.optics`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from simulation.random_numbers import RandomPurpose, random_generator
from simulation.tissue import Tissue

_CELL_UM = 10.0  # approximate diameter of a cell
_GRAIN_UM = 9.0  # size of a grain of texture
_MAX_CELLS_ACROSS = 160  # of a patch
_MASK_COVER = 0.5  # smallest cover of a pixel of the mask
_BRIGHTEST_GRAIN = np.float32(0.15)
"""Optical density by which cells that focus light are brighter than no tissue."""
_EXTENT = 1.9  # half of the side of the patch in which a body is drawn, in radii of the body
_SUBPIXEL_BITS = 3
_MAX_DRAWING_UM = 2.7  # largest pixel at which discs are drawn
_BRANCHES_AT_250_UM = 21  # number of branches of a burst body with an untreated radius of 250 µm
_PIECE_LIMIT = 0.45  # of the field, from its centre
_MAX_LITTER = 400  # number of cells or specks
_LITTER_NEAR_BODY = 0.6  # share of the litter
_SINGLE_LITTER = 0.5  # share of the litter; the rest touches another cell or speck

Floats = npt.NDArray[np.float32]
UInt8Map = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scene:
    """Content of a field before it is lit."""

    mask: npt.NDArray[np.bool_]  # (H, W): body and spilled clumps, without single cells
    density: Floats  # (H, W) natural-log optical density
    height_um: Floats  # (H, W) height of all objects, which refract light
    smooth_um: Floats  # (H, W) height without the relief of cells in the body; steep parts are dark
    rim: float  # darkness of steep parts


def tissue_mask(tissue: Tissue, size_px: int) -> npt.NDArray[np.bool_]:
    """Return the mask, (size, size), of a tissue: its body and spilled clumps."""
    um_per_px = tissue.field_um / size_px
    return _body(tissue, um_per_px, size_px).mask | _pieces(tissue, size_px)[0]


def draw_scene(tissue: Tissue, size_px: int) -> Scene:
    """Return the Scene of a tissue in a square field with a side of ``size_px`` pixels."""
    um_per_px = tissue.field_um / size_px
    cells, specks = _litter(tissue, size_px)
    density = specks.astype(np.float32) * np.float32(0.7 / 255)
    height = cells.astype(np.float32) * np.float32(1.3 * _CELL_UM / 255)
    if not tissue.present:
        return Scene(np.zeros((size_px, size_px), dtype=bool), density, height, height, tissue.rim)
    body = _body(tissue, um_per_px, size_px)
    pieces, shades = _pieces(tissue, size_px)
    spilled = shades.astype(np.float32) * np.float32(1 / 255)
    density += np.maximum(body.density, spilled * np.float32(0.6 + 0.4 * tissue.opacity))
    height += spilled * np.float32(2 * _CELL_UM)
    height += body.height_um
    return Scene(body.mask | pieces, density, height + body.relief_um, height, tissue.rim)


def _patch_square(tissue: Tissue, um_per_px: float, size_px: int) -> tuple[int, int, int]:
    """Return left, top and side in pixels of the square in which a body is drawn.

    It may extend beyond the field.
    """
    side = max(8, round(2 * _EXTENT * tissue.radius_um / um_per_px))
    x, y = (size_px / 2 + centre / um_per_px - side / 2 for centre in tissue.centre_um)
    return round(x), round(y), side


def _paste(patch: Floats, left: int, top: int, size_px: int) -> Floats:
    """Return a zero image, (size, size), with a patch at a position, cut at the border."""
    canvas = np.zeros((size_px, size_px), np.float32)
    height, width = patch.shape
    x0, y0, x1, y1 = (
        max(0, left),
        max(0, top),
        min(size_px, left + width),
        min(size_px, top + height),
    )
    if x1 > x0 and y1 > y0:
        canvas[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


@dataclass(frozen=True, eq=False)
class _Body:
    """Maps, (H, W), of the body alone; they are 0 outside it."""

    mask: npt.NDArray[np.bool_]
    height_um: Floats
    relief_um: Floats  # relief of single cells
    density: Floats


def _body(tissue: Tissue, um_per_px: float, size_px: int) -> _Body:
    """Return the body: a ball and its lobes, with an uneven outline, rough edge and grain."""
    left, top, side = _patch_square(tissue, um_per_px, size_px)
    rng = random_generator(tissue.seed, RandomPurpose.OUTLINE, tissue.plate_index, tissue.well_key)
    broad, edge, middle = (smooth_noise(rng, count, side) for count in (7, 46, 20))
    fine = _cell_noise(rng, um_per_px, side)
    axis = np.linspace(-_EXTENT, _EXTENT, side, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    inside = 1 - x * x - y * y
    for lobe_x, lobe_y, radius in tissue.lobes.astype(np.float32):
        np.maximum(inside, radius - ((x - lobe_x) ** 2 + (y - lobe_y) ** 2) / radius, out=inside)
    inside += np.float32(tissue.outline) * broad
    thickness = np.sqrt(np.maximum(inside, 0))
    # Near the edge ``inside`` falls by 2 per radius; scaled to pixels it gives a smooth edge.
    cover = np.clip(
        (inside + np.float32(tissue.roughness) * edge)
        * np.float32(tissue.radius_um / (2 * um_per_px))
        + np.float32(0.5),
        0,
        1,
    )
    grain = np.float32(tissue.grain) * (np.float32(0.4) * middle + fine)
    flat = np.float32(tissue.opacity) * np.maximum(thickness, np.float32(0.2)) ** np.float32(
        tissue.opacity_power
    )
    density = np.maximum(flat + np.float32(0.4 + 0.2 * tissue.opacity) * grain, -_BRIGHTEST_GRAIN)
    maps = (
        cover,
        thickness * np.float32(tissue.radius_um),
        fine * np.float32(0.5 + 3 * tissue.grain) * cover,
        density * cover,
    )
    covered, height, relief, dense = (_paste(patch, left, top, size_px) for patch in maps)
    return _Body(covered >= _MASK_COVER, height, relief, dense)


def _pieces(tissue: Tissue, size_px: int) -> tuple[npt.NDArray[np.bool_], UInt8Map]:
    """Return the mask and the thickness (0…255) of spilled clumps, each (size, size).

    Clumps form chains of cells that extend from the body.
    """
    if tissue.burst <= 0:
        return np.zeros((size_px, size_px), dtype=bool), np.zeros((size_px, size_px), np.uint8)
    rng = random_generator(tissue.seed, RandomPurpose.PIECES, tissue.plate_index, tissue.well_key)
    branches, steps, clump = 60, 26, 4
    lengths = rng.uniform(0.3, 1.0, (branches, 1, 1))
    angles = rng.uniform(0, 2 * np.pi, (branches, 1)) + np.cumsum(
        rng.normal(0, 0.35, (branches, steps)), axis=1
    )
    stride_um = rng.uniform(10, 26, (branches, steps))
    start = 0.7 * tissue.radius_um * np.stack([np.cos(angles[:, :1]), np.sin(angles[:, :1])])
    path = (
        start
        + np.cumsum(stride_um * np.stack([np.cos(angles), np.sin(angles)]), axis=2)
        + np.reshape(tissue.centre_um, (2, 1, 1))
    )
    x, y = path[..., None] + rng.normal(0, _CELL_UM, (2, branches, steps, clump))
    spilling = (
        np.arange(branches)[:, None, None]
        < _BRANCHES_AT_250_UM * (tissue.whole_radius_um / 250) ** 2
    )
    shown = (
        spilling
        & (np.arange(steps)[:, None] < tissue.burst * lengths * steps)
        & (np.maximum(abs(x), abs(y)) < _PIECE_LIMIT * tissue.field_um)
    )
    radius, shade = (
        rng.uniform(0.35 * _CELL_UM, 0.7 * _CELL_UM, shown.shape),
        rng.uniform(90, 255, shown.shape),
    )
    discs = np.stack([x, y, radius], axis=-1)[shown]
    field_um = tissue.field_um
    solid = _discs(discs, np.full(len(discs), 255.0), size_px, field_um)
    return solid >= 255 * _MASK_COVER, _discs(discs, shade[shown], size_px, field_um)


def _litter(tissue: Tissue, size_px: int) -> tuple[UInt8Map, UInt8Map]:
    """Return loose cells and debris, each (size, size), 0…255; cells refract and debris is dark."""
    rng = random_generator(tissue.seed, RandomPurpose.LITTER, tissue.plate_index, tissue.well_key)
    moves = random_generator(
        tissue.seed, RandomPurpose.MOVES, tissue.plate_index, tissue.well_key, tissue.day, 1
    )
    cells = _scatter(rng, moves, tissue, tissue.loose_cells, (3.5, 7.5), size_px)
    return cells, _scatter(rng, moves, tissue, tissue.debris, (1.2, 4.5), size_px)


def _scatter(
    rng: np.random.Generator,
    moves: np.random.Generator,
    tissue: Tissue,
    count: int,
    radii_um: tuple[float, float],
    size_px: int,
) -> UInt8Map:
    """Return small discs, (size, size), 0…255: most around the body, some anywhere, half in pairs.

    Parameters
    ----------
    rng, moves
        Generators of the positions and of their change from day to day.
    tissue
        Tissue whose body the discs surround.
    count
        Number of discs.
    radii_um
        Smallest and largest radius.
    size_px
        Side of the field in pixels.
    """
    # The number of draws does not depend on the count, so that discs keep their positions.
    angle, far, where, radius, shade, alone = rng.uniform(0, 1, (6, _MAX_LITTER))
    near, distance = where < _LITTER_NEAR_BODY, tissue.radius_um * (0.95 + 2.0 * far**2)
    x = np.where(
        near,
        tissue.centre_um[0] + distance * np.cos(2 * np.pi * angle),
        tissue.field_um * (angle - 0.5),
    )
    y = np.where(
        near,
        tissue.centre_um[1] + distance * np.sin(2 * np.pi * angle),
        tissue.field_um * (far - 0.5),
    )
    # The others have the position of the previous disc, plus their own small move.
    beside = np.maximum(np.arange(_MAX_LITTER) - np.where(alone < _SINGLE_LITTER, 0, 1), 0)
    x, y = np.stack([x[beside], y[beside]]) + moves.normal(0, 7, (2, _MAX_LITTER))
    discs = np.stack([x, y, radii_um[0] + (radii_um[1] - radii_um[0]) * radius], axis=-1)
    return _discs(discs[:count], 100 + 155 * shade[:count], size_px, tissue.field_um)


def _discs(
    discs_um: npt.NDArray[np.float64],
    shades: npt.NDArray[np.float64],
    size_px: int,
    field_um: float,
) -> UInt8Map:
    """Return filled discs with smooth edges, (size, size), 0…255.

    Small images are drawn at a higher resolution, so that discs have their true area.

    Parameters
    ----------
    discs_um
        (n, 3): x and y from the centre of the field, and radius.
    shades
        (n,) grey values.
    size_px, field_um
        Side of the field in pixels and in µm.
    """
    finer = max(1, round(field_um / size_px / _MAX_DRAWING_UM))
    layer = np.zeros((size_px * finer, size_px * finer), np.uint8)
    scale = len(layer) / field_um * (1 << _SUBPIXEL_BITS)
    middle = len(layer) / 2 * (1 << _SUBPIXEL_BITS)
    for (x, y, radius), shade in zip(
        np.round(discs_um * scale + (middle, middle, 0)).astype(int).tolist(),
        shades.tolist(),
        strict=True,
    ):
        cv2.circle(layer, (x, y), radius, shade, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return (
        np.asarray(cv2.resize(layer, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)
        if finer > 1
        else layer
    )


def _cell_noise(rng: np.random.Generator, um_per_px: float, side: int) -> Floats:
    """Return noise, (side, side), at the scale of single cells.

    It is the same around the centre for bodies of any size.
    """
    cells = rng.standard_normal(
        (_MAX_CELLS_ACROSS, _MAX_CELLS_ACROSS), dtype=np.float32
    ) * np.float32(1.4)
    step = um_per_px / _GRAIN_UM
    start = (_MAX_CELLS_ACROSS - side * step) / 2
    placing = np.array([[step, 0, start], [0, step, start]], np.float32)
    reading = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(cells, placing, (side, side), flags=reading, borderMode=cv2.BORDER_REFLECT),
        np.float32,
    )


def smooth_noise(rng: np.random.Generator, count: int, side: int) -> Floats:
    """Return smooth noise, (side, side), with ``count`` bumps per side, mean 0 and SD about 1."""
    coarse = rng.standard_normal((count, count), dtype=np.float32) * np.float32(1.4)
    if side < count:
        return np.asarray(
            cv2.resize(coarse, (side, side), interpolation=cv2.INTER_AREA), np.float32
        )
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
