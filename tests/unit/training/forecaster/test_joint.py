"""Tests of the joint training of a projection and a forecaster."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import load_bundle
from inference.departure.assembly import feature_names
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.encoding.onnx_encoder import OnnxEncoder
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
from tests.samples import well_image
from training.forecaster.config import ForecasterDataSection, ForecasterModelSection
from training.forecaster.deviation import deviation_loss
from training.forecaster.examples import ForecastExample
from training.forecaster.joint import JointForecaster
from training.forecaster.train import fit_joint_forecaster, train_forecaster

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # warnings of lightning

ENCODER = load_bundle("default").card


def embedded(seed: int) -> Trajectories:
    """Return a plate whose embedding is a random linear function of its measures, with noise."""
    plate, rng = linear_plate(seed), np.random.default_rng(seed)
    turned = plate.features @ np.random.default_rng(0).normal(
        0, 1, (WIDTH, ENCODER.dimension)
    ) + rng.normal(0, 2, (*plate.features.shape[:2], ENCODER.dimension))
    names = (*feature_names("embedding", ENCODER.dimension), *NAMES)
    features = np.concatenate([turned, plate.features], axis=2)
    return replace(
        plate,
        features=features,
        feature_names=names,
        embedding_dimension=ENCODER.dimension,
        encoder_id=ENCODER.encoder_id,
    )


def test_a_joint_projection_is_the_last_step_of_a_valid_encoder(
    tmp_path: Path,
) -> None:
    config = forecaster_settings(tmp_path / "gru", epochs=3)
    config = config.model_copy(
        update={
            "model": ForecasterModelSection(hidden=8, components=6, name="joint"),
            "data": ForecasterDataSection(representation="both"),
        }
    )
    done = fit_joint_forecaster([embedded(seed) for seed in range(4)], config, ignore_progress)
    whole, projecting = (
        OnnxEncoder(load_bundle("default"), "cpu", 1),
        OnnxEncoder(load_bundle(str(tmp_path / "gru-encoder")), "cpu", 1),
    )
    assert (projecting.dimension, projecting.encoder_id.rsplit("-", 1)[0]) == (6, "joint-encoder")
    images = [well_image(seed=seed) for seed in range(8)]
    before, after = (
        np.stack([encoder.embed(image, 1) for image in images]).astype(float)
        for encoder in (whole, projecting)
    )
    weights = (
        torch.load(tmp_path / "gru-training" / "best.ckpt", weights_only=True)["state_dict"][
            "model.projection"
        ]
        .double()
        .numpy()
    )
    np.testing.assert_allclose(after, before @ weights.T, atol=1e-3 * np.abs(after).max())
    OnnxSequenceModel(load_forecaster(done.bundle)).check_fits(
        feature_names("embedding", 6), projecting.encoder_id
    )


def test_joint_training_without_embedding_or_measures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"data: plates have 4 measures and the embedding of ''; expected both, of ",
    ):
        fit_joint_forecaster(PLATES, forecaster_settings(tmp_path / "gru"), ignore_progress)
    (tmp_path / "forecaster.toml").write_text("")
    with pytest.raises(
        ConfigError, match=r"data.representation: is 'measures'; expected 'both' with --joint"
    ):
        train_forecaster(tmp_path / "forecaster.toml", ignore_progress, joint=True)


def test_the_gradient_is_finite_if_one_well_alone_has_an_image() -> None:
    model = JointForecaster(torch.eye(2, 3), hidden=4, measures=1)
    features = torch.full((3, 1, 4), torch.nan)
    features[0] = 1.0
    example = ForecastExample(
        features, torch.tensor([7.0]), torch.tensor(10.0), torch.randn(3, 4), seed=0
    )
    loss = deviation_loss(model.forecaster, model.project_example(example), (slice(0, 2),))
    (loss + model.constraint_loss(example)).backward()
    assert torch.isfinite(model.projection.grad).all()
