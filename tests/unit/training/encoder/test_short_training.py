"""Test that a training of a minute learns: the loss falls, and measures are predicted better."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.sources import split_crops
from training.encoder.backbones import make_backbone
from training.encoder.config import EncoderTrainingConfig
from training.encoder.load_data import load_crops
from training.encoder.train import train_encoder
from training.encoder.training_data import make_batch_plan
from training.encoder.validation import regress_measures, validate_encoder
from training.objectives.registry import make_objective
from training.run_files import RunFolder

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.mark.timeout(300)
def test_a_short_training_lowers_its_loss_does_not_collapse_and_probes_better_than_random_weights(
    tmp_path: Path,
) -> None:
    config = EncoderTrainingConfig.model_validate(
        {
            "data": {
                "virtual_plates": 4,
                "virtual_wells": 10,
                "cache": tmp_path / "cache",
                "crop_px": 64,
                "validation_share": 0.5,
            },
            "augment": {"first": "light", "second": "light"},
            "model": {
                "backbone": "test_efficientnet",
                "weights": "none",
                "input_size": 64,
                "fixed_batch_norm": False,
                "body_rate": 1.0,
            },
            "objective": {"name": "measures"},
            "run": {
                "steps": 100,
                "batch": 16,
                "rate": 3e-3,
                "threads": 1,
                "accelerator": "cpu",
                "warm_up_steps": 10,
            },
        }
    )
    torch.set_num_threads(1)
    trained = train_encoder(config, tmp_path / "run")
    losses = [float(row["loss"]) for row in RunFolder(tmp_path / "run").curve()]
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:15])
    assert trained.validation is not None
    assert trained.validation.rank > 1.5
    assert trained.validation.measures_r2 is not None
    assert trained.validation.measures_r2 > _of_random_weights(config)


def _of_random_weights(config: EncoderTrainingConfig) -> float:
    torch.manual_seed(1)
    backbone, dimension = make_backbone(config.model.backbone, "none", 3, config.model.input_size)
    objective = make_objective("measures", backbone, dimension, config.objective).eval()
    split = split_crops(load_crops(config.data), config.data.validation_share, config.run.seed)
    found = validate_encoder(
        objective, split.validation, make_batch_plan(config, objective, split.training)
    ).measures_r2
    assert found is not None
    return found


def test_the_regression_finds_measures_that_the_embedding_contains() -> None:
    rng = np.random.default_rng(0)
    measures = rng.normal(size=(80, 3)).astype(np.float32)
    telling = measures @ rng.normal(size=(3, 20)).astype(np.float32)
    assert (regress_measures(telling, measures) or 0) > 0.99
    assert (regress_measures(rng.normal(size=(80, 20)).astype(np.float32), measures) or 0) < 0.1
    assert regress_measures(telling[:10], measures[:10]) is None
