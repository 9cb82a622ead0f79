"""Objective ``siamese``: like images are near, unlike images are farther apart than a margin.

Sources: Siamese network, Bromley et al. 1993 (NIPS 6); contrastive loss, Hadsell, Chopra and LeCun
2006, doi:10.1109/CVPR.2006.100, equation 4. No label decides which images are alike. Two images are
alike if they show one well on two consecutive days without a drug in between, or if they are two
augmentations of one image. With ``likeness_weight``, each image and the image of another well with
the nearest tissue measures are alike too. All other pairs of different wells are unlike.

An unlike pair that is farther apart than the margin has no gradient, so wells of different
treatments that look alike are not pushed apart without limit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import ConfigError
from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.settings import ObjectiveSettings
from training.objectives.simclr import make_projection_head

SMALLEST_SQUARE = 1e-6
"""Smallest squared distance; the square root has no gradient at 0."""


def nearest_measures(distances: Tensor, allowed: Tensor) -> Tensor:
    """Return (n, m) bool: whether image j has the nearest measures to image i, or i to j.

    Parameters
    ----------
    distances
        (n, m) distances of the measures of n images and m others.
    allowed
        (n, m) bool; other pairs are never nearest.
    """
    masked = distances.masked_fill(~allowed, torch.inf)
    of_row, of_column = torch.zeros_like(allowed), torch.zeros_like(allowed)
    of_row.scatter_(1, masked.argmin(dim=1, keepdim=True), value=True)
    of_column.scatter_(0, masked.argmin(dim=0, keepdim=True), value=True)
    return (of_row | of_column) & allowed


def pair_loss(
    first: Tensor, second: Tensor, likeness: Tensor, unlike: Tensor, margin: float
) -> dict[str, Tensor]:
    """Return the parts of the contrastive loss between n images and m others: ``near`` and ``far``.

    ``near`` is the mean squared distance of the pairs, weighted by their likeness. ``far`` is the
    mean of [margin − distance]₊² over the unlike pairs. Distances are those of unit vectors. A part
    without a pair is 0.

    Parameters
    ----------
    first, second
        Projections, (n, D) and (m, D).
    likeness
        (n, m) weights of like pairs; 0 for all other pairs.
    unlike
        (n, m) bool.
    """
    cosines = functional.normalize(first) @ functional.normalize(second).T
    squared = (2 - 2 * cosines).clamp(min=SMALLEST_SQUARE)
    short = functional.relu(margin - squared.sqrt()).square()
    return {
        "near": (squared * likeness).sum() / likeness.sum().clamp(min=1e-12),
        "far": (short * unlike).sum() / unlike.sum().clamp(min=1),
    }


class Siamese(Objective):
    """The objective ``siamese``: one network for both images of each pair."""

    name = "siamese"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(
            views=1, consecutive_pairs=True, measures=settings.likeness_weight > 0
        )
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the sum of ``near`` and ``far``.

        The images of all processes are compared.

        Raises
        ------
        ConfigError
            If the batch has no second image of each well.
        """
        if batch.later is None:
            raise ConfigError(
                "objective.name", "is 'siamese', and the batch has no pairs; expected pairs of days"
            )
        first, second = (
            gather_from_processes(self.head(features))
            for features in self.backbone_features(batch.first, batch.later.first)
        )
        wells = gather_from_processes(batch.well)
        of_one_well = wells[:, None] == wells
        likeness = torch.eye(len(wells), device=wells.device)
        if self.settings.likeness_weight:
            measures, others, known, also_known = (
                gather_from_processes(each)
                for each in (
                    batch.measures,
                    batch.later.measures,
                    batch.has_measures,
                    batch.later.has_measures,
                )
            )
            distances = (measures[:, None] - others).square().mean(dim=2)
            near = nearest_measures(distances, (known[:, None] & also_known) & ~of_one_well)
            likeness = likeness + self.settings.likeness_weight * near
        unlike = (likeness == 0) & ~of_one_well
        parts = pair_loss(first, second, likeness, unlike, self.settings.siamese_margin)
        return {"loss": parts["near"] + parts["far"], **parts}
