"""Objective ``soft_ntxent``: NT-Xent in which similar images are pushed apart less.

It is meant for wells of different treatments that look alike. With a similarity l in 0…1 of two
images, view i has the target t_ij ∝ 1 for its own other view, and pull · l_ij for a view of another
image. The weight in the denominator is w_ij = 1 − l_ij::

    L_i = −Σ_j t_ij log(exp s_ij / Σ_k w_ik exp s_ik)

If all similarities are 0, it is NT-Xent.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.positives import number_images
from training.objectives.settings import ObjectiveSettings, SimilarityBasis
from training.objectives.simclr import make_projection_head


def pairwise_similarity(description: Tensor, known: Tensor, width: float) -> Tensor:
    """Return exp(−d² / 2 width²) of each pair of rows of (n, M), as similarities (n, n) in 0…1.

    Parameters
    ----------
    description
        (n, M); d is the root mean square difference of two rows.
    known
        (n,) bool; the similarity is 0 if one of the rows is unknown.
    """
    squared = (description[:, None] - description).square().mean(dim=2)
    return torch.exp(-squared / (2 * width**2)) * (known[:, None] & known)


def unit_directions(features: Tensor) -> Tensor:
    """Return centred, scaled features, (n, D), whose mean square difference is 1 − cosine.

    The result has no gradient.
    """
    centred = features.detach() - features.detach().mean(dim=0)
    return functional.normalize(centred) * (features.shape[1] / 2) ** 0.5


def soft_contrastive_loss(
    projections: Tensor, images: Tensor, similarity: Tensor, temperature: float, pull: float
) -> Tensor:
    """Return the mean soft NT-Xent loss of projections, (n, D), by image similarity, (n, n).

    Parameters
    ----------
    images
        (n,) number of the image of each row.
    similarity
        (n, n) similarity of the images in 0…1.
    """
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
    """The objective ``soft_ntxent``, with similarities from measures or from the embedding."""

    name = "soft_ntxent"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(measures=settings.likeness_by is SimilarityBasis.MEASURES)
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the soft NT-Xent loss of all views.

        The views of all processes are compared.
        """
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
