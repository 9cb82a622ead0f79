"""Tests of the training of a predicted stain: learning, the training images and the bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.tissue.onnx_stain import OnnxStain, load_stain
from schemas.tissue import Segmentation
from simulation.kinds import RendererName
from tests.stain_samples import ORIGIN, SIDE_PX, dark_when_dead
from training.data.virtual_plates import FIRST_TRAINING_SEED
from training.stain.train import (
    StainNet,
    StainSettings,
    fit_stain,
    mean_shares,
    split_examples,
    stain_loss,
    write_stain,
)
from training.stain.training_images import StainExamples, cached_examples, draw_batch

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SETTINGS = StainSettings(steps=40, batch=8, side_px=SIDE_PX)


@pytest.fixture(scope="module")
def trained() -> StainNet:
    torch.set_num_threads(1)
    return fit_stain(dark_when_dead(64), SETTINGS)


def test_the_loss_of_a_fixed_batch_falls(trained: StainNet) -> None:
    batch = dark_when_dead(16, seed=1)
    inputs, shares = torch.from_numpy(batch.inputs), torch.tensor(batch.dead_share)
    torch.manual_seed(SETTINGS.seed)
    with torch.inference_mode():
        before = stain_loss(StainNet().eval()(inputs), inputs, shares)
        after = stain_loss(trained(inputs), inputs, shares)
    assert float(after) < 0.9 * float(before)


def test_only_pixels_with_tissue_are_in_the_loss() -> None:
    inputs = torch.zeros(1, 2, 8, 8)
    inputs[0, 1, :4] = 1
    right_in_tissue = torch.full((1, 1, 8, 8), 20.0)
    right_in_tissue[0, 0, 4:] = -20
    truth = torch.ones(1, 8, 8)
    assert float(stain_loss(right_in_tissue, inputs, truth)) < 1e-3
    assert float(stain_loss(-right_in_tissue, inputs, truth)) > 10
    truth[0, 0] = torch.nan  # unknown there
    right_in_tissue[0, 0, 0] = -20
    assert float(stain_loss(right_in_tissue, inputs, truth)) < 1e-3


def test_dark_tissue_is_predicted_to_be_dead(trained: StainNet) -> None:
    unseen = dark_when_dead(32, seed=2)
    predicted, true = mean_shares(trained, unseen)
    assert np.corrcoef(predicted, true)[0, 1] > 0.8


@pytest.fixture(scope="module")
def bundle(trained: StainNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stain") / "bundle"
    assert write_stain(trained, SETTINGS, ORIGIN, folder) < 1e-4
    return folder


def test_the_exported_bundle_opens_and_predicts_as_the_network(
    trained: StainNet, bundle: Path
) -> None:
    assert {file.name for file in bundle.iterdir()} == {
        "stain.onnx",
        "stain.json",
        "NOTICE",
        "MODEL_CARD.md",
    }
    stain = OnnxStain(load_stain(bundle))
    example = dark_when_dead(1, seed=3)
    shares = stain.dead_shares(example.inputs[0])
    tissue = example.inputs[0, 1] > 0.5
    assert shares.shape == (8, SIDE_PX, SIDE_PX)
    assert shares[0][tissue].mean() == pytest.approx(mean_shares(trained, example)[0][0], abs=1e-4)


def test_predicted_measures_are_named_so_and_have_the_unit_of_the_image(
    bundle: Path,
) -> None:
    stain = OnnxStain(load_stain(bundle))
    rows, columns = np.indices((200, 200))
    body = (rows - 100) ** 2 + (columns - 90) ** 2 < 40**2
    tissue = Segmentation(body, np.zeros_like(body), np.full((20, 20), 40_000, np.float32))
    dark, pale = (
        stain.predicted_measures(
            np.where(body, light, 40_000).astype(np.uint16), tissue, um_per_px=2.0
        )
        for light in (10_000, 32_000)
    )
    assert set(dark) == {
        "predicted_dead_area_um2",
        "predicted_dead_area_sd_um2",
        "predicted_dead_share_core",
        "predicted_dead_share_core_sd",
    }
    assert 0 < pale["predicted_dead_area_um2"] < dark["predicted_dead_area_um2"]
    assert dark["predicted_dead_area_um2"] < 1.02 * 4 * body.sum()
    assert 0 <= pale["predicted_dead_share_core"] < dark["predicted_dead_share_core"] <= 1
    assert dark["predicted_dead_share_core_sd"] < 0.5
    in_pixels = stain.predicted_measures(np.full((200, 200), 40_000, np.uint16), tissue, None)
    assert "predicted_dead_area_px" in in_pixels
    empty = Segmentation(np.zeros_like(body), np.zeros_like(body), tissue.background)
    assert stain.predicted_measures(np.full((200, 200), 40_000, np.uint16), empty, 2.0) == {
        "predicted_dead_area_um2": 0.0,
        "predicted_dead_area_sd_um2": 0.0,
    }


def test_training_wells_have_a_known_dead_share_and_are_of_training_seeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import training.stain.training_images as module  # noqa: PLC0415 - to see which laboratories it draws

    drawn: list[int] = []
    draw_laboratory = module.draw_laboratory
    monkeypatch.setattr(
        module,
        "draw_laboratory",
        lambda seed, name: drawn.append(seed) or draw_laboratory(seed, name),
    )
    of_renderer = {"seed": 3, "side_px": 64, "renderers": [RendererName.SHADED_BALL]}
    examples = cached_examples(tmp_path, 3, **of_renderer)
    again = cached_examples(tmp_path, 3, **of_renderer)
    assert len(drawn) == 1  # the second time they come from the file
    assert min(drawn) >= FIRST_TRAINING_SEED
    assert examples.inputs.shape == (3, 2, 64, 64)
    assert np.array_equal(examples.inputs, again.inputs)
    assert ((examples.dead_share >= 0) & (examples.dead_share <= 1)).all()
    assert len(np.unique(examples.dead_share)) > 1


def test_a_batch_has_the_shares_of_its_examples() -> None:
    examples = dark_when_dead(10)
    inputs, shares = draw_batch(examples, np.random.default_rng(0), 12)
    assert inputs.shape == (12, 2, SIDE_PX, SIDE_PX)
    assert shares.shape == (12, SIDE_PX, SIDE_PX)
    assert set(np.unique(shares)) <= set(np.unique(examples.dead_share))


def test_the_truth_of_a_batch_has_the_orientation_of_its_image() -> None:
    inputs = np.zeros((1, 2, 8, 8), np.float32)
    inputs[0, 1, :2, :5] = 1
    examples = StainExamples(inputs, inputs[:, 1].copy())
    drawn, shares = draw_batch(examples, np.random.default_rng(0), 16)
    assert np.array_equal(drawn[:, 1], shares)
    assert len(np.unique(shares.reshape(16, -1), axis=0)) > 3


def test_the_last_examples_validate() -> None:
    examples = dark_when_dead(10)
    training, validation = split_examples(examples)
    assert (len(training), len(validation)) == (8, 2)
    assert np.array_equal(validation.dead_share, examples.dead_share[8:])
