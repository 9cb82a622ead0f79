"""Generate virtual well images with true masks, and perturbed copies of them as on real plates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from simulation.kinds import OpticsName
from simulation.microscope import Fault, VirtualMicroscope, virtual_microscopes
from simulation.optics import render_planes
from simulation.plate import CULTURE_DAYS, WellPlan
from simulation.scene import Scene, draw_scene
from simulation.tissue import FIELD_UM, Tissue, simulate_tissue

Plane = npt.NDArray[np.uint16]  # (H, W), white = 65535
Mask = npt.NDArray[np.bool_]  # (H, W)
PlaneAndMask = tuple[Plane, Mask]

PLAIN = "plain"
SHARP = 1  # index of the plane in focus, the middle one
HALF_COVERED = 0.5


@dataclass(frozen=True, eq=False)
class PerturbedPlane:
    """One plane of one kind with its true mask; the mask of an empty well has no pixels."""

    kind: str
    plane: Plane
    mask: Mask


def perturbed_planes(seeds: range, size_px: int, wells: int) -> Iterator[PerturbedPlane]:
    """Yield PerturbedPlanes (plain, perturbed, empty) of virtual wells for each seed.

    Each has its true mask.

    Each seed has its own plate and the next of the microscopes; the wells cycle through the days.
    """
    for seed in seeds:
        rng = np.random.default_rng(seed)
        (scope,) = virtual_microscopes(
            1, seed, size_px, optics=list(OpticsName)[seed % len(OpticsName)]
        )
        for number in range(wells):
            plan = scope.plate.wells[int(rng.integers(len(scope.plate.wells)))]
            day = CULTURE_DAYS[(seed + number) % len(CULTURE_DAYS)]
            plain = _render_well(scope, plan, day)
            yield PerturbedPlane(PLAIN, *plain)
            yield PerturbedPlane("border-cut", *_render_well(scope, plan, day, Fault.CUT))
            yield PerturbedPlane(
                "debris ×5",
                *_render_tissue(
                    scope,
                    plan,
                    day,
                    _with_more_debris(simulate_tissue(scope.plate, plan, day, scope.cell_line)),
                ),
            )
            yield PerturbedPlane("second object", *_with_second_object(scope, plan, day, rng))
            for kind, change in CHANGES.items():
                yield PerturbedPlane(kind, *change(*plain, rng))
            empty = _render_well(scope, plan, day, Fault.EMPTY)
            yield PerturbedPlane("empty", *empty)
            empty_with_debris = replace(
                _with_more_debris(simulate_tissue(scope.plate, plan, day, scope.cell_line)),
                present=False,
            )
            yield PerturbedPlane(
                "empty, debris ×5", *_render_tissue(scope, plan, day, empty_with_debris)
            )
            for kind in ("blur σ 5", "tilt ×3", "whole well", "12 in 16 bits"):
                yield PerturbedPlane(f"empty, {kind}", *CHANGES[kind](*empty, rng))


def _render_well(
    scope: VirtualMicroscope, plan: WellPlan, day: int, fault: Fault | None = None
) -> PlaneAndMask:
    """Return the plane in focus of a well with an optional fault, and its true mask."""
    view = scope.render(plan, day, fault)
    return _scale_to_white(view.planes[SHARP], scope.conditions.white), view.mask


def _render_tissue(
    scope: VirtualMicroscope, plan: WellPlan, day: int, tissue: Tissue, beside: Scene | None = None
) -> PlaneAndMask:
    """Return the plane in focus of a well with a given tissue and its mask.

    ``beside`` is the scene of another object in the field.
    """
    scene = draw_scene(tissue, scope.size_px)
    mask = scene.mask
    if beside is not None:
        height = scene.height_um + beside.height_um
        scene = Scene(
            mask | beside.mask,
            scene.density + beside.density,
            height,
            scene.smooth_um + beside.smooth_um,
            scene.rim,
        )
    return _scale_to_white(
        render_planes(scene, scope.plate, plan, day, scope.conditions)[SHARP],
        scope.conditions.white,
    ), mask


def _scale_to_white(plane: Plane, white: int) -> Plane:
    """Return a camera plane (H, W) as uint16 scaled so that white is 65535, as the reader does."""
    return np.round(plane * (65535 / white)).astype(np.uint16)


def _with_more_debris(tissue: Tissue) -> Tissue:
    """Return a tissue with five times the debris and loose cells."""
    return replace(tissue, debris=5 * tissue.debris, loose_cells=5 * tissue.loose_cells)


def _with_second_object(
    scope: VirtualMicroscope, plan: WellPlan, day: int, rng: np.random.Generator
) -> PlaneAndMask:
    """Return a well with a second object near a corner of the field, and the mask of the first.

    The object is a fibre, or tissue of at most half the radius.
    """
    tissue = simulate_tissue(scope.plate, plan, day, scope.cell_line)
    if rng.random() < 0.5:  # noqa: PLR2004 - even odds
        plane, mask = _render_well(scope, plan, day)
        return _with_fibre(plane, rng), mask
    corner = rng.choice([-1, 1], 2) * rng.uniform(0.36, 0.40, 2) * FIELD_UM
    stray = replace(
        tissue,
        radius_um=0.5 * min(tissue.radius_um, 0.15 * FIELD_UM),
        centre_um=(float(corner[0]), float(corner[1])),
    )
    stray = replace(stray, burst=0.0, debris=0, loose_cells=0)
    return _render_tissue(scope, plan, day, tissue, draw_scene(stray, scope.size_px))


def _with_fibre(plane: Plane, rng: np.random.Generator) -> Plane:
    """Draw a dark fibre of 15 µm from the border through a corner of the field."""
    size = len(plane)
    along = np.linspace(0, 0.35, 40)
    path = (
        np.stack(
            [0.02 + along, 0.25 - 0.6 * along + rng.uniform(0.02, 0.05) * np.sin(12 * along)],
            axis=1,
        )
        * size
    )
    shade = np.zeros(plane.shape, np.uint8)
    cv2.polylines(
        shade,
        [np.round(path * 8).astype(np.int32)],
        False,
        255,
        max(round(15 / FIELD_UM * size), 1),
        cv2.LINE_AA,
        3,
    )
    shade = np.rot90(shade, int(rng.integers(4)))
    return np.round(plane * (1 - 0.8 * shade / 255)).astype(np.uint16)


def _blurred(sigma_px: float) -> Callable[[Plane, Mask, np.random.Generator], PlaneAndMask]:
    """Return a function that blurs a plane by a Gaussian with this standard deviation."""

    def change(plane: Plane, mask: Mask, _rng: np.random.Generator) -> PlaneAndMask:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), np.uint16), mask

    return change


def _tilted(plane: Plane, mask: Mask, rng: np.random.Generator) -> PlaneAndMask:
    """Return a well whose illumination falls to a third across the field, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : plane.shape[0] * 1j, -0.5 : 0.5 : plane.shape[1] * 1j]
    along = np.cos(angle) * x + np.sin(angle) * y
    along = (along - along.min()) / np.ptp(along)
    return np.round(plane * ((1 + 2 * along) / 3)).astype(np.uint16), mask


