import numpy as np
import pytest

from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values

MEASURED = {
    "area_um2": 50_000.0,
    "debris_area_um2": 400.0,
    "debris_count": 3.0,
    "pieces": 1.0,
    "circularity": 0.9,
    "solidity": 0.97,
    "roughness": 0.004,
    "od_mean": 0.5,
    "od_spread": 0.1,
    "grain_fine": 0.02,
    "grain_coarse": 0.03,
    "core_darkness": 0.1,
    "edge_darkness": -0.1,
}


def test_every_measure_has_a_name() -> None:
    assert ranked_values(MEASURED).shape == (len(RANKED_MEASURES),)


def test_without_a_scale_only_the_area_differs_by_a_constant() -> None:
    unscaled = {
        name.replace("_um2", "_px"): value / 4.0 if name.endswith("_um2") else value
        for name, value in MEASURED.items()
    }
    difference = ranked_values(MEASURED) - ranked_values(unscaled)
    assert difference[0] == pytest.approx(np.log(4.0))
    np.testing.assert_allclose(difference[1:], 0, atol=1e-9)


@pytest.mark.parametrize(
    "empty",
    [
        {"area_um2": 0.0, "pieces": 0.0, "debris_area_um2": 900.0, "debris_count": 2.0},
        {"area_px": 0.0, "pieces": 0.0},
    ],
)
def test_an_empty_well_has_finite_values_and_an_area_far_below_any_tissue(
    empty: dict[str, float],
) -> None:
    assert np.isfinite(ranked_values(empty)).all()
    assert ranked_values(empty)[0] < ranked_values(MEASURED)[0] - 5


def test_log_odds_limit_the_difference_of_a_broken_body() -> None:
    whole, dented, broken = (
        ranked_values(MEASURED | {"circularity": value})[RANKED_MEASURES.index("circularity_odds")]
        for value in (0.97, 0.9, 0.3)
    )
    assert (whole - dented) > (dented - broken) / 3
    assert whole > dented > broken


def test_a_missing_measure_of_tissue_is_not_zero_and_without_measures_nothing_is_known() -> None:
    without = {name: value for name, value in MEASURED.items() if name != "od_mean"}
    values = dict(zip(RANKED_MEASURES, ranked_values(without), strict=True))
    assert [name for name, value in values.items() if np.isnan(value)] == ["od_mean"]
    no_debris = {name: value for name, value in MEASURED.items() if name != "debris_area_um2"}
    values = dict(zip(RANKED_MEASURES, ranked_values(no_debris), strict=True))
    assert [name for name, value in values.items() if np.isnan(value)] == ["log_debris_share"]
    assert np.isnan(ranked_values({})).all()
