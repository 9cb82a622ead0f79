"""A forecaster learned from many plates: ``spherorank train forecaster --config F``; the same command goes on where it was stopped.

Untreated wells of plates (:mod:`training.forecaster.data`) → a GRU (:mod:`training.forecaster.model`) that foresees each from its days so far, stopped when
plates held out are foreseen no better → ONNX, compared with torch → a bundle that :class:`inference.departure.sequence_model.OnnxSequenceModel` opens.
"""

import hashlib
import logging
import sys
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
from torch.nn import functional
from torch.utils.data import DataLoader

from inference.bundle import load_bundle
from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from training.forecaster.config import ForecasterConfig, load_forecaster_config
from training.forecaster.data import from_profiles, from_store, from_virtual, untreated_only
from training.forecaster.export import Worth, write_forecaster
from training.forecaster.joint import (
    JointForecaster,
    first_projection,
    projected,
    write_projecting_encoder,
)
from training.forecaster.model import GruForecaster, standardise
from training.forecaster.views import View, Views, held_out_views, split_by_plate

LAST, BEST = "last.ckpt", "best.ckpt"
CLIP = 1.0  # of the gradient


@dataclass(frozen=True)
class TrainedForecaster:
    """What a run made."""

    bundle: Path
    worth: Worth
    plates: int


def train_forecaster(
    config_file: Path | None, tell: Callable[[str], None] = print, *, joint: bool = False
) -> TrainedForecaster:
    """Read the configuration, train, write the bundle; ``joint`` also learns a projection of the embedding and writes that encoder to ``<out>-encoder``.

    Raises
    ------
    ConfigError
        If the configuration or the plates do not do, the loss is no number, or the checkpoint is of another run. The bundle is then as it was.
    """
    config = load_forecaster_config(config_file)
    if joint and config.data.representation != "both":
        raise ConfigError(
            "data.representation",
            f"is {config.data.representation!r}; expected 'both' with --joint: embeddings, and measures to be told from them",
        )
    return (learn_jointly if joint else learn)(plates_of(config, tell), config, tell)


def plates_of(config: ForecasterConfig, tell: Callable[[str], None]) -> list[Trajectories]:
    """Return all plates that the configuration names."""
    data = config.data
    plates = from_profiles(data.profiles)
    if data.store:
        plates += from_store(data.store, load_bundle(data.encoder), data.representation)
    if data.virtual_plates:
        seeds = range(data.virtual_seed, data.virtual_seed + data.virtual_plates)
        plates += from_virtual(
            seeds,
            data.virtual_days,
            data.encoder,
            data.representation,
            data.cache,
            jobs=config.run.jobs,
            tell=tell,
        )
    return plates


def learn(
    plates: Sequence[Trajectories], config: ForecasterConfig, tell: Callable[[str], None] = print
) -> TrainedForecaster:
    """Train on these plates as far as the run had not come yet, and write the bundle; errors as :func:`train_forecaster`."""
    untreated, taught, held_out = _prepared(plates, config, tell)
    model = GruForecaster(directions_of(taught, config.model.components), config.model.hidden)
    loss = partial(loss_of, model, blocks=blocks_of(taught[0]))
    _fit(Learning(model, loss, taught, held_out, config, _digest(untreated, config)), config)
    worth = worth_of(model, held_out)
    write_forecaster(model, untreated, worth, config, config.run.out)
    return TrainedForecaster(config.run.out, worth, len(untreated))


