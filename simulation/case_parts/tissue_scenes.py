"""Scenes of the cases in which the tissue itself is unusual: large, several, broken or pale.

All lengths are shares of the side of the field.
"""

from dataclasses import replace

import numpy as np

from schemas.ranking import Condition
from simulation.case_parts.bodies import Body, Point, add_litter, clump, random_body
from simulation.case_parts.stage import (
    CaseScene,
    empty_stage,
    large_field,
    near_middle,
    usual_field,
    usual_scene,
    with_soft_edge,
)

_ATTEMPTS = 25  # to place a clump apart from the others; the last attempt counts


def large_body(rng: np.random.Generator) -> CaseScene:
    """Return a body that covers 30 to 80 % of the field."""
    radius = float(np.sqrt(rng.uniform(0.32, 0.78) / np.pi))
    scene = large_field(rng, radius)
    body = random_body(rng, near_middle(rng, 0.03), radius)
    body = replace(body, aspect=min(body.aspect, 1.12), opacity=max(body.opacity, 0.6))
    if rng.random() < 0.6:  # noqa: PLR2004 - share of the bodies
        body = with_soft_edge(rng, body, 0.03, 0.15)
    scene.canvas.draw(body)
    add_litter(scene.canvas, body)
    return scene


def sharp_soft_edge(rng: np.random.Generator) -> CaseScene:
    """Return a large body with a gradual edge, sharp cells and sharp loose cells."""
    radius = float(rng.uniform(0.24, 0.42))
    scene = large_field(rng, radius)
    body = with_soft_edge(rng, random_body(rng, near_middle(rng, 0.05), radius), 0.12, 0.3)
    body = replace(body, opacity=float(rng.uniform(0.8, 2.5)), grain=float(rng.uniform(0.15, 0.35)))
    scene.canvas.draw(body)
    add_litter(scene.canvas, body, 1.5)
    return scene


def two_touching(rng: np.random.Generator) -> CaseScene:
    """Return two dark bodies that touch and cover more than half of the field."""
    radii = rng.uniform(0.295, 0.325, 2)
    scene = large_field(rng, float(radii.mean()))
    angle = float(rng.choice([1, 3])) * np.pi / 4 + rng.normal(0, 0.12)
    step = np.array([np.cos(angle), np.sin(angle)]) * radii.sum() * rng.uniform(0.44, 0.48)
    middle = np.array(near_middle(rng, 0.02))
    first = random_body(rng, (0.5, 0.5), float(radii[0]))
    first = replace(
        first, opacity=float(rng.uniform(1.4, 3.5)), power=float(rng.uniform(0.25, 0.6)), aspect=1.0
    )
    if rng.random() < 0.6:  # noqa: PLR2004 - share of the images
        first = with_soft_edge(rng, first, 0.03, 0.12)
    for radius, (x, y) in zip(radii, (middle - step, middle + step), strict=True):
        body = replace(
            first,
            centre=(float(x), float(y)),
            radius=float(radius),
            opacity=first.opacity * float(rng.uniform(0.8, 1.2)),
        )
        scene.canvas.draw(body)
        add_litter(scene.canvas, body, 1.5)
    scene.bodies = 2
    return scene


def touches_two_borders(rng: np.random.Generator) -> CaseScene:
    """Return a body that touches two borders of the field, at a corner or opposite each other."""
    if rng.random() < 0.5:  # noqa: PLR2004 - even odds
        radius = float(rng.uniform(0.25, 0.45))
        x, y = (radius * rng.uniform(0.55, 0.9, 2)).tolist()
        centre = (float(rng.choice([x, 1 - x])), float(rng.choice([y, 1 - y])))
        aspect, angle = 1.0, 0.0
    else:
        aspect = float(rng.uniform(1.5, 2.2))
        radius = float(rng.uniform(0.54, 0.62) / np.sqrt(aspect))
        centre, angle = near_middle(rng, 0.03), float(rng.choice([0.0, np.pi / 2]))
    scene = large_field(rng, radius)
    body = replace(random_body(rng, centre, radius), aspect=aspect, angle=angle, outline=0.02)
    scene.canvas.draw(body)
    add_litter(scene.canvas, body, 0.5)
    return scene


