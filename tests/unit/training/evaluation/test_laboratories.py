from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle import load_bundle
from inference.departure.departures import measure_departures
from inference.deterioration.models import MEAN_OF_MODELS
from schemas.errors import ConfigError
from simulation.kinds import HiddenMechanism, Mechanism, RendererName
from simulation.laboratories.laboratory import Laboratory
from simulation.microscope import NO_MECHANISM
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from tests.observed_laboratories import make_plate
from training.evaluation.candidates import Candidate
from training.evaluation.laboratories import (
    LOG_COLUMNS,
    QUICK_LABORATORIES,
    LaboratorySet,
    append_log,
    draw_laboratories,
    fusion_table,
    log_lines,
    summarise,
    text_table,
    write_laboratories,
)
from training.evaluation.laboratory_protocol import (
    CANDIDATES,
    HIDDEN,
    LEFT_OUT,
    MIXED,
    Reading,
    Result,
    chosen_card,
    departure_correlations,
    kill_correlations,
    plan_folds,
    predicted_percent,
    without_mechanism,
)

MEASURES = Reading("", "measures")
RUN = ("2026-11-30", "0.1.0+test", 1, 6, "a b c", 12, 60, 512)


@pytest.fixture(scope="module")
def laboratories() -> list[Laboratory]:
    return draw_laboratories(100, 12, list(RendererName))


def test_no_training_laboratory_has_the_renderer_of_the_tested_one(
    laboratories: list[Laboratory],
) -> None:
    folds = plan_folds(laboratories)
    assert [fold.tested for fold in folds] == list(range(12))
    for fold in folds:
        tested = laboratories[fold.tested]
        renderers = {laboratories[place].renderer_name for place in fold.training}
        assert fold.renderer is tested.renderer_name
        assert renderers == set(RendererName) - {tested.renderer_name}
        assert fold.mechanism in tested.mechanisms


def test_the_laboratories_of_a_renderer_leave_out_different_mechanisms(
    laboratories: list[Laboratory],
) -> None:
    folds = plan_folds(laboratories)
    for renderer in RendererName:
        assert len({fold.mechanism for fold in folds if fold.renderer is renderer}) > 2


def test_a_plate_without_a_mechanism_has_no_well_of_it(laboratories: list[Laboratory]) -> None:
    plate = make_plate(laboratories[0], 1)
    kept = without_mechanism(plate, HiddenMechanism.ALIGNING)
    assert set(kept.mechanisms) == {NO_MECHANISM, Mechanism.SHRINKING}
    assert kept.wells == plate.wells[:10]
    for rows in (kept.measures, kept.kill, kept.features["encoder"], kept.groups):
        assert len(rows) == 10
    assert np.array_equal(kept.measures, plate.measures[:10])


def test_the_left_out_mechanism_is_tested_on_its_wells_alone(
    laboratories: list[Laboratory],
) -> None:
    plate = make_plate(laboratories[0], 1)
    scores = np.where(np.array(plate.mechanisms) == HiddenMechanism.ALIGNING, -1, 1) * plate.kill
    found = kill_correlations(scores, plate, HiddenMechanism.ALIGNING)
    assert found[LEFT_OUT] == found[HiddenMechanism.ALIGNING] == pytest.approx(-1)
    assert found[Mechanism.SHRINKING] == pytest.approx(1)
    assert -1 < found[MIXED] < 1


def test_an_assay_plate_calibrates_as_in_the_service(laboratories: list[Laboratory]) -> None:
    assayed, tested = make_plate(laboratories[0], 1), make_plate(laboratories[0], 2)
    card = chosen_card([assayed], MEASURES)
    (percent,) = predicted_percent([assayed], [tested], MEASURES, card)
    assert (card.model, card.plates) == (MEAN_OF_MODELS, ("P1",))
    assert kill_correlations(percent, tested)[MIXED] > 0.5


def test_settings_of_one_measurement_have_the_scores_of_their_own_metric(
    laboratories: list[Laboratory],
) -> None:
    plate = make_plate(laboratories[0], 1)
    found = departure_correlations([plate], MEASURES)
    assert list(found) == list(CANDIDATES)
    for settings in CANDIDATES:
        alone = departure_correlations([plate], MEASURES, [settings])
        assert alone == {settings: found[settings]}


def test_an_interval_over_laboratories_contains_the_mean_and_the_worst_is_named() -> None:
    values = {11: 0.5, 12: 0.9, 13: 0.1, 14: 0.7}
    results = [
        Result(laboratory, "renderer", "measures", "none", MIXED, (value,))
        for laboratory, value in values.items()
    ]
    (summary,) = summarise(results)
    assert summary.mean == pytest.approx(0.55)
    assert 0.1 < summary.low < 0.55 < summary.high < 0.9
    assert (summary.worst_laboratory, summary.worst, summary.tested) == (13, 0.1, 4)


