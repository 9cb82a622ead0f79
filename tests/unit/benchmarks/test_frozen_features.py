import cv2
import numpy as np
import onnx
import pytest

from benchmarks.frozen_features import choose_depths, crop_around, pool
from inference.bundle import load_bundle
from inference.tissue.onnx_segmenter import load_segmenter, shipped_segmenter
from schemas.tissue import Segmentation

pytestmark = pytest.mark.train


def segmentation_of(body: np.ndarray) -> Segmentation:
    return Segmentation(body, np.zeros_like(body), np.ones((4, 4), np.float32))


def test_the_decoder_of_the_segmenter_is_not_used() -> None:
    model = onnx.load_from_string(load_segmenter(shipped_segmenter()).model)
    depths = choose_depths(model, 256)
    nodes = [name for node in model.graph.node for name in node.output]
    enlarging = next(node.output[0] for node in model.graph.node if node.op_type == "Resize")
    assert list(depths) == ["64", "32", "16", "8"]
    assert all(nodes.index(name) < nodes.index(enlarging) for name in depths.values())


@pytest.mark.parametrize(("bundle", "side_px"), [("default", 256), ("imagenet", 224)])
def test_an_encoder_is_read_at_four_depths_and_at_its_output(bundle: str, side_px: int) -> None:
    depths = choose_depths(onnx.load_from_string(load_bundle(bundle).model), side_px)
    sides = [str(side_px // factor) for factor in (4, 8, 16, 32)]
    assert list(depths) == [*sides, "output"]
    assert depths["output"] == "embedding"


def test_a_crop_is_centred_on_the_tissue_and_mirrored_beyond_the_border() -> None:
    plane = np.arange(100, dtype=np.uint16).reshape(10, 10)
    body = np.zeros((10, 10), dtype=bool)
    body[0, 0] = True
    crop = crop_around(plane, segmentation_of(body), 4, 4)
    assert crop[2:, 2:] == pytest.approx(plane[:2, :2])
    assert crop[1, 2:] == pytest.approx(plane[0, :2])


def test_a_crop_without_tissue_is_the_middle_of_the_plane() -> None:
    plane = np.arange(100, dtype=np.uint16).reshape(10, 10)
    crop = crop_around(plane, segmentation_of(np.zeros((10, 10), dtype=bool)), 4, 4)
    assert crop == pytest.approx(plane[3:7, 3:7])


def test_a_map_is_averaged_over_the_tissue() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 8, 8)).astype(np.float32)
    tissue = np.zeros((32, 32), np.float32)
    tissue[8:24, 8:24] = 1
    inside = cv2.resize(tissue, (8, 8), interpolation=cv2.INTER_AREA) > 0
    chosen = values[:, inside]
    expected = np.concatenate([chosen.mean(axis=1), chosen.std(axis=1)])
    assert pool(values, tissue) == pytest.approx(expected, abs=1e-5)
    assert pool(values, np.zeros((32, 32), np.float32))[:3] == pytest.approx(
        values.mean(axis=(1, 2)), abs=1e-5
    )
