from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from inference.deterioration.calibration import (
    AssayPlate,
    Calibration,
    calibrate,
    refit,
)
from inference.deterioration.models import Predictor, RidgeModel
from schemas.calibration import CalibrationCard
from schemas.errors import ProfileError
from schemas.plate_map import Group
from tests.assayed_plates import (
    DOSING_DAY,
    MEASURES,
    READOUT_DAY,
    KnownPlate,
    assayed,
    known_plate,
    learn,
    of_another_encoder,
    with_fewer_features,
)

Array = npt.NDArray[np.float64]
UseOnly = Callable[..., None]

SEEDS = range(20)
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Memory:
    """Model that predicts its training wells exactly and all other wells by the median."""

    def fit(
        self, features: Array, percent: Array, plates: npt.NDArray[np.int64], seed: int
    ) -> Predictor:
        del plates, seed
        known = {
            row.tobytes(): value for row, value in zip(features, percent.tolist(), strict=True)
        }
        usual = float(np.median(percent))
        return lambda wells: np.array([known.get(row.tobytes(), usual) for row in wells])


def calibration_of(plates: list[AssayPlate]) -> Calibration:
    return refit(plates, learn(plates), seed=1)


def hidden_assay(plate: KnownPlate, seed: int) -> AssayPlate:
    """Return a plate whose measures are noise in place of the values that show the kill."""
    features = plate.trajectories.features.copy()
    shown = features[:, 1:, 16:]
    features[:, 1:, 16:] = np.random.default_rng(seed).permutation(shown, axis=0)
    return replace(plate, trajectories=replace(plate.trajectories, features=features)).assayed()


@pytest.fixture(scope="module")
def card() -> CalibrationCard:
    """Return the card of a calibration on four plates with all models."""
    return learn(assayed(4))


def test_a_calibration_of_four_plates_is_valid_and_its_card_contains_the_errors(
    card: CalibrationCard,
) -> None:
    assert card.valid
    assert card.why_not == ()
    assert (card.digest, card.plates, card.wells, card.representation) == (
        "d" * 64,
        ("K-0", "K-1", "K-2", "K-3"),
        240,
        "measures",
    )
    assert card.mean_error_points is not None
    assert card.untreated_error_points is not None
    assert card.mean_error_points < 6
    assert card.untreated_error_points > 30
    assert card.spearman is not None
    assert card.worst_spearman is not None
    assert 0.85 < card.worst_spearman < card.spearman
    assert card.percent_low is not None
    assert card.percent_high is not None
    assert -15 < card.percent_low < 0
    assert 90 < card.percent_high < 115
    assert len(card.left_out_error) == len(card.left_out_percent) == 240
    assert np.abs(card.left_out_error).mean() == pytest.approx(card.mean_error_points)
    assert len(card.left_out_treatment_error) == 4 * 13  # untreated wells are no treatment


