"""Lightning module and callback of an encoder training: batches, loss, rates and checkpoints."""

import itertools
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from schemas.errors import ConfigError
from training.data.batch_plan import Batch, BatchPlan
from training.data.batches import batches
from training.data.crops import PlateCrops
from training.encoder import collapse
from training.encoder.backbones import fix_batch_norm
from training.encoder.config import EncoderTrainingConfig
from training.objectives.base import Objective
from training.run_files import RunFolder

_SEED_STRIDE = 1_000_003  # more than the steps of a run, so that no two seeds share random numbers


class BatchPosition(NamedTuple):
    """The epoch and the number of the next batch."""

    epoch: int
    batch: int


@dataclass(frozen=True, eq=False)
class PositionedBatch:
    """A batch, and the position of the batch after it."""

    batch: Batch
    after: BatchPosition


class BatchStream(IterableDataset):  # type: ignore[misc] # torch is not typed here
    """An endless stream of batches from a position on, the same for the same seed."""

    def __init__(
        self, plates: Sequence[PlateCrops], plan: BatchPlan, seed: int, start: BatchPosition
    ) -> None:
        self._plates, self._plan, self._seed, self._start = plates, plan, seed, start

    def __iter__(self) -> Iterator[PositionedBatch]:
        """Yield the batches of one epoch after the other."""
        skipped = self._start.batch
        for epoch in itertools.count(self._start.epoch):
            for index, batch in enumerate(
                batches(self._plates, self._plan, self._seed, epoch, skipped), skipped
            ):
                yield PositionedBatch(batch, BatchPosition(epoch, index + 1))
            skipped = 0


