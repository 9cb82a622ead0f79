"""Draws objects that are not tissue: fibres, scratches, bubbles, walls, droplets and overlays.

All lengths are shares of the side of the field.
"""

import cv2
import numpy as np
import numpy.typing as npt

from simulation.case_parts.bodies import DRAWN_PX, Body, Canvas, Point
from simulation.scene import Floats

Bars = tuple[float, float, float, float]
"""Widths of black bars on the left, right, top and bottom."""

_SUBPIXEL_BITS = 4
_FULL = 65535
_GREY_STEP = 257  # of 8-bit values
_TEXTS = ("500 um", "10x", "B07", "Well D4", "2023-05-11", "A3 day 4", "200 um", "4x BF", "0047")


def _polyline(points: npt.NDArray[np.float64], width: float) -> Floats:
    """Return the cover, 0…1 (DRAWN_PX, DRAWN_PX), of a line through points (n, 2)."""
    layer = np.zeros((DRAWN_PX, DRAWN_PX), np.uint8)
    path = np.round(points * (DRAWN_PX << _SUBPIXEL_BITS)).astype(np.int32)
    thickness = max(round(width * DRAWN_PX), 1)
    cv2.polylines(layer, [path], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return layer.astype(np.float32) * np.float32(1 / 255)


def _curve(rng: np.random.Generator, through: Point, length: float) -> npt.NDArray[np.float64]:
    """Return points, (n, 2), of a smooth curve whose middle lies at a point."""
    steps = 120
    bend = np.cumsum(rng.normal(0, 0.05, steps)) + rng.normal(0, 1.2) * np.linspace(-1, 1, steps)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(bend) * (2.0 / steps)
    walk = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) / steps
    middle = int(rng.uniform(0.2, 0.8) * steps)
    return np.asarray((walk - walk[middle]) * length + through)


def add_fibre(canvas: Canvas, body: Body | None) -> None:
    """Add a fibre in front of the field that touches or crosses a body.

    Without a body the fibre lies anywhere.
    """
    rng = canvas.rng
    through: Point
    if body is None:
        x, y = rng.uniform(0.1, 0.9, 2)
    else:
        angle, far = rng.uniform(0, 2 * np.pi), body.radius * rng.uniform(0.0, 1.05)
        x, y = body.centre[0] + far * np.cos(angle), body.centre[1] + far * np.sin(angle)
    through = (float(x), float(y))
    width = float(np.exp(rng.uniform(np.log(0.004), np.log(0.028))))
    points = _curve(rng, through, float(rng.uniform(0.5, 1.6)))
    outer = _polyline(points, width)
    strength = np.float32(rng.uniform(0.35, 0.95))
    if rng.random() < 0.5:  # noqa: PLR2004 - even odds
        canvas.veil *= 1 - strength * outer
        return
    inner = _polyline(points, 0.55 * width)  # dark edges around a bright middle
    middle = np.float32(rng.uniform(-0.15, 0.5))
    canvas.veil *= 1 - strength * (outer - inner) - strength * middle * inner


def add_scratches(canvas: Canvas) -> None:
    """Add thin straight lines across the field, many of them in one direction."""
    rng = canvas.rng
    main = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(8, 70))):
        angle = main + rng.normal(0, 0.15) if rng.random() < 0.7 else rng.uniform(0, np.pi)  # noqa: PLR2004 - share
        middle = rng.uniform(0, 1, 2)
        half = 0.5 * float(np.exp(rng.uniform(np.log(0.08), np.log(1.2))))
        step = np.array([np.cos(angle), np.sin(angle)]) * half
        width = float(np.exp(rng.uniform(np.log(0.0006), np.log(0.006))))
        line = _polyline(np.stack([middle - step, middle + step]), width)
        canvas.veil *= 1 - np.float32(rng.uniform(-0.15, 0.45)) * line


def distances(centre: Point) -> Floats:
    """Return the distance, (DRAWN_PX, DRAWN_PX), of each pixel from a point."""
    axis = (np.arange(DRAWN_PX, dtype=np.float32) + np.float32(0.5)) / np.float32(DRAWN_PX)
    return np.asarray(np.hypot(axis[None, :] - centre[0], axis[:, None] - centre[1]), np.float32)


def add_bubble(canvas: Canvas, centre: Point, radius: float) -> None:
    """Add an air bubble: a wide dark rim, a bright middle and a glint."""
    rng = canvas.rng
    ratio = distances(centre) / np.float32(radius)
    rim = float(rng.uniform(0.12, 0.45))  # width in radii
    inside = np.clip((1 - ratio) * np.float32(radius * DRAWN_PX / 2), 0, 1)
    dark = np.clip((ratio - (1 - rim)) / rim, 0, 1) ** np.float32(rng.uniform(0.5, 2.0))
    bright = np.float32(rng.uniform(0.0, 0.25)) * np.clip((0.7 - ratio) / 0.2, 0, 1)
    canvas.veil *= 1 - inside * (np.float32(rng.uniform(0.6, 0.97)) * dark - bright)
    seam = np.exp(-(((ratio - 1.04) / 0.025) ** 2))
    canvas.veil *= 1 + np.float32(rng.uniform(0, 0.25)) * seam


