"""One training of an encoder, from images to a bundle, told from top to bottom: ``spherorank train ssl --config train.toml --out DIR``.

Images → plates that are learned from and plates that are held out → backbone and objective → steps → a look at held-out plates → bundle.
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from schemas.errors import ConfigError, OutputError
from training.data.archive import Archive
from training.data.batches import BatchPlan, DayPairs, MeasureScale
from training.data.sources import from_archive, from_store, from_virtual, split_by_plate
from training.data.virtual_plates import VirtualWells
from training.data.well_views import Cropping, WellViews
from training.encoder.backbones import (
    check_export_size,
    choose_what_learns,
    levels_in,
    make_backbone,
    normalisation_of,
)
from training.encoder.config import DataSection, TrainingConfig
from training.encoder.export import write_bundle
from training.encoder.frozen_features import Seen, frozen_features
from training.encoder.learner import Embedding, Learner, Position, RunKeeper
from training.encoder.model_card import describe
from training.encoder.validation import Validation, clean_pixels, validate
from training.objectives.base import Objective
from training.objectives.registry import make_objective
from training.run_files import TENSORBOARD, RunFolder

SETTLING_IMAGES = 512
"""Images to learn from whose features say what is usual, before anything is learned."""
LEARN_FROM_FEATURES = frozenset(
    {"measures", "simclr", "vicreg", "supcon", "triplet", "time_aware", "soft_ntxent"}
)
"""Objectives that see images through the backbone only, and have no teacher with one of its own."""
REFERENCE_IMAGES = 128
"""Held-out images on which collapse is looked for."""


class Outcome(StrEnum):
    """How a training ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # by a signal; the checkpoint is written


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    outcome: Outcome
    steps: int
    bundle: Path | None = None  # None where it was stopped, and in all processes but the first
    parity: float | None = None  # largest difference between torch and onnxruntime
    validation: Validation | None = None

    @property
    def summary(self) -> str:
        """One line for people."""
        seen = self.validation
        if seen is None:
            return f"{self.outcome} after {self.steps} steps"
        r2 = "" if seen.measures_r2 is None else f", R² of the hand measures {seen.measures_r2:.2f}"
        held_out = f"held out: effective rank {seen.rank:.1f}, spread {seen.spread:.3f}{r2}"
        return f"{self.bundle}: {self.steps} steps; {held_out}; torch and onnxruntime differ by {self.parity:.1e}"


def train_encoder(config: TrainingConfig, out: Path) -> Trained:
    """Train from where ``out`` was left, or from the start, and write the bundle.

    Raises
    ------
    ConfigError
        If the configuration, the images or a checkpoint that lies there do not fit, or the loss is no longer a number.
    CollapseError
        If all images come to look alike to the network.
    OutputError
        If a file cannot be read or written, as on a full disk; the newest checkpoint stays.
    """
    try:
        return _train(config, out)
    except OSError as error:
        expected = "expected images that can be read, and free space in --out and data.cache; the same command then goes on from the newest checkpoint"
        raise OutputError(
            error.filename or out, f"cannot be read or written ({error.strerror}); {expected}"
        ) from error


