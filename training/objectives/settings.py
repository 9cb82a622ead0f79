"""Settings of all training objectives; this module loads no torch.

A configuration can therefore be checked before torch is loaded.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


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


class RecordForm(StrEnum):
    """The form in which the objective ``convirt`` reads the record of an image."""

    TEXT = "text"  # words, by a recurrent network
    NUMBERS = "numbers"  # the numbers behind the words, by a perceptron: the control


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
        description="simclr, ntxent, supcon, soft_ntxent, time_aware, convirt: "
        "temperature of the softmax",
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
    sharpest_copy: bool = Field(
        default=False,
        description="ntxent, views_of = 'planes': another augmented view of the sharpest plane is "
        "a positive too",
    )
    every_view_anchors: bool = Field(
        default=False,
        description="ntxent, views_of = 'planes': every view is an anchor, not the sharpest only",
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
    likeness_weight: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="siamese: weight of a pair of nearest measures, relative to a pair of days; "
        "0 needs no measures",
    )
    siamese_margin: float = Field(
        default=1.0,
        gt=0,
        le=2,
        description="siamese: distance of unit vectors from which unlike images are not pushed",
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
    record: RecordForm = Field(
        default=RecordForm.TEXT,
        description="convirt: record of an image in words, or the same facts as numbers",
    )
    record_treatment: bool = Field(
        default=False, description="convirt: whether a record contains compounds and doses"
    )
    record_assay: bool = Field(
        default=False,
        description="convirt: whether a record contains the assay value of the readout day",
    )
    record_width: int = Field(
        default=64, ge=2, description="convirt: width of the network that reads the records"
    )
    vocabulary: int = Field(
        default=512,
        ge=8,
        description="convirt: size of the vocabulary; rarer words count as one word",
    )
    image_to_record_weight: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="convirt: weight of finding the record of an image; "
        "1 minus it is the weight of finding the image of a record",
    )
    vicreg_weights: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 0.04),
        description="vicreg: weights of invariance, variance and covariance; "
        "the paper's 25, 25 and 1, divided by 25",
    )
    prototypes: int = Field(default=1024, ge=2, description="dino: width of the output")
    local_crops: int = Field(
        default=0,
        ge=0,
        le=16,
        description="dino: number of small crops of each image that the student sees; paper: 8",
    )
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
