"""Scenes of the cases with other objects, unusual light or an autofocus failure.

All lengths are shares of the side of the field.
"""

from dataclasses import replace

import numpy as np

from simulation.case_parts.bodies import Point, add_litter, random_body
from simulation.case_parts.objects import (
    add_bubble,
    add_condensation,
    add_dirt,
    add_fibre,
    add_scratches,
    add_wall,
    draw_bars,
)
from simulation.case_parts.stage import CaseScene, near_middle, usual_field, usual_scene


def fibre(rng: np.random.Generator) -> CaseScene:
    """Return a body with one to three fibres that touch or cross it."""
    scene, body = usual_scene(rng)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        add_fibre(scene.canvas, body)
    return scene


def scratches(rng: np.random.Generator) -> CaseScene:
    """Return a body on a scratched floor."""
    scene, _ = usual_scene(rng)
    add_scratches(scene.canvas)
    return scene


def _beside(rng: np.random.Generator, centre: Point, far: float) -> Point:
    """Return a point at a distance from a point, towards the side with more space."""
    away = np.arctan2(0.5 - centre[1], 0.5 - centre[0]) + rng.uniform(-1.2, 1.2)
    return float(centre[0] + far * np.cos(away)), float(centre[1] + far * np.sin(away))


def bubble(rng: np.random.Generator) -> CaseScene:
    """Return a body with an air bubble beside it, of half to twice its radius."""
    scene = usual_field(rng)
    body = random_body(rng, near_middle(rng, 0.2), float(rng.uniform(0.09, 0.17)))
    scene.canvas.draw(body)
    add_litter(scene.canvas, body)
    radius = body.radius * float(rng.uniform(0.5, 2.0))
    far = 1.3 * body.radius * np.sqrt(body.aspect) + radius + float(rng.uniform(0.02, 0.1))
    add_bubble(scene.canvas, _beside(rng, body.centre, far), radius)
    return scene


def well_wall(rng: np.random.Generator) -> CaseScene:
    """Return a body in a well whose wall is visible as a ring or an arc."""
    scene = usual_field(rng)
    body = random_body(rng, near_middle(rng, 0.05), float(rng.uniform(0.08, 0.15)))
    scene.canvas.draw(body)
    add_litter(scene.canvas, body)
    radius = float(rng.uniform(0.36, 0.9))
    offset = max(radius - 0.42, 0.02) * rng.uniform(0.6, 1.0)
    angle = rng.uniform(0, 2 * np.pi)
    centre = float(0.5 + offset * np.cos(angle)), float(0.5 + offset * np.sin(angle))
    add_wall(scene.canvas, centre, radius)
    return scene


def burned_in_text(rng: np.random.Generator) -> CaseScene:
    """Return a body with a scale bar and text at the border, of an 8-bit image."""
    scene, _ = usual_scene(rng)
    scene.scope = replace(scene.scope, camera=replace(scene.scope.camera, levels=255))
    scene.text = True
    return scene


def black_bars(rng: np.random.Generator) -> CaseScene:
    """Return a body with black padding on one or more sides."""
    scene, _ = usual_scene(rng)
    scene.bars = draw_bars(rng)
    return scene


def condensation(rng: np.random.Generator) -> CaseScene:
    """Return a body below a lid with droplets, which are out of focus."""
    scene, _ = usual_scene(rng)
    add_condensation(scene.canvas)
    return scene


def uneven_light(rng: np.random.Generator) -> CaseScene:
    """Return a body under strong vignetting, a strong gradient or half a shadow."""
    scene, _ = usual_scene(rng)
    light = scene.scope.light
    kind = int(rng.integers(3))
    if kind == 0:
        light = replace(light, vignette=float(rng.uniform(0.5, 0.9)))
    elif kind == 1:
        light = replace(light, tilt=float(rng.uniform(0.8, 1.5)), level=min(light.level, 0.5))
    else:
        light = replace(
            light,
            shadow=float(rng.uniform(0.25, 0.7)),
            shadow_at=float(rng.uniform(-0.3, 0.4)),
            shadow_width=float(np.exp(rng.uniform(np.log(0.05), np.log(0.5)))),
        )
    scene.scope = replace(scene.scope, light=light)
    return scene


def blurred(rng: np.random.Generator) -> CaseScene:
    """Return a body so far out of focus that the image cannot be used."""
    scene, _ = usual_scene(rng)
    scene.blur = float(np.exp(rng.uniform(np.log(0.012), np.log(0.04))))
    scene.disc_blur = bool(rng.random() < 0.5)  # noqa: PLR2004 - even odds
    return scene


def empty_with_dirt(rng: np.random.Generator) -> CaseScene:
    """Return a field with dirt and loose cells, without tissue."""
    scene = usual_field(rng)
    add_dirt(scene.canvas)
    scene.condition, scene.bodies = None, 0
    return scene
