"""Tests of the backbone that returns channel statistics of all its stages."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from schemas.errors import ConfigError
from training.encoder.export import check_parity, export_onnx
from training.encoder.multi_level import MAX_FEATURE_SPREADS, MultiLevelBackbone

pytestmark = pytest.mark.train
SIDE_PX = 64


@pytest.fixture(scope="module")
def multi_level() -> MultiLevelBackbone:
    torch.manual_seed(0)
    return MultiLevelBackbone(timm.create_model("test_efficientnet", num_classes=0)).eval()


def images(count: int, seed: int = 1) -> torch.Tensor:
    return (
        torch.rand(count, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(seed)) * 2
        - 1
    )


def test_wrapping_a_network_keeps_its_batchnorm_statistics() -> None:
    body = timm.create_model("test_efficientnet", num_classes=0)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    after = MultiLevelBackbone(body).body.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_features_come_from_every_stage_of_the_field_and_of_its_middle(
    multi_level: MultiLevelBackbone,
) -> None:
    body = multi_level.body
    features = body.bn1(body.conv_stem(images(1)))
    channels = features.shape[1] + body.conv_head.out_channels
    for stage in body.blocks:
        features = stage(features)
        channels += features.shape[1]
    assert multi_level.num_features == 2 * 2 * channels
    assert multi_level(images(2)).shape == (2, multi_level.num_features)


def test_the_first_features_are_the_means_of_the_stem_s_channels(
    multi_level: MultiLevelBackbone,
) -> None:
    pixels = images(2)
    with torch.no_grad():
        stem = multi_level.body.bn1(multi_level.body.conv_stem(pixels))
        features = multi_level._pool_field_and_middle(pixels)
    count = stem.shape[1]
    np.testing.assert_allclose(features[:, :count], stem.mean(dim=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(
        features[:, count : 2 * count], stem.std(dim=(2, 3), unbiased=False), atol=2e-3
    )


def test_a_grey_network_uses_the_middle_plane_for_standardisation_and_features() -> None:
    multi_level = MultiLevelBackbone(
        timm.create_model("test_efficientnet", num_classes=0, in_chans=1)
    ).eval()
    pixels = images(8)
    multi_level.fit_standardisation(pixels)
    other = pixels.clone()
    other[:, [0, 2]] = 0.0
    with torch.no_grad():
        assert torch.equal(multi_level(pixels), multi_level(other))
        assert torch.equal(multi_level(pixels), multi_level(pixels[:, 1:2]))
        assert not torch.equal(multi_level(pixels), multi_level(pixels.flip(0)))
        np.testing.assert_allclose(multi_level(pixels).mean(dim=0), 0, atol=1e-3)


def test_pixels_outside_the_middle_change_only_the_first_half_of_the_features(
    multi_level: MultiLevelBackbone,
) -> None:
    pixels = images(1)
    other = pixels.clone()
    other[..., :4, :] = 0.0
    with torch.no_grad():
        before, after = (
            multi_level._pool_field_and_middle(pixels),
            multi_level._pool_field_and_middle(other),
        )
    half = multi_level.num_features // 2
    assert (before[:, :half] != after[:, :half]).any()
    torch.testing.assert_close(before[:, half:], after[:, half:])


def test_standardised_features_have_mean_zero_and_deviation_one(
    multi_level: MultiLevelBackbone,
) -> None:
    pixels = images(24, seed=2)
    multi_level.fit_standardisation(pixels, size=8)
    with torch.no_grad():
        features = multi_level(pixels)
    # The mean is not 0, because values are limited to MAX_FEATURE_SPREADS.
    assert features.mean(dim=0).abs().max() < 0.2
    assert features.abs().max() <= MAX_FEATURE_SPREADS


def test_onnxruntime_computes_the_same_multi_level_features(tmp_path: Path) -> None:
    multi_level = MultiLevelBackbone(timm.create_model("test_efficientnet", num_classes=0)).eval()
    export_onnx(multi_level, (3, SIDE_PX, SIDE_PX), tmp_path / "multi_level.onnx")
    assert check_parity(multi_level, tmp_path / "multi_level.onnx", images(3).numpy()) <= 1e-4


def test_a_network_without_the_parts_of_an_efficientnet_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no conv_stem"):
        MultiLevelBackbone(timm.create_model("resnet18", num_classes=0))
