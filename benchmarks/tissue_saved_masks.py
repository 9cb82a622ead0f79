"""Save the masks of the images of :mod:`benchmarks.perturbed_wells`, and compare new masks to them.

A change of the segmenter must not change the masks of images on which it already worked. Each file
``<size>_<seed>.npz`` has one packed mask per image, named by its number and kind.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.perturbed_wells import PLAIN, perturbed_planes
from benchmarks.tissue_results import dice_of
from inference.ports import Segmenter

KEPT_DICE = 0.99
"""Lowest Dice of an unchanged mask."""


def save_masks(
    folder: Path, segmenter: Segmenter, seeds: range, sizes: list[int], wells: int
) -> None:
    """Write the masks of some wells of each seed at each size in pixels to files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        for seed in seeds:
            masks = {
                f"{number:02d} {image.kind}": np.packbits(
                    segmenter.segment(image.plane, None).body, axis=1
                )
                for number, image in enumerate(perturbed_planes(range(seed, seed + 1), size, wells))
            }
            path = folder / f"{size}_{seed}.npz"
            np.savez_compressed(path, allow_pickle=False, **masks)
            print(f"{path}: {len(masks)} masks")


def compare_masks(folder: Path, segmenter: Segmenter) -> None:
    """Print the Dice of new masks with the saved masks of a folder, one row per kind of image."""
    dice: dict[str, list[float]] = defaultdict(list)
    truth: dict[str, list[tuple[float, float]]] = defaultdict(list)  # before and now
    lowest: list[tuple[float, str]] = []
    for path in sorted(folder.glob("*.npz")):
        size, seed = map(int, path.stem.split("_"))
        with np.load(path) as saved:
            wells = sum(name.split(" ", 1)[1] == PLAIN for name in saved.files)
            images = perturbed_planes(range(seed, seed + 1), size, wells)
            for name, image in zip(saved.files, images, strict=True):
                width = image.plane.shape[1]
                before = np.unpackbits(saved[name], axis=1, count=width).astype(bool)
                now = segmenter.segment(image.plane, None).body
                same = dice_of(before, now)
                dice[image.kind].append(same)
                truth[image.kind].append((dice_of(before, image.mask), dice_of(now, image.mask)))
                lowest.append((same, f"{size} px, seed {seed}, image {name}"))
    print(
        f"{'kind':<22}{'n':>5}{'median':>9}{'lowest':>9}{f'< {KEPT_DICE}':>9}"
        f"{'true before':>13}{'true now':>10}"
    )
    for kind, values in dice.items():
        before, now = np.mean(truth[kind], axis=0)
        print(
            f"{kind:<22}{len(values):>5}{np.median(values):>9.4f}{min(values):>9.4f}"
            f"{np.mean(np.array(values) < KEPT_DICE):>9.1%}{before:>13.4f}{now:>10.4f}"
        )
    for same, name in sorted(lowest)[:10]:
        print(f"{same:.4f} {name}")
