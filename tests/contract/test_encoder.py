"""Contract of every encoder (``inference/ports.py``), then the ONNX encoder's checks at start."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from structlog.testing import capture_logs

from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ports import Encoder
from schemas.errors import BundleError, ImageError
from tests.samples import well_image

SHIPPED = load_bundle("default")
VALUES = SHIPPED.card.dimension


@pytest.fixture(scope="module", params=["onnx"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return {"onnx": lambda: OnnxEncoder(SHIPPED, providers="cpu", intra_op_threads=1)}[
        request.param
    ]()


def test_an_embedding_is_finite_float32_of_the_encoders_dimension(encoder: Encoder) -> None:
    embedding = encoder.embed(well_image(), sharpest_plane=1)
    assert embedding.shape == (encoder.dimension,)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()


def test_the_same_image_has_the_same_embedding(encoder: Encoder) -> None:
    assert np.array_equal(
        encoder.embed(well_image(), sharpest_plane=1), encoder.embed(well_image(), sharpest_plane=1)
    )


def test_another_image_has_another_embedding_and_does_not_change_the_first(
    encoder: Encoder,
) -> None:
    first = encoder.embed(well_image(seed=1), sharpest_plane=1)
    kept = first.copy()
    assert not np.allclose(encoder.embed(well_image(seed=2), sharpest_plane=1), first)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("plane_count", [1, 3, 11])
def test_any_number_of_planes_is_embedded(encoder: Encoder, plane_count: int) -> None:
    planes = np.random.default_rng(3).integers(
        20000, 40000, (plane_count, 80, 100), dtype=np.uint16
    )
    assert encoder.embed(well_image(planes=planes), sharpest_plane=plane_count - 1).shape == (
        encoder.dimension,
    )


def test_a_black_image_is_embedded(encoder: Encoder) -> None:
    assert np.isfinite(
        encoder.embed(well_image(planes=np.zeros((3, 80, 80), np.uint16)), sharpest_plane=0)
    ).all()


def test_the_error_of_a_too_small_image_names_its_well(encoder: Encoder) -> None:
    with pytest.raises(ImageError, match="PDAC-0042 B02 day07: 16×16 pixels"):
        encoder.embed(well_image(side_px=16), sharpest_plane=1)


def copy_of_bundle(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Write the shipped bundle with a changed card to a folder, and return the folder."""
    card = json.loads((SHIPPED.folder / "bundle.json").read_text())
    change(card)
    (folder / "bundle.json").write_text(json.dumps(card))
    (folder / "encoder.onnx").symlink_to(SHIPPED.folder / "encoder.onnx")
    return str(folder)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "input_size",
            192,
            (
                r"encoder.onnx: input is input \['batch', 3, 256, 256\] .*; "
                r"the card expects input \['batch', 3, 192, 192\]"
            ),
        ),
        ("input_name", "pixels", r"encoder.onnx: input is input .*; the card expects pixels"),
        (
            "dimension",
            64,
            (
                rf"encoder.onnx: output is embedding \['batch', {VALUES}\] .*; "
                r"the card expects embedding \['batch', 64\]"
            ),
        ),
        ("output_name", "logits", r"encoder.onnx: output is embedding .*; the card expects logits"),
    ],
)
def test_a_model_that_does_not_fit_its_card_stops_the_start(
    tmp_path: Path, key: str, value: object, problem: str
) -> None:
    folder = copy_of_bundle(tmp_path, lambda card: card.update({key: value}))
    with pytest.raises(BundleError, match=problem):
        OnnxEncoder(load_bundle(folder), providers="cpu")


def test_another_canary_embedding_stops_the_start(tmp_path: Path) -> None:
    def shift(card: dict[str, Any]) -> None:
        card["canary"]["expected"][2] += 0.01

    with pytest.raises(BundleError, match=r"canary value 2 is .*; expected .* ± 0.001"):
        OnnxEncoder(load_bundle(copy_of_bundle(tmp_path, shift)), providers="cpu")


def test_a_changed_preprocessing_changes_the_canary_embedding_and_stops_the_start(
    tmp_path: Path,
) -> None:
    folder = copy_of_bundle(tmp_path, lambda card: card["preprocessing"].update(background=0.74))
    with pytest.raises(BundleError, match="canary value"):
        OnnxEncoder(load_bundle(folder), providers="cpu")


def test_a_canary_longer_than_the_embedding_stops_the_start(tmp_path: Path) -> None:
    folder = copy_of_bundle(
        tmp_path, lambda card: card["canary"].update(expected=[0.0] * (VALUES + 1))
    )
    with pytest.raises(
        BundleError, match=f"canary has {VALUES + 1} values; expected at most dimension = {VALUES}"
    ):
        OnnxEncoder(load_bundle(folder), providers="cpu")


def test_a_file_with_the_right_digest_that_is_no_model_stops_the_start(tmp_path: Path) -> None:
    content = b"not a model"
    copy_of_bundle(tmp_path, lambda card: card.update(sha256=hashlib.sha256(content).hexdigest()))
    (tmp_path / "encoder.onnx").unlink()
    (tmp_path / "encoder.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"encoder.onnx: onnxruntime .* cannot load it"):
        OnnxEncoder(load_bundle(str(tmp_path)), providers="cpu")


def test_the_execution_provider_is_logged_in_one_event() -> None:
    with capture_logs() as lines:
        encoder = OnnxEncoder(SHIPPED, providers="cpu")
    assert lines == [
        {
            "event": "encoder.ready",
            "log_level": "info",
            "provider": "cpu",
            "dimension": VALUES,
            "encoder_id": encoder.encoder_id,
        }
    ]


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime offers CUDA",
)
def test_required_cuda_that_is_not_available_stops_the_start() -> None:
    with pytest.raises(
        BundleError,
        match=r"encoder.providers is 'cuda', but onnxruntime offers .*CPUExecutionProvider; "
        "expected a working CUDA device, or 'auto'",
    ):
        OnnxEncoder(SHIPPED, providers="cuda")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime offers CUDA",
)
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
def test_cuda_that_cannot_start_is_logged_and_the_cpu_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9"))  # noqa: T201 - as the real function does
    with capture_logs() as lines:
        OnnxEncoder(SHIPPED, providers="auto")
    assert [(line["event"], line.get("reason"), line.get("provider")) for line in lines] == [
        ("encoder.cuda_unavailable", "Failed to load libcudnn.so.9", None),
        ("encoder.ready", None, "cpu"),
    ]


class NotANumberSession:
    """An ONNX session whose network overflows: all outputs are NaN."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.full((len(inputs["input"]), VALUES), np.nan, np.float32) for _ in outputs]


def test_an_embedding_that_is_not_finite_is_an_error_of_the_image() -> None:
    encoder = OnnxEncoder(SHIPPED, providers="cpu")
    encoder._session = NotANumberSession()
    with pytest.raises(ImageError, match="values that are not finite"):
        encoder.embed(well_image(), sharpest_plane=1)
