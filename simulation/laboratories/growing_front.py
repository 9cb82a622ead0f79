"""Renders a spheroid that grows by reaction and diffusion, with a necrotic core and invasion.

Cells multiply and spread in a coarse volume, where nutrient diffuses in from outside. Cells without
nutrient die. The image is the projection of living and dead cells, with a cobblestone texture.
"""

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from simulation.kinds import HiddenMechanism
from simulation.laboratories.canvas import (
    GRID_PX,
    balance_texture,
    distance_and_angle,
    draw_litter,
    gathering_factor,
    grid_positions,
    resample,
    window_around,
)
from simulation.laboratories.light_path import OpticalField, transmit
from simulation.laboratories.renderer import DrawnField
from simulation.laboratories.spheroid import Spheroid
from simulation.optics import Optics
from simulation.random_numbers import RandomPurpose
from simulation.scene import Floats, smooth_noise

_VOLUME = 32  # side of the coarse volume
_GROWN_RADIUS = 10.5  # radius of the grown tissue in the coarse volume, about
_STEPS = 60  # of the growth
_SPREADING, _MULTIPLYING, _UPTAKE, _DYING = 0.08, 0.35, 0.25, 0.25  # per step
_STARVING = 0.2  # share of the nutrient below which cells die
_SMOOTHING = 0.7  # standard deviation in points of the coarse volume
_SEEN_SHARE = 0.14  # thickness below which there are too few cells to be seen
_MASK_SHARE = 0.22  # smallest thickness of the mask, in radii
_STRETCH = 3.0  # ratio of length to width of the streaks of ordered texture
_FRAGMENT_UM = 34.0  # size of the fragments of a burst body


