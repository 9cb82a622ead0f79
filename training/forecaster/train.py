"""Training of a forecaster on many plates: ``spherorank train forecaster --config F``.

Untreated wells (:mod:`training.forecaster.trajectories`) → a GRU (:mod:`training.forecaster.model`)
that predicts each well from its earlier days, until validation plates are predicted no better →
ONNX, compared with torch → a bundle for
:class:`inference.departure.sequence_model.OnnxSequenceModel`. The same command continues a stopped
training.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

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
    ForecastExamples,
    all_examples,
    split_trajectories_by_plate,
)
from training.forecaster.export import ForecastQuality, write_forecaster
from training.forecaster.joint import (
    JointForecaster,
    initial_projection,
    project_trajectories,
    write_projecting_encoder,
)
from training.forecaster.model import GruForecaster
from training.forecaster.trajectories import (
    FEWEST_WELLS,
    make_virtual_trajectories,
    read_profile_trajectories,
    read_store_trajectories,
    untreated_only,
)
from training.progress import Advance, show_progress

LAST, BEST = "last.ckpt", "best.ckpt"
PLATES_NAMED = 5
"""Number of plates that are named in a line of text."""
GRADIENT_NORM = 1.0  # norm to which longer gradients are clipped


@dataclass(frozen=True)
class TrainedForecaster:
    """The result of a training: the bundle, its quality, and the number of plates."""

    bundle: Path
    quality: ForecastQuality
    plates: int


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
    untreated, training, validation = _split_untreated(plates, config, report)
    directions = principal_directions(training, config.model.components)
    model = GruForecaster(directions, config.model.hidden)
    loss = partial(deviation_loss, model, blocks=feature_blocks(training[0]))
    digest = _digest(untreated, config)
    _run_training(ForecasterModule(model, loss, training, validation, config, digest), config)
    quality = evaluate_forecaster(model, validation)
    write_forecaster(model, untreated, quality, config, config.run.out)
    return TrainedForecaster(config.run.out, quality, len(untreated))


def fit_joint_forecaster(
    plates: Sequence[Trajectories],
    config: ForecasterTrainingConfig,
    report: Callable[[str], None] = print,
) -> TrainedForecaster:
    """Train a forecaster with a projection, write both bundles and return the TrainedForecaster.

    Errors are those of :func:`train_forecaster`.
    """
    untreated, training, validation = _split_untreated(plates, config, report)
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
    model = JointForecaster(start, config.model.hidden, measures)

    def loss(example: ForecastExample) -> torch.Tensor:
        forecast_loss = deviation_loss(
            model.forecaster, model.project_example(example), blocks=(slice(0, len(start)),)
        )
        return forecast_loss + model.constraint_loss(example)

    digest = _digest(untreated, config) + "-joint"
    _run_training(ForecasterModule(model, loss, training, validation, config, digest), config)
    projection = model.projection.detach().numpy()
    card = write_projecting_encoder(
        bundle, projection, f"{config.model.name}-encoder", out.with_name(f"{out.name}-encoder")
    )
    projected, projected_validation = (
        [project_trajectories(plate, projection, card.encoder_id) for plate in each]
        for each in (untreated, validation)
    )
    quality = evaluate_forecaster(model.forecaster, projected_validation)
    write_forecaster(model.forecaster, projected, quality, config, out)
    return TrainedForecaster(out, quality, len(untreated))


def _split_untreated(
    plates: Sequence[Trajectories],
    config: ForecasterTrainingConfig,
    report: Callable[[str], None],
) -> tuple[list[Trajectories], list[Trajectories], list[Trajectories]]:
    """Return the untreated wells of all plates, of training plates and of validation plates.

    Also seeds the random numbers of the training.
    """
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
    lightning.seed_everything(config.run.seed, verbose=False)
    return untreated, training, validation


class ForecasterModule(lightning.LightningModule):  # type: ignore[misc] # lightning is not typed here
    """A forecaster with its optimiser, its training examples and its validation examples.

    Parameters
    ----------
    digest
        Digest of plates and settings, which every checkpoint carries.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[[ForecastExample], torch.Tensor],
        training: Sequence[Trajectories],
        validation: Sequence[Trajectories],
        config: ForecasterTrainingConfig,
        digest: str,
    ) -> None:
        super().__init__()
        self.model, self.digest = model, digest
        self._loss, self._run, self._plates = loss, config.run, training
        self._validation = list(all_examples(validation))

    def train_dataloader(self) -> DataLoader[ForecastExample]:
        """Return a loader of the random examples of this epoch."""
        examples = ForecastExamples(
            self._plates, self._run.seed, self.current_epoch, self._run.views, self._run.missing
        )
        return DataLoader(examples, batch_size=None)

    def val_dataloader(self) -> DataLoader[ForecastExample]:
        """Return a loader of all examples of the validation plates."""
        return DataLoader(self._validation, batch_size=None)

    def training_step(self, example: ForecastExample, _place: int) -> torch.Tensor:
        """Return the scalar loss of an example.

        Raises
        ------
        ConfigError
            If the loss is not a finite number.
        """
        loss = self._loss(example)
        if not torch.isfinite(loss):
            raise ConfigError(
                "run.learning_rate",
                f"is {self._run.learning_rate}, and the loss became {loss.item()}; "
                "expected a lower rate",
            )
        self.log("loss", loss, batch_size=1, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, example: ForecastExample, _place: int) -> None:
        """Log the loss of a validation example."""
        self.log("validation", self._loss(example), batch_size=1, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the AdamW optimiser of all weights."""
        return torch.optim.AdamW(
            self.parameters(), lr=self._run.learning_rate, weight_decay=self._run.weight_decay
        )

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the digest of plates and settings to a checkpoint."""
        checkpoint["run"] = self.digest


def _run_training(module: ForecasterModule, config: ForecasterTrainingConfig) -> None:
    """Train until the end, from the newest checkpoint if there is one, and load the best weights.

    The module is then in evaluation mode on the CPU. A training that has ended is not repeated.
    """
    folder = config.run.out.with_name(f"{config.run.out.name}-training")
    last = folder / LAST
    if not last.exists() or not _has_ended(
        torch.load(last, map_location="cpu", weights_only=True), module.digest, config, last
    ):
        for name in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints about few workers and rare logging
            with show_progress("epochs at most", config.run.epochs) as advance:
                _make_trainer(config, folder, advance).fit(
                    module, ckpt_path=last if last.exists() else None
                )
    module.load_state_dict(
        torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
    )
    module.cpu().eval()


class EpochProgress(lightning.Callback):  # type: ignore[misc] # lightning is not typed here
    """Callback that reports each epoch with its validation loss."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def on_validation_end(
        self, trainer: lightning.Trainer, _module: lightning.LightningModule
    ) -> None:
        """Report the number of epochs that are done."""
        loss = float(trainer.callback_metrics.get("validation", float("nan")))
        self._advance(trainer.current_epoch + 1, f"validation loss {loss:.4f}")


def _make_trainer(
    config: ForecasterTrainingConfig, folder: Path, advance: Advance
) -> lightning.Trainer:
    run = config.run
    best = ModelCheckpoint(folder, "best", monitor="validation", enable_version_counter=False)
    newest = ModelCheckpoint(folder, "last", enable_version_counter=False)
    stopping = EarlyStopping("validation", patience=run.patience, check_finite=False)
    return lightning.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.nodes,
        precision=run.precision,
        max_epochs=run.epochs,
        accumulate_grad_batches=run.plates_at_once,
        gradient_clip_val=GRADIENT_NORM,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[best, newest, stopping, EpochProgress(advance)],
        logger=TensorBoardLogger(folder, name="", version="curves"),
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )


def _has_ended(
    checkpoint: dict[str, object], digest: str, config: ForecasterTrainingConfig, where: Path
) -> bool:
    """Return whether the training of a checkpoint has stopped early or done all its epochs.

    Raises
    ------
    ConfigError
        If the checkpoint is of a training with other plates or settings.
    """
    if checkpoint.get("run") != digest:
        raise ConfigError(
            where,
            "is of a training with other plates or settings; expected the same: "
            "set another run.out, or remove the folder",
        )
    callbacks = checkpoint.get("callbacks", {})
    stopped = (
        any(state.get("stopped_epoch", 0) for state in callbacks.values())
        if isinstance(callbacks, dict)
        else False
    )
    epoch = checkpoint.get("epoch", 0)
    return stopped or (isinstance(epoch, int) and epoch + 1 >= config.run.epochs)


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
