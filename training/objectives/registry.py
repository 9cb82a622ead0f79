"""The training objectives by name; the class of an objective is imported when it is made.

This module loads no torch, so that a wrong name is reported at once.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from schemas.errors import ConfigError
from training.objectives.settings import EmbeddingLayer, ObjectiveSettings

if TYPE_CHECKING:
    from torch import nn

    from training.objectives.base import Objective

OBJECTIVES: Mapping[str, str] = {
    "byol": "BYOL",
    "convirt": "ConVIRT",
    "dino": "DINO",
    "mae": "MAE",
    "measures": "MeasuresObjective",
    "ntxent": "NTXent",
    "siamese": "Siamese",
    "simclr": "SimCLR",
    "soft_ntxent": "SoftNTXent",
    "supcon": "SupCon",
    "time_aware": "TimeAware",
    "triplet": "Triplet",
    "vicreg": "VICReg",
}
"""Class of each objective, in the module of its name in this package."""


def check_objective(name: str, settings: ObjectiveSettings) -> None:
    """Raise ConfigError if there is no objective of a name, or it has no such layer."""
    if name not in OBJECTIVES:
        raise ConfigError("objective.name", f"is {name!r}; expected one of {', '.join(OBJECTIVES)}")
    if settings.layer is EmbeddingLayer.BOTH and name != "measures":
        raise ConfigError(
            "objective.layer",
            f"is 'both', which is for 'measures', not for {name!r}; expected 'backbone' or 'head'",
        )


def make_objective(
    name: str, backbone: "nn.Module", dimension: int, settings: ObjectiveSettings
) -> "Objective":
    """Return the Objective of a name and settings over a backbone to features, (B, dimension).

    Raises
    ------
    ConfigError
        If there is no such objective, or it cannot use this backbone or layer.
    """
    check_objective(name, settings)
    module = importlib.import_module(f"training.objectives.{name}")
    objective: Objective = getattr(module, OBJECTIVES[name])(backbone, dimension, settings)
    return objective
