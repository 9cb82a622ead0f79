"""Tests of the training of a forecaster on wells with linear trajectories."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from tests.forecaster_samples import (
    NAMES,
    PLATES,
    WIDTH,
    forecaster_settings,
    ignore_progress,
    linear_plate,
)
from training.data.seeds import FIRST_TRAINING_SEED
from training.forecaster.config import (
    ForecasterDataSection,
    load_forecaster_training_config,
)
from training.forecaster.examples import ForecastExamples, split_trajectories_by_plate
from training.forecaster.model import TrajectoryForecaster
from training.forecaster.train import (
    fit_forecaster,
    load_plates,
    train_forecaster,
)
from training.forecaster.trajectories import make_virtual_trajectories, untreated_only

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # warnings of lightning


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "gru"
    fit_forecaster(PLATES, forecaster_settings(out), ignore_progress)
    return out


def test_linear_trajectories_are_predicted_better_than_by_the_last_image(
    trained: Path,
) -> None:
    done = fit_forecaster(PLATES, forecaster_settings(trained), ignore_progress)
    assert done.quality.explained > done.quality.explained_by_last + 0.03


def test_the_bundle_predicts_wells_with_missing_images(trained: Path) -> None:
    model = OnnxSequenceModel(load_forecaster(trained))
    unseen = linear_plate(77)
    unseen.features[:2, 1] = np.nan
    unseen.features[2, :3] = np.nan
    predicted = model.predict(unseen, (5, 6, 7), 10)
    assert np.isnan(predicted[2]).all()
    known = np.arange(14) != 2
    actual, last = unseen.on(10), unseen.on(7)
    assert (
        np.square(predicted - actual)[known].mean() < 0.8 * np.square(last - actual)[known].mean()
    )
    assert (trained / "NOTICE").exists()
    assert "8 plates" in (trained / "MODEL_CARD.md").read_text()
    assert model.name.startswith("gru-")


def test_treated_wells_are_not_used_for_training() -> None:
    kept = untreated_only([linear_plate(1, treated=4), linear_plate(2)])
    assert [len(plate.wells) for plate in kept] == [10, 14]
    assert max(float(np.nanmax(plate.features)) for plate in kept) < 1e3


def test_unit_and_offset_of_a_feature_do_not_matter() -> None:
    torch.manual_seed(1)
    model = TrajectoryForecaster(torch.eye(WIDTH), 8).eval()
    torch.nn.init.normal_(model.head.weight)
    past = torch.from_numpy(PLATES[0].features[:, :3].astype(np.float32))
    days, day = torch.tensor([5.0, 6.0, 7.0]), torch.tensor(10.0)
    scale, shift = torch.tensor([0.5, 2.0, 8.0, 1.0]), torch.tensor([0.0, -20.0, 3.0, 1.0])
    with torch.inference_mode():
        assert torch.allclose(
            model(past * scale + shift, days, day),
            model(past, days, day) * scale + shift,
            atol=1e-2,
        )


def test_constant_and_huge_features_give_finite_predictions() -> None:
    model = TrajectoryForecaster(torch.eye(WIDTH), 8).eval()
    past = torch.zeros(5, 2, WIDTH)
    past[..., 0] = 7.0
    past[2, 0, 1] = 3e38
    past[:, :, 2] = torch.nan
    with torch.inference_mode():
        predicted = model(past, torch.tensor([6.0, 7.0]), torch.tensor(10.0))
    assert torch.isfinite(predicted).all()
    assert torch.allclose(predicted[:, 0], torch.tensor(7.0))


def test_an_epoch_is_the_same_for_the_same_seed() -> None:
    def epoch(number: int) -> list[np.ndarray]:
        views = ForecastExamples(PLATES, 3, number, 2, 0.1)
        return [views[place].features.numpy() for place in range(len(views))]

    for one, other in zip(epoch(1), epoch(1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(
        one.shape != other.shape or not np.array_equal(one, other, equal_nan=True)
        for one, other in zip(epoch(1), epoch(2), strict=True)
    )


def test_training_and_validation_have_no_plate_in_common() -> None:
    twice = [*PLATES, *(linear_plate(seed) for seed in range(4))]
    training, validation = split_trajectories_by_plate(twice, 0.25, 0)
    assert {plate.plate for plate in training}.isdisjoint(plate.plate for plate in validation)
    assert len(training) + len(validation) == 12


@pytest.mark.slow
def test_a_killed_training_continues_to_the_same_weights(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys, warnings
        from pathlib import Path
        warnings.simplefilter("ignore")
        sys.path.insert(0, {str(Path(__file__).parents[4])!r})
        from tests.forecaster_samples import PLATES, forecaster_settings
        from training.forecaster.train import fit_forecaster
        fit_forecaster(PLATES, forecaster_settings(Path(sys.argv[1]), epochs=8), print)
        """
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)  # as in the killed process: sums depend on the number of threads
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    last = tmp_path / "killed-training" / "last.ckpt"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(killed)], env=environment, stdout=subprocess.DEVNULL
    ) as process:
        while not last.exists() and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGKILL)
    assert not killed.exists()
    epoch = torch.load(last, weights_only=True)["epoch"]
    for out in (killed, whole):
        fit_forecaster(PLATES, forecaster_settings(out, epochs=8), ignore_progress)
    ends = [
        torch.load(folder / "last.ckpt", weights_only=True)
        for folder in (last.parent, tmp_path / "whole-training")
    ]
    assert epoch < ends[0]["epoch"] == ends[1]["epoch"] == 7
    for name, weights in ends[0]["state_dict"].items():
        torch.testing.assert_close(weights, ends[1]["state_dict"][name])
    assert (killed / "forecaster.onnx").read_bytes() == (whole / "forecaster.onnx").read_bytes()


