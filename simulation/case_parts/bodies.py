"""Draws bodies, clumps and loose cells of any size on the maps of a square field.

All lengths are shares of the side of the field, so that a drawing does not depend on the scale.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from simulation.scene import Floats, Scene, smooth_noise

DRAWN_PX = 2048
"""Side in pixels at which every field is drawn; images of other sizes are resampled from it."""

_HARMONICS = np.arange(2, 8)
_REACH = 1.6  # half of the side of the drawn patch of a body, in radii
_THINNEST = np.float32(0.2)  # thickness of the edge of a body, in radii
_BRIGHTEST_GRAIN = np.float32(0.15)  # optical density by which cells are brighter than no tissue
_SUBPIXEL_BITS = 4
_FINEST_NOISE = 1024  # bumps per side

Point = tuple[float, float]
"""x and y as shares of the field, from its left and upper border."""


@dataclass(frozen=True)
class Body:
    """Shape and optical properties of one body."""

    centre: Point
    radius: float
    aspect: float = 1.0  # ratio of the axes
    angle: float = 0.0  # direction of the long axis in radians
    outline: float = 0.05  # amplitude of the broad deviations from an ellipse, in radii
    roughness: float = 0.4  # amplitude of the deviations at the scale of cells, in cells
    softness: float = 0.0  # width of the gradual edge, in radii
    opacity: float = 1.0  # natural-log optical density through the centre
    power: float = 0.6  # exponent of the thickness: 1 for a ball, less for a flat profile
    grain: float = 0.2  # amplitude of the texture
    height: float = 0.6  # height relative to a ball; it makes the edge dark
    hollow: bool = False  # a thin dark wall around a pale inside


@dataclass(eq=False)
class Canvas:
    """Maps, (DRAWN_PX, DRAWN_PX), of the content of one field, and its random numbers."""

    rng: np.random.Generator
    field_um: float
    cell: float  # diameter of a cell
    density: Floats = field(init=False)
    height_um: Floats = field(init=False)
    smooth_um: Floats = field(init=False)
    cover: Floats = field(init=False)  # share of each pixel that tissue covers
    veil: Floats = field(init=False)  # share of the light that objects in front of tissue transmit
    fine: Floats = field(init=False)  # noise at the scale of cells
    middle: Floats = field(init=False)  # noise at the scale of several cells
    broad: Floats = field(init=False)  # noise at a tenth of the field

    def __post_init__(self) -> None:
        shape = (DRAWN_PX, DRAWN_PX)
        self.density, self.height_um, self.smooth_um, self.cover = (
            np.zeros(shape, np.float32) for _ in range(4)
        )
        self.veil = np.ones(shape, np.float32)
        counts = (min(int(size / self.cell), _FINEST_NOISE) for size in (1.0, 0.3, 0.12))
        self.fine, self.middle, self.broad = (
            smooth_noise(self.rng, max(count, 8), DRAWN_PX) for count in counts
        )

    @property
    def um_per_px(self) -> float:
        """Scale of the drawing."""
        return self.field_um / DRAWN_PX

    def scene(self, rim: float) -> Scene:
        """Return the content as a Scene; ``rim`` is the darkness of steep parts."""
        return Scene(self.cover >= 0.5, self.density, self.height_um, self.smooth_um, rim)  # noqa: PLR2004 - half of a pixel

    def draw(self, body: Body) -> None:
        """Add a body with an uneven outline; where bodies overlap, the denser one is visible."""
        window = self._window(body)
        if window is None:
            return
        radius_px = body.radius * DRAWN_PX
        phases = self.rng.uniform(0, 2 * np.pi, len(_HARMONICS))
        heights = self.rng.normal(0, body.outline, len(_HARMONICS)) / _HARMONICS * 2
        x, y = self._offsets(window, body)
        edge = np.ones_like(x)
        theta = np.arctan2(y, x)
        for order, phase, height in zip(_HARMONICS, phases, heights, strict=True):
            edge += np.float32(height) * np.cos(np.float32(order) * theta + np.float32(phase))
        inside = 1 - (x * x + y * y) / np.maximum(edge, np.float32(0.3)) ** 2
        fine, middle, broad = (noise[window] for noise in (self.fine, self.middle, self.broad))
        inside += np.float32(body.roughness * self.cell / body.radius) * (fine + middle)
        distance = inside / 2  # from the edge inwards, in radii
        thickness = np.sqrt(np.maximum(inside, 0))
        sharp = np.clip(distance * np.float32(radius_px) + np.float32(0.5), 0, 1)
        density = self._density(body, thickness, distance, (fine, middle, broad))
        if body.softness > 0:
            soft = 1 / (1 + np.exp(np.clip(-distance * np.float32(4 / body.softness), -30, 30)))
        else:
            soft = sharp
        tall = thickness * np.float32(body.radius * self.field_um * body.height)
        relief = fine * np.float32(self.cell * self.field_um * (0.05 + 0.3 * body.grain)) * sharp
        self._combine(window, density * soft, tall + relief, tall, sharp)

    def punch(self, hole: Body, share: float = 1.0) -> None:
        """Remove the tissue within the outline of a hole, or a ``share`` of its density."""
        window = self._window(hole)
        if window is None:
            return
        x, y = self._offsets(window, hole)
        inside = (
            1
            - x * x
            - y * y
            + np.float32(hole.roughness * self.cell / hole.radius) * self.fine[window]
        )
        inside += np.float32(hole.outline) * self.broad[window]
        open_part = np.clip(
            inside / 2 * np.float32(hole.radius * DRAWN_PX / 3) + np.float32(0.5), 0, 1
        )
        left = 1 - np.float32(share) * open_part
        for layer in (self.density, self.height_um, self.smooth_um):
            layer[window] *= left
        self.cover[window] *= 1 - open_part

    def scatter(
        self, discs: npt.NDArray[np.float64], *, refracting: bool, opacity: float = 0.7
    ) -> None:
        """Add loose cells or debris, (n, 3) x, y and radius; cells refract and debris absorbs."""
        layer = np.zeros((DRAWN_PX, DRAWN_PX), np.uint8)
        scale = DRAWN_PX * (1 << _SUBPIXEL_BITS)
        shades = self.rng.uniform(100, 255, len(discs))
        for (x, y, radius), shade in zip(
            np.round(discs * scale).astype(int).tolist(), shades.tolist(), strict=True
        ):
            cv2.circle(layer, (x, y), radius, shade, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        share = layer.astype(np.float32) * np.float32(1 / 255)
        if refracting:
            dome = share * np.float32(0.8 * self.cell * self.field_um)
            self.height_um += dome
            self.smooth_um += dome
            self.density += share * np.float32(0.15 * opacity)
        else:
            self.density += share * np.float32(opacity)

    def _density(
        self, body: Body, thickness: Floats, distance: Floats, noise: tuple[Floats, Floats, Floats]
    ) -> Floats:
        """Return the optical density inside a body from its thickness, edge distance and noise."""
        fine, middle, broad = noise
        grain = np.float32(body.grain) * (fine + np.float32(0.5) * middle + np.float32(0.6) * broad)
        if body.hollow:
            wall = np.exp(-((distance / np.float32(0.11) - np.float32(0.6)) ** 2))
            flat = np.float32(body.opacity) * (wall + np.float32(0.12))
        else:
            flat = np.float32(body.opacity) * np.maximum(thickness, _THINNEST) ** np.float32(
                body.power
            )
        return np.asarray(
            np.maximum(flat + np.float32(0.4 + 0.2 * body.opacity) * grain, -_BRIGHTEST_GRAIN)
        )

    def _combine(
        self,
        window: tuple[slice, slice],
        density: Floats,
        height_um: Floats,
        smooth_um: Floats,
        sharp: Floats,
    ) -> None:
        """Merge the maps of a body, (h, w) each, into a window of the field."""
        before = self.cover[window]
        overlap = np.minimum(before, sharp)
        self.density[window] = np.where(
            overlap > 0,
            np.maximum(self.density[window], density),
            self.density[window] + density,
        )
        np.maximum(self.height_um[window], height_um, out=self.height_um[window])
        np.maximum(self.smooth_um[window], smooth_um, out=self.smooth_um[window])
        np.maximum(before, sharp, out=before)

    def _window(self, body: Body) -> tuple[slice, slice] | None:
        """Return the rows and columns of the patch of a body; None if it is outside the field."""
        reach = body.radius * (_REACH + 1.5 * body.softness) * max(body.aspect, 1 / body.aspect)
        spans = []
        for middle in (body.centre[1], body.centre[0]):
            low, high = (
                int(np.clip(round((middle + side * reach) * DRAWN_PX), 0, DRAWN_PX))
                for side in (-1, 1)
            )
            if high - low < 1:
                return None
            spans.append(slice(low, high))
        return spans[0], spans[1]

    def _offsets(self, window: tuple[slice, slice], body: Body) -> tuple[Floats, Floats]:
        """Return the offsets, (h, w) in radii, from a body's centre along its two axes."""
        y, x = (
            (np.arange(span.start, span.stop, dtype=np.float32) + np.float32(0.5))
            / np.float32(DRAWN_PX)
            - np.float32(middle)
            for span, middle in zip(window, (body.centre[1], body.centre[0]), strict=True)
        )
        cosine, sine = np.float32(np.cos(body.angle)), np.float32(np.sin(body.angle))
        stretch = np.float32(body.radius * np.sqrt(body.aspect))
        squeeze = np.float32(body.radius / np.sqrt(body.aspect))
        along = (x[None, :] * cosine + y[:, None] * sine) / stretch
        across = (y[:, None] * cosine - x[None, :] * sine) / squeeze
        return np.asarray(along, np.float32), np.asarray(across, np.float32)


