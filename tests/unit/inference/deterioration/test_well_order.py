"""The scale of method 2, compared with a slow transcription of its definition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm, spearmanr, t

from inference.deterioration.calibration import Calibration, calibrate, refit
from inference.deterioration.calibration_limits import (
    CONFOUNDED_LIMIT,
    MODEL_LIMIT,
    SINGLE_TREATMENT_LIMIT,
)
from inference.deterioration.well_order import (
    EXPLODED_NOTE,
    EXTRAPOLATED_NOTE,
    NO_CONDITION_NOTE,
    NO_DEGREE_NOTE,
    UNPREDICTED_NOTE,
    by_deterioration,
    drift_of,
    drift_sentence,
)
from inference.ranking.placement import ScoredPlate, WellPlace
from inference.ranking.plate_ranking import score_plate
from inference.ranking.rows import treatment_ranks, well_ranks
from inference.ranking.thesis_scale import thesis_scale
from inference.ranking.well_tissue import WellTissue
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.ranking import Condition, TreatmentRank, TreatmentTable, Verdict, WellRank
from schemas.tissue import Unsure
from schemas.trajectory import Trajectories
from tests.assayed_plates import DOSING_DAY, READOUT_DAY, known_plate

Array = npt.NDArray[np.float64]
pytestmark = pytest.mark.usefixtures("one_thread")

PLATE = known_plate(50)
TREATED = [
    well
    for well, group in zip(PLATE.trajectories.wells, PLATE.trajectories.groups, strict=True)
    if group is not Group.UNTREATED
]
BURST = dict(
    zip(TREATED[4:40:5], (0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4), strict=True)
)  # degree by well


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """Learn from four plates."""
    plates = [known_plate(seed).assayed() for seed in range(4)]
    return refit(plates, calibrate(plates, digest="d" * 64, seed=1), seed=1)


@dataclass(frozen=True)
class Departed:
    """A plate that was scored by departure, with the tissue of its wells."""

    scored: ScoredPlate
    tissue: Mapping[str, WellTissue] = field(default_factory=dict)

    @property
    def treatments(self) -> tuple[TreatmentRank, ...]:
        return treatment_ranks(self.scored.placement, self.tissue, {})

    @property
    def wells(self) -> tuple[WellRank, ...]:
        return well_ranks(self.scored, self.scored.placement, self.tissue)


@pytest.fixture(scope="module")
def departed() -> Departed:
    """Score the plate by departure."""
    return Departed(
        score_plate(PLATE.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=1)
    )


def with_conditions(plate: Departed, degrees: Mapping[str, float]) -> Departed:
    """Return the plate with the wells of ``degrees`` exploded and all other wells intact."""
    tissue = {
        well.well: WellTissue(
            measures={},
            condition=Condition.EXPLODED if well.well in degrees else Condition.INTACT,
            explosion_degree=degrees.get(well.well, 0.0),
        )
        for well in plate.scored.wells
    }
    return replace(plate, tissue=tissue)


def place(
    plate: Departed, calibration: Calibration, trajectories: Trajectories = PLATE.trajectories
) -> TreatmentTable:
    """Return the ranking table of a scored plate by predicted deterioration."""
    placement, _ = by_deterioration(
        plate.scored,
        plate.tissue,
        trajectories,
        calibration,
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
        seed=1,
    )
    return TreatmentTable(
        treatments=treatment_ranks(placement, plate.tissue, {}),
        wells=well_ranks(plate.scored, placement, plate.tissue),
        scale=thesis_scale(plate.scored, placement, plate.tissue),
        quality=plate.scored.quality,
        notes=placement.notes,
    )


def telling(
    calibration: Calibration, percent: Mapping[str, float], default: float = 10.0
) -> Calibration:
    """Return a calibration that tells these percents of the plate's wells."""
    told = np.array([percent.get(well, default) for well in PLATE.trajectories.wells])
    return replace(calibration, predict_rows=lambda _: told)


def by_name(table: TreatmentTable | Departed) -> dict[str, TreatmentRank]:
    return {row.treatment: row for row in table.treatments}


