"""What pytorch-lightning calls while an encoder learns: the steps it is given, the loss, the rates, the checkpoints and the watch over collapse."""

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

_SEED_STRIDE = 1_000_003  # sets the random numbers of one step apart from those of the next seed's


class BatchPosition(NamedTuple):
    """Which batch is next."""

    epoch: int
    batch: int


@dataclass(frozen=True, eq=False)
class PositionedBatch:
    """One batch, and the position after it."""

    batch: Batch
    after: BatchPosition


class BatchStream(IterableDataset):  # type: ignore[misc] # torch is not typed here
    """Batches without end from a position on; the same for the same seed."""

    def __init__(
        self, plates: Sequence[PlateCrops], plan: BatchPlan, seed: int, start: BatchPosition
    ) -> None:
        self._plates, self._plan, self._seed, self._start = plates, plan, seed, start

    def __iter__(self) -> Iterator[PositionedBatch]:
        """Yield them, epoch after epoch."""
        skipped = self._start.batch
        for epoch in itertools.count(self._start.epoch):
            for index, batch in enumerate(
                batches(self._plates, self._plan, self._seed, epoch, skipped), skipped
            ):
                yield PositionedBatch(batch, BatchPosition(epoch, index + 1))
            skipped = 0


def batch_on_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with all tensors there, the later day's too."""
    moved = {
        name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    return replace(
        batch,
        **moved,
        later=batch_on_device(batch.later, device) if batch.later is not None else None,
    )


class Learner(pl.LightningModule):  # type: ignore[misc] # pytorch-lightning is not typed here
    """An objective with its optimiser: AdamW, a warm-up and a cosine, a lower rate for the backbone."""

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
        """Return this process's part of every batch, from where the training stands."""
        plan = replace(self.plan, rank=self.global_rank, world_size=self.trainer.world_size)
        return DataLoader(
            BatchStream(self.plates, plan, self.config.run.seed, self.position), batch_size=None
        )

    def training_step(self, step: PositionedBatch, _index: int) -> Tensor:
        """Return the loss of one batch.

        Raises
        ------
        ConfigError
            If it is not a finite number, in any process.
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
        """Return AdamW over what learns; the backbone stands still for the first ``model.frozen_steps``."""
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

    def train(self, mode: bool = True) -> "Learner":  # noqa: FBT001, FBT002 - torch's own signature
        """Switch to training, but for the BatchNorm statistics that are kept."""
        super().train(mode)
        if self.config.model.fixed_batch_norm:
            fix_batch_norm(self.objective)
        return self

    def transfer_batch_to_device(
        self, step: PositionedBatch, device: torch.device, _loader: int
    ) -> PositionedBatch:
        """Move a batch, which is frozen, by making another."""
        return replace(step, batch=batch_on_device(step.batch, device))

    def on_train_batch_start(self, _batch: PositionedBatch, _index: int) -> None:
        """Give every step its own random numbers, so that a step is the same after a resume."""
        torch.manual_seed(
            (self.config.run.seed * _SEED_STRIDE + self.global_step) * self.trainer.world_size
            + self.global_rank
        )

    def on_train_batch_end(self, _outputs: object, _batch: PositionedBatch, _index: int) -> None:
        """Let a teacher follow."""
        self.objective.after_step(self.global_step / self.config.run.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resume needs beyond weights and optimiser."""
        checkpoint["config"] = self.config.model_dump_json()
        checkpoint["position"] = tuple(self.position)


class RunRecorder(pl.Callback):  # type: ignore[misc] # pytorch-lightning is not typed here
    """Writes the curve and the checkpoints, looks for collapse, and ends a run early at a signal."""

    def __init__(
        self, folder: RunFolder, reference: Tensor, report_step: Callable[[int, float], None]
    ) -> None:
        self.folder, self.reference, self.report_step = folder, reference, report_step
        self.was_stopped = False
        self._signals: list[int] = []
        self._previous_handlers: dict[int, Any] = {}

    def on_train_start(self, _trainer: pl.Trainer, learner: Learner) -> None:
        """Take notes of signals, in place of Lightning's handlers, which would not save."""

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
        """Keep what this step did; ``trainer.global_step`` is by now the number of steps done."""
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
        """Give the signals back."""
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
    """Return the embeddings of normalised images, (n, dimension), on the CPU; the mode of every layer stays as it is found."""
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
    """The part of an objective that is exported: (batch, 3, side, side) → (batch, dimension)."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings."""
        return self.objective.embed(pixels)
