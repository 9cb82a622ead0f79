"""NT-Xent with soft negatives: "natural pulling and pushing". Images that are alike are pushed apart less and pulled together a little.

With likeness l in 0…1 of two images, a view i has the target t_ij ∝ 1 for its own other view and pull · l_ij for views of other images, and the
weight w_ij = 1 − l_ij in the denominator: L_i = −Σ_j t_ij log(exp s_ij / Σ_k w_ik exp s_ik). With nothing alike it is NT-Xent.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import (
    BatchNeeds,
    Objective,
    ObjectiveSettings,
    SimilarityBasis,
    gather_from_processes,
)
from training.objectives.positives import number_images
from training.objectives.simclr import make_projection_head


def pairwise_similarity(description: Tensor, known: Tensor, width: float) -> Tensor:
    """Return (n, n) in 0…1: exp(−d² / 2 width²), d the root mean square difference of (n, M) descriptions; 0 where one is unknown."""
    squared = (description[:, None] - description).square().mean(dim=2)
    return torch.exp(-squared / (2 * width**2)) * (known[:, None] & known)


def unit_directions(features: Tensor) -> Tensor:
    """Return (n, D) features less their mean, scaled so that the mean square difference of two is 1 − their cosine."""
    centred = features.detach() - features.detach().mean(dim=0)
    return functional.normalize(centred) * (features.shape[1] / 2) ** 0.5


def soft_contrastive_loss(
    projections: Tensor, images: Tensor, similarity: Tensor, temperature: float, pull: float
) -> Tensor:
    """Return the mean of L_i over (n, D) projections; ``images`` (n,) says which image a row shows, ``similarity`` is (n, n) in 0…1."""
    unit = functional.normalize(projections)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    own = (images[:, None] == images) & ~itself
    target = torch.where(own, 1.0, pull * similarity).masked_fill(itself, 0)
    target = target / target.sum(dim=1, keepdim=True)
    weight = torch.where(own, 1.0, 1 - similarity).masked_fill(itself, 0)
    logits = unit @ unit.T / temperature
    # An image of weight 0 has log weight −∞, which removes it from the sum.
    normaliser = (logits + weight.log()).logsumexp(dim=1, keepdim=True)
    return (target * (normaliser - logits)).sum(dim=1).mean()


class SoftNTXent(Objective):
    """Negatives weighted by unlikeness, by hand measures or by the embedding itself."""

    name = "soft_ntxent"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds()
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss over the views of all processes."""
        features = torch.cat(self.backbone_features(batch.first, batch.second))
        if self.settings.likeness_by is SimilarityBasis.MEASURES:
            description, known = (
                gather_from_processes(batch.measures.repeat(2, 1)),
                gather_from_processes(batch.has_measures.repeat(2)),
            )
        else:
            description = unit_directions(gather_from_processes(features))
            known = torch.ones(len(description), dtype=torch.bool, device=description.device)
        similarity = pairwise_similarity(description, known, self.settings.likeness_width)
        images = number_images(len(batch.first), 2, batch.first.device)
        return {
            "loss": soft_contrastive_loss(
                gather_from_processes(self.head(features)),
                images,
                similarity,
                self.settings.temperature,
                self.settings.pull,
            )
        }
