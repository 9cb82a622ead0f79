"""Bodies of a forecaster: networks that summarise the days of a well in one vector.

A body maps inputs (N, T, inputs) and has_image (N, T, 1), 1.0 or 0.0, to summaries (N, hidden). The
inputs of a day without image are 0, except the time until the readout day.
"""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

KERNELS = (3, 5, 7)
"""Days in the convolutions of an inception module. A series has 4 to 10 days, and the kernels 10,
20 and 40 of the original network are longer than that.
"""
MODULES = 3  # inception modules between two residual connections, as in the original network
NO_WEIGHT = -1e4  # attention score of a day without image; its weight is then 0 in float32


class GruBody(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A recurrent body; the summary is the state after the last day (Cho et al. 2014)."""

    title = "A GRU"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True)

    def forward(self, inputs: torch.Tensor, _has_image: torch.Tensor) -> torch.Tensor:
        """Return the summaries, (N, T, inputs) and (N, T, 1) → (N, hidden)."""
        _, state = self.gru(inputs)
        return state[0]


class InceptionBody(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A convolutional body with a residual block of inception modules, averaged over imaged days.

    Source: InceptionTime, Fawaz et al. 2020, doi:10.1007/s10618-020-00710-y. Groups are normalised
    in place of batches, because a batch is one plate.
    """

    title = f"An inception network (convolutions over {', '.join(map(str, KERNELS))} days)"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        filters = math.ceil(hidden / (len(KERNELS) + 1))
        width = filters * (len(KERNELS) + 1)
        self.layers = nn.ModuleList(
            InceptionModule(width if number else inputs, filters) for number in range(MODULES)
        )
        self.shortcut = nn.Conv1d(inputs, width, 1)
        self.output = nn.Linear(width, hidden)

    def forward(self, inputs: torch.Tensor, has_image: torch.Tensor) -> torch.Tensor:
        """Return the summaries, (N, T, inputs) and (N, T, 1) → (N, hidden)."""
        series = values = inputs.transpose(1, 2)  # (N, inputs, T)
        for layer in self.layers:
            values = layer(values)
        values = functional.relu(values + self.shortcut(series)).transpose(1, 2)  # (N, T, width)
        return self.output(average_imaged(values, has_image))


class InceptionModule(nn.Module):  # type: ignore[misc] # torch is not typed here
    """Convolutions of several lengths and a maximum over three days, side by side.

    It maps (N, inputs, T) to (N, 4 × filters, T).
    """

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(inputs, filters, 1, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(filters, filters, kernel, padding=kernel // 2, bias=False)
            for kernel in KERNELS
        )
        self.pooled = nn.Conv1d(inputs, filters, 1, bias=False)
        self.norm = nn.GroupNorm(1, filters * (len(KERNELS) + 1))

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Return the outputs of all branches, (N, inputs, T) → (N, 4 × filters, T)."""
        narrow = self.bottleneck(series)
        branches = [convolution(narrow) for convolution in self.convolutions]
        branches.append(self.pooled(functional.max_pool1d(series, 3, stride=1, padding=1)))
        return functional.relu(self.norm(torch.cat(branches, dim=1)))


class TransformerBody(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A body with one layer of attention between the imaged days, averaged over these days.

    Source: Vaswani et al. 2017, arXiv 1706.03762, with one head. The time until the readout day,
    which is among the inputs, replaces the encoding of the position.
    """

    title = "A transformer of one layer"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, hidden)
        self.attention = nn.Linear(hidden, 3 * hidden)
        self.mixing = nn.Linear(hidden, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.perceptron = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden)
        )

    def forward(self, inputs: torch.Tensor, has_image: torch.Tensor) -> torch.Tensor:
        """Return the summaries, (N, T, inputs) and (N, T, 1) → (N, hidden)."""
        values = self.embedding(inputs)  # (N, T, hidden)
        query, key, content = self.attention(self.norms[0](values)).chunk(3, dim=2)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[2])  # (N, T, T)
        weights = (scores + NO_WEIGHT * (1 - has_image.transpose(1, 2))).softmax(dim=2)
        values = values + self.mixing(weights @ content)
        values = values + self.perceptron(self.norms[1](values))
        return average_imaged(self.norms[2](values), has_image)


def average_imaged(values: torch.Tensor, has_image: torch.Tensor) -> torch.Tensor:
    """Return the mean over the imaged days, (N, T, D) and (N, T, 1) → (N, D); 0 without image."""
    return (values * has_image).sum(dim=1) / has_image.sum(dim=1).clamp(min=1.0)


Body = GruBody | InceptionBody | TransformerBody

BODIES: Mapping[str, type[Body]] = {
    "gru": GruBody,
    "inception": InceptionBody,
    "transformer": TransformerBody,
}
"""Bodies by the name in the configuration."""