def add_wall(canvas: Canvas, centre: Point, radius: float) -> None:
    """Add the wall of the well: a dark ring, and darker or equal light beyond it."""
    rng = canvas.rng
    far = distances(centre) - np.float32(radius)
    soft = np.float32(rng.uniform(0.002, 0.02))
    width = np.float32(rng.uniform(0.015, 0.12))
    beyond = np.clip(far / soft + 0.5, 0, 1)
    ring = beyond * np.clip((width - far) / soft + 0.5, 0, 1)
    loss = np.float32(rng.uniform(0.0, 0.9))
    canvas.veil *= (
        1 - ring * np.float32(rng.uniform(0.5, 0.95)) - np.float32(loss) * (beyond - ring)
    )
    seam = np.exp(-(((far + 2 * soft) / soft) ** 2))
    canvas.veil *= 1 + np.float32(rng.uniform(0, 0.2)) * seam


def add_condensation(canvas: Canvas) -> None:
    """Add blurred droplets in the light path, each a lens with a dark edge."""
    rng = canvas.rng
    size = 512
    veil = np.ones((size, size), np.float32)
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    strength = rng.uniform(0.12, 0.5)
    for _ in range(int(rng.integers(30, 160))):
        x, y = rng.uniform(-0.05, 1.05, 2).astype(np.float32)
        radius = np.float32(np.exp(rng.uniform(np.log(0.012), np.log(0.06))))
        ratio = np.hypot(axis[None, :] - x, axis[:, None] - y) / radius
        edge = np.exp(-(((ratio - 0.85) / 0.25) ** 2))
        middle = np.exp(-((ratio / 0.5) ** 2))
        depth = np.float32(strength * rng.uniform(0.4, 1.0))
        veil *= 1 - depth * edge + np.float32(0.5) * depth * middle
    veil = np.asarray(cv2.GaussianBlur(veil, (0, 0), float(rng.uniform(0.006, 0.015)) * size))
    canvas.veil *= cv2.resize(veil, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC)


def add_dirt(canvas: Canvas) -> None:
    """Add specks, fibres, smudges and loose cells all over the field."""
    rng = canvas.rng
    cell = canvas.cell
    for count, radii, refracting in (
        (int(rng.integers(0, 150)), (0.1 * cell, 0.35 * cell), False),
        (int(rng.integers(0, 120)), (0.35 * cell, 0.7 * cell), True),
        (int(rng.integers(0, 4)), (0.5 * cell, 1.2 * cell), False),
    ):
        discs = np.stack([*rng.uniform(0, 1, (2, count)), rng.uniform(*radii, count)], axis=1)
        canvas.scatter(discs, refracting=refracting, opacity=float(rng.uniform(0.2, 1.2)))
    for _ in range(int(rng.integers(0, 3))):
        add_fibre(canvas, None)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, 1, 2)
        far = distances((float(x), float(y))) / np.float32(rng.uniform(0.03, 0.2))
        canvas.veil *= 1 - np.float32(rng.uniform(-0.04, 0.1)) * np.exp(-far * far)


def burn_text(plane: npt.NDArray[np.uint16], rng: np.random.Generator) -> None:
    """Write a scale bar and text in black or white onto a square 8-bit plane, which is changed."""
    size = len(plane)
    layer = np.zeros(plane.shape, np.uint8)
    value = int(rng.choice([0, _FULL]))
    left, top = float(rng.uniform(0.03, 0.6)), float(rng.choice([0.06, 0.93]))
    width, thick = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.004, 0.014))
    x0, x1, y0, y1 = (round(share * size) for share in (left, left + width, top, top + thick))
    layer[y0 : max(y1, y0 + 1), x0:x1] = 255
    texts = [(left, top - 0.015)]
    if rng.random() < 0.6:  # noqa: PLR2004 - share of the images
        texts.append((float(rng.uniform(0.02, 0.5)), 1.0 - top + 0.02))
    for x, y in texts:
        text = str(rng.choice(_TEXTS))
        scale = float(rng.uniform(0.8, 2.2)) * size / 1024
        cv2.putText(
            layer,
            text,
            (round(x * size), round(y * size)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            255,
            max(round(2.5 * scale), 1),
            cv2.LINE_AA,
        )
    share = layer.astype(np.float32) / 255
    mixed = np.round((plane * (1 - share) + value * share) / _GREY_STEP) * _GREY_STEP
    plane[:] = mixed.astype(np.uint16)


def draw_bars(rng: np.random.Generator) -> Bars:
    """Return the widths of black bars on the left, right, top and bottom; some are 0."""
    widths = rng.uniform(0.02, 0.14, 4) * (rng.random(4) < rng.choice([0.3, 0.6, 1.0]))
    if not widths.any():
        widths[int(rng.integers(4))] = rng.uniform(0.05, 0.14)
    left, right, top, bottom = widths.tolist()
    return left, right, top, bottom


def paint_bars(
    plane: npt.NDArray[np.uint16],
    bars: Bars,
    rng: np.random.Generator,
) -> None:
    """Paint black bars onto a square plane, which is changed; they are 0, constant or noisy."""
    size = len(plane)
    level = float(rng.choice([0.0, 0.0, 0.01, 0.03])) * _FULL
    noisy = level > 0 and rng.random() < 0.5  # noqa: PLR2004 - even odds
    noise = rng.normal(0, 0.003 * _FULL, plane.shape) if noisy else 0.0
    black = np.clip(np.broadcast_to(level + noise, plane.shape), 0, _FULL).astype(np.uint16)
    left, right, top, bottom = (round(width * size) for width in bars)
    hidden = np.ones(plane.shape, dtype=bool)
    hidden[top : size - bottom, left : size - right] = False
    plane[hidden] = black[hidden]
