"""Training of an encoder, from images to a bundle: ``spherorank train ssl --config F --out DIR``.

Crops of training and validation plates → backbone and objective → training steps → validation →
bundle.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from schemas.encoder_bundle import describe_ranking_weight
from schemas.errors import ConfigError, OutputError
from training.data.crops import LeftOutImage
from training.data.sources import split_crops
from training.encoder.backbones import (
    check_export_size,
    check_small_crops,
    find_multi_level,
    freeze_early_blocks,
    make_backbone,
)
from training.encoder.config import EncoderTrainingConfig
from training.encoder.data_summary import describe_data
from training.encoder.export import write_bundle
from training.encoder.learner import BatchPosition, ExportedEncoder, Learner, RunRecorder
from training.encoder.load_data import load_crops
from training.encoder.model_card import describe_bundle
from training.encoder.signal import check_signal
from training.encoder.training_data import make_batch_plan, replace_pixels_with_features
from training.encoder.validation import Validation, sample_clean_images, validate_encoder
from training.objectives.base import Objective
from training.objectives.registry import make_objective
from training.progress import show_progress
from training.run_files import TENSORBOARD, RunFolder

STANDARDISATION_IMAGES = 512
"""Number of training images from which multi-level features are standardised."""
REFERENCE_IMAGES = 128
"""Number of validation images on which collapse is checked during the training."""


class TrainingStatus(StrEnum):
    """The end of a training: finished, or stopped by a signal with its checkpoint written."""

    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True)
class TrainedEncoder:
    """The result of a training: its status, and the bundle with its validation."""

    status: TrainingStatus
    steps: int
    bundle: Path | None = None  # None if stopped, and in all processes except the first
    parity: float | None = None  # largest difference between torch and onnxruntime
    validation: Validation | None = None
    ranking: str = ""  # the ranking weight of the bundle and its meaning

    @property
    def summary(self) -> str:
        """The result as lines for the terminal."""
        result = self.validation
        if result is None:
            return f"{self.status} after {self.steps} steps"
        r2 = (
            ""
            if result.measures_r2 is None
            else f", R² of the tissue measures {result.measures_r2:.2f}"
        )
        return (
            f"{self.bundle}: {self.steps} steps; validation: effective rank "
            f"{result.rank:.1f}, spread {result.spread:.3f}{r2}; "
            f"torch and onnxruntime differ by {self.parity:.1e}\n{self.ranking}"
        )


def train_encoder(
    config: EncoderTrainingConfig, out: Path, report: Callable[[str], None] = print
) -> TrainedEncoder:
    """Train an encoder, or continue in ``out``, write its bundle and return the TrainedEncoder.

    Parameters
    ----------
    report
        Called before the first step with lines of text that describe the data.

    Raises
    ------
    ConfigError
        If the configuration, the images or a checkpoint in ``out`` do not fit, the images give the
        objective no signal, or the loss is not a finite number.
    CollapseError
        If the embeddings of all images become nearly equal.
    OutputError
        If a file cannot be read or written, as on a full disk; the newest checkpoint is kept.
    """
    try:
        return _train(config, out, report)
    except OSError as error:
        raise OutputError(
            error.filename or out,
            f"cannot be read or written ({error.strerror}); expected images that can be read, and "
            "free space in --out and data.cache; the same command then continues from the newest "
            "checkpoint",
        ) from error


def _train(
    config: EncoderTrainingConfig, out: Path, report: Callable[[str], None]
) -> TrainedEncoder:
    run = config.run
    pl.seed_everything(run.seed, verbose=False)
    if run.threads:
        torch.set_num_threads(run.threads)

    # The network is made before the images are read, so that a wrong name is reported at once.
    objective = _make_objective(config)
    backbone = objective.backbone
    folder = RunFolder(out)
    done = folder.open(config)
    start = BatchPosition(*folder.read_checkpoint()["position"]) if done else BatchPosition(0, 0)

    left_out: list[LeftOutImage] = []
    needed = objective.needs.record
    with_assays = needed is not None and needed.assay
    plates = load_crops(config.data, record=left_out.append, assays=with_assays)
    split = split_crops(plates, config.data.validation_share, run.seed)
    training, validation_plates = split.training, split.validation
    plan = make_batch_plan(config, objective, training)
    if rank_zero_only.rank == 0:
        for line in describe_data(plates, split, left_out, plan, objective.needs):
            report(line)
    check_signal(config.objective.name, objective.needs, training, plan)
    reference = sample_clean_images(validation_plates, plan, REFERENCE_IMAGES)
    if (multi_level := find_multi_level(backbone)) is not None:
        multi_level.fit_standardisation(sample_clean_images(training, plan, STANDARDISATION_IMAGES))
    if run.kept_views:
        plan, reference = replace_pixels_with_features(config, objective, plan, training, reference)

    learner = Learner(objective, config, training, plan, start)
    with quiet_lightning(), show_progress("steps", run.steps, done) as advance:
        recorder = RunRecorder(
            folder, reference, lambda step, loss: advance(step, f"loss {loss:.4f}")
        )
        trainer = make_trainer(config, folder, recorder, done)
        if done < run.steps:
            trainer.fit(learner, ckpt_path=folder.checkpoint if done else None, weights_only=True)
        else:
            learner.load_state_dict(folder.read_checkpoint()["state_dict"])
    if recorder.was_stopped:
        return TrainedEncoder(TrainingStatus.STOPPED, trainer.global_step)
    if not trainer.is_global_zero:
        return TrainedEncoder(TrainingStatus.FINISHED, run.steps)

    objective.backbone = backbone
    objective.to("cpu").eval()
    validation = validate_encoder(objective, validation_plates, plan)
    description = describe_bundle(config, plan, split, validation)
    parity = write_bundle(ExportedEncoder(objective), description, folder.bundle)
    return TrainedEncoder(
        TrainingStatus.FINISHED,
        run.steps,
        folder.bundle,
        parity,
        validation,
        describe_ranking_weight(config.model.ranking_weight),
    )


def _make_objective(config: EncoderTrainingConfig) -> Objective:
    """Return the objective with its backbone, of which only the configured blocks are trained."""
    model = config.model
    check_export_size(model.backbone, model.input_size, model.export_size)
    check_small_crops(model.backbone, config.objective.local_crops)
    backbone, dimension = make_backbone(
        model.backbone, model.weights, model.channels, model.input_size, model.pooling
    )
    freeze_early_blocks(backbone, model.last_blocks)
    backbone.to(memory_format=torch.channels_last)  # a third less time on the CPU
    return make_objective(config.objective.name, backbone, dimension, config.objective)


def make_trainer(
    config: EncoderTrainingConfig, folder: RunFolder, recorder: RunRecorder, done: int
) -> pl.Trainer:
    """Return Lightning's Trainer for a configuration, run folder and recorder after ``done`` steps.

    Parameters
    ----------
    done
        Number of steps that a checkpoint has already done.

    Raises
    ------
    ConfigError
        If this machine does not have the devices or the precision.
    """
    run = config.run
    try:
        return pl.Trainer(
            accelerator=run.accelerator,
            devices=run.devices,
            num_nodes=run.nodes,
            strategy="ddp" if run.devices * run.nodes > 1 else "auto",
            precision=run.precision,
            max_steps=run.steps,
            gradient_clip_val=run.gradient_norm,
            callbacks=[recorder],
            logger=TensorBoardLogger(
                folder.path, name="", version=TENSORBOARD, purge_step=done or None
            ),
            log_every_n_steps=10,
            enable_checkpointing=False,  # the recorder replaces the checkpoint file atomically
            enable_progress_bar=False,  # the own bar counts the steps before a resume too
            enable_model_summary=False,
            use_distributed_sampler=False,  # each process makes its own part of a batch
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            "run",
            f"has accelerator = {run.accelerator!r}, devices = {run.devices}, "
            f"precision = {run.precision!r}, which this machine does not support: {error}; "
            "expected available devices, or 'auto'",
        ) from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Context manager that hides Lightning's hints about data loaders and hardware.

    Errors are still shown.
    """
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch)\b.*")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