@dataclass(frozen=True)
class GrowingFront:
    """Draws a spheroid that grows by reaction and diffusion."""

    cell_um: float  # diameter of a cobblestone
    coarse: float  # strength of the texture at the scale of groups of cells, relative to cells
    relief: float  # height in µm of a texture of one standard deviation, which refracts light
    flatness: float  # height of the body relative to a ball
    necrosis: float  # density of dead tissue relative to living tissue
    invasion: float  # mean number of strands of invading cells
    oblique: tuple[float, float]  # relative brightness per slope, x and y, by oblique light

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "GrowingFront":
        """Return a renderer with random properties."""
        angle, strength = rng.uniform(0, 2 * np.pi), max(0.0, float(rng.uniform(-0.03, 0.05)))
        return cls(
            cell_um=float(rng.uniform(11, 17)),
            coarse=float(rng.uniform(0.45, 0.85)),
            relief=float(rng.uniform(0.2, 0.7)),
            flatness=float(rng.uniform(0.6, 1.0)),
            necrosis=float(rng.uniform(1.0, 1.9)),
            invasion=float(rng.uniform(0, 14)),
            oblique=(float(strength * np.cos(angle)), float(strength * np.sin(angle))),
        )

    @property
    def hidden_mechanisms(self) -> tuple[HiddenMechanism, ...]:
        """Hidden mechanisms that this renderer can draw: all."""
        return tuple(HiddenMechanism)

    def draw(self, spheroid: Spheroid, size_px: int, optics: Optics) -> DrawnField:
        """Return the DrawnField of a spheroid; see :class:`Renderer`."""
        step_um = spheroid.field_um / GRID_PX
        living, dead = self._project(spheroid)
        body = living + dead > _MASK_SHARE
        fragments = self._fragments(spheroid, body)
        inside = body | (fragments > 0)

        @cache
        def still() -> tuple[Floats, Floats]:
            """Return density and height, (GRID, GRID), of everything but the texture."""
            density, height = draw_litter(spheroid, self.cell_um)
            core = np.float32(self.necrosis * (1 + spheroid.core))
            absorbing = np.clip((living + core * dead) / 2, 0, None)
            density += np.float32(spheroid.opacity) * absorbing ** np.float32(
                spheroid.opacity_power
            )
            density += np.float32(0.3 + 0.3 * spheroid.opacity) * fragments
            density += self._strands(spheroid)
            height += (living + dead) * np.float32(self.flatness * spheroid.radius_um)
            height += np.float32(2 * self.cell_um) * fragments
            return density, height

        @cache
        def textured() -> OpticalField:
            density, height = (values.copy() for values in still())
            if body.any():
                window = window_around(body, 4)
                cover = np.clip((living + dead)[window], 0, 1)
                texture = self._texture(spheroid, window, body[window], optics.blur_um) * cover
                density[window] += texture
                height[window] += np.float32(self.relief / spheroid.grain) * texture
            return OpticalField(density, height, step_um)

        def transmitted(z_um: float) -> Floats:
            lit = transmit(textured(), z_um, optics, rim=spheroid.rim, oblique=self.oblique)
            return resample(lit, size_px)

        cover = resample(inside.astype(np.float32), size_px)
        return DrawnField(cover >= 0.5, transmitted)  # noqa: PLR2004 - half of a pixel

    def _project(self, spheroid: Spheroid) -> tuple[Floats, Floats]:
        """Return the thickness of living and of dead tissue, (GRID, GRID), in radii."""
        if not spheroid.present:
            return np.zeros((GRID_PX, GRID_PX), np.float32), np.zeros(
                (GRID_PX, GRID_PX), np.float32
            )
        rng = spheroid.generator(RandomPurpose.OUTLINE)
        seeds = int(rng.integers(2**31))
        maps = grow(seeds, round(spheroid.outline, 3))
        scale = grid_scale(maps) * spheroid.field_um / GRID_PX / spheroid.radius_um
        x, y = grid_positions(spheroid, np.zeros(1, np.float32), np.zeros(1, np.float32))
        middle = (_VOLUME - 1) / 2
        placing = np.array(
            [[scale, 0, middle - scale * x[0]], [0, scale, middle - scale * y[0]]], np.float32
        )
        reading = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        # A point of the coarse volume has many points of the grid: the steps are smoothed.
        living, dead = (
            cv2.GaussianBlur(
                cv2.warpAffine(each, placing, (GRID_PX, GRID_PX), flags=reading),
                (0, 0),
                _SMOOTHING / scale,
            )
            / np.float32(grid_scale(maps))
            for each in maps
        )
        if spheroid.roughness > 0:
            noise = smooth_noise(
                spheroid.generator(RandomPurpose.OUTLINE, 1),
                max(4, round(spheroid.field_um / (1.6 * self.cell_um))),
                GRID_PX,
            )
            living += np.float32(0.5 * spheroid.roughness) * noise * (living > 0.02)  # noqa: PLR2004
        # Few cells are ahead of the front; the camera does not see them.
        seen = np.clip((living + dead) / np.float32(_SEEN_SHARE) - 1, 0, 1)
        return np.maximum(living * seen, 0), np.maximum(dead * seen, 0)

    def _fragments(self, spheroid: Spheroid, body: npt.NDArray[np.bool_]) -> Floats:
        """Return the cover, 0…1, of the fragments of a burst body, (GRID, GRID)."""
        if spheroid.burst <= 0 or not spheroid.present:
            return np.zeros((GRID_PX, GRID_PX), np.float32)
        rng = spheroid.generator(RandomPurpose.PIECES)
        count = max(4, round(spheroid.field_um / _FRAGMENT_UM))
        noise = smooth_noise(rng, count, GRID_PX) + 0.5 * smooth_noise(rng, 2 * count, GRID_PX)
        distance, _ = distance_and_angle(spheroid)
        reach = spheroid.radius_um + (0.15 + 0.75 * spheroid.burst) * spheroid.whole_radius_um
        outside = np.clip((distance - np.float32(spheroid.radius_um)) / np.float32(reach), 0, 1)
        limit = 2.6 - 1.7 * spheroid.burst + 3.0 * outside**2
        limit[distance > reach] = np.inf
        border = round(0.03 * GRID_PX)
        limit[:border], limit[-border:], limit[:, :border], limit[:, -border:] = (np.inf,) * 4
        return np.asarray(np.clip((noise - limit) * 4, 0, 1) * ~body, np.float32)

    def _strands(self, spheroid: Spheroid) -> Floats:
        """Return the density of strands of cells that invade the surroundings, (GRID, GRID)."""
        drawn = np.zeros((GRID_PX, GRID_PX), np.uint8)
        if not spheroid.present:
            return drawn.astype(np.float32)
        rng = spheroid.generator(RandomPurpose.LITTER, 1)
        strands, links = 40, 7
        turn = rng.uniform(0, 2 * np.pi, (strands, 1))
        bends = turn + np.cumsum(rng.normal(0, 0.3, (strands, links)), axis=1)
        stride = rng.uniform(0.3, 0.8, (strands, links)) * self.cell_um
        start = 0.96 * spheroid.radius_um
        x = start * np.cos(turn) + np.cumsum(stride * np.cos(bends), axis=1)
        y = start * np.sin(turn) + np.cumsum(stride * np.sin(bends), axis=1)
        column, row = grid_positions(spheroid, x.astype(np.float32), y.astype(np.float32))
        paths = np.rint(np.stack([column, row], axis=-1) * 8).astype(np.int32)
        width = max(1, round(0.35 * self.cell_um * GRID_PX / spheroid.field_um))
        cv2.polylines(drawn, list(paths[: round(self.invasion)]), False, 255, width, cv2.LINE_AA, 3)
        return cv2.GaussianBlur(drawn, (0, 0), 1.0).astype(np.float32) * np.float32(0.25 / 255)

    def _texture(
        self,
        spheroid: Spheroid,
        window: tuple[slice, slice],
        inside: npt.NDArray[np.bool_],
        blur_um: float,
    ) -> Floats:
        """Return the density of the texture of the body in a window, (h, w)."""
        step_um, order = spheroid.field_um / GRID_PX, spheroid.order
        rng = spheroid.generator(RandomPurpose.GROWTH, 2, spheroid.day)
        cell_px, side = self.cell_um / step_um, max(inside.shape)
        height, width = inside.shape
        bright = order[HiddenMechanism.INVERTING]
        even = _cobblestones(rng, side, cell_px, bright)[:height, :width]
        texture = even / even.std()
        common = float(spheroid.generator(RandomPurpose.GROWTH, 4).uniform(0, 180))
        aligned = _stretch(_cobblestones(rng, side, cell_px, bright), common)[:height, :width]
        layered = _wrap(_cobblestones(rng, side, cell_px, bright), spheroid, window, self.cell_um)
        for ordered, kind in (
            (aligned, HiddenMechanism.ALIGNING),
            (layered, HiddenMechanism.LAYERING),
        ):
            level = np.float32(order[kind])
            texture = np.sqrt(1 - level) * texture + np.sqrt(level) * ordered / ordered.std()
        texture *= gathering_factor(spheroid)[window]
        return balance_texture(
            texture,
            inside,
            step_um,
            blur_um,
            fine=spheroid.grain,
            coarse=self.coarse * spheroid.coarseness * spheroid.grain,
        )


