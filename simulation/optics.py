"""Renders the planes that a bright-field microscope records of a scene, with camera noise.

Tissue absorbs light (optical density), and its steep edge deflects light past the objective.
Tissue also refracts light: out of focus by z, the image gains −z·∇²(height), the transport of
intensity (Teague 1983, doi:10.1364/JOSA.73.001434). It turns rims and cells from dark to bright
through focus.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from simulation.kinds import OpticsName
from simulation.plate import VirtualPlate, WellPlan
from simulation.random_numbers import RandomPurpose, random_generator
from simulation.scene import Floats, Scene, smooth_noise
from simulation.tissue import FIELD_UM

RENDERER_VERSION = 2
PLANES = 3
_DARK_LEVEL = np.float32(0.01)  # of the camera's range
_NOISE_MARGIN_PX = 64
_REFRACTION_LIMIT_UM = 90.0
"""Defocus up to which the transport of intensity is used; farther away there is only blur."""
_FLOOR_DEPTH_UM = 60.0  # of the plate's floor below the centre of the tissue
_FLOOR_MARGIN = 1.15  # side of the drawn floor of a plate, in fields
FLOOR_BENDING = 0.035  # refraction of the floor's texture relative to that of tissue


@dataclass(frozen=True)
class Optics:
    """Properties of a microscope, before the variation between plates."""

    light: float = 0.6  # of the camera's range, without tissue
    tilt: float = 0.06  # relative change of the light across the field
    clouds: float = 0.03  # relative variation of the light by uneven liquid and plastic
    blur_um: float = 1.6  # SD in focus
    blur_per_defocus: float = 0.15  # µm of blur per µm of defocus
    bending: float = 0.012  # refraction: twice the difference of the refractive index
    rim: float = 1.0  # factor of the darkness of steep edges
    halo: float = 0.10  # brightness of the seam around the body at any focus
    photons: float = 9000.0  # in a pixel at full range
    read_noise: float = 0.002  # of the camera's range
    focus_step_um: float = 45.0


OPTICS: dict[OpticsName, Optics] = {
    OpticsName.DEFAULT: Optics(),
    OpticsName.DIM: Optics(light=0.22, photons=4000.0, read_noise=0.003),
    OpticsName.PHASE_RIM: Optics(bending=0.024, rim=1.8, halo=0.28),
    OpticsName.LOW_NA: Optics(blur_um=3.5, blur_per_defocus=0.10, rim=1.6, bending=0.016),
    OpticsName.TILTED: Optics(tilt=0.45, clouds=0.07),
}


@dataclass(frozen=True)
class ImagingConditions:
    """State of the microscope during the imaging of one plate."""

    optics: Optics
    white: int  # largest count of the camera: 4095 or 65535
    light: float
    tilt: tuple[float, float]  # relative change of the light across the field, x and y
    corners: float  # relative brightening in the corners, towards the wall of the well
    scratches: float  # strength of the texture of the plate's floor
    clouds: float
    plate_slope_um: tuple[float, float]  # change of focus per row and per column
    focus_offset_um: float


def choose_imaging_conditions(plate: VirtualPlate, optics: Optics) -> ImagingConditions:
    """Return random imaging conditions of a virtual plate under a microscope's optics."""
    rng = random_generator(plate.seed, RandomPurpose.IMAGING_CONDITIONS, plate.index)
    direction = rng.uniform(0, 2 * np.pi)
    tilt = optics.tilt * rng.uniform(0.5, 1.5)
    return ImagingConditions(
        optics=optics,
        white=int(rng.choice([4095, 65535])),
        light=float(optics.light * rng.uniform(0.85, 1.1)),
        tilt=(float(tilt * np.cos(direction)), float(tilt * np.sin(direction))),
        corners=float(rng.uniform(0, 0.12)),
        scratches=float(rng.uniform(0.0, 0.5)),
        clouds=float(optics.clouds * rng.uniform(0.2, 1.6)),
        plate_slope_um=(float(rng.normal(0, 0.8)), float(rng.normal(0, 0.8))),
        focus_offset_um=float(rng.normal(0, 5)),
    )


