"""Passes light through a field with tissue: absorption, refraction as by lenses, and defocus."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from simulation.laboratories.canvas import blur
from simulation.optics import Optics
from simulation.scene import Floats

_LENS_LIMITS = (0.55, 1.9)
"""Smallest and largest factor by which refraction widens a bundle of rays."""
_LARGEST_DEFOCUS_UM = 90.0  # up to which rays are followed; beyond there is only blur
_HALF_LOSS_SLOPE = 2.2  # slope of the surface at which half of the light misses the objective
_HALO_UM = 11.0  # distance at which deflected light appears


@dataclass(frozen=True)
class OpticalField:
    """Maps, (GRID, GRID), of a field with tissue."""

    density: Floats  # natural-log optical density
    height_um: Floats  # height of the objects, which refract light
    step_um: float  # distance of neighbouring points


def transmit(
    field: OpticalField,
    z_um: float,
    optics: Optics,
    *,
    rim: float,
    oblique: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Return the share of the light, (GRID, GRID), that passes a field to an objective.

    Light is absorbed (Beer and Lambert). Every point of the surface is a small lens: at a distance
    z the rays of a bundle are spread by det(1 + z·b·H), where H is the Hessian of the height and b
    the bending of the light, so that the brightness is the inverse (geometrical optics). Light at
    steep slopes misses the objective and appears as a halo.

    Parameters
    ----------
    field
        Optical density and height.
    z_um
        Height of the focus above the centre of the tissue.
    optics
        Microscope.
    rim
        Factor of the loss of light at steep slopes.
    oblique
        Relative change of the brightness per slope, x and y, by oblique illumination.
    """
    step = field.step_um
    height = cv2.GaussianBlur(field.height_um, (0, 0), max(0.6, 2.5 / step))
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * step))
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * step))
    steep = slope_x * slope_x + slope_y * slope_y
    lost = np.asarray(
        np.float32(rim * optics.rim) * steep / (steep + np.float32(_HALF_LOSS_SLOPE**2)), np.float32
    )
    passed: Floats = np.exp(-field.density - lost)
    lens = np.float32(
        optics.bending * float(np.clip(z_um, -_LARGEST_DEFOCUS_UM, _LARGEST_DEFOCUS_UM))
    )
    across = cv2.Sobel(slope_x, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * step)) * lens
    along = cv2.Sobel(slope_y, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * step)) * lens
    mixed = cv2.Sobel(slope_x, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * step)) * lens
    spread = (1 + across) * (1 + along) - mixed * mixed
    passed /= np.clip(spread, *_LENS_LIMITS)
    if any(oblique):
        tilt = np.float32(oblique[0]) * slope_x + np.float32(oblique[1]) * slope_y
        passed *= 1 + np.clip(tilt, -0.25, 0.25)
    if optics.halo > 0:
        passed += np.float32(optics.halo) * blur(lost, _HALO_UM / step)
    sigma = math.hypot(optics.blur_um, optics.blur_per_defocus * z_um) / step
    return np.asarray(cv2.GaussianBlur(passed, (0, 0), max(sigma, 0.3)), np.float32)
