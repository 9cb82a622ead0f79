from dataclasses import replace

import pytest

from inference.ranking.well_tissue import WellTissue, tissue_by_well
from inference.tissue.condition import ConditionSettings
from schemas.ranking import Condition
from tests.samples import observation

ONE = {"pieces": 1.0, "largest_piece_share": 1.0, "effective_pieces": 1.0}
INTACT = ONE | {"area_um2": 9e4, "open_directions": 0.0, "spilled": 0.0, "spread_um": 170.0}
BURST = INTACT | {"open_directions": 0.9, "spilled": 0.8, "spread_um": 400.0}
CLUMPS = BURST | {"pieces": 60.0, "largest_piece_share": 0.1, "effective_pieces": 10.0}
CULTURE = CLUMPS | {"open_directions": 0.0, "spilled": 0.0}


def tissue_of(**measures_by_day: dict[str, float]) -> WellTissue:
    """Return the tissue on day 10, after dosing on day 7, of a well measured on days such as d7."""
    images = [
        replace(observation("B02", int(day.removeprefix("d"))), measures=measures)
        for day, measures in measures_by_day.items()
    ]
    found = tissue_by_well(images, dosing_day=7, readout_day=10, settings=ConditionSettings())
    return found["B02"]


@pytest.mark.parametrize("before", [CULTURE, CLUMPS], ids=["intact", "called exploded"])
def test_a_culture_of_many_bodies_at_dosing_is_intact_however_many_bodies_it_has_later(
    before: dict[str, float],
) -> None:
    for later in (CULTURE, CLUMPS, CLUMPS | {"pieces": 5.0, "largest_piece_share": 0.3}):
        found = tissue_of(d7=before, d10=later)
        assert (found.condition, found.explosion_degree) == (Condition.INTACT, 0.0)


@pytest.mark.parametrize("before", [INTACT, BURST, INTACT | {"pieces": 7.0}])
def test_a_well_with_one_body_at_dosing_and_many_pieces_later_is_exploded(
    before: dict[str, float],
) -> None:
    found = tissue_of(d7=before, d10=CLUMPS)
    assert (found.condition, found.explosion_degree) == (Condition.EXPLODED, pytest.approx(8.0))


def test_loose_cells_at_dosing_that_become_one_body_which_bursts_are_exploded() -> None:
    assert tissue_of(d7=CLUMPS, d10=BURST).condition is Condition.EXPLODED


@pytest.mark.parametrize("unmeasured", [{}, {"pieces": 0.0, "area_um2": 0.0}])
def test_the_last_measured_image_up_to_the_dosing_day_decides(
    unmeasured: dict[str, float],
) -> None:
    assert tissue_of(d5=INTACT, d7=CULTURE, d10=CLUMPS).condition is Condition.INTACT
    assert tissue_of(d5=CULTURE, d7=INTACT, d10=CLUMPS).condition is Condition.EXPLODED
    assert tissue_of(d7=INTACT, d8=CULTURE, d10=CLUMPS).condition is Condition.EXPLODED
    refused = tissue_of(d5=CULTURE, d7=unmeasured, d10=CLUMPS)
    assert refused.condition is (Condition.EXPLODED if unmeasured else Condition.INTACT)


def test_without_an_image_up_to_dosing_the_readout_image_alone_decides() -> None:
    found = tissue_of(d10=CLUMPS)
    assert found.condition is Condition.EXPLODED
    assert not any(name.endswith("_change") for name in found.measures)


def test_an_empty_well_of_a_culture_of_many_bodies_has_no_condition() -> None:
    found = tissue_of(d7=CULTURE, d10={"pieces": 0.0, "area_um2": 0.0})
    assert (found.condition, found.explosion_degree) == (None, None)


def test_changes_are_those_since_the_last_image_up_to_dosing() -> None:
    found = tissue_of(d7=CULTURE, d10=CLUMPS)
    assert found.measures["spilled_change"] == pytest.approx(0.8)
    assert found.measures["area_um2_change"] == 0
