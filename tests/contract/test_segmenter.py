"""Contract of every segmenter (``inference/ports.py``), then the checks of the ONNX one at start.

Of the ONNX segmenters, "onnx" has a network of fixed weights that marks dark pixels; "shipped" has
the trained network.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference.ports import Segmenter
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter, shipped_segmenter
from schemas.errors import BundleError
from schemas.tissue import Unsure

LIGHT = 40_000


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle folder of a network that marks dark pixels as tissue."""
    import torch  # noqa: PLC0415 - needs the train extra, unlike the other segmenters

    from training.segmenter.train import SegmenterSettings, write_segmenter  # noqa: PLC0415 - imports torch

    marks_dark = torch.nn.Conv2d(1, 2, 5, padding=2)
    with torch.no_grad():
        marks_dark.weight[:] = torch.tensor([20.0, 0.0]).reshape(2, 1, 1, 1) / 25
        marks_dark.bias[:] = torch.tensor([-8.0, -8.0])
    folder = tmp_path_factory.mktemp("learned") / "bundle"
    write_segmenter(marks_dark.eval(), SegmenterSettings(side_px=128), folder)
    return folder


@pytest.fixture(params=["classical", pytest.param("onnx", marks=pytest.mark.train), "shipped"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    if request.param == "classical":
        return ClassicalSegmenter()
    if request.param == "shipped":
        return OnnxSegmenter(load_segmenter(shipped_segmenter()))
    return OnnxSegmenter(load_segmenter(request.getfixturevalue("bundle_folder")))


def disc(shape: tuple[int, int], centre: tuple[int, int], radius_px: int) -> npt.NDArray[np.bool_]:
    """Return a mask (H, W) with one filled circle; the centre is (column, row)."""
    canvas = np.zeros(shape, np.uint8)
    cv2.circle(canvas, centre, radius_px, 1, -1)
    return canvas.astype(bool)


def plane_with(
    tissue: npt.NDArray[np.bool_], *, light: int = LIGHT, seed: int = 0
) -> npt.NDArray[np.uint16]:
    """Return a plane (H, W) uint16 on which the tissue transmits a third of the light."""
    through = cv2.GaussianBlur(np.where(tissue, 0.33, 1.0), (0, 0), 1.5)
    noise = np.random.default_rng(seed).normal(1, 0.01, tissue.shape)
    return np.round(light * through * noise).astype(np.uint16)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks, 0 to 1."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_segmenter_has_a_name_with_a_version_that_is_the_same_in_every_process(
    segmenter: Segmenter,
) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]*-([0-9]+|[0-9a-f]{16})", segmenter.segmenter_id)
    if isinstance(segmenter, ClassicalSegmenter):
        assert segmenter.segmenter_id == ClassicalSegmenter().segmenter_id


