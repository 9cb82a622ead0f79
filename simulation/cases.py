"""Renders well images in which tissue is difficult to find, with their true masks and conditions.

    image = draw_case(Case.FIBRE, seed=3, size_px=1024)
    image.plane, image.mask, image.condition

A case and a seed give the same scene at every size: it is drawn at one size and resampled. Only the
noise of the camera differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from schemas.ranking import Condition
from simulation.case_parts import artefact_scenes, tissue_scenes
from simulation.case_parts.bodies import DRAWN_PX, Canvas
from simulation.case_parts.camera import Camera, defocus, light_in_focus, record, resample, shine
from simulation.case_parts.objects import Bars, burn_text, paint_bars
from simulation.case_parts.stage import CaseScene
from simulation.kinds import Case
from simulation.random_numbers import RandomPurpose, random_generator
from simulation.scene import Floats

_Recipe = Callable[[np.random.Generator], CaseScene]

_SCENES: dict[Case, _Recipe] = {
    Case.LARGE_BODY: tissue_scenes.large_body,
    Case.TWO_TOUCHING: tissue_scenes.two_touching,
    Case.TOUCHES_TWO_BORDERS: tissue_scenes.touches_two_borders,
    Case.SEVERAL_BODIES: tissue_scenes.several_bodies,
    Case.DISINTEGRATED: tissue_scenes.disintegrated,
    Case.BURST_WITH_CORE: tissue_scenes.burst_with_core,
    Case.FIBRE: artefact_scenes.fibre,
    Case.SCRATCHES: artefact_scenes.scratches,
    Case.BUBBLE: artefact_scenes.bubble,
    Case.WELL_WALL: artefact_scenes.well_wall,
    Case.BURNED_IN_TEXT: artefact_scenes.burned_in_text,
    Case.BLACK_BARS: artefact_scenes.black_bars,
    Case.CONDENSATION: artefact_scenes.condensation,
    Case.UNEVEN_LIGHT: artefact_scenes.uneven_light,
    Case.HOLE: tissue_scenes.hole,
    Case.BRIGHT_ON_DARK: tissue_scenes.bright_on_dark,
    Case.ORGANOIDS: tissue_scenes.organoids,
    Case.BLURRED: artefact_scenes.blurred,
    Case.SHARP_SOFT_EDGE: tissue_scenes.sharp_soft_edge,
    Case.NO_BACKGROUND: tissue_scenes.no_background,
    Case.EMPTY_WITH_DIRT: artefact_scenes.empty_with_dirt,
}

_SMALLEST_BODY_CELLS = 4.0
"""Smallest area of a body that is counted, in squared diameters of a cell."""
_HALF = 0.5  # of a pixel
_SCATTERED = np.float32(0.6)  # brightness of tissue on dark ground; the exposure is chosen for it


@dataclass(frozen=True, eq=False)
class CaseImage:
    """One image of a case with its truth."""

    case: Case
    plane: npt.NDArray[np.uint16]  # (H, W), white = 65535
    mask: npt.NDArray[np.bool_]  # (H, W): tissue without holes and without single cells
    condition: Condition | None  # None for an empty well and a field without background
    bodies: int  # number; two bodies that touch are two
    fragmentation: float  # 0 = intact … 1
    blurred: bool  # unusable because of a failed autofocus
    um_per_px: float | None  # None: the scale is unknown


@dataclass(frozen=True, eq=False)
class _LitScene:
    """A scene after the lighting, before the camera; it does not depend on the size."""

    light: Floats  # (DRAWN_PX, DRAWN_PX), as a share of the camera's range
    level: float  # light around which the camera changes the contrast
    cover: Floats  # (DRAWN_PX, DRAWN_PX): share of each pixel that tissue covers
    camera: Camera
    condition: Condition | None  # this and the next three as in CaseImage
    bodies: int
    fragmentation: float
    blurred: bool
    field_um: float | None  # side of the field; None if the scale is unknown
    text: bool
    bars: Bars | None


def draw_case(case: Case, seed: int, size_px: int) -> CaseImage:
    """Return the image of a case and a seed with a side of ``size_px`` pixels, with its truth.

    The scene is the same at every size. Images of one scene are fastest one after the other.
    """
    lit = _light(case, seed)
    noise = random_generator(seed, RandomPurpose.CASE, *case.encode(), 1, size_px)
    plane = record(lit.light, lit.camera, lit.level, size_px, noise)
    overlay = random_generator(seed, RandomPurpose.CASE, *case.encode(), 2)
    if lit.text:
        burn_text(plane, overlay)
    if lit.bars is not None:
        paint_bars(plane, lit.bars, overlay)
    return CaseImage(
        case=case,
        plane=plane,
        mask=resample(lit.cover, size_px) >= _HALF,
        condition=lit.condition,
        bodies=lit.bodies,
        fragmentation=lit.fragmentation,
        blurred=lit.blurred,
        um_per_px=None if lit.field_um is None else lit.field_um / size_px,
    )


def reduce_case(image: CaseImage, size_px: int) -> CaseImage:
    """Return a larger CaseImage reduced by area to a side of ``size_px`` pixels."""
    before = len(image.plane)
    if size_px > before:
        raise ValueError(f"{size_px} pixels are more than the {before} of the image")
    shape = (size_px, size_px)
    plane = cv2.resize(image.plane, shape, interpolation=cv2.INTER_AREA)
    # Without the blur many pixels would be covered by exactly a half.
    cover = cv2.GaussianBlur(image.mask.astype(np.float32), (0, 0), before / (4 * size_px))
    cover = cv2.resize(cover, shape, interpolation=cv2.INTER_AREA)
    scale = None if image.um_per_px is None else image.um_per_px * before / size_px
    return replace(image, plane=np.asarray(plane, np.uint16), mask=cover >= _HALF, um_per_px=scale)


@lru_cache(maxsize=2)
def _light(case: Case, seed: int) -> _LitScene:
    """Return the scene of a case and a seed after the lighting."""
    rng = random_generator(seed, RandomPurpose.CASE, *case.encode())
    scene = _SCENES[case](rng)
    passed = light_in_focus(scene.canvas, scene.scope, seed)
    if scene.bright > 0:
        passed = _bright_on_dark(scene, passed)
    if scene.blur > 0:
        passed = defocus(passed, scene.blur, disc=scene.disc_blur)
    light = passed * shine(scene.scope.light, rng)
    cover = scene.canvas.cover
    if scene.bars is not None:
        cover = _within_bars(cover, scene.bars)
    return _LitScene(
        light=light,
        level=scene.scope.light.level * (scene.bright or 1.0),
        cover=cover,
        camera=scene.scope.camera,
        condition=scene.condition,
        bodies=_count_bodies(scene.canvas) if scene.bodies is None else scene.bodies,
        fragmentation=scene.fragmentation,
        blurred=scene.blur > 0,
        field_um=scene.canvas.field_um if scene.has_scale else None,
        text=scene.text,
        bars=scene.bars,
    )


def _bright_on_dark(scene: CaseScene, passed: Floats) -> Floats:
    """Return the light of tissue that is brighter than its ground, from its bright-field light.

    Tissue scatters the light that it removes in bright field. Phase contrast adds a dark seam.
    """
    scattered = np.maximum(1 - passed, 0)
    scattered *= _SCATTERED / max(
        float(np.quantile(scattered[scene.canvas.cover >= _HALF], 0.8)), 0.05
    )
    ground = np.float32(scene.bright)
    if not scene.phase:
        return np.asarray(ground + (1 - ground) * np.float32(0.9) * scattered, np.float32)
    wide = defocus(scattered, 0.012, disc=False)
    detail = scattered - defocus(scattered, 0.004, disc=False)
    light = ground + np.float32(0.55) * scattered + np.float32(0.35) * detail
    return np.asarray(
        np.maximum(light - np.float32(0.12) * wide * (scattered < wide), 0.01), np.float32
    )


def _within_bars(cover: Floats, bars: Bars) -> Floats:
    """Return the cover by tissue without the part behind black bars."""
    left, right, top, bottom = (round(width * DRAWN_PX) for width in bars)
    visible = np.zeros_like(cover)
    rows, columns = slice(top, DRAWN_PX - bottom), slice(left, DRAWN_PX - right)
    visible[rows, columns] = cover[rows, columns]
    return visible


def _count_bodies(canvas: Canvas) -> int:
    """Return the number of connected parts of the tissue that are larger than a few cells."""
    mask = (canvas.cover >= _HALF).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    smallest = _SMALLEST_BODY_CELLS * (canvas.cell * DRAWN_PX) ** 2
    return int(np.count_nonzero(stats[1:, cv2.CC_STAT_AREA] >= smallest))