def _train(config: TrainingConfig, out: Path) -> Trained:
    run, model = config.run, config.model
    pl.seed_everything(run.seed, verbose=False)
    if run.threads:
        torch.set_num_threads(run.threads)

    # The network first: a wrong name should not wait for the images.
    check_export_size(model.backbone, model.input_size, model.export_size)
    backbone, dimension = make_backbone(
        model.backbone, model.weights, model.channels, model.input_size, model.pooling
    )
    choose_what_learns(backbone, model.last_blocks)
    backbone.to(memory_format=torch.channels_last)  # a third less time on the CPU
    objective = make_objective(config.objective.name, backbone, dimension, config.objective)
    folder = RunFolder(out)
    done = folder.open(config)
    start = Position(*folder.read_checkpoint()["position"]) if done else Position(0, 0)

    # Images. A plate is learned from or held out, never both.
    training, held_out = split_by_plate(
        read_views(config.data), config.data.validation_share, run.seed
    )
    plan = plan_of(config, objective, training)
    reference = clean_pixels(held_out, plan, REFERENCE_IMAGES)
    if (levels := levels_in(backbone)) is not None:
        levels.settle(clean_pixels(training, plan, SETTLING_IMAGES))
    if run.kept_views:
        plan, reference = keep_features(config, objective, plan, training, reference)

    # Steps.
    learner = Learner(objective, config, training, plan, start)
    with quiet_lightning(), progress() as bar:
        task = bar.add_task("steps", total=run.steps, completed=done)
        tell = partial(_show, bar, task)
        keeper = RunKeeper(folder, reference, tell)
        trainer = make_trainer(config, folder, keeper, done)
        if done < run.steps:
            trainer.fit(learner, ckpt_path=folder.checkpoint if done else None, weights_only=True)
        else:
            learner.load_state_dict(folder.read_checkpoint()["state_dict"])
    if keeper.was_stopped:
        return Trained(Outcome.STOPPED, trainer.global_step)
    if not trainer.is_global_zero:
        return Trained(Outcome.FINISHED, run.steps)

    # What it is worth on plates it never saw, and the bundle.
    objective.backbone = backbone
    objective.to("cpu").eval()
    validation = validate(objective, held_out, plan)
    parity = write_bundle(
        Embedding(objective), describe(config, plan, training, validation), folder.bundle
    )
    return Trained(Outcome.FINISHED, run.steps, folder.bundle, parity, validation)


def read_views(data: DataSection, cropping: Cropping | None = None) -> list[WellViews]:
    """Return every plate of every source, cropped into the cache at the first time, as ``data`` says or as the cropping given.

    Raises
    ------
    ConfigError
        If there is no source, or one of them has no usable image.
    """
    if not data.archives and not data.virtual_plates:
        raise ConfigError(
            "data", "has no images; expected tables [[data.archives]], or virtual_plates"
        )
    cropping = cropping or Cropping(data.crop_px, data.field_um, data.background, data.planes)
    views: list[WellViews] = []
    for section in data.archives:
        archive = Archive(
            section.folder, section.pattern, section.bits, section.field, section.um_per_px
        )
        stored = section.store
        found = (
            from_store(stored, archive, data.cache, cropping=cropping)
            if stored
            else from_archive(archive, data.cache, cropping=cropping)
        )
        views += [replace(plate, repeat=section.repeat) for plate in found]
    if data.virtual_plates:
        seeds = range(data.virtual_seed, data.virtual_seed + data.virtual_plates)
        with progress() as bar:
            task = bar.add_task("virtual plates", total=len(seeds))
            wells = VirtualWells(data.virtual_wells)
            views += from_virtual(
                seeds,
                data.cache,
                cropping=cropping,
                wells=wells,
                jobs=data.jobs,
                progress=lambda done, _total: bar.update(task, completed=done),
            )
    return views


def plan_of(
    config: TrainingConfig, objective: Objective, training: Sequence[WellViews]
) -> BatchPlan:
    """Return what a batch is made of: what the objective needs, and the normalisation that the backbone's weights were made with."""
    needs, wished = objective.needs, config.objective.within_plate
    pairs = (
        DayPairs.UNTREATED
        if needs.untreated_pairs
        else DayPairs.SINCE_DOSING
        if needs.day_pairs
        else DayPairs.NONE
    )
    mean, std = normalisation_of(config.model.backbone)
    return BatchPlan(
        scale=MeasureScale.of(training),
        size=config.run.batch,
        side_px=config.model.input_size,
        mean=mean,
        std=std,
        augment_first=config.augment.first,
        augment_second=config.augment.second,
        mask_background=config.augment.mask_background,
        within_plate=needs.within_plate if wished is None else wished,
        day_pairs=pairs,
        label=config.objective.label,
    )


