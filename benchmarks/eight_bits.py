"""Measure the change of an encoder's input and embedding when images are kept in 8 bits.

    python -m benchmarks.eight_bits

Each microscope has one row. The images are reduced to 8 bits before or after the background is
levelled, and are compared with the 16-bit image. The change of the input is a root mean square, as
a share of white. The change of the default encoder's embedding is a share of the embedding's
length. For comparison, the table also has the change between images with and without camera noise.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from inference.bundle import load_bundle
from inference.encoding.preprocessing import preprocess
from inference.onnx_session import CPU_PROVIDER, create_session
from schemas.encoder_bundle import Preprocessing
from simulation.kinds import OpticsName
from simulation.microscope import VirtualMicroscope
from simulation.plate import READOUT_DAY, plan_plate

SIZE_PX = 512
Values = npt.NDArray[np.float32]


def main() -> None:
    """Print the change of the encoder's input and embedding, one row per microscope."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--wells", type=int, default=12)
    wells: int = parser.parse_args().wells
    bundle = load_bundle("default")
    card = bundle.card
    session = create_session(bundle.model, [CPU_PROVIDER], 1)
    steps = card.preprocessing
    mean, std = (
        np.array(values, np.float32).reshape(3, 1, 1) for values in (steps.mean, steps.std)
    )
    plain = steps.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)})

    def embedding(values: Values) -> npt.NDArray[np.float32]:
        [found] = session.run(
            [card.output_name], {card.input_name: ((values - mean) / std)[np.newaxis]}
        )
        return np.asarray(found[0])

    print(
        f"{wells} wells, plate of seed 3, day {READOUT_DAY}, {SIZE_PX}² pixels to {card.input_size}"
        f"²; encoder {card.name}"
    )
    print(
        "microscope    camera noise          8 bits after levelling   8 bits of the camera's range"
    )
    print("              input    embedding    input    embedding       input    embedding")
    for name in (OpticsName.DEFAULT, OpticsName.DIM):
        rows = np.array(
            [
                _changes(
                    VirtualMicroscope(plan_plate(3), SIZE_PX, name),
                    well,
                    plain,
                    card.input_size,
                    embedding,
                )
                for well in range(wells)
            ]
        )
        noise, after, before = rows.mean(axis=0)
        print(
            f"{name:<13} {noise[0]:.5f}  {noise[1]:.4f}       {after[0]:.5f}  {after[1]:.4f}       "
            f"   {before[0]:.5f}  {before[1]:.4f}"
        )


def _changes(
    scope: VirtualMicroscope,
    well: int,
    steps: Preprocessing,
    side_px: int,
    embedding: Callable[[Values], Values],
) -> list[tuple[float, float]]:
    """Return (input, embedding) changes for no noise, 8 bits after and 8 bits before levelling."""
    quiet = replace(scope)
    vars(quiet)["conditions"] = replace(
        scope.conditions, optics=replace(scope.conditions.optics, photons=1e12, read_noise=0.0)
    )  # the cached property reads its value there
    planes, still = (_render_16_bits(each, well) for each in (scope, quiet))
    exact, noiseless, early = (
        preprocess(each, 1, scope.um_per_px, steps, side_px)
        for each in (planes, still, np.asarray((planes >> 8) * np.uint16(257), np.uint16))
    )
    after = (np.round(exact * 255) / 255).astype(np.float32)
    seen = embedding(exact)
    length = float(np.linalg.norm(seen))
    return [
        (
            float(np.sqrt(np.mean((values - exact) ** 2))),
            float(np.linalg.norm(embedding(values) - seen)) / length,
        )
        for values in (noiseless, after, early)
    ]


def _render_16_bits(scope: VirtualMicroscope, well: int) -> npt.NDArray[np.uint16]:
    """Return the planes (3, H, W) of a well on the readout day, scaled so that white is 65535."""
    counts = scope.render(scope.plate.wells[well], READOUT_DAY).planes
    return (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)


if __name__ == "__main__":
    main()
