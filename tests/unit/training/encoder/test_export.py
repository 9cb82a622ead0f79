"""Tests of the export of an encoder, with a small network and with the shipped bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import canary_planes, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.encoding.preprocessing import preprocess
from schemas.encoder_bundle import PlanePolicy, Preprocessing
from tests.samples import well_image
from training.encoder.export import (
    BundleDescription,
    ParityError,
    make_imagenet_lite0,
    write_bundle,
)

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SMALL = BundleDescription(
    name="small",
    preprocessing=Preprocessing(
        planes=PlanePolicy.SHARPEST, background=0.5, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    ),
    input_size=64,
    provenance="random weights",
    licence="BSD-3-Clause",
    licence_text="as SpheroRank",
    notice="Random weights.\n",
    model_card="# Small\n",
)


def small_network() -> "torch.nn.Module":
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(3, 8, 5, stride=4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    return torch.nn.Sequential(*layers).eval()


def test_an_exported_network_becomes_a_bundle_that_the_service_opens(tmp_path: Path) -> None:
    parity = write_bundle(small_network(), SMALL, tmp_path / "small")
    bundle = load_bundle(str(tmp_path / "small"))
    assert parity < 1e-5
    assert OnnxEncoder(bundle, providers="cpu").embed(well_image(), sharpest_plane=1).shape == (8,)
    assert {file.name for file in bundle.folder.iterdir()} == {
        "encoder.onnx",
        "bundle.json",
        "LICENSE",
        "NOTICE",
        "MODEL_CARD.md",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["small"]  # no temporary folder is left
    assert b"site-packages" not in bundle.model  # no path of this machine


def test_a_second_export_replaces_the_first_and_has_the_same_digest(tmp_path: Path) -> None:
    write_bundle(small_network(), SMALL, tmp_path / "small")
    first = json.loads((tmp_path / "small" / "bundle.json").read_text())
    (tmp_path / "small" / "left_over.txt").touch()
    write_bundle(small_network(), SMALL, tmp_path / "small")
    assert json.loads((tmp_path / "small" / "bundle.json").read_text()) == first
    assert not (tmp_path / "small" / "left_over.txt").exists()


class TwoFaced(torch.nn.Module):
    """A network that computes something else after its export."""

    def forward(self, pixels: "torch.Tensor") -> "torch.Tensor":
        return pixels.mean(dim=(2, 3)) * (2 if torch.compiler.is_exporting() else 1)


def test_a_network_that_changes_with_export_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(
        ParityError, match=r"torch and onnxruntime differ by .*; expected at most 0.0001"
    ):
        write_bundle(TwoFaced(), SMALL, tmp_path / "two_faced")
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_imagenet_bundle_computes_what_the_torch_network_computes() -> None:
    bundle = load_bundle("imagenet")
    card = bundle.card
    pixels = preprocess(canary_planes(7), 1, None, card.preprocessing, card.input_size)
    with torch.inference_mode():
        expected = make_imagenet_lite0()(torch.from_numpy(pixels[np.newaxis])).numpy()[0]
    image = well_image(planes=canary_planes(7), um_per_px=None)
    found = OnnxEncoder(bundle, providers="cpu").embed(image, sharpest_plane=1)
    assert np.abs(found - expected).max() < 1e-4