def several_bodies(rng: np.random.Generator) -> CaseScene:
    """Return 2 to 5 separate bodies with similar sizes."""
    count = int(rng.integers(2, 6))
    largest = float(rng.uniform(0.08, 0.17 if count <= 3 else 0.13))  # noqa: PLR2004 - fits
    scene = usual_field(rng)
    like = random_body(rng, (0.5, 0.5), largest)
    places: list[Body] = []
    while len(places) < count:
        radius = largest * float(rng.uniform(0.5, 1.0)) if places else largest
        x, y = rng.uniform(1.4 * largest, 1 - 1.4 * largest, 2)
        free = all(
            np.hypot(x - other.centre[0], y - other.centre[1])
            > 1.25 * (radius + other.radius) + 0.03
            for other in places
        )
        if free:
            places.append(
                replace(
                    like,
                    centre=(float(x), float(y)),
                    radius=radius,
                    opacity=like.opacity * float(rng.uniform(0.7, 1.3)),
                    angle=float(rng.uniform(0, np.pi)),
                )
            )
    for body in places:
        scene.canvas.draw(body)
    add_litter(scene.canvas, places[0])
    scene.bodies = count
    return scene


def disintegrated(rng: np.random.Generator) -> CaseScene:
    """Return 10 to 120 clumps of very different sizes with loose cells, without a core."""
    scene = usual_field(rng)
    canvas = scene.canvas
    scene.condition, scene.bodies = Condition.EXPLODED, None
    scene.fragmentation = float(rng.uniform(0, 1))
    count = round(10 * 12**scene.fragmentation)
    sizes = np.exp(rng.normal(0, 0.55, count))
    total = float(rng.uniform(0.04, 0.11)) * (1 + scene.fragmentation)  # of the field
    radii = np.sqrt(total / np.pi) * sizes / np.sqrt((sizes**2).sum())
    radii = np.clip(radii, 1.3 * canvas.cell, 0.09)
    spread = 0.13 + 0.13 * scene.fragmentation
    like = random_body(rng, (0.5, 0.5), 0.1)
    middle = np.array(near_middle(rng, 0.05))
    placed: list[tuple[float, float, float]] = []
    for radius in sorted(radii, reverse=True):
        for _ in range(_ATTEMPTS):
            x, y = np.clip(middle + rng.normal(0, spread, 2), 0.06, 0.94)
            if all(np.hypot(x - a, y - b) > 1.5 * (radius + c) for a, b, c in placed):
                break
        placed.append((float(x), float(y), float(radius)))
        clump(canvas, _fragment(rng, like, (float(x), float(y)), float(radius)))
    around = replace(like, centre=(float(middle[0]), float(middle[1])), radius=spread)
    add_litter(canvas, around, 1.0 + 2.0 * scene.fragmentation)
    return scene


def _fragment(rng: np.random.Generator, like: Body, centre: Point, radius: float) -> Body:
    """Return an irregular clump with the optical properties of a body."""
    return replace(
        like,
        centre=centre,
        radius=radius,
        softness=0.0,
        outline=0.2,
        roughness=0.9,
        opacity=like.opacity * float(rng.uniform(0.6, 1.1)),
        aspect=float(rng.uniform(1.0, 1.6)),
        angle=float(rng.uniform(0, np.pi)),
    )


def burst_with_core(rng: np.random.Generator) -> CaseScene:
    """Return a core with fragments on all sides, some of them in chains."""
    scene = usual_field(rng)
    canvas = scene.canvas
    scene.condition, scene.bodies = Condition.EXPLODED, None
    scene.fragmentation = float(rng.uniform(0.15, 1))
    whole = float(rng.uniform(0.1, 0.15))
    radius = whole * (1 - 0.75 * scene.fragmentation) ** (1 / 3)
    core = replace(random_body(rng, near_middle(rng, 0.05), radius), outline=0.12, roughness=1.0)
    canvas.draw(core)
    count = int(12 + 70 * scene.fragmentation)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.5, count)
    reach = rng.uniform(0.1, 1, count) * (0.06 + 0.2 * scene.fragmentation)
    smallest = 1.3 * canvas.cell
    for angle, far in zip(angles, reach, strict=True):
        size = max(smallest, whole * float(np.exp(rng.normal(-2.1, 0.45))))
        links = int(rng.integers(1, 4))
        for link in range(links):
            away = radius + size + far * (link + 1) / links
            x, y = (
                core.centre[0] + away * np.cos(angle),
                core.centre[1] + away * np.sin(angle),
            )
            canvas.draw(_fragment(rng, core, (float(x), float(y)), size * 0.8**link))
    add_litter(canvas, core, 1.0 + 3.0 * scene.fragmentation)
    return scene


