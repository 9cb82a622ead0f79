"""Objective ``vicreg``: two views agree, every dimension varies, and dimensions are not correlated.

Source: VICReg, Bardes et al. 2021, arXiv 2105.04906.
"""

from lightly.loss import VICRegLoss
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.objectives.base import Objective
from training.objectives.settings import ObjectiveSettings
from training.objectives.simclr import make_projection_head


def make_vicreg_loss(settings: ObjectiveSettings) -> nn.Module:
    """Return a module for the VICReg loss of two views, each (B, projection), with given weights.

    The default weights are a 25th of the paper's, so that the loss has the size of other losses.
    """
    invariance, variance, covariance = settings.vicreg_weights
    return VICRegLoss(invariance, variance, covariance, gather_distributed=True)


class VICReg(Objective):
    """The objective ``vicreg``: invariance, variance and covariance of two augmented views."""

    name = "vicreg"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.head = make_projection_head(dimension, settings)
        self.vicreg = make_vicreg_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the weighted sum of three terms.

        The terms are invariance, variance and covariance.
        """
        first, second = self.backbone_features(batch.first, batch.second)
        return {"loss": self.vicreg(self.head(first), self.head(second))}
