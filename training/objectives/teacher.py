"""A teacher that is the moving average of its student: the same network, following slowly, never by gradient."""

import copy
import math

from lightly.models.utils import update_momentum
from torch import nn


class Teacher(nn.Module):  # type: ignore[misc] # torch is not typed here
    """Copies of a student's parts, used one after the other."""

    def __init__(self, *students: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            *(copy.deepcopy(student) for student in students)
        ).requires_grad_(requires_grad=False)

    def forward(self, pixels: object) -> object:
        """Return what the student returned some steps ago, on the whole."""
        return self.parts(pixels)

    def update(self, *students: nn.Module, momentum: float) -> None:
        """Keep ``momentum`` of itself and take the rest from the students."""
        for part, student in zip(self.parts, students, strict=True):
            update_momentum(student, part, momentum)


def cosine_momentum(start: float, progress: float) -> float:
    """Return the momentum when the share ``progress`` of a run is done: from ``start`` to 1 along a cosine (BYOL, arXiv 2006.07733, section 3.3)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