def learn_jointly(
    plates: Sequence[Trajectories], config: ForecasterConfig, tell: Callable[[str], None] = print
) -> TrainedForecaster:
    """Learn a projection of the embedding together with its forecaster, and write both bundles; errors as :func:`train_forecaster`."""
    untreated, taught, held_out = _prepared(plates, config, tell)
    bundle, out = load_bundle(config.data.encoder), config.run.out
    width, measures = (
        untreated[0].embedding_dimension,
        len(untreated[0].feature_names) - untreated[0].embedding_dimension,
    )
    found = untreated[0].encoder_id
    if found != bundle.card.encoder_id or not measures:
        raise ConfigError(
            "data",
            f"plates have {measures} measures and the embedding of {untreated[0].encoder_id!r}; expected both, of {bundle.card.encoder_id}",
        )
    embedded = [
        replace(
            plate, features=plate.features[..., :width], feature_names=plate.feature_names[:width]
        )
        for plate in taught
    ]
    start = first_projection(embedded, directions_of(embedded, config.model.components))
    model = JointForecaster(start, config.model.hidden, measures)

    def loss(view: View) -> torch.Tensor:
        seen = model.view(view)
        return loss_of(model.forecaster, seen, blocks=(slice(0, len(start)),)) + model.constraints(
            view
        )

    _fit(
        Learning(model, loss, taught, held_out, config, _digest(untreated, config) + "-joint"),
        config,
    )
    projection = model.projection.detach().numpy()
    card = write_projecting_encoder(
        bundle, projection, f"{config.model.name}-encoder", out.with_name(f"{out.name}-encoder")
    )
    seen = [projected(plate, projection, card.encoder_id) for plate in untreated]
    worth = worth_of(
        model.forecaster, [projected(plate, projection, card.encoder_id) for plate in held_out]
    )
    write_forecaster(model.forecaster, seen, worth, config, out)
    return TrainedForecaster(out, worth, len(untreated))


def _prepared(
    plates: Sequence[Trajectories], config: ForecasterConfig, tell: Callable[[str], None]
) -> tuple[list[Trajectories], list[Trajectories], list[Trajectories]]:
    """Return the untreated wells, and of them the plates to learn from and those held out."""
    untreated = untreated_only(plates)
    taught, held_out = split_by_plate(untreated, config.data.validation_share, config.run.seed)
    tell(
        f"{len(taught)} plates to learn from, {len(held_out)} held out, {len(untreated[0].feature_names)} features"
    )
    lightning.seed_everything(config.run.seed, verbose=False)
    return untreated, taught, held_out


