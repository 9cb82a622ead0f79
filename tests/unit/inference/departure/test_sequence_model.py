"""Tests of the sequence model with two small ONNX networks.

One predicts the last image with a drift, the other a linear trend through the last two days.
"""

# ruff: noqa: ANN401 - `changes` are any fields of a card

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from scipy.stats import spearmanr

from inference.departure.departure_settings import DepartureSettings
from inference.departure.departures import measure_departures
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.ranking.plate_ranking import rank_plate
from schemas.errors import BundleError, ProfileError
from schemas.forecast import ForecastFrom
from schemas.trajectory import Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

pytestmark = pytest.mark.train  # it writes small ONNX networks

WIDTH = 8
DRIFT = 0.5  # a day
INPUTS = {"features": ("n", "t", WIDTH), "days": ("t",), "readout_day": ()}

# The newest row that is not NaN, plus DRIFT for each day since.
LAST_IMAGE = (
    ("IsNaN", ["features"], "missing"),
    ("Not", ["missing"], "imaged"),
    ("Unsqueeze", ["days", "day_axes"], "each_day"),
    ("Where", ["imaged", "each_day", "never"], "when"),
    ("ReduceMax", ["when"], "last"),
    ("Equal", ["when", "last"], "is_last"),
    ("And", ["is_last", "imaged"], "picked"),
    ("Where", ["picked", "features", "zero"], "kept"),
    ("ReduceSum", ["kept", "days_axis"], "row"),
    ("Slice", ["days", "minus_1", "end"], "newest"),
    ("Sub", ["readout_day", "newest"], "ahead"),
    ("Mul", ["ahead", "drift"], "moved"),
    ("Add", ["row", "moved"], "readout"),
)
# The change of the last day continues.
LINEAR_TREND = (
    ("Slice", ["features", "minus_1", "end", "days_axis"], "now"),
    ("Slice", ["features", "minus_2", "minus_1", "days_axis"], "before"),
    ("Slice", ["days", "minus_1", "end"], "newest"),
    ("Sub", ["readout_day", "newest"], "ahead"),
    ("Sub", ["now", "before"], "change"),
    ("Mul", ["change", "ahead"], "moved"),
    ("Add", ["now", "moved"], "with_day"),
    ("Squeeze", ["with_day", "days_axis"], "readout"),
)


