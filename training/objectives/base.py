"""What every objective is: a loss over a batch of wells, on top of a backbone; one file an objective, all named in :mod:`training.objectives.registry`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from lightly.utils import dist
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from training.data.batches import Batch


class Layer(StrEnum):
    """What of the network is the embedding."""

    BACKBONE = "backbone"  # the pooled features
    HEAD = (
        "head"  # what the objective's head makes of them: the projection, or the predicted measures
    )
    BOTH = "both"  # measures with a companion: the predicted measures, and beside them the companion's projection, which is then linear


class Companion(StrEnum):
    """What the objective ``measures`` is accompanied by."""

    NONE = "none"
    SIMCLR = "simclr"
    VICREG = "vicreg"


class ViewsOf(StrEnum):
    """What the objective ``ntxent`` takes for views of one image."""

    AUGMENTATIONS = "augmentations"  # two augmented images, planes as colours
    PLANES = "planes"  # the sharpest plane is the anchor, the other two are its views; one augmented image is enough


class LikenessBy(StrEnum):
    """What the objective ``soft_ntxent`` judges likeness by."""

    MEASURES = "measures"  # the hand measures of the clean images
    EMBEDDING = "embedding"  # the embedding itself, without gradient


class ObjectiveSettings(BaseModel):
    """Every option of every objective; ``docs/reference/objectives.md`` tells what each does."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layer: Layer = Field(
        default=Layer.BACKBONE,
        description="what the embedding is: the backbone's features, the head's output, or both heads' (measures)",
    )
    temperature: float = Field(
        default=0.2, gt=0, le=10, description="of simclr, ntxent, supcon, soft_ntxent, time_aware"
    )
    hidden: int = Field(default=512, ge=1, description="width inside the heads")
    projection: int = Field(
        default=128, ge=2, description="width of the space in which views are compared"
    )
    momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="byol, dino: what the teacher keeps of itself at the start; grows to 1 along a cosine",
    )
    views_of: ViewsOf = Field(
        default=ViewsOf.AUGMENTATIONS, description="ntxent: what counts as two views"
    )
    anchor_is_positive: bool = Field(
        default=False, description="ntxent: the anchor counts among its own positives"
    )
    positives_in_denominator: bool = Field(
        default=True, description="ntxent: false takes the positives out of the denominator"
    )
    supervised: bool = Field(
        default=False, description="ntxent: images of one label are positives of each other"
    )
    likeness_by: LikenessBy = Field(
        default=LikenessBy.MEASURES, description="soft_ntxent: what likeness is judged by"
    )
    likeness_width: float = Field(
        default=0.3,
        gt=0,
        description="soft_ntxent: root mean square difference at which likeness has fallen to 0.61",
    )
    pull: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="soft_ntxent: how strongly a fully alike image is pulled, the own other view being 1",
    )
    margin: float = Field(
        default=0.2,
        ge=0,
        description="triplet: how much farther the farthest positive must be from the nearest negative; 0: soft margin",
    )
    gap_weight: float = Field(default=0.5, ge=0, description="time_aware: weight of the days apart")
    gap_days: float = Field(
        default=3.0, gt=0, description="time_aware: the days apart that count as 1"
    )
    companion: Companion = Field(
        default=Companion.NONE, description="measures: what accompanies it"
    )
    companion_weight: float = Field(
        default=0.1, ge=0, le=0.3, description="measures: the companion's weight"
    )
    companion_length: float = Field(
        default=3.0,
        gt=0,
        description="measures, layer 'both': length of the companion's part of the embedding; a predicted measure spreads by 1",
    )
    change_weight: float = Field(
        default=0.5,
        ge=0,
        description="measures: weight of the change between two days of a well; 0 needs no day pairs",
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
        description="measures: share of the features that a head does not see in a step",
    )
    vicreg_weights: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 0.04),
        description="of invariance, variance and covariance; the paper's 25, 25, 1, over 25",
    )
    prototypes: int = Field(default=1024, ge=2, description="dino: width of the output")
    student_temperature: float = Field(default=0.1, gt=0, description="dino: of the student")
    teacher_temperature: float = Field(default=0.04, gt=0, description="dino: of the teacher")
    mask_share: float = Field(
        default=0.75, gt=0, lt=1, description="mae: share of patches that are hidden"
    )
    decoder_width: int = Field(
        default=128, ge=16, multiple_of=16, description="mae: width of the decoder"
    )
    decoder_depth: int = Field(default=2, ge=1, description="mae: blocks of the decoder")
    normalised_patches: bool = Field(
        default=True,
        description="mae: each hidden patch is predicted after its own mean and spread are taken away",
    )


@dataclass(frozen=True)
class Needs:
    """What an objective wants of its batches."""

    views: int = 2  # 1: `second` is not looked at
    day_pairs: bool = False  # `later`: the same wells on another day
    untreated_pairs: bool = False  # … and these wells untreated on both days
    within_plate: bool = False  # each batch from one plate
    labels: bool = False  # `label` known


class Objective(nn.Module, ABC):  # type: ignore[misc] # torch is not typed here
    """A backbone, what the objective adds to it, and the loss."""

    name: ClassVar[str]
    needs: Needs
    head: nn.Module  # (B, dimension) → (B, …)

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.dimension = dimension
        self.settings = settings
        self.needs = Needs()

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss``, the number to minimise, and under other names what it is made of."""

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, side, side) → (B, D): the embedding that is exported."""
        features = self.backbone(pixels)
        return features if self.settings.layer is Layer.BACKBONE else self.head(features)

    def after_step(self, progress: float = 0.0) -> None:
        """Let a teacher follow, after each step of the optimiser; ``progress`` is the share of the run that is done."""

    def features(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's features of each view, made in one pass, so that batch normalisation sees all views alike."""
        together: Tensor = self.backbone(torch.cat(views))
        return tuple(together.chunk(len(views)))


def gathered(local: Tensor) -> Tensor:
    """Return the tensors of all processes, one after the other, with gradients: images of every process are each other's positives and negatives."""
    return torch.cat(dist.gather(local)) if dist.world_size() > 1 else local