def random_body(rng: np.random.Generator, centre: Point, radius: float) -> Body:
    """Return a body with random optical properties, from pale to nearly black."""
    return Body(
        centre=centre,
        radius=radius,
        aspect=float(np.exp(rng.uniform(0, 0.25))),
        angle=float(rng.uniform(0, np.pi)),
        outline=float(rng.uniform(0.01, 0.07)),
        roughness=float(rng.uniform(0.15, 0.6)),
        softness=float(rng.choice([0.0, 0.03, 0.06])),
        opacity=float(np.exp(rng.uniform(np.log(0.4), np.log(3.0)))),
        power=float(rng.uniform(0.35, 1.0)),
        grain=float(np.exp(rng.uniform(np.log(0.03), np.log(0.25)))),
        height=float(rng.uniform(0.3, 1.0)),
    )


def litter_around(
    canvas: Canvas, body: Body, count: int, radii: Point, spread: float = 1.0
) -> npt.NDArray[np.float64]:
    """Return discs, (n, 3) x, y and radius: most outside the edge of a body, some anywhere."""
    rng = canvas.rng
    angle, far = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 1, count)
    distance = body.radius * (1.08 + spread * far**2)
    x = body.centre[0] + distance * np.cos(angle)
    y = body.centre[1] + distance * np.sin(angle)
    anywhere = rng.uniform(0, 1, count) > 0.65  # noqa: PLR2004 - share of the litter
    x, y = (np.where(anywhere, rng.uniform(0, 1, count), place) for place in (x, y))
    return np.stack([x, y, rng.uniform(*radii, count)], axis=1)


