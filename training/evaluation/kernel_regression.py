"""Percent of deterioration predicted from features by kernel regression, with a few assay plates.

The kernel and its strength are chosen on the assay plates. All computations use Gram matrices: one
for each block of features (embedding or measures), added with a weight. The linear kernel gives
ridge regression; the other kernel is Gaussian (RBF).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

RIDGES = tuple(np.logspace(-4, 1, 8).tolist())  # share of the mean diagonal of the Gram matrix
WIDTHS = (0.3, 1.0, 3.0)  # share of the median squared distance
RBF_RIDGES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class RegressionSettings:
    """One candidate of the kernel regression."""

    weight: float  # weight of the embedding's block; the measures' block has 1
    kernel: str  # "ridge" or "rbf"
    strength: float  # of the regularisation
    width: float = 1.0  # of the RBF kernel


def differences_from_untreated(features: Array, untreated: Bools) -> tuple[Array, Array]:
    """Return readout and change, (N, D) each, of features, (N, 2, D), less the untreated median.

    Parameters
    ----------
    features
        (N, 2, D) of one plate: dosing day, readout day.

    Returns
    -------
    readout, change : Array
        (N, D) each.
    """
    readout, change = features[:, 1], features[:, 1] - features[:, 0]
    return readout - np.median(readout[untreated], axis=0), change - np.median(
        change[untreated], axis=0
    )


def gram_matrix(
    parts: Sequence[tuple[Array, Array]],
    untreated: Sequence[Bools],
    reference: Sequence[int],
    *,
    one_scale: bool,
) -> Array:
    """Return the Gram matrix of all plates' wells, (wells, wells), from their readouts and changes.

    Values are scaled by the spread of untreated wells of the reference plates. The matrix is scaled
    to a mean diagonal of 1 over the wells of these plates, so that blocks have equal weight.

    Parameters
    ----------
    parts
        For each plate readout and change, as :func:`differences_from_untreated` returns them.
    untreated
        For each plate (N,) bool.
    reference
        Indices of the reference plates.
    one_scale
        Scale all values by the root mean square of their spreads (embedding); else scale each value
        by its own spread (measures).

    Returns
    -------
    Array
        (wells, wells).
    """
    total = np.zeros((sum(len(part[0]) for part in parts),) * 2)
    for side in (0, 1):
        spread = np.sqrt(
            np.mean(
                [parts[plate][side][untreated[plate]].var(axis=0, ddof=1) for plate in reference],
                axis=0,
            )
        )
        unit = np.sqrt(np.mean(spread**2)) if one_scale else spread
        rows = np.concatenate([part[side] for part in parts]) / np.where(unit > 0, unit, np.inf)
        total += rows @ rows.T
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    of_reference = np.concatenate(
        [np.diag(total)[starts[plate] : starts[plate + 1]] for plate in reference]
    )
    return total / max(float(of_reference.mean()), np.finfo(float).tiny)


def candidate_settings(weights: Sequence[float]) -> Iterator[RegressionSettings]:
    """Yield the RegressionSettings of every candidate with the given embedding weights."""
    for weight in weights:
        yield from (RegressionSettings(weight, "ridge", strength) for strength in RIDGES)
        yield from (
            RegressionSettings(weight, "rbf", strength, width)
            for width in WIDTHS
            for strength in RBF_RIDGES
        )


def kernel_matrix(products: Array, training: Bools, settings: RegressionSettings) -> Array:
    """Return the kernel between all wells, (wells, wells), from their Gram matrix and the settings.

    The scale of the kernel is set on the training wells.
    """
    if settings.kernel == "ridge":
        # The constant is the kernel of the intercept.
        return products + float(np.diag(products)[training].mean())
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    median = float(np.median(distances[np.ix_(training, training)]))
    return np.asarray(np.exp(-distances / (2 * settings.width * max(median, np.finfo(float).tiny))))


def predict_percent(
    kernel: Array, percent: Array, training: Bools, targets: Bools, strength: float
) -> Array:
    """Return the target wells' percent by kernel ridge regression on the percent of training wells.

    Parameters
    ----------
    kernel
        (wells, wells).
    percent
        (wells,) or (wells, C), used only for training wells; each column is a regression.
    """
    mean = percent[training].mean(axis=0)
    own = kernel[np.ix_(training, training)]
    weights = np.linalg.solve(
        own + strength * np.mean(np.diag(own)) * np.eye(len(own)), percent[training] - mean
    )
    return np.asarray(kernel[np.ix_(targets, training)] @ weights + mean)


def left_out_percent(
    kernel: Array, percent: Array, plates: Numbers, training: Bools, strength: float
) -> Array:
    """Return the percent of each training well predicted from the other training plates.

    Parameters
    ----------
    kernel
        (wells, wells).
    percent
        (wells,) or (wells, C).
    plates
        (wells,) number of the plate of each well.
    training
        (wells,) bool.

    Returns
    -------
    Array
        Same shape as ``percent``, NaN for wells that are not training wells.
    """
    predicted = np.full(percent.shape, np.nan)
    for plate in np.unique(plates[training]):
        others, left_out = training & (plates != plate), training & (plates == plate)
        predicted[left_out] = predict_percent(kernel, percent, others, left_out, strength)
    return predicted


def fit_regression(
    embedding: Array | None,
    measures: Array | None,
    percent: Array,
    plates: Numbers,
    training: Bools,
    weights: Sequence[float],
) -> tuple[Array, RegressionSettings]:
    """Return the percent predicted for all wells, (wells,), and the chosen RegressionSettings.

    The settings are those of the smallest squared error when each training plate is left out once.

    Parameters
    ----------
    embedding, measures
        Gram matrices, (wells, wells); one of them may be None.
    percent
        (wells,), used only for training wells.
    plates
        (wells,) number of the plate of each well.
    training
        (wells,) bool.
    weights
        Weights of the embedding to try; one is enough if one block is None.
    """
    errors: dict[RegressionSettings, float] = {}
    products: Mapping[float, Array] = {
        weight: _add_blocks(embedding, measures, weight) for weight in weights
    }
    for settings in candidate_settings(weights):
        kernel = kernel_matrix(products[settings.weight], training, settings)
        predicted = left_out_percent(kernel, percent, plates, training, settings.strength)
        errors[settings] = float(np.mean((predicted - percent)[training] ** 2))
    best = min(errors, key=lambda settings: errors[settings])
    kernel = kernel_matrix(products[best.weight], training, best)
    everything = np.ones(len(percent), dtype=bool)
    return predict_percent(kernel, percent, training, everything, best.strength), best


def _add_blocks(embedding: Array | None, measures: Array | None, weight: float) -> Array:
    if embedding is None or measures is None:
        only = measures if embedding is None else embedding
        assert only is not None  # noqa: S101 - narrows the type: there is at least one block
        return only
    return np.asarray(measures + weight * embedding)