def test_a_checkpoint_of_another_training_is_refused_and_the_bundle_is_unchanged(
    trained: Path,
) -> None:
    before = (trained / "forecaster.onnx").read_bytes()
    with pytest.raises(
        ConfigError,
        match=r"last\.ckpt: is of a training with other plates or settings; expected the same: "
        r"set another run\.out",
    ):
        fit_forecaster(PLATES[:-1], forecaster_settings(trained), ignore_progress)
    assert (trained / "forecaster.onnx").read_bytes() == before


def test_a_loss_that_is_not_finite_is_reported_and_no_bundle_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "training.forecaster.train.deviation_loss",
        lambda model, *_, **__: model.newness * torch.nan,
    )
    with pytest.raises(
        ConfigError,
        match=r"run.learning_rate: is 1.0, and the loss became nan; expected a lower rate",
    ):
        fit_forecaster(
            PLATES, forecaster_settings(tmp_path / "gru", learning_rate=1.0), ignore_progress
        )
    assert not (tmp_path / "gru").exists()


@pytest.mark.parametrize(
    ("plates", "message"),
    [
        (
            [],
            (
                "data: 0 plates have 4 untreated wells or more on two days; "
                "expected two plates or more"
            ),
        ),
        (PLATES[:1], "data: 1 plates have 4 untreated wells"),
        ([PLATES[0], PLATES[0]], "data: all plates are named P0; expected two or more names"),
        ([linear_plate(1, 3), linear_plate(2, 3)], "data: 0 plates have"),
    ],
)
def test_too_few_plates_are_reported(
    plates: list[Trajectories], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_forecaster(plates, forecaster_settings(tmp_path / "gru"), ignore_progress)
    assert list(tmp_path.iterdir()) == []


def test_plates_of_different_features_are_reported(tmp_path: Path) -> None:
    other = Trajectories(
        "other",
        *(
            getattr(PLATES[1], name)
            for name in ("wells", "groups", "treatments", "days", "features")
        ),
        ("a", "b", "c", "d"),
    )
    with pytest.raises(
        ConfigError,
        match="plate other has 4 features of measures; "
        "expected 4 features of measures, as plate P0 has, in the same order",
    ):
        fit_forecaster([PLATES[0], other], forecaster_settings(tmp_path / "gru"), ignore_progress)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[run]\nepoch = 3", r"forecaster.toml, run.epoch: is 3; Extra inputs are not permitted"),
        (
            "[model]\nhidden = 0",
            r"forecaster.toml, model.hidden: is 0; Input should be greater than or equal to 1",
        ),
        ("[run", r"forecaster.toml: is not TOML"),
        (
            "[data]\nvirtual_plates = 1\nvirtual_seed = 5",
            (
                r"data\.virtual_seeds: has 5; expected 100000 or more, "
                r"as plates of smaller seeds are reserved"
            ),
        ),
    ],
)
def test_an_invalid_configuration_is_reported_with_its_key(
    content: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "forecaster.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        train_forecaster(file, ignore_progress)


def test_one_command_trains_on_a_profile_table(tmp_path: Path) -> None:
    rows = [
        {
            "Metadata_Plate": plate.plate,
            "Metadata_Well": well,
            "Metadata_Day": day,
            "Metadata_Group": "untreated",
            "Metadata_Treatment": "",
        }
        | dict(zip(NAMES, plate.features[row, column], strict=True))
        for plate in PLATES[:4]
        for row, well in enumerate(plate.wells)
        for column, day in enumerate(plate.days)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "profiles.parquet")
    (tmp_path / "forecaster.toml").write_text(
        '[data]\nprofiles = ["profiles.parquet"]\n'
        '[run]\nepochs = 2\naccelerator = "cpu"\n'
        '[model]\nname = "tiny"'
    )
    done = train_forecaster(tmp_path / "forecaster.toml", ignore_progress)
    assert done.bundle == tmp_path / "forecaster"
    assert load_forecaster(done.bundle).card.feature_names == NAMES


@pytest.mark.slow
def test_virtual_plates_are_rendered_once(tmp_path: Path) -> None:
    reports: list[str] = []
    for _ in range(2):
        [plate] = make_virtual_trajectories(
            [FIRST_TRAINING_SEED], (7,), "default", "measures", tmp_path, report=reports.append
        )
    assert len(reports) == 1
    assert plate.features.shape[:2] == (30, 1)
    assert np.isfinite(plate.features).all()


def test_the_default_configuration_has_no_plates() -> None:
    config = load_forecaster_training_config(None)
    assert config.data == ForecasterDataSection(cache=Path.cwd() / "cache")
    assert load_plates(config, ignore_progress) == []
