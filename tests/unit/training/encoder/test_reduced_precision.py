"""Tests of encoder bundles of reduced precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import Bundle, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.encoder_bundle import PlanePolicy, Preprocessing
from schemas.errors import ConfigError
from training.encoder.config import EncoderDataSection
from training.encoder.export import BundleDescription, ParityError, write_bundle
from training.encoder.reduced_precision import (
    MIN_SIMILARITY,
    Floats,
    Precision,
    reduce_bundle,
    reduce_with_training_data,
)

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ).eval()
    out = tmp_path_factory.mktemp("full") / "bundle"
    steps = Preprocessing(
        planes=PlanePolicy.SHARPEST, background=0.75, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    write_bundle(
        network,
        BundleDescription("small", steps, 64, "a test", "none", "none", "none", "# small"),
        out,
    )
    return load_bundle(str(out))


@pytest.fixture(scope="module")
def pixels() -> Floats:
    rng = np.random.default_rng(0)
    levels = rng.uniform(-1, 1, (32, 3, 1, 1))
    return np.asarray(np.clip(levels + rng.normal(0, 0.3, (32, 3, 64, 64)), -1, 1), np.float32)


@pytest.mark.parametrize("precision", Precision)
def test_a_reduced_bundle_computes_nearly_the_embeddings_of_the_full_one(
    full: Bundle, pixels: Floats, precision: Precision, tmp_path: Path
) -> None:
    reduction = reduce_bundle(full, precision, pixels, tmp_path / "small")
    assert reduction.similarity >= MIN_SIMILARITY[precision]
    assert reduction.bytes_after < reduction.bytes_before
    encoder = OnnxEncoder(load_bundle(str(tmp_path / "small")), providers="cpu")
    assert encoder.card.name == f"small-{precision}"
    assert encoder.encoder_id != full.card.encoder_id
    assert full.card.encoder_id in encoder.card.provenance
    assert {file.name for file in (tmp_path / "small").iterdir()} == {
        file.name for file in full.folder.iterdir()
    }


def test_a_reduction_with_different_embeddings_is_not_written(
    full: Bundle, pixels: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MIN_SIMILARITY, Precision.FLOAT16, 1.1)
    with pytest.raises(
        ParityError,
        match=r"float16 and float32 embeddings have a similarity of 1\.000; expected at least 1\.1",
    ):
        reduce_bundle(full, Precision.FLOAT16, pixels, tmp_path / "small")
    assert not list(tmp_path.iterdir())


def test_too_few_images_and_an_unknown_precision_are_reported(
    full: Bundle, pixels: Floats, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has 15 images; expected at least 16"):
        reduce_bundle(full, Precision.INT8, pixels[:15], tmp_path / "small")
    with pytest.raises(ConfigError, match="--to: is 'int4'; expected one of float16, int8"):
        reduce_with_training_data(
            str(full.folder), "int4", EncoderDataSection(), tmp_path / "small"
        )


def test_training_images_are_preprocessed_as_the_bundle_requires(
    full: Bundle, tmp_path: Path
) -> None:
    data = EncoderDataSection(
        virtual_plates=1, virtual_wells=8, cache=tmp_path / "cache", crop_px=128
    )
    assert (
        reduce_with_training_data(str(full.folder), "float16", data, tmp_path / "small").similarity
        > MIN_SIMILARITY[Precision.FLOAT16]
    )