def test_a_plate_without_assay_is_predicted_accurately(card: CalibrationCard) -> None:
    fresh = known_plate(50)
    predicted = refit(assayed(4), card, seed=1).predict(
        fresh.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert spearmanr(predicted.percent, fresh.percent).statistic > 0.9
    assert np.abs(predicted.percent - fresh.percent).mean() < 5
    assert (predicted.low <= predicted.percent).all()
    assert (predicted.percent <= predicted.high).all()
    assert predicted.low.min() < 0
    assert predicted.high.max() == 100


def test_the_card_and_the_plates_make_the_same_predictions_again(card: CalibrationCard) -> None:
    fresh, again = (
        known_plate(50).trajectories,
        CalibrationCard.model_validate_json(card.model_dump_json()),
    )
    one, other = (
        refit(assayed(4), each, seed=1).predict(
            fresh, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
        )
        for each in (card, again)
    )
    assert (one.percent == other.percent).all()
    assert (one.low == other.low).all()
    assert (one.high == other.high).all()


def test_calibration_is_reproducible_and_ticks_for_each_model_and_plate(
    card: CalibrationCard,
) -> None:
    ticks: list[None] = []
    assert calibrate(assayed(4), digest="d" * 64, seed=1, tick=lambda: ticks.append(None)) == card
    assert len(ticks) == (4 + 6) * 5  # plates and pairs of plates


def test_the_summary_of_a_card_has_no_values_of_single_wells(card: CalibrationCard) -> None:
    summary = card.summary()
    assert (
        summary.left_out_error == summary.left_out_percent == summary.left_out_treatment_error == ()
    )
    assert summary.mean_error_points == card.mean_error_points


def test_no_plate_is_refused_with_the_number() -> None:
    card = learn([])
    assert not card.valid
    assert card.why_not == ("0 assay plates; expected at least 1",)
    assert card.mean_error_points is None


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("ridge_alone")
def test_one_to_three_plates_calibrate_and_the_card_names_the_basis(count: int) -> None:
    plates = assayed(count)
    card = learn(plates)
    assert card.valid, card.why_not
    assert card.errors is not None
    assert card.errors.basis == ("prior" if count == 1 else "model")
    assert card.is_driven_by_prior is (count == 1)
    assert len(card.left_out_percent) == 60 * count
    fresh = known_plate(50)
    predicted = refit(plates, card, seed=1).predict(
        fresh.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert spearmanr(predicted.percent, fresh.percent).statistic > 0.85


@pytest.mark.usefixtures("ridge_alone")
def test_a_single_plate_is_judged_by_treatments_that_were_left_out_together() -> None:
    (plate,) = assayed(1)
    treated = [name for name in plate.trajectories.treatments if name]
    remembered = replace(
        plate,
        deterioration_percent={
            well: 10.0 * (sorted(set(treated)).index(name) if name else 0)
            for well, name in zip(
                plate.trajectories.wells, plate.trajectories.treatments, strict=True
            )
        },
        trajectories=replace(
            plate.trajectories,
            features=np.stack(
                [
                    np.random.default_rng(sum(name.encode())).standard_normal((2, 5))
                    for name in plate.trajectories.treatments
                ]
            ),
        ),
    )  # the features identify the treatment and say nothing about other treatments
    card = learn([remembered])
    assert not card.valid
    assert card.why_not[0].startswith("Spearman correlation ")
    assert card.why_not[0].endswith(
        " of left-out treated wells; expected at least 0.5 with fewer than 4 assay plates"
    )


def test_few_wells_on_few_plates_are_refused_with_their_number() -> None:
    (plate,) = assayed(1)
    some = dict(list(plate.deterioration_percent.items())[15:26])
    card = learn([replace(plate, deterioration_percent=some)])
    assert card.why_not == (
        "11 measured wells with images; expected at least 12 on fewer than 4 assay plates",
    )
    some = dict(list(plate.deterioration_percent.items())[2:22])
    card = learn([replace(plate, deterioration_percent=some)])
    assert card.why_not == (
        "2 treated measured wells with images; expected at least 3 on fewer than 4 assay plates",
    )


@pytest.mark.parametrize("untreated", [True, False])
def test_a_single_plate_with_one_value_per_treatment_calibrates(*, untreated: bool) -> None:
    (plate,) = assayed(1)
    coarse = {
        well: float(round(percent, -1)) for well, percent in plate.deterioration_percent.items()
    }
    names = dict(zip(plate.trajectories.wells, plate.trajectories.treatments, strict=True))
    first: dict[str, float] = {}
    same = {well: first.setdefault(names[well], value) for well, value in coarse.items()}
    measured = {well: value for well, value in same.items() if untreated or names[well]}
    card = learn([replace(plate, deterioration_percent=measured)])
    assert card.valid, card.why_not
    assert card.model == "mean"


@pytest.mark.usefixtures("ridge_alone")
def test_images_without_information_give_no_valid_calibration() -> None:
    for seed in SEEDS:
        card = learn(
            [known_plate(10 * seed + plate, telling=False).assayed() for plate in range(4)]
        )
        assert not card.valid
        (why,) = card.why_not
        assert why.startswith("mean error ")
        assert why.endswith("points without images; expected at most 80% of the latter")


def test_a_model_that_memorises_wells_is_not_valid(use_only: UseOnly) -> None:
    use_only(memory=Memory())
    plates = assayed(5)
    card = learn(plates)
    assert not card.valid
    assert card.mean_error_points is not None
    assert card.mean_error_points > 25
    assert card.spearman == 0
    own = refit(plates, card, seed=1).predict(
        plates[0].trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert own.percent == pytest.approx(
        np.clip(list(plates[0].deterioration_percent.values()), 0, 100)
    )  # training plates are predicted exactly


def test_the_model_with_the_smallest_error_on_left_out_plates_is_selected(
    use_only: UseOnly,
) -> None:
    use_only(memory=Memory(), ridge=RidgeModel())
    assert learn(assayed(5)).model == "ridge"


@pytest.mark.parametrize(("count", "groups"), [(2, 4), (3, 4), (4, 4), (5, 3)])
def test_left_out_predictions_use_nothing_of_their_plate(
    use_only: UseOnly, monkeypatch: pytest.MonkeyPatch, count: int, groups: int
) -> None:
    monkeypatch.setattr("inference.deterioration.model_choice.MAX_NESTED_GROUPS", groups)
    use_only(ridge=RidgeModel(), stiff=RidgeModel((1e4, 2e4)), memory=Memory())
    plates = [known_plate(seed).assayed() for seed in range(count)]
    changed = replace(
        plates[-1],
        deterioration_percent={
            well: 100 - percent if percent > 20 else percent
            for well, percent in plates[-1].deterioration_percent.items()
        },
    )
    own, other = learn(plates), learn([*plates[:-1], changed])
    assert own.left_out_percent[-60:] == pytest.approx(other.left_out_percent[-60:])
    assert own.left_out_percent[:60] != pytest.approx(other.left_out_percent[:60])


@pytest.mark.usefixtures("ridge_alone")
def test_an_embedding_that_shows_a_hidden_kill_is_used() -> None:
    plates = [hidden_assay(known_plate(seed, embedding=16), seed) for seed in range(6)]
    card = learn(plates)
    assert (card.model, card.representation) == ("kernel", "both")
    share = refit(plates, card, seed=1).embedding_share(
        plates[0].trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert share is not None
    assert np.nanmean(share) > 0.5


def test_an_embedding_of_noise_is_not_used() -> None:
    rng = np.random.default_rng(0)

    def noisy(seed: int) -> KnownPlate:
        plate = known_plate(seed, embedding=16)
        features = plate.trajectories.features.copy()
        features[:, :, :16] = rng.normal(size=features[:, :, :16].shape)
        return replace(plate, trajectories=replace(plate.trajectories, features=features))

    calibration = calibration_of([noisy(seed).assayed() for seed in range(3)])
    fresh = noisy(9)
    ask = {"dosing_day": DOSING_DAY, "readout_day": READOUT_DAY}
    share = calibration.embedding_share(fresh.trajectories, **ask)
    assert share is not None
    assert np.nanmax(share) == 0
    percent = calibration.predict(fresh.trajectories, **ask).percent
    assert spearmanr(percent, fresh.percent).statistic > 0.9


def test_the_parameters_of_the_kernel_model_use_nothing_of_a_left_out_plate() -> None:
    plates = [hidden_assay(known_plate(seed, embedding=16), seed) for seed in range(2)]
    changed = replace(
        plates[1],
        deterioration_percent={
            well: 100 - percent if percent > 20 else percent
            for well, percent in plates[1].deterioration_percent.items()
        },
    )
    own, other = learn(plates), learn([plates[0], changed])
    assert own.model == other.model == "kernel"
    assert own.left_out_percent[60:] == pytest.approx(other.left_out_percent[60:])
    assert own.left_out_percent[:60] != pytest.approx(other.left_out_percent[:60])


@pytest.mark.usefixtures("ridge_alone")
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_intervals_cover_nine_of_ten_measured_wells_of_fresh_plates(count: int) -> None:
    covered = []
    for seed in SEEDS:
        calibration, fresh = calibration_of(assayed(count, 20 * seed)), known_plate(20 * seed + 15)
        predicted = calibration.predict(
            fresh.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
        )
        measured = np.array(list(fresh.assayed().deterioration_percent.values()))
        covered.append(((predicted.low <= measured) & (measured <= predicted.high)).mean())
    assert np.mean(covered) > 0.88
    assert min(covered) > 0.6


@pytest.mark.usefixtures("ridge_alone")
def test_a_prediction_below_0_has_an_interval_on_both_sides() -> None:
    fresh = known_plate(9)
    features = fresh.trajectories.features.copy()
    features[
        0, 1, [MEASURES.index("area_um2"), MEASURES.index("density"), MEASURES.index("tilt")]
    ] *= [1.3, 0.8, 0.2]
    predicted = calibration_of(assayed(4)).predict(
        replace(fresh.trajectories, features=features),
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
    )
    assert predicted.percent[0] == 0
    assert predicted.low[0] < -3
    assert predicted.high[0] > 3


@pytest.mark.usefixtures("ridge_alone")
def test_plates_with_only_untreated_wells_measured_are_refused() -> None:
    card = learn(
        [known_plate(seed).assayed(lambda group: group is Group.UNTREATED) for seed in range(4)]
    )
    assert not card.valid
    assert card.why_not[0] == "0 assay plates; expected at least 1"
    assert len(card.why_not) == 5


@pytest.mark.usefixtures("ridge_alone")
def test_plates_that_are_half_untreated_and_half_treated_calibrate() -> None:
    halves = [
        known_plate(seed, untreated=30, single_dose=0, treatments=10).assayed() for seed in range(4)
    ]
    fresh = known_plate(9)
    predicted = calibration_of(halves).predict(
        fresh.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert learn(halves).valid
    assert spearmanr(predicted.percent, fresh.percent).statistic > 0.9


@pytest.mark.usefixtures("ridge_alone")
def test_plates_may_have_different_wells_measured() -> None:
    plates = assayed(5)
    some = [
        replace(
            plate,
            deterioration_percent=dict(list(plate.deterioration_percent.items())[start::step]),
        )
        for plate, start, step in zip(plates, (0, 3, 1, 20, 0), (1, 4, 2, 1, 7), strict=True)
    ]
    card = learn(some)
    assert card.valid
    assert (
        card.wells
        == sum(len(plate.deterioration_percent) for plate in some)
        == 60 + 15 + 30 + 40 + 9
    )
    assert len(card.left_out_error) == card.wells


@pytest.mark.usefixtures("ridge_alone")
def test_wells_without_images_are_not_used_and_missing_values_are_accepted() -> None:
    plates = assayed(4)
    features = plates[0].trajectories.features.copy()
    features[:6, 1] = np.nan
    features[30:40, 1, 0] = np.nan
    features[:, :, 4] = np.nan
    plates[0] = replace(plates[0], trajectories=replace(plates[0].trajectories, features=features))
    card = learn(plates)
    assert card.valid
    assert card.wells == 234
    predicted = refit(plates, card, seed=1).predict(
        plates[0].trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    assert np.flatnonzero(np.isnan(predicted.percent)).tolist() == [0, 1, 2, 3, 4, 5]
    assert (np.isnan(predicted.low) == np.isnan(predicted.percent)).all()
    assert (np.isnan(predicted.high) == np.isnan(predicted.percent)).all()


@pytest.mark.usefixtures("ridge_alone")
def test_a_plate_with_other_features_is_not_predicted_and_has_no_distance() -> None:
    calibration = calibration_of(assayed(4))
    for other in (
        with_fewer_features(known_plate(9).assayed()),
        of_another_encoder(known_plate(9).assayed()),
    ):
        for ask in (calibration.predict, calibration.distance):
            with pytest.raises(ProfileError, match=r"K-9: has .*; expected .*"):
                ask(other.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY)
