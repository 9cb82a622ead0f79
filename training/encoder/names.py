"""Check of the names and files in a training configuration, before torch and images are loaded."""

import difflib
import importlib.util
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from schemas.errors import ConfigError
from training.data.presets import get_preset
from training.encoder.config import ArchiveSection, EncoderTrainingConfig
from training.objectives.registry import check_objective

IMAGENET_WEIGHTS, HUB = "imagenet", "hub"
IMAGENET_BACKBONE = "tf_efficientnet_lite0"
"""The network whose ImageNet weights are in a Python package."""
UNET_ENCODER = "unet_encoder"
"""The network that is not in timm: :mod:`training.encoder.unet_encoder`."""
_SQLITE = "sqlite:///"


def check_names(config: EncoderTrainingConfig) -> None:
    """Raise ConfigError with every objective, preset, network or file that does not exist."""
    data, model = config.data, config.model
    checks: list[Callable[[], object]] = [
        lambda: check_objective(config.objective.name, config.objective),
        lambda: get_preset(config.augment.first, "augment.first"),
        lambda: get_preset(config.augment.second, "augment.second"),
        lambda: check_backbone_name(model.backbone),
        lambda: check_weights(model.backbone, model.weights),
        *(lambda section=section: _check_archive(section) for section in data.archives),
    ]
    if not data.archives and not data.virtual_plates:
        raise ConfigError(
            "data", "has no images; expected tables [[data.archives]], or virtual_plates"
        )
    problems: list[tuple[str, str]] = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += error.problems
    if problems:
        first, *more = problems
        raise ConfigError(*first, more=tuple(more))


def check_backbone_name(name: str) -> None:
    """Raise ConfigError if a name is nowhere in the source text of timm's networks.

    Neither timm nor torch is imported. Without timm, nothing is checked.
    """
    if name != UNET_ENCODER and _timm_sources() and name not in _words_of_timm():
        raise unknown_backbone(name)


def unknown_backbone(name: str) -> ConfigError:
    """Return the error of a network that timm does not have, with similar names."""
    known = re.findall(r"^@register_model\s+def (\w+)\(", _timm_sources(), flags=re.MULTILINE)
    near = difflib.get_close_matches(name, [*known, UNET_ENCODER], n=4, cutoff=0.4) or [
        IMAGENET_BACKBONE,
        "resnet18",
        "vit_tiny_patch16_224",
    ]
    return ConfigError(
        "model.backbone",
        f"is {name!r}, which timm {version('timm')} does not know; "
        f"expected a name such as {', '.join(near)}",
    )


def check_weights(backbone: str, weights: str) -> None:
    """Raise ConfigError if weights are neither a known word nor a file, or not of the backbone."""
    if weights == IMAGENET_WEIGHTS and backbone != IMAGENET_BACKBONE:
        raise ConfigError(
            "model.weights",
            f"is 'imagenet', which is available for {IMAGENET_BACKBONE} only, "
            f"not for {backbone}; expected 'none', 'hub' or a file of weights",
        )
    if weights == HUB and backbone == UNET_ENCODER:
        raise ConfigError(
            "model.weights",
            f"is 'hub', which has no weights of {UNET_ENCODER}; expected 'none' or a file",
        )
    if weights not in (IMAGENET_WEIGHTS, HUB, "none") and not Path(weights).is_file():
        raise ConfigError(
            "model.weights",
            f"is '{weights}', which is not a file; "
            "expected 'imagenet', 'none', 'hub' or a file of weights",
        )


def _check_archive(section: ArchiveSection) -> None:
    if not section.folder.is_dir():
        raise ConfigError(section.folder, "is not a folder; expected a folder with images")
    store = section.store or ""
    if store.startswith(_SQLITE) and not Path(store.removeprefix(_SQLITE)).is_file():
        raise ConfigError(
            "data.archives.store", f"is {store}, which is no file; expected the store of a service"
        )


@cache
def _timm_sources() -> str:
    """Return the source text of all networks of timm; empty without timm."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        return ""
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@cache
def _words_of_timm() -> frozenset[str]:
    """Return the names of all functions and the text of all short strings in timm's networks."""
    return frozenset(re.findall(r"""(?:def |['"])([\w.]+)[('"]""", _timm_sources()))
