"""The training objectives by name."""

from torch import nn

from schemas.errors import ConfigError
from training.objectives.base import EmbeddingLayer, Objective, ObjectiveSettings
from training.objectives.byol import BYOL
from training.objectives.dino import DINO
from training.objectives.mae import MAE
from training.objectives.measures import MeasuresObjective
from training.objectives.ntxent import NTXent
from training.objectives.simclr import SimCLR
from training.objectives.soft_ntxent import SoftNTXent
from training.objectives.supcon import SupCon
from training.objectives.time_aware import TimeAware
from training.objectives.triplet import Triplet
from training.objectives.vicreg import VICReg

OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (
        BYOL,
        DINO,
        MAE,
        MeasuresObjective,
        NTXent,
        SimCLR,
        SoftNTXent,
        SupCon,
        TimeAware,
        Triplet,
        VICReg,
    )
}


def make_objective(
    name: str, backbone: nn.Module, dimension: int, settings: ObjectiveSettings
) -> Objective:
    """Return the Objective of a name and settings over a backbone to features, (B, dimension).

    Raises
    ------
    ConfigError
        If there is no such objective, or it cannot use this backbone or layer.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            "objective.name", f"is {name!r}; expected one of {', '.join(sorted(OBJECTIVES))}"
        )
    if settings.layer is EmbeddingLayer.BOTH and name != MeasuresObjective.name:
        raise ConfigError(
            "objective.layer",
            f"is 'both', which is for 'measures', not for {name!r}; expected 'backbone' or 'head'",
        )
    return OBJECTIVES[name](backbone, dimension, settings)