class Learning(lightning.LightningModule):  # type: ignore[misc] # lightning is not typed here
    """One step: some plates' views are foreseen and compared with what their wells became."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[[View], torch.Tensor],
        taught: Sequence[Trajectories],
        held_out: Sequence[Trajectories],
        config: ForecasterConfig,
        digest: str,
    ) -> None:
        super().__init__()
        self.model, self.digest = model, digest
        self._loss, self._run, self._taught = loss, config.run, taught
        self._held_out = list(held_out_views(held_out))

    def train_dataloader(self) -> DataLoader[View]:
        """Return the views of this epoch."""
        views = Views(
            self._taught, self._run.seed, self.current_epoch, self._run.views, self._run.missing
        )
        return DataLoader(views, batch_size=None)

    def val_dataloader(self) -> DataLoader[View]:
        """Return all there is to foresee on the plates held out."""
        return DataLoader(self._held_out, batch_size=None)

    def training_step(self, view: View, _place: int) -> torch.Tensor:
        """Return the loss of a view."""
        loss = self._loss(view)
        if not torch.isfinite(loss):
            raise ConfigError(
                "run.learning_rate",
                f"is {self._run.learning_rate}, and the loss became {loss.item()}; expected a lower rate",
            )
        self.log("loss", loss, batch_size=1, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, view: View, _place: int) -> None:
        """Take down how well a plate held out is foreseen."""
        self.log("validation", self._loss(view), batch_size=1, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return what changes the weights."""
        return torch.optim.AdamW(
            self.parameters(), lr=self._run.learning_rate, weight_decay=self._run.weight_decay
        )

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Note which run it is of."""
        checkpoint["run"] = self.digest


def _fit(learning: Learning, config: ForecasterConfig) -> None:
    """Train from the last checkpoint, or from the start, and leave the best weights in the model, ready to be used; a run that has ended stays as it is."""
    folder = config.run.out.with_name(f"{config.run.out.name}-training")
    last = folder / LAST
    if not last.exists() or not _has_ended(
        torch.load(last, map_location="cpu", weights_only=True), learning.digest, config, last
    ):
        for name in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few workers and little logging
            _trainer(config, folder).fit(learning, ckpt_path=last if last.exists() else None)
    learning.load_state_dict(
        torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
    )
    learning.cpu().eval()


def _trainer(config: ForecasterConfig, folder: Path) -> lightning.Trainer:
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
        gradient_clip_val=CLIP,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[best, newest, stopping],
        logger=TensorBoardLogger(folder, name="", version="curves"),
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
        default_root_dir=folder,
    )


def _has_ended(
    checkpoint: dict[str, object], digest: str, config: ForecasterConfig, where: Path
) -> bool:
    if checkpoint.get("run") != digest:
        raise ConfigError(
            where,
            "is of a run with other plates or settings; expected the same: name another run.out, or remove the folder",
        )
    callbacks = checkpoint.get("callbacks", {})
    stopped = (
        any(state.get("stopped_epoch", 0) for state in callbacks.values())
        if isinstance(callbacks, dict)
        else False
    )
    epoch = checkpoint.get("epoch", 0)
    return stopped or (isinstance(epoch, int) and epoch + 1 >= config.run.epochs)


def directions_of(plates: Sequence[Trajectories], components: int) -> torch.Tensor:
    """Return (D, components): the directions in which wells of a plate differ most; where features are fewer, each as it is."""
    width = len(plates[0].feature_names)
    if width <= components:
        return torch.eye(width)
    differing = [
        standardise(torch.from_numpy(plate.features.astype(np.float32)))[0].reshape(-1, width)
        for plate in plates
    ]
    stacked = torch.cat(differing)
    generator = torch.Generator().manual_seed(0)
    chosen = stacked[torch.randperm(len(stacked), generator=generator)[:20_000]]
    return (
        torch.linalg.svd(chosen, full_matrices=False)
        .Vh[: min(components, len(chosen))]
        .T.contiguous()
    )


def blocks_of(plate: Trajectories) -> tuple[slice, ...]:
    """Return the features that count alike as a whole: the embedding, and the measures."""
    dimension, width = plate.embedding_dimension, len(plate.feature_names)
    return tuple(
        block
        for block in (slice(0, dimension), slice(dimension, width))
        if block.start < block.stop
    )


def errors_of(foreseen: torch.Tensor, view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """Return by how much each well's deviation from the others was missed, (N, D), and what it was, (N, D), in the plate's spreads; NaN without an image.

    Only deviations count: what all wells have in common is the plate's own affair.
    """
    deviation, _, spread, there = standardise(
        torch.cat([view.features, view.readout.unsqueeze(1)], dim=1)
    )
    actual, seen = deviation[:, -1], there[:, -1]
    known = torch.where(seen, foreseen, torch.zeros_like(foreseen))
    mean = known.sum(dim=0) / seen.float().sum(dim=0).clamp(min=1)
    nothing = torch.full_like(actual, torch.nan)
    return torch.where(seen, actual - (known - mean) / spread, nothing), torch.where(
        seen, actual, nothing
    )


def loss_of(model: GruForecaster, view: View, blocks: Sequence[slice]) -> torch.Tensor:
    """Return Huber's loss of the deviations, each block's mean counting alike."""
    error, _ = errors_of(model(view.features, view.days, view.readout_day), view)
    known = ~torch.isnan(error)
    each = functional.huber_loss(
        torch.where(known, error, torch.zeros_like(error)),
        torch.zeros_like(error),
        reduction="none",
        delta=2.0,
    )
    return torch.stack(
        [each[:, block].sum() / known[:, block].float().sum().clamp(min=1) for block in blocks]
    ).mean()


def worth_of(model: GruForecaster, plates: Sequence[Trajectories]) -> Worth:
    """Return how much of what wells differ in on a later day is foreseen on plates that were held out, beside wells staying as they are."""
    foreseen, stayed = [], []
    with torch.inference_mode():
        for view in held_out_views(plates):
            error, actual = errors_of(model(view.features, view.days, view.readout_day), view)
            last = torch.where(
                torch.isnan(view.features[:, -1]), view.readout, view.features[:, -1]
            )
            total = max(float(actual.square().nansum()), 1e-9)
            foreseen.append(1 - float(error.square().nansum()) / total)
            stayed.append(1 - float(errors_of(last, view)[0].square().nansum()) / total)
    return Worth(float(np.mean(foreseen)), float(np.mean(stayed)), len(plates))


def _digest(plates: Sequence[Trajectories], config: ForecasterConfig) -> str:
    """Return SHA-256 of all that decides the weights; how long to train may change."""
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
