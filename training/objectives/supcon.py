"""SupCon (Khosla et al. 2020, arXiv 2004.11362): all images of one treatment or group are views of each other."""

import torch
from torch import Tensor, nn

from training.data.batches import Batch
from training.objectives.base import Needs, Objective, ObjectiveSettings, gathered
from training.objectives.ntxent import contrastive
from training.objectives.pairs import image_numbers, positive_pairs
from training.objectives.simclr import projection_head


class SupCon(Objective):
    """The paper's L_out over two views; an image without a label has its own other view as its only positive."""

    name = "supcon"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = Needs(labels=True)
        self.head = projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return equation 2's mean over the views of all processes."""
        projections = gathered(self.head(torch.cat(self.features(batch.first, batch.second))))
        positives = positive_pairs(
            image_numbers(len(batch.first), 2, batch.first.device), gathered(batch.label.repeat(2))
        )
        return {"loss": contrastive(projections, positives, self.settings.temperature)}
