"""Departure settings from the configuration and from the options of ``rank profiles``."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from daemon.config import load_config
from daemon.jobs import start_check
from daemon.wiring.departure import open_departure_settings
from inference.bundle import load_bundle
from inference.departure.assembly import feature_names
from inference.departure.departure_settings import DepartureSettings
from inference.profiles import rank_profiles
from schemas.errors import BundleError, ConfigError
from schemas.forecast import ForecastFrom, MetricName
from tests.known_plates import plate
from tests.service_process import SPHERORANK

DEFAULT_ENCODER = load_bundle("default").card


def configured(folder: Path, ranking: str) -> Path:
    path = folder / "spherorank.toml"
    path.write_text(f"[ranking]\n{ranking}\n")
    return path


def settings_of(folder: Path, ranking: str) -> DepartureSettings:
    config = load_config(configured(folder, ranking))
    return open_departure_settings(config, DEFAULT_ENCODER)


def model_in(folder: Path, names: tuple[str, ...], encoder_id: str = "") -> Path:
    """Write a sequence model that predicts zeros for these features; return its folder."""
    import onnx  # noqa: PLC0415 - needs the train extra, unlike the other tests

    helper, floats, width = onnx.helper, onnx.TensorProto.FLOAT, len(names)
    steps = [
        helper.make_node("ReduceSum", ["features", "axis"], ["row"], keepdims=0),
        helper.make_node("ReduceSum", ["days"], ["of_days"], keepdims=0),
        helper.make_node("Add", ["of_days", "readout_day"], ["number"]),
        helper.make_node("Add", ["row", "number"], ["any"]),
        helper.make_node("Mul", ["any", "zero"], ["readout"]),
    ]
    constants = [
        helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", floats, [1], [0.0]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, floats, shape)
        for name, shape in (("features", ("n", "t", width)), ("days", ("t",)), ("readout_day", ()))
    ]
    graph = helper.make_graph(
        steps,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("readout", floats, ("n", width))],
        constants,
    )
    content = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    folder.mkdir()
    (folder / "forecaster.onnx").write_bytes(content)
    card = {
        "name": "tiny",
        "sha256": hashlib.sha256(content).hexdigest(),
        "encoder_id": encoder_id,
        "feature_names": names,
        "created_by": "a test",
    }
    (folder / "forecaster.json").write_text(json.dumps(card))
    return folder


def test_an_empty_section_has_the_default_settings(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "") == DepartureSettings()


def test_every_key_reaches_the_settings_and_changes_the_digest(tmp_path: Path) -> None:
    ranking = (
        'forecaster = "kernel"\nforecast_from = "one_step"\n'
        'metric = "nearest_controls"\nleave_out_unlike = false'
    )
    expected = DepartureSettings("kernel", ForecastFrom.ONE_STEP, MetricName.NEAREST_CONTROLS)
    assert settings_of(tmp_path, ranking) == replace(expected, leave_out_outliers=False)
    digests = {
        load_config(configured(tmp_path, line)).digest for line in ("", *ranking.splitlines())
    }
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'forecast_from = "day 9"',
            "ranking.forecast_from: is 'day 9'; expected 'dosing', 'last_day' or 'one_step'",
        ),
        (
            'metric = "l1"',
            "ranking.metric: is 'l1'; expected 'mahalanobis', 'l2', 'cosine' or 'nearest_controls'",
        ),
        (
            'forecaster = "rigde"',
            (
                "rigde: is no forecaster; expected one of ridge, kernel, drift, persistence, mean, "
                "or a folder with forecaster.onnx"
            ),
        ),
    ],
)
def test_a_wrong_key_is_named_with_the_expected_values(
    line: str, message: str, tmp_path: Path
) -> None:
    assert any(
        message in problem
        for problem in start_check.find_start_problems(configured(tmp_path, line))
    )


def test_a_missing_encoder_is_reported_once(tmp_path: Path) -> None:
    path = configured(tmp_path, 'forecaster = "ridge"\n[encoder]\nbundle = "nowhere"')
    assert (
        sum(
            "nowhere: is no encoder bundle" in problem
            for problem in start_check.find_start_problems(path)
        )
        == 1
    )


@pytest.mark.train
def test_a_sequence_model_is_used_in_place_of_a_built_in_forecaster(tmp_path: Path) -> None:
    folder = model_in(tmp_path / "model", feature_names("measures", 0))
    settings = settings_of(tmp_path, f'representation = "measures"\nforecaster = "{folder}"')
    assert settings.forecaster == "ridge"
    assert settings.sequence_model is not None
    assert settings.sequence_model.name.startswith("tiny-")
    ranking = f'representation = "measures"\nforecaster = "{folder}"\nforecast_from = '
    assert settings_of(tmp_path, f'{ranking}"last_day"').forecast_from is ForecastFrom.LAST_DAY
    with pytest.raises(
        ConfigError,
        match="forecast_from: is one_step; expected dosing or last_day with the sequence model",
    ):
        settings_of(tmp_path, f'{ranking}"one_step"')


@pytest.mark.train
def test_a_sequence_model_that_does_not_fit_the_service_is_reported_at_the_start(
    tmp_path: Path,
) -> None:
    of_measures = model_in(tmp_path / "measures", feature_names("measures", 0))
    with pytest.raises(
        BundleError,
        match="was trained on measures alone; expected a model trained on the embedding of",
    ):
        settings_of(tmp_path, f'representation = "embedding"\nforecaster = "{of_measures}"')
    of_another = model_in(tmp_path / "another", feature_names("embedding", 4), "another")
    with pytest.raises(BundleError, match="was trained on the embedding of another"):
        settings_of(tmp_path, f'representation = "embedding"\nforecaster = "{of_another}"')
    short = model_in(tmp_path / "short", feature_names("embedding", 4), DEFAULT_ENCODER.encoder_id)
    with pytest.raises(
        BundleError,
        match=(
            f"wells are compared by {DEFAULT_ENCODER.dimension} features; forecaster.json names 4 "
            "other features"
        ),
    ):
        settings_of(tmp_path, f'representation = "embedding"\nforecaster = "{short}"')
    assert any(
        "names 4 other features" in problem
        for problem in start_check.find_start_problems(
            configured(tmp_path, f'representation = "embedding"\nforecaster = "{short}"')
        )
    )


def test_a_profile_table_is_ranked_with_the_given_options(tmp_path: Path) -> None:
    known = plate(features=8, encoder_id="")
    rows = [
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": well,
            "Metadata_Day": day,
            "Metadata_Group": str(known.groups[place]),
            "Metadata_Treatment": known.treatments[place],
        }
        | dict(zip(known.feature_names, known.features[place, column], strict=True))
        for place, well in enumerate(known.wells)
        for column, day in enumerate(known.days)
    ]
    table = tmp_path / "profiles.parquet"
    pd.DataFrame(rows).to_parquet(table)
    options = [
        "--forecaster",
        "mean",
        "--forecast-from",
        "one_step",
        "--metric",
        "l2",
        "--keep-unlike",
    ]
    days = ["--baseline-day", "7", "--readout-day", "10"]
    asked = subprocess.run(
        [SPHERORANK, "rank", "profiles", table, *days, "--out", tmp_path / "asked.csv", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr
    settings = DepartureSettings(
        "mean", ForecastFrom.ONE_STEP, MetricName.L2, leave_out_outliers=False
    )
    for name, given in (("expected", settings), ("default", DepartureSettings())):
        rank_profiles(
            table, baseline_day=7, readout_day=10, out=tmp_path / f"{name}.csv", settings=given
        )
    scores = {
        name: pd.read_csv(tmp_path / f"{name}-wells.csv").score
        for name in ("asked", "expected", "default")
    }
    pd.testing.assert_series_equal(scores["asked"], scores["expected"])
    assert (scores["asked"] - scores["default"]).abs().max() > 0.01
