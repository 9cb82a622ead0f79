"""Objective ``byol``: predict the teacher's projection of the other view, without negatives.

Source: BYOL, Grill et al. 2020, arXiv 2006.07733.
"""

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.objectives.base import Objective
from training.objectives.settings import ObjectiveSettings
from training.objectives.teacher import Teacher, cosine_momentum


class BYOL(Objective):
    """The objective ``byol``, with a predictor and a moving-average teacher."""

    name = "byol"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.head = BYOLProjectionHead(dimension, settings.hidden, settings.projection)
        self.predictor = BYOLPredictionHead(
            settings.projection, settings.hidden, settings.projection
        )
        self.teacher = Teacher(self.backbone, self.head)
        self.negative_cosine = NegativeCosineSimilarity()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the distance of prediction and teacher.

        It is the squared distance, summed over both directions.

        Both vectors have length 1 (equations 2 and 3).
        """
        first, second = self.backbone_features(batch.first, batch.second)
        with torch.no_grad():
            target_first, target_second = self.teacher(
                torch.cat([batch.first, batch.second])
            ).chunk(2)
        to_second = self.negative_cosine(self.predictor(self.head(first)), target_second)
        to_first = self.negative_cosine(self.predictor(self.head(second)), target_first)
        return {"loss": 4 + 2 * (to_second + to_first)}

    def after_step(self, progress: float = 0.0) -> None:
        """Update the teacher with the momentum at ``progress``, 0…1, of the training."""
        self.teacher.update(
            self.backbone, self.head, momentum=cosine_momentum(self.settings.momentum, progress)
        )