def by_well(table: TreatmentTable | Departed) -> dict[str, WellRank]:
    return {well.well: well for well in table.wells}


def wells_of(table: TreatmentTable | Departed, treatment: str) -> tuple[str, ...]:
    return by_name(table)[treatment].wells


def is_worse(one: WellRank, other: WellRank) -> bool:
    """Say whether a well stands above another one on the scale of the thesis."""
    if one.condition is Condition.EXPLODED and other.condition is Condition.EXPLODED:
        assert one.explosion_degree is not None
        assert other.explosion_degree is not None
        return one.explosion_degree > other.explosion_degree
    if one.condition is Condition.EXPLODED or other.condition is Condition.EXPLODED:
        return one.condition is Condition.EXPLODED
    assert one.deterioration_percent is not None
    assert other.deterioration_percent is not None
    return one.deterioration_percent > other.deterioration_percent


def key_of(wells: Sequence[WellRank]) -> tuple[float, float, float]:
    """Return the sort key of a treatment: mean percent, share exploded, mean degree."""
    degrees = [
        well.explosion_degree or 0.0 for well in wells if well.condition is Condition.EXPLODED
    ]
    percents = [
        100.0 if well.condition is Condition.EXPLODED else well.deterioration_percent or 0.0
        for well in wells
    ]
    return (
        float(np.mean(percents)),
        len(degrees) / len(wells),
        float(np.mean(degrees)) if degrees else 0.0,
    )