def _twelve_bits(plane: Plane, mask: Mask, _rng: np.random.Generator) -> PlaneAndMask:
    """Return the plane with 12-bit values in 16 bits, which is nearly black if white is 65535."""
    return np.asarray(plane >> 4, np.uint16), mask


def _from_afar(plane: Plane, mask: Mask, share: float) -> PlaneAndMask:
    """Return the field scaled down to ``share`` of its size, within its extrapolated background.

    The background continues the brightness and the noise at the border of the field.
    """
    size = len(plane)
    inner = round(share * size)
    margin = (size - inner) // 2
    after = size - inner - margin
    small = cv2.resize(plane, (inner, inner), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(mask.astype(np.float32), (inner, inner), interpolation=cv2.INTER_AREA)
    small_mask = cover >= HALF_COVERED
    light = cv2.GaussianBlur(
        cv2.copyMakeBorder(small, margin, after, margin, after, cv2.BORDER_REPLICATE).astype(
            np.float32
        ),
        (0, 0),
        size / 60,
    )
    noise = small[: inner // 8, : inner // 8].astype(np.float32)
    noise = np.tile(noise - cv2.GaussianBlur(noise, (0, 0), 4), (size * 8 // inner + 2,) * 2)[
        :size, :size
    ]
    out = np.clip(np.round(light + noise), 0, 65535).astype(np.uint16)
    out[margin : margin + inner, margin : margin + inner] = small
    whole = np.zeros(mask.shape, dtype=bool)
    whole[margin : margin + inner, margin : margin + inner] = small_mask
    return out, whole


def _whole_well(plane: Plane, mask: Mask, rng: np.random.Generator) -> PlaneAndMask:
    """Return a reduced view with the well's dark rim, slightly off centre, and its surroundings."""
    plane, mask = _from_afar(plane, mask, float(rng.uniform(0.35, 0.6)))
    size = len(plane)
    x0, y0 = rng.uniform(-0.02, 0.02, 2)
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j]
    radius = np.hypot(x - x0, y - y0)
    inner, width = rng.uniform(0.38, 0.44), rng.uniform(0.02, 0.05)
    beyond = np.clip((radius - inner) * 200, 0, 1)
    ring = beyond * np.clip((inner + width - radius) * 200, 0, 1)
    transmitted = 1 - ring * rng.uniform(0.5, 0.9) - (beyond - ring) * rng.uniform(0.0, 0.6)
    return np.round(plane * transmitted).astype(np.uint16), mask


def _closer(plane: Plane, mask: Mask, _rng: np.random.Generator) -> PlaneAndMask:
    """Return the middle of the field enlarged at most 2×, with a margin around the tissue."""
    size = len(plane)
    rows, columns = np.nonzero(mask)
    reach = max(
        int(np.abs(np.concatenate([rows, columns]) - size / 2).max(initial=0) * 1.15), size // 4
    )
    start = max(size // 2 - reach, 0)
    crop = slice(start, size - start)
    larger = np.asarray(
        cv2.resize(plane[crop, crop], (size, size), interpolation=cv2.INTER_CUBIC), np.uint16
    )
    cover = cv2.resize(
        mask[crop, crop].astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR
    )
    return larger, np.asarray(cover >= HALF_COVERED)


def _sampled(factor: float) -> Callable[[Plane, Mask, np.random.Generator], PlaneAndMask]:
    """Return a function that resamples a plane and its mask by a factor of the side."""

    def change(plane: Plane, mask: Mask, _rng: np.random.Generator) -> PlaneAndMask:
        side = round(len(plane) * factor)
        interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(plane, (side, side), interpolation=interpolation)
        cover = cv2.resize(mask.astype(np.float32), (side, side), interpolation=interpolation)
        return np.asarray(resized, np.uint16), np.asarray(cover >= HALF_COVERED)

    return change


CHANGES: dict[str, Callable[[Plane, Mask, np.random.Generator], PlaneAndMask]] = {
    "blur σ 5": _blurred(5),
    "blur σ 12": _blurred(12),
    "12 in 16 bits": _twelve_bits,
    "whole well": _whole_well,
    "tilt ×3": _tilted,
    "0.5× as large": lambda plane, mask, _rng: _from_afar(plane, mask, 0.5),
    "2× as large": _closer,
    "0.5× the pixels": _sampled(0.5),
    "2× the pixels": _sampled(2),
}
