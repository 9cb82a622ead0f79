"""Small virtual plates and their images, for the benchmarks of the thesis' questions.

The plates have 60 wells in images of 256 pixels. Six of them are mixed plates under the default
microscope, and the first four are also rendered under the microscope that no training uses. All are
rendered once, into ``.cache/evaluation``.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from schemas.encoder_bundle import PlanePolicy, Preprocessing
from schemas.plate_map import Group
from training.evaluation.baseline import readout_crops
from training.evaluation.plates import (
    MIXED,
    SHIFTED,
    EvaluationPlate,
    EvaluationSet,
    evaluation_plates,
)
from training.evaluation.thesis_baseline import LabelledImages

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "evaluation"
IMAGES = ROOT / "docs" / "images"
CLASSES = (Group.UNTREATED, Group.SINGLE_DOSE, Group.SCREENING)
SMALL_SET = EvaluationSet(
    mixed=tuple(range(201, 207)),
    one_mechanism=(),
    shifted=tuple(range(201, 205)),
    size_px=256,
    viewed_wells=4,
    baseline_steps=0,
    service_calibration=False,
)
PIXELS = Preprocessing(
    planes=PlanePolicy.SHARPEST_NEIGHBOURS,
    field_um=900.0,
    background=0.75,
    mean=(0, 0, 0),
    std=(1, 1, 1),
)
"""Preprocessing to values of 0…1."""


def mixed_plates() -> list[EvaluationPlate]:
    """Return the mixed plates under the default microscope."""
    return [plate for plate in evaluation_plates(SMALL_SET, CACHE) if plate.kind == MIXED]


def shifted_plates() -> list[EvaluationPlate]:
    """Return the first mixed plates under the microscope that no training uses."""
    return [plate for plate in evaluation_plates(SMALL_SET, CACHE) if plate.kind == SHIFTED]


def class_numbers(plates: list[EvaluationPlate]) -> npt.NDArray[np.int64]:
    """Return the number of the group of each well of the plates, one plate after the other."""
    return np.array([CLASSES.index(group) for plate in plates for group in plate.groups])


def labelled_images(plates: list[EvaluationPlate], side_px: int) -> LabelledImages:
    """Return the readout images of plates with their groups, pixels of 0…1."""
    crops = np.concatenate([readout_crops(plate, PIXELS, side_px) for plate in plates])
    return LabelledImages(torch.from_numpy(crops), torch.from_numpy(class_numbers(plates)))
