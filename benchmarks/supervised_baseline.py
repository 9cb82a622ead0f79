"""Train the supervised baseline of the thesis, and draw its curve of overfitting.

    python -m benchmarks.supervised_baseline --epochs 30 --side 64

A ResNet-18 from random weights learns the three groups from the readout images of three virtual
plates, and is validated on three others every second epoch. The rows differ in the augmentation:
drawn again in each epoch, drawn once, or none. The curves of loss and accuracy are drawn into the
file that ``--figure`` names.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.small_plates import IMAGES, labelled_images, mixed_plates
from training.data.presets import get_preset
from training.evaluation.thesis_baseline import (
    BaselineSettings,
    EpochResult,
    fit_thesis_baseline,
)

ROWS = {
    "drawn again in each epoch": ("thesis_baseline", True),
    "drawn once": ("thesis_baseline", False),
    "no augmentation": ("none", True),
}
"""Preset of each row, and whether it is drawn again in each epoch."""


def draw_curves(path: Path, curves: Mapping[str, Sequence[EpochResult]]) -> None:
    """Write a figure of loss and accuracy by epoch: validation solid, training dashed."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    for number, (name, curve) in enumerate(curves.items()):
        epochs, colour = [each.epoch for each in curve], f"C{number}"
        loss.plot(epochs, [each.validation_loss for each in curve], colour, label=name)
        loss.plot(epochs, [each.training_loss for each in curve], colour, linestyle="--")
        accuracy.plot(epochs, [each.validation_accuracy for each in curve], colour)
        accuracy.plot(epochs, [each.training_accuracy for each in curve], colour, linestyle="--")
    accuracy.axhline(1 / 3, color="grey", linewidth=0.8)
    loss.set(xlabel="epoch", ylabel="cross-entropy", title="solid: validation, dashed: training")
    accuracy.set(xlabel="epoch", ylabel="balanced accuracy", title="grey line: chance")
    loss.legend(title="augmentation")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Train the rows, print a table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--side", type=int, default=64, help="of an image in pixels")
    parser.add_argument("--figure", type=Path, default=IMAGES / "baseline_overfitting.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plates = mixed_plates()
    training, validation = (
        labelled_images(part, options.side) for part in (plates[:3], plates[3:])
    )
    print(f"{len(training.classes)} training images, {len(validation.classes)} for validation")
    print("| augmentation | best validation accuracy | epoch | last: training | last: validation |")
    print("|---|---|---|---|---|")
    curves = {}
    for name, (preset, redraw) in ROWS.items():
        settings = BaselineSettings(options.epochs, redraw=redraw)
        curve = list(fit_thesis_baseline(training, validation, get_preset(preset), settings))
        best, last = max(curve, key=lambda each: each.validation_accuracy), curve[-1]
        print(
            f"| {name} | {best.validation_accuracy:.3f} | {best.epoch} | "
            f"{last.training_accuracy:.3f} | {last.validation_accuracy:.3f} |",
            flush=True,
        )
        curves[name] = curve
    draw_curves(options.figure, curves)
    print(options.figure)


if __name__ == "__main__":
    main()