def test_a_second_evaluation_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "results" / "log.csv"
    first = Result(11, "renderer", "measures", "none", MIXED, (0.5,))
    for result in (first, replace(first, by_plate=(0.25,))):
        append_log(log, log_lines(summarise([result]), RUN))
    header, *lines = [line.split(",") for line in log.read_text(encoding="utf-8").splitlines()]
    assert tuple(header) == LOG_COLUMNS
    assert [line[LOG_COLUMNS.index("mean")] for line in lines] == ["0.5000", "0.2500"]
    assert all(len(line) == len(LOG_COLUMNS) for line in lines)


def test_laboratories_of_different_renderers_have_different_seeds(
    laboratories: list[Laboratory],
) -> None:
    assert len({laboratory.seed for laboratory in laboratories}) == len(laboratories)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (replace(QUICK_LABORATORIES, plates=1), "plates: 1; expected more than 1"),
        (replace(QUICK_LABORATORIES, laboratories=2), "laboratories: 2; expected at least one"),
        (
            replace(QUICK_LABORATORIES, renderers=(RendererName.PACKED_CELLS,)),
            "renderers: packed_cells; expected at least two",
        ),
    ],
)
def test_a_set_that_cannot_be_evaluated_is_refused(chosen: LaboratorySet, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        chosen.check()


def test_joined_encoders_are_refused(tmp_path: Path) -> None:
    joined = Candidate("a+b", (load_bundle("default"), load_bundle("imagenet")))
    with pytest.raises(ConfigError, match=r"a\+b: joins several encoders"):
        write_laboratories([joined], QUICK_LABORATORIES, tmp_path, tmp_path)


def test_the_table_has_a_row_for_each_reading_and_number_of_assays_with_the_worst() -> None:
    results = [
        Result(laboratory, "packed_cells", "measures", assays, MIXED, (value,))
        for assays, values in (("none", (0.2, 0.4)), ("1", (0.6, 0.5)))
        for laboratory, value in enumerate(values)
    ]

    rows = text_table(summarise(results)).splitlines()

    assert rows[0].split() == ["reading", "assays", "mixed", "worst"]
    assert [row.split() for row in rows[1:]] == [
        ["measures", "none", "0.30", "[0.20,", "0.40]", "0:", "0.20"],
        ["measures", "1", "0.55", "[0.50,", "0.60]", "1:", "0.50"],
    ]


def test_the_gain_of_both_is_measured_from_the_better_part_of_each_laboratory() -> None:
    by_reading = {
        "measures": ((0.5, 0.5), (0.8, 1.0), (0.5, 0.5)),
        "default embedding": ((0.7, 0.7), (0.2, 0.2), (0.4, 0.4)),
        "default both": ((0.8, 0.8), (0.5, 0.7), (0.1, 0.8)),
        "default projected": ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)),
    }
    results = [
        Result(laboratory, "packed_cells", reading, "none", MIXED, values)
        for reading, of_laboratories in by_reading.items()
        for laboratory, values in enumerate(of_laboratories)
    ]
    hidden = Result(0, "packed_cells", "default both", "none", HIDDEN, (-1.0,))

    rows = fusion_table([*results, hidden]).splitlines()

    assert len(rows) == 2
    # The gains are +0.1, -0.3 on each plate, and -0.4 and +0.3: only the second one is clear.
    assert rows[1].split() == [
        "default",
        "none",
        "-0.083",
        "[-0.300,",
        "+0.100]",
        *["2", "of", "3", "1"],
    ]


def test_the_value_of_a_group_is_the_mean_over_the_plates_that_have_its_wells() -> None:
    result = Result(0, "packed_cells", "measures", "none", HIDDEN, (0.5, float("nan"), 0.7))
    assert result.value == pytest.approx(0.6)


def test_wells_without_measures_leave_the_measures_of_other_wells_in_the_ranking_by_both(
    laboratories: list[Laboratory],
) -> None:
    plate = make_plate(laboratories[0], 1)
    plate.measures[[0, 7, 12]] = np.nan  # refused images, in more than 5 % of the wells
    trajectories = plate.trajectories("both", "encoder")
    assert np.isnan(trajectories.features[[0, 7, 12]]).all()
    assert trajectories.feature_names[3:] == plate.trajectories("measures", "").feature_names
    departures = measure_departures(trajectories, dosing_day=DOSED_ON_DAY, day=READOUT_DAY)
    assert np.flatnonzero(~departures.used).tolist() == [0, 7, 12]
    embedding, measures = departures.residuals.reduced.parts
    assert (embedding.stop - embedding.start, measures.stop - measures.start) == (3, 3)
    assert departures.notes == ()
