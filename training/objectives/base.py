"""Base class of the training objectives, and the settings of all of them.

An objective is a backbone, the layers that the objective adds to it, and a loss over a batch of
well images. Each objective has one file; :mod:`training.objectives.registry` lists them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from lightly.utils import dist
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from training.data.batch_plan import Batch


class EmbeddingLayer(StrEnum):
    """The layer whose output is the embedding."""

    BACKBONE = "backbone"  # pooled features of the backbone
    HEAD = "head"  # output of the objective's head: a projection, or predicted measures
    BOTH = "both"  # `measures` with a companion: predicted measures and linear projection


class CompanionLoss(StrEnum):
    """The second loss that the objective ``measures`` adds to its own."""

    NONE = "none"
    SIMCLR = "simclr"
    VICREG = "vicreg"


class ViewSource(StrEnum):
    """The images that the objective ``ntxent`` uses as views of one well image."""

    AUGMENTATIONS = "augmentations"  # two augmented images, with planes as colours
    PLANES = "planes"  # planes of one augmented image: the sharpest is the anchor


class SimilarityBasis(StrEnum):
    """The vectors from which the objective ``soft_ntxent`` computes the similarity of images."""

    MEASURES = "measures"  # tissue measures of the clean images
    EMBEDDING = "embedding"  # the embedding, without gradient


class ObjectiveSettings(BaseModel):
    """Settings of all objectives; ``docs/reference/objectives.md`` explains each."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layer: EmbeddingLayer = Field(
        default=EmbeddingLayer.BACKBONE,
        description="embedding: features of the backbone, output of the head, "
        "or outputs of both heads (measures)",
    )
    temperature: float = Field(
        default=0.2,
        gt=0,
        le=10,
        description="simclr, ntxent, supcon, soft_ntxent, time_aware: temperature of the softmax",
    )
    hidden: int = Field(default=512, ge=1, description="width of hidden layers of the heads")
    projection: int = Field(
        default=128, ge=2, description="width of the space in which views are compared"
    )
    momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="byol, dino: momentum of the teacher at the start; grows to 1 along a cosine",
    )
    views_of: ViewSource = Field(
        default=ViewSource.AUGMENTATIONS, description="ntxent: source of the views of an image"
    )
    anchor_is_positive: bool = Field(
        default=False, description="ntxent: the anchor is one of its own positives"
    )
    positives_in_denominator: bool = Field(
        default=True, description="ntxent: false removes the positives from the denominator"
    )
    supervised: bool = Field(
        default=False, description="ntxent, triplet: images of one label are positives"
    )
    likeness_by: SimilarityBasis = Field(
        default=SimilarityBasis.MEASURES,
        description="soft_ntxent: basis of the similarity of two images",
    )
    likeness_width: float = Field(
        default=0.3,
        gt=0,
        description="soft_ntxent: root mean square difference at which similarity is 0.61",
    )
    pull: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="soft_ntxent: target of an image of similarity 1, relative to the own view",
    )
    margin: float = Field(
        default=0.2,
        ge=0,
        description="triplet: required distance between the farthest positive and the nearest "
        "negative; 0: soft margin",
    )
    gap_weight: float = Field(
        default=0.5, ge=0, description="time_aware: weight of the loss of the days apart"
    )
    gap_days: float = Field(
        default=3.0, gt=0, description="time_aware: number of days that has the target 1"
    )
    companion: CompanionLoss = Field(
        default=CompanionLoss.NONE, description="measures: loss that is added"
    )
    companion_weight: float = Field(
        default=0.1, ge=0, le=0.3, description="measures: weight of the companion's loss"
    )
    companion_length: float = Field(
        default=3.0,
        gt=0,
        description="measures, layer 'both': length of the companion's part of the embedding; "
        "a predicted measure has a standard deviation of 1",
    )
    change_weight: float = Field(
        default=0.5,
        ge=0,
        description="measures: weight of the change between two days of a well; "
        "0 needs no pairs of days",
    )
    measures_hidden: int = Field(
        default=0,
        ge=0,
        description="measures: width of a hidden layer in the head; 0: the head is linear",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="measures: share of the features that are dropped before a head",
    )
    vicreg_weights: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 0.04),
        description="vicreg: weights of invariance, variance and covariance; "
        "the paper's 25, 25 and 1, divided by 25",
    )
    prototypes: int = Field(default=1024, ge=2, description="dino: width of the output")
    student_temperature: float = Field(
        default=0.1, gt=0, description="dino: temperature of the student"
    )
    teacher_temperature: float = Field(
        default=0.04, gt=0, description="dino: temperature of the teacher"
    )
    mask_share: float = Field(
        default=0.75, gt=0, lt=1, description="mae: share of patches that are masked"
    )
    decoder_width: int = Field(
        default=128, ge=16, multiple_of=16, description="mae: width of the decoder"
    )
    decoder_depth: int = Field(default=2, ge=1, description="mae: number of blocks of the decoder")
    normalised_patches: bool = Field(
        default=True,
        description="mae: the target of each masked patch has mean 0 and variance 1",
    )


@dataclass(frozen=True)
class BatchNeeds:
    """The parts of a batch that an objective needs."""

    views: int = 2  # 1: `second` is not used
    day_pairs: bool = False  # needs `later`, the same wells on another day
    untreated_pairs: bool = False  # `later` must be of wells that are untreated
    within_plate: bool = False  # each batch is of one plate
    labels: bool = False  # needs a known `label`


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
