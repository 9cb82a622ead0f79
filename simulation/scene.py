"""What lies in the field of a virtual well before any light: body, spilled clumps, loose cells and debris, drawn from the state of its tissue."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from simulation.plate import RandomPurpose, random_generator
from simulation.tissue import FIELD_UM, Tissue

_CELL_UM = 10.0  # a cell across, roughly
_GRAIN_UM = 9.0
_MOST_CELLS_ACROSS = 160  # of a patch
_HALF = 0.5  # covered pixels belong to the mask
_BRIGHTEST_GRAIN = np.float32(
    0.15
)  # cells that gather light are brighter than no tissue, by this optical density
_EXTENT = 1.9  # half side of the patch a body is drawn in, in units of its radius
_SUBPIXEL_BITS = 3
_FINEST_UM = 2.7  # a pixel, where single cells are drawn
_BRANCHES_AT_250_UM = 21  # of a burst body this large before
_PIECE_LIMIT_UM = 0.45 * FIELD_UM
_MOST_LITTER = 400
_LITTER_NEAR_BODY = 0.6  # share of it
_LITTER_ALONE = 0.5  # share of it

Floats = npt.NDArray[np.float32]
UInt8Map = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is in the field, before any light."""

    mask: npt.NDArray[np.bool_]  # (H, W): body and spilled clumps, not single cells
    density: Floats  # (H, W) optical density
    height_um: Floats  # (H, W) of everything, which bends light
    smooth_um: Floats  # (H, W) the same without the relief of single cells inside the body; its steep places are dark
    rim: float  # how dark


def tissue_mask(tissue: Tissue, size_px: int) -> npt.NDArray[np.bool_]:
    """Return (size, size): where the body and its spilled clumps are."""
    um_per_px = FIELD_UM / size_px
    return _body(tissue, um_per_px, size_px).mask | _pieces(tissue, size_px)[0]


def draw_scene(tissue: Tissue, size_px: int) -> Scene:
    """Lay out the content of the field."""
    um_per_px = FIELD_UM / size_px
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


def _patch(tissue: Tissue, um_per_px: float, size_px: int) -> tuple[int, int, int]:
    """Return left, top and side in pixels of the square that a body is drawn in; it may reach over the border."""
    side = max(8, round(2 * _EXTENT * tissue.radius_um / um_per_px))
    x, y = (size_px / 2 + centre / um_per_px - side / 2 for centre in tissue.centre_um)
    return round(x), round(y), side


def _place(patch: Floats, left: int, top: int, size_px: int) -> Floats:
    """Return (size, size): the patch at its place, cut at the border."""
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
    """The body alone, each map (H, W) and 0 outside it."""

    mask: npt.NDArray[np.bool_]
    height_um: Floats
    relief_um: Floats  # the cobbles that single cells make
    density: Floats


def _body(tissue: Tissue, um_per_px: float, size_px: int) -> _Body:
    """Draw the union of a ball and its lobes, with an uneven outline, an edge of single cells, and grain inside."""
    left, top, side = _patch(tissue, um_per_px, size_px)
    rng = random_generator(tissue.seed, RandomPurpose.OUTLINE, tissue.plate_index, tissue.well_key)
    broad, edge, middle = (smooth_noise(rng, count, side) for count in (7, 46, 20))
    fine = _grain(rng, um_per_px, side)
    axis = np.linspace(-_EXTENT, _EXTENT, side, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    inside = 1 - x * x - y * y
    for lobe_x, lobe_y, radius in tissue.lobes.astype(np.float32):
        np.maximum(inside, radius - ((x - lobe_x) ** 2 + (y - lobe_y) ** 2) / radius, out=inside)
    inside += np.float32(tissue.outline) * broad
    thickness = np.sqrt(np.maximum(inside, 0))
    # Near its edge ``inside`` falls by 2 a radius: half a pixel of it makes the edge smooth.
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
    covered, height, relief, dense = (_place(patch, left, top, size_px) for patch in maps)
    return _Body(covered >= _HALF, height, relief, dense)


def _pieces(tissue: Tissue, size_px: int) -> tuple[npt.NDArray[np.bool_], UInt8Map]:
    """Return two (size, size): where spilled clumps lie, chains of cells that reach out from the body, and how thick they are."""
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
        & (np.maximum(abs(x), abs(y)) < _PIECE_LIMIT_UM)
    )
    radius, shade = (
        rng.uniform(0.35 * _CELL_UM, 0.7 * _CELL_UM, shown.shape),
        rng.uniform(90, 255, shown.shape),
    )
    discs = np.stack([x, y, radius], axis=-1)[shown]
    return _discs(discs, np.full(len(discs), 255.0), size_px) >= 255 * _HALF, _discs(
        discs, shade[shown], size_px
    )


