"""Optimisation of a forecaster with early stopping, from checkpoints that a stop leaves behind.

Training and pretraining use it (:mod:`training.forecaster.train`).
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from training.forecaster.config import ForecasterRunSection
from training.forecaster.examples import ForecastExample, ForecastExamples, all_examples
from training.progress import Advance, show_progress

LAST, BEST = "last.ckpt", "best.ckpt"
GRADIENT_NORM = 1.0  # norm to which longer gradients are clipped


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
        run: ForecasterRunSection,
        digest: str,
    ) -> None:
        super().__init__()
        self.model, self.digest = model, digest
        self._loss, self._run, self._plates = loss, run, training
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


def run_training(module: ForecasterModule, run: ForecasterRunSection, folder: Path) -> None:
    """Train until the end, from the newest checkpoint if there is one, and load the best weights.

    The module is then in evaluation mode on the CPU. A training that has ended is not repeated.

    Parameters
    ----------
    folder
        Folder of the checkpoints and curves.

    Raises
    ------
    ConfigError
        If the loss is not a finite number, or the checkpoint is of another training.
    """
    last = folder / LAST
    if not last.exists() or not _has_ended(
        torch.load(last, map_location="cpu", weights_only=True), module.digest, run.epochs, last
    ):
        for name in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints about few workers and rare logging
            with show_progress("epochs at most", run.epochs) as advance:
                _make_trainer(run, folder, advance).fit(
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


def _make_trainer(run: ForecasterRunSection, folder: Path, advance: Advance) -> lightning.Trainer:
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


def _has_ended(checkpoint: dict[str, object], digest: str, epochs: int, where: Path) -> bool:
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
    return stopped or (isinstance(epoch, int) and epoch + 1 >= epochs)
