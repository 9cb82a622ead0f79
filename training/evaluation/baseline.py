"""The supervised baseline of the thesis: a ResNet-18 that learns the three groups from scratch on the very images that an encoder sees."""

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
    """Return the readout images of a plate as an encoder of this preprocessing sees them, but smaller."""
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
    """Return the balanced accuracy on other plates of a ResNet-18 trained from random weights on ``examples`` images a class (None: all).

    Each batch has as many of each class, turned and flipped at random; the same number of steps whatever the number of images.
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
    network.eval()
    with torch.inference_mode():
        guessed = np.concatenate(
            [
                network(torch.from_numpy(test[start : start + 64])).argmax(1).numpy()
                for start in range(0, len(test), 64)
            ]
        )
    return float(balanced_accuracy_score(expected, classes[guessed]))


def baseline_accuracies(
    teaching: Sequence[EvaluationPlate],
    held_out: Sequence[EvaluationPlate],
    preprocessing: Preprocessing,
    *,
    steps: int,
    seed: int,
    threads: int,
) -> Mapping[str, float]:
    """Return the accuracy with 10, 20, 30 and all examples a class."""
    crops = [
        np.concatenate([readout_crops(plate, preprocessing) for plate in plates])
        for plates in (teaching, held_out)
    ]
    labels = [
        np.array([group.value for plate in plates for group in plate.groups])
        for plates in (teaching, held_out)
    ]
    counts: dict[str, int | None] = {str(count): count for count in EXAMPLES} | {"all": None}
    torch.set_num_threads(threads)
    return {
        f"resnet18_{name}": resnet18_accuracy(
            crops[0], labels[0], crops[1], labels[1], count, steps, seed
        )
        for name, count in counts.items()
    }