@pytest.mark.parametrize(
    "change", [{"threshold": 0.4}, {"name": "other"}], ids=["threshold", "name"]
)
def test_another_setting_of_a_network_is_another_segmenter(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    shipped = shipped_segmenter()
    folder = changed_copy(shipped, tmp_path, lambda card: card.update(change))
    ids = [OnnxSegmenter(load_segmenter(each)).segmenter_id for each in (shipped, folder, shipped)]
    assert ids[0] == ids[2] != ids[1]


SHAPES = [(512, 512), (384, 512), (150, 150)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_body_matches_the_true_tissue(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    tissue = disc(shape, (shape[1] * 2 // 5, shape[0] // 2), min(shape) // 6)
    assert dice(segmenter.segment(plane_with(tissue), 1.36).body, tissue) > 0.93


@pytest.mark.parametrize("shape", SHAPES)
def test_an_empty_well_has_an_empty_body(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    found = segmenter.segment(plane_with(np.zeros(shape, dtype=bool)), 1.36)
    assert found.is_empty
    assert not found.body.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_have_the_planes_shape_and_do_not_overlap(
    segmenter: Segmenter, shape: tuple[int, int]
) -> None:
    found = segmenter.segment(
        plane_with(disc(shape, (shape[1] // 2, shape[0] // 2), min(shape) // 8)), None
    )
    assert found.body.shape == found.debris.shape == shape
    assert found.body.dtype == found.debris.dtype == np.bool_
    assert not (found.body & found.debris).any()


def test_the_background_is_the_illumination_without_tissue(segmenter: Segmenter) -> None:
    found = segmenter.segment(plane_with(disc((512, 512), (256, 256), 90)), None)
    assert found.background.ndim == 2
    assert found.background.shape <= (512, 512)
    assert np.abs(found.background / LIGHT - 1).max() < 0.1


def test_light_and_bits_do_not_change_the_body(segmenter: Segmenter) -> None:
    tissue = disc((512, 512), (240, 270), 80)
    bright, dim = (
        segmenter.segment(plane_with(tissue, light=light), None).body
        for light in (LIGHT, LIGHT // 16)
    )
    assert dice(bright, dim) > 0.98


def test_tissue_across_the_border_is_marked_as_cut(segmenter: Segmenter) -> None:
    assert Unsure.CUT in segmenter.segment(plane_with(disc((512, 512), (20, 256), 90)), None).unsure
    assert (
        Unsure.CUT
        not in segmenter.segment(plane_with(disc((512, 512), (256, 256), 90)), None).unsure
    )


def test_segmentation_is_repeatable_and_does_not_change_the_plane(segmenter: Segmenter) -> None:
    plane = plane_with(disc((512, 512), (256, 256), 70))
    before = plane.copy()
    first, second = segmenter.segment(plane, None), segmenter.segment(plane, None)
    assert np.array_equal(plane, before)
    assert np.array_equal(first.body, second.body)
    assert np.array_equal(first.background, second.background)


@pytest.mark.parametrize("level", [0, 65535])
def test_a_plane_of_one_value_is_an_empty_well(segmenter: Segmenter, level: int) -> None:
    found = segmenter.segment(np.full((256, 256), level, np.uint16), None)
    assert found.is_empty
    assert np.isfinite(found.background).all()


def changed_copy(
    bundle_folder: Path,
    folder: Path,
    change: Callable[[dict[str, Any]], None],
    model: bytes | None = None,
) -> Path:
    """Write a bundle with a changed card, and another model if given, to a folder; return it."""
    card = json.loads((bundle_folder / "segmenter.json").read_text())
    change(card)
    (folder / "segmenter.json").write_text(json.dumps(card))
    (folder / "segmenter.onnx").write_bytes(
        model or (bundle_folder / "segmenter.onnx").read_bytes()
    )
    return folder


@pytest.mark.train
@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "input_size",
            256,
            (
                r"segmenter.onnx: input is input \['batch', 1, 128, 128\] .*; "
                r"the card expects input \['batch', 1, 256, 256\]"
            ),
        ),
        ("output_name", "mask", r"segmenter.onnx: output is log_odds .*; the card expects mask"),
        ("sha256", "0" * 64, r"segmenter.onnx: SHA-256 is .*; segmenter.json expects 0000"),
        ("input_size", 100, r"segmenter.json: input_size: .* multiple of 32"),
        ("extra", 1, r"segmenter.json: extra: "),
    ],
)
def test_a_card_that_does_not_fit_its_model_stops_the_start(
    bundle_folder: Path, tmp_path: Path, key: str, value: object, problem: str
) -> None:
    folder = changed_copy(bundle_folder, tmp_path, lambda card: card.update({key: value}))
    with pytest.raises(BundleError, match=problem):
        OnnxSegmenter(load_segmenter(folder))


@pytest.mark.train
def test_another_canary_result_stops_the_start(bundle_folder: Path, tmp_path: Path) -> None:
    def shift(card: dict[str, Any]) -> None:
        card["canary"]["expected"][5] += 0.1

    folder = changed_copy(bundle_folder, tmp_path, shift)
    with pytest.raises(BundleError, match=r"canary value 5 is .*; expected .* ± 0.01"):
        OnnxSegmenter(load_segmenter(folder))


@pytest.mark.train
def test_a_file_with_the_right_digest_that_is_no_model_stops_the_start(
    bundle_folder: Path, tmp_path: Path
) -> None:
    content = b"not a model"
    folder = changed_copy(
        bundle_folder,
        tmp_path,
        lambda card: card.update(sha256=hashlib.sha256(content).hexdigest()),
        content,
    )
    with pytest.raises(BundleError, match=r"segmenter.onnx: onnxruntime .* cannot load it"):
        OnnxSegmenter(load_segmenter(folder))


@pytest.mark.train
@pytest.mark.parametrize("missing", ["segmenter.onnx", "segmenter.json"])
def test_a_missing_file_is_named(bundle_folder: Path, tmp_path: Path, missing: str) -> None:
    folder = changed_copy(bundle_folder, tmp_path, lambda _card: None)
    (folder / missing).unlink()
    with pytest.raises(BundleError, match=rf"{missing}: cannot be read: No such file"):
        load_segmenter(folder)
