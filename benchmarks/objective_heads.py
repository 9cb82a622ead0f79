"""Train heads by several objectives on stored ImageNet features, and compare them.

    python -m benchmarks.objective_heads

Each head has two layers and learns 300 steps of 32 images from three mixed plates of
:mod:`benchmarks.small_plates`, on the dosing day and on the readout day. The features are those of
the bundle ``imagenet``, standardised; noise of 0.3 of their spread takes the place of the
augmentation of images. The objectives are those of ``spherorank train ssl``. The heads are judged
on three other plates, as means of several seeds:

- *no assay*: Spearman's correlation of the departure with the true kill over treated wells.
- *same treatment* and *nearest measures*: cosine of readout embeddings of wells of one treatment,
  and of the 10 % of the pairs of wells with the nearest measures, beyond the mean cosine of the
  wells of the plate.
- *rank*: effective rank of the embeddings.

Rows of ``siamese`` show how it depends on its weight, rows of ``simclr`` how it depends on the
batch, with the same number of images.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.nt_xent_forces import Cosines, Images
from benchmarks.small_plates import CACHE, SMALL_SET, class_numbers
from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from training.data.batch_plan import MAX_MEASURE_SPREADS, Batch
from training.encoder.collapse import embedding_statistics
from training.encoder.multi_level import MAX_FEATURE_SPREADS
from training.evaluation.embeddings import embed_evaluation_images
from training.evaluation.plates import MIXED, EvaluationPlate, evaluation_plates
from training.evaluation.ranking_quality import departure_scores, kill_correlation
from training.objectives.registry import make_objective
from training.objectives.settings import EmbeddingLayer, ObjectiveSettings

TRAINING_PLATES = 3
IMAGES, BATCH, RATE, NOISE = 9600, 32, 1e-3, 0.3
HIDDEN = 128
MIN_SPREAD = 0.01
"""Smallest scale of a feature: one that is constant on the training plates is not amplified."""
DOSING, READOUT = 0, 1
COLUMNS = ("no assay", "same treatment", "nearest measures", "rank")


@dataclass(frozen=True)
class HeadRow:
    """Objective, its settings, and the batch of a row of the table."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    batch: int = BATCH

    def __str__(self) -> str:
        changes = [f"{key} = {value}" for key, value in self.settings.items()]
        changes += [f"batch {self.batch}"] if self.batch != BATCH else []
        return ", ".join([f"`{self.name}`", *changes])


ROWS = (
    HeadRow("simclr"),
    *(HeadRow("siamese", {"likeness_weight": weight}) for weight in (0.0, 0.1, 0.3, 1.0)),
    *(HeadRow("simclr", batch=batch) for batch in (8, 16, 128)),
    HeadRow("supcon"),
    HeadRow("triplet"),
    HeadRow("soft_ntxent"),
    HeadRow("vicreg"),
)


class PlateFeatures(NamedTuple):
    """Plates with the features of their wells on both days, one array (N, 2, D) of each plate."""

    plates: list[EvaluationPlate]
    features: list[npt.NDArray[np.float64]]


def load_features() -> tuple[PlateFeatures, PlateFeatures]:
    """Return the features of the plates for training and of those for testing, standardised."""
    plates = evaluation_plates(SMALL_SET, CACHE)
    encoder = OnnxEncoder(load_bundle("imagenet"), "cpu", 1)
    embedded = embed_evaluation_images(
        encoder, plates, [], CACHE, ranking_weight=0.0, viewed_wells=SMALL_SET.viewed_wells
    )
    mixed = [number for number, plate in enumerate(plates) if plate.kind == MIXED]
    known = np.concatenate([embedded.plates[number] for number in mixed[:TRAINING_PLATES]])
    mean, spread = known.mean(axis=(0, 1)), np.maximum(known.std(axis=(0, 1)), MIN_SPREAD)
    first, second = (
        PlateFeatures(
            [plates[number] for number in chosen],
            [
                np.clip(
                    (embedded.plates[number] - mean) / spread,
                    -MAX_FEATURE_SPREADS,
                    MAX_FEATURE_SPREADS,
                )
                for number in chosen
            ],
        )
        for chosen in (mixed[:TRAINING_PLATES], mixed[TRAINING_PLATES:])
    )
    return first, second


def scaled_measures(plates: Sequence[EvaluationPlate]) -> npt.NDArray[np.float64]:
    """Return the measures of all wells on both days, (N, 2, M), standardised over all images."""
    rows = np.concatenate([plate.measures for plate in plates])
    scaled = (rows - np.nanmean(rows, axis=(0, 1))) / np.nanstd(rows, axis=(0, 1))
    limited = np.clip(np.nan_to_num(scaled), -MAX_MEASURE_SPREADS, MAX_MEASURE_SPREADS)
    return np.asarray(limited, np.float64)


