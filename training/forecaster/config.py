"""The configuration of ``spherorank train forecaster``: one TOML file, every key with a default, an unknown key an error."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import ConfigError
from schemas.trajectory import Representation
from training.data.virtual_plates import FIRST_TRAINING_SEED


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSection(_Section):
    """Whose untreated wells are learned from; all plates that are named, of all three kinds."""

    profiles: tuple[Path, ...] = ()  # profile tables, CSV or Parquet
    store: str = ""  # address of a store
    virtual_plates: int = Field(default=0, ge=0, le=100_000)  # so many, of 30 untreated wells each
    virtual_seed: int = Field(default=FIRST_TRAINING_SEED, ge=0)  # of the first
    virtual_days: tuple[int, ...] = (5, 6, 7, 8, 9, 10)
    representation: Representation = (
        "measures"  # of wells in a store and on virtual plates; a table has its columns
    )
    encoder: str = "default"  # the bundle whose embeddings are taken
    cache: Path = Path("cache")  # of virtual plates
    validation_share: float = Field(default=0.25, gt=0, lt=1)  # of the plates


class ModelSection(_Section):
    """The network."""

    name: str = Field(default="gru", pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=60)
    hidden: int = Field(default=32, ge=1, le=4096)
    components: int = Field(
        default=16, ge=1, le=4096
    )  # directions that the GRU sees; features that are fewer are seen as they are
    needs_days: tuple[int, ...] = ()  # of which a plate has to have images, as the card will say


class RunSection(_Section):
    """How it is trained."""

    out: Path = Path("forecaster")  # the bundle; checkpoints and curves go to <out>-training
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=300, ge=1)  # at most
    patience: int = Field(default=30, ge=1)  # epochs without a better validation
    views: int = Field(
        default=4, ge=1
    )  # of each plate in an epoch: other wells, days and missing images
    plates_at_once: int = Field(default=4, ge=1)  # a step
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-3, ge=0, le=1)
    missing: float = Field(
        default=0.1, ge=0, lt=1
    )  # share of images that are hidden, so that missing ones are nothing new
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    jobs: int = Field(default=1, ge=1, le=256)  # processes that render virtual plates


class ForecasterConfig(_Section):
    """The file."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    run: RunSection = RunSection()


def load_forecaster_config(file: Path | None) -> ForecasterConfig:
    """Read the file; paths in it start where it lies.

    Raises
    ------
    ConfigError
        With every problem, each naming the key, the value and what is expected.
    """
    try:
        content = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        config = ForecasterConfig.model_validate(content)
    except OSError as error:
        raise ConfigError(
            file, f"cannot be read: {error.strerror}; expected a TOML file"
        ) from error
    except ValueError as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(file, f"is no TOML: {error}") from error
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
