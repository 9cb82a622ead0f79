"""Tests of the pretraining of a forecaster's body by ``timeclr`` and ``mae``."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.wiring.departure import departure_settings
from inference.departure.departure_settings import DepartureSettings
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.ranking.plate_ranking import rank_plate
from schemas.errors import ConfigError
from schemas.forecast import ForecastFrom, MetricName
from schemas.ranking import TreatmentTable
from schemas.trajectory import Trajectories
from tests.forecaster_samples import (
    PLATES,
    WIDTH,
    forecaster_settings,
    ignore_progress,
    linear_plate,
)
from training.forecaster.config import (
    ForecasterDataSection,
    ForecasterModelSection,
    ForecasterPretrainingSection,
    ForecasterTrainingConfig,
)
from training.forecaster.examples import ForecastExample, ForecastExamples, select_trajectories
from training.forecaster.model import TrajectoryForecaster
from training.forecaster.pretraining import (
    OBJECTIVES,
    MaskedDays,
    TimeClr,
    TrajectoryObjective,
    draw_masked_days,
    hide,
    whole_series,
)
from training.forecaster.train import fit_forecaster, train_forecaster

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # warnings of lightning

BODY_OF = {"timeclr": "inception", "mae": "transformer"}


def example(seed: int = 1) -> ForecastExample:
    """Return an example of all six days of a plate, without hidden images."""
    features = torch.from_numpy(linear_plate(seed).features.astype(np.float32))
    days = torch.arange(5.0, 10.0)
    return ForecastExample(features[:, :-1], days, torch.tensor(10.0), features[:, -1], 3)


def objective(name: str) -> TrajectoryObjective:
    torch.manual_seed(0)
    forecaster = TrajectoryForecaster(torch.eye(WIDTH), 12, BODY_OF[name])
    return OBJECTIVES[name](forecaster, ForecasterPretrainingSection(objective=name))  # type: ignore[arg-type] # a key of OBJECTIVES


def pretraining_settings(
    out: Path, name: str, *, frozen: bool = False, trajectories: int = 0, epochs: int = 3
) -> ForecasterTrainingConfig:
    """Return a training of few epochs with pretraining."""
    return forecaster_settings(out, epochs=epochs, views=2).model_copy(
        update={
            "data": ForecasterDataSection(trajectories=trajectories),
            "model": ForecasterModelSection(name=name, hidden=12, body=BODY_OF[name]),  # type: ignore[arg-type] # a key of BODIES
            "pretraining": ForecasterPretrainingSection(objective=name, epochs=2, frozen=frozen),  # type: ignore[arg-type] # a key of OBJECTIVES
        }
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_a_fixed_batch_falls(name: str) -> None:
    module, batch = objective(name), example()
    before = {key: value.clone() for key, value in module.body.state_dict().items()}
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all(
        not torch.equal(value, before[key]) for key, value in module.body.state_dict().items()
    )


def test_the_loss_of_timeclr_is_that_of_a_plain_transcription() -> None:
    module = objective("timeclr")
    assert isinstance(module, TimeClr)
    projected: list[torch.Tensor] = []
    module.head.register_forward_hook(lambda _module, _given, made: projected.append(made))
    loss = module.loss(example()).item()
    [rows] = [each.detach().double().numpy() for each in projected]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wells, terms = len(rows) // 2, []
    for anchor in range(2 * wells):
        similarities = [
            np.exp(unit[anchor] @ unit[other] / module.settings.temperature)
            for other in range(2 * wells)
        ]
        others = sum(similarities) - similarities[anchor]
        terms.append(-np.log(similarities[(anchor + wells) % (2 * wells)] / others))
    assert loss == pytest.approx(np.mean(terms), rel=1e-4)


def test_the_loss_of_mae_is_the_mean_error_of_the_hidden_days_alone() -> None:
    module, batch = objective("mae"), example()
    assert isinstance(module, MaskedDays)
    features, ahead = whole_series(batch)
    values = features.double().numpy()
    masked = draw_masked_days(np.ones((14, 6), dtype=bool), 0.5, np.random.default_rng(batch.seed))
    apart = values - values.mean(axis=0)
    target = apart / np.sqrt(np.square(apart).mean(axis=(0, 1)))
    predicted = module.predict(hide(features, torch.from_numpy(masked)), ahead)
    errors = [
        np.square(predicted[well, day].detach().numpy() - target[well, day]).mean()
        for well, day in np.argwhere(masked)
    ]
    assert module.loss(batch).item() == pytest.approx(np.mean(errors), rel=1e-4)


@pytest.mark.parametrize("body", ["gru", "inception", "transformer"])
def test_the_value_of_a_masked_day_has_no_effect_on_any_prediction(body: str) -> None:
    torch.manual_seed(0)
    module = MaskedDays(
        TrajectoryForecaster(torch.eye(WIDTH), 12, body),
        ForecasterPretrainingSection(objective="mae"),
    )
    features, ahead = whole_series(example())
    masked = torch.from_numpy(
        draw_masked_days(np.ones((14, 6), dtype=bool), 0.5, np.random.default_rng(0))
    )
    other = torch.where(masked.unsqueeze(2), torch.randn_like(features) * 1e3, features)
    visible = features.clone()
    visible[~masked] += 1.0 + torch.rand_like(visible[~masked])
    with torch.inference_mode():
        predicted, of_other, of_visible = (
            module.predict(hide(each, masked), ahead) for each in (features, other, visible)
        )
    assert torch.equal(predicted, of_other)
    assert not torch.allclose(predicted, of_visible, atol=1e-3)


def test_some_images_of_every_well_are_hidden_and_some_are_not() -> None:
    rng = np.random.default_rng(0)
    has_image = rng.random((200, 6)) < 0.6
    images = has_image.sum(axis=1)
    for share in (0.01, 0.5, 0.99):
        masked = draw_masked_days(has_image, share, rng)
        assert not (masked & ~has_image).any()
        hidden = masked.sum(axis=1)
        assert not hidden[images < 2].any()
        several = images > 1
        assert (hidden[several] >= 1).all()
        assert (hidden[several] < images[several]).all()
    assert hidden[images == 6].mean() == 5


@pytest.mark.parametrize("name", OBJECTIVES)
def test_wells_with_few_images_give_a_finite_loss_with_gradients(name: str) -> None:
    module, batch = objective(name), example()
    features = batch.features.clone()
    features[1:] = torch.nan
    for readout in (batch.readout, torch.full_like(batch.readout, torch.nan)):
        loss = module.loss(replace(batch, features=features, readout=readout))
        assert torch.isfinite(loss)
        loss.backward()


def treated_plates() -> list[Trajectories]:
    return [linear_plate(seed, treated=4) for seed in range(5)]


@pytest.fixture(scope="module", params=OBJECTIVES)
def pretrained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, list[str]]:
    name = str(request.param)
    out, reports = tmp_path_factory.mktemp("pretrained") / name, list[str]()
    settings = pretraining_settings(out, name, trajectories=16)
    fit_forecaster(treated_plates(), settings, reports.append)
    return name, out, reports


def test_a_training_that_stopped_after_the_pretraining_continues_to_the_same_bundle(
    pretrained: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    name, out, _ = pretrained
    again = tmp_path / name
    checkpoints = out.with_name(f"{name}-training") / "pretraining"
    shutil.copytree(checkpoints, tmp_path / f"{name}-training" / "pretraining")
    fit_forecaster(
        treated_plates(), pretraining_settings(again, name, trajectories=16), ignore_progress
    )
    assert (again / "forecaster.onnx").read_bytes() == (out / "forecaster.onnx").read_bytes()


def torch_forecaster(out: Path, body: str) -> TrajectoryForecaster:
    """Return the forecaster of a bundle with the best weights of its training."""
    state = torch.load(
        out.with_name(f"{out.name}-training") / "best.ckpt", map_location="cpu", weights_only=True
    )["state_dict"]
    model = TrajectoryForecaster(torch.eye(WIDTH), 12, body)
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    return model.eval()


def test_the_exported_bundle_forecasts_the_numbers_of_torch(
    pretrained: tuple[str, Path, list[str]],
) -> None:
    name, out, _ = pretrained
    opened = OnnxSequenceModel(load_forecaster(out))
    plate = linear_plate(77)
    plate.features[2, 1] = np.nan
    model = torch_forecaster(out, BODY_OF[name])
    for days in ((5, 6, 7), (7,), (7, 8, 9)):
        past = torch.from_numpy(np.stack([plate.on(day) for day in days], axis=1))
        with torch.inference_mode():
            expected = model(
                past.float(), torch.tensor(days, dtype=torch.float32), torch.tensor(10.0)
            )
        np.testing.assert_allclose(opened.predict(plate, days, 10), expected, rtol=1e-4)


def test_the_ranking_of_the_service_uses_the_pretrained_bundle(
    pretrained: tuple[str, Path, list[str]],
) -> None:
    name, out, _ = pretrained
    opened = departure_settings(
        str(out), ForecastFrom.DOSING, MetricName.MAHALANOBIS, leave_out_outliers=True
    )

    def rank(settings: DepartureSettings) -> TreatmentTable:
        plate = linear_plate(78, treated=4)
        return rank_plate(plate, dosing_day=7, readout_day=10, seed=0, settings=settings)

    ranked, default = rank(opened), rank(DepartureSettings())
    assert any(f"The sequence model {name}-" in note for note in ranked.notes)
    scores, default_scores = (
        np.array([well.score for well in each.wells]) for each in (ranked, default)
    )
    assert np.isfinite(scores).all()
    assert np.abs(scores - default_scores).max() > 1e-3


def test_the_card_and_the_output_state_body_pretraining_and_wells(
    pretrained: tuple[str, Path, list[str]],
) -> None:
    name, out, reports = pretrained
    card = re.sub(r"\s+", " ", (out / "MODEL_CARD.md").read_text())
    assert {"timeclr": "An inception network", "mae": "A transformer"}[name] in card
    assert f"pretrained with `{name}` on wells of all groups" in card
    assert "Trained on 16 untreated wells" in card
    created_by = load_forecaster(out).card.created_by
    assert f"body {BODY_OF[name]}, pretraining {name}" in created_by
    assert f"pretraining with {name} on 56 wells of 4 plates, treated wells included" in reports
    assert "the forecaster is trained on 16 untreated wells of 2 plates" in reports


def test_a_frozen_body_is_that_of_the_pretraining(tmp_path: Path) -> None:
    out = tmp_path / "frozen"
    fit_forecaster(PLATES[:3], pretraining_settings(out, "mae", frozen=True), ignore_progress)
    folder = tmp_path / "frozen-training"
    first, last = (
        torch.load(file, weights_only=True)["state_dict"]
        for file in (folder / "pretraining" / "best.ckpt", folder / "best.ckpt")
    )
    for key, value in first.items():
        if key.startswith("model.body."):
            assert torch.equal(last[key], value)
    assert last["model.head.weight"].abs().max() > 0


@pytest.mark.parametrize(("count", "wells"), [(4, [4]), (14, [14]), (16, [14]), (20, [14, 6])])
def test_the_selected_trajectories_are_of_few_plates_with_enough_wells(
    count: int, wells: list[int]
) -> None:
    selected = select_trajectories(PLATES, count, 0)
    assert [len(plate.wells) for plate in selected] == wells
    assert len({plate.plate for plate in selected}) == len(wells)


def short(plate: Trajectories) -> Trajectories:
    return replace(plate, days=plate.days[:2], features=plate.features[:, :2])


@pytest.mark.parametrize(
    ("plates", "trajectories", "message"),
    [
        (
            [short(plate) for plate in PLATES[:3]],
            0,
            (
                "pretraining.objective: is 'mae', and no training plate has 3 days; expected "
                "plates with more days, or 'none'"
            ),
        ),
        (
            PLATES[:3],
            29,
            (
                "data.trajectories: is 29; expected 0 for all, or 4 to 28, the untreated wells of "
                "the training plates"
            ),
        ),
        (PLATES[:3], 3, "data.trajectories: is 3; expected 0 for all, or 4 to 28"),
    ],
)
def test_plates_that_do_not_suffice_are_reported_before_a_file_is_written(
    plates: list[Trajectories], trajectories: int, message: str, tmp_path: Path
) -> None:
    settings = pretraining_settings(tmp_path / "mae", "mae", trajectories=trajectories)
    with pytest.raises(ConfigError, match=re.escape(message)):
        fit_forecaster(plates, settings, ignore_progress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "joint", "message"),
    [
        (
            '[pretraining]\nobjective = "simclr"',
            False,
            "pretraining.objective: is 'simclr'; Input should be 'none', 'timeclr' or 'mae'",
        ),
        (
            '[model]\nbody = "lstm"',
            False,
            "model.body: is 'lstm'; Input should be 'gru', 'inception' or 'transformer'",
        ),
        (
            "[pretraining]\nfrozen = true",
            False,
            (
                "pretraining.frozen: is true without pretraining; expected the objective 'timeclr' "
                "or 'mae', or frozen = false"
            ),
        ),
        (
            '[data]\nrepresentation = "both"\n[pretraining]\nobjective = "mae"',
            True,
            "pretraining.objective: is 'mae'; expected 'none' with --joint",
        ),
        ("[pretraining]\nmasked = 1.0", False, "pretraining.masked: is 1.0; Input should be less"),
    ],
)
def test_a_wrong_pretraining_is_reported_with_its_key(
    content: str, message: str, tmp_path: Path, *, joint: bool
) -> None:
    file = tmp_path / "forecaster.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(message)):
        train_forecaster(file, ignore_progress, joint=joint)


def test_examples_of_an_epoch_have_different_seeds_that_repeat() -> None:
    def seeds() -> list[int]:
        examples = ForecastExamples(PLATES, 0, 4, 2, 0.1)
        return [examples[place].seed for place in range(len(examples))]

    assert seeds() == seeds()
    assert len(set(seeds())) == 16
