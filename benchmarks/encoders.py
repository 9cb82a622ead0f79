"""Compare encoders in one table, including one training for each configuration file.

    python -m benchmarks.encoders --bundles imagenet --configs benchmarks/encoder_rows/*.toml

The rows are the measures, a network with random weights, ImageNet weights on the sharpest plane and
on fused planes, the given bundles, and one trained encoder per configuration. Each training may run
for ``--minutes`` (8) per call; an unfinished training is stopped and reported, and the next call
resumes it. Trainings and rows that are complete are not computed again. Real images are included
if they exist (:mod:`benchmarks.real_data`), except with ``--quick``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import structlog
import torch

from benchmarks.real_data import REAL_DATA
from inference.bundle import CARD_FILE
from schemas.encoder_bundle import PlanePolicy
from schemas.errors import SpheroRankError
from training.encoder.backbones import make_backbone
from training.encoder.export import IMAGENET_BUNDLE, BundleDescription, write_bundle
from training.encoder.names import IMAGENET_BACKBONE
from training.evaluation.evaluate import evaluate_bundles
from training.evaluation.plates import QUICK_SET, EvaluationSet

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "evaluation"
RANDOM_SEED = 0
STOPPING_S = 120.0
"""Longest time for a training to write its checkpoint after the stop signal."""


def untrained_bundle(
    folder: Path,
    name: str,
    weights: str,
    planes: PlanePolicy,
    learned: str,
    side_px: int = IMAGENET_BUNDLE.input_size,
    backbone: str = IMAGENET_BACKBONE,
) -> Path:
    """Create a named bundle with ImageNet or random weights and a PlanePolicy; return its folder.

    An existing bundle is reused. ``learned`` is a sentence for the model card, ``side_px`` the
    side of the network's input, and ``backbone`` the name of the network.
    """
    if not (folder / CARD_FILE).is_file():
        torch.manual_seed(RANDOM_SEED)
        network, _ = make_backbone(backbone, weights, 3, side_px)
        description = BundleDescription(
            name=name,
            preprocessing=IMAGENET_BUNDLE.preprocessing.model_copy(update={"planes": planes}),
            input_size=side_px,
            provenance=f"{backbone}, weights: {weights}, seed {RANDOM_SEED}",
            licence=IMAGENET_BUNDLE.licence,
            licence_text=IMAGENET_BUNDLE.licence_text,
            notice=IMAGENET_BUNDLE.notice if weights == "imagenet" else f"{learned}\n",
            model_card=f"# {name}\n\n{learned} For research use only.\n",
        )
        write_bundle(network.eval(), description, folder)
    return folder


def trained_bundle(config: Path, folder: Path, minutes: float) -> Path | None:
    """Train an encoder by a config in a folder within some minutes; return its bundle or None.

    The result is None, with a printed message, if the training is not finished in time.
    """
    bundle = folder / "bundle"
    if not (bundle / CARD_FILE).is_file():
        command = [
            str(Path(sys.executable).parent / "spherorank"),
            "train",
            "ssl",
            "--config",
            str(config),
            "--out",
            str(folder),
        ]
        with subprocess.Popen(command, stdout=sys.stderr) as training:
            try:
                training.wait(60 * minutes)
            except subprocess.TimeoutExpired:
                training.terminate()
                training.wait(STOPPING_S)
                print(
                    (
                        f"{config.stem}: not finished within {minutes:g} minutes; the next call "
                        "resumes it"
                    ),
                    file=sys.stderr,
                )
    return bundle if (bundle / CARD_FILE).is_file() else None


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bundles",
        nargs="*",
        default=["default"],
        help="names or folders; a+b is evaluated as one",
    )
    parser.add_argument(
        "--configs",
        nargs="*",
        type=Path,
        default=[],
        help="configurations of trainings; each row has the name of its model",
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "encoders")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training per row and call")
    parser.add_argument("--threads", type=int, default=1, help="per embedding")
    parser.add_argument("--mixed", type=int, default=12, help="mixed plates")
    parser.add_argument("--one-mechanism", type=int, default=3, help="plates of each mechanism")
    parser.add_argument(
        "--shifted",
        type=int,
        default=6,
        help="plates under a microscope that is in no training data",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="six small plates without real images, as `evaluate --quick`",
    )
    return parser.parse_args()


def reference_bundles(out: Path) -> list[str]:
    """Return paths of bundles in ``out`` with random weights and with ImageNet weights.

    The ImageNet weights are used on the sharpest plane, and on all planes fused. Absent bundles are
    created.
    """
    learned = "ImageNet weights, used on {}."
    bundles = [
        (
            "random",
            "none",
            IMAGENET_BUNDLE.preprocessing.planes,
            "Random weights.",
        ),
        (
            "imagenet-sharpest",
            "imagenet",
            PlanePolicy.SHARPEST,
            learned.format("the sharpest plane only"),
        ),
        (
            "imagenet-extended-depth",
            "imagenet",
            PlanePolicy.EXTENDED_DEPTH,
            learned.format("all planes fused into one"),
        ),
    ]
    return [
        str(untrained_bundle(out / name, name, weights, planes, text))
        for name, weights, planes, text in bundles
    ]


def main() -> None:
    """Train the missing encoders, evaluate all of them and print the table."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    torch.set_num_threads(options.threads)
    bundles = [*reference_bundles(options.out), *options.bundles]
    for config in options.configs:
        bundle = trained_bundle(config, options.out / "trainings" / config.stem, options.minutes)
        if bundle is not None:
            bundles.append(str(bundle))
    first = 201
    mixed, single, shifted = (
        tuple(range(first, first + count))
        for count in (options.mixed, options.one_mechanism, options.shifted)
    )
    try:
        evaluate_bundles(
            bundles,
            options.out,
            cache_folder=CACHE,
            real_data=REAL_DATA if REAL_DATA.is_dir() and not options.quick else None,
            chosen=QUICK_SET
            if options.quick
            else EvaluationSet(mixed=mixed, one_mechanism=single, shifted=shifted),
            threads=options.threads,
        )
    except SpheroRankError as error:
        sys.exit(str(error))
    print((options.out / "table.txt").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
