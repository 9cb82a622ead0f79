"""Objective ``supcon``: all images of one treatment or group are positives of each other.

Source: SupCon, Khosla et al. 2020, arXiv 2004.11362.
"""

import torch
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.ntxent import contrastive_loss
from training.objectives.positives import number_images, positive_mask
from training.objectives.settings import ObjectiveSettings
from training.objectives.simclr import make_projection_head


class SupCon(Objective):
    """The objective ``supcon``: the paper's L_out over two views.

    An image without a label has only its own other view as a positive.
    """

    name = "supcon"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(labels=True)
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, supervised contrastive over all views.

        It is the mean of equation 2 of the paper over the views of all processes.
        """
        projections = gather_from_processes(
            self.head(torch.cat(self.backbone_features(batch.first, batch.second)))
        )
        positives = positive_mask(
            number_images(len(batch.first), 2, batch.first.device),
            gather_from_processes(batch.label.repeat(2)),
        )
        return {"loss": contrastive_loss(projections, positives, self.settings.temperature)}
