"""Configuration of an encoder training: one TOML file in which every key has a default.

``deploy/train.example.toml`` shows every key.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.encoder_bundle import PlanePolicy
from schemas.errors import ConfigError
from training.data.labels import LabelKind
from training.data.seeds import FIRST_TRAINING_SEED
from training.objectives.settings import ObjectiveSettings

Pooling = Literal["last", "levels"]
"""Features of an image: of the last layer, or of every stage of the network."""


class ConfigSection(BaseModel):
    """Base of a section of a training configuration: frozen, finite, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArchiveSection(ConfigSection):
    """One folder of images: a table ``[[data.archives]]``, which may occur several times."""

    folder: Path = Field(description="folder in drop-folder layout, or any folder of images")
    pattern: str | None = Field(
        default=None,
        description="pattern of the file names, as source.pattern of the service; "
        "None: each file is one image, and each folder one plate",
    )
    bits: int | None = Field(
        default=None,
        ge=8,
        le=16,
        description="bits of a pixel in 16-bit files; None: by the maximum of each image",
    )
    field: int | None = Field(
        default=None, ge=0, description="number of the field to use; None: the lowest of each well"
    )
    channel: str = Field(
        default="", description="of several channels in the names, the bright-field one"
    )
    um_per_px: float | None = Field(
        default=None, gt=0, description="µm per pixel if neither plate map nor file gives it"
    )
    store: str | None = Field(
        default=None, description="URL of a service's store; only its selected images are used"
    )
    repeat: int = Field(
        default=1,
        ge=1,
        le=100,
        description="number of times that each image is in an epoch, "
        "so that a small archive has enough weight",
    )


class EncoderDataSection(ConfigSection):
    """Sources of the training images, all of which are used, and the cropping of the images."""

    archives: tuple[ArchiveSection, ...] = Field(
        default=(), description="tables [[data.archives]] with folder, pattern, …"
    )
    virtual_plates: int = Field(default=0, ge=0, description="number of virtual plates to render")
    virtual_seed: int = Field(
        default=FIRST_TRAINING_SEED,
        ge=FIRST_TRAINING_SEED,
        description="seed of the first virtual plate; "
        "smaller seeds are reserved for tests and benchmarks",
    )
    virtual_wells: int = Field(
        default=26, ge=1, description="number of wells of a virtual plate that are rendered"
    )
    jobs: int = Field(default=1, ge=1, description="number of processes that render virtual plates")
    cache: Path = Field(
        default=Path("training-cache"), description="folder for crops; may be deleted"
    )
    field_um: float = Field(
        default=900.0,
        gt=0,
        description="side of the centred square that is cropped, in µm, the same on all days",
    )
    crop_px: int = Field(
        default=256, ge=64, le=1024, multiple_of=8, description="side of a stored crop in pixels"
    )
    planes: PlanePolicy = Field(
        default=PlanePolicy.SHARPEST_NEIGHBOURS, description="planes that are the three channels"
    )
    background: float = Field(
        default=0.75, gt=0, le=1, description="value in 0…1 that empty medium has in a crop"
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of plates that is used for validation"
    )


class AugmentSection(ConfigSection):
    """Augmentation of the two views of an image."""

    first: str = Field(default="spheroid", description="preset of the first view")
    second: str = Field(default="spheroid", description="preset of the second view")
    mask_background: float = Field(
        default=0.0, ge=0, le=1, description="share of views that show tissue and debris only"
    )


