"""Print linear probes of encoders: examples per class, recall of each class, other distributions.

    python -m benchmarks.probes --bundles imagenet default

A probe is a logistic regression that predicts the group of a well from its readout embedding. It is
trained and tested on different virtual plates, and no encoder was trained on any of them. The first
table is that of ``spherorank evaluate``: each of six plates is tested once by a probe of four other
plates, with 10, 20, 30 and all wells of each group. The last columns are the recall of each group
with all wells. The second table compares embeddings as they are with embeddings relative to the
mean well of their plate, for each pair of tested plates. In the third table, the probe is trained
on two plates under the default microscope or under the microscope that no training uses, and tested
on the two other plates under both, in both directions.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.small_plates import CACHE, CLASSES, SMALL_SET
from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from training.evaluation.embeddings import (
    EvaluationEmbeddings,
    MeasuresAsEncoder,
    embed_evaluation_images,
    scale_to_untreated_spread,
)
from training.evaluation.encoder_metrics import SEED, group_metrics, probe_folds, readouts_in_plate
from training.evaluation.plates import MIXED, SHIFTED, EvaluationPlate, evaluation_plates
from training.evaluation.probe import EXAMPLES, Array, GroupLabels, linear_probe, probe_recalls

MEASURES = "measures"


class Wells(NamedTuple):
    """Readout embeddings of wells, (n, D), and their groups."""

    embeddings: Array
    groups: GroupLabels


def embed(name: str, plates: Sequence[EvaluationPlate]) -> EvaluationEmbeddings:
    """Return the scaled EvaluationEmbeddings of plates by a bundle, or their measures."""
    encoder = MeasuresAsEncoder() if name == MEASURES else OnnxEncoder(load_bundle(name), "cpu", 1)
    return scale_to_untreated_spread(
        embed_evaluation_images(
            encoder, plates, [], CACHE, ranking_weight=0.0, viewed_wells=SMALL_SET.viewed_wells
        ),
        plates,
    )


def choose_wells(
    readouts: Sequence[Array], plates: Sequence[EvaluationPlate], places: Iterable[int]
) -> Wells:
    """Return the Wells of the plates with some indices, from readouts (N, D) of each plate."""
    chosen = list(places)
    return Wells(
        np.concatenate([readouts[place] for place in chosen]),
        np.array([group.value for place in chosen for group in plates[place].groups]),
    )


def accuracy(train: Wells, test: Wells) -> float:
    """Return the balanced accuracy of a probe that is trained on all wells."""
    return linear_probe(*train, *test, None, SEED)


def print_row(name: str, values: Iterable[float]) -> None:
    """Print a row of a table."""
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


def print_head(columns: Sequence[str]) -> None:
    """Print the head of a table."""
    print("| encoder | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")


def print_counts(rows: dict[str, EvaluationEmbeddings], plates: Sequence[EvaluationPlate]) -> None:
    """Print the table of the examples per class and of the recall of each class."""
    names = [group.value for group in CLASSES]
    counts = [*map(str, EXAMPLES), "all"]
    print_head([*counts, *(f"recall of {name}" for name in names)])
    for row, found in rows.items():
        metrics, readouts = group_metrics(found, plates), readouts_in_plate(found)
        recalls = [
            probe_recalls(
                *choose_wells(readouts, plates, train),
                *choose_wells(readouts, plates, test),
                None,
                SEED,
            )
            for train, test in probe_folds(plates)
        ]
        values = [metrics[f"probe_{count}"] for count in counts]
        values += [float(np.mean([fold[name] for fold in recalls])) for name in names]
        print_row(row, values)


def print_levels(rows: dict[str, EvaluationEmbeddings], plates: Sequence[EvaluationPlate]) -> None:
    """Print the table of embeddings as they are and relative to their plate, by tested plates."""
    folds = list(probe_folds(plates))
    tested = [" and ".join(str(plates[place].seed) for place in test) for _, test in folds]
    print_head([f"{form}, {seeds}" for form in ("as it is", "relative") for seeds in tested])
    for row, found in rows.items():
        forms = ([each[:, -1] for each in found.plates], readouts_in_plate(found))
        print_row(
            row,
            [
                accuracy(
                    choose_wells(readouts, plates, train), choose_wells(readouts, plates, test)
                )
                for readouts in forms
                for train, test in folds
            ],
        )


def print_distributions(
    rows: dict[str, EvaluationEmbeddings], plates: Sequence[EvaluationPlate]
) -> None:
    """Print the table of probes that are trained and tested on plates of two distributions.

    The plates of both kinds have the same seeds, and no seed is in the training and in the test.
    """
    half = len(SMALL_SET.shifted) // 2
    halves = [set(SMALL_SET.shifted[:half]), set(SMALL_SET.shifted[half:])]
    pairs = [(train, test) for test in (MIXED, SHIFTED) for train in (MIXED, SHIFTED)]
    print_head([f"{train} → {test}" for train, test in pairs])
    for row, found in rows.items():
        readouts = readouts_in_plate(found)

        def wells(kind: str, seeds: set[int], readouts: Sequence[Array] = readouts) -> Wells:
            return choose_wells(
                readouts,
                plates,
                (n for n, each in enumerate(plates) if each.kind == kind and each.seed in seeds),
            )

        print_row(
            row,
            [
                float(
                    np.mean(
                        [
                            accuracy(wells(train, one), wells(test, other))
                            for one, other in (halves, halves[::-1])
                        ]
                    )
                )
                for train, test in pairs
            ],
        )


def main() -> None:
    """Print the three tables."""
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
    for table in (print_counts, print_levels, print_distributions):
        table(rows, plates)
        print()


if __name__ == "__main__":
    main()
