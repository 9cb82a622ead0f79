"""Configuration of a forecaster training: one TOML file in which every key has a default."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from inference.bundle import load_bundle
from schemas.errors import ConfigError
from schemas.trajectory import Representation
from training.data.seeds import FIRST_TRAINING_SEED
from training.encoder.config import ConfigSection


class ForecasterDataSection(ConfigSection):
    """Plates whose untreated wells are the training data; all sources are used together."""

    profiles: tuple[Path, ...] = ()  # profile tables, CSV or Parquet
    store: str = ""  # database URL of a store
    virtual_plates: int = Field(default=0, ge=0, le=100_000)  # with 30 untreated wells each
    virtual_seed: int = Field(default=FIRST_TRAINING_SEED, ge=0)  # seed of the first virtual plate
    virtual_days: tuple[int, ...] = (5, 6, 7, 8, 9, 10)
    representation: Representation = "measures"
    """Features of wells in a store and on virtual plates; a profile table has its own."""
    encoder: str = "default"  # bundle whose embeddings are used
    cache: Path = Path("cache")  # folder for virtual plates
    validation_share: float = Field(default=0.25, gt=0, lt=1)  # share of the plates
    trajectories: int = Field(default=0, ge=0)
    """Untreated wells of training plates that train the forecaster; 0 for all of them."""


class ForecasterModelSection(ConfigSection):
    """Network of the forecaster."""

    name: str = Field(default="gru", pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    body: Literal["gru", "inception", "transformer"] = "gru"
    hidden: int = Field(default=32, ge=1, le=4096)
    components: int = Field(default=16, ge=1, le=4096)
    """Number of directions that are the input of the body; fewer features are used unchanged."""
    needs_days: tuple[int, ...] = ()  # culture days that a plate must have, as the card states


class ForecasterPretrainingSection(ConfigSection):
    """Self-supervised training of the body before the training of the forecaster."""

    objective: Literal["none", "timeclr", "mae"] = "none"
    epochs: int = Field(default=100, ge=1)  # at most
    treated: bool = True
    """If true, wells of all groups are used; if false, only untreated wells."""
    frozen: bool = False
    """If true, the body is not changed afterwards, and only the linear head is trained."""
    temperature: float = Field(default=0.2, gt=0, le=10)  # of the contrastive loss of timeclr
    amplitude: float = Field(default=0.3, ge=0, le=1)
    """Largest weight of the values of another well in a view of timeclr."""
    masked: float = Field(default=0.5, gt=0, lt=1)  # share of a well's days that mae hides


class ForecasterRunSection(ConfigSection):
    """Length, speed and hardware of a forecaster training."""

    out: Path = Path("forecaster")  # the bundle; checkpoints and curves are in <out>-training
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=300, ge=1)  # at most
    patience: int = Field(default=30, ge=1)  # epochs without a better validation loss
    views: int = Field(default=4, ge=1)
    """Examples of each plate in an epoch, with different wells, days and missing images."""
    plates_at_once: int = Field(default=4, ge=1)  # examples in one optimiser step
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-3, ge=0, le=1)
    missing: float = Field(default=0.1, ge=0, lt=1)
    """Share of images that are hidden, so that the model learns to predict without them."""
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    jobs: int = Field(default=1, ge=1, le=256)  # processes that render virtual plates


class ForecasterTrainingConfig(ConfigSection):
    """All sections of the configuration of a forecaster training."""

    data: ForecasterDataSection = ForecasterDataSection()
    model: ForecasterModelSection = ForecasterModelSection()
    pretraining: ForecasterPretrainingSection = ForecasterPretrainingSection()
    run: ForecasterRunSection = ForecasterRunSection()


def load_forecaster_training_config(file: Path | None) -> ForecasterTrainingConfig:
    """Read the configuration of a forecaster training from a TOML file; None gives all defaults.

    Relative paths in the file start in the folder of the file.

    Raises
    ------
    ConfigError
        With every problem of the file: the key, its value and the expected value.
    """
    try:
        content = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        config = ForecasterTrainingConfig.model_validate(content)
    except OSError as error:
        raise ConfigError(
            file, f"cannot be read: {error.strerror}; expected a TOML file"
        ) from error
    except ValueError as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(file, f"is not TOML: {error}") from error
        first, *more = [
            (f"{file}, {'.'.join(map(str, one['loc']))}", f"is {one['input']!r}; {one['msg']}")
            for one in error.errors()
        ]
        raise ConfigError(*first, more=tuple(more)) from error
    base = Path.cwd() if file is None else file.absolute().parent
    data, run = config.data, config.run
    paths = {"profiles": tuple(base / each for each in data.profiles), "cache": base / data.cache}
    return config.model_copy(
        update={
            "data": data.model_copy(update=paths),
            "run": run.model_copy(update={"out": base / run.out}),
        }
    )


def check_sources(config: ForecasterTrainingConfig, *, joint: bool) -> None:
    """Raise ConfigError if there is no source of plates, or a table, store or encoder is missing.

    Neither torch nor a table is loaded.

    Parameters
    ----------
    joint
        Whether a projection is trained as well, which needs embeddings and measures.
    """
    data = config.data
    if joint and data.representation != "both":
        raise ConfigError(
            "data.representation",
            f"is {data.representation!r}; expected 'both' with --joint, "
            "which needs embeddings and measures",
        )
    pretraining = config.pretraining
    if joint and pretraining.objective != "none":
        raise ConfigError(
            "pretraining.objective",
            f"is {pretraining.objective!r}; expected 'none' with --joint, "
            "which changes the features of the wells during the training",
        )
    if pretraining.frozen and pretraining.objective == "none":
        raise ConfigError(
            "pretraining.frozen",
            "is true without pretraining; expected the objective 'timeclr' or 'mae', "
            "or frozen = false",
        )
    if not (data.profiles or data.store or data.virtual_plates):
        raise ConfigError("data", "has no plates; expected profiles, store or virtual_plates")
    for table in data.profiles:
        if not table.is_file():
            raise ConfigError(table, "does not exist; expected a profile table, CSV or Parquet")
    prefix = "sqlite:///"
    if data.store.startswith(prefix) and not Path(data.store.removeprefix(prefix)).is_file():
        raise ConfigError("data.store", f"is {data.store}; expected the store of a service")
    if data.store or data.virtual_plates:
        load_bundle(data.encoder)