class EncoderModelSection(ConfigSection):
    """Network of the encoder, and the layers of it that are trained."""

    name: str = Field(
        default="spheroid",
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        max_length=60,
        description="name of the bundle, part of every encoder_id",
    )
    backbone: str = Field(
        default="tf_efficientnet_lite0", description="name of a timm network, or 'unet_encoder'"
    )
    weights: str = Field(default="imagenet", description="'imagenet', 'none', 'hub' or a file")
    pooling: Pooling = Field(
        default="last",
        description="'last': features of the last layer; "
        "'levels': mean and deviation of every stage, of the field and of its middle",
    )
    channels: Literal[1, 3] = Field(
        default=3, description="3: three planes as colours; 1: one grey plane"
    )
    input_size: int = Field(
        default=128, ge=32, le=1024, description="side of the network's input in training, pixels"
    )
    export_size: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="side of the bundle's input in pixels; None: input_size",
    )
    licence: str = Field(default="not stated", description="licence of the bundle")
    notice: str = Field(
        default="", description="text added to the bundle's NOTICE, such as sources of the images"
    )
    ranking_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="above 0: a ranking by embedding and measures uses the embedding; "
        "0: measures alone",
    )
    last_blocks: int | None = Field(
        default=None,
        ge=0,
        description="number of late blocks that are trained; 0: only the head; None: all",
    )
    frozen_steps: int = Field(
        default=0, ge=0, description="number of first steps that train only the head"
    )
    body_rate: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="learning rate of the backbone as a share of the head's",
    )
    fixed_batch_norm: bool = Field(
        default=True, description="keep the BatchNorm statistics of the pretrained weights"
    )


class ObjectiveSection(ObjectiveSettings):
    """Training objective; every key except ``name``, ``label`` and ``within_plate`` is its own."""

    name: str = Field(default="measures", description="one of training/objectives/registry.py")
    label: LabelKind = Field(
        default=LabelKind.GROUP, description="label of an image, for objectives that use labels"
    )
    within_plate: bool | None = Field(
        default=None,
        description="whether each batch is from one plate; None: as the objective needs it",
    )


class EncoderRunSection(ConfigSection):
    """Length, speed and hardware of an encoder training."""

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=2000, ge=1)
    kept_views: int = Field(
        default=0,
        ge=0,
        description="with last_blocks = 0: number of augmentations of each image whose features "
        "are stored and trained on; 0: compute features in every step",
    )
    batch: int = Field(default=32, ge=2, description="images of a step, over all processes")
    rate: float = Field(default=1e-3, gt=0, description="largest learning rate")
    warm_up_steps: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_norm: float = Field(
        default=1.0, gt=0, description="norm to which longer gradients are clipped"
    )
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        default="32-true", description="precision, as pytorch-lightning names it"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1, description="processes on each node, one for each GPU")
    nodes: int = Field(default=1, ge=1)
    threads: int = Field(
        default=0, ge=0, description="threads of one process on the CPU; 0: all cores"
    )
    save_every_steps: int = Field(default=100, ge=1)
    check_every_steps: int = Field(
        default=50, ge=1, description="steps between two checks for collapse"
    )


class EncoderTrainingConfig(ConfigSection):
    """All sections of the configuration of an encoder training."""

    data: EncoderDataSection = EncoderDataSection()
    augment: AugmentSection = AugmentSection()
    model: EncoderModelSection = EncoderModelSection()
    objective: ObjectiveSection = ObjectiveSection()
    run: EncoderRunSection = EncoderRunSection()


def load_encoder_training_config(path: Path | None) -> EncoderTrainingConfig:
    """Read the configuration of an encoder training from a TOML file; None gives all defaults.

    Relative paths in the file start in the working folder.

    Raises
    ------
    ConfigError
        With every problem of the file: the key, its value and the expected value.
    """
    if path is None:
        return EncoderTrainingConfig()
    try:
        config = EncoderTrainingConfig.model_validate(
            tomllib.loads(path.read_text(encoding="utf-8"))
        )
    except FileNotFoundError as error:
        raise ConfigError(
            path, "does not exist; expected a TOML file (deploy/train.example.toml shows every key)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
    except ValidationError as error:
        first, *more = (_explain_problem(problem, path) for problem in error.errors())
        raise ConfigError(*first, more=tuple(more)) from error
    return config


def _explain_problem(problem: Any, path: Path) -> tuple[str, str]:  # noqa: ANN401 - pydantic's own error mapping
    """Return the key with its file, and the problem with the expected value."""
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        section = EncoderTrainingConfig.model_fields.get(str(problem["loc"][0]))
        known = (
            EncoderTrainingConfig.model_fields
            if section is None
            else type(section.default).model_fields
        )
        return (
            f"{path}, key {key}",
            f"is unknown (value {problem['input']!r}); expected one of {', '.join(known)}",
        )
    return (
        f"{path}, key {key}",
        f"is {problem['input']!r}; expected {str(problem['msg']).removeprefix('Input should be ')}",
    )
