"""Draw the figures of the three research questions of the thesis, and print their numbers.

    python -m benchmarks.thesis_questions --budget .cache/equal-budget/BUDGET

All values are Spearman's correlations of a score with the true kill over the treated wells of a
virtual plate, for the mixed plates of :mod:`benchmarks.small_plates`.

1. Features: the change of the area, the measures, the default embedding, and both, without assays.
2. Objectives: the rows that :mod:`benchmarks.equal_budget` wrote below ``--budget``.
3. Metrics: the four metrics of a departure, with measures and with the embedding.

The figures are ``docs/images/question_1.png``, ``question_2.png`` and ``question_3.png``.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.small_plates import CACHE, IMAGES, SMALL_SET
from inference.bundle import load_bundle
from inference.departure.departures import DepartureSettings
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ranking.plate_ranking import rank_plate
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.forecast import MetricName
from schemas.trajectory import Representation
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from training.evaluation.embeddings import embed_evaluation_images
from training.evaluation.plates import MIXED, EvaluationPlate, evaluation_plates
from training.evaluation.ranking_quality import evaluation_trajectories, kill_correlation
from training.evaluation.rows import EncoderRow

Array = npt.NDArray[np.float64]
Correlations = Mapping[str, Sequence[float]]
"""Correlation of each plate, by name of the score."""
AREA = RANKED_MEASURES.index("log_area")


def scores(
    plate: EvaluationPlate, embedding: Array, representation: Representation, metric: MetricName
) -> Array:
    """Return the departure of each well of a plate, (N,), by a representation and a metric."""
    trajectories = evaluation_trajectories(plate, embedding, representation)
    table = rank_plate(
        trajectories,
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
        seed=1,
        settings=DepartureSettings(metric=metric),
    )
    found = {well.well: well.score for well in table.wells if well.score is not None}
    return np.array([found.get(well, np.nan) for well in plate.wells])


def mixed_plates_with_embeddings(bundle: str) -> list[tuple[EvaluationPlate, Array]]:
    """Return the mixed plates with the embeddings of an encoder, (N, 2, D)."""
    plates = evaluation_plates(SMALL_SET, CACHE)
    embedded = embed_evaluation_images(
        OnnxEncoder(load_bundle(bundle), "cpu", 1),
        plates,
        [],
        CACHE,
        ranking_weight=0.0,
        viewed_wells=SMALL_SET.viewed_wells,
    )
    return [
        (plate, values)
        for plate, values in zip(plates, embedded.plates, strict=True)
        if plate.kind == MIXED
    ]


def compare_features(plates: Sequence[tuple[EvaluationPlate, Array]]) -> Correlations:
    """Return the correlations by the features that are compared."""
    found: dict[str, list[float]] = {"area alone": []}
    for plate, embedding in plates:
        change = plate.measures[:, 0, AREA] - plate.measures[:, -1, AREA]
        found["area alone"].append(kill_correlation(change, plate.kill, plate.untreated))
        for name in ("measures", "embedding", "both"):
            values = scores(plate, embedding, name, MetricName.MAHALANOBIS)
            found.setdefault(name, []).append(kill_correlation(values, plate.kill, plate.untreated))
    return found


def compare_metrics(plates: Sequence[tuple[EvaluationPlate, Array]]) -> Correlations:
    """Return the correlations by representation and metric."""
    found: dict[str, list[float]] = {}
    for plate, embedding in plates:
        for name in ("measures", "embedding"):
            for metric in MetricName:
                values = scores(plate, embedding, name, metric)
                found.setdefault(f"{name}: {metric}", []).append(
                    kill_correlation(values, plate.kill, plate.untreated)
                )
    return found


def read_objectives(budget: Path) -> dict[str, EncoderRow]:
    """Return the rows of the encoders that were trained with an equal budget, by name."""
    files = sorted((budget / "evaluation" / "rows").glob("*/*.json"))
    rows = [EncoderRow.model_validate_json(path.read_bytes()) for path in files]
    return {row.name: row for row in rows}


def draw_dots(path: Path, found: Correlations, title: str) -> None:
    """Write a figure with one dot for each plate and a line at the mean, a row for each score."""
    figure = Figure(figsize=(7, 0.6 + 0.42 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row, values in enumerate(found.values()):
        axes.plot(values, [row] * len(values), "o", color="C0", alpha=0.5)
        axes.plot([np.mean(values)] * 2, [row - 0.35, row + 0.35], color="C3", linewidth=2)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel="Spearman's correlation with the true kill", title=title)
    figure.savefig(path, dpi=90)


def draw_objectives(path: Path, rows: Mapping[str, EncoderRow]) -> None:
    """Write a figure of the encoders, sorted by their correlation with a calibration."""
    columns = {"calibrated_mixed": "with assay plates", "uncalibrated_mixed": "without assays"}
    ordered = sorted(rows.values(), key=lambda row: row.numbers["calibrated_mixed"] or 0.0)
    figure = Figure(figsize=(7, 0.8 + 0.3 * len(ordered)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (key, label) in enumerate(columns.items()):
        values = [row.numbers[key] or np.nan for row in ordered]
        axes.plot(values, range(len(ordered)), "os"[number], label=label)
    axes.set_yticks(range(len(ordered)), [row.name for row in ordered])
    axes.grid(alpha=0.3)
    axes.set(xlabel="Spearman's correlation with the true kill, mean over plates")
    axes.legend()
    figure.savefig(path, dpi=90)


def print_table(head: str, found: Correlations) -> None:
    """Print mean, lowest and highest correlation of each score."""
    print(f"| {head} | mean | lowest plate | highest plate |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    print()


def main() -> None:
    """Print the numbers and draw the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--budget", type=Path, help="folder of benchmarks.equal_budget")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plates = mixed_plates_with_embeddings(options.bundle)
    features, metrics = compare_features(plates), compare_metrics(plates)
    print_table("features", features)
    print_table("metric", metrics)
    draw_dots(options.images / "question_1.png", features, "Features, without assays")
    draw_dots(options.images / "question_3.png", metrics, "Metrics, without assays")
    if options.budget:
        draw_objectives(options.images / "question_2.png", read_objectives(options.budget))


if __name__ == "__main__":
    main()
