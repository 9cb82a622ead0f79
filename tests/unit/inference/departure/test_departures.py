from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from inference.departure.departure_settings import DepartureSettings
from inference.departure.departures import departures_on_day, measure_departures
from schemas.errors import ProfileError
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import Group
from schemas.trajectory import Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, joined, plate

KILLS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def scores(trajectories: Trajectories) -> np.ndarray:
    return measure_departures(trajectories, dosing_day=DOSING_DAY, day=READOUT_DAY).scores


def changed(
    trajectories: Trajectories,
    well: int,
    day: int,
    value: float,
    feature: slice | int = slice(None),
) -> Trajectories:
    features = trajectories.features.copy()
    features[well, trajectories.days.index(day), feature] = value
    return replace(trajectories, features=features)


def test_untreated_wells_have_mean_0_and_spread_1() -> None:
    untreated = np.array([scores(plate(seed=seed))[:18] for seed in range(20)])
    assert untreated.mean() == pytest.approx(0, abs=0.05)  # outliers are clipped
    assert untreated.std() == pytest.approx(1, abs=0.15)


def test_the_departure_increases_with_the_kill() -> None:
    result = scores(plate((0.0, 0.3, 0.6, 1.0)))
    means = result[18:].reshape(4, 3).mean(axis=1)
    assert (np.diff(means) > 0).all()
    assert means[3] > 5


@pytest.mark.parametrize(("untreated", "encoder_id"), [(18, "e"), (18, ""), (30, "e"), (6, "")])
def test_wells_of_a_treatment_without_effect_score_like_untreated_wells(
    untreated: int, encoder_id: str
) -> None:
    nothing = np.array(
        [
            scores(plate((0.0,) * 8, untreated=untreated, seed=seed, encoder_id=encoder_id))[
                untreated:
            ]
            for seed in range(20)
        ]
    )
    assert nothing.mean() == pytest.approx(0, abs=3 / np.sqrt(untreated))


def test_an_untreated_well_does_not_take_part_in_its_own_forecast_noise_or_metric() -> None:
    outlier = plate()
    outlier = replace(
        outlier,
        features=outlier.features
        + np.where(np.arange(len(outlier.wells)) == 0, 40.0, 0.0)[:, None, None]
        * (np.arange(2) == 1)[:, None],
    )
    assert scores(outlier)[0] > 3 * np.abs(scores(outlier)[1:18]).max()


def test_days_after_dosing_do_not_feed_the_forecast() -> None:
    trajectories = plate()
    features = np.insert(
        trajectories.features, 1, trajectories.features[:, 1], axis=1
    )  # day 8 equals day 10
    with_day_8 = replace(trajectories, days=(7, 8, 10), features=features)
    np.testing.assert_array_equal(scores(with_day_8), scores(trajectories))


def test_the_last_pre_dose_images_may_be_of_different_days() -> None:
    trajectories = plate((0.2, 0.6, 1.0))
    earlier = (
        trajectories.features[:, :1] - 2.0
    )  # On the day before, all wells had smaller features.
    features = np.concatenate([earlier, trajectories.features], axis=1)
    features[::2, 1] = np.nan
    uneven = replace(trajectories, days=(6, 7, 10), features=features)
    assert (
        np.corrcoef(scores(uneven), scores(trajectories))[0, 1] > 0.95
    )  # the median of the day is computed from fewer wells


def test_a_well_without_an_image_from_before_dosing_is_left_out_with_the_reason() -> None:
    departures = measure_departures(
        changed(plate(), 20, DOSING_DAY, np.nan), dosing_day=DOSING_DAY, day=READOUT_DAY
    )
    assert np.isnan(departures.scores[20])
    assert departures.left_out == {
        plate().wells[20]: "no image from before dosing (day 7 or earlier)"
    }