def hole(rng: np.random.Generator) -> CaseScene:
    """Return a body with one to three holes through which the background is visible."""
    scene = usual_field(rng)
    body = random_body(rng, near_middle(rng), float(rng.uniform(0.15, 0.32)))
    body = replace(body, opacity=max(body.opacity, 0.7), power=min(body.power, 0.6))
    scene.canvas.draw(body)
    count = int(rng.choice([1, 1, 2, 3]))
    first = rng.uniform(0, 2 * np.pi)
    for number in range(count):
        share = float(rng.uniform(0.14, 0.42 if count == 1 else 0.24))
        away = body.radius * (float(rng.uniform(0, 0.3)) if count == 1 else 0.5)
        angle = first + 2 * np.pi * number / count
        x, y = body.centre[0] + away * np.cos(angle), body.centre[1] + away * np.sin(angle)
        scene.canvas.punch(
            Body(
                (float(x), float(y)),
                share * body.radius,
                aspect=float(rng.uniform(1, 1.6)),
                angle=float(rng.uniform(0, np.pi)),
                outline=0.12,
                roughness=0.3,
            )
        )
    add_litter(scene.canvas, body)
    return scene


def bright_on_dark(rng: np.random.Generator) -> CaseScene:
    """Return a body that is brighter than its ground: dark field or phase contrast."""
    scene, _ = usual_scene(rng)
    scene.phase = bool(rng.random() < 0.5)  # noqa: PLR2004 - even odds
    scene.bright = float(rng.uniform(0.15, 0.35) if scene.phase else rng.uniform(0.01, 0.1))
    return scene


def organoids(rng: np.random.Generator) -> CaseScene:
    """Return 15 to 150 round bodies of 20 to 150 µm all over the field."""
    scene = empty_stage(rng, float(rng.uniform(1500, 3000)))
    canvas = scene.canvas
    count = round(float(np.exp(rng.uniform(np.log(15), np.log(150)))))
    median_um = float(rng.uniform(40, 90))
    hollow = float(rng.choice([0.0, 0.5, 0.8, 1.0]))
    like = random_body(rng, (0.5, 0.5), 0.1)
    placed: list[tuple[float, float, float]] = []
    for _ in range(40 * count):
        if len(placed) == count:
            break
        radius_um = np.clip(median_um * np.exp(rng.normal(0, 0.4)), 20, 150) / 2
        x, y, radius = *rng.uniform(0.05, 0.95, 2), radius_um / canvas.field_um
        if any(np.hypot(x - a, y - b) < 1.15 * (radius + c) + 0.006 for a, b, c in placed):
            continue
        placed.append((float(x), float(y), float(radius)))
        body = replace(
            like,
            centre=placed[-1][:2],
            radius=placed[-1][2],
            outline=0.03,
            roughness=0.15,
            softness=0.0,
            opacity=like.opacity * float(rng.uniform(0.6, 1.4)),
            aspect=float(rng.uniform(1, 1.2)),
            angle=float(rng.uniform(0, np.pi)),
        )
        if rng.random() < hollow:
            body = replace(body, hollow=True, opacity=float(rng.uniform(0.3, 1.2)), grain=0.05)
        canvas.draw(body)
    add_litter(canvas, replace(like, radius=0.3), float(rng.uniform(0, 1)))
    scene.bodies = len(placed)
    return scene


def no_background(rng: np.random.Generator) -> CaseScene:
    """Return a body that covers more than 95 % of the field."""
    radius = float(np.exp(rng.uniform(np.log(0.95), np.log(2.0))))
    scene = empty_stage(rng, float(rng.uniform(500, 1500)))
    scene.has_scale = False
    opacity = float(rng.uniform(0.6, 1.8))
    body = replace(
        random_body(rng, near_middle(rng, 0.1 * radius), radius),
        aspect=1.0,
        outline=0.02,
        opacity=opacity,
        power=float(rng.uniform(0.7, 1.3)),
        grain=float(rng.uniform(0.12, 0.3)),
    )
    # The exposure is chosen for the tissue.
    level = float(rng.uniform(0.3, 0.6) * np.exp(0.5 * opacity))
    scene.scope = replace(scene.scope, light=replace(scene.scope.light, level=level))
    scene.canvas.draw(body)
    scene.condition = None
    return scene
