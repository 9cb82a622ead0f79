"""A supervised baseline: a ResNet-18 trained from random weights to classify the three groups.

It is trained on the input images of an encoder. The baseline of B. Babu, "Determination of Drug
Efficacy on Pancreatic Tumor 3D Spheroidal Tissues", master thesis, Technical University of Applied
Sciences Würzburg-Schweinfurt with Fraunhofer TLZ-RT Würzburg, 2024, is also a ResNet-18 from random
weights, but it differs in training: it flips, crops and resizes (80–100 %), greys and blurs the
images, and it is validated every two epochs (:mod:`training.evaluation.thesis_baseline`). This one
only turns and flips the images, and trains for a fixed number of steps without validation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import timm
import torch
from sklearn.metrics import balanced_accuracy_score
from torch.nn.functional import cross_entropy

from inference.encoding.preprocessing import preprocess
from schemas.encoder_bundle import Preprocessing
from training.evaluation.plates import EvaluationPlate
from training.evaluation.probe import EXAMPLES, GroupLabels, draw_examples

Crops = npt.NDArray[np.float32]  # (n, 3, side, side)

SIDE_PX = 64
BATCH, RATE = 24, 2e-3
_FLIPS = ((), (2,), (3,), (2, 3))


def readout_crops(
    plate: EvaluationPlate, preprocessing: Preprocessing, side_px: int = SIDE_PX
) -> Crops:
    """Return the readout images of a plate, preprocessed and small, (n, 3, side_px, side_px).

    The preprocessing is that of an encoder.
    """
    images = [
        (plate.image(well, -1), int(plate.sharpest[well, -1])) for well in range(len(plate.wells))
    ]
    return np.stack(
        [
            preprocess(image.planes, sharpest, image.um_per_px, preprocessing, side_px)
            for image, sharpest in images
        ]
    )


def resnet18_accuracy(
    train: Crops,
    labels: GroupLabels,
    test: Crops,
    expected: GroupLabels,
    examples: int | None,
    steps: int,
    seed: int,
) -> float:
    """Train a ResNet-18 from random weights on labelled images; return its balanced test accuracy.

    Each batch has the same number of images of each class, turned and flipped at random. The number
    of steps does not depend on the number of images.

    Parameters
    ----------
    train, labels
        Training images, (n, 3, side, side), and their groups.
    test, expected
        Images of other plates, and their groups.
    examples
        Number of training images of each class; None for all.
    """
    rows = draw_examples(labels, examples, seed)
    classes = np.unique(labels)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model("resnet18", pretrained=False, num_classes=len(classes))
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for _ in range(steps):
            chosen = np.concatenate(
                [
                    rng.choice(rows[labels[rows] == label], BATCH // len(classes))
                    for label in classes
                ]
            )
            pixels = (
                torch.from_numpy(train[chosen])
                .rot90(int(rng.integers(4)), (2, 3))
                .flip(_FLIPS[int(rng.integers(len(_FLIPS)))])
            )
            optimiser.zero_grad()
            cross_entropy(
                network(pixels), torch.arange(len(classes)).repeat_interleave(BATCH // len(classes))
            ).backward()
            optimiser.step()
            schedule.step()
    return float(balanced_accuracy_score(expected, classes[_predict_classes(network, test)]))


def _predict_classes(network: torch.nn.Module, images: Crops) -> npt.NDArray[np.int64]:
    """Return the number of the predicted class of each image, (n,)."""
    network.eval()
    with torch.inference_mode():
        parts = [
            network(torch.from_numpy(images[start : start + 64])).argmax(1).numpy()
            for start in range(0, len(images), 64)
        ]
    return np.concatenate(parts)


def baseline_accuracies(
    training: Sequence[EvaluationPlate],
    test: Sequence[EvaluationPlate],
    preprocessing: Preprocessing,
    *,
    steps: int,
    seed: int,
    threads: int,
) -> Mapping[str, float]:
    """Train the ResNet baseline on EvaluationPlates; return its accuracies on test plates by name.

    It is trained with 10, 20, 30 and all examples of each class.

    Parameters
    ----------
    training
        Plates for training.
    test
        Plates for testing.
    preprocessing
        Preprocessing of the encoder whose input is used.

    Returns
    -------
    dict
        By ``resnet18_10``, ``resnet18_20``, ``resnet18_30`` and ``resnet18_all``.
    """
    crops = [
        np.concatenate([readout_crops(plate, preprocessing) for plate in plates])
        for plates in (training, test)
    ]
    labels = [
        np.array([group.value for plate in plates for group in plate.groups])
        for plates in (training, test)
    ]
    counts: dict[str, int | None] = {str(count): count for count in EXAMPLES} | {"all": None}
    torch.set_num_threads(threads)
    return {
        f"resnet18_{name}": resnet18_accuracy(
            crops[0], labels[0], crops[1], labels[1], count, steps, seed
        )
        for name, count in counts.items()
    }
