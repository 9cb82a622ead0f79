"""Self-supervised objectives that train the body of a forecaster on trajectories without labels.

``timeclr``: two views of a well by dynamic time warping are classified among all views of the plate
(TimeCLR, Yang et al. 2022, doi:10.1016/j.knosys.2022.108606; here with several values a day).
``mae``: hidden days of a well are predicted from its other days (a masked autoencoder, He et al.
2022, arXiv 2111.06377, on days in place of patches).

An example of a forecaster, with the readout as its last day, is one batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from schemas.arrays import BoolArray
from training.forecaster.config import ForecasterPretrainingSection
from training.forecaster.examples import ForecastExample
from training.forecaster.model import (
    DAYS_UNIT,
    TrajectoryForecaster,
    body_inputs,
    standardise,
)
from training.forecaster.warping import random_view
from training.objectives.ntxent import contrastive_loss

FEWEST_DAYS = 3
"""Fewest imaged days of some plate: two days have one order, and one of them hides the change."""


class TrajectoryObjective(nn.Module, ABC):  # type: ignore[misc] # torch is not typed here
    """The body of a forecaster with the layers and the loss of a pretraining."""

    def __init__(
        self, forecaster: TrajectoryForecaster, settings: ForecasterPretrainingSection
    ) -> None:
        super().__init__()
        self.body = forecaster.body
        self.register_buffer("directions", forecaster.directions)
        self.settings = settings
        hidden, components = forecaster.head.in_features, forecaster.head.out_features
        self.add_layers(hidden, components)

    @abstractmethod
    def add_layers(self, hidden: int, components: int) -> None:
        """Add the layers of the objective for summaries of ``hidden`` values."""

    @abstractmethod
    def loss(self, example: ForecastExample) -> torch.Tensor:
        """Return the scalar loss of an example."""


class TimeClr(TrajectoryObjective):
    """The objective ``timeclr``: contrast between two views of each well."""

    def add_layers(self, hidden: int, components: int) -> None:
        """Add the projection head of SimCLR."""
        del components
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def loss(self, example: ForecastExample) -> torch.Tensor:
        """Return the NT-Xent loss of two views of each well with two images or more."""
        features, ahead = whole_series(example)
        deviation, _, _, known = standardise(features)
        has_image = known.any(dim=2)  # (N, T)
        wells = has_image.sum(dim=1) > 1
        if wells.sum() < 2:  # noqa: PLR2004 - a well needs another as guide
            return sum(parameter.sum() for parameter in self.parameters()) * 0
        position = (deviation[wells] @ self.directions).cpu().double().numpy()
        imaged, rng = has_image[wells].cpu().numpy(), np.random.default_rng(example.seed)
        views = [random_view(position, imaged, self.settings.amplitude, rng) for _ in range(2)]
        values, have_image = (
            torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(features.device)
            for parts in zip(*views, strict=True)
        )
        have_image = have_image.unsqueeze(2)
        projections = self.head(self.body(body_inputs(values, have_image, ahead), have_image))
        positives = torch.eye(len(position), dtype=torch.bool, device=features.device)
        nothing = torch.zeros_like(positives)
        pairs = torch.cat(
            [torch.cat([nothing, positives], dim=1), torch.cat([positives, nothing], dim=1)]
        )
        return contrastive_loss(projections, pairs, self.settings.temperature)


class MaskedDays(TrajectoryObjective):
    """The objective ``mae``: the body receives some days of a well and predicts its other days."""

    def add_layers(self, hidden: int, components: int) -> None:
        """Add the decoder of a summary and the time of a hidden day."""
        self.decoder = nn.Sequential(
            nn.Linear(hidden + 1, hidden), nn.ReLU(), nn.Linear(hidden, components)
        )

    def loss(self, example: ForecastExample) -> torch.Tensor:
        """Return the mean squared error of the hidden days, in spreads of the plate."""
        features, ahead = whole_series(example)
        deviation, _, _, known = standardise(features)
        has_image = known.any(dim=2).cpu().numpy()
        masked = torch.from_numpy(
            draw_masked_days(has_image, self.settings.masked, np.random.default_rng(example.seed))
        ).to(features.device)
        errors = self.predict(hide(features, masked), ahead) - deviation @ self.directions
        return (errors.square().mean(dim=2) * masked).sum() / masked.sum().clamp(min=1)

    def predict(self, features: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
        """Return the positions of all days, (N, T, components), from features with hidden days.

        Parameters
        ----------
        features
            (N, T, D), NaN on hidden days and without image.
        """
        deviation, _, _, known = standardise(features)
        has_image = known.any(dim=2, keepdim=True).float()
        inputs = body_inputs(deviation @ self.directions, has_image, ahead)
        summary = self.body(inputs, has_image)  # (N, hidden)
        summaries = summary.unsqueeze(1).expand(-1, len(ahead), -1)
        when = ahead.reshape(1, -1, 1).expand_as(has_image)
        return self.decoder(torch.cat([summaries, when], dim=2))


OBJECTIVES: Mapping[str, type[TrajectoryObjective]] = {"timeclr": TimeClr, "mae": MaskedDays}
"""Objectives by the name in the configuration."""


def whole_series(example: ForecastExample) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all days of an example with the readout as the last one, and their times.

    Returns
    -------
    features : Tensor
        (N, T + 1, D).
    ahead : Tensor
        (T + 1,) time until the readout day, in units of :data:`DAYS_UNIT` days.
    """
    features = torch.cat([example.features, example.readout.unsqueeze(1)], dim=1)
    days = torch.cat([example.days, example.readout_day.reshape(1)])
    return features, (example.readout_day - days) / DAYS_UNIT


def draw_masked_days(has_image: BoolArray, share: float, rng: np.random.Generator) -> BoolArray:
    """Return a random mask of the days to hide, (N, T), for a share of the images of each well.

    At least one image of a well is hidden and one is not. A well with one image has no hidden day.

    Parameters
    ----------
    has_image
        (N, T).
    """
    images = has_image.sum(axis=1)
    hidden = np.clip(np.rint(share * images), 1, np.maximum(images - 1, 0))
    draws = np.where(has_image, rng.random(has_image.shape), np.inf)
    return np.asarray((draws.argsort(axis=1).argsort(axis=1) < hidden[:, None]) & has_image)


def hide(features: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Return features, (N, T, D), with NaN on the masked days, (N, T)."""
    return torch.where(masked.unsqueeze(2), torch.full_like(features, torch.nan), features)
