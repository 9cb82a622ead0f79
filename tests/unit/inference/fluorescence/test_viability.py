"""The viability of wells from the intensities of their stains."""

import numpy as np
import pytest

from inference.fluorescence.viability import (
    WellSignals,
    estimate_dead_weight,
    viability_percent,
)
from schemas.errors import ProfileError

SHARES = np.linspace(0.1, 0.98, 12)  # of live cells


def plate(live: float = 3.0, dead: float = 2.0, noise: float = 0.0) -> dict[str, WellSignals]:
    """Return wells with different shares of live cells and numbers of cells."""
    rng = np.random.default_rng(1)
    wells = {}
    for number, share in enumerate(SHARES):
        cells = rng.uniform(500, 2000)
        factors = np.exp(rng.normal(0, noise, 3))
        wells[f"B{number:02d}"] = WellSignals(
            live * share * cells * factors[0],
            dead * (1 - share) * cells * factors[1],
            cells * factors[2],
        )
    return wells


def test_the_weight_of_the_dead_stain_follows_from_the_nuclei() -> None:
    weight = estimate_dead_weight(plate(live=3.0, dead=2.0), "P")
    assert weight == pytest.approx(1.5)
    assert [each.live_share(weight) for each in plate().values()] == pytest.approx(SHARES)


def test_with_errors_of_the_stains_the_live_share_has_an_error_below_five_points() -> None:
    wells = plate(noise=0.05)
    weight = estimate_dead_weight(wells, "P")
    errors = [
        (each.live_share(weight) or 0.0) - share
        for each, share in zip(wells.values(), SHARES, strict=True)
    ]
    assert np.abs(errors).max() < 0.05


def test_wells_with_the_same_share_of_dead_cells_do_not_determine_the_weight() -> None:
    rng = np.random.default_rng(2)
    alike = {
        f"B{number}": WellSignals(3 * count, 0.2 * count, count)
        for number, count in enumerate(rng.uniform(500, 2000, 12))
    }
    with pytest.raises(ProfileError, match="expected 10 wells with nuclei and different shares"):
        estimate_dead_weight(alike, "P")


def test_too_few_wells_with_nuclei_are_refused() -> None:
    few = dict(list(plate().items())[:9])
    with pytest.raises(ProfileError, match="9 wells have a nuclear and a dead stain"):
        estimate_dead_weight(few, "P")


def test_viability_is_relative_to_the_mean_of_the_untreated_wells() -> None:
    values = {"B02": 90.0, "B03": 110.0, "B04": 100.0, "C02": 50.0, "C03": 300.0, "C04": None}
    assert viability_percent(values, {"B02", "B03", "B04"}, "P") == pytest.approx(
        {"B02": 90.0, "B03": 110.0, "B04": 100.0, "C02": 50.0, "C03": 200.0}
    )


def test_without_enough_untreated_wells_there_is_no_viability() -> None:
    with pytest.raises(ProfileError, match="2 untreated wells have a usable image"):
        viability_percent({"B02": 1.0, "B03": 1.0, "C02": 0.5}, {"B02", "B03"}, "P")
    with pytest.raises(ProfileError, match="no live signal"):
        viability_percent(dict.fromkeys(("B02", "B03", "B04"), 0.0), {"B02", "B03", "B04"}, "P")
