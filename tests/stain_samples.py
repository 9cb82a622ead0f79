"""Examples and a bundle of a predicted stain; in the examples, dead tissue is dark."""

from pathlib import Path

import numpy as np

from training.stain.model_card import Origin
from training.stain.train import StainNet, StainSettings, write_stain
from training.stain.training_images import StainExamples

SIDE_PX = 64
ORIGIN = Origin(64, ("drawn",), None, validation_error=0.1, constant_error=0.2)


def dark_when_dead(count: int, seed: int = 0) -> StainExamples:
    """Return examples of a disc whose optical density follows from its dead share."""
    rng = np.random.default_rng(seed)
    shares = rng.random(count).astype(np.float32)
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    disc = (rows - SIDE_PX / 2) ** 2 + (columns - SIDE_PX / 2) ** 2 < (0.36 * SIDE_PX) ** 2
    inputs = np.zeros((count, 2, SIDE_PX, SIDE_PX), np.float32)
    inputs[:, 1] = disc
    noise = rng.normal(0, 0.05, (count, SIDE_PX, SIDE_PX))
    inputs[:, 0] = disc * (0.2 + 1.2 * shares[:, None, None]) + noise
    return StainExamples.uniform(inputs, shares)


def write_random_stain(folder: Path) -> Path:
    """Write the bundle of a small network with random weights, and return its folder."""
    small = StainNet(widths=(4, 4, 4, 4, 4)).eval()
    write_stain(small, StainSettings(side_px=SIDE_PX), ORIGIN, folder)
    return folder
