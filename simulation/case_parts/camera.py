"""Lights the drawing of a field and records it with a random camera."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from simulation.case_parts.bodies import DRAWN_PX, Canvas
from simulation.kinds import OpticsName
from simulation.optics import (
    FLOOR_BENDING,
    OPTICS,
    ImagingConditions,
    Optics,
    expose_camera,
    floor_texture,
    transmission_of_scene,
    transmitted_light,
)
from simulation.scene import Floats, smooth_noise

_GRID = 64  # side of the grid on which light is computed
_BLUR_PX = 512  # side at which strong blur is computed
_WHITE = 65535


@dataclass(frozen=True)
class Light:
    """Light of a field without tissue; the values are relative to the centre."""

    level: float  # of the camera's range
    tilt: float = 0.05  # relative change across the field
    direction: float = 0.0  # of the tilt, in radians
    vignette: float = 0.05  # relative loss of light in the corners
    clouds: float = 0.02
    shadow: float = 0.0  # share of the light that a shadow removes
    shadow_at: float = 0.0  # position of its edge from the centre of the field
    shadow_width: float = 0.1  # of its gradual edge


@dataclass(frozen=True)
class Camera:
    """Properties of a camera and its file."""

    levels: int  # largest value of the file
    photons: float
    read_noise: float
    black: float  # value without light, as a share of the range
    gain: float = 1.0  # contrast around the level of the light
    glare: float = 0.02  # share of the light that reaches every pixel


@dataclass(frozen=True)
class Microscope:
    """Optics, light and camera of one image."""

    optics: Optics
    light: Light
    camera: Camera
    focus_um: float
    rim: float
    scratches: float


def random_microscope(rng: np.random.Generator) -> Microscope:
    """Return a microscope with random optics, light and camera."""
    name = list(OpticsName)[int(rng.integers(len(OpticsName)))]
    optics = OPTICS[name]
    level = float(rng.uniform(0.3, 0.8))
    return Microscope(
        optics=replace(
            optics, blur_um=float(rng.uniform(0.8, 2.5)), halo=optics.halo * float(rng.random())
        ),
        light=Light(
            level=level,
            tilt=float(rng.uniform(0, 0.15)),
            direction=float(rng.uniform(0, 2 * np.pi)),
            vignette=float(rng.uniform(0, 0.15)),
            clouds=float(rng.uniform(0, 0.04)),
        ),
        camera=Camera(
            levels=int(rng.choice([255, 255, 1023, 4095, 65535])),
            photons=float(np.exp(rng.uniform(np.log(2000), np.log(20000)))),
            read_noise=float(rng.uniform(0.001, 0.004)),
            black=float(rng.choice([0.0, 0.01, 0.03])),
            gain=float(rng.uniform(0.7, 1.15)),
            glare=float(rng.uniform(0.0, 0.05)),
        ),
        focus_um=float(rng.normal(0, 6)),
        rim=float(rng.uniform(0.4, 1.5)),
        scratches=float(rng.uniform(0, 0.5)),
    )


def light_in_focus(canvas: Canvas, scope: Microscope, seed: int) -> Floats:
    """Return the share of the light, (DRAWN_PX, DRAWN_PX), that passes the content of a field."""
    floor = floor_texture(seed, 0, DRAWN_PX)
    top, left = (canvas.rng.uniform(0, 1, 2) * (len(floor) - DRAWN_PX)).astype(int)
    floor = floor[top : top + DRAWN_PX, left : left + DRAWN_PX] * np.float32(
        scope.optics.bending * FLOOR_BENDING * scope.scratches
    )
    scene = canvas.scene(scope.rim)
    field = transmission_of_scene(scene, scope.optics, floor, canvas.um_per_px)
    # The focus error and the texture of the floor are relative to the usual field.
    passed = np.maximum(transmitted_light(field, scope.optics, scope.focus_um), 0)
    glare = np.float32(scope.camera.glare)
    return np.asarray(passed * canvas.veil * (1 - glare) + glare, np.float32)


def shine(light: Light, rng: np.random.Generator) -> Floats:
    """Return the light of a field without tissue, (DRAWN_PX, DRAWN_PX), as a share of the range."""
    axis = ((np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID - 0.5).astype(np.float32)
    x, y = axis[None, :], axis[:, None]
    along = x * np.float32(np.cos(light.direction)) + y * np.float32(np.sin(light.direction))
    even = (1 + light.tilt * along) * (1 - light.vignette * 2 * (x * x + y * y))
    even = even + np.float32(light.clouds) * smooth_noise(rng, 5, _GRID)
    wide = cv2.resize(even.astype(np.float32), (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC)
    if light.shadow > 0:
        axis = ((np.arange(DRAWN_PX, dtype=np.float32) + 0.5) / DRAWN_PX - 0.5).astype(np.float32)
        along = axis[None, :] * np.float32(np.cos(light.direction)) + axis[:, None] * np.float32(
            np.sin(light.direction)
        )
        beyond = np.clip((along - light.shadow_at) / light.shadow_width + 0.5, 0, 1)
        wide = wide * (1 - np.float32(light.shadow) * beyond * beyond * (3 - 2 * beyond))
    return np.asarray(np.maximum(wide, 0.01) * np.float32(light.level), np.float32)


def defocus(image: Floats, sigma: float, *, disc: bool) -> Floats:
    """Return an image, (DRAWN_PX, DRAWN_PX), blurred by a Gaussian or a disc of a given SD.

    ``sigma`` is a share of the side of the field.
    """
    small = cv2.resize(image, (_BLUR_PX, _BLUR_PX), interpolation=cv2.INTER_AREA)
    sigma_px = sigma * _BLUR_PX
    if disc:
        radius = 2 * sigma_px  # the SD of a disc along one axis is half of its radius
        axis = np.arange(-int(radius) - 1, int(radius) + 2)
        kernel = np.clip(radius + 0.5 - np.hypot(axis[None, :], axis[:, None]), 0, 1)
        kernel = (kernel / kernel.sum()).astype(np.float32)
        small = cv2.filter2D(small, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
        sigma_px = max(0.3 * sigma_px, 1.0)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_CUBIC))


def record(
    light: Floats, camera: Camera, level: float, size_px: int, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Return the plane, (size_px, size_px) uint16 with white = 65535, that a camera records.

    Parameters
    ----------
    light
        (DRAWN_PX, DRAWN_PX) light as a share of the camera's range.
    camera
        Noise, contrast and number of grey levels.
    level
        Light without tissue, around which the contrast is changed.
    size_px
        Side of the plane.
    rng
        Generator of the noise.
    """
    sized = resample(light, size_px)
    sized = np.float32(level) + (sized - np.float32(level)) * np.float32(camera.gain)
    optics = Optics(photons=camera.photons, read_noise=camera.read_noise)
    conditions = ImagingConditions(
        optics, _WHITE, level, (0.0, 0.0), 0.0, 0.0, 0.0, (0.0, 0.0), 0.0
    )
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32)
    counts = expose_camera(np.asarray(sized, np.float32), conditions, noise).astype(np.float32)
    grey = np.round((counts / _WHITE * (1 - camera.black) + camera.black) * camera.levels)
    return np.asarray(
        np.round(np.clip(grey, 0, camera.levels) * (_WHITE / camera.levels)), np.uint16
    )


def resample(image: Floats, size_px: int) -> Floats:
    """Return a square image resampled to a side of ``size_px`` pixels, reduced by area."""
    if len(image) == size_px:
        return image.copy()
    kind = cv2.INTER_AREA if size_px < len(image) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=kind), np.float32)
