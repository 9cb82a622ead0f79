"""A network read at every depth."""

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
def levels() -> MultiLevelBackbone:
    torch.manual_seed(0)
    return MultiLevelBackbone(timm.create_model("test_efficientnet", num_classes=0)).eval()


def images(count: int, seed: int = 1) -> torch.Tensor:
    return (
        torch.rand(count, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(seed)) * 2
        - 1
    )


def test_a_network_keeps_its_batchnorm_statistics_when_it_is_wrapped() -> None:
    body = timm.create_model("test_efficientnet", num_classes=0)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    after = MultiLevelBackbone(body).body.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_every_stage_is_read_twice_of_the_field_and_of_its_middle(
    levels: MultiLevelBackbone,
) -> None:
    body = levels.body
    features = body.bn1(body.conv_stem(images(1)))
    channels = features.shape[1] + body.conv_head.out_channels
    for stage in body.blocks:
        features = stage(features)
        channels += features.shape[1]
    assert levels.num_features == 2 * 2 * channels
    assert levels(images(2)).shape == (2, levels.num_features)


def test_the_first_numbers_are_the_mean_of_the_stem_s_channels(levels: MultiLevelBackbone) -> None:
    pixels = images(2)
    with torch.no_grad():
        stem = levels.body.bn1(levels.body.conv_stem(pixels))
        seen = levels._pool_field_and_middle(pixels)
    count = stem.shape[1]
    np.testing.assert_allclose(seen[:, :count], stem.mean(dim=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(
        seen[:, count : 2 * count], stem.std(dim=(2, 3), unbiased=False), atol=2e-3
    )


def test_a_grey_body_sees_the_middle_plane_settled_and_after() -> None:
    levels = MultiLevelBackbone(
        timm.create_model("test_efficientnet", num_classes=0, in_chans=1)
    ).eval()
    pixels = images(8)
    levels.fit_standardisation(pixels)
    other = pixels.clone()
    other[:, [0, 2]] = 0.0
    with torch.no_grad():
        assert torch.equal(levels(pixels), levels(other))
        assert torch.equal(levels(pixels), levels(pixels[:, 1:2]))
        assert not torch.equal(levels(pixels), levels(pixels.flip(0)))
        np.testing.assert_allclose(levels(pixels).mean(dim=0), 0, atol=1e-3)


def test_what_lies_outside_the_middle_changes_only_the_first_half(
    levels: MultiLevelBackbone,
) -> None:
    pixels = images(1)
    other = pixels.clone()
    other[..., :4, :] = 0.0
    with torch.no_grad():
        before, after = levels._pool_field_and_middle(pixels), levels._pool_field_and_middle(other)
    half = levels.num_features // 2
    assert (before[:, :half] != after[:, :half]).any()
    torch.testing.assert_close(before[:, half:], after[:, half:])


def test_settled_features_have_mean_zero_and_spread_one(levels: MultiLevelBackbone) -> None:
    pixels = images(24, seed=2)
    levels.fit_standardisation(pixels, size=8)
    with torch.no_grad():
        features = levels(pixels)
    assert features.mean(dim=0).abs().max() < 0.2  # but for what is cut off at MAX_FEATURE_SPREADS
    assert features.abs().max() <= MAX_FEATURE_SPREADS


def test_onnxruntime_computes_the_same(tmp_path: Path) -> None:
    levels = MultiLevelBackbone(timm.create_model("test_efficientnet", num_classes=0)).eval()
    export_onnx(levels, (3, SIDE_PX, SIDE_PX), tmp_path / "levels.onnx")
    assert check_parity(levels, tmp_path / "levels.onnx", images(3).numpy()) <= 1e-4


def test_a_network_of_other_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no conv_stem"):
        MultiLevelBackbone(timm.create_model("resnet18", num_classes=0))
