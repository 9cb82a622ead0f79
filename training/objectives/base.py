"""Base class of the training objectives.

An objective is a backbone, the layers that the objective adds to it, and a loss over a batch of
well images. Each objective has one file; :mod:`training.objectives.registry` lists them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from lightly.utils import dist
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.data.records import RecordContent
from training.objectives.settings import EmbeddingLayer, ObjectiveSettings


@dataclass(frozen=True)
class BatchNeeds:
    """The parts of a batch that an objective needs."""

    views: int = 2  # 1: `second` is not used
    day_pairs: bool = False  # needs `later`, the same wells on another day
    untreated_pairs: bool = False  # `later` must be of wells that are untreated
    consecutive_pairs: bool = False
    """`later` must be of the next day of the well without a drug, or of the same image."""
    within_plate: bool = False  # each batch is of one plate
    labels: bool = False  # needs a known `label`
    measures: bool = False  # needs known `measures`
    planes: bool = False  # needs planes that differ, as each plane is a view
    record: RecordContent | None = None  # needs records with this content


class Objective(nn.Module, ABC):  # type: ignore[misc] # torch is not typed here
    """A backbone with the layers and the loss of one training objective."""

    name: ClassVar[str]
    needs: BatchNeeds
    head: nn.Module  # (B, dimension) → (B, …)

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.dimension = dimension
        self.settings = settings
        self.needs = BatchNeeds()

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss`` is minimised, the others are its parts."""

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of images, (B, 3, side, side) → (B, D), as they are exported."""
        features = self.backbone(pixels)
        return features if self.settings.layer is EmbeddingLayer.BACKBONE else self.head(features)

    def after_step(self, progress: float = 0.0) -> None:
        """Update a teacher after an optimiser step at ``progress``, 0…1; the default does nothing.

        Parameters
        ----------
        progress
            Share of the training that is done, 0…1.
        """

    def backbone_features(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's features of each view, (B, channels, side, side) → (B, dimension).

        All views pass the backbone together, so that batch normalisation uses the statistics of
        all of them.
        """
        together: Tensor = self.backbone(torch.cat(views))
        return tuple(together.chunk(len(views)))


def gather_from_processes(local: Tensor) -> Tensor:
    """Return the rows of the tensors of all processes in one tensor, with gradients.

    So the images of every process are positives and negatives of each other.
    """
    return torch.cat(dist.gather(local)) if dist.world_size() > 1 else local
