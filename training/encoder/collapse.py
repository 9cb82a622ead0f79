"""Detection of collapse: all embeddings are nearly equal, or vary in one or two directions only."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from schemas.errors import CollapseError

MIN_RANK = 2.0
"""On 64 images of a virtual plate, networks with random weights have 16 to 57, one with ImageNet
weights 47, and the eleven tissue measures 6."""
MIN_SPREAD = 0.01
"""On the same images, random weights have 0.09 to 0.26, and ImageNet weights 0.30."""


@dataclass(frozen=True)
class EmbeddingStatistics:
    """Two measures of how much embeddings of different images differ."""

    rank: float  # effective rank: 1 for one direction, at most min(images − 1, dimensions)
    spread: float  # 0: all embeddings have one direction; 1: random directions


def embedding_statistics(embeddings: Tensor) -> EmbeddingStatistics:
    """Return the EmbeddingStatistics (effective rank, spread) of embeddings, (n, D).

    The rank is exp of the entropy of the singular values of the centred embeddings (Roy and
    Vetterli, EUSIPCO 2007). The spread is the mean standard deviation of the dimensions of the unit
    vectors, times √D (Chen and He 2020, arXiv 2011.10566, section 4.1).
    """
    rows = embeddings.detach().double()
    values = torch.linalg.svdvals(rows - rows.mean(dim=0))
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    entropy = torch.special.entr(share).sum()
    spread = functional.normalize(rows).std(dim=0, correction=0).mean() * rows.shape[1] ** 0.5
    return EmbeddingStatistics(float(entropy.exp()), float(spread))


def check_not_collapsed(embeddings: Tensor) -> EmbeddingStatistics:
    """Return the EmbeddingStatistics of embeddings, (n, D), or raise CollapseError.

    Raises
    ------
    CollapseError
        If the rank or the spread is too small, or an embedding is not finite.
    """
    if not embeddings.isfinite().all():
        raise CollapseError(
            "the encoder",
            "returns embeddings that are not finite numbers; expected a lower run.rate",
        )
    found = embedding_statistics(embeddings)
    if found.rank < MIN_RANK or found.spread < MIN_SPREAD:
        raise CollapseError(
            "the encoder",
            f"has collapsed: the embeddings of {len(embeddings)} images have effective rank "
            f"{found.rank:.2f} and spread {found.spread:.4f}; expected at least {MIN_RANK:g} and "
            f"{MIN_SPREAD:g}. Try a lower run.rate, a higher objective.temperature, larger batches "
            "or another objective",
        )
    return found
