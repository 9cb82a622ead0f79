"""Objective ``triplet``: the hardest positive is nearer than the hardest negative by a margin.

Sources: FaceNet, Schroff et al. 2015, arXiv 1503.03832; hardest triplets of a batch, Hermans et al.
2017, arXiv 1703.07737. The positive of an image is its other view, and with ``supervised`` also
each image of its label; all others are negatives.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.positives import number_images, positive_mask
from training.objectives.settings import ObjectiveSettings
from training.objectives.simclr import make_projection_head


def batch_hard_loss(projections: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Return the mean of [farthest positive − nearest negative + margin]₊ over projections, (n, D).

    Distances are squared distances of unit vectors. With margin 0 the loss is ln(1 + exp(farthest −
    nearest)), the soft margin of the second paper. An anchor without positives or negatives is left
    out.

    Parameters
    ----------
    projections
        (n, D).
    positives
        (n, n) bool, false on the diagonal.
    """
    unit = functional.normalize(projections)
    squared = 2 - 2 * unit @ unit.T
    negatives = ~positives & ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    counted = positives.any(dim=1) & negatives.any(dim=1)
    if not counted.any():
        return projections.sum() * 0
    farthest = squared.masked_fill(~positives, -torch.inf)[counted].amax(dim=1)
    nearest = squared.masked_fill(~negatives, torch.inf)[counted].amin(dim=1)
    violated = farthest - nearest
    return (functional.relu(violated + margin) if margin else functional.softplus(violated)).mean()


class Triplet(Objective):
    """The objective ``triplet``."""

    name = "triplet"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(labels=settings.supervised)
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the batch-hard triplet loss.

        The views of all processes are compared.
        """
        projections = gather_from_processes(
            self.head(torch.cat(self.backbone_features(batch.first, batch.second)))
        )
        labels = gather_from_processes(batch.label.repeat(2)) if self.settings.supervised else None
        positives = positive_mask(number_images(len(batch.first), 2, batch.first.device), labels)
        return {"loss": batch_hard_loss(projections, positives, self.settings.margin)}