def keep_features(
    config: TrainingConfig,
    objective: Objective,
    plan: BatchPlan,
    training: Sequence[WellViews],
    reference: Tensor,
) -> tuple[BatchPlan, Tensor]:
    """Let the backbone, which does not learn, see every image a few times now and never again; the objective then learns from its features.

    Raises
    ------
    ConfigError
        If the backbone learns, the objective needs its pixels, or the two views are made in different ways.
    """
    run, model = config.run, config.model
    if model.last_blocks != 0 or model.frozen_steps:
        raise ConfigError(
            "run.kept_views",
            f"is {run.kept_views}, and the backbone learns; expected model.last_blocks = 0, or 0 kept views",
        )
    if objective.name not in LEARN_FROM_FEATURES:
        raise ConfigError(
            "run.kept_views",
            f"is {run.kept_views}, and {objective.name} needs pixels; expected 0, or one of {', '.join(sorted(LEARN_FROM_FEATURES))}",
        )
    augmented = config.augment
    if augmented.first != augmented.second or augmented.mask_background:
        told = f"has first = {augmented.first!r}, second = {augmented.second!r}, mask_background = {augmented.mask_background}"
        raise ConfigError(
            "augment",
            f"{told}, and features are kept of one preset without a mask; expected first = second and 0, or run.kept_views = 0",
        )
    how = Seen(augmented.first, run.kept_views, plan.side_px, plan.mean, plan.std, run.seed)
    with progress() as bar:
        task = bar.add_task("plates seen", total=len(training))
        kept = frozen_features(
            training,
            objective.backbone,
            how,
            config.data.cache,
            progress=lambda done, _total: bar.update(task, completed=done),
        )
    with torch.no_grad():
        seen = torch.cat([objective.backbone.eval()(part) for part in reference.split(32)])
    objective.backbone = nn.Identity()
    return replace(plan, kept=tuple(kept)), seen


def make_trainer(
    config: TrainingConfig, folder: RunFolder, keeper: RunKeeper, done: int
) -> pl.Trainer:
    """Return Lightning's trainer for this machine, or for each of several; the same command is started on every node.

    Raises
    ------
    ConfigError
        If this machine has not what ``[run]`` asks for.
    """
    try:
        return _make_trainer(config, folder, keeper, done)
    except (MisconfigurationException, ValueError) as error:
        run = config.run
        asked = f"accelerator = {run.accelerator!r}, devices = {run.devices}, precision = {run.precision!r}"
        raise ConfigError(
            "run",
            f"has {asked}, which this machine does not do: {error}; expected what it has, or 'auto'",
        ) from error


def _make_trainer(
    config: TrainingConfig, folder: RunFolder, keeper: RunKeeper, done: int
) -> pl.Trainer:
    run = config.run
    return pl.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.nodes,
        strategy="ddp" if run.devices * run.nodes > 1 else "auto",
        precision=run.precision,
        max_steps=run.steps,
        gradient_clip_val=run.gradient_norm,
        callbacks=[keeper],
        logger=TensorBoardLogger(
            folder.path, name="", version=TENSORBOARD, purge_step=done or None
        ),
        log_every_n_steps=10,
        enable_checkpointing=False,  # the keeper's are written aside
        enable_progress_bar=False,  # ours counts the steps of the whole run
        enable_model_summary=False,
        use_distributed_sampler=False,  # each process makes its part of a batch by itself
    )


def progress() -> Progress:
    """Return a bar for a terminal; a pipe gets nothing."""
    return Progress(disable=not sys.stdout.isatty())


def _show(bar: Progress, task: TaskID, done: int, loss: float) -> None:
    bar.update(task, completed=done, description=f"loss {loss:.4f}")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice about loaders and hardware from the terminal; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch)\b.*")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
