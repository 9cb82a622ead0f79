"""Validation of a trained encoder on plates that it was not trained on.

The full evaluation is ``spherorank evaluate``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from training.data.batch_plan import MAX_MEASURE_SPREADS, BatchPlan
from training.data.batches import normalise, value_images
from training.data.crops import PlateCrops
from training.encoder import collapse
from training.encoder.learner import compute_embeddings
from training.objectives.base import Objective

FOLDS = 5
MIN_IMAGES = 20
"""Smallest number of images with measures for a regression."""


@dataclass(frozen=True)
class Validation:
    """Statistics of the embeddings of validation images."""

    images: int
    rank: float  # effective rank of the embedding
    spread: float
    measures_r2: float | None
    """Mean cross-validated R² of the tissue measures, predicted from the embedding by ridge
    regression; None with fewer than MIN_IMAGES images."""


def validate_encoder(
    objective: Objective, plates: Sequence[PlateCrops], plan: BatchPlan
) -> Validation:
    """Return the Validation of an objective's embeddings of all clean images of the plates."""
    embeddings = torch.cat(
        [compute_embeddings(objective, clean_images(plate, plan)) for plate in plates]
    )
    measures = np.concatenate([plate.measures for plate in plates])
    statistics = collapse.embedding_statistics(embeddings)
    return Validation(
        len(embeddings),
        statistics.rank,
        statistics.spread,
        regress_measures(embeddings.numpy(), measures),
    )


def regress_measures(
    embeddings: npt.NDArray[np.float32], measures: npt.NDArray[np.float32]
) -> float | None:
    """Return the R² of measures, (n, M), predicted from embeddings, (n, D); None for few images.

    The regression is a ridge regression with five folds; the R² is the mean over the measures.
    Returns None with fewer than MIN_IMAGES images that have measures.
    """
    known = np.isfinite(measures).all(axis=1)
    if known.sum() < MIN_IMAGES:
        return None
    truth = (
        StandardScaler()
        .fit_transform(measures[known])
        .clip(-MAX_MEASURE_SPREADS, MAX_MEASURE_SPREADS)
    )
    # One scale for all dimensions, so that a constant dimension stays constant.
    scale = float(embeddings[known].std(axis=0).mean()) or 1.0
    scaled = embeddings[known] / scale
    predicted = cross_val_predict(
        RidgeCV(np.logspace(-1, 5, 7)), scaled, truth, cv=KFold(FOLDS, shuffle=True, random_state=0)
    )
    return float(r2_score(truth, predicted))


def sample_clean_images(plates: Sequence[PlateCrops], plan: BatchPlan, count: int) -> torch.Tensor:
    """Return up to ``count`` clean, normalised images of all plates, (n, 3, side, side).

    The images are spread evenly over each plate.
    """
    share = max(count // len(plates), 1)
    return torch.cat([clean_images(plate, plan, share) for plate in plates])[:count]


def clean_images(plate: PlateCrops, plan: BatchPlan, count: int | None = None) -> torch.Tensor:
    """Return a plate's images, at most ``count``, not augmented but normalised, (n, 3, side, side).

    Without ``count`` these are all images, else images spread evenly over the plate.
    """
    rows = np.unique(
        np.linspace(0, len(plate) - 1, min(count or len(plate), len(plate))).round().astype(int)
    )
    return normalise(value_images((plate.crops[row] for row in rows), plan.side_px), plan)
