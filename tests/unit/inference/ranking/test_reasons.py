from dataclasses import replace

import numpy as np
import pytest

from inference.ranking.plate_ranking import score_plate
from inference.ranking.reasons import reasons_by_treatment
from schemas.plate_map import Group
from schemas.ranking import Reason
from schemas.trajectory import Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

NAMES = ("log_area", "od_mean", "log_debris_share", "Homogeneity")


def measured(seed: int = 0) -> Trajectories:
    """Return 18 untreated wells and 3 wells of each of 3 treatments, the first from well 18.

    Each well has 4 measures on days 7, 8 and 10.
    """
    rng = np.random.default_rng(seed)
    base = plate(encoder_id="")
    features = rng.normal(size=(27, 1, 4)) + 0.1 * rng.normal(size=(27, 3, 4))
    return replace(base, days=(7, 8, 10), features=features, feature_names=NAMES)


def reasons(
    trajectories: Trajectories, treatment: int = 0, measured_on: Trajectories | None = None
) -> tuple[Reason, ...]:
    scored = score_plate(trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0)
    found = reasons_by_treatment(
        scored.placement.treatments,
        measured_on or trajectories,
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
    )
    return found.get((Group.SCREENING, f"drug{treatment}:1 uM"), ())


def moved(
    trajectories: Trajectories, wells: slice, days: slice, measure: int, by: float
) -> Trajectories:
    features = trajectories.features.copy()
    features[wells, days, measure] += by
    return replace(trajectories, features=features)


def test_changes_are_described_in_words_strongest_first() -> None:
    shrunk = moved(
        moved(measured(), slice(18, 21), slice(1, 3), 0, -3.0), slice(18, 21), slice(2, 3), 2, 1.5
    )
    first, second = reasons(shrunk)[:2]
    assert (first.seen, first.from_day, second.seen, second.from_day) == (
        "smaller",
        8,
        "more debris",
        10,
    )
    assert first.spreads < -10
    assert set(first.wells) == set(shrunk.wells[18:21])


def test_the_change_is_counted_in_untreated_spreads() -> None:
    shrunk = moved(measured(), slice(18, 21), slice(2, 3), 0, -3.0)
    change = shrunk.features[:, 2, 0] - shrunk.features[:, 0, 0]
    expected = (change[18:21].mean() - change[:18].mean()) / change[:18].std(ddof=1)
    assert reasons(shrunk)[0].spreads == pytest.approx(expected)


def test_what_untreated_wells_do_too_is_no_reason() -> None:
    grown = moved(measured(), slice(None), slice(1, 3), 0, 2.0)
    assert not any(reason.measure == "log_area" for reason in reasons(grown, 1))


def test_only_wells_that_share_a_reason_are_named() -> None:
    one = moved(measured(), slice(18, 19), slice(2, 3), 1, 8.0)
    reason = reasons(one)[0]
    assert (reason.seen, reason.wells[0]) == ("darker", one.wells[18])
    assert len(reason.wells) < 3


def test_a_column_of_any_table_is_described_by_its_name() -> None:
    assert (
        reasons(moved(measured(), slice(18, 21), slice(2, 3), 3, -2.0))[0].seen
        == "lower Homogeneity"
    )


def test_an_embedding_gives_no_reasons() -> None:
    assert reasons(plate(), measured_on=plate()) == ()


def test_missing_values_and_days_are_passed_over() -> None:
    shrunk = moved(measured(), slice(18, 21), slice(1, 3), 0, -3.0)
    features = shrunk.features.copy()
    features[18, 1:] = np.nan
    features[19, 0] = np.nan
    features[20, 1] = np.inf
    holed = replace(shrunk, features=features)
    assert reasons(holed)[0].wells == (holed.wells[20],)


def test_without_an_image_from_before_dosing_there_are_no_reasons() -> None:
    scored = score_plate(measured(), dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0)
    late = replace(measured(), days=(8, 9, 10))
    assert (
        reasons_by_treatment(
            scored.placement.treatments, late, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
        )
        == {}
    )