def batch_on_device(batch: Batch, device: torch.device) -> Batch:
    """Return a copy of the batch with all its tensors, also those of its later day, on a device."""
    moved = {
        name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    return replace(
        batch,
        **moved,
        later=batch_on_device(batch.later, device) if batch.later is not None else None,
    )


class Learner(pl.LightningModule):  # type: ignore[misc] # pytorch-lightning is not typed here
    """An objective with AdamW, a warm-up, a cosine schedule, and a lower rate for the backbone."""

    def __init__(
        self,
        objective: Objective,
        config: EncoderTrainingConfig,
        plates: Sequence[PlateCrops],
        plan: BatchPlan,
        start: BatchPosition,
    ) -> None:
        super().__init__()
        self.objective, self.config, self.position = objective, config, start
        self.plates, self.plan = plates, plan
        self.last_loss = self.last_rate = math.nan

    def train_dataloader(self) -> DataLoader:
        """Return a loader of this process's part of every batch, from the current position on."""
        plan = replace(self.plan, rank=self.global_rank, world_size=self.trainer.world_size)
        return DataLoader(
            BatchStream(self.plates, plan, self.config.run.seed, self.position), batch_size=None
        )

    def training_step(self, step: PositionedBatch, _index: int) -> Tensor:
        """Return the loss to minimise, a scalar, of one positioned batch.

        Raises
        ------
        ConfigError
            If the loss is not a finite number in any process.
        """
        self.last_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        losses = self.objective.loss(step.batch)
        self.last_loss = float(
            self.trainer.strategy.reduce(losses["loss"].detach().clone(), reduce_op="mean")
        )
        if not math.isfinite(self.last_loss):
            run = self.config.run
            raise ConfigError(
                "run.rate",
                f"is {run.rate:g} with precision {run.precision}, and the loss of step "
                f"{self.global_step} is {self.last_loss}; expected a lower rate",
            )
        self.position = step.after
        self.log_dict({f"loss/{name}": value.detach() for name, value in losses.items()})
        return losses["loss"]

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the AdamW optimiser and its schedule as a dictionary for Lightning.

        The rate of the backbone is 0 for the first ``model.frozen_steps``.
        """
        run, model = self.config.run, self.config.model
        body = [
            parameter
            for parameter in self.objective.backbone.parameters()
            if parameter.requires_grad
        ]
        in_body = {id(parameter) for parameter in body}
        head = [
            parameter
            for parameter in self.objective.parameters()
            if parameter.requires_grad and id(parameter) not in in_body
        ]
        groups = [
            {"params": head, "lr": run.rate},
            {"params": body, "lr": run.rate * model.body_rate},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=run.weight_decay)

        def schedule(step: int) -> float:
            return min(
                (step + 1) / max(run.warm_up_steps, 1),
                0.5 + 0.5 * math.cos(math.pi * min(step / run.steps, 1)),
            )

        rates: list[Callable[[int], float]] = [
            schedule,
            lambda step: 0.0 if step < model.frozen_steps else schedule(step),
        ]
        return {
            "optimizer": optimiser,
            "lr_scheduler": {
                "scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, rates),
                "interval": "step",
            },
        }

    def train(self, mode: bool = True) -> "Learner":  # noqa: FBT001, FBT002 - torch's signature
        """Switch training mode on or off, keep BatchNorm fixed if configured, and return self."""
        super().train(mode)
        if self.config.model.fixed_batch_norm:
            fix_batch_norm(self.objective)
        return self

    def transfer_batch_to_device(
        self, step: PositionedBatch, device: torch.device, _loader: int
    ) -> PositionedBatch:
        """Return a copy of the positioned batch on the device."""
        return replace(step, batch=batch_on_device(step.batch, device))

    def on_train_batch_start(self, _batch: PositionedBatch, _index: int) -> None:
        """Seed the random numbers of this step, so that a resumed training repeats them."""
        torch.manual_seed(
            (self.config.run.seed * _SEED_STRIDE + self.global_step) * self.trainer.world_size
            + self.global_rank
        )

    def on_train_batch_end(self, _outputs: object, _batch: PositionedBatch, _index: int) -> None:
        """Update the teacher network, if the objective has one."""
        self.objective.after_step(self.global_step / self.config.run.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration, the batch position and the vocabulary to a checkpoint."""
        checkpoint["config"] = self.config.model_dump_json()
        checkpoint["position"] = tuple(self.position)
        checkpoint["vocabulary"] = self._vocabulary

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise ConfigError if the words of the records have other numbers than in a checkpoint."""
        if checkpoint.get("vocabulary", []) != self._vocabulary:
            raise ConfigError(
                "data",
                "has other records than when the checkpoint was made, so the words have other "
                "numbers; expected the same images, plate maps and assays, or another --out",
            )

    @property
    def _vocabulary(self) -> list[str]:
        return list(self.plan.records.vocabulary) if self.plan.records else []


class RunRecorder(pl.Callback):  # type: ignore[misc] # pytorch-lightning is not typed here
    """Callback that writes curve and checkpoints, checks for collapse, and stops at a signal.

    Parameters
    ----------
    folder
        Where curve and checkpoint are written.
    reference
        Clean validation images, (n, 3, side, side), or their features; collapse is checked on them.
    report_step
        Called after each step with the number of steps done and the loss.
    """

    def __init__(
        self, folder: RunFolder, reference: Tensor, report_step: Callable[[int, float], None]
    ) -> None:
        self.folder, self.reference, self.report_step = folder, reference, report_step
        self.was_stopped = False
        self._signals: list[int] = []
        self._previous_handlers: dict[int, Any] = {}

    def on_train_start(self, _trainer: pl.Trainer, learner: Learner) -> None:
        """Install signal handlers that only set a flag; Lightning's would not save a checkpoint."""

        def set_flag(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)

        self._previous_handlers = {
            number: signal.signal(number, set_flag) for number in (signal.SIGTERM, signal.SIGINT)
        }
        learner.train()  # Lightning called train() before BatchNorm was fixed

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        learner: Learner,
        _outputs: object,
        _batch: PositionedBatch,
        _index: int,
    ) -> None:
        """Record a step, and save a checkpoint when it is due or a signal has arrived.

        ``trainer.global_step`` already includes this step.
        """
        run, done = learner.config.run, trainer.global_step
        found = (
            self._check_collapse(trainer, learner) if done % run.check_every_steps == 0 else None
        )
        if trainer.is_global_zero:
            self.folder.add_to_curve(
                {
                    "step": done - 1,
                    "loss": learner.last_loss,
                    "rate": learner.last_rate,
                    "rank": found.rank if found else None,
                    "spread": found.spread if found else None,
                }
            )
            self.report_step(done, learner.last_loss)
        stop = bool(trainer.strategy.reduce_boolean_decision(bool(self._signals), all=False))
        if stop or done % run.save_every_steps == 0 or done >= run.steps:
            self._save_checkpoint(trainer)
        if stop and done < run.steps:
            self.was_stopped = trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, pl_module: Learner, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Restore the previous signal handlers."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _check_collapse(
        self, trainer: pl.Trainer, learner: Learner
    ) -> collapse.EmbeddingStatistics:
        found = collapse.check_not_collapsed(compute_embeddings(learner.objective, self.reference))
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {"embedding/rank": found.rank, "embedding/spread": found.spread},
                trainer.global_step,
            )
        return found

    def _save_checkpoint(self, trainer: pl.Trainer) -> None:
        aside = self.folder.checkpoint.with_suffix(".part")
        try:
            trainer.save_checkpoint(aside)  # every process takes part
            if trainer.is_global_zero:
                aside.replace(self.folder.checkpoint)
        except OSError:
            aside.unlink(missing_ok=True)
            raise


def compute_embeddings(objective: Objective, pixels: Tensor, size: int = 32) -> Tensor:
    """Return an objective's embeddings of normalised images, (n, 3, side, side) → (n, D).

    They are on the CPU, without gradients.

    The training mode of every layer is restored afterwards.
    """
    modes = {module: module.training for module in objective.modules()}
    objective.eval()
    device = next(objective.parameters()).device
    with torch.no_grad():
        found = torch.cat(
            [objective.embed(part.to(device)).float().cpu() for part in pixels.split(size)]
        )
    for module, mode in modes.items():
        module.training = mode
    return found


class ExportedEncoder(nn.Module):  # type: ignore[misc] # torch is not typed here
    """The exported part of an objective: (batch, 3, side, side) → (batch, dimension)."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings of normalised images, (batch, 3, side, side) → (batch, D)."""
        return self.objective.embed(pixels)