def add_litter(canvas: Canvas, body: Body, amount: float = 1.0) -> None:
    """Add loose cells and debris around a body; the number grows with its outline in cells."""
    rng = canvas.rng
    around = min(2 * np.pi * body.radius / canvas.cell, 300.0)
    cells = int(around * amount * rng.uniform(0.05, 0.6))
    specks = int(around * amount * rng.uniform(0.02, 0.25))
    cell = canvas.cell
    canvas.scatter(litter_around(canvas, body, cells, (0.35 * cell, 0.7 * cell)), refracting=True)
    canvas.scatter(
        litter_around(canvas, body, specks, (0.12 * cell, 0.4 * cell), 2.0), refracting=False
    )


def clump(canvas: Canvas, body: Body) -> None:
    """Add an irregular clump of cells: a body and smaller ones attached to it."""
    canvas.draw(body)
    for _ in range(int(canvas.rng.integers(1, 4))):
        angle = canvas.rng.uniform(0, 2 * np.pi)
        away = 0.75 * body.radius
        place = (
            float(body.centre[0] + away * np.cos(angle)),
            float(body.centre[1] + away * np.sin(angle)),
        )
        canvas.draw(
            replace(body, centre=place, radius=body.radius * float(canvas.rng.uniform(0.4, 0.75)))
        )
