"""A network that predicts untreated wells, with standardisation of features inside the network.

So the ONNX file maps raw features to raw features.
"""

import torch
from torch import nn
from torch.nn import functional

from training.forecaster.bodies import BODIES

LARGEST = 1e12  # limit of a feature; its square is finite in float32
LEAST_SPREAD = 1e-6  # smallest spread, share of the largest value; less is rounding
DAYS_UNIT = 3.0  # days that are one unit of time


class TrajectoryForecaster(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A network (wells, days, features) → (wells, features).

    The prediction of a well is its last deviation from the mean well, which fades with time, plus
    an output of the body over all its days in ``components`` directions. All values are in units of
    the spread of a feature over the wells of this plate.

    Parameters
    ----------
    directions
        (features, components) with orthonormal columns.
    hidden
        Length of the summary of a well.
    body
        Key of :data:`training.forecaster.bodies.BODIES`.
    """

    def __init__(self, directions: torch.Tensor, hidden: int, body: str = "gru") -> None:
        super().__init__()
        features, components = directions.shape
        self.register_buffer("directions", directions.float())
        self.body = BODIES[body](2 * components + 2, hidden)
        self.head = nn.Linear(hidden, components)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Log odds of the share of the last deviation that is left after DAYS_UNIT days.
        self.fading = nn.Parameter(torch.full((features,), 2.0))
        # Decay of the weight of an image with its age in days, before softplus.
        self.newness = nn.Parameter(torch.tensor(2.0))

    def forward(
        self, features: torch.Tensor, days: torch.Tensor, readout_day: torch.Tensor
    ) -> torch.Tensor:
        """Return the features predicted for ``readout_day``, (N, T, D) on (T,) days → (N, D).

        A missing input value is NaN.
        """
        deviation, centre, spread, known = standardise(features)
        ahead = (readout_day - days) / DAYS_UNIT  # (T,)
        weight = torch.exp(
            -functional.softplus(self.newness) * (ahead - ahead.min()) * DAYS_UNIT
        ).reshape(1, -1, 1)  # (1, T, 1)
        has_image = known.any(dim=2, keepdim=True).float()  # (N, T, 1)
        last = (deviation * known.float() * weight).sum(dim=1) / (known.float() * weight).sum(
            dim=1
        ).clamp(min=1e-9)  # (N, D)
        level = (centre * known.any(dim=0).float() * weight[0]).sum(dim=0) / (
            known.any(dim=0).float() * weight[0]
        ).sum(dim=0).clamp(min=1e-9)  # (D,)
        position = deviation @ self.directions  # (N, T, components)
        summary = self.body(body_inputs(position, has_image, ahead), has_image)
        remains = torch.exp(functional.logsigmoid(self.fading) * ahead.min())  # (D,)
        predicted = last * remains + self.head(summary) @ self.directions.T * ahead.min()
        return level + spread * predicted


def body_inputs(
    position: torch.Tensor, has_image: torch.Tensor, ahead: torch.Tensor
) -> torch.Tensor:
    """Return the inputs of a body, (N, T, 2 × components + 2).

    They are the positions, their changes from day to day, ``has_image`` and the time.

    Parameters
    ----------
    position
        (N, T, components) deviations from the mean well in the directions; 0 without image.
    has_image
        (N, T, 1), 1.0 or 0.0.
    ahead
        (T,) time until the readout day, in units of :data:`DAYS_UNIT` days.
    """
    change = torch.cat(
        [
            torch.zeros_like(position[:, :1]),
            (position[:, 1:] - position[:, :-1]) * has_image[:, 1:] * has_image[:, :-1],
        ],
        dim=1,
    )
    when = ahead.reshape(1, -1, 1).expand_as(has_image)
    return torch.cat([position, change, has_image, when], dim=2)


def standardise(
    features: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return deviation, centre, spread and validity of features, (N, T, D), relative to mean wells.

    Returns
    -------
    deviation : Tensor
        (N, T, D) in spreads, limited to ±10; 0 if missing.
    centre : Tensor
        (T, D) mean of each day.
    spread : Tensor
        (D,) standard deviation over wells and days.
    known : Tensor
        (N, T, D) bool: false if missing.
    """
    known = ~torch.isnan(features)
    values = torch.where(known, features, torch.zeros_like(features)).clamp(-LARGEST, LARGEST)
    count = known.float()
    centre = values.sum(dim=0) / count.sum(dim=0).clamp(min=1.0)
    apart = (values - centre) * count
    variance = (apart**2).sum(dim=(0, 1)) / count.sum(dim=(0, 1)).clamp(min=1.0)
    # The gradient of the square root of zero is not a number.
    spread = torch.sqrt(torch.where(variance > 0, variance, torch.ones_like(variance)))
    spread = torch.where(
        spread > LEAST_SPREAD * values.abs().amax(dim=(0, 1)), spread, torch.ones_like(spread)
    )
    return (apart / spread).clamp(-10.0, 10.0), centre, spread, known
