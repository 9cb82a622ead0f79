"""Gaps between fragments of tissue, and the pale middles of hollow bodies."""

import numpy as np

from inference.tissue.openings import find_open_gaps
from simulation.kinds import Case
from tests.drawn_planes import dice, disc
from tests.unit.inference.tissue.test_difficult_scenes import found_in

SIDE = 200
LIMIT = np.full((SIDE, SIDE), 0.6, np.float32)


def test_the_light_between_two_fragments_is_a_gap() -> None:
    light = np.ones((SIDE, SIDE), np.float32)
    light[50:150, 50:95] = light[50:150, 105:150] = 0.3

    gaps = find_open_gaps(light, LIMIT, 1.33)

    assert gaps[60:140, 97:103].all()
    assert not gaps[60:140, 60:90].any()


def test_the_middle_of_a_hollow_body_is_no_gap_also_if_its_rim_leaks() -> None:
    rim = disc(0.5, 0.5, 0.3, SIDE) & ~disc(0.5, 0.5, 0.24, SIDE)
    light = np.where(rim, 0.3, 1).astype(np.float32)
    light[99:101, 120:] = 1

    gaps = find_open_gaps(light, LIMIT, 1.33)

    assert not (gaps & disc(0.5, 0.5, 0.2, SIDE)).any()


def test_the_light_between_the_clumps_of_disintegrated_tissue_is_not_tissue() -> None:
    image, found, _ = found_in(Case.DISINTEGRATED, 2)
    assert np.count_nonzero(found.body & ~image.mask) < 0.02 * np.count_nonzero(image.mask)
    assert dice(found.body, image.mask) > 0.95