class HeadBatches:
    """Batches of stored features, with noise in place of an augmentation."""

    def __init__(self, known: PlateFeatures, seed: int) -> None:
        self._features = torch.from_numpy(np.concatenate(known.features)).float()  # (N, 2, D)
        self._measures = torch.from_numpy(scaled_measures(known.plates)).float()
        self._groups = torch.from_numpy(class_numbers(known.plates))
        self._untreated = torch.from_numpy(
            np.concatenate([plate.untreated for plate in known.plates])
        )
        self._draw = torch.Generator().manual_seed(seed)

    def draw(self, count: int, *, pairs: bool) -> Batch:
        """Return a batch of random wells on random days.

        With ``pairs``, untreated wells are shown on both days, and others twice on one day.
        """
        wells = torch.randperm(len(self._features), generator=self._draw)[:count]
        days = torch.randint(2, (len(wells),), generator=self._draw)
        if not pairs:
            return self._fill(wells, days)
        both = self._untreated[wells]
        first = self._fill(wells, torch.where(both, DOSING, days))
        return replace(first, later=self._fill(wells, torch.where(both, READOUT, days)))

    def _fill(self, wells: Tensor, days: Tensor) -> Batch:
        features = self._features[wells, days]
        known = torch.ones(len(wells), dtype=torch.bool)
        none = torch.zeros(len(wells), 0)

        def noisy() -> Tensor:
            return features + NOISE * torch.randn(features.shape, generator=self._draw)

        return Batch(
            first=noisy(),
            second=noisy(),
            clean=None,
            plate=torch.zeros_like(wells),
            well=wells,
            day=days,
            label=self._groups[wells],
            untreated=self._untreated[wells],
            measures=self._measures[wells, days],
            has_measures=known,
            record_words=none.long(),
            record_numbers=none,
        )


def train_head(row: HeadRow, known: PlateFeatures, seed: int, images: int = IMAGES) -> nn.Module:
    """Return the head of an objective after a training on a number of stored features."""
    torch.manual_seed(seed)
    dimension = known.features[0].shape[2]
    settings = ObjectiveSettings.model_validate(
        {"layer": EmbeddingLayer.HEAD, "hidden": HIDDEN} | row.settings
    )
    objective = make_objective(row.name, nn.Identity(), dimension, settings)
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=RATE)
    batches, steps = HeadBatches(known, seed), images // row.batch
    pairs = objective.needs.consecutive_pairs
    for step in range(steps):
        loss = objective.loss(batches.draw(row.batch, pairs=pairs))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step((step + 1) / steps)
    return objective.head.eval()


def judge(head: nn.Module, tested: PlateFeatures) -> tuple[float, ...]:
    """Return the values of a row, in the order of COLUMNS."""
    with torch.no_grad():
        embedded = [head(torch.from_numpy(each).float()).numpy() for each in tested.features]
    correlations = [
        kill_correlation(
            departure_scores(plate, values.astype(np.float64), "embedding"),
            plate.kill,
            plate.untreated,
        )
        for plate, values in zip(tested.plates, embedded, strict=True)
    ]
    readouts = torch.from_numpy(np.concatenate([values[:, READOUT] for values in embedded]))
    images = Images(
        readouts[None],
        torch.from_numpy(scaled_measures(tested.plates)[:, READOUT]),
        torch.tensor([n for n, plate in enumerate(tested.plates) for _ in plate.wells]),
        [f"{plate.name} {name}" for plate in tested.plates for name in plate.treatments],
    )
    cosines = Cosines.of(readouts, images, torch.ones(len(readouts), dtype=torch.bool))
    return (
        float(np.nanmean(correlations)),
        cosines.replicates,
        cosines.nearest,
        embedding_statistics(readouts).rank,
    )


def print_row(name: str, values: Sequence[tuple[float, ...]]) -> None:
    """Print the mean of several seeds."""
    cells = [f"{value:.3f}" for value in np.mean(values, axis=0)]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each row")
    parser.add_argument("--objectives", nargs="*", default=sorted({row.name for row in ROWS}))
    options = parser.parse_args()
    torch.set_num_threads(1)
    known, tested = load_features()
    print("| head | " + " | ".join(COLUMNS) + " |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    print_row("none: ImageNet features", [judge(nn.Identity(), tested)])
    seeds = range(options.seeds)
    random = [judge(train_head(ROWS[0], known, seed, 0), tested) for seed in seeds]
    print_row("random head", random)
    for row in ROWS:
        if row.name in options.objectives:
            found = [judge(train_head(row, known, seed), tested) for seed in seeds]
            print_row(str(row), found)


if __name__ == "__main__":
    main()
