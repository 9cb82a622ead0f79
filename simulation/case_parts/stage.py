"""An empty field with a random microscope, and the usual content of a field.

All lengths are shares of the side of the field.
"""

from dataclasses import dataclass, replace

import numpy as np

from schemas.ranking import Condition
from simulation.case_parts.bodies import Body, Canvas, Point, add_litter, random_body
from simulation.case_parts.camera import Microscope, random_microscope
from simulation.case_parts.objects import Bars

_CELL_UM = (8.0, 15.0)


@dataclass(eq=False)
class CaseScene:
    """Content of a field with its microscope, truth and changes after the lighting."""

    canvas: Canvas
    scope: Microscope
    condition: Condition | None = Condition.INTACT
    bodies: int | None = 1  # None: the connected parts of the mask
    fragmentation: float = 0.0
    blur: float = 0.0  # SD of the blur by a failed autofocus
    disc_blur: bool = False
    has_scale: bool = True
    bright: float = 0.0  # light of the dark ground of a bright body; 0 = bright field
    phase: bool = False  # phase contrast instead of dark field
    bars: Bars | None = None
    text: bool = False


def empty_stage(rng: np.random.Generator, field_um: float) -> CaseScene:
    """Return an empty field of a given side with a random microscope."""
    canvas = Canvas(rng, field_um, float(rng.uniform(*_CELL_UM)) / field_um)
    return CaseScene(canvas, random_microscope(rng), has_scale=bool(rng.random() < 0.6))  # noqa: PLR2004 - share with a scale


def usual_field(rng: np.random.Generator) -> CaseScene:
    """Return an empty field of 900 to 2400 µm."""
    return empty_stage(rng, float(rng.uniform(900, 2400)))


def large_field(rng: np.random.Generator, radius: float) -> CaseScene:
    """Return an empty field without a scale for a body of 250 to 700 µm with a given radius."""
    scene = empty_stage(rng, float(rng.uniform(250, 700)) / radius)
    scene.has_scale = False
    return scene


def near_middle(rng: np.random.Generator, reach: float = 0.08) -> Point:
    """Return a random point at most ``reach`` from the middle along each axis."""
    x, y = 0.5 + rng.uniform(-reach, reach, 2)
    return float(x), float(y)


def usual_scene(rng: np.random.Generator) -> tuple[CaseScene, Body]:
    """Return a usual field with one body and litter, and the body."""
    scene = usual_field(rng)
    body = random_body(rng, near_middle(rng), float(rng.uniform(0.1, 0.22)))
    scene.canvas.draw(body)
    add_litter(scene.canvas, body)
    return scene, body


def with_soft_edge(rng: np.random.Generator, body: Body, low: float, high: float) -> Body:
    """Return a body with a gradual edge and without the dark rim of a steep one."""
    return replace(
        body,
        softness=float(rng.uniform(low, high)),
        power=float(rng.uniform(0.25, 0.5)),
        height=float(rng.uniform(0.05, 0.3)),
    )
