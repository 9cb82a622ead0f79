"""The configuration of a training: one TOML file, every key with a default; ``deploy/train.example.toml`` shows them all."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.encoder_bundle import PlanePolicy
from schemas.errors import ConfigError
from training.data.batches import LabelKind
from training.encoder.backbones import Pooling
from training.objectives.base import ObjectiveSettings
from training.segmenter.views import FIRST_SEED


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArchiveSection(_Section):
    """One folder of images; ``[[data.archives]]``, as often as wanted."""

    folder: Path = Field(description="in drop-folder layout, or any folder of images")
    pattern: str | None = Field(
        default=None,
        description="the names below it, as source.pattern of the service; None: each file is an image, each folder a plate",
    )
    bits: int | None = Field(
        default=None,
        ge=8,
        le=16,
        description="of a pixel in 16-bit files; None: by each image's own maximum",
    )
    field: int | None = Field(
        default=None, ge=0, description="the one to take of several; None: each well's lowest"
    )
    um_per_px: float | None = Field(
        default=None, gt=0, description="where neither plate map nor file tells"
    )
    store: str | None = Field(
        default=None, description="URL of a service's store: only the images that count there"
    )
    repeat: int = Field(
        default=1,
        ge=1,
        le=100,
        description="how often each image stands in an epoch: keeps few among many from being lost",
    )


class DataSection(_Section):
    """Where well images come from; all sources add up."""

    archives: tuple[ArchiveSection, ...] = Field(
        default=(), description="tables [[data.archives]] with folder, pattern, …"
    )
    virtual_plates: int = Field(default=0, ge=0, description="how many virtual plates to draw")
    virtual_seed: int = Field(
        default=FIRST_SEED,
        ge=FIRST_SEED,
        description="of the first virtual plate; smaller seeds are kept for tests and benchmarks",
    )
    virtual_wells: int = Field(
        default=26, ge=1, description="wells of a virtual plate that are drawn"
    )
    jobs: int = Field(default=1, ge=1, description="processes that draw virtual plates")
    cache: Path = Field(
        default=Path("training-cache"), description="where crops are kept; may be deleted"
    )
    field_um: float = Field(
        default=900.0,
        gt=0,
        description="side of the centred square that is seen, the same on all days",
    )
    crop_px: int = Field(
        default=256, ge=64, le=1024, multiple_of=8, description="side at which crops are kept"
    )
    planes: PlanePolicy = Field(
        default=PlanePolicy.SHARPEST_NEIGHBOURS, description="which planes are the three channels"
    )
    background: float = Field(
        default=0.75, gt=0, le=1, description="the value in 0…1 that empty medium is brought to"
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of plates that is held out"
    )


class AugmentSection(_Section):
    """What the two views of an image differ by."""

    first: str = Field(default="spheroid", description="preset of the first view")
    second: str = Field(default="spheroid", description="preset of the second view")
    mask_background: float = Field(
        default=0.0, ge=0, le=1, description="share of views in which only tissue and debris stay"
    )


class ModelSection(_Section):
    """The network, and which of its layers learn."""

    name: str = Field(
        default="spheroid",
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        max_length=60,
        description="of the bundle, in every encoder_id",
    )
    backbone: str = Field(default="tf_efficientnet_lite0", description="a name of timm")
    weights: str = Field(default="imagenet", description="'imagenet', 'none', 'hub' or a file")
    pooling: Pooling = Field(
        default="last",
        description="'last': what the last layer sums up; 'levels': mean and spread of every stage, of field and middle",
    )
    channels: Literal[1, 3] = Field(default=3, description="3: planes as colours; 1: grey")
    input_size: int = Field(
        default=128, ge=32, le=1024, description="side of the network's input in training"
    )
    export_size: int | None = Field(
        default=None, ge=32, le=2048, description="side of the bundle's input; None: input_size"
    )
    licence: str = Field(default="not stated", description="of the bundle")
    notice: str = Field(
        default="",
        description="what the bundle's NOTICE says besides: whose images it learned from",
    )
    ranking_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="of the bundle's embedding beside measures in a ranking of both; 0: measures alone",
    )
    last_blocks: int | None = Field(
        default=None, ge=0, description="how many late blocks learn; 0: only the head; None: all"
    )
    frozen_steps: int = Field(
        default=0, ge=0, description="steps at the start in which only the head learns"
    )
    body_rate: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="learning rate of the backbone as a share of the head's",
    )
    fixed_batch_norm: bool = Field(
        default=True, description="keep the BatchNorm statistics that the weights came with"
    )


class ObjectiveSection(ObjectiveSettings):
    """What is learned; every key but ``name`` is the objective's own."""

    name: str = Field(default="measures", description="one of training/objectives/registry.py")
    label: LabelKind = Field(
        default=LabelKind.GROUP, description="what a label is, for objectives that use one"
    )
    within_plate: bool | None = Field(
        default=None, description="each batch from one plate; None: as the objective wants it"
    )


class RunSection(_Section):
    """How long, how fast, on what."""

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=2000, ge=1)
    kept_views: int = Field(
        default=0,
        ge=0,
        description="with last_blocks = 0: how often each image is seen, its features then kept; 0: anew each step",
    )
    batch: int = Field(default=32, ge=2, description="images a step, over all processes together")
    rate: float = Field(default=1e-3, gt=0, description="of learning, at its peak")
    warm_up_steps: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_norm: float = Field(
        default=1.0, gt=0, description="longer gradients are shortened to this"
    )
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        default="32-true", description="as pytorch-lightning names them"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1, description="processes on each node, one a GPU")
    nodes: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0, description="of one process on the CPU; 0: all cores")
    save_every_steps: int = Field(default=100, ge=1)
    check_every_steps: int = Field(
        default=50, ge=1, description="collapse is looked for this often"
    )


class TrainingConfig(_Section):
    """The whole file."""

    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    model: ModelSection = ModelSection()
    objective: ObjectiveSection = ObjectiveSection()
    run: RunSection = RunSection()


def load_training_config(path: Path | None) -> TrainingConfig:
    """Read a file, or take every default; relative paths count from the working folder.

    Raises
    ------
    ConfigError
        With every problem at once: each names the file, the key, the value and what was expected.
    """
    if path is None:
        return TrainingConfig()
    try:
        config = TrainingConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(
            path, "does not exist; expected a TOML file (deploy/train.example.toml shows every key)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
    except ValidationError as error:
        first, *more = (_describe(problem, path) for problem in error.errors())
        raise ConfigError(*first, more=tuple(more)) from error
    return config


def _describe(problem: Any, path: Path) -> tuple[str, str]:  # noqa: ANN401 - pydantic's own error mapping
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        section = TrainingConfig.model_fields.get(str(problem["loc"][0]))
        known = (
            TrainingConfig.model_fields if section is None else type(section.default).model_fields
        )
        return (
            f"{path}, key {key}",
            f"is unknown (value {problem['input']!r}); expected one of {', '.join(known)}",
        )
    return (
        f"{path}, key {key}",
        f"is {problem['input']!r}; expected {str(problem['msg']).removeprefix('Input should be ')}",
    )