def test_a_well_with_mostly_missing_features_is_left_out() -> None:
    departures = measure_departures(
        changed(plate(), 20, READOUT_DAY, np.nan, slice(0, 30)),
        dosing_day=DOSING_DAY,
        day=READOUT_DAY,
    )
    assert departures.left_out == {plate().wells[20]: "most features of day 10 are missing"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
def test_single_extreme_values_change_scores_little_and_are_noted(value: float) -> None:
    whole = scores(plate())
    departures = measure_departures(
        changed(plate(), 3, READOUT_DAY, value, 5), dosing_day=DOSING_DAY, day=READOUT_DAY
    )
    np.testing.assert_allclose(departures.scores, whole, atol=1.0)
    assert departures.notes == ("1 missing values were replaced by the median of their day.",)


def test_a_feature_that_is_often_missing_is_dropped_and_named() -> None:
    trajectories = plate()
    features = trajectories.features.copy()
    features[::3, 1, 7] = np.inf
    departures = measure_departures(
        replace(trajectories, features=features), dosing_day=DOSING_DAY, day=READOUT_DAY
    )
    assert np.isfinite(departures.scores).all()
    assert "feature_7" in departures.notes[0]


def test_features_of_any_unit_give_the_same_scores_in_a_table() -> None:
    trajectories = plate(features=6, encoder_id="")
    units = 10.0 ** np.arange(-3, 3)
    np.testing.assert_allclose(
        scores(replace(trajectories, features=trajectories.features * units)),
        scores(trajectories),
        rtol=1e-6,
    )


def test_constant_and_mostly_zero_features_do_not_change_the_order() -> None:
    trajectories = plate(encoder_id="")
    rare = np.zeros((*trajectories.features.shape[:2], 2))
    rare[2, 1, 0] = 1e13
    with_rare = replace(
        trajectories,
        features=np.concatenate([trajectories.features, rare], axis=2),
        feature_names=(*trajectories.feature_names, "rare", "constant"),
    )
    treated = np.arange(len(trajectories.wells)) >= 18
    np.testing.assert_allclose(np.argsort(scores(with_rare)[treated])[-3:] // 3, 2)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (
            lambda each: replace(each, features=np.ones_like(each.features)),
            "none of 40 features varies",
        ),
        (lambda each: replace(each, days=(8, 10)), "no image of day 7 or earlier"),
        (lambda each: replace(each, days=(7, 9)), "no image of the readout day 10"),
        (
            lambda each: replace(each, groups=(Group.SCREENING,) * len(each.wells)),
            "0 untreated wells .* expected at least 3",
        ),
        (
            lambda each: replace(
                each, groups=(Group.UNTREATED, *(Group.SCREENING,) * (len(each.wells) - 1))
            ),
            "1 untreated wells",
        ),
    ],
)
def test_a_plate_that_cannot_be_scored_is_refused_with_the_reason(
    corrupt: object, message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        scores(corrupt(plate()))  # type: ignore[operator]


def test_a_readout_day_up_to_dosing_is_refused() -> None:
    with pytest.raises(ProfileError, match="readout day is 7; expected a day after day 7"):
        measure_departures(plate(), dosing_day=7, day=7)


def test_untreated_wells_that_are_all_equal_still_give_finite_scores() -> None:
    trajectories = plate()
    features = trajectories.features.copy()
    features[:18] = features[0]
    result = scores(replace(trajectories, features=features))
    assert np.isfinite(result).all()
    assert result[18:].min() > result[:18].max()


@pytest.mark.parametrize("untreated", [3, 4])
def test_three_untreated_wells_are_enough_to_score(untreated: int) -> None:
    assert np.isfinite(scores(plate(untreated=untreated))).all()


def test_the_rolling_view_waits_for_six_untreated_wells() -> None:
    trajectories = plate()
    few = trajectories.features.copy()
    few[5:18, 1] = np.nan
    assert (
        departures_on_day(
            replace(trajectories, features=few), dosing_day=DOSING_DAY, day=READOUT_DAY
        )
        == {}
    )
    whole = departures_on_day(trajectories, dosing_day=DOSING_DAY, day=READOUT_DAY)
    assert whole == dict(zip(trajectories.wells, scores(trajectories), strict=True))


def with_measures() -> Trajectories:
    """Return a plate with 8 informative measures and an embedding of 200 uninformative features."""
    known, other = (
        plate(KILLS, features=8, encoder_id=""),
        plate((0.0,) * len(KILLS), features=200, seed=1),
    )
    return joined(other, replace(known, features=known.features * 10.0 ** np.arange(8)))


def test_the_unit_of_an_embedding_does_not_change_scores() -> None:
    one = with_measures()
    units = np.where(np.arange(208) < 200, 1000.0, 1.0)
    np.testing.assert_allclose(
        scores(replace(one, features=one.features * units)), scores(one), rtol=1e-6
    )


@pytest.mark.parametrize("block", [slice(0, 200), slice(200, 208)])
def test_a_block_that_is_equal_in_most_wells_gives_finite_scores(block: slice) -> None:
    one = with_measures()
    features = one.features.copy()
    features[3:, :, block] = features[3, 0, block]
    assert np.isfinite(scores(replace(one, features=features))).all()


def followed(kills: tuple[float, ...] = (0.0, 0.5, 1.0), seed: int = 0) -> Trajectories:
    """Return a plate with images on days 7 to 10 whose wells change evenly."""
    trajectories = plate(kills, seed=seed, features=12, encoder_id="")
    start, end = trajectories.features[:, 0], trajectories.features[:, 1]
    noise = 0.3 * np.random.default_rng(seed).normal(size=(len(start), 2, 12))
    between = [start + share * (end - start) for share in (1 / 3, 2 / 3)] + noise.transpose(1, 0, 2)
    return replace(
        trajectories, days=(7, 8, 9, 10), features=np.stack([start, *between, end], axis=1)
    )


def scores_from(trajectories: Trajectories, forecast_from: ForecastFrom) -> np.ndarray:
    return measure_departures(
        trajectories, dosing_day=7, day=10, settings=DepartureSettings(forecast_from=forecast_from)
    ).scores


def test_a_forecast_from_the_last_day_follows_the_drug_and_departs_less() -> None:
    far = [
        [
            scores_from(followed(seed=seed), each)[-3:].mean()
            for each in (ForecastFrom.DOSING, ForecastFrom.LAST_DAY)
        ]
        for seed in range(5)
    ]
    from_dosing, through = np.transpose(far)
    assert (through < from_dosing).all()
    assert through.mean() < 0.8 * from_dosing.mean()


def test_residuals_of_one_step_forecasts_are_summed() -> None:
    trajectories = followed((0.0, 0.5, 1.0))
    result = scores_from(trajectories, ForecastFrom.ONE_STEP)
    assert result[-3:].mean() > 3
    assert spearmanr(result[18:], np.repeat((0.0, 0.5, 1.0), 3)).statistic > 0.8


@pytest.mark.parametrize("forecast_from", [ForecastFrom.LAST_DAY, ForecastFrom.ONE_STEP])
def test_missing_days_after_dosing_exclude_no_well(forecast_from: ForecastFrom) -> None:
    trajectories = followed()
    features = trajectories.features.copy()
    features[::4, 1] = features[1::5, 2] = features[-1, 1:3] = np.nan
    result = scores_from(replace(trajectories, features=features), forecast_from)
    assert np.isfinite(result).all()
    assert np.median(np.abs(result[:18])) < 1.5
    without_day_8 = replace(
        trajectories, days=(7, 9, 10), features=np.delete(trajectories.features, 1, axis=1)
    )
    assert np.isfinite(scores_from(without_day_8, forecast_from)).all()


@pytest.mark.parametrize("forecast_from", ForecastFrom)
def test_with_only_the_readout_after_dosing_all_forecast_modes_are_equal(
    forecast_from: ForecastFrom,
) -> None:
    np.testing.assert_allclose(
        scores_from(plate(), forecast_from), scores(plate()), rtol=1e-9, atol=1e-9
    )


def test_the_order_of_days_in_the_trajectories_does_not_matter() -> None:
    trajectories = followed()
    backward = replace(
        trajectories, days=trajectories.days[::-1], features=trajectories.features[:, ::-1]
    )
    for forecast_from in ForecastFrom:
        np.testing.assert_allclose(
            scores_from(backward, forecast_from), scores_from(trajectories, forecast_from)
        )


def test_a_repeated_well_is_refused_by_name() -> None:
    trajectories = plate()
    with pytest.raises(ProfileError, match="P1: well B03 occurs twice; expected each well once"):
        scores(replace(trajectories, wells=(trajectories.wells[1], *trajectories.wells[1:])))


@pytest.mark.parametrize("metric", MetricName)
def test_a_score_does_not_depend_on_the_other_metrics_that_are_computed(metric: MetricName) -> None:
    settings = DepartureSettings(metric=metric)
    days = {"dosing_day": DOSING_DAY, "day": READOUT_DAY}
    alone = measure_departures(plate(), **days, settings=settings, metrics=())
    together = measure_departures(plate(), **days, settings=settings)
    np.testing.assert_array_equal(alone.scores, together.scores)
    assert alone.by_metric.keys() == {metric, MetricName.MAHALANOBIS}
    assert together.by_metric.keys() == set(MetricName)
