"""Small backbone, batch of wells, and two processes that share a batch, for tests of objectives."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.data.batch_plan import Batch
from training.data.records import RecordContent
from training.objectives.base import Objective
from training.objectives.registry import make_objective
from training.objectives.settings import ObjectiveSettings

SIDE, DIMENSION, MEASURES = 8, 16, 11
WORDS, NUMBERS = 40, RecordContent().number_count

Doubles = npt.NDArray[np.float64]


def tiny_backbone(seed: int = 0) -> nn.Module:
    """Return a network (batch, 3, 8, 8) → (batch, 16) with random weights of the seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, DIMENSION), nn.Tanh())


def sample_batch(labels: Sequence[int] = (0, 0, 1, 1, 2, -1), seed: int = 1) -> Batch:
    """Return a batch with a later day, whose last image has neither measures nor a record."""
    make, words = (torch.Generator().manual_seed(seed) for _ in range(2))
    count = len(labels)

    def images() -> Tensor:
        return torch.randn(count, 3, SIDE, SIDE, generator=make)

    numbers = torch.arange(count)
    known = numbers < count - 1
    day = Batch(
        first=images(),
        second=images(),
        clean=None,
        plate=torch.zeros_like(numbers),
        well=numbers,
        day=torch.full_like(numbers, 7),
        label=torch.tensor(labels),
        untreated=torch.ones(count, dtype=torch.bool),
        measures=torch.randn(count, MEASURES, generator=make) * known[:, None],
        has_measures=known,
        record_words=torch.randint(2, WORDS, (count, 7), generator=words) * known[:, None],
        record_numbers=torch.randn(count, NUMBERS, generator=words) * known[:, None],
    )
    measures = torch.randn(count, MEASURES, generator=make) * known[:, None]
    later = replace(
        day, first=images(), second=images(), measures=measures, day=day.day + 1 + numbers % 3
    )
    return replace(day, later=later, days_apart=later.day - day.day)


def objective_of(name: str, **options: object) -> Objective:
    """Return an objective over the small backbone, with the same weights in every call."""
    backbone = tiny_backbone()
    return make_objective(
        name,
        backbone,
        DIMENSION,
        ObjectiveSettings.model_validate({"hidden": 24, "projection": 8, **options}),
    )


def doubles(tensor: Tensor) -> Doubles:
    """Return a tensor as a float64 array."""
    return tensor.detach().double().numpy()


def projected(objective: Objective, *views: Tensor) -> Doubles:
    """Return the unit projections of the views, one view after the other."""
    rows = doubles(objective.head(objective.backbone(torch.cat(views))))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def part_of(batch: Batch, rows: slice) -> Batch:
    """Return some rows of a batch."""
    cut: dict[str, Any] = {field.name: getattr(batch, field.name) for field in fields(batch)}
    cut = {name: value[rows] if isinstance(value, Tensor) else value for name, value in cut.items()}
    return replace(
        batch, **cut | {"later": part_of(batch.later, rows) if batch.later is not None else None}
    )


def learn_once(objective: Objective, batch: Batch) -> tuple[float, Tensor]:
    """Return the loss of a batch and the gradient of the backbone's weights."""
    loss = objective.loss(batch)["loss"]
    loss.backward()
    return loss.item(), objective.backbone[1].weight.grad


def share_a_batch(rank: int, names: Sequence[str], folder: str) -> None:
    """Run as one of two processes with half a batch each; write the mean losses and gradients."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    found = {}
    for name in names:
        loss, gradient = learn_once(
            objective_of(name), part_of(sample_batch(), slice(3 * rank, 3 * rank + 3))
        )
        mean = torch.cat([torch.tensor([loss]), gradient.flatten()]) / 2
        torch.distributed.all_reduce(mean)
        found[name] = mean
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    torch.distributed.destroy_process_group()
