"""Renders a spheroid as cells packed in space, each of which absorbs and refracts light.

Cells fill an irregular body on a disordered lattice. Their absorption adds up along each ray. The
texture of a plane comes from the cells near its focus, so that planes show different cells.
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from simulation.kinds import HiddenMechanism
from simulation.laboratories.canvas import (
    GRID_PX,
    balance_texture,
    blur,
    draw_litter,
    gathering_factor,
    grid_positions,
    resample,
    scatter,
    window_around,
)
from simulation.laboratories.light_path import OpticalField, transmit
from simulation.laboratories.renderer import DrawnField
from simulation.laboratories.spheroid import Spheroid
from simulation.optics import Optics
from simulation.random_numbers import RandomPurpose
from simulation.scene import Floats

_SPACING = 0.92  # distance of neighbouring cells, in cell diameters
_DISORDER = 0.42  # largest displacement from the lattice, in spacings
_TURNS = 6  # number of orientations of the drawn cells
_FOCUS_CELLS = 0.5  # standard deviation of the depth of focus, in cell diameters
_FULL_SHARE = 0.55  # density of cells in focus, relative to its median, that is complete
_CORE_SHARE = 0.55  # radius of the core, in radii of the body
_MASK_CELLS = 0.5  # smallest thickness of the mask, in cell diameters


@dataclass(frozen=True, eq=False)
class _Cells:
    """Positions of all cells in µm from the centre of the spheroid, (n,) each."""

    x: Floats
    y: Floats
    z: Floats
    absorption: Floats  # relative


@dataclass(frozen=True)
class PackedCells:
    """Draws a spheroid as cells packed in space."""

    cell_um: float  # diameter of a cell
    aspect: float  # length of a cell's dark part, in widths
    coarse: float  # strength of the texture at the scale of groups of cells, relative to cells
    relief: float  # height in µm of a texture of one standard deviation, which refracts light

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "PackedCells":
        """Return a renderer with random properties."""
        return cls(
            cell_um=float(rng.uniform(10, 15)),
            aspect=float(rng.uniform(2.2, 3.6)),
            coarse=float(rng.uniform(0.45, 0.85)),
            relief=float(rng.uniform(0.2, 0.7)),
        )

    @property
    def hidden_mechanisms(self) -> tuple[HiddenMechanism, ...]:
        """Hidden mechanisms that this renderer can draw: all."""
        return tuple(HiddenMechanism)

    def draw(self, spheroid: Spheroid, size_px: int, optics: Optics) -> DrawnField:
        """Return the DrawnField of a spheroid; see :class:`Renderer`."""
        step_um = spheroid.field_um / GRID_PX
        cells = self._pack(spheroid)
        thickness = self._thickness(spheroid, cells, np.ones_like(cells.x), 0.35)
        inside = thickness > _MASK_CELLS * self.cell_um

        @cache
        def still() -> tuple[Floats, Floats]:
            """Return density and height, (GRID, GRID), of everything but the texture."""
            absorbing = self._thickness(spheroid, cells, cells.absorption, 1.0)
            whole = np.maximum(absorbing / np.float32(2 * spheroid.radius_um), 0)
            density, height = draw_litter(spheroid, self.cell_um)
            density += np.float32(spheroid.opacity) * whole ** np.float32(spheroid.opacity_power)
            # Without the relief of single cells, which the texture adds; the outline stays sharp.
            smooth = blur(thickness, 0.8 * self.cell_um / step_um)
            height += smooth * inside
            return density, height

        def transmitted(z_um: float) -> Floats:
            density, height = still()
            density, height = density.copy(), height.copy()
            if inside.any():
                window = window_around(inside, 4)
                cover = np.clip(thickness[window] / np.float32(4 * self.cell_um), 0, 1)
                blur_um = optics.blur_um
                texture = (
                    self._texture(spheroid, cells, z_um, window, inside[window], blur_um) * cover
                )
                density[window] += texture
                height[window] += np.float32(self.relief / spheroid.grain) * texture
            field = OpticalField(density, height, step_um)
            return resample(transmit(field, z_um, optics, rim=spheroid.rim), size_px)

        cover = resample(inside.astype(np.float32), size_px)
        return DrawnField(cover >= 0.5, transmitted)  # noqa: PLR2004 - half of a pixel

    def _pack(self, spheroid: Spheroid) -> _Cells:
        """Return the cells of the body and of spilled clumps."""
        if not spheroid.present:
            nothing = np.zeros(0, np.float32)
            return _Cells(nothing, nothing, nothing, nothing)
        rng = spheroid.generator(RandomPurpose.OUTLINE)
        broad, fine = (
            cv2.resize(
                rng.standard_normal(shape, dtype=np.float32),
                (192, 96),
                interpolation=cv2.INTER_CUBIC,
            )
            for shape in ((4, 7), (26, 52))
        )
        surface = 1 + spheroid.outline * broad + 0.4 * spheroid.roughness * fine
        spacing, radius = self.cell_um * _SPACING, spheroid.radius_um
        count = math.ceil(1.25 * radius / spacing)
        axis = np.arange(-count, count + 1, dtype=np.float32)
        # Rows and layers are shifted by half a spacing, so that no planes of cells are seen.
        lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
        lattice[0] += 0.5 * (lattice[1] % 2) + 0.25 * (lattice[2] % 2)
        lattice = lattice[:, np.sum(lattice * lattice, axis=0) < (count + 0.5) ** 2]
        lattice += rng.uniform(-_DISORDER, _DISORDER, lattice.shape).astype(np.float32)
        x, y, z = lattice * np.float32(spacing)
        distance = np.sqrt(x * x + y * y + z * z)
        row = ((np.arccos(np.clip(z / np.maximum(distance, 1e-3), -1, 1)) / np.pi) * 95).astype(int)
        column = ((np.arctan2(y, x) / (2 * np.pi) % 1.0) * 191).astype(int)
        kept = distance < np.float32(radius) * surface[row, column]
        x, y, z, distance = x[kept], y[kept], z[kept], distance[kept]
        absorption = 1 + np.float32(spheroid.core) / (
            1 + np.exp((distance / np.float32(radius) - _CORE_SHARE) * 12)
        )
        spilled = self._spill(spheroid)
        x, y, z = np.concatenate([np.stack([x, y, z]), spilled], axis=1)
        return _Cells(x, y, z, np.concatenate([absorption, np.ones_like(spilled[0])]))

    def _spill(self, spheroid: Spheroid) -> npt.NDArray[np.float32]:
        """Return the positions, (3, n), of the cells in clumps that have left a burst body."""
        rng = spheroid.generator(RandomPurpose.PIECES)
        most = 70
        size = np.exp(rng.uniform(np.log(6), np.log(60), most)).astype(int)
        turn, far = rng.uniform(0, 2 * np.pi, most), rng.random(most)
        shown = rng.random(most) < spheroid.burst
        whole = spheroid.whole_radius_um
        reach = spheroid.radius_um * 0.85 + (0.2 + 0.8 * spheroid.burst) * whole * far
        clump = np.repeat(np.arange(most), size)
        spread = (size ** (1 / 3) * 0.45 * self.cell_um)[clump] * (whole / 250) ** 0.5
        x, y, z = rng.normal(0, 1, (3, len(clump))) * spread
        x += (reach * np.cos(turn))[clump]
        y += (reach * np.sin(turn))[clump]
        z = 0.5 * z - 0.3 * spheroid.radius_um
        limit = 0.47 * spheroid.field_um
        seen = (
            shown[clump]
            & (abs(x + spheroid.centre_um[0]) < limit)
            & (abs(y + spheroid.centre_um[1]) < limit)
        )
        return np.stack([x, y, z])[:, seen].astype(np.float32)

    def _thickness(
        self, spheroid: Spheroid, cells: _Cells, weights: Floats, cells_blur: float
    ) -> Floats:
        """Return the length of the rays in cells, µm, (GRID, GRID), weighted per cell.

        ``cells_blur`` is the standard deviation of the smoothing in cell diameters.
        """
        step_um = spheroid.field_um / GRID_PX
        volume = np.float32((self.cell_um * _SPACING) ** 3 / step_um**2)
        x, y = grid_positions(spheroid, cells.x, cells.y)
        return blur(scatter(x, y, weights) * volume, cells_blur * self.cell_um / step_um)

    def _texture(
        self,
        spheroid: Spheroid,
        cells: _Cells,
        z_um: float,
        window: tuple[slice, slice],
        inside: npt.NDArray[np.bool_],
        blur_um: float,
    ) -> Floats:
        """Return the density of the texture of cells near a focus height in a window, (h, w)."""
        step_um = spheroid.field_um / GRID_PX
        limit = 0.6 * spheroid.radius_um  # the objective focuses inside the body
        depth = (cells.z - np.float32(np.clip(z_um, -limit, limit))) / np.float32(self.cell_um)
        near = np.abs(depth) < 3 * _FOCUS_CELLS
        x, y, depth = cells.x[near], cells.y[near], depth[near]
        rng = spheroid.generator(RandomPurpose.GROWTH, 2, spheroid.day)
        random = rng.random((3, len(cells.x)), dtype=np.float32)[:, near]
        order = spheroid.order
        weights = np.exp(-0.5 * (depth / _FOCUS_CELLS) ** 2 + 2 * random[0] ** 2)
        weights = np.where(random[1] < order[HiddenMechanism.INVERTING], -weights, weights)
        column, row = grid_positions(spheroid, x, y)
        at = (np.clip(np.rint(each), 0, GRID_PX - 1).astype(int) for each in (row, column))
        weights *= gathering_factor(spheroid)[tuple(at)]
        turn = self._turns(spheroid, x, y, random[2])
        texture = np.zeros(inside.shape, np.float32)
        for number in range(_TURNS):
            chosen = turn == number
            drawn = scatter(column[chosen], row[chosen], weights[chosen])[window]
            texture += cv2.filter2D(drawn, cv2.CV_32F, self._stamp(number, step_um))
        # Beyond the last cells in focus the texture ends; its local mean is that of these cells.
        crowd = blur(scatter(column, row, np.ones_like(column))[window], self.cell_um / step_um)
        in_focus = inside & (crowd > _FULL_SHARE * np.median(crowd[inside]))
        return balance_texture(
            texture,
            in_focus,
            step_um,
            blur_um,
            fine=spheroid.grain,
            coarse=self.coarse * spheroid.coarseness * spheroid.grain,
        )

    def _turns(
        self, spheroid: Spheroid, x: Floats, y: Floats, random: Floats
    ) -> npt.NDArray[np.int64]:
        """Return the number of each cell's orientation, (n,); ``random`` is 0…1."""
        order = spheroid.order
        aligning, layering = order[HiddenMechanism.ALIGNING], order[HiddenMechanism.LAYERING]
        common = float(spheroid.generator(RandomPurpose.GROWTH, 4).uniform(0, np.pi))
        along = np.arctan2(y, x) + np.float32(np.pi / 2) if layering > aligning else common
        angle = along + np.pi * (random - 0.5) * (1 - max(aligning, layering))
        return np.asarray(np.floor(angle / np.pi * _TURNS + 0.5).astype(int) % _TURNS)

    @cache  # noqa: B019 - a renderer is small and lives as long as its laboratory
    def _stamp(self, number: int, step_um: float) -> Floats:
        """Return the absorption of a cell's dark part with an orientation, (k, k)."""
        width = 0.17 * self.cell_um / step_um
        length = width * self.aspect
        reach = math.ceil(2.2 * length)
        axis = np.arange(-reach, reach + 1, dtype=np.float32)
        x, y = axis[None, :], axis[:, None]
        angle = np.pi * number / _TURNS
        along, across = (
            x * np.cos(angle) + y * np.sin(angle),
            -x * np.sin(angle) + y * np.cos(angle),
        )
        return np.asarray(
            np.exp(-0.5 * ((along / length) ** 2 + (across / width) ** 2)), np.float32
        )