def _litter(tissue: Tissue, size_px: int) -> tuple[UInt8Map, UInt8Map]:
    """Return two (size, size) layers: loose living cells, which bend light, and dark specks of debris."""
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
    """Return (size, size): small round things, most of them around the body, some anywhere, half of them in pairs."""
    # The same number of draws whatever the count, so that litter stays where it is when more comes.
    angle, far, where, radius, shade, alone = rng.uniform(0, 1, (6, _MOST_LITTER))
    near, distance = where < _LITTER_NEAR_BODY, tissue.radius_um * (0.95 + 2.0 * far**2)
    x = np.where(
        near, tissue.centre_um[0] + distance * np.cos(2 * np.pi * angle), FIELD_UM * (angle - 0.5)
    )
    y = np.where(
        near, tissue.centre_um[1] + distance * np.sin(2 * np.pi * angle), FIELD_UM * (far - 0.5)
    )
    beside = np.maximum(
        np.arange(_MOST_LITTER) - np.where(alone < _LITTER_ALONE, 0, 1), 0
    )  # the rest touches the one before
    x, y = np.stack([x[beside], y[beside]]) + moves.normal(0, 7, (2, _MOST_LITTER))
    discs = np.stack([x, y, radii_um[0] + (radii_um[1] - radii_um[0]) * radius], axis=-1)
    return _discs(discs[:count], 100 + 155 * shade[:count], size_px)


def _discs(
    discs_um: npt.NDArray[np.float64], shades: npt.NDArray[np.float64], size_px: int
) -> UInt8Map:
    """Return (size, size): filled, smooth discs, (n, 3) x, y from the middle of the field and radius; drawn finely enough to have their true area."""
    finer = max(1, round(FIELD_UM / size_px / _FINEST_UM))
    layer = np.zeros((size_px * finer, size_px * finer), np.uint8)
    scale = len(layer) / FIELD_UM * (1 << _SUBPIXEL_BITS)
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


def _grain(rng: np.random.Generator, um_per_px: float, side: int) -> Floats:
    """Return (side, side) noise at the scale of single cells, the same from the middle outwards however large the body is."""
    cells = rng.standard_normal(
        (_MOST_CELLS_ACROSS, _MOST_CELLS_ACROSS), dtype=np.float32
    ) * np.float32(1.4)
    step = um_per_px / _GRAIN_UM
    start = (_MOST_CELLS_ACROSS - side * step) / 2
    placing = np.array([[step, 0, start], [0, step, start]], np.float32)
    reading = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(cells, placing, (side, side), flags=reading, borderMode=cv2.BORDER_REFLECT),
        np.float32,
    )


def smooth_noise(rng: np.random.Generator, count: int, side: int) -> Floats:
    """Return (side, side) smooth noise with about ``count`` bumps across, mean 0, standard deviation near 1."""
    coarse = rng.standard_normal((count, count), dtype=np.float32) * np.float32(1.4)
    if side < count:
        return np.asarray(
            cv2.resize(coarse, (side, side), interpolation=cv2.INTER_AREA), np.float32
        )
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
