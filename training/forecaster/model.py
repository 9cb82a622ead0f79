"""A GRU that foresees what untreated wells become, as one network from raw features to raw features: what ONNX then holds is all there is to it.

GRU: Cho et al. 2014, doi:10.3115/v1/D14-1179.
"""

import torch
from torch import nn
from torch.nn import functional

LARGEST = 1e12  # whose square is still a number
LEAST_SPREAD = 1e-6  # of the largest value of a feature: what varies less does not vary
DAYS_UNIT = 3.0  # days that count as one


class GruForecaster(nn.Module):  # type: ignore[misc] # torch is not typed here
    """(wells, days, features) → (wells, features), each feature in units of its spread over this plate's wells.

    What is foreseen of a well is its last deviation from the other wells, faded, and what the GRU makes of all its days in ``components`` directions.

    Parameters
    ----------
    directions
        (features, components): orthonormal columns.
    """

    def __init__(self, directions: torch.Tensor, hidden: int) -> None:
        super().__init__()
        features, components = directions.shape
        self.register_buffer("directions", directions.float())
        self.gru = nn.GRU(2 * components + 2, hidden, batch_first=True)
        self.head = nn.Linear(hidden, components)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.fading = nn.Parameter(
            torch.full((features,), 2.0)
        )  # log odds of what is left of the last deviation after DAYS_UNIT days
        self.newness = nn.Parameter(
            torch.tensor(2.0)
        )  # how much more the newest image says than one of the day before

    def forward(
        self, features: torch.Tensor, days: torch.Tensor, readout_day: torch.Tensor
    ) -> torch.Tensor:
        """Return what each well is on ``readout_day``; NaN stands for what is missing."""
        deviation, centre, spread, seen = standardise(features)
        ahead = (readout_day - days) / DAYS_UNIT  # (T,)
        weight = torch.exp(
            -functional.softplus(self.newness) * (ahead - ahead.min()) * DAYS_UNIT
        ).reshape(1, -1, 1)  # (1, T, 1)
        there = seen.any(dim=2, keepdim=True).float()  # (N, T, 1)
        last = (deviation * seen.float() * weight).sum(dim=1) / (seen.float() * weight).sum(
            dim=1
        ).clamp(min=1e-9)  # (N, D)
        level = (centre * seen.any(dim=0).float() * weight[0]).sum(dim=0) / (
            seen.any(dim=0).float() * weight[0]
        ).sum(dim=0).clamp(min=1e-9)  # (D,)
        place = deviation @ self.directions  # (N, T, components)
        change = torch.cat(
            [
                torch.zeros_like(place[:, :1]),
                (place[:, 1:] - place[:, :-1]) * there[:, 1:] * there[:, :-1],
            ],
            dim=1,
        )
        _, state = self.gru(
            torch.cat([place, change, there, ahead.reshape(1, -1, 1).expand_as(there)], dim=2)
        )
        remains = torch.exp(functional.logsigmoid(self.fading) * ahead.min())  # (D,)
        foreseen = last * remains + self.head(state[0]) @ self.directions.T * ahead.min()
        return level + spread * foreseen


def standardise(
    features: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return deviations from each day's mean well in spreads of the plate (N, T, D), 0 where missing; means (T, D), spreads (D,), what was seen (N, T, D)."""
    seen = ~torch.isnan(features)
    values = torch.where(seen, features, torch.zeros_like(features)).clamp(-LARGEST, LARGEST)
    count = seen.float()
    centre = values.sum(dim=0) / count.sum(dim=0).clamp(min=1.0)
    apart = (values - centre) * count
    spread = torch.sqrt((apart**2).sum(dim=(0, 1)) / count.sum(dim=(0, 1)).clamp(min=1.0))
    spread = torch.where(
        spread > LEAST_SPREAD * values.abs().amax(dim=(0, 1)), spread, torch.ones_like(spread)
    )
    return (apart / spread).clamp(-10.0, 10.0), centre, spread, seen
