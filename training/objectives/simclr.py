"""Objective ``simclr``: the two views of an image are classified among all views of the batch.

Source: SimCLR, Chen et al. 2020, arXiv 2002.05709.
"""

from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.objectives.base import Objective
from training.objectives.settings import ObjectiveSettings


def make_projection_head(dimension: int, settings: ObjectiveSettings) -> nn.Module:
    """Return SimCLR's projection head, W₂ ReLU(W₁ h), for inputs of (B, dimension).

    It has no batch normalisation, so that the loss does not depend on the number of processes.
    """
    return SimCLRProjectionHead(dimension, settings.hidden, settings.projection, batch_norm=False)


def make_nt_xent_loss(settings: ObjectiveSettings) -> nn.Module:
    """Return a module that computes the NT-Xent loss of two views, each (B, projection).

    The views of all processes are compared.
    """
    return NTXentLoss(settings.temperature, gather_distributed=True)


class SimCLR(Objective):
    """The objective ``simclr``: NT-Xent between two augmented views."""

    name = "simclr"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.head = make_projection_head(dimension, settings)
        self.nt_xent = make_nt_xent_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the mean NT-Xent of both views."""
        first, second = self.backbone_features(batch.first, batch.second)
        return {"loss": self.nt_xent(self.head(first), self.head(second))}
