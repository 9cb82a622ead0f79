"""Train encoders with one small, equal budget, and compare them with their starting weights.

    python -m benchmarks.equal_budget --configs benchmarks/encoder_rows/{simclr,byol,siamese}.toml

Each configuration is trained on the same few virtual plates, and sees the same number of images, in
batches of ``--batch`` images unless the configuration states ``run.batch``. Everything else is as
the configuration states, except that the bundle has the input size of the training. ImageNet
weights have a row at this size, 128 pixels, and at that of the shipped bundle. With ``--frozen``,
the backbone is not trained: its features of four augmentations of each image are stored, and only
the head learns, whose output is the embedding. This is fast, and is possible for objectives without
a teacher. All trainings run one after the other in this process, with one thread. ``--ensembles
simclr+byol`` adds the ensemble of the encoders of some configurations, as ``spherorank train
ensemble`` writes it. The encoders are judged on the mixed plates of :mod:`benchmarks.small_plates`,
which none was trained on; the columns are those of ``spherorank evaluate``. Finished trainings and
rows are not computed again.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import torch

from benchmarks.encoders import untrained_bundle
from benchmarks.small_plates import CACHE, ROOT, SMALL_SET
from inference.bundle import CARD_FILE
from schemas.encoder_bundle import PlanePolicy
from schemas.errors import SpheroRankError
from training.encoder.config import EncoderTrainingConfig, load_encoder_training_config
from training.encoder.names import IMAGENET_BACKBONE, UNET_ENCODER
from training.encoder.train import train_encoder
from training.ensembles import write_ensemble
from training.evaluation.evaluate import evaluate_bundles
from training.objectives.settings import EmbeddingLayer

KEPT_VIEWS = 4
"""Augmentations of each image whose features are stored with ``--frozen``."""
UNTRAINED = (
    ("random weights", "none", 224, IMAGENET_BACKBONE),
    ("ImageNet, 224 pixels", "imagenet", 224, IMAGENET_BACKBONE),
    ("ImageNet, 128 pixels", "imagenet", 128, IMAGENET_BACKBONE),
    ("U-Net, random weights", "none", 128, UNET_ENCODER),
)
"""Name, weights, input size and network of the bundles that no image of tissue trained."""
COLUMNS = {
    "uncalibrated": "uncalibrated_mixed",
    "calibrated": "calibrated_mixed",
    "with measures": "calibrated_both_mixed",
    "probe 10": "probe_10",
    "20": "probe_20",
    "30": "probe_30",
    "all": "probe_all",
    "k-NN": "knn",
    "rank": "effective_rank",
}
"""Heading of each column, and the name of its number in ``spherorank evaluate``."""


def adapt(
    config: EncoderTrainingConfig, options: argparse.Namespace, cache: Path
) -> EncoderTrainingConfig:
    """Return a configuration with the plates and the number of images of the equal budget."""
    run = config.run
    batch = run.batch if "batch" in run.model_fields_set else options.batch
    changes: dict[str, dict[str, Any]] = {
        "data": {
            "virtual_plates": options.plates,
            "virtual_wells": options.wells,
            "cache": cache,
            "jobs": 1,
        },
        "model": {"export_size": None},
        "run": {
            "steps": options.images // batch,
            "batch": batch,
            "threads": 1,
            "accelerator": "cpu",
        },
    }
    if options.frozen:
        changes["model"] |= {"last_blocks": 0, "frozen_steps": 0}
        changes["objective"] = {"layer": EmbeddingLayer.HEAD}
        changes["run"] |= {"kept_views": KEPT_VIEWS}
    sections = {name: getattr(config, name).model_copy(update=changes[name]) for name in changes}
    return config.model_copy(update=sections)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", type=Path, required=True)
    parser.add_argument("--images", type=int, default=9600, help="that each training sees")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frozen", action="store_true", help="train the heads only")
    parser.add_argument("--plates", type=int, default=12)
    parser.add_argument("--wells", type=int, default=10, help="of a plate, on three days each")
    parser.add_argument(
        "--ensembles", nargs="*", default=[], help="names of configurations, joined by +"
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "equal-budget")
    return parser.parse_args()


def main() -> None:
    """Train the missing encoders, evaluate all of them and print the table."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    torch.set_num_threads(1)
    bundles, seconds = {}, {}
    for name, weights, side_px, backbone in UNTRAINED:
        folder = options.out / name.lower().replace(",", "").replace(" ", "-")
        planes = PlanePolicy.SHARPEST_NEIGHBOURS
        bundles[name] = untrained_bundle(
            folder, folder.name, weights, planes, f"{name}.", side_px, backbone
        )
    budget = f"{options.images}-{options.batch}-{options.plates}x{options.wells}"
    budget += "-frozen" if options.frozen else ""
    for path in options.configs:
        folder = options.out / budget / path.stem
        config = adapt(load_encoder_training_config(path), options, options.out / "crops")
        started = time.process_time()
        if not (folder / "bundle" / CARD_FILE).is_file():
            train_encoder(config, folder, lambda _line: None)
            seconds[path.stem] = time.process_time() - started
            print(f"{path.stem}: {seconds[path.stem]:.0f} s", file=sys.stderr, flush=True)
        bundles[path.stem] = folder / "bundle"
    for name in options.ensembles:
        bundles[name] = options.out / budget / "ensembles" / name
        write_ensemble(
            [str(bundles[part]) for part in name.split("+")], name.replace("+", "-"), bundles[name]
        )
    rows = evaluate_bundles(
        [str(each) for each in bundles.values()],
        options.out / budget / "evaluation",
        cache_folder=CACHE,
        chosen=replace(SMALL_SET, shifted=()),
    )
    print("| encoder | " + " | ".join(COLUMNS) + " |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    for name, row in zip(["hand measures", *bundles], rows, strict=True):
        values = [row.numbers.get(key) for key in COLUMNS.values()]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    try:
        main()
    except SpheroRankError as error:
        sys.exit(str(error))
