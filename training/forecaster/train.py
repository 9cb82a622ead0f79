"""Training of a forecaster on many plates: ``spherorank train forecaster --config F``.

Trajectories (:mod:`training.forecaster.trajectories`) → a body, optionally pretrained without
labels (:mod:`training.forecaster.pretraining`) → a network (:mod:`training.forecaster.model`) that
predicts each untreated well from its earlier days, until validation plates are predicted no better
→ ONNX, compared with torch → a bundle for
:class:`inference.departure.sequence_model.OnnxSequenceModel`. The same command continues a stopped
training.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch

from inference.bundle import load_bundle
from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from training.forecaster.config import (
    ForecasterTrainingConfig,
    check_sources,
    load_forecaster_training_config,
)
from training.forecaster.deviation import (
    deviation_loss,
    evaluate_forecaster,
    feature_blocks,
    principal_directions,
)
from training.forecaster.examples import (
    ForecastExample,
    select_trajectories,
    split_trajectories_by_plate,
)
from training.forecaster.export import ForecastQuality, write_forecaster
from training.forecaster.fitting import ForecasterModule, run_training
from training.forecaster.joint import (
    JointForecaster,
    initial_projection,
    project_trajectories,
    write_projecting_encoder,
)
from training.forecaster.model import TrajectoryForecaster
from training.forecaster.pretraining import FEWEST_DAYS, OBJECTIVES
from training.forecaster.trajectories import (
    FEWEST_WELLS,
    make_virtual_trajectories,
    read_profile_trajectories,
    read_store_trajectories,
    untreated_only,
    wells_with_two_days,
)

PLATES_NAMED = 5
"""Number of plates that are named in a line of text."""


@dataclass(frozen=True)
class TrainedForecaster:
    """The result of a training: the bundle, its quality, and the number of plates."""

    bundle: Path
    quality: ForecastQuality
    plates: int


@dataclass(frozen=True, eq=False)
class JointlyTrained(TrainedForecaster):
    """The result of a joint training: also the projection of the embedding."""

    projection: np.ndarray  # (dimension, embedding)


@dataclass(frozen=True)
class SplitPlates:
    """The Trajectories of a training, of untreated wells unless stated otherwise."""

    untreated: Sequence[Trajectories]  # of all plates
    training: Sequence[Trajectories]  # selected by ``data.trajectories``; they train the forecaster
    unselected: Sequence[Trajectories]  # of all training plates, before this selection
    validation: Sequence[Trajectories]
    of_all_groups: Sequence[Trajectories]  # all wells of the training plates, treated ones too

    def wells(self) -> int:
        """Return the number of wells that train the forecaster."""
        return sum(len(plate.wells) for plate in self.training)


def train_forecaster(
    config_file: Path | None, report: Callable[[str], None] = print, *, joint: bool = False
) -> TrainedForecaster:
    """Train a forecaster by a configuration file, write its bundle, return the TrainedForecaster.

    Parameters
    ----------
    config_file
        A TOML file; None for all defaults.
    report
        Called with lines of text about the progress.
    joint
        Also learn a projection of the embedding, and write that encoder to ``<out>-encoder``.

    Raises
    ------
    ConfigError
        If the configuration or the plates do not fit, the loss is not a finite number, or the
        checkpoint is of another training. An existing bundle is then unchanged.
    """
    config = load_forecaster_training_config(config_file)
    check_sources(config, joint=joint)
    fit = fit_joint_forecaster if joint else fit_forecaster
    return fit(load_plates(config, report), config, report)


def load_plates(
    config: ForecasterTrainingConfig, report: Callable[[str], None]
) -> list[Trajectories]:
    """Return the Trajectories of all plates that the configuration names, and report progress."""
    data = config.data
    plates = read_profile_trajectories(data.profiles)
    if data.store:
        plates += read_store_trajectories(
            data.store, load_bundle(data.encoder), data.representation
        )
    if data.virtual_plates:
        seeds = range(data.virtual_seed, data.virtual_seed + data.virtual_plates)
        plates += make_virtual_trajectories(
            seeds,
            data.virtual_days,
            data.encoder,
            data.representation,
            data.cache,
            jobs=config.run.jobs,
            report=report,
        )
    return plates


def fit_forecaster(
    plates: Sequence[Trajectories],
    config: ForecasterTrainingConfig,
    report: Callable[[str], None] = print,
) -> TrainedForecaster:
    """Train or continue a forecaster on plates, write its bundle and return the TrainedForecaster.

    Errors are those of :func:`train_forecaster`.
    """
    split = split_plates(plates, config, report)
    pretraining = config.pretraining
    directions = principal_directions(
        split.training if pretraining.objective == "none" else split.unselected,
        config.model.components,
    )
    model = TrajectoryForecaster(directions, config.model.hidden, config.model.body)
    if pretraining.objective != "none":
        pretrain(model, split, config, report)
        model.body.requires_grad_(not pretraining.frozen)
    loss = partial(deviation_loss, model, blocks=feature_blocks(split.training[0]))
    digest = _digest(split.untreated, config)
    module = ForecasterModule(model, loss, split.training, split.validation, config.run, digest)
    run_training(module, config.run, training_folder(config))
    quality = evaluate_forecaster(model, split.validation)
    write_forecaster(model, split.untreated, split.wells(), quality, config)
    return TrainedForecaster(config.run.out, quality, len(split.untreated))


def pretrain(
    model: TrajectoryForecaster,
    split: SplitPlates,
    config: ForecasterTrainingConfig,
    report: Callable[[str], None],
) -> None:
    """Train or continue the pretraining of a forecaster's body, which is then changed in place.

    The validation plates take no part, except that their loss ends the pretraining.

    Raises
    ------
    ConfigError
        If every plate has fewer days than :data:`FEWEST_DAYS`, or as :func:`train_forecaster`.
    """
    pretraining = config.pretraining
    plates = split.unselected
    if pretraining.treated:
        plates = wells_with_two_days(split.of_all_groups)
    if max(len(plate.days) for plate in plates) < FEWEST_DAYS:
        raise ConfigError(
            "pretraining.objective",
            f"is {pretraining.objective!r}, and no training plate has {FEWEST_DAYS} days; "
            "expected plates with more days, or 'none'",
        )
    report(
        f"pretraining with {pretraining.objective} on {sum(len(plate.wells) for plate in plates)} "
        f"wells of {len(plates)} plates"
        f"{', treated wells included' if pretraining.treated else ''}"
    )
    objective = OBJECTIVES[pretraining.objective](model, pretraining)
    run = config.run.model_copy(update={"epochs": pretraining.epochs})
    digest = _digest(plates, config)
    module = ForecasterModule(objective, objective.loss, plates, split.validation, run, digest)
    run_training(module, run, training_folder(config) / "pretraining")
    model.train()


def training_folder(config: ForecasterTrainingConfig) -> Path:
    """Return the folder of the checkpoints and curves of a training."""
    return config.run.out.with_name(f"{config.run.out.name}-training")


def fit_joint_forecaster(
    plates: Sequence[Trajectories],
    config: ForecasterTrainingConfig,
    report: Callable[[str], None] = print,
) -> JointlyTrained:
    """Train a forecaster with a projection, write both bundles and return the JointlyTrained.

    Errors are those of :func:`train_forecaster`.
    """
    split = split_plates(plates, config, report)
    untreated, training, validation = split.untreated, split.training, split.validation
    bundle, out = load_bundle(config.data.encoder), config.run.out
    width = untreated[0].embedding_dimension
    measures = len(untreated[0].feature_names) - width
    if untreated[0].encoder_id != bundle.card.encoder_id or not measures:
        raise ConfigError(
            "data",
            f"plates have {measures} measures and the embedding of {untreated[0].encoder_id!r}; "
            f"expected both, of {bundle.card.encoder_id}",
        )
    embedded = [
        replace(
            plate, features=plate.features[..., :width], feature_names=plate.feature_names[:width]
        )
        for plate in training
    ]
    start = initial_projection(embedded, principal_directions(embedded, config.model.components))
    model = JointForecaster(start, config.model.hidden, measures, config.model.body)

    def loss(example: ForecastExample) -> torch.Tensor:
        forecast_loss = deviation_loss(
            model.forecaster, model.project_example(example), blocks=(slice(0, len(start)),)
        )
        return forecast_loss + model.constraint_loss(example)

    digest = _digest(untreated, config) + "-joint"
    module = ForecasterModule(model, loss, training, validation, config.run, digest)
    run_training(module, config.run, training_folder(config))
    projection = model.projection.detach().numpy()
    card = write_projecting_encoder(
        bundle, projection, f"{config.model.name}-encoder", out.with_name(f"{out.name}-encoder")
    )
    projected, projected_validation = (
        [project_trajectories(plate, projection, card.encoder_id) for plate in each]
        for each in (untreated, validation)
    )
    quality = evaluate_forecaster(model.forecaster, projected_validation)
    write_forecaster(model.forecaster, projected, split.wells(), quality, config)
    return JointlyTrained(out, quality, len(untreated), projection)


def split_plates(
    plates: Sequence[Trajectories],
    config: ForecasterTrainingConfig,
    report: Callable[[str], None],
) -> SplitPlates:
    """Return the SplitPlates of plates, and seed the random numbers of the training."""
    untreated = untreated_only(plates)
    used = {plate.plate for plate in untreated}
    unused = sorted({plate.plate for plate in plates} - used)
    training, validation = split_trajectories_by_plate(
        untreated, config.data.validation_share, config.run.seed
    )
    report(
        f"{len(training)} training plates, {len(validation)} validation plates "
        f"({', '.join(plate.plate for plate in validation[:PLATES_NAMED])}"
        f"{', …' if len(validation) > PLATES_NAMED else ''}), "
        f"{sum(len(plate.wells) for plate in untreated)} untreated wells, "
        f"{len(untreated[0].feature_names)} features"
    )
    if unused:
        report(
            f"{len(unused)} plates left out, with fewer than {FEWEST_WELLS} untreated wells on two "
            f"days: {', '.join(unused[:PLATES_NAMED])}"
            f"{', …' if len(unused) > PLATES_NAMED else ''}"
        )
    selected = training
    if config.data.trajectories:
        selected = select_trajectories(training, config.data.trajectories, config.run.seed)
        report(
            f"the forecaster is trained on {sum(len(plate.wells) for plate in selected)} untreated "
            f"wells of {len(selected)} plates"
        )
    names, first = {plate.plate for plate in training}, training[0]
    of_all_groups = [
        plate
        for plate in plates
        if plate.plate in names
        and (plate.feature_names, plate.encoder_id) == (first.feature_names, first.encoder_id)
    ]
    lightning.seed_everything(config.run.seed, verbose=False)
    return SplitPlates(untreated, selected, training, validation, of_all_groups)


def _digest(plates: Sequence[Trajectories], config: ForecasterTrainingConfig) -> str:
    """Return the SHA-256 of everything that decides the weights, except the number of epochs."""
    settings = config.model_copy(
        update={"run": config.run.model_copy(update={"epochs": 1, "out": Path(), "jobs": 1})}
    )
    digest = hashlib.sha256(
        settings.model_dump_json(exclude={"data": {"cache", "profiles", "store"}}).encode()
    )
    for plate in plates:
        digest.update(
            repr(
                (plate.plate, plate.wells, plate.days, plate.feature_names, plate.encoder_id)
            ).encode()
        )
        digest.update(np.ascontiguousarray(plate.features).data)
    return digest.hexdigest()