@lru_cache(maxsize=4)
def floor_texture(seed: int, plate_index: int, size_px: int) -> Floats:
    """Return the texture of a plate's moulded floor: radial scratches and fine pits, SD about 1.

    The square is 1.15 times as wide as the field.
    """
    rng = random_generator(seed, RandomPurpose.FLOOR, plate_index)
    side = round(_FLOOR_MARGIN * size_px)
    polar = cv2.GaussianBlur(
        rng.standard_normal((900, 48), dtype=np.float32), (0, 0), sigmaX=0.8, sigmaY=0.7
    )
    scratches = cv2.warpPolar(
        polar,
        (side, side),
        (side / 2, side / 2),
        side * 0.75,
        cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    blotches = smooth_noise(rng, 12, side)
    floor = (
        scratches / scratches.std() * np.clip(0.8 + 0.6 * blotches, 0, 2)
        + 0.7 * smooth_noise(rng, 240, side)
        + 0.5 * smooth_noise(rng, 100, side)
    )
    return np.asarray(floor, np.float32)


@dataclass(frozen=True, eq=False)
class Transmission:
    """Optical maps of a field, (H, W); they do not depend on the focus of the objective."""

    in_focus: Floats  # share of the light that passes in focus
    curvature: Floats  # share of the light that refraction removes per µm of defocus
    floor: Floats  # the same for the plate's floor
    um_per_px: float


def render_planes(
    scene: Scene,
    plate: VirtualPlate,
    plan: WellPlan,
    day: int,
    conditions: ImagingConditions,
    *,
    blurred: bool = False,
) -> npt.NDArray[np.uint16]:
    """Return a scene's planes, (3, H, W) uint16, as recorded of a planned well on a culture day.

    The planes are from below to above the tissue's centre.

    Parameters
    ----------
    scene
        Content of the field.
    plate, plan, day
        Plate, well and culture day; they determine focus errors and noise.
    conditions
        State of the microscope.
    blurred
        Whether all planes are far out of focus.
    """
    field = compute_transmission(scene, plate, plan, conditions)
    return record_planes(
        lambda z_um: transmitted_light(field, conditions.optics, z_um),
        scene.mask.shape[0],
        plate,
        plan,
        day,
        conditions,
        blurred=blurred,
    )


def record_planes(
    transmitted: Callable[[float], Floats],
    size_px: int,
    plate: VirtualPlate,
    plan: WellPlan,
    day: int,
    conditions: ImagingConditions,
    *,
    blurred: bool = False,
) -> npt.NDArray[np.uint16]:
    """Return the planes, (3, H, W) uint16, that a camera records of a planned well on a day.

    The planes are from below to above the tissue's centre.

    Parameters
    ----------
    transmitted
        Returns the share of the light, (H, W) float32, that passes the field with the focus at a
        height in µm above the centre of the tissue.
    size_px
        Side of the field in pixels.
    plate, plan, day
        Plate, well and culture day; they determine light, focus errors and noise.
    conditions
        State of the microscope.
    blurred
        Whether all planes are far out of focus.
    """
    optics = conditions.optics
    rng = random_generator(plate.seed, RandomPurpose.CAMERA, plate.index, plan.key, day)
    light = illumination(plate, plan, conditions, size_px, float(rng.normal(1, 0.01)))
    offset = (
        conditions.focus_offset_um
        + conditions.plate_slope_um[0] * (plan.row - 4.5)
        + conditions.plate_slope_um[1] * (plan.column - 6.5)
        + rng.normal(0, 3)
    )
    offset = float(np.clip(offset, -0.45 * optics.focus_step_um, 0.45 * optics.focus_step_um))
    if blurred:
        offset += float(rng.uniform(28, 45)) / optics.blur_per_defocus * float(rng.choice([-1, 1]))
    planes = np.empty((PLANES, size_px, size_px), np.uint16)
    # Each plane uses another part of one frame of noise, because its generation is slow.
    noise = rng.standard_normal(
        (size_px + _NOISE_MARGIN_PX, size_px + _NOISE_MARGIN_PX), dtype=np.float32
    )
    for number in range(PLANES):
        z_um = (number - PLANES // 2) * optics.focus_step_um + offset
        passed = transmitted(z_um)
        top, left = rng.integers(0, _NOISE_MARGIN_PX, 2)
        planes[number] = expose_camera(
            passed * light, conditions, noise[top : top + size_px, left : left + size_px]
        )
    return planes


def compute_transmission(
    scene: Scene, plate: VirtualPlate, plan: WellPlan, conditions: ImagingConditions
) -> Transmission:
    """Return the optical maps of a scene in a well of a plate under given conditions."""
    size_px = scene.mask.shape[0]
    floor = floor_of_well(plate, plan, conditions, size_px)
    return transmission_of_scene(scene, conditions.optics, floor, FIELD_UM / size_px)


def transmission_of_scene(
    scene: Scene, optics: Optics, floor: Floats, um_per_px: float
) -> Transmission:
    """Return the optical maps of a scene of any scale over a floor, (H, W)."""
    height = cv2.GaussianBlur(scene.height_um, (0, 0), max(0.5, 2.0 / um_per_px))
    curvature = cv2.Laplacian(height, cv2.CV_32F, ksize=1) / np.float32(um_per_px**2)
    np.clip(curvature, -0.6, 0.6, out=curvature)
    in_focus = _transmitted(scene, optics, um_per_px)
    curvature *= np.float32(optics.bending)
    return Transmission(in_focus, curvature, floor, um_per_px)


def transmitted_light(field: Transmission, optics: Optics, z_um: float) -> Floats:
    """Return the share of light, (H, W), that passes optical maps at a focus height in µm.

    ``z_um`` is the height of the focus above the centre of the tissue.
    """
    blur_px = math.hypot(optics.blur_um, optics.blur_per_defocus * z_um) / field.um_per_px
    bending_um = np.float32(np.clip(z_um, -_REFRACTION_LIMIT_UM, _REFRACTION_LIMIT_UM))
    sharp = (
        field.in_focus * (1 - field.floor * (bending_um + _FLOOR_DEPTH_UM))
        - field.curvature * bending_um
    )
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), max(blur_px, 0.3)), np.float32)


