"""Tests that the objectives of the thesis end in bundles, which the service opens and computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import canary_planes, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.well_image import VisitKey, WellImage
from training.encoder.collapse import MIN_RANK
from training.encoder.config import EncoderTrainingConfig
from training.encoder.train import train_encoder

pytestmark = pytest.mark.train

TRANSFORMER = {"backbone": "test_vit"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crops")


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("byol", {}, {"backbone": "unet_encoder"}),
        ("supcon", {}, {}),
        ("triplet", {}, {}),
        ("siamese", {}, {}),
        ("convirt", {}, {}),
        ("dino", {"local_crops": 2, "prototypes": 32}, TRANSFORMER),
        ("mae", {"decoder_width": 32, "decoder_depth": 1, "mask_share": 0.5}, TRANSFORMER),
    ],
)
def test_an_objective_ends_in_a_bundle_that_embeds_a_well_image(
    cache: Path, tmp_path: Path, name: str, options: dict[str, object], model: dict[str, object]
) -> None:
    torch.set_num_threads(1)
    config = EncoderTrainingConfig.model_validate(
        {
            "data": {
                "virtual_plates": 2,
                "virtual_wells": 5,
                "cache": cache,
                "crop_px": 64,
                "validation_share": 0.5,
            },
            "model": {
                "backbone": "test_efficientnet",
                "weights": "none",
                "input_size": 64,
                "fixed_batch_norm": False,
                "body_rate": 1.0,
            }
            | model,
            "objective": {"name": name, "hidden": 24, "projection": 16} | options,
            "run": {
                "steps": 4,
                "batch": 8,
                "threads": 1,
                "accelerator": "cpu",
            },
        }
    )
    trained = train_encoder(config, tmp_path, lambda _line: None)
    assert trained.validation is not None
    assert trained.validation.rank >= MIN_RANK
    encoder = OnnxEncoder(load_bundle(str(trained.bundle)), providers="cpu", intra_op_threads=1)
    planes = canary_planes(7)
    image = WellImage(VisitKey("P", "B02", "v"), 10, None, (), planes, 4.0, complete=True)
    embedding = encoder.embed(image, 1)
    assert embedding.shape == (encoder.dimension,)
    assert np.ptp(embedding) > 0
