"""Files of the folder of an encoder training: configuration, checkpoint, curve and bundle.

::

    OUT/config.json        the configuration; only the same one continues the training
    OUT/checkpoint.ckpt    the newest checkpoint, from which the same command continues
    OUT/curve.csv          step, loss, rate, rank and spread of the embedding; one line per step
    OUT/tensorboard/       the same for TensorBoard
    OUT/bundle/            the encoder, written at the end

Configuration and checkpoint are written under another name and renamed, so they are complete or do
not exist.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schemas.errors import ConfigError
from training.encoder.config import EncoderTrainingConfig

CONFIG, CHECKPOINT, CURVE, TENSORBOARD, BUNDLE = (
    "config.json",
    "checkpoint.ckpt",
    "curve.csv",
    "tensorboard",
    "bundle",
)
CURVE_COLUMNS = ("step", "loss", "rate", "rank", "spread")
MAY_CHANGE_ON_RESUME = {
    "data.cache",
    "data.jobs",
    "run.steps",
    "run.devices",
    "run.nodes",
    "run.threads",
    "run.accelerator",
    "run.save_every_steps",
    "run.check_every_steps",
    "model.name",
    "model.export_size",
    "model.licence",
    "model.notice",
    "model.ranking_weight",
}
"""Keys that may change when a training is continued, because they did not decide its weights."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one encoder training."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Path of the newest checkpoint, which may not exist yet."""
        return self.path / CHECKPOINT

    @property
    def bundle(self) -> Path:
        """Folder of the trained bundle."""
        return self.path / BUNDLE

    def open(self, config: EncoderTrainingConfig) -> int:
        """Create the folder, or check its configuration; return the steps done by its checkpoint.

        Returns
        -------
        int
            Number of steps that the checkpoint has done; 0 without a checkpoint.

        Raises
        ------
        ConfigError
            If the folder has a training of another configuration, or an unreadable checkpoint.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                self.path,
                f"cannot be created: {error.strerror}; expected a writable folder",
            ) from error
        if self.checkpoint.exists():
            saved = self.read_checkpoint()
            _check_same_training(self.checkpoint, saved["config"], config)
            self._drop_curve_from(saved["global_step"])
            return int(saved["global_step"])
        (self.path / CURVE).unlink(missing_ok=True)
        aside = self.path / f"{CONFIG}.part"
        aside.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        aside.replace(self.path / CONFIG)
        return 0

    def read_checkpoint(self) -> dict[str, Any]:
        """Return the content of the checkpoint.

        Raises
        ------
        ConfigError
            If the file is not a checkpoint of this command.
        """
        try:
            saved: dict[str, Any] = torch.load(
                self.checkpoint, map_location="cpu", weights_only=True
            )
        except Exception as error:  # torch raises many kinds of errors for other files
            raise ConfigError(
                self.checkpoint,
                f"cannot be read: {str(error).splitlines()[0]}; "
                "expected a checkpoint of `spherorank train ssl`",
            ) from error
        if (
            not isinstance(saved, dict)
            or not {"config", "position", "state_dict", "global_step"} <= saved.keys()
        ):
            raise ConfigError(
                self.checkpoint,
                "is not a checkpoint of `spherorank train ssl`; "
                "expected one, or an --out without this file",
            )
        return saved

    def add_to_curve(self, row: Mapping[str, float | None]) -> None:
        """Append one row, value by column name, to the curve file."""
        path = self.path / CURVE
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CURVE_COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def curve(self) -> list[dict[str, str]]:
        """Return the curve file's rows as text by column name; an empty list without a file."""
        path = self.path / CURVE
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _drop_curve_from(self, step: int) -> None:
        """Remove the curve's rows from a step on, because these steps are done again."""
        kept = [row for row in self.curve() if row["step"].isdigit() and int(row["step"]) < step]
        aside = self.path / f"{CURVE}.part"
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CURVE_COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        aside.replace(self.path / CURVE)


def _check_same_training(checkpoint: Path, saved: str, config: EncoderTrainingConfig) -> None:
    """Raise ConfigError if a checkpoint has a configuration that cannot continue with this one."""
    then, now = _flatten(json.loads(saved)), _flatten(json.loads(config.model_dump_json()))
    if then["objective.name"] != now["objective.name"]:
        found, expected = then["objective.name"], now["objective.name"]
        raise ConfigError(
            checkpoint,
            f"is a checkpoint of objective {found!r}; "
            f"expected one of {expected!r}, or another --out",
        )
    differing = sorted(
        key
        for key in then.keys() | now.keys()
        if key not in MAY_CHANGE_ON_RESUME and then.get(key) != now.get(key)
    )
    if differing:
        key = differing[0]
        more = f" ({', '.join(differing[1:])} also differ)" if differing[1:] else ""
        raise ConfigError(
            checkpoint,
            f"was made with {key} = {then.get(key)!r}; the configuration has "
            f"{now.get(key)!r}{more}: expected the same, or another --out",
        )


def _flatten(nested: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of all sections by ``section.key``."""
    return {
        f"{section}.{key}": value for section, keys in nested.items() for key, value in keys.items()
    }