def _transmitted(scene: Scene, optics: Optics, um_per_px: float) -> Floats:
    """Return the share of the light, (H, W), that passes a scene in focus.

    It is lower in dense tissue and steep edges and a little higher just outside the tissue.
    """
    slope_x = cv2.Sobel(scene.smooth_um, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * um_per_px))
    slope_y = cv2.Sobel(scene.smooth_um, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * um_per_px))
    steep = slope_x * slope_x + slope_y * slope_y
    steep *= steep
    steep /= steep + np.float32(81.0)  # half of the light is lost at a slope of 3
    transmitted = np.exp(-scene.density - np.float32(optics.rim * scene.rim) * steep)
    small = cv2.resize(
        scene.mask.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA
    )
    glow = cv2.resize(
        cv2.GaussianBlur(small, (0, 0), 12 / (4 * um_per_px)),
        scene.mask.shape[::-1],
        interpolation=cv2.INTER_LINEAR,
    )
    return np.asarray(transmitted + np.float32(optics.halo) * glow * ~scene.mask, np.float32)


def floor_of_well(
    plate: VirtualPlate, plan: WellPlan, conditions: ImagingConditions, size_px: int
) -> Floats:
    """Return the refraction by the floor of one well, (size, size), the same on every day.

    The unit is the share of the light that is removed per µm of defocus. It is a random part of the
    plate's floor, turned and mirrored.
    """
    rng = random_generator(plate.seed, RandomPurpose.FLOOR, plate.index, plan.key)
    floor = np.rot90(floor_texture(plate.seed, plate.index, size_px), int(rng.integers(4)))
    top, left = rng.integers(0, floor.shape[0] - size_px, 2)
    part = floor[top : top + size_px, left : left + size_px][:, :: int(rng.choice([-1, 1]))]
    return part * np.float32(conditions.optics.bending * FLOOR_BENDING * conditions.scratches)


def illumination(
    plate: VirtualPlate, plan: WellPlan, conditions: ImagingConditions, size_px: int, lamp: float
) -> Floats:
    """Return a well's light without a scene, (size_px, size_px), as a share of the camera's range.

    ``lamp`` is the relative brightness of the lamp.
    """
    rng = random_generator(plate.seed, RandomPurpose.LIGHT, plate.index, plan.key)
    axis = np.linspace(-0.5, 0.5, 32, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    even = (
        1
        + conditions.tilt[0] * x
        + conditions.tilt[1] * y
        + conditions.corners * np.maximum(0, 4 * (x * x + y * y) - 0.8)
    )
    even += np.float32(conditions.clouds) * smooth_noise(rng, 4, 32)
    return np.asarray(
        cv2.resize(
            (even * conditions.light * lamp).astype(np.float32),
            (size_px, size_px),
            interpolation=cv2.INTER_CUBIC,
        ),
        np.float32,
    )


def expose_camera(
    light: Floats, conditions: ImagingConditions, noise: Floats
) -> npt.NDArray[np.uint16]:
    """Return the camera's counts, (H, W) uint16, from light and noise, (H, W) float32 each.

    Shot noise, read noise and dark level are added; ``noise`` is standard normal, (H, W). The array
    ``light`` is overwritten.
    """
    np.clip(light, 0.004, 1.0, out=light)
    variance = light * np.float32(1 / conditions.optics.photons)
    variance += np.float32(conditions.optics.read_noise**2)
    light += noise * np.sqrt(variance) + _DARK_LEVEL
    light *= conditions.white
    return np.asarray(np.clip(light, 0, conditions.white).astype(np.uint16))
