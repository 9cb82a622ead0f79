"""Objective ``dino``: predict the centred, sharpened output of a teacher for the other view.

Source: DINO, Caron et al. 2021, arXiv 2104.14294. The small local crops of the paper are left out,
because they hide the size of the tissue.
"""

import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import Objective
from training.objectives.settings import ObjectiveSettings
from training.objectives.teacher import Teacher, cosine_momentum


class PrototypeLayer(nn.Module):  # type: ignore[misc] # torch is not typed here
    """The last layer of the paper: cosines with learned directions."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(count, width))

    def forward(self, projection: Tensor) -> Tensor:
        """Return the cosines, (B, width) → (B, count)."""
        return functional.linear(
            functional.normalize(projection), functional.normalize(self.directions)
        )


class DINO(Objective):
    """The objective ``dino``: cross-entropy of student and teacher over two views."""

    name = "dino"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        hidden, projection = settings.hidden, settings.projection
        self.head = ProjectionHead(
            [
                (dimension, hidden, None, nn.GELU()),
                (hidden, hidden, None, nn.GELU()),
                (hidden, projection, None, None),
            ]
        )
        self.prototypes = PrototypeLayer(projection, settings.prototypes)
        self.teacher = Teacher(self.backbone, self.head, self.prototypes)
        self.cross_entropy = DINOLoss(
            settings.prototypes,
            teacher_temp=settings.teacher_temperature,
            student_temp=settings.student_temperature,
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the mean cross-entropy of the views.

        It is the mean over both ordered pairs of views. The centre is updated.
        """
        student = [
            self.prototypes(self.head(features))
            for features in self.backbone_features(batch.first, batch.second)
        ]
        with torch.no_grad():
            teacher = self.teacher(torch.cat([batch.first, batch.second])).chunk(2)
        return {"loss": self.cross_entropy(list(teacher), student)}

    def after_step(self, progress: float = 0.0) -> None:
        """Update the teacher with the momentum at ``progress``, 0…1, of the training."""
        self.teacher.update(
            self.backbone,
            self.head,
            self.prototypes,
            momentum=cosine_momentum(self.settings.momentum, progress),
        )
