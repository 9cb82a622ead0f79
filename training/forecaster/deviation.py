"""Loss and quality of a forecaster, from the deviation of each well from the other wells.

A change that all wells of a plate have in common does not count, because it differs between plates.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from schemas.trajectory import Trajectories
from training.forecaster.examples import ForecastExample, all_examples
from training.forecaster.export import ForecastQuality
from training.forecaster.model import TrajectoryForecaster, standardise

HUBER_DELTA = 2.0  # spreads of a plate's wells
_MOST_ROWS = 20_000  # rows from which the principal directions are computed


def principal_directions(plates: Sequence[Trajectories], components: int) -> torch.Tensor:
    """Return the directions, (D, components), in which wells of the plates differ most.

    If there are no more features than components, it is the identity matrix (D, D).
    """
    width = len(plates[0].feature_names)
    if width <= components:
        return torch.eye(width)
    deviations = torch.cat(
        [
            standardise(torch.from_numpy(plate.features.astype(np.float32)))[0].reshape(-1, width)
            for plate in plates
        ]
    )
    generator = torch.Generator().manual_seed(0)
    chosen = deviations[torch.randperm(len(deviations), generator=generator)[:_MOST_ROWS]]
    return (
        torch.linalg.svd(chosen, full_matrices=False)
        .Vh[: min(components, len(chosen))]
        .T.contiguous()
    )


def feature_blocks(plate: Trajectories) -> tuple[slice, ...]:
    """Return column slices of a plate's Trajectories: embedding and measures, unless empty."""
    dimension, width = plate.embedding_dimension, len(plate.feature_names)
    blocks = (slice(0, dimension), slice(dimension, width))
    return tuple(block for block in blocks if block.start < block.stop)


def deviation_errors(
    predicted: torch.Tensor, example: ForecastExample
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the errors of predicted deviations from the mean well, and the true ones, (N, D) each.

    Parameters
    ----------
    predicted
        (N, D) features on the readout day of the example.

    Returns
    -------
    errors, deviations : Tensor
        (N, D) in spreads of the plate; NaN without an image.
    """
    deviation, _, spread, has_image = standardise(
        torch.cat([example.features, example.readout.unsqueeze(1)], dim=1)
    )
    actual, known = deviation[:, -1], has_image[:, -1]
    values = torch.where(known, predicted, torch.zeros_like(predicted))
    mean = values.sum(dim=0) / known.float().sum(dim=0).clamp(min=1)
    missing = torch.full_like(actual, torch.nan)
    errors = torch.where(known, actual - (values - mean) / spread, missing)
    return errors, torch.where(known, actual, missing)


def deviation_loss(
    model: TrajectoryForecaster, example: ForecastExample, blocks: Sequence[slice]
) -> torch.Tensor:
    """Return the scalar loss of a forecaster on an example, a mean over slices of its features."""
    predicted = model(example.features, example.days, example.readout_day)
    errors, _ = deviation_errors(predicted, example)
    known = ~torch.isnan(errors)
    losses = functional.huber_loss(
        torch.where(known, errors, torch.zeros_like(errors)),
        torch.zeros_like(errors),
        reduction="none",
        delta=HUBER_DELTA,
    )
    return torch.stack(
        [losses[:, block].sum() / known[:, block].float().sum().clamp(min=1) for block in blocks]
    ).mean()


def evaluate_forecaster(
    model: TrajectoryForecaster, plates: Sequence[Trajectories]
) -> ForecastQuality:
    """Return the ForecastQuality of a forecaster on plates: the share of variance it explains.

    It is the mean over all examples of the plates. The comparison keeps each well's last image.
    """
    explained, explained_by_last = [], []
    with torch.inference_mode():
        for example in all_examples(plates):
            predicted = model(example.features, example.days, example.readout_day)
            errors, actual = deviation_errors(predicted, example)
            newest = example.features[:, -1]
            last = torch.where(torch.isnan(newest), example.readout, newest)
            total = max(float(actual.square().nansum()), 1e-9)
            explained.append(1 - float(errors.square().nansum()) / total)
            last_errors, _ = deviation_errors(last, example)
            explained_by_last.append(1 - float(last_errors.square().nansum()) / total)
    return ForecastQuality(
        float(np.mean(explained)), float(np.mean(explained_by_last)), len(plates)
    )
