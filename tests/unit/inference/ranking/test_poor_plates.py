"""Poor plates are ranked with honest verdicts, or refused with the name of the missing data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.forecasters import FORECASTERS
from inference.profiles import rank_profiles
from inference.ranking.plate_ranking import rank_plate
from schemas.errors import ProfileError
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import Group
from schemas.ranking import TreatmentTable, Verdict
from schemas.trajectory import Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

Spoil = Callable[[Trajectories], Trajectories]
ALL = slice(None)


def rank(
    trajectories: Trajectories,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
    *others: Trajectories,
) -> TreatmentTable:
    return rank_plate(
        trajectories,
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
        seed=0,
        settings=settings,
        others=others,
    )


def small(**changes: object) -> Trajectories:
    return plate((0.0, 0.5, 1.0), features=12, **changes)  # type: ignore[arg-type]


def filled(wells: slice, day: slice | int, feature: slice, value: float) -> Spoil:
    def spoil(trajectories: Trajectories) -> Trajectories:
        features = trajectories.features.copy()
        features[wells, day, feature] = value
        return replace(trajectories, features=features)

    return spoil


def drawn(share: float, value: float) -> Spoil:
    def spoil(trajectories: Trajectories) -> Trajectories:
        hit = np.random.default_rng(0).random(trajectories.features.shape) < share
        return replace(trajectories, features=np.where(hit, value, trajectories.features))

    return spoil


def multiplied(factor: float) -> Spoil:
    return lambda each: replace(each, features=each.features * factor)


def growing_past(each: Trajectories) -> Trajectories:
    features = each.features.copy()
    features[:, 0, 0] = 10.0 ** np.arange(len(features))
    return replace(each, features=features)


def heavy_tailed(each: Trajectories) -> Trajectories:
    return replace(
        each,
        features=each.features + np.random.default_rng(0).standard_cauchy(each.features.shape) ** 3,
    )


def first_features(count: int) -> Spoil:
    return lambda each: replace(
        each,
        features=each.features[:, :, :count],
        feature_names=each.feature_names[:count],
        embedding_dimension=min(count, each.embedding_dimension),
    )


RANKED: dict[str, Spoil] = {
    "constant features": filled(ALL, ALL, slice(1, None), 3.0),
    "all wells equal before dosing": filled(ALL, 0, ALL, 1.0),
    "untreated wells equal before dosing": filled(slice(0, 18), 0, ALL, 1.0),
    "untreated wells equal at the readout": filled(slice(0, 18), 1, ALL, 1.0),
    "untreated wells all identical": filled(slice(0, 18), ALL, ALL, 1.0),
    "treated wells all identical": filled(slice(18, None), ALL, ALL, 1.0),
    "some values missing": drawn(0.02, np.nan),
    "some values infinite": drawn(0.02, np.inf),
    "some values no longer numbers when squared": drawn(0.02, -1e300),
    "huge values": multiplied(1e98),
    "small values": multiplied(1e-100),
    "a past that grows tenfold from well to well": growing_past,
    "heavy tails": heavy_tailed,
    "one feature": first_features(1),
    "days in the wrong order": lambda each: replace(
        each, days=each.days[::-1], features=each.features[:, ::-1]
    ),
    "no image of the dosing day, but of one before": lambda each: replace(
        each, days=(6, READOUT_DAY)
    ),
    "three untreated wells": lambda each: small(untreated=3, encoder_id=each.encoder_id),
    "single wells": lambda each: small(replicates=1, encoder_id=each.encoder_id),
    "three untreated and single wells": lambda each: small(
        untreated=3, replicates=1, encoder_id=each.encoder_id
    ),
    "no treatment": lambda each: plate((), features=12, encoder_id=each.encoder_id),
}
REFUSED: dict[str, tuple[Spoil, str]] = {
    "no untreated wells": (
        lambda each: replace(
            each,
            groups=(Group.SCREENING,) * len(each.wells),
            treatments=("a:1 uM",) * len(each.wells),
        ),
        "0 untreated wells have an image of day 10 .*expected at least 3",
    ),
    "one untreated well": (
        lambda each: small(untreated=1, encoder_id=each.encoder_id),
        "1 untreated wells .*expected at least 3",
    ),
    "two untreated wells": (
        lambda each: small(untreated=2, encoder_id=each.encoder_id),
        "2 untreated wells .*expected at least 3",
    ),
    "all features constant": (
        filled(ALL, ALL, ALL, 1.0),
        "none of 12 features varies between wells",
    ),
    "no value": (filled(ALL, ALL, ALL, np.nan), "no image of the readout day 10"),
    "only infinite values": (filled(ALL, ALL, ALL, np.inf), "no image of the readout day 10"),
    "no value before dosing": (
        filled(ALL, 0, ALL, np.nan),
        "0 untreated wells have an image of day 10 and one from before dosing",
    ),
    "no day before dosing": (
        lambda each: replace(each, days=(8, READOUT_DAY)),
        "no image of day 7 or earlier, from before dosing; days with images: 8, 10",
    ),
    "no readout": (
        lambda each: replace(each, days=(7, 9)),
        "no image of the readout day 10; days with images: 7, 9",
    ),
    "every feature often missing": (
        drawn(0.3, np.nan),
        (
            "none of 0 features varies.*12 features were not used "
            "because more than 5% of their values are missing"
        ),
    ),
    "a well twice": (
        lambda each: replace(each, wells=("B03", *each.wells[1:])),
        "well B03 occurs twice",
    ),
    "no well": (
        lambda each: replace(each, wells=(), groups=(), treatments=(), features=each.features[:0]),
        "no image of the readout day 10",
    ),
}


@pytest.mark.parametrize("encoder_id", ["e", ""])
@pytest.mark.parametrize("case", RANKED)
def test_a_poor_plate_is_ranked_with_honest_verdicts(case: str, encoder_id: str) -> None:
    trajectories = RANKED[case](small(encoder_id=encoder_id))
    table = rank(trajectories)
    assert len(table.treatments) == len({text for text in trajectories.treatments if text})
    assert len(table.wells) == len(trajectories.wells)
    for row in table.treatments:
        assert row.p_floor <= row.p_value <= row.q_value <= 1
        assert row.score_low <= row.score <= row.score_high
        assert row.verdict is not Verdict.EFFECTIVE or row.q_value <= 0.05


@pytest.mark.parametrize("encoder_id", ["e", ""])
@pytest.mark.parametrize("case", REFUSED)
def test_a_plate_that_cannot_be_ranked_names_the_missing_data(case: str, encoder_id: str) -> None:
    spoil, says = REFUSED[case]
    with pytest.raises(ProfileError, match=says):
        rank(spoil(small(encoder_id=encoder_id)))


SETTINGS = [
    *(DepartureSettings(forecaster=name) for name in FORECASTERS if name != "ridge"),
    *(
        DepartureSettings(forecast_from=form)
        for form in ForecastFrom
        if form is not ForecastFrom.DOSING
    ),
    *(
        DepartureSettings(metric=metric)
        for metric in MetricName
        if metric is not MetricName.MAHALANOBIS
    ),
]


@pytest.mark.parametrize(
    "departure", SETTINGS, ids=lambda each: f"{each.forecaster}-{each.forecast_from}-{each.metric}"
)
def test_every_forecaster_form_and_metric_bears_poor_plates(departure: DepartureSettings) -> None:
    for spoil in RANKED.values():
        rank(spoil(small(encoder_id="")), departure)


def test_a_poor_plate_beside_a_good_one_does_not_keep_it_from_its_ranking() -> None:
    poor = [
        spoil(small(seed=1))
        for spoil in (*RANKED.values(), *(spoil for spoil, _ in REFUSED.values()))
    ]
    alike = [each for each in poor if each.feature_names == small().feature_names]
    for some in (alike[:10], alike[10:20], alike[20:]):
        assert (
            rank(small(), DEFAULT_DEPARTURE_SETTINGS, *some).treatments[0].treatment == "drug2:1 uM"
        )


def test_untreated_wells_that_are_identical_hide_no_treatment() -> None:
    table = rank(filled(slice(0, 18), 1, ALL, 1.0)(small(encoder_id="")))
    assert {row.verdict for row in table.treatments} == {Verdict.EFFECTIVE}
    assert table.quality.corrected_for == ()


def test_single_wells_against_few_untreated_wells_are_too_few_to_tell() -> None:
    table = rank(small(replicates=1, untreated=12))
    assert {row.verdict for row in table.treatments} == {Verdict.TOO_FEW_WELLS}
    assert {row.p_floor for row in table.treatments} == {1 / 13}


def table_of(trajectories: Trajectories) -> pd.DataFrame:
    rows = [
        {
            "Metadata_Plate": trajectories.plate,
            "Metadata_Well": name,
            "Metadata_Day": day,
            "Metadata_Group": str(trajectories.groups[well]),
            "Metadata_Treatment": trajectories.treatments[well],
            **dict(
                zip(trajectories.feature_names, trajectories.features[well, column], strict=True)
            ),
        }
        for column, day in reversed(list(enumerate(trajectories.days)))  # the last day first
        for well, name in enumerate(trajectories.wells)
    ]
    return pd.DataFrame(rows)


def test_a_table_of_poor_plates_ranks_those_it_can_and_says_of_each_other_what_is_missing(
    tmp_path: Path,
) -> None:
    cases = {
        **RANKED,
        **{
            name: spoil
            for name, (spoil, _) in REFUSED.items()
            if name not in {"a well twice", "no well"}
        },
    }
    table = pd.concat(
        [
            table_of(replace(spoil(small(encoder_id="")), plate=name))
            for name, spoil in cases.items()
            if name != "one feature"
        ]
    )
    path = tmp_path / "plates.parquet"
    table.to_parquet(path)
    ranking = rank_profiles(
        path, baseline_day=DOSING_DAY, readout_day=READOUT_DAY, out=tmp_path / "R.csv"
    )
    assert set(ranking.tables) == set(RANKED) - {"one feature"}
    assert set(ranking.refused) == set(cases) - set(RANKED)
    assert np.isfinite(
        pd.read_csv(tmp_path / "R.csv")[
            ["score", "score_low", "score_high", "p_value", "q_value"]
        ].to_numpy()
    ).all()


def test_days_in_any_order_in_a_table_of_one_plate_give_one_ranking(tmp_path: Path) -> None:
    rankings = []
    for number, order in enumerate((table_of(small()), table_of(small()).iloc[::-1])):
        order.to_csv(tmp_path / "plate.csv", index=False)
        rank_profiles(
            tmp_path / "plate.csv",
            baseline_day=DOSING_DAY,
            readout_day=READOUT_DAY,
            out=tmp_path / f"R{number}.csv",
        )
        rankings.append(
            pd.read_csv(tmp_path / f"R{number}.csv").drop(columns=["wells", "chance_best"])
        )
    pd.testing.assert_frame_equal(rankings[0], rankings[1], rtol=1e-6)
