"""Tests of the supervised baseline with its validation every second epoch."""

import numpy as np
import pytest
import torch

from training.data.presets import get_preset
from training.evaluation.thesis_baseline import (
    BaselineSettings,
    LabelledImages,
    augment_epoch,
    fit_thesis_baseline,
)

pytestmark = pytest.mark.train

SIDE = 32


def random_images(count: int, seed: int) -> LabelledImages:
    """Return images of noise, whose classes cannot be learned."""
    make = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 3, SIDE, SIDE, generator=make)
    return LabelledImages(pixels, torch.arange(count) % 3)


def test_the_curve_shows_that_the_network_learns_noise_by_heart() -> None:
    torch.set_num_threads(1)
    curve = list(
        fit_thesis_baseline(
            random_images(24, 1),
            random_images(30, 2),
            get_preset("none"),
            BaselineSettings(epochs=9),
        )
    )
    assert [each.epoch for each in curve] == [2, 4, 6, 8]
    assert curve[-1].training_accuracy > 0.9
    assert curve[-1].validation_accuracy < 0.6
    assert curve[-1].validation_loss > curve[-1].training_loss + 0.5


@pytest.mark.parametrize("redraw", [True, False])
def test_augmentations_are_drawn_again_in_each_epoch_or_kept(redraw: bool) -> None:  # noqa: FBT001 - a case
    pixels, how = random_images(4, 1).pixels, get_preset("thesis_baseline")
    settings = BaselineSettings(epochs=2, redraw=redraw)
    first, again, second = (
        augment_epoch(pixels, how, settings, epoch).numpy() for epoch in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, second) is not redraw


def test_the_baseline_keeps_at_least_four_fifths_of_the_area_and_does_not_turn() -> None:
    how = get_preset("thesis_baseline")
    assert how.crop == (0.8, 1.0)
    assert (how.flip, how.turn) == (True, False)
    assert min(how.grey, how.blur) > 0
