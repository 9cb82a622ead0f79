"""Objective ``dino``: predict the centred, sharpened output of a teacher for the other view.

Source: DINO, Caron et al. 2021, arXiv 2104.14294. With ``local_crops``, the student also predicts
the teacher's output for the two views from small crops of them, as in the paper. The default is
without them, because a small crop hides the size of the tissue.
"""

import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import ProjectionHead
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import Objective
from training.objectives.settings import ObjectiveSettings
from training.objectives.small_crops import crop_side, draw_small_crops
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
    """The objective ``dino``: cross-entropy of student and teacher over two views and crops."""

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

        It is the mean over all pairs of a view, which the teacher gets, and another view or a small
        crop, which the student gets. The centre is updated.
        """
        features = [*self.backbone_features(batch.first, batch.second)]
        if self.settings.local_crops:
            features += self.backbone_features(*self.small_crops(batch))
        student = [self.prototypes(self.head(each)) for each in features]
        with torch.no_grad():
            teacher = self.teacher(torch.cat([batch.first, batch.second])).chunk(2)
        return {"loss": self.cross_entropy(list(teacher), student)}

    def small_crops(self, batch: Batch) -> list[Tensor]:
        """Return ``local_crops`` small crops of a Batch, of its first and second view in turn.

        Each is (B, 3, side, side) with a side that the backbone accepts.
        """
        has_patches = isinstance(self.backbone, VisionTransformer)
        patch_px = self.backbone.patch_embed.patch_size[0] if has_patches else None
        side_px = crop_side(batch.first.shape[-1], patch_px)
        views = (batch.first, batch.second)
        return [
            draw_small_crops(views[number % 2], side_px)
            for number in range(self.settings.local_crops)
        ]

    def after_step(self, progress: float = 0.0) -> None:
        """Update the teacher with the momentum at ``progress``, 0…1, of the training."""
        self.teacher.update(
            self.backbone,
            self.head,
            self.prototypes,
            momentum=cosine_momentum(self.settings.momentum, progress),
        )
