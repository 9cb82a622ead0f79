"""The supervised baseline as the thesis describes it, with its curve of overfitting.

A ResNet-18 from random weights learns the three groups. The images are flipped, cropped and resized
(80–100 % of the area), turned grey and blurred, and the network is validated every second epoch.
Source: B. Babu, "Determination of Drug Efficacy on Pancreatic Tumor 3D Spheroidal Tissues", master
thesis, Technical University of Applied Sciences Würzburg-Schweinfurt with Fraunhofer TLZ-RT
Würzburg, 2024. The amounts of grey and blur, the batch and the rate are our own.

:mod:`training.evaluation.baseline` is the shorter baseline of ``spherorank evaluate``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import timm
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.data.augmentation import augment, draw_augmentations
from training.data.presets import Augmentation

BACKGROUND = 0.75
"""Value of empty medium in the images."""
MEAN, STD = 0.5, 0.5
VALIDATION_EPOCHS = 2
"""Epochs from one validation to the next."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with the number of their class."""

    pixels: Tensor  # (n, 3, side, side) float32 of 0…1
    classes: Tensor  # (n,) int64


@dataclass(frozen=True)
class BaselineSettings:
    """Settings of a training of the baseline."""

    epochs: int
    batch: int = 16
    rate: float = 1e-3
    seed: int = 0
    redraw: bool = True
    """If true, augmentations are drawn again in each epoch; if false, in the first epoch only."""


@dataclass(frozen=True)
class EpochResult:
    """Losses and balanced accuracies after an epoch; training images are not augmented here."""

    epoch: int  # from 1
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float


def fit_thesis_baseline(
    training: LabelledImages,
    validation: LabelledImages,
    how: Augmentation,
    settings: BaselineSettings,
) -> Iterator[EpochResult]:
    """Train a ResNet-18 from random weights and yield an EpochResult of every second epoch.

    Parameters
    ----------
    how
        The augmentation of the training images.
    """
    count = int(training.classes.max()) + 1
    torch.manual_seed(settings.seed)
    network = timm.create_model("resnet18", pretrained=False, num_classes=count)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=1e-4)
    for epoch in range(1, settings.epochs + 1):
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(training.classes))
        images = augment_epoch(training.pixels, how, settings, epoch)
        network.train()
        for rows in torch.from_numpy(order).split(settings.batch):
            if len(rows) > 1:  # batch normalisation needs two images
                loss = cross_entropy(network(_normalise(images[rows])), training.classes[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        if epoch % VALIDATION_EPOCHS == 0:
            yield EpochResult(epoch, *_judge(network, training), *_judge(network, validation))


def augment_epoch(
    pixels: Tensor, how: Augmentation, settings: BaselineSettings, epoch: int
) -> Tensor:
    """Return augmented images of an epoch, (n, 3, side, side); of the first without ``redraw``."""
    stream = epoch if settings.redraw else 1
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + stream)
    return augment(pixels, draw_augmentations(how, len(pixels), generator), BACKGROUND)


def _normalise(pixels: Tensor) -> Tensor:
    return (pixels - MEAN) / STD


def _judge(network: nn.Module, images: LabelledImages) -> tuple[float, float]:
    """Return the mean cross-entropy and the balanced accuracy of a network on images."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(_normalise(part)) for part in images.pixels.split(64)])
    return (
        float(cross_entropy(logits, images.classes)),
        float(balanced_accuracy_score(images.classes.numpy(), logits.argmax(dim=1).numpy())),
    )
