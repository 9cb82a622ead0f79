"""Reading a bundle folder, with the card of the shipped bundle and a short file as the model."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from inference.bundle import canary_planes, load_bundle
from schemas.errors import BundleError

MODEL = b"a model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shipped = load_bundle("default")
    card = shipped.card.model_copy(update={"sha256": hashlib.sha256(MODEL).hexdigest()})
    (tmp_path / "bundle.json").write_text(card.model_dump_json())
    (tmp_path / "encoder.onnx").write_bytes(MODEL)
    return tmp_path


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(card | changes))


def test_the_default_bundle_has_a_licence_and_is_small_enough_for_git() -> None:
    bundle = load_bundle("default")
    assert {"LICENSE", "NOTICE", "MODEL_CARD.md"} <= {file.name for file in bundle.folder.iterdir()}
    assert len(bundle.model) <= 20_000_000


def test_a_card_without_a_ranking_weight_has_the_weight_0(
    folder: Path,
) -> None:
    card = json.loads((folder / "bundle.json").read_text())
    assert card.pop("ranking_weight") > 0
    (folder / "bundle.json").write_text(json.dumps(card))
    assert load_bundle(str(folder)).card.ranking_weight == 0


def test_a_folder_is_read_by_its_path(folder: Path) -> None:
    assert load_bundle(str(folder)).model == MODEL


def test_the_error_for_an_unknown_name_lists_the_known_names() -> None:
    with pytest.raises(
        BundleError,
        match=r"resnet: is no encoder bundle; expected a folder .* or one of: .*default",
    ):
        load_bundle("resnet")


@pytest.mark.parametrize("missing", ["encoder.onnx", "bundle.json"])
def test_the_error_for_a_missing_file_names_it(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(BundleError, match=f"{missing}: cannot be read: No such file"):
        load_bundle(str(folder))


def test_the_error_for_a_changed_model_contains_both_digests(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"encoder.onnx: SHA-256 is ") as error:
        load_bundle(str(folder))
    assert hashlib.sha256(b"another model").hexdigest() in error.value.problem
    assert hashlib.sha256(MODEL).hexdigest() in error.value.problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"colour": "blue"}, "colour: Extra inputs"),
        ({"format": 2}, "format: Input should be 1"),
        ({"dimension": 0}, "dimension: .* greater than or equal to 1"),
    ],
)
def test_the_error_for_an_invalid_card_names_the_key(
    folder: Path, changes: dict[str, object], problem: str
) -> None:
    change_card(folder, **changes)
    with pytest.raises(BundleError, match=rf"bundle.json: {problem}"):
        load_bundle(str(folder))


def test_a_card_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle.json: content: Invalid JSON"):
        load_bundle(str(folder))


def test_the_encoder_id_depends_on_the_preprocessing_and_not_on_texts(folder: Path) -> None:
    card = load_bundle(str(folder)).card
    brighter = card.preprocessing.model_copy(update={"background": 0.9})
    assert card.model_copy(update={"preprocessing": brighter}).encoder_id != card.encoder_id
    assert card.model_copy(update={"provenance": "elsewhere"}).encoder_id == card.encoder_id
    assert card.model_copy(update={"ranking_weight": 0.7}).encoder_id == card.encoder_id
    assert card.encoder_id.startswith(f"{card.name}-")


def test_the_canary_is_the_same_on_every_machine() -> None:
    planes = canary_planes(42)
    assert planes.dtype == np.uint16
    assert hashlib.sha256(planes.astype("<u2").tobytes()).hexdigest()[:16] == "793f1cf9805fc82e"
    assert not np.array_equal(planes, canary_planes(43))
