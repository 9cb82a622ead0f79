"""Draw the figures of the three research questions of the thesis, and print their numbers.

    python -m benchmarks.thesis_questions

All values are Spearman's correlations of a score with the true kill over the treated wells of a
virtual plate. Those of questions 1 and 3 are computed for the mixed plates of
:mod:`benchmarks.small_plates`.

1. Features: the change of the area, the measures, the default embedding, and both, without assays.
2. Objectives: the table of ``docs/results/encoders.md``, which :mod:`benchmarks.encoders` printed.
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

from benchmarks.small_plates import CACHE, IMAGES, ROOT, SMALL_SET
from inference.bundle import load_bundle
from inference.departure.departure_settings import DepartureSettings
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ranking.plate_ranking import rank_plate
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.forecast import MetricName
from schemas.trajectory import Representation
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from training.evaluation.embeddings import embed_evaluation_images
from training.evaluation.plates import MIXED, EvaluationPlate, evaluation_plates
from training.evaluation.ranking_quality import evaluation_trajectories, kill_correlation

Array = npt.NDArray[np.float64]
Correlations = Mapping[str, Sequence[float]]
"""Correlation of each plate, by name of the score."""
ENCODERS_PAGE = ROOT / "docs" / "results" / "encoders.md"
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


def read_encoders(page: Path) -> dict[str, tuple[float, float]]:
    """Return the correlations with and without assays of each encoder in the first table of a page.

    Both are those of mixed plates.
    """
    lines = page.read_text(encoding="utf-8").split("## The table")[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    head = cells[0]
    with_assays, without = head.index("8 plates, mixed"), head.index("uncalibrated, mixed")
    rows = [row for row in cells[2:] if len(row) == len(head)]
    names = [row[0].replace("`", "").replace("*", "") for row in rows]
    return {
        name: (float(row[with_assays]), float(row[without]))
        for name, row in zip(names, rows, strict=True)
    }


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


def draw_encoders(path: Path, rows: Mapping[str, tuple[float, float]]) -> None:
    """Write a figure of the encoders, sorted by their correlation with assays."""
    ordered = sorted(rows, key=lambda name: rows[name])
    figure = Figure(figsize=(8, 0.8 + 0.22 * len(ordered)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, label in enumerate(("with eight assay plates", "without assays")):
        values = [rows[name][number] for name in ordered]
        axes.plot(values, range(len(ordered)), "os"[number], label=label)
    axes.set_yticks(range(len(ordered)), ordered, fontsize=8)
    axes.grid(alpha=0.3)
    axes.set(xlabel="Spearman's correlation with the true kill, mean over mixed plates")
    axes.legend(loc="upper left")
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
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plates = mixed_plates_with_embeddings(options.bundle)
    features, metrics = compare_features(plates), compare_metrics(plates)
    print_table("features", features)
    print_table("metric", metrics)
    draw_dots(options.images / "question_1.png", features, "Features, without assays")
    draw_dots(options.images / "question_3.png", metrics, "Metrics, without assays")
    draw_encoders(options.images / "question_2.png", read_encoders(ENCODERS_PAGE))


if __name__ == "__main__":
    main()
