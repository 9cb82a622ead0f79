"""The encoder bundles that the benchmarks of laboratories compare."""

from pathlib import Path

from inference.bundle import CARD_FILE, Bundle, load_bundle


def encoder_bundles(out: Path) -> dict[str, Bundle]:
    """Return the encoder bundles to compare, by name.

    The bundle with random weights is created in a folder if it is absent.
    """
    folder = out / "random-weights"
    if not (folder / CARD_FILE).is_file():
        from benchmarks.encoders import untrained_bundle  # noqa: PLC0415 - loads torch
        from training.encoder.export import IMAGENET_BUNDLE  # noqa: PLC0415 - loads torch

        untrained_bundle(
            folder,
            "random",
            "none",
            IMAGENET_BUNDLE.preprocessing.planes,
            "Random weights: nothing was learned.",
        )
    shipped = {name: load_bundle(name) for name in ("default", "imagenet")}
    return {**shipped, "random": load_bundle(str(folder))}
