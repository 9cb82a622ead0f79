"""From the state of a tissue to pixels: what a bright-field microscope would show of it, plane by plane.

Tissue takes light away (optical density, and the steep edge that throws light past the objective) and bends it: out of focus by z, the
image gains −z·∇²(height), the transport of intensity (Teague 1983, doi:10.1364/JOSA.73.001434), which turns rims and cells from dark to
bright through focus.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.virtual_plate import Stream, VirtualPlate, WellPlan, stream
from acquisition.virtual_tissue import FIELD_UM, Tissue

RENDERER_VERSION = 1
PLANES = 3
_CELL_UM = 10.0  # a cell across, roughly
_GRAIN_UM = 9.0
_BRIGHTEST_GRAIN = np.float32(0.15)  # cells that gather light are brighter than no tissue, by this optical density
_HALF = 0.5  # covered pixels belong to the mask
_EXTENT = 1.9  # half side of the patch a body is drawn in, in units of its radius
_SUBPIXEL_BITS = 3
_DARK_LEVEL = np.float32(0.01)  # of the camera's range
_NOISE_MARGIN_PX = 64
_LENS_LIMIT_UM = 90.0  # the transport of intensity holds near focus only; farther away blur is all
_FLOOR_DEPTH_UM = 60.0  # below the middle of the tissue
_FLOOR_MARGIN = 1.15  # side of the floor that is drawn once a plate, in fields
_BRANCHES_AT_250_UM = 20  # of a burst body this large before
_MOST_LITTER = 400
_LITTER_NEAR_BODY = 0.6  # share of it
_LITTER_ALONE = 0.5  # share of it
_PIECE_LIMIT_UM = 0.45 * FIELD_UM

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class OpticsName(StrEnum):
    """The microscopes that plates can be seen through; the biology stays the same."""

    DEFAULT = "default"
    DIM = "dim"
    PHASE_RIM = "phase_rim"
    LOW_NA = "low_na"
    TILTED = "tilted"


@dataclass(frozen=True)
class Optics:
    """One microscope, before the variation from plate to plate."""

    light: float = 0.6  # of the camera's range, where there is no tissue
    tilt: float = 0.06  # relative change of the light from one side to the other
    clouds: float = 0.03  # relative, uneven liquid and plastic
    blur_um: float = 1.6  # of the plane in focus
    blur_per_defocus: float = 0.11  # µm of blur a µm of defocus
    bending: float = 0.012  # twice the difference of refractive index
    rim: float = 1.0
    halo: float = 0.10  # bright seam around the body, in focus too
    photons: float = 9000.0  # that a full pixel collects
    read_noise: float = 0.002  # of the camera's range
    focus_step_um: float = 45.0


OPTICS: dict[OpticsName, Optics] = {
    OpticsName.DEFAULT: Optics(),
    OpticsName.DIM: Optics(light=0.22, photons=4000.0, read_noise=0.003),
    OpticsName.PHASE_RIM: Optics(bending=0.024, rim=1.8, halo=0.28),
    OpticsName.LOW_NA: Optics(blur_um=3.5, blur_per_defocus=0.06, rim=1.6, bending=0.016),
    OpticsName.TILTED: Optics(tilt=0.45, clouds=0.07),
}


@dataclass(frozen=True)
class Bench:
    """How the microscope stood for one plate."""

    optics: Optics
    white: int  # 4095 or 65535
    light: float
    tilt: tuple[float, float]  # relative change across the field, x and y
    corners: float  # relative brightening towards the wall of the well
    scratches: float  # strength of the plate's floor texture
    clouds: float
    plate_slope_um: tuple[float, float]  # focus drift a row and a column
    focus_offset_um: float


@dataclass(frozen=True, eq=False)
class Scene:
    """What is in the field, before any light."""

    mask: npt.NDArray[np.bool_]  # (H, W): body and spilled clumps, not single cells
    density: Floats  # (H, W) optical density
    height_um: Floats  # (H, W) of everything, which bends light
    smooth_um: Floats  # (H, W) the same without the relief of single cells inside the body; its steep places are dark
    rim: float  # how dark


def bench_of(plate: VirtualPlate, name: OpticsName) -> Bench:
    """Return how the microscope of this name stood for a plate."""
    rng = stream(plate.seed, Stream.BENCH, plate.index)
    optics = OPTICS[name]
    direction = rng.uniform(0, 2 * np.pi)
    tilt = optics.tilt * rng.uniform(0.5, 1.5)
    return Bench(
        optics=optics,
        white=int(rng.choice([4095, 65535])),
        light=float(optics.light * rng.uniform(0.85, 1.1)),
        tilt=(float(tilt * np.cos(direction)), float(tilt * np.sin(direction))),
        corners=float(rng.uniform(0, 0.12)),
        scratches=float(rng.uniform(0.0, 1.2)),
        clouds=float(optics.clouds * rng.uniform(0.2, 1.6)),
        plate_slope_um=(float(rng.normal(0, 0.8)), float(rng.normal(0, 0.8))),
        focus_offset_um=float(rng.normal(0, 5)),
    )


def tissue_mask(tissue: Tissue, size_px: int) -> npt.NDArray[np.bool_]:
    """Return (size, size): where the body and its spilled clumps are."""
    um_per_px = FIELD_UM / size_px
    return _body(tissue, um_per_px, size_px).mask | _pieces(tissue, um_per_px, size_px)[0]


def draw(tissue: Tissue, size_px: int) -> Scene:
    """Lay out the content of the field."""
    um_per_px = FIELD_UM / size_px
    shape = (size_px, size_px)
    cells, specks = _litter(tissue, um_per_px, size_px)
    density = specks.astype(np.float32) * np.float32(0.9 / 255)
    height = cells.astype(np.float32) * np.float32(1.3 * _CELL_UM / 255)
    if not tissue.present:
        return Scene(np.zeros((size_px, size_px), dtype=bool), density, height, height, tissue.rim)
    body = _body(tissue, um_per_px, size_px)
    pieces, shades = _pieces(tissue, um_per_px, size_px)
    spilled = shades.astype(np.float32) * np.float32(1 / 255)
    density += np.maximum(body.density, spilled * np.float32(0.3 + 0.5 * tissue.opacity))
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
    x0, y0, x1, y1 = max(0, left), max(0, top), min(size_px, left + width), min(size_px, top + height)
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
    rng = stream(tissue.seed, Stream.OUTLINE, tissue.plate_index, tissue.well_key)
    cells_across = round(2 * _EXTENT * tissue.radius_um / _GRAIN_UM)
    broad, edge, middle = (_noise(rng, count, side) for count in (7, 46, 20))
    fine = _noise(rng, cells_across, side)
    axis = np.linspace(-_EXTENT, _EXTENT, side, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    inside = 1 - x * x - y * y
    for lobe_x, lobe_y, radius in tissue.lobes.astype(np.float32):
        np.maximum(inside, radius - ((x - lobe_x) ** 2 + (y - lobe_y) ** 2) / radius, out=inside)
    inside += np.float32(tissue.outline) * broad
    thickness = np.sqrt(np.maximum(inside, 0))
    # Near its edge ``inside`` falls by 2 a radius: half a pixel of it makes the edge smooth.
    cover = np.clip((inside + np.float32(tissue.roughness) * edge) * np.float32(tissue.radius_um / (2 * um_per_px)) + np.float32(0.5), 0, 1)
    grain = np.float32(tissue.grain) * (np.float32(0.4) * middle + fine)
    flat = np.float32(tissue.opacity) * np.maximum(thickness, np.float32(0.2)) ** np.float32(tissue.opacity_power)
    density = np.maximum(flat + np.float32(0.4 + 0.2 * tissue.opacity) * grain, -_BRIGHTEST_GRAIN)
    maps = (
        cover,
        thickness * np.float32(tissue.radius_um),
        fine * np.float32(1 + 8 * tissue.grain) * cover,
        density * cover,
    )
    covered, height, relief, dense = (_place(patch, left, top, size_px) for patch in maps)
    return _Body(covered >= _HALF, height, relief, dense)


def _noise(rng: np.random.Generator, count: int, side: int) -> Floats:
    """Return (side, side) smooth noise with about ``count`` bumps across, mean 0, standard deviation near 1."""
    coarse = rng.standard_normal((count, count), dtype=np.float32) * np.float32(1.4)
    if side < count:
        return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _pieces(tissue: Tissue, um_per_px: float, size_px: int) -> tuple[npt.NDArray[np.bool_], Bytes]:
    """Return two (size, size): where spilled clumps lie, chains of cells that reach out from the body, and how thick they are."""
    cover, thickness = np.zeros((2, size_px, size_px), np.uint8)
    if tissue.burst <= 0:
        return cover > 0, thickness
    rng = stream(tissue.seed, Stream.PIECES, tissue.plate_index, tissue.well_key)
    branches, steps, clump = 60, 26, 4
    lengths = rng.uniform(0.3, 1.0, (branches, 1, 1))
    angles = rng.uniform(0, 2 * np.pi, (branches, 1)) + np.cumsum(rng.normal(0, 0.35, (branches, steps)), axis=1)
    stride = rng.uniform(10, 26, (branches, steps))
    start = 0.7 * tissue.radius_um * np.stack([np.cos(angles[:, :1]), np.sin(angles[:, :1])])
    path = start + np.cumsum(stride * np.stack([np.cos(angles), np.sin(angles)]), axis=2) + np.reshape(tissue.centre_um, (2, 1, 1))
    x, y = path[..., None] + rng.normal(0, _CELL_UM, (2, branches, steps, clump))
    spilling = np.arange(branches)[:, None, None] < _BRANCHES_AT_250_UM * (tissue.whole_radius_um / 250) ** 2
    shown = spilling & (np.arange(steps)[:, None] < tissue.burst * lengths * steps) & (np.maximum(abs(x), abs(y)) < _PIECE_LIMIT_UM)
    radii, shades = rng.uniform(0.35 * _CELL_UM, 0.7 * _CELL_UM, shown.shape), rng.integers(90, 255, shown.shape)
    for layer, shade in ((cover, np.full_like(shades, 255)), (thickness, shades)):
        _circles(layer, x[shown], y[shown], radii[shown], shade[shown], um_per_px)
    return cover >= 255 * _HALF, thickness


def _litter(tissue: Tissue, um_per_px: float, size_px: int) -> tuple[Bytes, Bytes]:
    """Return two (size, size) layers: loose living cells, which bend light, and dark specks of debris."""
    cells, specks = np.zeros((2, size_px, size_px), np.uint8)
    rng = stream(tissue.seed, Stream.LITTER, tissue.plate_index, tissue.well_key)
    moves = stream(tissue.seed, Stream.MOVES, tissue.plate_index, tissue.well_key, tissue.day, 1)
    for layer, count, low_um, high_um in ((cells, tissue.loose_cells, 3.5, 7.5), (specks, tissue.debris, 1.2, 4.5)):
        # The same number of draws whatever the count, so that litter stays where it is when more comes.
        angle, far, where, radius, shade, alone = rng.uniform(0, 1, (6, _MOST_LITTER))
        near, distance = where < _LITTER_NEAR_BODY, tissue.radius_um * (0.95 + 2.0 * far**2)
        x = np.where(near, tissue.centre_um[0] + distance * np.cos(2 * np.pi * angle), FIELD_UM * (angle - 0.5))
        y = np.where(near, tissue.centre_um[1] + distance * np.sin(2 * np.pi * angle), FIELD_UM * (far - 0.5))
        x, y = np.stack([x, y]) + moves.normal(0, 5, (2, _MOST_LITTER))
        beside = np.maximum(np.arange(_MOST_LITTER) - np.where(alone < _LITTER_ALONE, 0, 1), 0)  # the rest touches the one before
        x, y = np.stack([x[beside], y[beside]]) + moves.normal(0, 5, (2, _MOST_LITTER))
        _circles(layer, x[:count], y[:count], (low_um + (high_um - low_um) * radius)[:count], (100 + 155 * shade)[:count], um_per_px)
    return cells, specks


def _circles(
    layer: Bytes,
    x_um: npt.NDArray[np.float64],
    y_um: npt.NDArray[np.float64],
    radius_um: npt.NDArray[np.float64],
    shade: npt.NDArray[np.float64] | npt.NDArray[np.int64],
    um_per_px: float,
) -> None:
    """Draw filled, smooth discs at places counted from the middle of the field."""
    scale = (1 << _SUBPIXEL_BITS) / um_per_px
    middle = layer.shape[0] / 2 * (1 << _SUBPIXEL_BITS)
    places = np.round(np.stack([x_um * scale + middle, y_um * scale + middle, radius_um * scale], axis=1)).astype(int).tolist()
    for (x, y, radius), value in zip(places, shade.tolist(), strict=True):
        cv2.circle(layer, (x, y), radius, value, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


@lru_cache(maxsize=4)
def _floor(seed: int, plate_index: int, size_px: int) -> Floats:
    """Return a square somewhat larger than the field, standard deviation near 1: radial scratches and fine pits of a plate's moulded floor."""
    rng = stream(seed, Stream.FLOOR, plate_index)
    side = round(_FLOOR_MARGIN * size_px)
    polar = cv2.GaussianBlur(rng.standard_normal((900, 48), dtype=np.float32), (0, 0), sigmaX=0.8, sigmaY=0.7)
    scratches = cv2.warpPolar(polar, (side, side), (side / 2, side / 2), side * 0.75, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    blotches = _noise(rng, 12, side)
    floor = scratches / scratches.std() * np.clip(0.8 + 0.6 * blotches, 0, 2) + 0.7 * _noise(rng, 240, side) + 0.5 * _noise(rng, 100, side)
    return np.asarray(floor, np.float32)


def render(scene: Scene, plate: VirtualPlate, plan: WellPlan, day: int, bench: Bench, *, blurred: bool = False) -> npt.NDArray[np.uint16]:
    """Return (3, H, W): the planes of one well image, from below to above the middle of the tissue."""
    size_px = scene.mask.shape[0]
    um_per_px = FIELD_UM / size_px
    optics = bench.optics
    rng = stream(plate.seed, Stream.CAMERA, plate.index, plan.key, day)
    light = _light(plate, plan, bench, size_px, float(rng.normal(1, 0.01)))
    height = cv2.GaussianBlur(scene.height_um, (0, 0), max(0.5, 2.0 / um_per_px))
    curvature = cv2.Laplacian(height, cv2.CV_32F, ksize=1) / np.float32(um_per_px**2)
    np.clip(curvature, -0.6, 0.6, out=curvature)
    through = _transmitted(scene, optics, um_per_px)
    curvature *= np.float32(optics.bending)
    floor = _floor_of_well(plate, plan, size_px) * np.float32(optics.bending * 0.035 * bench.scratches)
    offset = bench.focus_offset_um + bench.plate_slope_um[0] * (plan.row - 4.5) + bench.plate_slope_um[1] * (plan.column - 6.5) + rng.normal(0, 4)
    offset = float(np.clip(offset, -0.45 * optics.focus_step_um, 0.45 * optics.focus_step_um))
    if blurred:
        offset += float(rng.uniform(28, 45)) / optics.blur_per_defocus * float(rng.choice([-1, 1]))
    planes = np.empty((PLANES, size_px, size_px), np.uint16)
    # One frame of noise, of which each plane sees another part: drawing it takes longer than everything else.
    noise = rng.standard_normal((size_px + _NOISE_MARGIN_PX, size_px + _NOISE_MARGIN_PX), dtype=np.float32)
    for number in range(PLANES):
        z_um = (number - PLANES // 2) * optics.focus_step_um + offset
        blur_px = math.hypot(optics.blur_um, optics.blur_per_defocus * z_um) / um_per_px
        bending_um = np.float32(np.clip(z_um, -_LENS_LIMIT_UM, _LENS_LIMIT_UM))
        seen = through * (1 - floor * (bending_um + _FLOOR_DEPTH_UM)) - curvature * bending_um
        seen = cv2.GaussianBlur(seen, (0, 0), max(blur_px, 0.3))
        top, left = rng.integers(0, _NOISE_MARGIN_PX, 2)
        planes[number] = _expose(seen * light, bench, noise[top : top + size_px, left : left + size_px])
    return planes


def _transmitted(scene: Scene, optics: Optics, um_per_px: float) -> Floats:
    """Return (H, W), the share of the light that passes in focus: less in dense tissue and steep edges, a little more just outside."""
    slope_x = cv2.Sobel(scene.smooth_um, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * um_per_px))
    slope_y = cv2.Sobel(scene.smooth_um, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * um_per_px))
    steep = slope_x * slope_x + slope_y * slope_y
    steep *= steep
    steep /= steep + np.float32(81.0)  # half of the light is lost where the surface rises 3 in 1
    through = np.exp(-scene.density - np.float32(optics.rim * scene.rim) * steep)
    small = cv2.resize(scene.mask.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    glow = cv2.resize(cv2.GaussianBlur(small, (0, 0), 12 / (4 * um_per_px)), scene.mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(through + np.float32(optics.halo) * glow * ~scene.mask, np.float32)


def _floor_of_well(plate: VirtualPlate, plan: WellPlan, size_px: int) -> Floats:
    """Return the plate's floor as it lies in one well: mirrored and moved, the same on every day."""
    rng = stream(plate.seed, Stream.FLOOR, plate.index, plan.key)
    floor = np.rot90(_floor(plate.seed, plate.index, size_px), int(rng.integers(4)))
    top, left = rng.integers(0, floor.shape[0] - size_px, 2)
    return floor[top : top + size_px, left : left + size_px][:, :: int(rng.choice([-1, 1]))]


def _light(plate: VirtualPlate, plan: WellPlan, bench: Bench, size_px: int, lamp: float) -> Floats:
    """Return (size, size): the light that arrives, as a share of the camera's range."""
    rng = stream(plate.seed, Stream.LIGHT, plate.index, plan.key)
    axis = np.linspace(-0.5, 0.5, 32, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    even = 1 + bench.tilt[0] * x + bench.tilt[1] * y + bench.corners * np.maximum(0, 4 * (x * x + y * y) - 0.8)
    even += np.float32(bench.clouds) * _noise(rng, 4, 32)
    return np.asarray(cv2.resize((even * bench.light * lamp).astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.float32)


def _expose(light: Floats, bench: Bench, noise: Floats) -> npt.NDArray[np.uint16]:
    """Return what the camera counts: shot noise, read noise, its dark level and its bits."""
    np.clip(light, 0.004, 1.0, out=light)
    variance = light * np.float32(1 / bench.optics.photons)
    variance += np.float32(bench.optics.read_noise**2)
    light += noise * np.sqrt(variance) + _DARK_LEVEL
    light *= bench.white
    return np.asarray(np.clip(light, 0, bench.white).astype(np.uint16))