def network(
    steps: Sequence[tuple[str, list[str], str]],
    inputs: dict[str, tuple[Any, ...]] = INPUTS,
    width: int = WIDTH,
) -> bytes:
    """Return the ONNX model of these steps."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    constants = {
        "day_axes": np.array([0, 2]),
        "days_axis": np.array([1]),
        "minus_1": np.array([-1]),
        "minus_2": np.array([-2]),
        "end": np.array([2**31 - 1]),
        "never": np.array([-1.0], np.float32),
        "zero": np.array([0.0], np.float32),
        "drift": np.array([DRIFT], np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node(
                kind,
                given,
                [made],
                **(
                    {"axes": [1]}
                    if kind == "ReduceMax"
                    else {"keepdims": 0}
                    if kind == "ReduceSum"
                    else {}
                ),
            )
            for kind, given, made in steps
        ],
        "tiny",
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("readout", floats, ("n", width))],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def write(folder: Path, model: bytes | None = None, **changes: Any) -> Path:
    """Write a forecaster bundle; its card fits the plates of this file, except for ``changes``."""
    folder.mkdir(exist_ok=True)
    content = network(LAST_IMAGE) if model is None else model
    card = {
        "name": "tiny",
        "sha256": hashlib.sha256(content).hexdigest(),
        "encoder_id": "",
        "feature_names": [f"feature_{number}" for number in range(WIDTH)],
        "days": [DOSING_DAY],
        "created_by": "a test",
    }
    (folder / "forecaster.onnx").write_bytes(content)
    (folder / "forecaster.json").write_text(json.dumps(card | changes))
    return folder


def opened(
    folder: Path, steps: Sequence[tuple[str, list[str], str]] = LAST_IMAGE, **changes: Any
) -> OnnxSequenceModel:
    return OnnxSequenceModel(load_forecaster(write(folder, network(steps), **changes)))


def of_measures(seed: int = 0) -> Trajectories:
    return plate((0.0, 0.3, 0.6, 1.0), features=WIDTH, encoder_id="", seed=seed)


def moving(seed: int = 0) -> Trajectories:
    """Return a plate whose wells have a linear trend each, and an effect of the kill.

    The wells have images on the two days up to dosing, and three days later.
    """
    still, pace = of_measures(seed), np.random.default_rng(seed + 100).normal(size=(30, WIDTH))
    before = still.features[:, 0]
    kill = (
        np.where(np.arange(30) < 18, 0.0, np.repeat([0.0, 0, 0, 0, 0, 0, 0.0, 0.3, 0.6, 1.0], 3))
        * 3
    )
    noise = 0.1 * np.random.default_rng(seed + 200).normal(size=(30, 3, WIDTH))
    days = np.stack([before - pace, before, before + 3 * pace + kill[:, None]], axis=1) + noise
    return replace(still, days=(DOSING_DAY - 1, DOSING_DAY, READOUT_DAY), features=days)


def scores(
    trajectories: Trajectories,
    sequence_model: OnnxSequenceModel | None,
    others: Sequence[Trajectories] = (),
) -> np.ndarray:
    settings = DepartureSettings(sequence_model=sequence_model)
    return measure_departures(
        trajectories, dosing_day=DOSING_DAY, day=READOUT_DAY, settings=settings, others=others
    ).scores


def test_a_well_is_predicted_from_its_last_image(tmp_path: Path) -> None:
    trajectories = moving()
    features = trajectories.features.copy()
    features[3, 1], features[4, :2] = np.nan, np.nan
    features[5, 1, 2] = np.inf
    predicted = opened(tmp_path).predict(replace(trajectories, features=features), (6, 7), 10)
    np.testing.assert_allclose(predicted[:3], features[:3, 1] + 3 * DRIFT, rtol=1e-5)
    np.testing.assert_allclose(predicted[3], features[3, 0] + 3 * DRIFT, rtol=1e-5)
    assert np.isnan(predicted[4]).all()
    np.testing.assert_allclose(predicted[5, 2], features[5, 0, 2] + 3 * DRIFT, rtol=1e-5)


def test_a_prediction_that_moves_all_wells_equally_changes_no_score(tmp_path: Path) -> None:
    trajectories = of_measures()
    np.testing.assert_allclose(
        scores(trajectories, opened(tmp_path)), scores(trajectories, None), atol=1e-4
    )


def test_a_model_of_the_trend_improves_the_correlation_with_the_kill(
    tmp_path: Path,
) -> None:
    model = opened(tmp_path, LINEAR_TREND, days=[6, 7])
    kill = np.repeat([0.0, 0.3, 0.6, 1.0], 3)
    gained = []
    for seed in range(5):
        with_model, without = (
            spearmanr(scores(moving(seed), sequence_model)[18:], kill).statistic
            for sequence_model in (model, None)
        )
        gained.append(with_model - without)
    assert np.mean(gained) > 0.1
    assert min(gained) > -0.02


def test_the_days_after_dosing_enter_the_prediction_with_last_day_alone(tmp_path: Path) -> None:
    model, trajectories = opened(tmp_path), moving()
    drift = np.random.default_rng(5).normal(0, 2, (30, 1, WIDTH))  # of each well, after dosing
    features = trajectories.features + drift * np.array([0.0, 0.0, 1.0])[:, None]
    day_9 = features[:, 2:] + np.random.default_rng(6).normal(0, 0.1, (30, 1, WIDTH))
    wells = replace(
        trajectories,
        days=(6, 7, 9, 10),
        features=np.concatenate([features[:, :2], day_9, features[:, 2:]], axis=1),
    )

    def untreated_residual(source: ForecastFrom, plate: Trajectories) -> np.ndarray:
        settings = DepartureSettings(forecast_from=source, sequence_model=model)
        measured = measure_departures(
            plate, dosing_day=DOSING_DAY, day=READOUT_DAY, settings=settings
        )
        return measured.residuals.of_all_wells[measured.residuals.untreated]

    up_to_dosing, last_day = (
        untreated_residual(source, wells) for source in (ForecastFrom.DOSING, ForecastFrom.LAST_DAY)
    )
    assert np.square(last_day).mean() < 0.2 * np.square(up_to_dosing).mean()
    others = wells.features.copy()
    others[:, 2] = np.random.default_rng(7).normal(size=(30, WIDTH))
    changed = replace(wells, features=others)
    np.testing.assert_array_equal(untreated_residual(ForecastFrom.DOSING, changed), up_to_dosing)
    assert np.abs(untreated_residual(ForecastFrom.LAST_DAY, changed) - last_day).max() > 0.1


def test_the_ranking_names_the_sequence_model(tmp_path: Path) -> None:
    model = opened(tmp_path)
    table = rank_plate(
        of_measures(),
        dosing_day=DOSING_DAY,
        readout_day=READOUT_DAY,
        seed=0,
        settings=DepartureSettings(sequence_model=model),
    )
    assert any(f"The sequence model {model.name} predicted" in note for note in table.notes)
    assert model.name.startswith("tiny-")


def test_earlier_plates_are_predicted_as_well_and_skipped_if_a_day_is_missing(
    tmp_path: Path,
) -> None:
    model = opened(tmp_path, LINEAR_TREND, days=[6, 7])
    alone, beside = scores(moving(), model), scores(moving(), model, [moving(1), moving(2)])
    assert np.abs(beside - alone).max() > 1e-3
    without_a_day = [replace(of_measures(seed), plate="short") for seed in (1, 2)]
    np.testing.assert_array_equal(scores(moving(), model, without_a_day), alone)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (
            {"encoder_id": "another"},
            "was trained on the embedding of another; expected a model trained on measures alone",
        ),
        (
            {"feature_names": [f"feature_{number + 1}" for number in range(WIDTH)]},
            "names 8 other features; feature 1 is feature_0, expected feature_1",
        ),
        (
            {"days": [5, 7]},
            "needs images of the days 5, 7; plate P1 has none of 5; up to dosing it has 7",
        ),
        ({"days": [7, 8]}, "needs images of the days 7, 8; plate P1 has none of 8"),
    ],
)
def test_a_plate_that_does_not_fit_the_model_is_refused_with_the_difference(
    card: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ProfileError, match=message) as error:
        scores(of_measures(), opened(tmp_path, **card))
    assert error.value.where.endswith("forecaster.onnx")


def test_a_model_that_predicts_no_number_is_refused_with_the_wells(tmp_path: Path) -> None:
    trajectories = moving()
    features = trajectories.features.copy()
    features[2, 0] = np.nan  # a linear trend needs both days
    with pytest.raises(
        ProfileError,
        match="predicts no number for plate P1, wells B04; expected numbers also where images",
    ):
        scores(
            replace(trajectories, features=features), opened(tmp_path, LINEAR_TREND, days=[6, 7])
        )


def corrupted(folder: Path) -> None:
    (folder / "forecaster.onnx").write_bytes(b"no model")


def gone(folder: Path) -> None:
    (folder / "forecaster.json").unlink()


def without_days(folder: Path) -> None:
    write(
        folder,
        network(
            (("ReduceMax", ["features"], "last"), ("Squeeze", ["last", "days_axis"], "readout")),
            {"features": ("n", "t", WIDTH)},
        ),
    )


def of_other_width(folder: Path) -> None:
    write(folder, feature_names=["area", "circularity"])


def of_one_day(folder: Path) -> None:
    write(folder, network(LAST_IMAGE, INPUTS | {"features": ("n", 1, WIDTH)}))


def that_needs_another_day(folder: Path) -> None:
    write(folder, network(LINEAR_TREND))


def cannot_load(folder: Path) -> None:
    write(folder, b"no model")


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (corrupted, "SHA-256 is"),
        (
            gone,
            (
                "cannot be read: No such file or directory; "
                "expected forecaster.onnx and forecaster.json"
            ),
        ),
        (cannot_load, "cannot load it"),
        (
            without_days,
            (
                r"inputs are features .*; expected features \['any', 'any', 8\] tensor\(float\), "
                r"days \['any'\] .*, readout_day \[\]"
            ),
        ),
        (of_other_width, r"expected features \['any', 'any', 2\]"),
        (of_one_day, r"inputs are features \['n', 1, 8\]"),
        (that_needs_another_day, r"cannot compute 2 × 1 × 8 \(wells × days × features\)"),
        (lambda folder: write(folder, dimension=3), "dimension: Extra inputs"),
    ],
)
def test_a_bundle_that_contradicts_its_card_is_refused(
    corrupt: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path)
    corrupt(folder)
    with pytest.raises(BundleError, match=message):
        OnnxSequenceModel(load_forecaster(folder))