def test_the_scale_is_the_thesis_s_1_to_x_intact_by_percent_then_exploded_by_degree(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(with_conditions(departed, BURST), calibration)
    ranked = [well for well in table.wells if well.efficacy_rank is not None]
    assert {well.well for well in ranked} == set(TREATED)
    assert (table.scale.x, table.scale.n) == (32, 40)
    for well in ranked:
        above = sum(is_worse(other, well) for other in ranked)
        assert well.efficacy_rank == 1 + above
        assert well.condition_position == 40 - above
        assert well.scale_position == len(table.wells) - sum(
            is_worse(other, well) for other in table.wells
        )
    assert positions(ranked, Condition.EXPLODED) == list(range(33, 41))
    assert max(positions(ranked, Condition.INTACT)) == 32


def positions(wells: Sequence[WellRank], condition: Condition) -> list[int]:
    """Return the positions by condition of the wells with a condition, in ascending order."""
    return sorted(well.condition_position or 0 for well in wells if well.condition is condition)


def test_by_departure_intact_wells_are_placed_by_score_and_exploded_ones_after_them_by_degree(
    departed: Departed,
) -> None:
    plate = with_conditions(departed, BURST)
    treated = [well for well in plate.wells if well.efficacy_rank is not None]
    exploded = [well for well in treated if well.condition is Condition.EXPLODED]
    intact = [well for well in treated if well.condition is Condition.INTACT]
    for well in intact:
        weaker = sum((other.score or 0.0) < (well.score or 0.0) for other in intact)
        assert well.condition_position == weaker + 1
    for well in exploded:
        weaker = sum(BURST[other.well] < BURST[well.well] for other in exploded)
        assert well.condition_position == 33 + weaker
    scale = thesis_scale(plate.scored, plate.scored.placement, plate.tissue)
    assert (scale.x, scale.n, scale.wells) == (32, 40, len(plate.wells))
    assert all(
        well.condition_position is None for well in plate.wells if well.group is Group.UNTREATED
    )


def test_without_a_known_condition_no_well_is_placed_by_condition(departed: Departed) -> None:
    assert all(well.condition_position is None for well in departed.wells)
    assert thesis_scale(departed.scored, departed.scored.placement, {}).x is None


def test_the_share_of_untreated_wells_in_the_first_places_counts_ties_by_their_probability(
    departed: Departed,
) -> None:
    scored = departed.scored
    untreated = {well.well for well in scored.wells if well.group is Group.UNTREATED}
    many = len(untreated)

    def share(position_of: Mapping[str, int]) -> float | None:
        wells = {
            well: replace(place, scale_position=position_of.get(well))
            for well, place in scored.placement.wells.items()
        }
        return thesis_scale(scored, replace(scored.placement, wells=wells), {}).untreated_first

    apart = {well: number + 1 for number, well in enumerate([*sorted(untreated), *TREATED])}
    assert share(apart) == 1.0
    turned = {well: number + 1 for number, well in enumerate([*TREATED, *sorted(untreated)])}
    assert share(turned) == max(0, many - len(TREATED)) / many
    tied = dict.fromkeys([*untreated, *TREATED], len(untreated) + len(TREATED))
    assert share(tied) == pytest.approx(many / (many + len(TREATED)))
    assert share(dict.fromkeys(TREATED, 1)) is None


@pytest.mark.parametrize("unit", ["um", "px"])
@pytest.mark.parametrize("with_degree", [0, 4])
def test_exploded_wells_without_a_degree_put_all_exploded_wells_in_the_order_of_their_spread(
    calibration: Calibration, departed: Departed, unit: str, with_degree: int
) -> None:
    with_degrees = with_conditions(departed, BURST)
    # Degrees of a newer version, in the opposite order of the spread.
    degree = {well: 10 - BURST[well] for well in list(BURST)[:with_degree]}
    without = {
        well: replace(
            tissue,
            explosion_degree=degree.get(well),
            measures={f"spread_{unit}": 70 * BURST[well]},
        )
        if well in BURST
        else tissue
        for well, tissue in with_degrees.tissue.items()
    }
    known, unknown = (
        place(each, calibration) for each in (with_degrees, replace(with_degrees, tissue=without))
    )
    assert {well.well: well.efficacy_rank for well in unknown.wells} == {
        well.well: well.efficacy_rank for well in known.wells
    }
    assert [row.treatment for row in unknown.treatments] == [
        row.treatment for row in known.treatments
    ]
    assert NO_DEGREE_NOTE in unknown.notes
    assert NO_DEGREE_NOTE not in known.notes
    assert {well.well: well.explosion_degree for well in unknown.wells if well.well in BURST} == {
        well: degree.get(well) for well in BURST
    }


def test_treatments_stand_by_mean_percent_then_share_exploded_then_degree(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(with_conditions(departed, BURST), calibration)
    keys = {
        row.treatment: key_of([by_well(table)[well] for well in row.wells])
        for row in table.treatments
    }
    assert len(keys) == 13
    for row in table.treatments:
        above = sum(key > keys[row.treatment] for key in keys.values())
        assert row.efficacy_rank == 1 + above
        assert row.scale_position == 13 - above
        assert row.score == pytest.approx(keys[row.treatment][0])
    assert [row.efficacy_rank for row in table.treatments] == sorted(
        row.efficacy_rank for row in table.treatments
    )


def test_of_treatments_with_one_mean_more_exploded_wells_stand_above_and_a_larger_degree_above_that(
    calibration: Calibration, departed: Departed
) -> None:
    far, near, some, none = (wells_of(departed, f"drug{number}:1 uM") for number in (1, 2, 3, 4))
    degrees = dict.fromkeys(far, 0.9) | dict.fromkeys(near, 0.2) | {some[0]: 2.0}
    table = place(
        with_conditions(departed, degrees),
        telling(calibration, dict.fromkeys((*far, *near, *some, *none), 100.0)),
    )
    assert [row.treatment[:5] for row in table.treatments[:4]] == [
        "drug1",
        "drug2",
        "drug3",
        "drug4",
    ]
    assert {row.score for row in table.treatments[:4]} == {100.0}
    assert {row.efficacy_rank for row in table.treatments[4:]} == {
        5
    }  # all at 10 %: they share the better place
    assert {row.scale_position for row in table.treatments[4:]} == {9}


def test_exploded_wells_are_100_percent_and_marked_as_assumed(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(with_conditions(departed, BURST), calibration)
    for name, well in by_well(table).items():
        assert well.deterioration_assumed == (name in BURST)
        if name in BURST:
            assert (
                well.deterioration_percent,
                well.score,
                well.deterioration_low,
                well.deterioration_high,
            ) == (100.0, 100.0, None, None)
    assert EXPLODED_NOTE.format(count=8, percent=100.0) in table.notes


def test_intact_wells_have_what_is_predicted_within_its_interval(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(with_conditions(departed, {}), calibration)
    predicted = calibration.predict(
        PLATE.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY
    )
    for row, well in enumerate(table.wells):
        assert well.deterioration_percent == well.score == predicted.percent[row]
        assert (
            well.deterioration_low
            == predicted.low[row]
            <= predicted.percent[row]
            <= predicted.high[row]
            == well.deterioration_high
        )
    assert spearmanr([well.score or 0.0 for well in table.wells], PLATE.percent).statistic > 0.9
    assert table.scale.x == table.scale.n == 40
    assert not any("exploded" in note for note in table.notes)


def test_intervals_contain_the_score_and_the_place(
    calibration: Calibration, departed: Departed
) -> None:
    for degrees in ({}, BURST, dict.fromkeys(TREATED, 1.0)):
        for row in place(with_conditions(departed, degrees), calibration).treatments:
            assert -100 <= row.score_low <= row.score <= row.score_high <= 100
            assert 1 <= row.rank_low <= row.efficacy_rank <= row.rank_high <= 13
            assert 0 <= row.chance_best <= 1


def test_the_interval_of_a_treatment_has_the_errors_of_plate_treatment_and_wells(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(departed, telling(calibration, {}, default=50.0))
    errors = calibration.errors
    # Few plates determine the slope of a plate badly: Student's quantile in place of the normal.
    student = t.ppf(0.95, errors.degrees_of_freedom)
    slope_sd = errors.slope_sd * student / norm.ppf(0.95)
    for row in table.treatments:
        variance = (slope_sd * 50) ** 2 + (
            errors.treatment_points**2 + errors.well_points**2 / len(row.wells)
        ) * 0.55
        assert row.score_high - 50 == pytest.approx(errors.reach * variance**0.5, rel=0.01)
        assert 50 - row.score_low == pytest.approx(errors.reach * variance**0.5, rel=0.01)
        assert row.percent_basis == "model"


def test_the_notes_name_the_limits_of_the_calibration(
    calibration: Calibration, departed: Departed
) -> None:
    limits = {"single_treatment": "gemcitabine:1 uM", "confounded": ("K-2", "K-3")}
    notes = place(departed, calibration).notes
    assert [note for note in notes if "model-based" in note] == [
        MODEL_LIMIT.format(plates=4),
    ]
    limited = replace(calibration, card=calibration.card.model_copy(update=limits))
    more = place(departed, limited).notes
    assert [note for note in more if note not in notes] == [
        SINGLE_TREATMENT_LIMIT.format(treatment="gemcitabine:1 uM"),
        CONFOUNDED_LIMIT.format(plates="K-2, K-3"),
    ]


def test_a_well_that_is_predicted_beyond_the_assays_is_named_in_the_notes(
    calibration: Calibration, departed: Departed
) -> None:
    card = calibration.card.model_copy(update={"percent_low": 5.0, "percent_high": 60.0})
    narrow = replace(telling(calibration, {TREATED[3]: 61.0, TREATED[7]: 4.0}), card=card)
    note = EXTRAPOLATED_NOTE.format(wells=f"{TREATED[3]}, {TREATED[7]}", low=5.0, high=60.0)
    assert note in place(departed, narrow).notes
    within = replace(telling(calibration, {TREATED[3]: 60.0, TREATED[7]: 5.0}), card=card)
    assert not any("extrapolated" in each for each in place(departed, within).notes)


def test_percentages_of_one_assay_plate_are_marked_as_driven_by_the_prior(
    departed: Departed,
) -> None:
    plates = [known_plate(0).assayed()]
    single = refit(plates, calibrate(plates, digest="", seed=1), seed=1)
    table = place(departed, single)
    assert any(note.startswith("The percentages are driven by the prior:") for note in table.notes)
    assert any("was not checked whether this plate is like" in note for note in table.notes)
    assert {row.percent_basis for row in table.treatments} == {"prior"}
    assert {row.percent_basis for row in table.wells} == {"prior"}
    assert (
        drift_of(PLATE.trajectories, single, dosing_day=DOSING_DAY, readout_day=READOUT_DAY) is None
    )


def test_whether_a_treatment_departs_at_all_stays_as_it_was_judged(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(with_conditions(departed, BURST), calibration)
    for name, row in by_name(table).items():
        before = by_name(departed)[name]
        kept = (
            "p_value",
            "p_floor",
            "q_value",
            "effect_size",
            "effect_low",
            "effect_high",
            "direction",
            "verdict",
            "group",
            "wells",
        )
        assert {field: getattr(row, field) for field in kept} == {
            field: getattr(before, field) for field in kept
        }
    assert {name: well.p_value for name, well in by_well(table).items()} == {
        name: well.p_value for name, well in by_well(departed).items()
    }
    assert table.quality == departed.scored.quality


def test_a_treatment_that_made_tissue_grow_did_not_deteriorate_and_stands_last(
    calibration: Calibration, departed: Departed
) -> None:
    grown = by_name(departed)["drug3:1 uM"]
    placement = departed.scored.placement
    treatments = tuple(
        replace(each, evidence=replace(each.evidence, verdict=Verdict.GROWTH))
        if each.evidence.treatment == grown.treatment
        else each
        for each in placement.treatments
    )
    scored = replace(departed.scored, placement=replace(placement, treatments=treatments))
    idle = wells_of(departed, "drug4:1 uM")
    told = telling(calibration, dict.fromkeys(grown.wells, 80.0) | dict.fromkeys(idle, 0.0))
    table = place(with_conditions(replace(departed, scored=scored), {}), told)
    assert [row.treatment for row in table.treatments[-2:]] == ["drug4:1 uM", "drug3:1 uM"]
    last = table.treatments[-1]
    assert (last.efficacy_rank, last.scale_position, last.score) == (13, 1, 0.0)
    assert last.score_low < 0 < last.score_high
    for well in (by_well(table)[name] for name in grown.wells):
        assert well.deterioration_percent == well.score == well.deterioration_low == 0.0
        assert well.deterioration_high is not None
        assert well.deterioration_high > 0


def test_where_no_condition_is_known_x_is_null_and_the_note_says_so(
    calibration: Calibration, departed: Departed
) -> None:
    table = place(departed, calibration)
    assert (table.scale.x, table.scale.n) == (None, 40)
    assert NO_CONDITION_NOTE in table.notes
    assert not any(well.deterioration_assumed for well in table.wells)


def test_untreated_wells_have_a_percent_and_a_position_and_no_rank(
    calibration: Calibration, departed: Departed
) -> None:
    burst = PLATE.trajectories.wells[0]
    table = place(with_conditions(departed, BURST | {burst: 3.0}), calibration)
    untreated = [well for well in table.wells if well.group is Group.UNTREATED]
    assert all(
        well.deterioration_percent is not None
        and well.efficacy_rank is None
        and well.condition_position is None
        and well.scale_position is not None
        for well in untreated
    )
    assert by_well(table)[burst].deterioration_assumed
    assert by_well(table)[burst].scale_position == len(table.wells)
    assert (table.scale.x, table.scale.n) == (
        32,
        40,
    )  # a burst untreated well is none of the ranked ones


def test_wells_that_departure_left_out_have_no_place_and_no_percent(
    calibration: Calibration, departed: Departed
) -> None:
    out = TREATED[4]
    placement = departed.scored.placement
    placement = replace(
        placement,
        wells={**placement.wells, out: WellPlace()},
        treatments=tuple(
            replace(each, wells=tuple(name for name in each.wells if name != out))
            for each in placement.treatments
        ),
    )
    plate = replace(departed, scored=replace(departed.scored, placement=placement))
    table = place(with_conditions(plate, {out: 1.0}), calibration)
    well = by_well(table)[out]
    assert (well.score, well.efficacy_rank, well.scale_position, well.deterioration_percent) == (
        None,
        None,
        None,
        None,
    )
    assert (table.scale.x, table.scale.n) == (39, 39)


def test_a_well_without_a_prediction_is_part_of_no_treatment(
    calibration: Calibration, departed: Departed
) -> None:
    features = PLATE.trajectories.features.copy()
    one, lost = wells_of(departed, "drug2:1 uM")[0], wells_of(departed, "drug5:1 uM")
    features[[PLATE.trajectories.wells.index(well) for well in (one, *lost)], 1] = np.nan
    table = place(
        with_conditions(departed, {}), calibration, replace(PLATE.trajectories, features=features)
    )
    assert len(by_name(table)["drug2:1 uM"].wells) == 2
    assert by_name(table)["drug2:1 uM"].score == pytest.approx(
        np.mean([by_well(table)[well].score for well in wells_of(departed, "drug2:1 uM")[1:]])
    )
    assert "drug5:1 uM" not in by_name(table)
    assert UNPREDICTED_NOTE.format(treatment="drug5:1 uM", group="screening") in table.notes
    assert sorted(row.efficacy_rank for row in table.treatments) == list(range(1, 13))
    assert table.scale.n == 36


def test_the_same_seed_gives_the_same_table(calibration: Calibration, departed: Departed) -> None:
    conditions = with_conditions(departed, BURST)
    assert place(conditions, calibration) == place(conditions, calibration)


def test_mechanisms_that_depart_differently_are_put_in_the_order_of_their_kill(
    calibration: Calibration, departed: Departed
) -> None:
    truth = dict(zip(PLATE.trajectories.wells, PLATE.percent, strict=True))
    rows = place(departed, calibration).treatments
    kill = [np.mean([truth[well] for well in row.wells]) for row in rows]
    assert spearmanr([row.score for row in rows], kill).statistic > 0.95
    assert np.abs(np.array([row.score for row in rows]) - kill).mean() < 4


def test_the_distance_to_the_calibration_is_a_sentence(
    calibration: Calibration, departed: Departed
) -> None:
    _, drift = by_deterioration(
        departed.scored,
        departed.tissue,
        PLATE.trajectories,
        calibration,
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
        seed=1,
    )
    assert drift is not None
    assert not drift.outside
    assert drift_sentence(drift).endswith(": within the range seen.")
    foreign = drift_of(
        known_plate(50, foreign=True).trajectories,
        calibration,
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
    )
    assert foreign is not None
    assert foreign.outside
    assert foreign.distance > drift.distance
    assert foreign.percentile == 100
    assert drift_sentence(foreign).endswith(
        "; 100 % of these are nearer to one another: outside the range seen."
    )


def test_a_plate_that_cannot_be_compared_is_refused(
    calibration: Calibration, departed: Departed
) -> None:
    with pytest.raises(
        ProfileError, match="K-50: has 5 features that differ from those of plate K-0"
    ):
        place(
            departed,
            calibration,
            replace(PLATE.trajectories, feature_names=("a", "b", "c", "d", "e")),
        )
    with pytest.raises(ProfileError, match="no untreated well has an image"):
        place(departed, calibration, replace(PLATE.trajectories, days=(8, READOUT_DAY)))


def test_a_well_whose_readout_was_refused_is_placed_neither_as_intact_nor_as_exploded(
    calibration: Calibration, departed: Departed
) -> None:
    well = wells_of(departed, departed.treatments[0].treatment)[0]
    wells = tuple(
        replace(each, unsure=(Unsure.NO_BACKGROUND,)) if each.well == well else each
        for each in departed.scored.wells
    )
    known = with_conditions(replace(departed, scored=replace(departed.scored, wells=wells)), BURST)
    tissue = {name: each for name, each in known.tissue.items() if name != well}
    table = place(replace(known, tissue=tissue), calibration)
    row = by_well(table)[well]
    assert (row.score, row.efficacy_rank, row.deterioration_percent) == (None, None, None)
    assert [note for note in table.notes if note.startswith(f"{well}: not placed")]
    complete = place(with_conditions(departed, BURST), calibration)
    assert table.scale.n == complete.scale.n - 1
    assert all(well not in each.wells for each in table.treatments)
