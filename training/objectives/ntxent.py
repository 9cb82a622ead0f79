"""The normalised temperature-scaled cross-entropy in its variants: what is a view, which positives, what stands in the denominator.

With the defaults it is SimCLR's loss; supervised it is SupCon's (L_out of arXiv 2004.11362); with the positives out of the denominator it is the
decoupled loss of Yeh et al. 2021 (arXiv 2110.06848).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import (
    BatchNeeds,
    Objective,
    ObjectiveSettings,
    ViewSource,
    gather_from_processes,
)
from training.objectives.planes import middle_plane_as_grey, planes_as_grey, sharpest_first
from training.objectives.positives import number_images, positive_mask
from training.objectives.simclr import make_projection_head


def contrastive_loss(
    projections: Tensor,
    positives: Tensor,
    temperature: float,
    *,
    anchors: Tensor | None = None,
    anchor_is_positive: bool = False,
    positives_in_denominator: bool = True,
) -> Tensor:
    """Return the mean over anchors of the mean over their positives of −log(exp s_ap / Σ exp s_ac), s = cosine / temperature.

    ``projections`` is (n, D), ``positives`` (n, n) bool without the diagonal, ``anchors`` (n,) bool, all by default. The candidates c of the sum are
    all rows but the anchor; with ``anchor_is_positive`` the anchor too. An anchor without positives or candidates does not count.
    """
    unit = functional.normalize(projections)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    if anchor_is_positive:
        positives = positives | itself
    candidates = torch.ones_like(itself) if anchor_is_positive else ~itself
    if not positives_in_denominator:
        candidates = candidates & ~positives
    counted = positives.any(dim=1) & candidates.any(dim=1)
    if anchors is not None:
        counted = counted & anchors
    if not counted.any():
        return projections.sum() * 0
    similarity = (unit[counted] @ unit.T) / temperature  # (anchors, n)
    normaliser = similarity.masked_fill(~candidates[counted], -torch.inf).logsumexp(
        dim=1, keepdim=True
    )
    chosen = positives[counted]
    return ((normaliser - similarity) * chosen).sum(dim=1).div(chosen.sum(dim=1)).mean()


class NTXent(Objective):
    """The variants by option; ``docs/reference/objectives.md`` names them."""

    name = "ntxent"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.of_planes = settings.views_of is ViewSource.PLANES
        self.needs = BatchNeeds(views=1 if self.of_planes else 2, labels=settings.supervised)
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss over the views of all processes."""
        views = (
            planes_as_grey(sharpest_first(batch.first))
            if self.of_planes
            else (batch.first, batch.second)
        )
        count, device = len(batch.first), batch.first.device
        projections = gather_from_processes(self.head(torch.cat(self.backbone_features(*views))))
        images = number_images(count, len(views), device)
        labels = (
            gather_from_processes(batch.label.repeat(len(views)))
            if self.settings.supervised
            else None
        )
        is_anchor = torch.arange(count * len(views), device=device) < (
            count if self.of_planes else count * len(views)
        )
        loss = contrastive_loss(
            projections,
            positive_mask(images, labels),
            self.settings.temperature,
            anchors=gather_from_processes(is_anchor),
            anchor_is_positive=self.settings.anchor_is_positive,
            positives_in_denominator=self.settings.positives_in_denominator,
        )
        return {"loss": loss}

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, side, side) → (B, D); a network that learned from single planes is shown the sharpest."""
        return super().embed(middle_plane_as_grey(pixels) if self.of_planes else pixels)
