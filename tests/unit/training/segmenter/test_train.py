"""Tests of a short segmenter training: learning, continuation, and a valid bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter
from simulation.microscope import virtual_microscopes
from training.data.seeds import FIRST_TRAINING_SEED
from training.segmenter.train import (
    SegmenterSettings,
    UNet,
    fit_segmenter,
    segmentation_loss,
    write_segmenter,
)
from training.segmenter.training_images import make_training_batch

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SHORT = SegmenterSettings(steps=50, batch=6, side_px=96)


def test_training_batches_follow_from_seed_and_step() -> None:
    first, again, other = (make_training_batch(3, step, 6, 64) for step in (5, 5, 6))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_training_images_are_finite_and_their_masks_binary() -> None:
    inputs, truths = make_training_batch(0, 1, 12, 96)
    assert inputs.shape == (12, 1, 96, 96)
    assert truths.shape == (12, 2, 96, 96)
    assert inputs.dtype == truths.dtype == np.float32
    assert np.isfinite(inputs).all()
    assert set(np.unique(truths)) == {0.0, 1.0}


def test_small_seeds_are_never_used_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    import training.segmenter.training_images as module  # noqa: PLC0415 - to see which plates it plans

    planned: list[int] = []
    plan_plate = module.plan_plate
    monkeypatch.setattr(module, "plan_plate", lambda seed: planned.append(seed) or plan_plate(seed))
    for step in range(3):
        make_training_batch(0, step, 6, 64)
    assert len(planned) == 3
    assert min(planned) >= FIRST_TRAINING_SEED >= 100_000


def test_a_perfect_mask_has_no_loss_and_an_empty_one_a_large_loss() -> None:
    truth = torch.zeros(2, 2, 32, 32)
    truth[0, :, 8:20, 8:20] = 1
    assert float(segmentation_loss(40 * truth - 20, truth)) < 1e-3
    assert float(segmentation_loss(torch.full_like(truth, -20.0), truth)) > 0.5


@pytest.mark.slow
def test_a_short_training_is_better_than_a_trivial_mask_and_gives_a_valid_bundle(
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    losses: list[float] = []
    model = fit_segmenter(SHORT, tmp_path, lambda _step, loss, _rate: losses.append(loss))
    assert len(losses) == SHORT.steps
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])

    assert write_segmenter(model, SHORT, tmp_path / "bundle") < 1e-4
    segmenter = OnnxSegmenter(load_segmenter(tmp_path / "bundle"))
    (scope,) = virtual_microscopes(1, 5, 256)
    views = [scope.render(plan, 7) for plan in scope.plate.wells[:12:2]]
    overlaps = []
    for view in views:
        tissue = segmenter.segment(
            np.round(view.planes[1] * (65535 / scope.conditions.white)).astype(np.uint16),
            scope.um_per_px,
        )
        found = tissue.body | tissue.debris  # a short training does not separate body and debris
        overlaps.append(2 * (found & view.mask).sum() / (found.sum() + view.mask.sum()))
    shares = [view.mask.mean() for view in views]
    trivial = np.mean([2 * share / (1 + share) for share in shares])  # a mask of the whole field
    assert np.mean(overlaps) > trivial + 0.2


def test_a_stopped_training_continues_with_the_next_step(tmp_path: Path) -> None:
    steps: list[int] = []
    quick = SegmenterSettings(steps=2, batch=6, side_px=64)
    fit_segmenter(quick, tmp_path, lambda step, _loss, _rate: steps.append(step))
    longer = SegmenterSettings(steps=3, batch=6, side_px=64)
    model = fit_segmenter(longer, tmp_path, lambda step, _loss, _rate: steps.append(step))
    assert steps == [0, 1, 2]
    assert isinstance(model, UNet)
    assert not model.training