@lru_cache(maxsize=64)
def grow(seed: int, outline: float) -> tuple[Floats, Floats]:
    """Return the projections of living and dead tissue, (32, 32) each, that grew from one cell.

    Fisher's equation for the cells, with growth in proportion to the nutrient and a random factor
    of place, and the diffusion and uptake of the nutrient.

    Parameters
    ----------
    seed
        Seed of the random factor.
    outline
        Strength of the random factor: deviation of the outline from a circle.
    """
    rng = np.random.default_rng([seed, 7])
    coarse = rng.standard_normal((5, 5, 5), dtype=np.float32)
    place = _enlarge(coarse)
    factor = np.clip(1 + 5 * np.float32(outline) * place, 0.3, 1.9)
    axis = np.arange(_VOLUME, dtype=np.float32) - np.float32((_VOLUME - 1) / 2)
    distance = np.sqrt(
        axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    )
    living = np.clip(3.0 - distance, 0, 1)
    dead, nutrient = np.zeros_like(living), np.ones_like(living)
    for _ in range(_STEPS):
        cells = living + dead
        if cells.sum() > 4 / 3 * math.pi * _GROWN_RADIUS**3:
            break
        nutrient += _laplacian(nutrient, 1.0) / 6 - np.float32(_UPTAKE) * living * nutrient
        starving = np.float32(_DYING) * living * (nutrient < _STARVING)
        living += (
            np.float32(_SPREADING) * factor * _laplacian(living, 0.0)
            + np.float32(_MULTIPLYING) * factor * living * np.maximum(1 - cells, 0) * nutrient
            - starving
        )
        dead += starving
        np.clip(nutrient, 0, 1, out=nutrient)
    return living.sum(axis=0), dead.sum(axis=0)


