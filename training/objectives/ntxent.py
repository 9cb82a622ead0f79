"""Objective ``ntxent``: the normalised temperature-scaled cross-entropy in several variants.

The variants differ in the views, the positives and the denominator. The default is SimCLR's loss;
``supervised`` gives SupCon's L_out (arXiv 2004.11362); without the positives in the denominator it
is the decoupled loss of Yeh et al. 2021 (arXiv 2110.06848).

With ``views_of = "planes"``, ``sharpest_copy`` adds an independently augmented view of the sharpest
plane to the two other planes, as a third positive of the anchor. This is variant 4 of B. Babu,
"Determination of Drug Efficacy on Pancreatic Tumor 3D Spheroidal Tissues", master thesis, Technical
University of Applied Sciences Würzburg-Schweinfurt with Fraunhofer TLZ-RT Würzburg, 2024.

``anchor_is_positive`` is its literal form: it adds the anchor's own projection to its positives and
to the denominator. The cosine of this pair is always 1, so only the denominator and the number of
positives change.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.planes import middle_plane_as_grey, planes_as_grey, sharpest_first
from training.objectives.positives import number_images, positive_mask
from training.objectives.settings import ObjectiveSettings, ViewSource
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
    """Return the mean of −log(exp s_ap / Σ_c exp s_ac) over anchors a and positives p, (n, n) bool.

    s is the cosine of two projections, divided by the temperature. The candidates c are all rows
    except the anchor. An anchor without positives or candidates is left out; without any anchor the
    loss is 0.

    Parameters
    ----------
    projections
        (n, D).
    positives
        (n, n) bool, false on the diagonal.
    anchors
        (n,) bool: rows that are anchors; all by default.
    anchor_is_positive
        Add each anchor to its own positives and candidates.
    positives_in_denominator
        If false, positives are not candidates.
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
    """The objective ``ntxent``; ``docs/reference/objectives.md`` lists its variants."""

    name = "ntxent"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.of_planes = settings.views_of is ViewSource.PLANES
        one_view = self.of_planes and not settings.sharpest_copy
        self.needs = BatchNeeds(
            views=1 if one_view else 2, labels=settings.supervised, planes=self.of_planes
        )
        self.head = make_projection_head(dimension, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the contrastive loss of all views.

        The views of all processes are compared.
        """
        views = self._views(batch)
        count, device = len(batch.first), batch.first.device
        projections = gather_from_processes(self.head(torch.cat(self.backbone_features(*views))))
        images = number_images(count, len(views), device)
        labels = (
            gather_from_processes(batch.label.repeat(len(views)))
            if self.settings.supervised
            else None
        )
        is_anchor = torch.arange(count * len(views), device=device) < (
            count if self.of_planes and not self.settings.every_view_anchors else count * len(views)
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

    def _views(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return the views of each image, each (B, 3, side, side); of planes, the anchor first."""
        if not self.of_planes:
            return batch.first, batch.second
        planes = planes_as_grey(sharpest_first(batch.first))
        if not self.settings.sharpest_copy:
            return planes
        return *planes, planes_as_grey(sharpest_first(batch.second))[0]

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of images, (B, 3, side, side) → (B, D).

        A network that was trained on single planes gets the middle plane.
        """
        return super().embed(middle_plane_as_grey(pixels) if self.of_planes else pixels)
