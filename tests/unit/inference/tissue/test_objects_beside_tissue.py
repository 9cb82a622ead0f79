"""Tests of bubbles, drops and clusters of pieces beside the tissue, on drawn scenes."""

import pytest

from inference.tissue.classical_segmenter import ClassicalSegmenter
from schemas.tissue import Unsure
from simulation.cases import draw_case
from simulation.kinds import Case
from tests.drawn_planes import dice

SIDE_PX = 512


@pytest.mark.parametrize(
    ("case", "seed", "least_dice"),
    [
        pytest.param(Case.BUBBLE, 9607, 0.98, id="a bubble that the border cuts is no tissue"),
        pytest.param(Case.BUBBLE, 20003, 0.98, id="a bubble that is half outside is no tissue"),
        pytest.param(Case.CONDENSATION, 9506, 0.98, id="drops out of focus are no pieces"),
        pytest.param(
            Case.CONDENSATION, 20035, 0.97, id="drops near the tissue are no pieces of it"
        ),
        pytest.param(Case.CONDENSATION, 9720, 0.95, id="many drops are no small bodies"),
        pytest.param(Case.CONDENSATION, 41026, 0.9, id="drops at the border are no pieces"),
        pytest.param(Case.DISINTEGRATED, 41004, 0.95, id="pieces of a grainy tissue are no drops"),
        pytest.param(Case.SCRATCHES, 41028, 0.97, id="scratches do not hide the tissue they cross"),
        pytest.param(Case.BURST_WITH_CORE, 9509, 0.9, id="a cluster of pieces is no fibre"),
        pytest.param(Case.BURST_WITH_CORE, 20011, 0.95, id="narrow gaps between pieces stay open"),
        pytest.param(Case.DISINTEGRATED, 9501, 0.9, id="background is seen between many pieces"),
        pytest.param(Case.ORGANOIDS, 20013, 0.96, id="hollow bodies are tissue with their middle"),
        pytest.param(Case.FIBRE, 80036, 0.85, id="tissue that long fibres cross is no fibre"),
        pytest.param(Case.FIBRE, 80056, 0.98, id="tissue with fibres is no rim of a bubble"),
        pytest.param(Case.ORGANOIDS, 80016, 0.9, id="few small bodies are found"),
        pytest.param(Case.BURST_WITH_CORE, 80053, 0.87, id="small fragments belong to the tissue"),
        pytest.param(Case.TOUCHES_TWO_BORDERS, 80016, 0.98, id="a straight edge is no shadow"),
        pytest.param(Case.ORGANOIDS, 20024, 0.94, id="pale bodies do not widen dark ones nearby"),
    ],
)
def test_the_outline_is_that_of_the_tissue_alone(case: Case, seed: int, least_dice: float) -> None:
    image = draw_case(case, seed, SIDE_PX)

    found = ClassicalSegmenter().segment(image.plane, image.um_per_px)

    assert dice(found.body, image.mask) > least_dice
    assert Unsure.NO_BACKGROUND not in found.unsure


def test_small_round_bodies_that_may_be_loose_cells_are_found_and_doubted() -> None:
    image = draw_case(Case.ORGANOIDS, 9801, SIDE_PX)

    found = ClassicalSegmenter().segment(image.plane, image.um_per_px)

    assert dice(found.body, image.mask) > 0.9
    assert found.unsure == (Unsure.FAINT,)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(41040, id="fibres that cross each other"),
        pytest.param(80036, id="a pale corner beside a fibre"),
        pytest.param(80042, id="a hollow fibre among loose cells"),
    ],
)
def test_fibres_and_clouds_are_no_tissue(seed: int) -> None:
    image = draw_case(Case.EMPTY_WITH_DIRT, seed, SIDE_PX)

    found = ClassicalSegmenter().segment(image.plane, image.um_per_px)

    assert found.is_empty
    assert not found.is_refused


@pytest.mark.parametrize(
    "seed", [pytest.param(9502, id="rough"), pytest.param(41039, id="smooth but uneven")]
)
def test_faint_tissue_that_fills_the_field_is_refused(seed: int) -> None:
    image = draw_case(Case.NO_BACKGROUND, seed, SIDE_PX)

    found = ClassicalSegmenter().segment(image.plane, image.um_per_px)

    assert found.unsure == (Unsure.NO_BACKGROUND,)
