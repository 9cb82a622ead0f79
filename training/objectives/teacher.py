"""A teacher network whose weights are the moving average of a student's."""

import copy
import math

from lightly.models.utils import update_momentum
from torch import nn


class Teacher(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A sequence of copies of a student's parts, without gradients."""

    def __init__(self, *students: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            *(copy.deepcopy(student) for student in students)
        ).requires_grad_(requires_grad=False)

    def forward(self, pixels: object) -> object:
        """Return the output of the copied parts for an input."""
        return self.parts(pixels)

    def update(self, *students: nn.Module, momentum: float) -> None:
        """Move the weights to momentum · weight + (1 − momentum) · weight of the students."""
        for part, student in zip(self.parts, students, strict=True):
            update_momentum(student, part, momentum)


def cosine_momentum(start: float, progress: float) -> float:
    """Return the momentum at a share of the training, from ``start`` to 1 along a cosine.

    Source: BYOL, arXiv 2006.07733, section 3.3. ``progress`` is the share of the training, 0…1.
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
