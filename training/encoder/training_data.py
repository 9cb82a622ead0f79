"""Input of an encoder training: the batch plan, and stored features."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from schemas.errors import ConfigError
from training.data.batch_plan import BatchPlan, DayPairs, MeasureScale
from training.data.crops import PlateCrops
from training.data.records import RecordContent, RecordEncoder, make_records
from training.encoder.backbones import pretrained_normalisation
from training.encoder.config import EncoderTrainingConfig
from training.encoder.frozen_features import FeatureSettings, compute_frozen_features
from training.objectives.base import BatchNeeds, Objective
from training.progress import show_progress

FEATURE_OBJECTIVES = frozenset(
    {
        "measures",
        "simclr",
        "vicreg",
        "supcon",
        "triplet",
        "time_aware",
        "soft_ntxent",
        "convirt",
        "siamese",
    }
)
"""Objectives that use images only through the backbone, without a teacher network of their own."""


def make_batch_plan(
    config: EncoderTrainingConfig, objective: Objective, training: Sequence[PlateCrops]
) -> BatchPlan:
    """Return the batch plan from the configuration, the objective's needs and the training crops.

    Images are normalised as the pretrained weights of the backbone expect it.
    """
    within_plate = config.objective.within_plate
    mean, std = pretrained_normalisation(config.model.backbone)
    scale = MeasureScale.of(training)
    return BatchPlan(
        scale=scale,
        size=config.run.batch,
        side_px=config.model.input_size,
        mean=mean,
        std=std,
        augment_first=config.augment.first,
        augment_second=config.augment.second,
        mask_background=config.augment.mask_background,
        within_plate=objective.needs.within_plate if within_plate is None else within_plate,
        day_pairs=day_pairs_of(objective.needs),
        label=config.objective.label,
        records=make_record_encoder(objective.needs.record, training, scale),
    )


def make_record_encoder(
    content: RecordContent | None, training: Sequence[PlateCrops], scale: MeasureScale
) -> RecordEncoder | None:
    """Return the encoder of records with a content, or None if the objective needs no records.

    Its vocabulary has the words of the training images only.
    """
    if content is None:
        return None
    return RecordEncoder.of(make_records(training, scale.standardise(training), content), content)


def day_pairs_of(needs: BatchNeeds) -> DayPairs:
    """Return the pairs of days that a batch has for the needs of an objective."""
    if needs.untreated_pairs:
        return DayPairs.UNTREATED
    if needs.consecutive_pairs:
        return DayPairs.CONSECUTIVE
    return DayPairs.SINCE_DOSING if needs.day_pairs else DayPairs.NONE


def replace_pixels_with_features(
    config: EncoderTrainingConfig,
    objective: Objective,
    plan: BatchPlan,
    training: Sequence[PlateCrops],
    reference: Tensor,
) -> tuple[BatchPlan, Tensor]:
    """Return plan and validation images with the pixels replaced by frozen backbone features.

    Each training image is augmented ``run.kept_views`` times. The backbone of the objective is
    replaced by an identity.

    Parameters
    ----------
    reference
        Clean validation images, (n, 3, side, side), normalised.

    Returns
    -------
    plan : BatchPlan
        The plan with the features in place of pixels.
    reference : Tensor
        Features of the validation images, (n, D).

    Raises
    ------
    ConfigError
        If the backbone is trained, the objective needs pixels, or the two views of an image are
        made in different ways.
    """
    _check_features_suffice(config, objective)
    run = config.run
    settings = FeatureSettings(
        config.augment.first, run.kept_views, plan.side_px, plan.mean, plan.std, run.seed
    )
    with show_progress("features", len(training)) as advance:
        features = compute_frozen_features(
            training,
            objective.backbone,
            settings,
            config.data.cache,
            progress=lambda done, _total: advance(done),
        )
    with torch.no_grad():
        of_reference = torch.cat([objective.backbone.eval()(part) for part in reference.split(32)])
    objective.backbone = nn.Identity()
    return replace(plan, kept=tuple(features)), of_reference


def _check_features_suffice(config: EncoderTrainingConfig, objective: Objective) -> None:
    """Raise ConfigError unless the training can use stored features in place of pixels."""
    run, model, augmented = config.run, config.model, config.augment
    if model.last_blocks != 0 or model.frozen_steps:
        raise ConfigError(
            "run.kept_views",
            f"is {run.kept_views}, and the backbone is trained; "
            "expected model.last_blocks = 0, or run.kept_views = 0",
        )
    if objective.name not in FEATURE_OBJECTIVES:
        raise ConfigError(
            "run.kept_views",
            f"is {run.kept_views}, and {objective.name} needs pixels; "
            f"expected 0, or one of {', '.join(sorted(FEATURE_OBJECTIVES))}",
        )
    if augmented.first != augmented.second or augmented.mask_background:
        raise ConfigError(
            "augment",
            f"has first = {augmented.first!r}, second = {augmented.second!r}, "
            f"mask_background = {augmented.mask_background}, and stored features have one preset "
            "and no mask; expected first = second and mask_background = 0, or run.kept_views = 0",
        )
