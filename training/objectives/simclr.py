"""SimCLR (Chen et al. 2020, arXiv 2002.05709): two views of an image find each other among all views of the batch."""

from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.objectives.base import Objective, ObjectiveSettings


def make_projection_head(dimension: int, settings: ObjectiveSettings) -> nn.Module:
    """Return the paper's head, W₂ ReLU(W₁ h), without batch normalisation, so that the loss is the same on one process and on several."""
    return SimCLRProjectionHead(dimension, settings.hidden, settings.projection, batch_norm=False)


def make_nt_xent_loss(settings: ObjectiveSettings) -> nn.Module:
    """Return the paper's loss of two (B, projection), over the views of all processes."""
    return NTXentLoss(settings.temperature, gather_distributed=True)


class SimCLR(Objective):
    """NT-Xent between two augmented views."""

    name = "simclr"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.head = make_projection_head(dimension, settings)
        self.nt_xent = make_nt_xent_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean over both views of all images."""
        first, second = self.backbone_features(batch.first, batch.second)
        return {"loss": self.nt_xent(self.head(first), self.head(second))}