def grid_scale(maps: tuple[Floats, Floats]) -> float:
    """Return the radius of grown tissue in points of its coarse projection."""
    total = cv2.resize(maps[0] + maps[1], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    radius = _GROWN_RADIUS
    for _ in range(4):
        radius = math.sqrt(np.count_nonzero(total > _MASK_SHARE * radius) / 64 / math.pi)
    return radius


def _laplacian(values: Floats, outside: float) -> Floats:
    """Return the discrete Laplacian of a volume, (n, n, n), with a constant value outside it."""
    padded = np.pad(values, 1, constant_values=outside)
    inner = slice(1, -1)
    return np.asarray(
        padded[2:, inner, inner]
        + padded[:-2, inner, inner]
        + padded[inner, 2:, inner]
        + padded[inner, :-2, inner]
        + padded[inner, inner, 2:]
        + padded[inner, inner, :-2]
        - 6 * values
    )


def _enlarge(coarse: Floats) -> Floats:
    """Return a volume of noise, (5, 5, 5), enlarged smoothly to the size of the coarse volume."""
    flat = cv2.resize(coarse.reshape(5, 25), (25, _VOLUME), interpolation=cv2.INTER_CUBIC).reshape(
        _VOLUME * 5, 5
    )
    wide = cv2.resize(flat, (_VOLUME, _VOLUME * 5), interpolation=cv2.INTER_LINEAR)
    turned = wide.reshape(_VOLUME, 5, _VOLUME).transpose(1, 0, 2).reshape(5, -1)
    return np.asarray(
        cv2.resize(turned, (_VOLUME * _VOLUME, _VOLUME), interpolation=cv2.INTER_CUBIC).reshape(
            _VOLUME, _VOLUME, _VOLUME
        ),
        np.float32,
    )


def _cobblestones(rng: np.random.Generator, side: int, cell_px: float, bright: float) -> Floats:
    """Return cells, (side, side): dark in the middle or, a share of ``bright``, bright there."""
    count = math.ceil(side / cell_px) + 1
    places = (np.indices((count, count)) + rng.uniform(-0.42, 0.42, (2, count, count))) * cell_px
    points = np.full((side, side), 255, np.uint8)
    row, column = np.clip(np.rint(places).astype(int), 0, side - 1)
    points[row, column] = 0
    distance, label = cv2.distanceTransformWithLabels(
        points, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shade = np.exp(1.5 * rng.random(count * count + 1) ** 2)
    shade[rng.random(len(shade)) < bright] *= -1
    middle = np.maximum(1 - distance / np.float32(0.5 * cell_px), 0)
    return np.asarray(middle * shade.astype(np.float32)[label % len(shade)], np.float32)


def _stretch(texture: Floats, degrees: float) -> Floats:
    """Return a texture, (side, side), stretched along a direction."""
    side = len(texture)
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    ratio = math.sqrt(_STRETCH)
    placing = np.diag([1 / ratio, ratio]) @ rotation
    middle = np.full(2, side / 2)
    shift = middle - placing @ middle
    return np.asarray(
        cv2.warpAffine(
            texture,
            np.column_stack([placing, shift]).astype(np.float32),
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )


def _wrap(
    texture: Floats, spheroid: Spheroid, window: tuple[slice, slice], cell_um: float
) -> Floats:
    """Return a texture, (side, side), wrapped in circles around the centre of a spheroid.

    The result fits the window, (h, w). Streaks have the same length at every radius.
    """
    step_um = spheroid.field_um / GRID_PX
    distance, angle = (each[window] for each in distance_and_angle(spheroid))
    ratio = math.sqrt(_STRETCH)
    side = len(texture)
    # The circumference is read in rings of the width of a cell, each with an offset of its own.
    ring = np.floor(distance / np.float32(0.5 * cell_um))
    along = (angle * distance / np.float32(step_um * ratio) + ring * 37) % (2 * side)
    across = distance / np.float32(step_um) * np.float32(ratio) % (2 * side)
    along, across = (np.minimum(each, 2 * side - 1 - each) for each in (along, across))
    return np.asarray(
        cv2.remap(
            texture,
            along.astype(np.float32),
            across.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )
