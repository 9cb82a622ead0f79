"""Objective ``measures``: predict the tissue measures of the clean image from the augmented image.

No label is used. Pairs of days add a loss of the change: the difference of two predictions is
compared with the measured change. An error that a well has on both days cancels there, and an error
that hides a change does not. A second loss, SimCLR or VICReg, can be added with a small weight: it
keeps properties that distinguish wells and are not measures, independent of light and focus.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.errors import ConfigError
from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.ntxent import contrastive_loss
from training.objectives.positives import positive_mask
from training.objectives.settings import CompanionLoss, EmbeddingLayer, ObjectiveSettings
from training.objectives.simclr import make_projection_head
from training.objectives.vicreg import make_vicreg_loss

_DAYS_PER_WELL = 10_000
"""More days than any culture has, so that well and day together give one number."""


def masked_huber_error(predicted: Tensor, measured: Tensor, known: Tensor) -> Tensor:
    """Return the mean Huber error of predicted measures, (B, M), over the images with measures.

    Source: Huber 1964. It is 0 if no image has measures.

    Parameters
    ----------
    known
        (B,) bool: whether an image has measures.
    """
    errors = functional.smooth_l1_loss(predicted, measured, reduction="none").mean(dim=1)
    return (errors * known).sum() / known.sum().clamp(min=1)


class MeasuresObjective(Objective):
    """The objective ``measures``: predicts standardised measures and their change between days."""

    name = "measures"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        alone, both = (
            settings.companion is CompanionLoss.NONE,
            settings.layer is EmbeddingLayer.BOTH,
        )
        if both and alone:
            raise ConfigError(
                "objective.layer",
                "is 'both', and objective.companion is 'none'; "
                "expected 'head', or objective.companion = 'simclr' or 'vicreg'",
            )
        self.needs = BatchNeeds(
            views=1 if alone else 2,
            day_pairs=settings.change_weight > 0,
            within_plate=True,
            measures=True,
        )
        width = settings.measures_hidden
        hidden = [nn.Linear(dimension, width), nn.ReLU()] if width else []
        self.head = nn.Sequential(
            nn.Dropout(settings.dropout),
            *hidden,
            nn.Linear(width or dimension, len(RANKED_MEASURES)),
        )
        if not alone:
            projection = (
                nn.Linear(dimension, settings.projection)
                if both
                else make_projection_head(dimension, settings)
            )
            self.projection = nn.Sequential(nn.Dropout(settings.dropout), projection)
            self.vicreg = make_vicreg_loss(settings)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of images, (B, 3, side, side) → (B, D), as they are exported."""
        if self.settings.layer is not EmbeddingLayer.BOTH:
            return super().embed(pixels)
        features = self.backbone(pixels)
        direction = functional.normalize(self.projection(features), dim=1)
        return torch.cat([self.head(features), self.settings.companion_length * direction], dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: the weighted sum ``loss``, and its parts.

        The parts are unweighted: ``measures``, ``change`` and ``companion``.

        For pairs of days, images of both days are in every part.
        """
        days = (
            [batch]
            if batch.later is None or self.settings.change_weight == 0
            else [batch, batch.later]
        )
        views = [view for day in days for view in (day.first, day.second)[: self.needs.views]]
        features = self.backbone_features(*views)
        predicted = [self.head(each) for each in features]
        of_day = [day for day in days for _ in range(self.needs.views)]
        errors = [
            masked_huber_error(each, day.measures, day.has_measures)
            for each, day in zip(predicted, of_day, strict=True)
        ]
        parts = {"measures": sum(errors) / len(errors)}
        total = parts["measures"]
        if len(days) > 1:
            before, after = days
            known = before.has_measures & after.has_measures
            parts["change"] = masked_huber_error(
                predicted[-1] - predicted[0], after.measures - before.measures, known
            )
            total = parts["measures"] + self.settings.change_weight * parts["change"]
        if self.needs.views > 1:
            parts["companion"] = self.companion_loss(features, of_day)
            total = total + self.settings.companion_weight * parts["companion"]
        return {"loss": total, **parts}

    def companion_loss(self, features: Sequence[Tensor], days: Sequence[Batch]) -> Tensor:
        """Return the companion's scalar loss, from the features and batches of one or two days.

        In SimCLR's loss, another day of a well is another image.
        """
        projected = [self.projection(each) for each in features]
        if self.settings.companion is CompanionLoss.VICREG:
            losses = [
                self.vicreg(first, second)
                for first, second in zip(projected[::2], projected[1::2], strict=True)
            ]
            return sum(losses) / len(losses)
        images = gather_from_processes(
            torch.cat([_DAYS_PER_WELL * day.well + day.day for day in days])
        )
        return contrastive_loss(
            gather_from_processes(torch.cat(projected)),
            positive_mask(images),
            self.settings.temperature,
        )
