"""Print linear probes of encoders: examples per class, recall of each class, other distributions.

    python -m benchmarks.probes --bundles imagenet default

The first table has the balanced accuracy of a logistic regression that was trained on 10, 20, 30
and all wells of each group of three virtual plates, and for all wells the recall of each group. It
is tested on three other plates. In the second table, the probe is trained on plates under the
default microscope or under the microscope that no training uses, and tested on other plates under
both. No encoder was trained on any of these plates.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.small_plates import CACHE, CLASSES, SMALL_SET
from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from training.evaluation.embeddings import (
    MeasuresAsEncoder,
    embed_evaluation_images,
    scale_to_untreated_spread,
)
from training.evaluation.encoder_metrics import SEED
from training.evaluation.plates import MIXED, SHIFTED, EvaluationPlate, evaluation_plates
from training.evaluation.probe import EXAMPLES, Array, GroupLabels, linear_probe, probe_recalls

MEASURES = "measures"
TRAINING_PLATES = 3
"""Plates of each kind for the training of a probe; the others are for its test."""


class Wells(NamedTuple):
    """Readout embeddings of wells, (n, D), and their groups."""

    embeddings: Array
    groups: GroupLabels


class ProbeData(NamedTuple):
    """Wells for the training of a probe by kind of plate, and for its test."""

    training: dict[str, Wells]
    test: dict[str, Wells]


def embed(name: str, plates: Sequence[EvaluationPlate]) -> ProbeData:
    """Return the wells of an encoder, or of the measures, by kind of plate.

    The shifted plates have the seeds of the first mixed plates, so no well is in both parts.
    """
    encoder = MeasuresAsEncoder() if name == MEASURES else OnnxEncoder(load_bundle(name), "cpu", 1)
    found = scale_to_untreated_spread(
        embed_evaluation_images(
            encoder, plates, [], CACHE, ranking_weight=0.0, viewed_wells=SMALL_SET.viewed_wells
        ),
        plates,
    )

    def wells(kind: str, places: slice) -> Wells:
        chosen = [number for number, plate in enumerate(plates) if plate.kind == kind][places]
        return Wells(
            np.concatenate([found.plates[number][:, -1] for number in chosen]),
            np.array([group.value for number in chosen for group in plates[number].groups]),
        )

    first, rest = slice(TRAINING_PLATES), slice(TRAINING_PLATES, None)
    return ProbeData(
        {kind: wells(kind, first) for kind in (MIXED, SHIFTED)},
        {kind: wells(kind, rest) for kind in (MIXED, SHIFTED)},
    )


def accuracy(train: Wells, test: Wells, examples: int | None) -> float:
    """Return the balanced accuracy of a probe."""
    return linear_probe(*train, *test, examples, SEED)


def print_counts(rows: dict[str, ProbeData]) -> None:
    """Print the table of the examples per class and of the recall of each class."""
    names = [group.value for group in CLASSES]
    counts = [*map(str, EXAMPLES), "all"]
    print("| encoder | " + " | ".join([*counts, *(f"recall of {name}" for name in names)]) + " |")
    print("|---" * (1 + len(counts) + len(names)) + "|")
    for name, data in rows.items():
        train, test = data.training[MIXED], data.test[MIXED]
        values = [accuracy(train, test, each) for each in (*EXAMPLES, None)]
        recalls = probe_recalls(*train, *test, None, SEED)
        cells = [f"{value:.3f}" for value in (*values, *(recalls[each] for each in names))]
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_distributions(rows: dict[str, ProbeData]) -> None:
    """Print the table of probes that are trained and tested on plates of two distributions."""
    pairs = [(train, test) for test in (MIXED, SHIFTED) for train in (MIXED, SHIFTED)]
    print("| encoder | " + " | ".join(f"{train} → {test}" for train, test in pairs) + " |")
    print("|---" * (1 + len(pairs)) + "|")
    for name, data in rows.items():
        cells = [
            f"{accuracy(data.training[train], data.test[test], None):.3f}" for train, test in pairs
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", nargs="*", default=["imagenet", "default"])
    options = parser.parse_args()
    plates = evaluation_plates(SMALL_SET, CACHE)
    rows = {
        Path(name).parent.name if Path(name).name == "bundle" else name: embed(name, plates)
        for name in [MEASURES, *options.bundles]
    }
    print_counts(rows)
    print()
    print_distributions(rows)


if __name__ == "__main__":
    main()
