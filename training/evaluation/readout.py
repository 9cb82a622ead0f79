"""How far an embedding carries with calibration: percent of deterioration by kernel ridge on a few plates with an assay, the kernel chosen by those plates.

Everything is computed from Gram matrices: one a block of features (an embedding, or the measures), added with a weight. A linear kernel is ridge
regression; the other is a Gaussian (RBF).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

RIDGES = tuple(np.logspace(-4, 1, 8).tolist())  # of the mean of the Gram matrix's diagonal
WIDTHS = (0.3, 1.0, 3.0)  # of the median squared distance
RBF_RIDGES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Choice:
    """One readout that is tried."""

    weight: float  # of the embedding's block beside the measures'
    kernel: str  # ridge or rbf
    strength: float
    width: float = 1.0


def differences(features: Array, untreated: Bools) -> tuple[Array, Array]:
    """Return two (N, D): the readout and the change since dosing of a plate's wells, (N, 2, D), less those of the median untreated well."""
    readout, change = features[:, 1], features[:, 1] - features[:, 0]
    return readout - np.median(readout[untreated], axis=0), change - np.median(
        change[untreated], axis=0
    )


def gram(
    parts: Sequence[tuple[Array, Array]],
    untreated: Sequence[Bools],
    settle: Sequence[int],
    *,
    one_scale: bool,
) -> Array:
    """Return (wells, wells) over all plates' wells: products of readouts plus products of changes.

    Units are the spread of untreated wells on the plates ``settle``: with ``one_scale`` one unit for all values of an embedding (root mean square),
    else one for each measure. The whole is scaled to a mean of 1 along the diagonal of the wells that settle it, so that blocks weigh alike.
    """
    total = np.zeros((sum(len(part[0]) for part in parts),) * 2)
    for side in (0, 1):
        spread = np.sqrt(
            np.mean(
                [parts[plate][side][untreated[plate]].var(axis=0, ddof=1) for plate in settle],
                axis=0,
            )
        )
        unit = np.sqrt(np.mean(spread**2)) if one_scale else spread
        rows = np.concatenate([part[side] for part in parts]) / np.where(unit > 0, unit, np.inf)
        total += rows @ rows.T
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    settled = np.concatenate(
        [np.diag(total)[starts[plate] : starts[plate + 1]] for plate in settle]
    )
    return total / max(float(settled.mean()), np.finfo(float).tiny)


def choices(weights: Sequence[float]) -> Iterator[Choice]:
    """Yield every readout that is tried."""
    for weight in weights:
        yield from (Choice(weight, "ridge", strength) for strength in RIDGES)
        yield from (
            Choice(weight, "rbf", strength, width) for width in WIDTHS for strength in RBF_RIDGES
        )


def kernel(products: Array, taught: Bools, choice: Choice) -> Array:
    """Return the kernel, (wells, wells), from the products of all wells; its scale is settled on the wells that teach."""
    if choice.kernel == "ridge":
        return products + float(
            np.diag(products)[taught].mean()
        )  # the constant is the intercept's share
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    usual = float(np.median(distances[np.ix_(taught, taught)]))
    return np.asarray(np.exp(-distances / (2 * choice.width * max(usual, np.finfo(float).tiny))))


def predict(
    similarity: Array, percent: Array, taught: Bools, asked: Bools, strength: float
) -> Array:
    """Return the percent of the wells that are asked, by kernel ridge on those that teach; ``percent`` (wells,) is read for these only."""
    mean = percent[taught].mean()
    own = similarity[np.ix_(taught, taught)]
    weights = np.linalg.solve(
        own + strength * np.mean(np.diag(own)) * np.eye(len(own)), percent[taught] - mean
    )
    return np.asarray(similarity[np.ix_(asked, taught)] @ weights + mean)


def read_out(
    embedding: Array | None,
    measures: Array | None,
    percent: Array,
    plates: Numbers,
    taught: Bools,
    weights: Sequence[float],
) -> tuple[Array, Choice]:
    """Return the percent of all wells, and the readout that errs least on plates left out one at a time of those that teach.

    Parameters
    ----------
    embedding, measures
        Their Gram matrices, (wells, wells); either may be missing.
    percent
        (wells,), read where ``taught`` holds.
    plates
        (wells,): the plate of each.
    weights
        Of the embedding beside the measures; those that are tried. Only one needs to be given where one block is missing.
    """
    errors: dict[Choice, float] = {}
    products: Mapping[float, Array] = {
        weight: _added(embedding, measures, weight) for weight in weights
    }
    for choice in choices(weights):
        similarity = kernel(products[choice.weight], taught, choice)
        gaps = [
            predict(
                similarity,
                percent,
                taught & (plates != plate),
                taught & (plates == plate),
                choice.strength,
            )
            - percent[taught & (plates == plate)]
            for plate in np.unique(plates[taught])
        ]
        errors[choice] = float(np.mean(np.concatenate(gaps) ** 2))
    best = min(errors, key=lambda choice: errors[choice])
    similarity = kernel(products[best.weight], taught, best)
    return predict(
        similarity, percent, taught, np.ones(len(percent), dtype=bool), best.strength
    ), best


def _added(embedding: Array | None, measures: Array | None, weight: float) -> Array:
    if embedding is None or measures is None:
        only = measures if embedding is None else embedding
        assert only is not None  # noqa: S101 - narrows the type: a readout has a block
        return only
    return np.asarray(measures + weight * embedding)
